/* calls_io.c – tx1, rx8: read, write and their families, interposed. */
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/sendfile.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "services/shim/calls.h"

#define SENDFILE_CHUNK 65536u

/* The number means something else by now: it was closed where we could not see it. */
static bool stale(struct sock *s, int fd, ssize_t r)
{
	bool gone = r == -ENOTSOCK || r == -EBADF;

	sock_put(s);
	if (gone && table_mine())
		table_drop(fd);
	return gone;
}

bool io_read(int fd, const struct iovec *v, int n, int flags, ssize_t *ret)
{
	struct sock *s = sock_get(fd);
	int saved = errno;
	ssize_t r;

	if (!s) {
		real_need();
		return false;
	}
	r = sock_recvmsg(s, fd, v, n, flags);
	if (stale(s, fd, r))
		return false;
	errno = saved;
	*ret = errno_size(r);
	return true;
}

bool io_send_to(int fd, const struct iovec *v, int n, int flags, const struct sockaddr *a, socklen_t len, ssize_t *ret)
{
	struct sock *s = sock_get(fd);
	int saved = errno;
	ssize_t r;

	if (!s) {
		real_need();
		return false;
	}
	if (unlikely(flags & MSG_FASTOPEN))
		r = sock_send_fastopen(s, fd, v, n, flags, a, len);
	else
		r = sock_sendmsg(s, fd, v, n, flags);
	if (stale(s, fd, r))
		return false;
	errno = saved;
	*ret = errno_size(r);
	return true;
}

bool io_write(int fd, const struct iovec *v, int n, int flags, ssize_t *ret)
{
	return io_send_to(fd, v, n, flags, NULL, 0, ret);
}

EXPORT ssize_t read(int fd, void *buf, size_t n)
{
	struct iovec v = { buf, n };
	ssize_t r;

	if (!n && ours(fd))
		return 0;		/* recv() would look, and may wait */
	return io_read(fd, &v, 1, 0, &r) ? r : real.read(fd, buf, n);
}

EXPORT ssize_t __read_chk(int fd, void *buf, size_t n, size_t size);
EXPORT ssize_t __read_chk(int fd, void *buf, size_t n, size_t size)
{
	if (n > size)
		abort();
	return read(fd, buf, n);
}

EXPORT ssize_t write(int fd, const void *buf, size_t n)
{
	struct iovec v = { (void *)buf, n };
	ssize_t r;

	return io_write(fd, &v, 1, 0, &r) ? r : real.write(fd, buf, n);
}

EXPORT ssize_t readv(int fd, const struct iovec *v, int n)
{
	ssize_t r;

	if (n == 0 && ours(fd))
		return 0;
	return io_read(fd, v, n, 0, &r) ? r : real.readv(fd, v, n);
}

EXPORT ssize_t writev(int fd, const struct iovec *v, int n)
{
	ssize_t r;

	return io_write(fd, v, n, 0, &r) ? r : real.writev(fd, v, n);
}

EXPORT ssize_t preadv2(int fd, const struct iovec *v, int n, off_t off, int flags)
{
	ssize_t r;

	if (off == -1 && io_read(fd, v, n, flags & RWF_NOWAIT ? MSG_DONTWAIT : 0, &r))
		return r;
	real_need();
	return real.preadv2(fd, v, n, off, flags);
}

EXPORT ssize_t pwritev2(int fd, const struct iovec *v, int n, off_t off, int flags)
{
	ssize_t r;

	if (off == -1 && io_write(fd, v, n, flags & RWF_NOWAIT ? MSG_DONTWAIT : 0, &r))
		return r;
	real_need();
	return real.pwritev2(fd, v, n, off, flags);
}

/* The names programs built for 64-bit file offsets ask for. */
EXPORT ssize_t preadv64v2(int fd, const struct iovec *v, int n, off64_t off, int flags) { return preadv2(fd, v, n, off, flags); }
EXPORT ssize_t pwritev64v2(int fd, const struct iovec *v, int n, off64_t off, int flags) { return pwritev2(fd, v, n, off, flags); }

