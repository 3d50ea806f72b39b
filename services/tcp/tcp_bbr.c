/* tcp_bbr.c – BBR, version 1 as Linux runs it: a model of the path instead of losses.
 *
 * The model: the most the path delivered (maximum of ten round trips) and the shortest round trip (of ten seconds).
 * Their product is what belongs in flight. Nobody sees both at once, so BBR goes round:
 *
 *   STARTUP    doubles the rate each round trip, until it gains less than a quarter in three of them
 *   DRAIN      sends slower until what it queued up has left
 *   PROBE_BW   eight phases of a round trip: a quarter faster, a quarter slower, six at the rate it knows
 *   PROBE_RTT  after ten seconds without a shorter round trip: four segments in flight for 200 ms
 *
 * Called at the end of every ACK (tcp_cong_control); sets cwnd and pacing_rate itself, instead of PRR and cong_avoid.
 * Policers (tcp_bbr_lt.c) and bunched ACKs have estimators of their own. Rates are bytes a second, gains in 1/256. */
#include "services/tcp/tcp_bbr.h"

#include <linux/inet_diag.h>

#define UNIT 256u
#define HIGH_GAIN (UNIT * 2885 / 1000 + 1)	/* 2/ln 2: the least that doubles delivery each round trip */
#define DRAIN_GAIN (UNIT * 1000 / 2885)
#define CWND_GAIN (UNIT * 2)			/* room for ACKs that are delayed or come in bunches */
#define MIN_CWND 4u
#define MIN_RTT_WINDOW (10 * SEC)
#define PROBE_RTT_TIME (200 * MSEC)
#define FULL_BW_ROUNDS 3u
#define AGGR_ROUNDS 5u				/* of one half of the window for bunched ACKs */
#define AGGR_RESET (1u << 20)			/* segments */

static const u16 cycle_gain[BBR_CYCLE] = { UNIT * 5 / 4, UNIT * 3 / 4, UNIT, UNIT, UNIT, UNIT, UNIT, UNIT };

static u64 max_bw(const struct bbr *b)
{
	u64 m = 0;

	for (u32 i = 0; i < BBR_BW_ROUNDS; i++)
		m = MAX(m, b->bw[i]);
	return m;
}

static u64 bbr_bw(const struct bbr *b) { return b->lt_use_bw ? b->lt_bw : max_bw(b); }

static void set_pacing_rate(struct tcp_conn *c, u64 bw, u32 gain)
{
	struct bbr *b = bbr(c);
	u64 rate = bw * gain / UNIT * 99 / 100;		/* a percent less, lest a queue stay for ever */

	if (!b->has_seen_rtt && c->srtt8_us) {		/* before the first sample: the window over the round trip */
		b->has_seen_rtt = 1;
		c->pacing_rate = (u64)c->cwnd * c->mss * 8000000 / c->srtt8_us * HIGH_GAIN / UNIT;
	}
	if (b->full_bw_reached || rate > c->pacing_rate)
		c->pacing_rate = MIN(rate, c->h->max_pacing_rate);
}

/* ---- how much belongs in flight, in segments ---- */

static u32 bdp(const struct tcp_conn *c, u64 bw, u32 gain)
{
	const struct bbr *b = bbr_const(c);
	u64 bytes;

	if (b->min_rtt_us == UINT32_MAX)
		return TCP_INIT_CWND;
	bytes = bw * b->min_rtt_us / 1000000 * gain / UNIT;
	return (u32)MIN((bytes + c->mss - 1) / c->mss, 1ull << 24);
}

/* What sender and receiver hold back in big packets and delayed ACKs must not be missing in the network. */
static u32 with_quanta(const struct tcp_conn *c, u32 cwnd)
{
	const struct bbr *b = bbr_const(c);

	cwnd += 3 * tcp_pacing_quantum(c);
	cwnd = (cwnd + 1) & ~1u;
	return b->mode == BBR_PROBE_BW && b->cycle == 0 ? cwnd + 2 : cwnd;
}

static u32 inflight(const struct tcp_conn *c, u64 bw, u32 gain) { return with_quanta(c, bdp(c, bw, gain)); }

/* ---- modes ---- */

