/* tcp_fastopen.c – Fast Open (RFC 7413), the listener's side: cookies given, data in a SYN taken. rx6.
 *
 * A SYN with a good cookie makes the connection at once: its data is in the receive ring and the application may answer
 * before the third segment of the handshake. Until that comes the block's syn_out is set: hard, because nothing else says
 * that our SYN+ACK waits for its ACK (tx_tail is where it will be afterwards, too).
 *
 * Exactly once: the block is published by its phase, then the bytes, then rx_head, then the SYN+ACK that acknowledges them
 * leaves. A death before the phase: nobody has heard of the connection, the SYN comes again. Before rx_head: a successor's
 * SYN+ACK acknowledges the SYN alone, and the peer sends the data. After it: the SYN again finds the connection and is
 * answered, its data is not looked at. (That a SYN may be doubled on the way and arrive when its connection is long over is
 * in the nature of Fast Open, RFC 7413 2.1; who sets TCP_FASTOPEN can bear it.)
 *
 * Called by tcp_minisocks.c, tcp_state.c and tcp_close.c. */
#include "services/tcp/path.h"

#define PENALTY (60 * SEC)	/* how long a connection that was reset before its ACK counts (RFC 7413 5.1) */

/* RFC 7413 4.1.2: of the peer's address, and ours, under a key that stays over restarts. */
static void cookie_of(struct tcp_stack *t, const struct tcp_tuple *k, u8 ret[TCP_FO_COOKIE])
{
	struct { be32 f, l; } in = { k->faddr, k->laddr };
	u64 h = tcp_siphash(t->secret->fastopen, &in, sizeof(in));

	memcpy(ret, &h, TCP_FO_COOKIE);
}

/* The option at p; len 0 asks for a cookie. A multiple of four. */
u32 tcp_fastopen_option(u8 *p, const u8 *cookie, u8 len)
{
	u32 n = ALIGN_UP(2u + len, 4);

	memset(p, TCPOPT_NOP, n);
	p[0] = TCPOPT_FASTOPEN;
	p[1] = (u8)(2 + len);
	memcpy(p + 2, cookie, len);
	return n;
}

u32 tcp_fastopen_give(struct tcp_stack *t, const struct tcp_tuple *k, u8 *p)
{
	u8 cookie[TCP_FO_COOKIE];

	cookie_of(t, k, cookie);
	return tcp_fastopen_option(p, cookie, TCP_FO_COOKIE);
}

/* RFC 7413 5.1: connections whose peers have not proven that they hear us are few. */
static bool queue_full(struct tcp_conn *l)
{
	if (l->t->now >= l->fo_penalty_until)
		l->fo_penalty = 0;
	return l->fo_pending + l->fo_penalty >= l->h->fastopen_max;
}

/* A SYN for a listener: what to do about its option, or about there being none. */
enum tcp_fo tcp_fastopen_syn(struct tcp_conn *l, const struct tcp_seg *g)
{
	struct tcp_stack *t = l->t;
	u8 cookie[TCP_FO_COOKIE];

	if (!g->cookie || !(t->conf->fastopen & FASTOPEN_SERVER) || !l->h->fastopen_max)
		return FO_NOTHING;
	if (queue_full(l)) {
		count(t->counters, TCP_FASTOPEN_OVERFLOW);
		return FO_NOTHING;
	}
	if (!g->cookielen) {
		count(t->counters, TCP_FASTOPEN_COOKIES);
		return FO_GIVE;
	}
	cookie_of(t, &g->tuple, cookie);
	if (g->cookielen != TCP_FO_COOKIE || memcmp(g->cookie, cookie, TCP_FO_COOKIE)) {
		count(t->counters, TCP_FASTOPEN_PASSIVE_FAIL);
		return FO_GIVE;
	}
	return g->len ? FO_TAKE : FO_NOTHING;
}

/* The connection of a SYN is published: its data, then the SYN+ACK, which is repeated until it is acknowledged. */
void tcp_fastopen_child(struct tcp_conn *l, struct tcp_conn *c, struct tcp_seg *g)
{
	c->cf |= CF_SYN_OUT;
	c->fo |= FO_SYN_DATA;
	l->fo_pending++;
	conn_count(l, TCP_FASTOPEN_PASSIVE);
	tcp_data_queue(c, g);
	if (tcp_send_syn(c))
		tcp_wait_for_room(c);
	timer_arm(&c->t->soft->wheel, &c->rtx, c->t->now + c->rto);
}

static void no_longer_pending(struct tcp_conn *c)
{
	struct tcp_conn *l = tcp_parent_of(c);

	c->cf &= ~(u32)CF_SYN_OUT;
	if (l && l->fo_pending)
		l->fo_pending--;
}

/* A start: the SYN+ACK waits for its ACK still. */
void tcp_fastopen_wake(struct tcp_conn *c)
{
	struct tcp_conn *l = tcp_parent_of(c);

	c->cf |= CF_SYN_OUT;
	if (l)
		l->fo_pending++;
	timer_arm(&c->t->soft->wheel, &c->rtx, c->t->now + 100 * MSEC);
}

/* The connection ends before its handshake did. RST: a spoofed SYN's victim sends one, and the sender may have many victims. */
void tcp_fastopen_ended(struct tcp_conn *c, bool by_reset)
{
	struct tcp_conn *l = tcp_parent_of(c);

	if (!(c->cf & CF_SYN_OUT))
		return;
	no_longer_pending(c);
	if (l && by_reset) {
		l->fo_penalty++;
		l->fo_penalty_until = c->t->now + PENALTY;
	}
}

/* Its SYN again: our SYN+ACK was lost. true: that was all. */
bool tcp_fastopen_syn_again(struct tcp_conn *c, const struct tcp_seg *g)
{
	if (!(c->cf & CF_SYN_OUT) || (g->flags & (TCP_SYN | TCP_ACK | TCP_RST)) != TCP_SYN || g->seq != c->h->irs)
		return false;
	if (tcp_send_syn(c))
		tcp_wait_for_room(c);
	return true;
}

/* The third segment of the handshake (RFC 9293 3.10.7.4, SYN-RECEIVED). false: it acknowledges something else. */
bool tcp_fastopen_acked(struct tcp_conn *c, const struct tcp_seg *g)
{
	u64 ack = snd_off(c, g->ack);

	if (!(c->cf & CF_SYN_OUT))
		return true;
	if (before(ack, c->h->tx_base) || after(ack, snd_nxt(c))) {
		conn_count(c, DROP_TCP_ACK);
		tcp_v4_send_reset(c->t, g);
		return false;
	}
	store_release(&c->h->syn_out, 0);
	no_longer_pending(c);
	timer_cancel(&c->t->soft->wheel, &c->rtx);
	if (c->retransmits) {
		c->rto = 3 * SEC;	/* RFC 6298 5.7 */
		for (struct tcp_rec *r = c->head; r; r = r->next)
			tcp_mark_lost(c, r);	/* the peer did not know us when it came */
	} else if (c->retrans_stamp) {
		tcp_rtt_estimator(c, (u32)MAX((c->t->now - c->retrans_stamp) / 1000, 1ull));
	}
	c->retransmits = c->backoff = 0;
	c->retrans_stamp = 0;
	store_relaxed(&c->h->giveup_start, 0);
	tcp_rearm_rto(c);
	return true;
}
