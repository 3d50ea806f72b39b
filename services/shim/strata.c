/* strata.c – the functions of strata.h. */
#include "services/shim/calls.h"
#include "services/shim/strata.h"

#include <sys/syscall.h>

/* Run `call` on our socket; what is not ours is an error here. */
#define ON_SOCKET(fd, call) do {			\
		struct sock *s = sock_get(fd);		\
		ssize_t r_;				\
							\
		if (!s)					\
			return errno_of(-ENOTSOCK);	\
		r_ = (call);				\
		sock_put(s);				\
		return (__typeof__(call))errno_size(r_);\
	} while (0)

EXPORT int strata_socket(int domain, int type)
{
	if ((domain != AF_INET && domain != AF_INET6) || (type & 0xf) != SOCK_STREAM)
		return errno_of(-EPROTONOSUPPORT);
	return errno_of(sock_create(domain, type));
}

EXPORT int strata_bind(int fd, const struct sockaddr *a, socklen_t len) { ON_SOCKET(fd, sock_bind(s, fd, a, len)); }
EXPORT int strata_connect(int fd, const struct sockaddr *a, socklen_t len) { ON_SOCKET(fd, sock_connect(s, fd, a, len)); }
EXPORT int strata_listen(int fd, int backlog) { ON_SOCKET(fd, sock_listen(s, fd, backlog)); }
EXPORT int strata_shutdown(int fd, int how) { ON_SOCKET(fd, sock_shutdown(s, fd, how)); }
EXPORT int strata_accept(int fd, struct sockaddr *a, socklen_t *len, int flags)
{
	ON_SOCKET(fd, sock_accept(s, fd, a, len, flags));
}

EXPORT int strata_close(int fd)
{
	if (table_mine())
		table_drop(fd);
	return errno_of(sys_close(fd));
}

EXPORT int strata_dup(int fd)
{
	long n = sys(SYS_dup, fd);

	if (n >= 0 && table_mine())
		table_dup(fd, (int)n);
	return errno_of(n);
}

EXPORT ssize_t strata_recv(int fd, void *buf, size_t n, int flags)
{
	struct iovec v = { buf, n };

	ON_SOCKET(fd, sock_recvmsg(s, fd, &v, 1, flags));
}

EXPORT ssize_t strata_send(int fd, const void *buf, size_t n, int flags)
{
	struct iovec v = { (void *)buf, n };

	ON_SOCKET(fd, sock_sendmsg(s, fd, &v, 1, flags));
}

EXPORT ssize_t strata_readv(int fd, const struct iovec *v, int n)
{
	ON_SOCKET(fd, sock_recvmsg(s, fd, v, n, 0));
}

EXPORT ssize_t strata_writev(int fd, const struct iovec *v, int n)
{
	ON_SOCKET(fd, sock_sendmsg(s, fd, v, n, 0));
}

EXPORT int strata_getsockname(int fd, struct sockaddr *a, socklen_t *len) { ON_SOCKET(fd, sock_name(s, fd, a, len, false)); }
EXPORT int strata_getpeername(int fd, struct sockaddr *a, socklen_t *len) { ON_SOCKET(fd, sock_name(s, fd, a, len, true)); }
EXPORT int strata_getsockopt(int fd, int level, int name, void *val, socklen_t *len)
{
	ON_SOCKET(fd, sock_getsockopt(s, fd, level, name, val, len));
}

EXPORT int strata_setsockopt(int fd, int level, int name, const void *val, socklen_t len)
{
	ON_SOCKET(fd, sock_setsockopt(s, fd, level, name, val, len));
}

EXPORT int strata_attach(int fd)
{
	attach_received(&fd, 1);
	return errno_of(ours(fd) ? 0 : -ENOTSOCK);
}

EXPORT bool strata_poll_again(int fd)
{
	struct sock *s = sock_get(fd);
	bool again = s && load_acquire(&s->life) == SOCK_LIVE && stream_spurious(s, fd, false);

	if (s)
		sock_put(s);
	return again;
}

EXPORT bool strata_owns(int fd) { return ours(fd); }
