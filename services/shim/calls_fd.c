/* calls_fd.c – what makes, copies and ends descriptors, interposed.
 *
 * In the child of a vfork the memory is the parent's: the descriptors are changed, the table is not. */
#include <fcntl.h>
#include <linux/close_range.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "services/shim/calls.h"

EXPORT int close(int fd)
{
	if (fd_private(fd)) {
		errno = EBADF;		/* to the application it is not open */
		return -1;
	}
	if (ours(fd) && table_mine())
		table_drop(fd);		/* before the number can be given out again */
	real_need();
	return real.close(fd);
}

EXPORT int dup(int fd)
{
	long n = fd_private(fd) ? -EBADF : sys(SYS_dup, fd);

	if (n >= 0 && table_mine())
		table_dup(fd, (int)n);
	return errno_of(n);
}

static long dup_to(int from, int to, int flags)
{
	struct sock *s;
	long n;

	if (fd_private(from) || fd_private(to))
		return -EBADF;
	s = sock_get(from);
	if (table_mine() && from != to && s == NULL)
		table_drop(to);
	n = sys(SYS_dup3, from, to, flags);
	if (n >= 0 && s && table_mine())
		table_set(to, s);
	if (s)
		sock_put(s);
	return n;
}

EXPORT int dup2(int from, int to)
{
	if (from == to)
		return errno_of(sys_fcntl(from, F_GETFD, 0) < 0 ? -EBADF : to);
	return errno_of(dup_to(from, to, 0));
}

EXPORT int dup3(int from, int to, int flags)
{
	return errno_of(from == to ? -EINVAL : dup_to(from, to, flags));
}

static int do_fcntl(int fd, int cmd, long arg)
{
	long r = fd_private(fd) ? -EBADF : sys_fcntl(fd, cmd, arg);

	if (r >= 0 && (cmd == F_DUPFD || cmd == F_DUPFD_CLOEXEC) && table_mine())
		table_dup(fd, (int)r);
	return errno_of(r);
}

EXPORT int fcntl(int fd, int cmd, ...)
{
	va_list args;
	long arg;

	va_start(args, cmd);
	arg = va_arg(args, long);
	va_end(args);
	return do_fcntl(fd, cmd, arg);
}

EXPORT int fcntl64(int fd, int cmd, ...);
EXPORT int fcntl64(int fd, int cmd, ...)
{
	va_list args;
	long arg;

	va_start(args, cmd);
	arg = va_arg(args, long);
	va_end(args);
	return do_fcntl(fd, cmd, arg);
}

/* Around the shim's own descriptors. */
static long close_between(u32 lo, u32 hi, int flags)
{
	long r = 0;

	for (int own = own_next((int)MIN(lo, (u32)INT32_MAX)); own >= 0 && (u32)own <= hi; own = own_next(own + 1)) {
		if ((u32)own > lo)
			r = sys(SYS_close_range, lo, (u32)own - 1, flags);
		if (r < 0)
			return r;
		lo = (u32)own + 1;
	}
	return lo <= hi ? sys(SYS_close_range, lo, hi, flags) : 0;
}

EXPORT int close_range(unsigned lo, unsigned hi, int flags)
{
	if (lo > hi)
		return errno_of(-EINVAL);
	if (!(flags & (int)CLOSE_RANGE_CLOEXEC) && table_mine())
		table_drop_range(lo, hi);
	return errno_of(close_between(lo, hi, flags));
}

EXPORT void closefrom(int lo)
{
	close_range(lo < 0 ? 0 : (unsigned)lo, ~0u, 0);
}

/* stdio reads and writes inside the C library, past us: a stream on our socket is made of our own calls. */
static ssize_t cookie_read(void *cookie, char *buf, size_t n) { return read((int)(intptr_t)cookie, buf, n); }
static ssize_t cookie_write(void *cookie, const char *buf, size_t n)
{
	ssize_t r = write((int)(intptr_t)cookie, buf, n);

	return r < 0 ? 0 : r;
}
static int cookie_close(void *cookie) { return close((int)(intptr_t)cookie); }

EXPORT FILE *fdopen(int fd, const char *mode)
{
	cookie_io_functions_t io = { cookie_read, cookie_write, NULL, cookie_close };
	FILE *f;

	real_need();
	if (!ours(fd))
		return real.fdopen(fd, mode);
	f = fopencookie((void *)(intptr_t)fd, mode, io);
	if (f)
		f->_fileno = fd;	/* for fileno() */
	return f;
}

/* The calls that programs make by number. */
EXPORT long syscall(long n, ...)
{
	long a[6];
	va_list args;

	va_start(args, n);
	for (int i = 0; i < 6; i++)
		a[i] = va_arg(args, long);
	va_end(args);
	switch (n) {
	case SYS_read: return read((int)a[0], (void *)a[1], (size_t)a[2]);
	case SYS_write: return write((int)a[0], (const void *)a[1], (size_t)a[2]);
	case SYS_readv: return readv((int)a[0], (const struct iovec *)a[1], (int)a[2]);
	case SYS_writev: return writev((int)a[0], (const struct iovec *)a[1], (int)a[2]);
	case SYS_close: return close((int)a[0]);
	case SYS_close_range: return close_range((unsigned)a[0], (unsigned)a[1], (int)a[2]);
	case SYS_dup: return dup((int)a[0]);
	case SYS_dup3: return dup3((int)a[0], (int)a[1], (int)a[2]);
	case SYS_fcntl: return do_fcntl((int)a[0], (int)a[1], a[2]);
	case SYS_socket: return socket((int)a[0], (int)a[1], (int)a[2]);
	case SYS_connect: return connect((int)a[0], (const struct sockaddr *)a[1], (socklen_t)a[2]);
	case SYS_bind: return bind((int)a[0], (const struct sockaddr *)a[1], (socklen_t)a[2]);
	case SYS_listen: return listen((int)a[0], (int)a[1]);
	case SYS_accept4: return accept4((int)a[0], (struct sockaddr *)a[1], (socklen_t *)a[2], (int)a[3]);
	case SYS_recvfrom:
		return recvfrom((int)a[0], (void *)a[1], (size_t)a[2], (int)a[3], (struct sockaddr *)a[4], (socklen_t *)a[5]);
	case SYS_sendto:
		return sendto((int)a[0], (const void *)a[1], (size_t)a[2], (int)a[3], (const struct sockaddr *)a[4],
			      (socklen_t)a[5]);
	case SYS_recvmsg: return recvmsg((int)a[0], (struct msghdr *)a[1], (int)a[2]);
	case SYS_sendmsg: return sendmsg((int)a[0], (const struct msghdr *)a[1], (int)a[2]);
	case SYS_epoll_ctl: return epoll_ctl((int)a[0], (int)a[1], (int)a[2], (struct epoll_event *)a[3]);
	default:
		real_need();
		return real.syscall(n, a[0], a[1], a[2], a[3], a[4], a[5]);
	}
}
