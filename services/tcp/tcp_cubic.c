/* tcp_cubic.c – CUBIC (RFC 9438) with HyStart++ (RFC 9406).
 *
 * Integers only: windows in 1/1024 segments, time in milliseconds. W(t) = C (t - K)^3 + W_max, C = 0.4, beta = 0.7. */
#include "services/tcp/path.h"

#define ONE 1024u		/* a segment */
#define BETA 717u		/* 0.7 */
#define ALPHA 542u		/* 0.53 */
#define HS_MIN_RTT_THRESH 4000u	/* us, RFC 9406 4.2 */
#define HS_MAX_RTT_THRESH 16000u
#define HS_SAMPLES 8u
#define HS_CSS_ROUNDS 5u
#define HS_CSS_DIVISOR 4u

struct cubic {			/* in conn->cong[]; windows in ONE-ths of a segment */
	u64 epoch;		/* ns; 0: not begun */
	u64 round_end;		/* HyStart++: offset that ends this round */
	u32 w_max, origin;	/* where the curve is flat, of the last loss and of this epoch */
	u32 prior;		/* the window at the last loss */
	u32 w, w_est;		/* the window with its fraction, and Reno's in its place */
	u32 k_ms;
	u32 last_rtt, curr_rtt;	/* us, minimum of a round */
	u32 baseline;		/* us; not 0: conservative slow start */
	u8 samples, css_rounds;
	u32 css_cnt;
	u64 unused;		/* ns; not 0: since then the window has not been used up, and not grown */
};
static_assert(sizeof(struct cubic) <= sizeof(((struct tcp_conn *)0)->cong), "room");

static struct cubic *cubic(struct tcp_conn *c) { return (struct cubic *)c->cong; }

static u32 cube_root(u64 x)
{
	u64 lo = 0, hi = 1 << 21;

	while (lo < hi) {
		u64 mid = (lo + hi + 1) / 2;

		if (mid * mid * mid <= x)
			lo = mid;
		else
			hi = mid - 1;
	}
	return (u32)lo;
}

static void cubic_init(struct tcp_conn *c)
{
	*cubic(c) = (struct cubic){ .last_rtt = UINT32_MAX, .curr_rtt = UINT32_MAX, .round_end = snd_nxt(c) };
}

/* The window with its fraction, as long as cwnd is still what this file made it. */
static u32 window(const struct tcp_conn *c, const struct cubic *q)
{
	return q->w / ONE == c->cwnd ? q->w : MIN(c->cwnd, UINT32_MAX / ONE) * ONE;
}

/* RFC 9438 4.6, fast convergence 4.7 */
static u32 cubic_ssthresh(struct tcp_conn *c)
{
	struct cubic *q = cubic(c);
	u32 w = window(c, q);

	q->epoch = 0;
	q->prior = w;
	q->w_max = w < q->w_max ? (u32)((u64)w * (ONE + BETA) / (2 * ONE)) : w;
	q->w = (u32)((u64)w * BETA / ONE);	/* the fraction is found again when the recovery ends at ssthresh */
	return MAX(q->w / ONE, 2u);
}

static void begin_epoch(struct tcp_conn *c, struct cubic *q)
{
	q->epoch = c->t->now;
	q->unused = 0;
	q->w = q->w_est = window(c, q);
	q->origin = MAX(q->w, q->w_max);
	/* K = cbrt((W_max - cwnd) / C), in ms: cbrt(d * 2.5 * 10^9) */
	q->k_ms = cube_root((u64)(q->origin - q->w) * 2500000000ull / ONE);
}

/* Window the curve asks for one round trip from now. */
static u32 target(struct tcp_conn *c, const struct cubic *q)
{
	u64 t = (c->t->now - q->epoch) / MSEC + c->min_rtt_us / 1000, d = t > q->k_ms ? t - q->k_ms : q->k_ms - t, delta;

	d = MIN(d, 1000000ull);
	delta = d * d * d / (2500000000ull / ONE);	/* 0.4 (ms/1000)^3 */
	if (t < q->k_ms)
		return q->origin > delta ? (u32)(q->origin - delta) : 2 * ONE;
	return (u32)MIN(q->origin + delta, (u64)q->w + q->w / 2);	/* RFC 9438 4.2 */
}

