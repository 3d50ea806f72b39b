/* sk_mbox.c – tx1, tcpd's end: socket calls from sockd's mailboxes. proto/shm/sock.h describes the protocol.
 *
 * Crash rule 7: a request whose effect was stored but not its answer is carried out again by a successor; each call
 * is such that the second time changes nothing. Called by sk_loop.c. */
#include "tcpd.h"

#include <sys/socket.h>

int mbox_attach(struct tcpd *x)
{
	struct sock_shm *o = x->d.sock;
	struct tcp_shm *t = x->d.tcp;

	ring_attach_consumer(&x->hints_in, &o->sock_tcp, &t->sock_tcp, o->sock_tcp_slots, SOCK_HINTS, sizeof(u32));
	ring_attach_producer(&x->hints_out, &t->tcp_sock, &o->tcp_sock, t->tcp_sock_slots, SOCK_HINTS, sizeof(u32));
	x->hints_lost = true;	/* sockd looks at everything once */
	return 0;
}

void mbox_hint(struct tcpd *x, u32 what)
{
	u32 *slot = x->hints_lost ? NULL : ring_reserve(&x->hints_out);

	if (slot)
		*slot = what;
	else
		x->hints_lost = true;
}

/* Does the request mean the socket that lives in this slot now? The far end may still lie in a lot. */
static bool knows(struct tcpd *x, u32 sk, u32 gen)
{
	if (!x->t.arena[SK_ARENA(sk)].used)
		return false;
	if (SK_SLOT(sk) < ARENA_ACTIVE)
		return x->far[sk].kind == FAR_ACTIVE && x->far[sk].gen == gen;
	const struct tcp_sock *c = &x->d.tcp->t.sk[sk];
	return load_relaxed(&((struct tcp_sock *)c)->phase) != TCPP_FREE && c->gen == gen;
}

/* A successor finds a bind open that its predecessor had carried out: it is bound to just that. */
static int bind_again(struct tcpd *x, u32 sk, const struct sk_ctl *q, int r)
{
	const struct tcp_sock *c = &x->d.tcp->t.sk[sk];

	if (r == -EINVAL && x->d.loop.passes == 0 && (c->so & TSO_BOUND_PORT) && be32_eq(c->tuple.laddr, q->addr) &&
	    be16_eq(c->tuple.lport, q->port))
		return 0;
	return r;
}

/* The listener was shut down: who waits in accept() gets a byte that is no offer, and looks at the state. */
static void wake_acceptors(struct tcpd *x, u32 sk)
{
	static const u8 bytes[64];

	if (x->far[sk].kind && load_relaxed(&x->d.tcp->t.sk[sk].phase) != TCPP_LISTEN)
		send(x->far[sk].r.far, bytes, sizeof(bytes), MSG_DONTWAIT | MSG_NOSIGNAL);
}

static int carry_out(struct tcpd *x, u32 sk, const struct sk_ctl *q, u32 seq, struct sk_ans *ans)
{
	struct tcp_stack *t = &x->t;
	u32 len = MIN(q->optlen, SOCK_OPT_MAX);
	bool listens;
	int r;

	ans->len = 0;
	switch (q->op) {
	case SKOP_NONE:
		return 0;
	case SKOP_BIND:
		return bind_again(x, sk, q, tcp_bind(t, sk, q->addr, q->port));
	case SKOP_CONNECT:
		r = q->arg & SKOP_CONNECT_FASTOPEN ? tcp_connect_fastopen(t, sk, q->addr, q->port, seq) :
						     tcp_connect(t, sk, q->addr, q->port, seq);
		if (r == -EALREADY && x->d.loop.passes == 0)
			return 0;	/* a predecessor began it; it goes on by itself */
		if (r && r != -EISCONN && r != -EALREADY)
			far_unplug(x, sk);	/* the shim plugged before it asked */
		return r;
	case SKOP_LISTEN:
		r = tcp_listen(t, sk, q->arg);
		if (!r)
			far_listens(x, sk);
		return r;
	case SKOP_SHUTDOWN:
		listens = load_relaxed(&x->d.tcp->t.sk[sk].phase) == TCPP_LISTEN;
		r = tcp_shutdown(t, sk, q->arg);
		if (!r && listens)
			wake_acceptors(x, sk);
		return r;
	case SKOP_SETSOCKOPT:
		return tcp_setsockopt(t, sk, q->level, q->optname, q->optval, len);
	case SKOP_GETSOCKOPT:
		ans->len = len;
		return tcp_getsockopt(t, sk, q->level, q->optname, ans->data, &ans->len);
	case SKOP_DISCONNECT:
		return tcp_disconnect(t, sk);
	default:
		return -EOPNOTSUPP;
	}
}

