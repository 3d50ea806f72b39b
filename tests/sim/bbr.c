/* bbr.c – BBR in the simulator: its phases, and the paths its estimators are for. */
#include "bulk.h"

#include "services/tcp/tcp_bbr.h"

#define SECOND NSEC_PER_SEC
#define MBIT20 (20000000u / 8)

/* What the link carries of payload when it is full. */
static double full(const struct bulk *b, u64 rate) { return (double)rate * 1448 / (1500 + 14); }

static double goodput(struct sim *s, u64 time)
{
	u64 was = bulk_received(s);

	bulk_until(s, s->now + time);
	return (double)(bulk_received(s) - was) / ((double)time / 1e9);
}

/* STARTUP finds the rate, DRAIN empties the queue it made: after a second the round trip is nearly the path's. */
static bool phases(void)
{
	struct bulk b = { "bbr", .rtt = 40 * MS, .bytes_per_sec = MBIT20, .queue = 1000 };
	struct sim *s = bulk_begin(&b, 1);
	struct tcp_conn *c;
	const struct bbr *m;
	u64 bw = 0;
	bool ok;

	bulk_connect(s, FOR_EVER);
	c = bulk_sender(s);
	m = bbr_const(c);
	bulk_until(s, s->now + 300 * MS);
	ok = m->mode == BBR_STARTUP;
	while (!s->failed && m->mode == BBR_STARTUP)
		sim_step(s);
	ok &= m->mode == BBR_DRAIN && s->now < 1001 * SECOND;
	while (!s->failed && m->mode == BBR_DRAIN)
		sim_step(s);
	ok &= m->mode == BBR_PROBE_BW;
	bulk_until(s, 1003 * SECOND);
	for (u32 i = 0; i < BBR_BW_ROUNDS; i++)
		bw = MAX(bw, m->bw[i]);
	ok &= (double)bw > 0.95 * full(&b, MBIT20) && (double)bw < 1.05 * full(&b, MBIT20);
	ok &= m->min_rtt_us >= 40000 && m->min_rtt_us < 44000 && c->srtt8_us / 8 < 60000 && !c->total_retrans;
	if (!ok || verbose)
		printf("# mode %u, rate %.2f Mbit/s, round trip %u of %u us, %u retransmitted\n", m->mode, (double)bw * 8e-6, c->srtt8_us / 8,
		       m->min_rtt_us, c->total_retrans);
	return bulk_end(s) && ok;
}

/* Every ten seconds four segments in flight for 200 ms, and it costs next to nothing. */
static bool probe_rtt(void)
{
	struct bulk b = { "bbr", .rtt = 40 * MS, .bytes_per_sec = MBIT20, .queue = 200 };
	struct sim *s = bulk_begin(&b, 2);
	const struct bbr *m;
	u64 was, began = 0, least = FOR_EVER, most = 0;
	u32 times = 0;
	double got;

	bulk_connect(s, FOR_EVER);
	m = bbr_const(bulk_sender(s));
	bulk_until(s, 1002 * SECOND);
	was = bulk_received(s);
	while (!s->failed && s->now < 1042 * SECOND) {
		sim_step(s);
		if (m->mode == BBR_PROBE_RTT && !began)
			began = s->now;
		if (m->mode == BBR_PROBE_RTT && m->probe_rtt_done && bulk_sender(s)->packets_out > 6)
			sim_fail(s, "%u segments in flight in PROBE_RTT", bulk_sender(s)->packets_out);
		if (m->mode != BBR_PROBE_RTT && began) {
			least = MIN(least, s->now - began);
			most = MAX(most, s->now - began);
			began = 0;
			times++;
		}
	}
	got = (double)(bulk_received(s) - was) / 40 / full(&b, MBIT20);
	if (verbose || got < 0.95)
		printf("# %u times, %.0f to %.0f ms, %.1f %% of the link\n", times, (double)least / 1e6, (double)most / 1e6, 100 * got);
	return bulk_end(s) && times >= 3 && times <= 4 && least >= 200 * MS && most <= 350 * MS && got >= 0.95;
}