static void save_cwnd(struct tcp_conn *c)
{
	struct bbr *b = bbr(c);

	if (b->prev_ca < CA_RECOVERY && b->mode != BBR_PROBE_RTT)
		b->prior_cwnd = c->cwnd;
	else
		b->prior_cwnd = MAX(b->prior_cwnd, c->cwnd);
}

void bbr_enter_probe_bw(struct tcp_conn *c)
{
	struct bbr *b = bbr(c);

	b->mode = BBR_PROBE_BW;
	/* Any phase but the slow one, so that flows which begin together do not stay in step */
	b->cycle = (u8)((BBR_CYCLE - tcp_random(c->t) % (BBR_CYCLE - 1)) % BBR_CYCLE);
	b->cycle_at = c->t->now;
}

static void leave_probe_rtt(struct tcp_conn *c)
{
	struct bbr *b = bbr(c);

	b->min_rtt_at = c->t->now;
	c->cwnd = MAX(c->cwnd, b->prior_cwnd);
	if (b->full_bw_reached)
		bbr_enter_probe_bw(c);
	else
		b->mode = BBR_STARTUP;
}

/* ---- the model, per ACK ---- */

static void update_bw(struct tcp_conn *c, const struct tcp_rate_sample *s)
{
	struct bbr *b = bbr(c);
	u64 bw;

	b->round_start = 0;
	if (!s->valid)
		return;
	if ((s32)(s->prior_delivered - b->next_round) >= 0) {
		b->next_round = c->delivered;
		b->round++;
		b->bw[b->round % BBR_BW_ROUNDS] = 0;
		b->round_start = 1;
		b->conserve = 0;
	}
	bbr_lt_sample(c, s);
	bw = (u64)s->delivered * c->mss * 1000000 / s->interval_us;
	if (!s->app_limited || bw >= max_bw(b))
		b->bw[b->round % BBR_BW_ROUNDS] = MAX(b->bw[b->round % BBR_BW_ROUNDS], bw);
}

/* Bunched ACKs: how much more than the rate explains came within one bunch, the most of five to ten rounds. */
static void update_aggregation(struct tcp_conn *c, const struct tcp_rate_sample *s)
{
	struct bbr *b = bbr(c);
	u32 expected, extra;

	if (!s->valid || !s->acked_sacked)
		return;
	if (b->round_start && ++b->extra_rounds >= AGGR_ROUNDS) {
		b->extra_rounds = 0;
		b->extra_idx ^= 1;
		b->extra_acked[b->extra_idx] = 0;
	}
	expected = (u32)MIN(bbr_bw(b) * (c->delivered_us - b->epoch_us) / 1000000 / c->mss, (u64)UINT32_MAX);
	if (b->epoch_acked <= expected || b->epoch_acked + s->acked_sacked >= AGGR_RESET) {
		b->epoch_acked = expected = 0;
		b->epoch_us = c->delivered_us;
	}
	b->epoch_acked += s->acked_sacked;
	extra = MIN(b->epoch_acked - MIN(expected, b->epoch_acked), c->cwnd);
	b->extra_acked[b->extra_idx] = MAX(b->extra_acked[b->extra_idx], extra);
}

static void update_cycle(struct tcp_conn *c, const struct tcp_ackinfo *a)
{
	struct bbr *b = bbr(c);
	u32 gain = b->lt_use_bw ? UNIT : cycle_gain[b->cycle];
	bool over = c->t->now - b->cycle_at > (u64)b->min_rtt_us * 1000;

	if (b->mode != BBR_PROBE_BW)
		return;
	/* Faster: until that much is in flight, or lost. Slower: until the queue this made is gone. */
	if (gain > UNIT)
		over = over && (a->rs.losses || a->prior_in_flight >= inflight(c, max_bw(b), gain));
	else if (gain < UNIT)
		over = over || a->prior_in_flight <= inflight(c, max_bw(b), UNIT);
	if (over) {
		b->cycle = (b->cycle + 1) % BBR_CYCLE;
		b->cycle_at = c->t->now;
	}
}