static void congestion_avoidance(struct tcp_conn *c, u32 acked)
{
	struct cubic *q = cubic(c);
	u32 want;

	if (!q->epoch)
		begin_epoch(c, q);
	if (q->unused) {	/* RFC 9438 4.2: such time is not counted, or the window would jump after it */
		q->epoch += c->t->now - q->unused;
		q->unused = 0;
	}
	q->w = window(c, q);
	/* RFC 9438 4.3: Reno with alpha = 3 (1 - beta) / (1 + beta), and from the window before the loss on with 1 */
	q->w_est += (u32)((u64)acked * (q->w_est < q->prior ? ALPHA : ONE) / MAX(c->cwnd, 1u));
	want = MAX(target(c, q), q->w_est);
	if (want > q->w)	/* within a round trip, but no faster than slow start's half */
		q->w += (u32)MIN((u64)(want - q->w) * acked / MAX(c->cwnd, 1u), (u64)acked * ONE / 2);
	else
		q->w += acked * ONE / (100 * MAX(c->cwnd, 1u));
	c->cwnd = q->w / ONE;
}

static void cubic_cong_avoid(struct tcp_conn *c, u32 acked)
{
	struct cubic *q = cubic(c);

	if (c->cwnd < c->ssthresh) {
		if (q->baseline) {	/* RFC 9406 4.3: a quarter of slow start's growth */
			q->css_cnt += acked;
			acked = q->css_cnt / HS_CSS_DIVISOR;
			q->css_cnt %= HS_CSS_DIVISOR;
		}
		acked = tcp_slow_start(c, acked);
		if (!acked)
			return;
	}
	congestion_avoidance(c, acked);
}

static void new_round(struct tcp_conn *c, struct cubic *q)
{
	q->round_end = snd_nxt(c);
	q->last_rtt = q->curr_rtt;
	q->curr_rtt = UINT32_MAX;
	q->samples = 0;
	if (q->baseline && ++q->css_rounds >= HS_CSS_ROUNDS) {
		c->ssthresh = c->cwnd;
		q->baseline = 0;
	}
}

/* RFC 9406 4.2: the round trip grows before anything is lost. */
static void cubic_pkts_acked(struct tcp_conn *c, u32 acked, u32 rtt_us)
{
	struct cubic *q = cubic(c);
	u32 thresh;

	if (!c->cong_limited && !q->unused)
		q->unused = c->t->now;
	if (c->cwnd >= c->ssthresh || !rtt_us)
		return;
	if (!before(snd_una(c), q->round_end))
		new_round(c, q);
	q->curr_rtt = MIN(q->curr_rtt, rtt_us);
	if (q->samples < HS_SAMPLES)
		q->samples++;
	if (q->samples < HS_SAMPLES || q->last_rtt == UINT32_MAX)
		return;
	if (q->baseline) {
		if (q->curr_rtt < q->baseline) {	/* it was jitter: back to slow start */
			q->baseline = 0;
			q->css_rounds = 0;
		}
		return;
	}
	thresh = MIN(MAX(q->last_rtt / 8, HS_MIN_RTT_THRESH), HS_MAX_RTT_THRESH);
	if (c->cwnd >= 16 && q->curr_rtt >= q->last_rtt + thresh) {
		q->baseline = q->curr_rtt;
		q->css_rounds = 0;
	}
}

static void cubic_event(struct tcp_conn *c, enum tcp_ca_event ev)
{
	struct cubic *q = cubic(c);

	if (ev == CA_EVENT_CWND_RESTART || ev == CA_EVENT_LOSS)
		q->epoch = 0;
	if (ev == CA_EVENT_LOSS)
		q->baseline = 0;
}

const struct tcp_congestion_ops tcp_cubic = {
	.name = "cubic", .init = cubic_init, .ssthresh = cubic_ssthresh, .cong_avoid = cubic_cong_avoid,
	.pkts_acked = cubic_pkts_acked, .event = cubic_event, .undo_cwnd = tcp_reno_undo_cwnd,
};
