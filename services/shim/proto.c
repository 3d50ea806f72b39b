/* proto.c – tx1 sock_sendmsg() and rx8 sock_recvmsg(): every call that sends or receives ends here, and goes on to what serves the
 * socket through its proto_ops.
 *
 * The security hooks of tx1 are sockd's (services/sock/security.c): who has a slot has been let in, and the descriptor is the
 * capability. Called by calls_io.c, calls_msg.c and strata.c; calls stream.c and stream_tx.c. */
#include <sys/syscall.h>

#include "services/shim/stream.h"

#define IOV_LIMIT 1024
#define SIGPIPE_ 13

/* Neither connected nor bound: sockd has not heard of it. */
static ssize_t fresh_sendmsg(struct sock *s, int fd, const struct iovec *v, int n, int flags)
{
	if (!(flags & MSG_NOSIGNAL))
		sys(SYS_tgkill, sys_getpid(), sys_gettid(), SIGPIPE_);
	return -EPIPE;
}

static ssize_t fresh_recvmsg(struct sock *s, int fd, const struct iovec *v, int n, int flags)
{
	return -ENOTCONN;
}

static const struct proto_ops inet_fresh_ops = { .sendmsg = fresh_sendmsg, .recvmsg = fresh_recvmsg };
static const struct proto_ops inet_stream_ops = { .sendmsg = tcp_sendmsg, .recvmsg = tcp_recvmsg };

/* 0 or -errno. */
static int bad_vector(const struct iovec *v, int n)
{
	if (n < 0 || n > IOV_LIMIT)
		return -EINVAL;
	if (n && bad_pointer(v))
		return -EFAULT;
	for (int i = 0; i < n; i++)
		if (v[i].iov_len && bad_pointer(v[i].iov_base))
			return -EFAULT;
	return 0;
}

static const struct proto_ops *ops_of(struct sock *s, int fd)
{
	sock_look_elsewhere(s, fd);
	return load_acquire(&s->life) == SOCK_LIVE ? &inet_stream_ops : &inet_fresh_ops;
}

ssize_t sock_sendmsg(struct sock *s, int fd, const struct iovec *v, int n, int flags)
{
	int r = bad_vector(v, n);

	if (r)
		return r;
	ssize_t done = ops_of(s, fd)->sendmsg(s, fd, v, n, flags);
	return done == STREAM_PLAIN ? plain_sendmsg(s, fd, v, n, flags) : done;
}

ssize_t sock_recvmsg(struct sock *s, int fd, const struct iovec *v, int n, int flags)
{
	int r = bad_vector(v, n);

	if (r)
		return r;
	if (flags & MSG_ERRQUEUE) {	/* recvmsg() is the call for it; others get the bytes alone */
		struct msghdr m = { .msg_iov = (struct iovec *)v, .msg_iovlen = (size_t)n };

		return sock_recv_error(s, &m);
	}
	if (flags & MSG_OOB) {
		sock_look_elsewhere(s, fd);
		return load_acquire(&s->life) == SOCK_LIVE ? urgent_recv(s, fd, v, n, flags) : -EINVAL;
	}
	ssize_t done = ops_of(s, fd)->recvmsg(s, fd, v, n, flags);
	return done == STREAM_PLAIN ? plain_recvmsg(s, fd, v, n, flags) : done;
}
