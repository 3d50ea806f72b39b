/* tcp_mtu.c – path MTU: what the network says fits, and what that means for bytes in flight. From tcp_v4_err(). */
#include "services/tcp/path.h"

/* Segments have become smaller than `old`. */
static void refit(struct tcp_conn *c, u32 old)
{
	if (c->mss >= old || !c->head)
		return;
	/* What is in flight does not fit: send it again in smaller pieces, without punishing the window */
	for (struct tcp_rec *r = c->head; r; r = r->next) {
		c->packets_out -= r->pcount;
		if (r->flags & REC_SACKED)
			c->sacked_out -= r->pcount;
		if (r->flags & REC_LOST)
			c->lost_out -= r->pcount;
		if (r->flags & REC_RETRANS)
			c->retrans_out -= r->pcount;
		r->flags &= (u8)~REC_RETRANS;
		r->pcount = tcp_pcount(c, r->end - r->start);
		c->packets_out += r->pcount;
		if (r->flags & REC_SACKED)
			c->sacked_out += r->pcount;
		if (r->flags & REC_LOST)
			c->lost_out += r->pcount;
		else if (!(r->flags & REC_SACKED))
			tcp_mark_lost(c, r);
	}
	if (c->ca_state < CA_RECOVERY) {
		c->high_seq = snd_nxt(c);
		c->prior_ssthresh = c->ssthresh;
		c->ca_state = CA_LOSS;
		c->undo_marker = 0;
	}
	tcp_mark_dirty(c, CF_XMIT);
}

/* An ICMP message, checked by tcp_v4_err(), or ipd says what fits the path (RFC 1191). */
void tcp_mtu_reduced(struct tcp_conn *c, u32 mtu)
{
	u32 mss = MAX(mtu, 68u + 20u) - 40, old = c->mss;

	if (!c->h->mtu_disc || !mtu || mss >= old + tcp_options_size(c))
		return;
	c->h->pmtu_mss = (u16)MIN(mss, 65535u);
	tcp_current_mss(c);
	refit(c, old);
}

/* A device has another MTU. What the path was found to carry stands in the route (ipd forgets it in time); a limit that is
 * lower than the route's old MTU need not be ours any more when that has grown. */
void tcp_routes_changed(struct tcp_stack *t)
{
	TCP_SLOT_EACH(sk, t->t, 0, SK_MAX) {
		struct tcp_conn *c = conn_of(t, sk);
		u32 mss = c->mss, mtu = c->mtu;

		if (!(c->cf & CF_OPEN) || phase(c) < TCPP_SYN_SENT || tcp_route_conn(c))
			continue;
		if (c->mtu > mtu)
			c->h->pmtu_mss = 0;
		tcp_current_mss(c);
		refit(c, mss);
	}
}
