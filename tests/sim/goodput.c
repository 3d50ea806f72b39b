/* goodput.c – bulk transfers in the simulator against the textbook: response to loss, fairness, speed of recovery.
 *
 * Response functions, average window in segments, every 1/p-th data segment lost (the model they are derived in):
 *   reno    sqrt(3 / (2 p)) (Mathis et al. 1997; growth counts segments acknowledged, RFC 3465, so delayed ACKs do not count)
 *   cubic   1.054 RTT^(3/4) / p^(3/4) (RFC 9438 5.2, C = 0.4, beta = 0.7), or reno's where that is more (Reno-friendly, 4.3) */
#include "bulk.h"

#include <math.h>

/* ---- response to loss ---- */

static double reno_window(double p) { return sqrt(1.5 / p); }
static double cubic_window(double p, double rtt)
{
	return fmax(pow(0.4 * 3.7 / (4 * 0.3), 0.25) * pow(rtt, 0.75) / pow(p, 0.75), reno_window(p));
}

static bool response(const char *cong, u32 every, u64 rtt)
{
	struct bulk b = { .cong = cong, .rtt = rtt, .every = every, .ring = 4 << 20 };
	struct sim *s = bulk_begin(&b, 1);
	u32 first = every >= 5000 ? 25 : 200, periods = every >= 5000 ? 16 : 100;	/* the cubic is flat: it settles slowly */
	double p = 1.0 / every, r = (double)rtt / 1e9, want, got;
	u64 bytes, at;

	bulk_connect(s, FOR_EVER);
	while (!s->failed && s->wire_data[0] / every < first)	/* slow start is over and forgotten */
		sim_step(s);
	bytes = bulk_received(s);
	at = s->now;
	while (!s->failed && s->wire_data[0] / every < first + periods)
		sim_step(s);
	got = (double)(bulk_received(s) - bytes) / ((double)(s->now - at) / 1e9) / bulk_sender(s)->mss * r;
	want = (!strcmp(cong, "cubic") ? cubic_window(p, r) : reno_window(p)) * (1 - p);	/* the rest is what was lost */
	if (s->failed || got < 0.9 * want || got > 1.1 * want || verbose)
		printf("# average window %.1f, the response function says %.1f (%.0f %%)\n", got, want, 100 * got / want);
	return bulk_end(s) && got >= 0.9 * want && got <= 1.1 * want;
}

/* ---- links ---- */

static bool lossy_link(const struct bulk *b, double share)
{
	struct sim *s = bulk_begin(b, 2);
	double got, want = (double)b->bytes_per_sec * 1448 / (1500 + 14);
	u64 bytes;

	bulk_connect(s, FOR_EVER);
	bulk_until(s, s->now + 5 * NSEC_PER_SEC);
	bytes = bulk_received(s);
	bulk_until(s, s->now + 30 * NSEC_PER_SEC);
	got = (double)(bulk_received(s) - bytes) / 30;
	if (s->failed || got < share * want)
		printf("# %.2f of %.2f Mbit/s, %.1f %%\n", got * 8e-6, want * 8e-6, 100 * got / want);
	return bulk_end(s) && got >= share * want;
}

/* Jain's index over the second half of two minutes, flows beginning a random moment apart. */
static bool fair(const struct bulk *b)
{
	struct sim *s = bulk_begin(b, 3);
	u64 was[SIM_CONNS];
	double sum = 0, squares = 0, index;

	for (u32 i = 0; i < b->flows; i++) {
		bulk_connect(s, FOR_EVER);
		bulk_until(s, s->now + sim_below(s, NSEC_PER_SEC));
	}
	bulk_until(s, s->now + 60 * NSEC_PER_SEC);
	for (u32 i = 0; i < b->flows; i++)
		was[i] = s->node[1].app[i].got;
	bulk_until(s, s->now + 60 * NSEC_PER_SEC);
	for (u32 i = 0; i < b->flows; i++) {
		double x = (double)(s->node[1].app[i].got - was[i]);

		sum += x;
		squares += x * x;
	}
	index = sum * sum / (b->flows * squares);
	if (s->failed || index < 0.95 || trace)
		for (u32 i = 0; i < b->flows; i++)
			printf("# flow %u: %.2f Mbit/s\n", i, (double)(s->node[1].app[i].got - was[i]) * 8e-6 / 60);
	if (index < 0.95)
		printf("# Jain's index %.3f\n", index);
	return bulk_end(s) && index >= 0.95;
}

/* HyStart++ (RFC 9406): the round trip that grows ends slow start before a deep queue overflows. */
static bool slow_start_ends(void)
{
	struct bulk b = { "cubic", .rtt = 50 * MS, .bytes_per_sec = 10000000 / 8, .queue = 800, .ring = 4 << 20 };
	struct sim *s = bulk_begin(&b, 5);
	double got, want = (double)b.bytes_per_sec * 1448 / (1500 + 14);
	u32 again;
	bool ok;

	bulk_connect(s, FOR_EVER);
	bulk_until(s, s->now + 3 * NSEC_PER_SEC);
	got = (double)bulk_received(s) / 3;
	again = bulk_sender(s)->total_retrans;
	ok = !again && got >= 0.8 * want;
	if (!ok || verbose)
		printf("# %u sent again, %.1f %% of the link, cwnd %u\n", again, 100 * got / want, bulk_sender(s)->cwnd);
	return bulk_end(s) && ok;
}

/* ---- recovery: the wire loses what the case says, and nothing else ---- */

