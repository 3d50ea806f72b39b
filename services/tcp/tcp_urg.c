/* tcp_urg.c – urgent data, RFC 9293 3.8.5 as RFC 6093 tells what hosts do: one urgent byte, the last of what MSG_OOB sent; the
 * pointer on the wire names the byte after it. rx6 and tx3.
 *
 *   sending     the application stores where its urgent bytes end (sk_client.urg_at), h->snd_up takes it over before
 *               snd_nxt passes: hard state, so that a successor's retransmissions say the same. While it is not acknowledged
 *               segments are sent one by one (the pointer counts from each one's number), and Nagle does not hold them.
 *   receiving   sk_stack.urg marks the byte, in memory that outlives us; the byte itself is in the ring like any other, and
 *               the application's library takes it out of line (services/shim/urgent.c). Only ever forward.
 * Called by tcp_rcv_state_process(), tcp_take_words(), and when segments are cut and filled in. */
#include "services/tcp/path.h"

/* tcp_check_urg() */
void tcp_urg(struct tcp_conn *c, struct tcp_seg *g)
{
	u64 at;

	if (!(g->flags & TCP_URG) || !g->urg || fin_rcv(c))
		return;
	at = rcv_off(c, g->seq) + g->urg;
	if (before(at - 1, rcv_nxt(c)) || !after(at, load_relaxed(&c->b.s->urg)))
		return;
	store_release(&c->b.s->urg, at);
	c->t->ops->data_ready(c->t->ctx, c->sk);
}

/* The client's word: hostile, so only what lies in what it wrote and is not yet acknowledged. Else it costs him the urgency. */
void tcp_take_urg(struct tcp_conn *c)
{
	u64 at = load_relaxed(&c->b.c->urg_at);	/* stored before the tx_head that was loaded with acquire */

	if (at != load_relaxed(&c->h->snd_up) && after(at, snd_una(c)) && !after(at, c->write_seq))
		store_release(&c->h->snd_up, at);
}

bool tcp_urg_mode(const struct tcp_conn *c)
{
	u64 up = load_relaxed(&c->h->snd_up);

	return unlikely(up != 0) && after(up, snd_una(c));
}

/* The pointer for a segment at off; 0: none. As far as 16 bits reach; beyond that only that there is urgent data. */
u16 tcp_urg_ptr(const struct tcp_conn *c, u64 off)
{
	u64 up = load_relaxed(&c->h->snd_up);

	if (likely(!up) || !tcp_urg_mode(c) || !before(off, up))
		return 0;
	if (up - off < 0x10000)
		return (u16)(up - off);
	return after(off + 0xffff, snd_nxt(c)) ? 0xffff : 0;
}