/* The path grows longer: believed after ten seconds, not at once, and then used. */
static bool longer_way(void)
{
	struct bulk b = { "bbr", .rtt = 20 * MS, .bytes_per_sec = MBIT20, .queue = 400 };
	struct sim *s = bulk_begin(&b, 3);
	const struct bbr *m;
	double got;
	u32 then;
	bool ok;

	bulk_connect(s, FOR_EVER);
	m = bbr_const(bulk_sender(s));
	bulk_until(s, 1005 * SECOND);
	s->wire[0].delay = s->wire[1].delay = 60 * MS;
	bulk_until(s, 1006 * SECOND);
	then = m->min_rtt_us;
	bulk_until(s, 1025 * SECOND);
	got = goodput(s, 20 * SECOND) / full(&b, MBIT20);
	if (verbose || got < 0.9)
		printf("# round trip %u, then %u us, %.1f %% of the link\n", then, m->min_rtt_us, 100 * got);
	ok = then < 30000 && m->min_rtt_us >= 120000 && m->min_rtt_us < 130000 && got >= 0.9;
	return bulk_end(s) && ok;
}

/* A policer lets a second's worth through as fast as it comes, and then drops what is over its rate. The model believes what
 * the burst showed; the policer's rate is found from the losses, and kept to for 48 round trips. */
static bool policer(void)
{
	struct bulk b = { "bbr", .rtt = 20 * MS, .bytes_per_sec = 5 * MBIT20, .queue = 1000, .police = MBIT20 / 2 };
	struct sim *s = bulk_begin(&b, 4);
	struct tcp_conn *c;
	const struct bbr *m;
	double got, found = 0, share;
	u32 sent, lost;
	bool ok;

	bulk_connect(s, FOR_EVER);
	c = bulk_sender(s);
	m = bbr_const(c);
	while (!s->failed && s->now < 1003 * SECOND && !m->lt_use_bw)
		sim_step(s);
	ok = m->lt_use_bw;
	bulk_until(s, s->now + 5 * b.rtt);	/* what was sent too fast has left */
	sent = c->segs_out;
	lost = c->lost;
	while (!s->failed && s->now < 1006 * SECOND && m->lt_use_bw) {
		found = (double)m->lt_bw;
		sim_step(s);
	}
	share = (double)(c->lost - lost) / MAX(c->segs_out - sent, 1u);
	ok &= share < 0.10 && found > 0.85 * full(&b, b.police) && found < 1.15 * full(&b, b.police);
	got = goodput(s, 20 * SECOND) / full(&b, b.police);
	ok &= got >= 0.85;
	if (verbose || !ok)
		printf("# rate found %.2f Mbit/s, %.1f %% lost with it; %.1f %% of the policer's rate used\n", found * 8e-6, 100 * share,
		       100 * got);
	return bulk_end(s) && ok;
}

/* ACKs that come in bunches, as over Wi-Fi: what they hold back is in flight besides. */
static bool bunches(void)
{
	struct bulk b = { "bbr", .rtt = 10 * MS, .bytes_per_sec = 5 * MBIT20, .queue = 1000, .bunch = 40 * MS };
	struct sim *s = bulk_begin(&b, 5);
	double got;

	bulk_connect(s, FOR_EVER);
	bulk_until(s, 1002 * SECOND);
	got = goodput(s, 20 * SECOND) / full(&b, b.bytes_per_sec);
	if (verbose || got < 0.9)
		printf("# %.1f %% of the link\n", 100 * got);
	return bulk_end(s) && got >= 0.9;
}

int main(int argc, char **argv)
{
	bulk_args(argc, argv, 5);
	CASE(phases(), "bbr", "finds the rate, empties the queue, and keeps both", 0, 0);
	CASE(probe_rtt(), "bbr", "looks for the round trip every ten seconds", 0, 0);
	CASE(longer_way(), "bbr", "learns that the way has become longer", 0, 0);
	CASE(policer(), "bbr", "keeps to the rate of a policer", 0, 0);
	CASE(bunches(), "bbr", "fills the link though ACKs come in bunches", 0, 0);
	return bulk_bad();
}