static struct {
	u32 target, left;	/* which data segment is lost, and how often */
	u32 n, high, seq;	/* new segments so far; behind the last of them; of the target */
	u64 lost, again[4];	/* when it was sent, and again */
	u32 nagain, others;	/* segments sent again that were not lost */
} script;

static bool scripted(struct sim *s, u8 to, const struct packet *p)
{
	const struct tcp_hdr *h = (const struct tcp_hdr *)p->data;
	u32 len = p->len - (u32)(h->doff_res >> 4) * 4, seq = from_be32(h->seq);

	if (!to || !len)
		return false;
	if (!script.n || seq_after(seq + len, script.high)) {
		script.high = seq + len;
		if (++script.n != script.target)
			return false;
		script.seq = seq;
		script.lost = s->now;
	} else if (script.n >= script.target && seq == script.seq) {
		if (script.nagain < ARRAY_SIZE(script.again))
			script.again[script.nagain++] = s->now;
	} else {
		script.others++;
		return false;
	}
	if (!script.left)
		return false;
	script.left--;
	return true;
}

static double ms(u64 from, u64 to) { return (double)(s64)(to - from) / 1e6; }

/* Segment `target` is lost `times` times: sent again within `first`, and a second time within `second`, ns; repaired a round trip
 * later, with nothing sent again that was not lost, and no timeout. */
static bool repaired(const struct bulk *b, u32 target, u32 times, u64 bytes, u64 first, u64 second)
{
	struct sim *s = bulk_begin(b, 4);
	struct tcp_conn *c;
	u64 timeouts, done;
	bool ok;

	memset(&script, 0, sizeof(script));
	script.target = target;
	script.left = times;
	s->drop = scripted;
	bulk_connect(s, bytes);
	c = bulk_sender(s);
	while (!s->failed && (script.n < target || !seq_after(snd_wire(c, snd_una(c)), script.seq)))
		sim_step(s);
	done = s->now;
	timeouts = counter_get(&s->node[0].counters, TCP_TIMEOUTS);
	ok = !s->failed && !timeouts && !script.others && script.nagain == times && script.again[0] - script.lost <= first &&
	     done - script.again[times - 1] <= b->rtt + 5 * MS && (times < 2 || script.again[1] - script.again[0] <= second);
	if (!ok)
		printf("# lost %u times; again after %.1f ms, %.1f ms; acknowledged after %.1f ms; %llu timeouts, %u repairs, %u needless\n", times,
		       ms(script.lost, script.again[0]), ms(script.again[0], script.again[1]), ms(script.lost, done),
		       (unsigned long long)timeouts, script.nagain, script.others);
	return bulk_end(s) && ok;
}

static void responses(const char *cong)
{
	static const u32 every[] = { 10000, 1000, 100 };
	static const u64 rtt[] = { 10 * MS, 50 * MS, 100 * MS, 200 * MS };

	for (size_t i = 0; i < ARRAY_SIZE(every); i++)
		for (size_t j = 0; j < ARRAY_SIZE(rtt); j++)
			CASE(response(cong, every[i], rtt[j]), cong, "the response function at %g %% loss and %g ms", 100.0 / every[i],
			     (double)rtt[j] / 1e6);
}

static void recoveries(const char *cong)
{
	struct bulk b = { .cong = cong, .rtt = 50 * MS }, old = b;

	old.no_sack = true;
	CASE(repaired(&b, 200, 1, FOR_EVER, b.rtt + 5 * MS, 0), cong, "one lost segment is repaired in one round trip", 0, 0);
	CASE(repaired(&old, 200, 1, FOR_EVER, b.rtt + 5 * MS, 0), cong, "one lost segment is repaired in one round trip without SACK", 0, 0);
	CASE(repaired(&b, 60, 1, 60 * 1448, 3 * b.rtt + 205 * MS, 0), cong, "a lost tail is repaired by the probe", 0, 0);
	CASE(repaired(&b, 200, 2, FOR_EVER, b.rtt + 5 * MS, b.rtt * 5 / 4 + 5 * MS), cong,
	     "a lost retransmission is repaired without a timeout", 0, 0);
}

int main(int argc, char **argv)
{
	static const char *const congs[] = { "reno", "cubic", "bbr" };
	const u64 mbit20 = 20000000 / 8;

	bulk_args(argc, argv, 2 * 12 + 3 * 4 + 3 + 2 + 1);
	responses("reno");
	responses("cubic");
	for (size_t i = 0; i < ARRAY_SIZE(congs); i++)
		recoveries(congs[i]);
	for (size_t i = 0; i < ARRAY_SIZE(congs); i++)
		CASE(fair(&(struct bulk){ congs[i], .flows = 4, .rtt = 40 * MS, .bytes_per_sec = mbit20, .queue = 70 }), congs[i],
		     "four flows share a link fairly", 0, 0);
	CASE(lossy_link(&(struct bulk){ "bbr", .rtt = 40 * MS, .bytes_per_sec = mbit20, .queue = 70, .loss = 0.01 }, 0.9), "bbr",
	     "a link of 20 Mbit/s that loses 1 %% is used to 90 %%", 0, 0);
	CASE(lossy_link(&(struct bulk){ "bbr", .rtt = 100 * MS, .bytes_per_sec = 5 * mbit20, .queue = 800, .loss = 0.01, .ring = 8 << 20 }, 0.9),
	     "bbr", "a link of 100 Mbit/s and 100 ms that loses 1 %% is used to 90 %%", 0, 0);
	CASE(slow_start_ends(), "cubic", "slow start ends before a deep queue overflows", 0, 0);
	return bulk_bad();
}
