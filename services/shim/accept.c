/* accept.c – taking a connection: one message from the listener's descriptor, one compare-and-swap.
 *
 * The offer carries the connection's descriptor. It is claimed in the client's own words, so that an offer received
 * by a process that died at once is told from one that is being used (crash rule 7). */
#include <fcntl.h>
#include <sys/syscall.h>

#include "services/shim/shim.h"
#include "services/shim/stream.h"

/* The next offer and its descriptor, as a blocking call on the listener. The descriptor, or -errno. */
static int receive_offer(int fd, struct accept_offer *o, int flags)
{
	union { struct cmsghdr h; char space[CMSG_SPACE(sizeof(int))]; } control;
	struct iovec v = { o, sizeof(*o) };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control) };
	struct cmsghdr *c;
	ssize_t n = real.recvmsg(fd, &m, flags & SOCK_CLOEXEC ? MSG_CMSG_CLOEXEC : 0);
	int conn;

	if (n < 0)
		return -errno;
	if (n == 0)
		return -EINVAL;		/* the listener was shut down */
	c = CMSG_FIRSTHDR(&m);
	if (n != sizeof(*o) || !c || c->cmsg_type != SCM_RIGHTS || c->cmsg_len != CMSG_LEN(sizeof(int)))
		return m.msg_flags & MSG_CTRUNC ? -EMFILE : -ECONNABORTED;
	memcpy(&conn, CMSG_DATA(c), sizeof(conn));
	return conn;
}

/* 0: it is ours. -ECONNABORTED: it is over, or somebody else's. */
static int claim(struct sock *s, int conn, const struct accept_offer *o, u32 opts)
{
	u64 was = o->claim_was;
	int e = arena_ensure(SK_ARENA(o->sk), conn, false);

	if (e)
		return e;
	sock_live(s, o->sk, o->gen);
	if (load_acquire(&s->b.s->gen) != o->gen) {	/* over; or we have an earlier arena of this number mapped */
		if (arena_ensure(SK_ARENA(o->sk), conn, true))
			return -ECONNABORTED;
		sock_live(s, o->sk, o->gen);
		if (load_acquire(&s->b.s->gen) != o->gen)
			return -ECONNABORTED;
	}
	sock_words_reset(s, opts);
	if (!atomic_compare_exchange_strong(&s->b.c->claim, &was, o->nonce))
		return -ECONNABORTED;
	arena_kick(o->sk);
	return 0;
}

/* Like every other option, these are inherited from the listener. */
static void take_timeouts(int listener, int conn, struct sock *n)
{
	static const int names[] = { SO_RCVTIMEO, SO_SNDTIMEO };

	for (u32 i = 0; i < ARRAY_SIZE(names); i++) {
		u64 value[2];
		u32 len = sizeof(value);

		if (sys_getsockopt(listener, SOL_SOCKET, names[i], value, &len) == 0)
			sys_setsockopt(conn, SOL_SOCKET, names[i], value, len);
	}
	n->timeouts = true;
}

int sock_accept(struct sock *s, int fd, struct sockaddr *a, socklen_t *len, int flags)
{
	struct accept_offer o;
	struct sock *n;
	int conn, e, small = 0;
	long probe;

	if ((a && bad_pointer(a)) || (a && bad_pointer(len)))
		return -EFAULT;
	if (flags & ~(SOCK_CLOEXEC | SOCK_NONBLOCK))
		return -EINVAL;
	if (load_acquire(&s->life) != SOCK_LIVE || load_acquire(&s->b.s->state) != SKS_LISTEN)
		return -EINVAL;
	for (;;) {
		probe = sys_fcntl(fd, F_DUPFD_CLOEXEC, 0);	/* a full table is told before an offer is taken */
		if (probe < 0)
			return (int)probe;
		sys_close((int)probe);
		conn = receive_offer(fd, &o, flags);
		if (conn == -ECONNABORTED && load_acquire(&s->b.s->state) != SKS_LISTEN)
			return -EINVAL;	/* shut down while we waited */
		if (conn == -ECONNABORTED)
			continue;
		if (conn < 0)
			return conn;
		n = sock_new();
		e = n ? 0 : -ENOMEM;
		if (n) {
			n->v6 = s->v6;
			e = claim(n, conn, &o, load_relaxed(&s->b.c->opts) & (SKC_NODELAY | SKC_CORK | SKC_OOBINLINE));
			if (!e)
				e = table_set(conn, n);
			sock_put(n);
		}
		arena_kick(s->sk);	/* there is room for one more offer */
		if (!e)
			break;
		sys_close(conn);
		if (e != -ECONNABORTED)
			return e;
	}
	sys_setsockopt(conn, SOL_SOCKET, SO_SNDBUF, &small, sizeof(small));
	if (s->timeouts)
		take_timeouts(fd, conn, n);
	if (flags & SOCK_NONBLOCK)
		sys_fcntl(conn, F_SETFL, O_RDWR | O_NONBLOCK);
	if (a && len)
		sock_address(n, o.faddr, o.fport, a, len);
	return conn;
}
