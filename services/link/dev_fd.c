/* dev_fd.c – devices that are a file descriptor with one frame per read and write (TAP, AF_PACKET): rx1 and tx8.
 *
 * Reads are synchronous and non-blocking, until -EAGAIN or the budget ends: the frame is copied once, by the kernel,
 * straight into the shared pool. Writes gather headers and data. Measured on 2 shared CPUs, CPU time per frame: TAP read
 * 1.8 us (1 KB) and 10.6 us (64 KB); write 1.5 us (40 bytes). 32 small writes batched through io_uring cost 1.1 us each;
 * not used: a refusal would be known only after the batch, and so would requeue. Reading that way was not measured.
 * dev_fd_poll is called by napi.c, dev_fd_xmit by xmit.c. */
#include <unistd.h>

#include "common/log.h"
#include "services/link/path.h"

u32 dev_fd_poll(struct net_device *dev, u32 budget)
{
	struct iovec iov[2];
	u32 done = 0;

	while (done < budget) {
		ssize_t n;

		if (!napi_next(dev, iov)) {
			napi_refill(dev);
			if (!napi_next(dev, iov))
				break;
		}
		n = readv(dev->fd, iov, 2);
		if (n < 0) {
			if (errno == EINTR)
				continue;
			if (errno != EAGAIN) {
				/* EIO, ENETDOWN: the interface was taken down; EBADFD: deleted */
				dev->gone = errno == EBADFD;
				log_warn("%s: reading frames: %s", dev->shm->name, strerror(errno));
				dev_count(&dev->shm->rx_dropped, 1);
			}
			break;
		}
		if (n == 0)
			break;
		napi_filled(dev, (u32)n);
		done++;
	}
	napi_refill(dev);
	return done;
}

int dev_fd_xmit(struct net_device *dev, const struct frame *f)
{
	struct iovec iov[3];
	int n = 0;
	ssize_t r;

	if (dev->vnet_len)
		iov[n++] = (struct iovec){ (void *)&f->vnet, sizeof(f->vnet) };
	if (f->hdr_len)
		iov[n++] = (struct iovec){ (void *)f->hdr, f->hdr_len };
	if (f->len)
		iov[n++] = (struct iovec){ (void *)f->data, f->len };
	do
		r = writev(dev->fd, iov, n);
	while (r < 0 && errno == EINTR);
	if (r >= 0)
		return 0;
	/* AF_PACKET says ENOBUFS when the interface's own queue is full */
	return errno == ENOBUFS || errno == EWOULDBLOCK ? -EAGAIN : -errno;
}

void dev_fd_stop(struct net_device *dev)
{
	if (dev->fd >= 0)
		close(dev->fd);
	dev->fd = -1;
	dev->up = false;
}
