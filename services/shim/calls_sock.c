/* calls_sock.c – tx1: socket, bind, connect and the other calls about a socket, interposed. */
#include <stdarg.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/stat.h>

#include "services/shim/calls.h"

EXPORT int socket(int domain, int type, int protocol)
{
	bool inet = domain == AF_INET || domain == AF_INET6;
	bool tcp = (type & 0xf) == SOCK_STREAM && (protocol == 0 || protocol == IPPROTO_TCP);

	real_need();
	if (inet && tcp && !(type & ~(0xf | SOCK_CLOEXEC | SOCK_NONBLOCK)))
		return errno_of(sock_create(domain, type));
	if (inet)
		kernel_note((type & 0xf) == SOCK_STREAM ? BYPASS_OTHER : BYPASS_DGRAM);
	return fresh_fd(real.socket(domain, type, protocol));
}

/* Run `call` on our socket, or let the kernel have it. */
#define SOCKET_CALL(fd, call, otherwise) do {		\
		struct sock *s = sock_get(fd);		\
		int saved_ = errno, r_;			\
							\
		real_need();				\
		if (!s)					\
			return otherwise;		\
		r_ = (int)(call);			\
		sock_put(s);				\
		errno = saved_;				\
		return errno_of(r_);			\
	} while (0)

EXPORT int bind(int fd, const struct sockaddr *a, socklen_t len)
{
	SOCKET_CALL(fd, sock_bind(s, fd, a, len), errno_of(sys(SYS_bind, fd, a, len)));
}

EXPORT int connect(int fd, const struct sockaddr *a, socklen_t len)
{
	SOCKET_CALL(fd, sock_connect(s, fd, a, len), real.connect(fd, a, len));
}

EXPORT int listen(int fd, int backlog)
{
	SOCKET_CALL(fd, sock_listen(s, fd, backlog), errno_of(sys(SYS_listen, fd, backlog)));
}

EXPORT int accept4(int fd, struct sockaddr *a, socklen_t *len, int flags)
{
	SOCKET_CALL(fd, sock_accept(s, fd, a, len, flags), fresh_fd(real.accept4(fd, a, len, flags)));
}

EXPORT int accept(int fd, struct sockaddr *a, socklen_t *len) { return accept4(fd, a, len, 0); }

EXPORT int shutdown(int fd, int how)
{
	SOCKET_CALL(fd, sock_shutdown(s, fd, how), errno_of(sys(SYS_shutdown, fd, how)));
}

EXPORT int getsockname(int fd, struct sockaddr *a, socklen_t *len)
{
	SOCKET_CALL(fd, sock_name(s, fd, a, len, false), errno_of(sys(SYS_getsockname, fd, a, len)));
}

EXPORT int getpeername(int fd, struct sockaddr *a, socklen_t *len)
{
	SOCKET_CALL(fd, sock_name(s, fd, a, len, true), errno_of(sys(SYS_getpeername, fd, a, len)));
}

EXPORT int getsockopt(int fd, int level, int name, void *val, socklen_t *len)
{
	SOCKET_CALL(fd, sock_getsockopt(s, fd, level, name, val, len),
		    errno_of(sys(SYS_getsockopt, fd, level, name, val, len)));
}

EXPORT int setsockopt(int fd, int level, int name, const void *val, socklen_t len)
{
	SOCKET_CALL(fd, sock_setsockopt(s, fd, level, name, val, len),
		    errno_of(sys(SYS_setsockopt, fd, level, name, val, len)));
}

EXPORT int ioctl(int fd, unsigned long req, ...)
{
	struct sock *s = sock_get(fd);
	va_list args;
	void *arg;
	int r = -ENOTTY;

	va_start(args, req);
	arg = va_arg(args, void *);
	va_end(args);
	if (s) {
		r = sock_ioctl(s, fd, req, arg);
		sock_put(s);
	}
	return errno_of(r == -ENOTTY ? sys(SYS_ioctl, fd, req, arg) : r);
}

EXPORT int sockatmark(int fd)
{
	int mark = 0;

	return ioctl(fd, 0x8905 /* SIOCATMARK */, &mark) < 0 ? -1 : mark;
}

EXPORT int isfdtype(int fd, int type)
{
	struct stat st;
	long r = sys(SYS_fstat, fd, &st);

	return r < 0 ? errno_of(r) : (st.st_mode & S_IFMT) == (mode_t)type;
}
