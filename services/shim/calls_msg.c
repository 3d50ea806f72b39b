/* calls_msg.c – tx1, rx8: send* and recv*, interposed; and descriptors that arrive in SCM_RIGHTS. */
#include <stdlib.h>

#include "services/shim/calls.h"

#define RIGHTS_MAX 253		/* SCM_MAX_FD */

EXPORT ssize_t recv(int fd, void *buf, size_t n, int flags)
{
	struct iovec v = { buf, n };
	ssize_t r;

	return io_read(fd, &v, 1, flags, &r) ? r : real.recv(fd, buf, n, flags);
}

EXPORT ssize_t __recv_chk(int fd, void *buf, size_t n, size_t size, int flags);
EXPORT ssize_t __recv_chk(int fd, void *buf, size_t n, size_t size, int flags)
{
	if (n > size)
		abort();
	return recv(fd, buf, n, flags);
}

EXPORT ssize_t recvfrom(int fd, void *buf, size_t n, int flags, struct sockaddr *a, socklen_t *len)
{
	struct iovec v = { buf, n };
	ssize_t r;

	if (!io_read(fd, &v, 1, flags, &r))
		return real.recvfrom(fd, buf, n, flags, a, len);
	if (r >= 0 && a && len)
		*len = 0;		/* a stream has no addresses */
	return r;
}

EXPORT ssize_t __recvfrom_chk(int fd, void *buf, size_t n, size_t size, int flags, struct sockaddr *a, socklen_t *len);
EXPORT ssize_t __recvfrom_chk(int fd, void *buf, size_t n, size_t size, int flags, struct sockaddr *a, socklen_t *len)
{
	if (n > size)
		abort();
	return recvfrom(fd, buf, n, flags, a, len);
}

/* Somebody handed us descriptors: sockets of Strata among them? */
static void rights(struct msghdr *m)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c)) {
		int fds[RIGHTS_MAX], n;

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		n = (int)MIN((c->cmsg_len - CMSG_LEN(0)) / sizeof(int), (size_t)RIGHTS_MAX);
		memcpy(fds, CMSG_DATA(c), (size_t)n * sizeof(int));
		if (table_mine())
			attach_received(fds, n);
	}
}

/* false: not ours. */
static bool recv_error(int fd, struct msghdr *m, ssize_t *ret)
{
	struct sock *s = sock_get(fd);

	if (!s)
		return false;
	*ret = errno_size(sock_recv_error(s, m));
	sock_put(s);
	return true;
}

EXPORT ssize_t recvmsg(int fd, struct msghdr *m, int flags)
{
	int saved;
	ssize_t r;

	if (flags & MSG_ERRQUEUE && !bad_pointer(m) && recv_error(fd, m, &r))
		return r;
	if (bad_pointer(m) || !io_read(fd, m->msg_iov, (int)m->msg_iovlen, flags, &r)) {
		real_need();
		r = real.recvmsg(fd, m, flags);
		saved = errno;
		if (r >= 0 && m->msg_control && m->msg_controllen)
			rights(m);
		errno = saved;
		return r;
	}
	if (r >= 0) {
		m->msg_namelen = 0;
		m->msg_controllen = 0;
		m->msg_flags = flags & MSG_OOB ? MSG_OOB | (r ? 0 : MSG_TRUNC) : 0;
	}
	return r;
}

EXPORT int recvmmsg(int fd, struct mmsghdr *v, unsigned n, int flags, struct timespec *timeout)
{
	unsigned i;

	if (!ours(fd)) {
		real_need();
		return real.recvmmsg(fd, v, n, flags, timeout);
	}
	for (i = 0; i < n; i++) {
		ssize_t r = recvmsg(fd, &v[i].msg_hdr, flags & ~MSG_WAITFORONE);

		if (r < 0)
			return i ? (int)i : -1;
		v[i].msg_len = (unsigned)r;
		if (flags & MSG_WAITFORONE)
			flags |= MSG_DONTWAIT;
		if (r == 0)
			return (int)i + 1;
	}
	return (int)i;
}

EXPORT ssize_t send(int fd, const void *buf, size_t n, int flags)
{
	struct iovec v = { (void *)buf, n };
	ssize_t r;

	return io_write(fd, &v, 1, flags, &r) ? r : real.send(fd, buf, n, flags);
}

EXPORT ssize_t sendto(int fd, const void *buf, size_t n, int flags, const struct sockaddr *a, socklen_t len)
{
	struct iovec v = { (void *)buf, n };
	ssize_t r;

	return io_send_to(fd, &v, 1, flags, a, len, &r) ? r : real.sendto(fd, buf, n, flags, a, len);
}

EXPORT ssize_t sendmsg(int fd, const struct msghdr *m, int flags)
{
	ssize_t r;

	if (!bad_pointer(m) && io_send_to(fd, m->msg_iov, (int)m->msg_iovlen, flags, m->msg_name, m->msg_namelen, &r))
		return r;
	real_need();
	return real.sendmsg(fd, m, flags);
}

EXPORT int sendmmsg(int fd, struct mmsghdr *v, unsigned n, int flags)
{
	unsigned i;

	if (!ours(fd)) {
		real_need();
		return real.sendmmsg(fd, v, n, flags);
	}
	for (i = 0; i < n; i++) {
		ssize_t r = sendmsg(fd, &v[i].msg_hdr, flags);

		if (r < 0)
			return i ? (int)i : -1;
		v[i].msg_len = (unsigned)r;
		if ((size_t)r < iov_total(v[i].msg_hdr.msg_iov, (int)v[i].msg_hdr.msg_iovlen))
			return (int)i + 1;
	}
	return (int)i;
}