static bool mbox_look(struct tcpd *x, u32 sk)
{
	struct sk_ctl *ctl = &x->d.sock->ctl[sk], q;
	struct sk_ans *ans = &x->d.tcp->ans[sk];
	u32 seq = load_acquire(&ctl->op_seq);	/* pairs with the release in sockd's mailbox_post() */

	if (seq == load_relaxed(&ans->done_seq))
		return false;
	memcpy(&q, ctl, sizeof(q));
	if (!knows(x, sk, q.want_gen))
		tcp_lots_find(x, sk, q.want_gen);	/* parked before it was asked for */
	if (knows(x, sk, q.want_gen)) {
		ans->result = carry_out(x, sk, &q, seq, ans);
	} else {
		ans->result = x->far[sk].starved && x->far[sk].gen == q.want_gen ? -ENOBUFS : -EBADF;
		ans->len = 0;
		if (SK_SLOT(sk) < ARENA_ACTIVE && q.want_gen == load_relaxed(&ctl->gen))
			store_release(&ans->freed_gen, q.want_gen);	/* never parked, or gone: sockd may have the slot */
	}
	store_release(&ans->done_seq, seq);	/* pairs with the acquire in sockd's mailbox_busy() */
	mbox_hint(x, sk);
	return true;
}

void mbox_scan(struct tcpd *x)
{
	for (u32 a = 0; a < ARENA_MAX; a++) {
		const struct sock_arena *o = &x->d.sock->arena[a];

		if (!(load_acquire(&((struct sock_arena *)o)->used) & 1))
			continue;
		for (u32 i = 0; i < MIN(load_acquire(&((struct sock_arena *)o)->high), ARENA_ACTIVE); i++)
			mbox_look(x, SK(a, i));
		TCP_SLOT_EACH(sk, x->t.t, SK(a, ARENA_ACTIVE), SK(a + 1, 0))
			mbox_look(x, sk);
	}
}

static void hints_flush(struct tcpd *x)
{
	if (x->hints_lost && ring_space(&x->hints_out) > 1) {
		x->hints_lost = false;
		mbox_hint(x, SOCK_HINT_SCAN);
	}
	if (ring_dirty(&x->hints_out)) {
		ring_publish(&x->hints_out);
		daemon_ring(&x->d, REGION_SOCK);
	}
}

/* Somebody may have died between publishing a word and kicking for it: every socket is looked at. */
static void kick_arena(struct tcpd *x, u32 id)
{
	TCP_SLOT_OF_ARENA(sk, x->t.t, id)
		if (x->far[sk].kind)
			sk_kicked(x, sk);
}

u32 mbox_poll(struct tcpd *x)
{
	u32 n = ring_count(&x->hints_in);

	for (u32 i = 0; i < n; i++) {
		u32 what = *(const u32 *)ring_peek(&x->hints_in);

		ring_next(&x->hints_in);
		if (what == SOCK_HINT_SCAN) {
			arenas_scan(x);
			tcp_lots_walk(x);
			mbox_scan(x);
			BIT_EACH(a, x->mapped, ARENA_MAX)
				kick_arena(x, a);
		} else if (what < SK_MAX) {
			mbox_look(x, what);
		} else if ((what & ~SOCK_HINT_GONE) < ARENA_MAX) {
			arena_look(x, what & ~SOCK_HINT_GONE);
		} else if ((what & ~SOCK_HINT_KICK) < ARENA_MAX) {
			kick_arena(x, what & ~SOCK_HINT_KICK);
		}
	}
	if (n)
		ring_release(&x->hints_in);
	hints_flush(x);
	return n;
}

bool mbox_pending(struct tcpd *x)
{
	return ring_count(&x->hints_in) || ring_dirty(&x->hints_out) || (x->hints_lost && ring_space(&x->hints_out) > 1);
}