static void check_full_bw(struct tcp_conn *c, const struct tcp_rate_sample *s)
{
	struct bbr *b = bbr(c);
	u64 bw = max_bw(b);

	if (b->full_bw_reached || !b->round_start || s->app_limited)
		return;
	if (bw >= b->full_bw + b->full_bw / 4) {
		b->full_bw = bw;
		b->full_bw_rounds = 0;
		return;
	}
	b->full_bw_reached = ++b->full_bw_rounds >= FULL_BW_ROUNDS;
}

static void check_drain(struct tcp_conn *c)
{
	struct bbr *b = bbr(c);

	if (b->mode == BBR_STARTUP && b->full_bw_reached) {
		b->mode = BBR_DRAIN;
		c->ssthresh = inflight(c, max_bw(b), UNIT);
	}
	if (b->mode == BBR_DRAIN && in_flight(c) <= inflight(c, max_bw(b), UNIT))
		bbr_enter_probe_bw(c);
}

static void probe_rtt(struct tcp_conn *c)
{
	struct bbr *b = bbr(c);

	tcp_rate_app_limited(c);	/* what is sent so slowly says nothing about the rate */
	if (!b->probe_rtt_done && in_flight(c) <= MIN_CWND) {
		b->probe_rtt_done = c->t->now + PROBE_RTT_TIME;
		b->probe_rtt_round = 0;
		b->next_round = c->delivered;
	} else if (b->probe_rtt_done) {
		b->probe_rtt_round |= b->round_start;
		if (b->probe_rtt_round && c->t->now > b->probe_rtt_done)
			leave_probe_rtt(c);
	}
}

static void update_min_rtt(struct tcp_conn *c, const struct tcp_ackinfo *a)
{
	struct bbr *b = bbr(c);
	bool expired = c->t->now > b->min_rtt_at + MIN_RTT_WINDOW;

	if (a->rtt_us && (a->rtt_us <= b->min_rtt_us || (expired && !a->maybe_delayed))) {
		b->min_rtt_us = a->rtt_us;
		b->min_rtt_at = c->t->now;
	}
	if (expired && !b->idle_restart && b->mode != BBR_PROBE_RTT) {
		save_cwnd(c);
		b->mode = BBR_PROBE_RTT;
		b->probe_rtt_done = 0;
	}
	if (b->mode == BBR_PROBE_RTT)
		probe_rtt(c);
	if (a->rs.valid)
		b->idle_restart = 0;
}

/* ---- what follows from it ---- */

static u32 pacing_gain(const struct bbr *b)
{
	switch (b->mode) {
	case BBR_STARTUP: return HIGH_GAIN;
	case BBR_DRAIN: return DRAIN_GAIN;
	case BBR_PROBE_BW: return b->lt_use_bw ? UNIT : cycle_gain[b->cycle];
	}
	return UNIT;
}

static u32 cwnd_gain(const struct bbr *b)
{
	if (b->mode == BBR_PROBE_RTT)
		return UNIT;
	return b->mode == BBR_PROBE_BW ? CWND_GAIN : HIGH_GAIN;
}

/* Losses: one for one in the first round of a recovery, and the old window again after it. true: that is the window. */
static bool recover_or_restore(struct tcp_conn *c, const struct tcp_rate_sample *s, u32 *cwnd)
{
	struct bbr *b = bbr(c);

	if (s->losses)
		*cwnd = *cwnd > s->losses ? *cwnd - s->losses : 1;
	if (c->ca_state == CA_RECOVERY && b->prev_ca != CA_RECOVERY) {
		b->conserve = 1;
		b->next_round = c->delivered;
		*cwnd = in_flight(c) + s->acked_sacked;
	} else if (b->prev_ca >= CA_RECOVERY && c->ca_state < CA_RECOVERY) {
		*cwnd = MAX(*cwnd, b->prior_cwnd);
		b->conserve = 0;
	}
	b->prev_ca = c->ca_state;
	if (b->conserve)
		*cwnd = MAX(*cwnd, in_flight(c) + s->acked_sacked);
	return b->conserve;
}

