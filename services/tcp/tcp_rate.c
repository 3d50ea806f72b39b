/* tcp_rate.c – the delivery rate: how fast segments leave the network, sampled at every ACK. rx6, from tcp_ack().
 *
 * A segment remembers, when it leaves, how much had been delivered by then and when. When it is delivered itself, what
 * was delivered in between, divided by the time this took, is a sample. That time is the longer of two: in which
 * the segments were sent, and in which their ACKs came; so neither ACKs in a bunch nor a slow sender make it too high.
 * Times are us and wrap; a flight is shorter. All is soft. For BBR and TCP_INFO. */
#include "services/tcp/path.h"

static u32 us(u64 ns) { return (u32)(ns / 1000); }

/* @first: nothing else is in flight, so the time of no sending and no delivering before it counts for nothing. */
void tcp_rate_sent(struct tcp_conn *c, struct tcp_rec *r, bool first)
{
	if (first)
		c->first_us = c->delivered_us = us(c->t->now);
	r->delivered = c->delivered;
	r->delivered_us = c->delivered_us;
	r->first_us = c->first_us;
	r->flags = (u8)(c->app_limited ? r->flags | REC_APP : r->flags & ~REC_APP);
}

/* A record, or part of it, is delivered: the one sent last among those of this ACK makes the sample. */
void tcp_rate_delivered(struct tcp_conn *c, const struct tcp_rec *r, struct tcp_ackinfo *a)
{
	struct tcp_rate_sample *s = &a->rs;
	s32 newer = (s32)(r->delivered - s->prior_delivered);

	if (s->seen && (newer < 0 || (!newer && r->xmit < s->xmit)))
		return;
	s->seen = true;
	s->xmit = r->xmit;
	s->prior_delivered = r->delivered;
	s->prior_us = r->delivered_us;
	s->app_limited = r->flags & REC_APP;
	s->interval_us = us(r->xmit) - r->first_us;	/* of sending; tcp_rate_gen() looks at the ACKs */
	c->first_us = us(r->xmit);
}

/* The end of an ACK: c->delivered is what it was plus what this ACK says. */
void tcp_rate_gen(struct tcp_conn *c, struct tcp_ackinfo *a)
{
	struct tcp_rate_sample *s = &a->rs;

	s->acked_sacked = c->delivered - a->prior_delivered;
	s->losses = c->lost - a->prior_lost;
	if (c->app_limited && (s32)(c->delivered - c->app_limited) > 0)
		c->app_limited = 0;
	if (s->acked_sacked)
		c->delivered_us = us(c->t->now);
	if (!s->seen)
		return;
	s->delivered = c->delivered - s->prior_delivered;
	s->interval_us = MAX(s->interval_us, c->delivered_us - s->prior_us);
	/* Faster than the path is long: a retransmission, and it was the original that arrived */
	if (!s->interval_us || s->interval_us < c->min_rtt_us)
		return;
	s->valid = s->delivered != 0;
	if (!s->valid)
		return;
	if (!s->app_limited || (u64)s->delivered * c->rate_interval_us >= (u64)c->rate_delivered * s->interval_us) {
		c->rate_delivered = s->delivered;
		c->rate_interval_us = s->interval_us;
		c->rate_app_limited = s->app_limited;
	}
}

/* The application has been slower than the path: samples of what is sent until all of this is delivered say nothing
 * about the path. Asked when it writes again: everything was sent, room was left, nothing waits below or to be repaired. */
void tcp_rate_check_app_limited(struct tcp_conn *c)
{
	if (c->write_seq - snd_nxt(c) >= c->mss || in_flight(c) >= c->cwnd || c->lost_out > c->retrans_out ||
	    c->t->ops->loans(c->t->ctx, c->sk))
		return;
	tcp_rate_app_limited(c);
}

void tcp_rate_app_limited(struct tcp_conn *c)
{
	c->app_limited = MAX(c->delivered + in_flight(c), 1u);
}
