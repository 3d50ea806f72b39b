/* plain.c – tx1, rx8 on a socket that has become plain (services/tcp/sk_plain.c): the pair carries the stream itself, so the
 * kernel's calls are right. Called by proto.c. */
#include <signal.h>
#include <sys/syscall.h>

#include "services/shim/stream.h"

/* The kernel knows of an end, but not of what kind. */
static ssize_t ended(struct sock *s, ssize_t plain)
{
	int e = load_relaxed(&s->b.s->gen) == s->gen ? stream_error(&s->b, true) : 0;

	return e ? -e : plain;
}

ssize_t plain_recvmsg(struct sock *s, int fd, const struct iovec *v, int n, int flags)
{
	struct msghdr m = { .msg_iov = (struct iovec *)v, .msg_iovlen = (size_t)n };
	ssize_t r = real.recvmsg(fd, &m, flags & ~MSG_TRUNC);

	if (r < 0)
		return -errno;
	return r || !iov_total(v, n) ? r : ended(s, 0);
}

ssize_t plain_sendmsg(struct sock *s, int fd, const struct iovec *v, int n, int flags)
{
	struct msghdr m = { .msg_iov = (struct iovec *)v, .msg_iovlen = (size_t)n };
	ssize_t r = real.sendmsg(fd, &m, (flags & ~MSG_MORE) | MSG_NOSIGNAL);

	r = r < 0 ? -errno : r;
	if (r == -EPIPE)
		r = ended(s, r);
	if (r == -EPIPE && !(flags & MSG_NOSIGNAL))
		sys(SYS_tgkill, sys_getpid(), sys_gettid(), SIGPIPE);
	return r;
}