static void set_cwnd(struct tcp_conn *c, const struct tcp_rate_sample *s)
{
	struct bbr *b = bbr(c);
	u32 cwnd = c->cwnd, want, aggr;

	if (s->acked_sacked && !recover_or_restore(c, s, &cwnd)) {
		want = bdp(c, bbr_bw(b), cwnd_gain(b));
		if (b->full_bw_reached) {
			aggr = MAX(b->extra_acked[0], b->extra_acked[1]);
			want += (u32)MIN(aggr, bbr_bw(b) / 10 / c->mss);	/* 100 ms at most */
		}
		want = with_quanta(c, want);
		if (b->full_bw_reached)
			cwnd = MIN(cwnd + s->acked_sacked, want);
		else if (cwnd < want || c->delivered < TCP_INIT_CWND)
			cwnd += s->acked_sacked;
		cwnd = MAX(cwnd, MIN_CWND);
	}
	c->cwnd = b->mode == BBR_PROBE_RTT ? MIN(cwnd, MIN_CWND) : cwnd;
}

static void bbr_cong_control(struct tcp_conn *c, const struct tcp_ackinfo *a)
{
	struct bbr *b = bbr(c);

	update_bw(c, &a->rs);
	update_aggregation(c, &a->rs);
	update_cycle(c, a);
	check_full_bw(c, &a->rs);
	check_drain(c);
	update_min_rtt(c, a);
	set_pacing_rate(c, bbr_bw(b), pacing_gain(b));
	set_cwnd(c, &a->rs);
}

static void bbr_init(struct tcp_conn *c)
{
	struct bbr *b = bbr(c);

	*b = (struct bbr){ .mode = BBR_STARTUP, .next_round = c->delivered, .min_rtt_at = c->t->now, .epoch_us = (u32)(c->t->now / 1000),
			   .min_rtt_us = c->min_rtt_us ? c->min_rtt_us : UINT32_MAX, .has_seen_rtt = c->srtt8_us != 0 };
	c->ssthresh = 0x7fffffff;
	c->pacing_rate = (u64)c->cwnd * c->mss * 8000000 / (c->srtt8_us ? c->srtt8_us : 8000) * HIGH_GAIN / UNIT;
}

static u32 bbr_ssthresh(struct tcp_conn *c)
{
	save_cwnd(c);
	return c->ssthresh;
}

static u32 bbr_undo_cwnd(struct tcp_conn *c)
{
	struct bbr *b = bbr(c);

	b->full_bw = 0;		/* the spurious slow-down may have looked like a full pipe */
	b->full_bw_rounds = 0;
	bbr_lt_reset(c);
	return c->cwnd;
}

static void bbr_event(struct tcp_conn *c, enum tcp_ca_event ev)
{
	struct bbr *b = bbr(c);

	if (ev == CA_EVENT_LOSS) {
		b->prev_ca = CA_LOSS;
		b->full_bw = 0;
		b->round_start = 1;
		bbr_lt_sample(c, &(struct tcp_rate_sample){ .losses = 1 });
	} else if (ev == CA_EVENT_TX_START && c->app_limited) {
		b->idle_restart = 1;
		b->epoch_us = (u32)(c->t->now / 1000);
		b->epoch_acked = 0;
		if (b->mode == BBR_PROBE_BW)	/* it knows the rate: no burst, no slow start */
			set_pacing_rate(c, bbr_bw(b), UNIT);
		else if (b->mode == BBR_PROBE_RTT && b->probe_rtt_done && c->t->now > b->probe_rtt_done)
			leave_probe_rtt(c);
	}
}

static u32 bbr_info(const struct tcp_conn *c, void *out, u32 len)
{
	const struct bbr *b = bbr_const(c);
	u64 bw = bbr_bw(b);
	struct tcp_bbr_info i = { .bbr_bw_lo = (u32)bw, .bbr_bw_hi = (u32)(bw >> 32), .bbr_min_rtt = b->min_rtt_us,
				  .bbr_pacing_gain = pacing_gain(b), .bbr_cwnd_gain = cwnd_gain(b) };

	len = MIN(len, (u32)sizeof(i));
	memcpy(out, &i, len);
	return len;
}

const struct tcp_congestion_ops tcp_bbr = {
	.name = "bbr", .init = bbr_init, .ssthresh = bbr_ssthresh, .cong_control = bbr_cong_control, .event = bbr_event,
	.undo_cwnd = bbr_undo_cwnd, .info = bbr_info,
};
