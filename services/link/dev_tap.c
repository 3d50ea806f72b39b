/* dev_tap.c – driver "tap": Strata is the far end of a TAP interface; the host's kernel is its neighbour (rx1, tx8).
 *
 * The interface itself, with its MAC and address, belongs to the host's kernel; our MAC is the configuration's.
 * With the vnet header 64 KB TCP packets with unfinished checksums cross in one piece in both directions.
 * The descriptor is parked beyond our death: an interface that loses its last opener loses carrier and queue
 * (crash rule 9). Called through net_device_ops by dev.c, napi.c and xmit.c. */
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/log.h"
#include "services/link/dev.h"

static int tap_flags(const struct net_device *dev)
{
	return IFF_TAP | IFF_NO_PI | (dev->conf->vnet ? IFF_VNET_HDR : 0);
}

/* A parked descriptor is ours if it still is that interface, opened the same way. */
static bool tap_is(const struct net_device *dev, int fd)
{
	struct ifreq ifr = { 0 };

	return ioctl(fd, TUNGETIFF, &ifr) == 0 && !strncmp(ifr.ifr_name, dev->conf->name, IFNAMSIZ) &&
	       (ifr.ifr_flags & (IFF_TAP | IFF_NO_PI | IFF_VNET_HDR)) == tap_flags(dev);
}

static int tap_attach(struct net_device *dev)
{
	struct ifreq ifr = { .ifr_flags = (short)tap_flags(dev) };
	int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", dev->conf->name);
	if (ioctl(fd, TUNSETIFF, &ifr) < 0) {
		int r = -errno;

		close(fd);
		return r;
	}
	return fd;
}

static int tap_offloads(struct net_device *dev)
{
	const struct conf_dev *c = dev->conf;
	unsigned long offload = 0;
	int size = sizeof(struct vnet_hdr);

	if (!c->vnet)
		return 0;
	if (ioctl(dev->fd, TUNSETVNETHDRSZ, &size) < 0)
		return -errno;
	if (c->csum)
		offload = TUN_F_CSUM;
	if (c->csum && c->tso)
		offload |= TUN_F_TSO4 | TUN_F_TSO_ECN;
	if (ioctl(dev->fd, TUNSETOFFLOAD, offload) < 0)
		return -errno;
	dev->vnet_len = sizeof(struct vnet_hdr);
	dev->features = LINK_F_VNET | (c->csum ? LINK_F_CSUM : 0) | (c->csum && c->tso ? LINK_F_TSO : 0);
	return 0;
}

/* The interface's own side: queue length, MTU, up; and its MAC must not be ours. */
static int tap_interface(struct net_device *dev)
{
	int sock = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), r;
	struct ifreq ifr = { 0 };

	if (sock < 0)
		return -errno;
	snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", dev->conf->name);
	ifr.ifr_qlen = (int)dev->conf->txqueuelen;
	if (ioctl(sock, SIOCSIFTXQLEN, &ifr) < 0)
		r = -errno;
	else if (ioctl(sock, SIOCGIFHWADDR, &ifr) < 0)
		r = -errno;
	else if (!memcmp(ifr.ifr_hwaddr.sa_data, dev->mac, ETH_ALEN))
		r = -EADDRINUSE;
	else
		r = dev_set_up(dev, sock);
	close(sock);
	return r;
}

static int tap_open(struct net_device *dev, int parked)
{
	int r;

	dev->fd = -1;
	if (parked >= 0 && tap_is(dev, parked)) {
		dev->fd = dup(parked);
	} else {
		if (parked >= 0)
			log_notice("%s: the parked device is gone or was opened otherwise: opening anew", dev->conf->name);
		dev->fd = tap_attach(dev);
	}
	if (dev->fd < 0)
		return dev->fd == -1 ? -errno : dev->fd;
	r = tap_offloads(dev);
	if (r == 0)
		r = tap_interface(dev);
	if (r < 0)
		dev_fd_stop(dev);
	return r;
}

/* Ours is only what we put into frames; the host's side does not care. */
static int tap_set_mac_address(struct net_device *dev, const u8 mac[ETH_ALEN])
{
	memcpy(dev->mac, mac, ETH_ALEN);
	return 0;
}

const struct net_device_ops tap_ops = {
	.driver = "tap",
	.open = tap_open,
	.stop = dev_fd_stop,
	.hard_start_xmit = dev_fd_xmit,
	.poll = dev_fd_poll,
	.set_mac_address = tap_set_mac_address,
};
