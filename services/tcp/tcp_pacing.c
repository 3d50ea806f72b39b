/* tcp_pacing.c – tx3: a paced connection sends in quanta of about a millisecond, not in windows.
 *
 * Paced is who has a congestion control with a rate of its own (bbr) or SO_MAX_PACING_RATE; others never come here.
 * The wheel ticks in milliseconds, so a quantum may leave up to a tick late; what a late one lost, the next may make up. */
#include "services/tcp/path.h"

#define CREDIT (2 * MSEC)	/* of lateness at most: the burst after a pause is no longer than that */
#define SLOW 150000u		/* bytes/s (1.2 Mbit/s): below it one segment at a time */

void tcp_pacing_update(struct tcp_conn *c)
{
	c->paced = c->ca->cong_control || c->h->max_pacing_rate != UINT64_MAX;
	if (!c->paced)
		timer_cancel(&c->t->soft->wheel, &c->pace);
}

/* Bytes a second; UINT64_MAX: as it comes. Without a rate of its own: the window per round trip, twice that while it doubles. */
u64 tcp_pacing_rate(const struct tcp_conn *c)
{
	u64 rate;

	if (c->ca->cong_control)
		return MIN(c->pacing_rate, c->h->max_pacing_rate);
	if (!c->srtt8_us)
		return c->h->max_pacing_rate;
	rate = (u64)MAX(c->cwnd, c->packets_out) * c->mss * (8 * 1000000ull / 100) / c->srtt8_us;
	rate *= c->cwnd < c->ssthresh / 2 ? 200 : 120;
	return MIN(rate, c->h->max_pacing_rate);
}

/* Segments of one quantum. */
u32 tcp_pacing_quantum(const struct tcp_conn *c)
{
	u64 rate = tcp_pacing_rate(c);

	return (u32)MIN(MAX(rate / 1000 / MAX(c->mss, 1u), rate < SLOW ? 1ull : 2ull), 127ull);
}

/* How many segments of `quota` may leave as one packet now; 0: none, and the timer will come. */
u32 tcp_pacing_quota(struct tcp_conn *c, u32 quota)
{
	if (c->pace_next > c->t->now) {
		if (!timer_armed(&c->pace))
			timer_arm(&c->t->soft->wheel, &c->pace, c->pace_next);
		return 0;
	}
	return MIN(quota, tcp_pacing_quantum(c));
}

/* Payload left, new or again, in order or as a probe. */
void tcp_pacing_sent(struct tcp_conn *c, u32 len)
{
	u64 rate = tcp_pacing_rate(c), now = c->t->now;

	if (!rate || rate == UINT64_MAX)
		return;
	c->pace_next = MAX(c->pace_next, now - CREDIT) + len * SEC / rate;
}

void tcp_timer_pace(struct timer *tm, void *arg, u64 now)
{
	struct tcp_conn *c = container_of(tm, struct tcp_conn, pace);

	if (phase(c) == TCPP_SYNC)
		tcp_mark_dirty(c, CF_XMIT);
}