/* A file into the ring, as much as fits. The file's position moves by what was sent, not by what was read. */
static ssize_t send_file(int out, int in, off_t *off, size_t count)
{
	char buf[SENDFILE_CHUNK];
	size_t done = 0;
	long at = off ? *off : sys(SYS_lseek, in, 0, SEEK_CUR);

	if (at < 0)
		return errno_size(at == -ESPIPE ? -EINVAL : at);
	while (done < count) {
		size_t want = MIN(count - done, sizeof(buf));
		long n = sys(SYS_pread64, in, buf, want, at + (long)done);
		struct iovec v = { buf, (size_t)n };
		ssize_t r = -1;

		if (n < 0 && !done)
			return errno_size(n);
		if (n <= 0)
			break;
		if (!io_write(out, &v, 1, done + (size_t)n < count && (size_t)n == want ? MSG_MORE : 0, &r) || r < 0) {
			if (!done)
				return -1;
			break;
		}
		done += (size_t)r;
		if (r < n)
			break;
	}
	if (off)
		*off = at + (long)done;
	else
		sys(SYS_lseek, in, at + (long)done, SEEK_SET);
	return (ssize_t)done;
}

EXPORT ssize_t sendfile(int out, int in, off_t *off, size_t n)
{
	if (ours(in)) {
		errno = EINVAL;		/* a socket is not mmap()able */
		return -1;
	}
	if (ours(out))
		return send_file(out, in, off, n);
	return errno_size(sys(SYS_sendfile, out, in, off, n));
}

EXPORT ssize_t sendfile64(int out, int in, off64_t *off, size_t n) { return sendfile(out, in, (off_t *)off, n); }

/* Programs that try these fall back to read and write on EINVAL. */
EXPORT ssize_t splice(int in, off64_t *in_off, int out, off64_t *out_off, size_t n, unsigned flags)
{
	return errno_size(ours(in) || ours(out) ? -EINVAL : sys(SYS_splice, in, in_off, out, out_off, n, flags));
}

EXPORT ssize_t tee(int in, int out, size_t n, unsigned flags)
{
	return errno_size(ours(in) || ours(out) ? -EINVAL : sys(SYS_tee, in, out, n, flags));
}

EXPORT ssize_t copy_file_range(int in, off64_t *in_off, int out, off64_t *out_off, size_t n, unsigned flags)
{
	return errno_size(ours(in) || ours(out) ? -EINVAL : sys(SYS_copy_file_range, in, in_off, out, out_off, n, flags));
}

/* stdio inside the C library writes past us: print to memory, then write. Also for what is not ours, the same text. */
EXPORT int vdprintf(int fd, const char *fmt, va_list args)
{
	char *text = NULL;
	int n = vasprintf(&text, fmt, args), done = 0;

	while (n > 0 && done < n) {
		ssize_t r = write(fd, text + done, (size_t)(n - done));

		if (r < 0 && errno != EINTR) {
			n = -1;
			break;
		}
		done += r > 0 ? (int)r : 0;
	}
	free(text);
	return n;
}

EXPORT int dprintf(int fd, const char *fmt, ...)
{
	va_list args;
	int n;

	va_start(args, fmt);
	n = vdprintf(fd, fmt, args);
	va_end(args);
	return n;
}

EXPORT int __dprintf_chk(int fd, int flag, const char *fmt, ...);
EXPORT int __dprintf_chk(int fd, int flag, const char *fmt, ...)
{
	va_list args;
	int n;

	va_start(args, fmt);
	n = vdprintf(fd, fmt, args);
	va_end(args);
	return n;
}

EXPORT int __vdprintf_chk(int fd, int flag, const char *fmt, va_list args);
EXPORT int __vdprintf_chk(int fd, int flag, const char *fmt, va_list args) { return vdprintf(fd, fmt, args); }
