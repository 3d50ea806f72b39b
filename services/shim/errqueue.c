/* errqueue.c – recvmsg with MSG_ERRQUEUE: ICMP errors that ended a connect, as ip_recv_error() gives them.
 *
 * The queue is in the stack's half of the arena (struct sk_errq), so it is there whatever has died. As in Linux's TCP only an
 * error during a connect is queued, IP_RECVERR or not; IP_RECVERR decides who is told of an error of a live connection: the next
 * call (stream_error()), or nobody but SO_ERROR. What a pair cannot do: epoll shows no ERR for a queue alone, poll() does.
 * Called by calls_msg.c and proto.c. */
#include <time.h>
#include <linux/errqueue.h>

#include "services/shim/shim.h"
#include "services/shim/stream.h"

/* The oldest entry, taken by compare-and-swap: threads may race for it, each gets one of its own. */
static bool take(const struct sockbuf *b, struct sk_error *ret)
{
	u32 tail = atomic_load(&b->c->errq_tail);

	do {
		u32 n = load_acquire(&b->s->errq_head) - tail;	/* pairs with the release in queue_error() */

		if (!n || n > SK_ERRQ)
			return false;
		*ret = b->errq->e[tail % SK_ERRQ];
	} while (!atomic_compare_exchange_weak(&b->c->errq_tail, &tail, tail + 1));
	ret->len = MIN(ret->len, SK_ERRQ_DATA);
	return true;
}

/* Setting IP_RECVERR to 0 throws away what is there. */
void sock_error_purge(struct sock *s)
{
	struct sk_error e;

	while (load_acquire(&s->life) == SOCK_LIVE && take(&s->b, &e))
		;
}

static size_t scatter(const struct msghdr *m, const u8 *from, size_t n)
{
	size_t done = 0;

	for (size_t i = 0; i < m->msg_iovlen && done < n; i++) {
		size_t l = MIN(n - done, m->msg_iov[i].iov_len);

		memcpy(m->msg_iov[i].iov_base, from + done, l);
		done += l;
	}
	return done;
}

/* put_cmsg(): what does not fit is cut, and MSG_CTRUNC says so. */
static void put_control(struct msghdr *m, int level, int type, const void *data, size_t n)
{
	size_t room = m->msg_control ? m->msg_controllen : 0;
	struct cmsghdr h = { .cmsg_level = level, .cmsg_type = type, .cmsg_len = CMSG_LEN(n) };

	m->msg_controllen = 0;
	if (room < sizeof(h)) {
		m->msg_flags |= MSG_CTRUNC;
		return;
	}
	if (room < h.cmsg_len) {
		m->msg_flags |= MSG_CTRUNC;
		h.cmsg_len = room;
	}
	memcpy(m->msg_control, &h, sizeof(h));
	memcpy((u8 *)m->msg_control + CMSG_LEN(0), data, h.cmsg_len - CMSG_LEN(0));
	m->msg_controllen = MIN(CMSG_SPACE(n), room);
}

ssize_t sock_recv_error(struct sock *s, struct msghdr *m)
{
	struct { struct sock_extended_err ee; union { struct sockaddr_in in; struct sockaddr_in6 in6; } from; } c = { 0 };
	socklen_t len = sizeof(c.from);
	struct sk_error e;
	size_t n;

	if (load_acquire(&s->life) != SOCK_LIVE || !take(&s->b, &e))
		return -EAGAIN;
	m->msg_flags = MSG_ERRQUEUE;
	n = scatter(m, e.data, e.len);
	if (n < e.len)
		m->msg_flags |= MSG_TRUNC;
	if (m->msg_name)
		sock_address(s, e.daddr, e.dport, m->msg_name, &m->msg_namelen);
	c.ee = (struct sock_extended_err){ .ee_errno = e.err, .ee_origin = SO_EE_ORIGIN_ICMP, .ee_type = e.type, .ee_code = e.code,
					   .ee_info = e.info };
	sock_address(s, e.offender, (be16){ 0 }, (struct sockaddr *)&c.from, &len);
	put_control(m, s->v6 ? IPPROTO_IPV6 : IPPROTO_IP, s->v6 ? IPV6_RECVERR : IP_RECVERR, &c, sizeof(c.ee) + len);
	if (!stream_error_queued(&s->b))
		stream_error(&s->b, true);	/* Linux: the last one read takes the pending error along */
	return (ssize_t)n;
}
