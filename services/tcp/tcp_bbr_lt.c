/* tcp_bbr_lt.c – BBR behind a policer: a bucket that lets bursts through and then drops shows a rate that is too high.
 *
 * Two intervals one after the other, each from loss to loss, each with a fifth or more lost, and the same rate delivered:
 * that rate is the policer's, and is used as it is for 48 round trips. From update_bw(), and on a time-out. */
#include "services/tcp/tcp_bbr.h"

#define MIN_ROUNDS 4u
#define MAX_ROUNDS (4 * MIN_ROUNDS)	/* an interval this long without the next loss: no policer */
#define USE_ROUNDS 48u
#define SAME_RATE 500u			/* bytes/s (4 kbit/s) */

static void begin(struct tcp_conn *c)
{
	struct bbr *b = bbr(c);

	b->lt_us = c->delivered_us;
	b->lt_delivered = c->delivered;
	b->lt_lost = c->lost;
	b->lt_rounds = 0;
}

void bbr_lt_reset(struct tcp_conn *c)
{
	struct bbr *b = bbr(c);

	b->lt_bw = 0;
	b->lt_use_bw = b->lt_sampling = 0;
	begin(c);
}

static void interval_done(struct tcp_conn *c, u64 bw)
{
	struct bbr *b = bbr(c);
	u64 diff = bw > b->lt_bw ? bw - b->lt_bw : b->lt_bw - bw;

	if (b->lt_bw && (diff <= b->lt_bw / 8 || diff <= SAME_RATE)) {
		b->lt_bw = (bw + b->lt_bw) / 2;
		b->lt_use_bw = 1;
		b->lt_rounds = 0;
		return;
	}
	b->lt_bw = bw;
	begin(c);
}

void bbr_lt_sample(struct tcp_conn *c, const struct tcp_rate_sample *s)
{
	struct bbr *b = bbr(c);
	u32 lost, delivered, t;

	if (b->lt_use_bw) {
		if (b->mode == BBR_PROBE_BW && b->round_start && ++b->lt_rounds >= USE_ROUNDS) {
			bbr_lt_reset(c);
			bbr_enter_probe_bw(c);	/* look whether there is more by now */
		}
		return;
	}
	if (!b->lt_sampling) {
		if (!s->losses)
			return;
		begin(c);
		b->lt_sampling = 1;
	}
	if (s->app_limited) {
		bbr_lt_reset(c);
		return;
	}
	b->lt_rounds += b->round_start;
	if (b->lt_rounds < MIN_ROUNDS)
		return;
	if (b->lt_rounds > MAX_ROUNDS) {
		bbr_lt_reset(c);
		return;
	}
	if (!s->losses)		/* an interval ends where it began: at a loss, the bucket empty */
		return;
	lost = c->lost - b->lt_lost;
	delivered = c->delivered - b->lt_delivered;
	t = c->delivered_us - b->lt_us;
	if (!delivered || (u64)lost * 256 < (u64)delivered * 50 || t < 1000)
		return;
	interval_done(c, (u64)delivered * c->mss * 1000000 / t);
}
