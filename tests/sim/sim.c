/* sim.c – scenarios of the simulator and what must hold in every one of them.
 *
 *   sim [--count N] [--seed S] [--trace] [--minutes M]
 *
 * Properties: streams byte-exact both ways, orderly end, no error at an application, no stall longer than the
 * protocol allows, nothing sent beyond the MTU, transmit buffers back to none. Prints TAP, one line per family. */
#include "sim.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

/* ---- scenarios ---- */

struct family {
	const char *name;
	double loss, dup, corrupt, reorder;	/* upper bounds; each scenario draws below them */
	u32 burst;
	bool restarts;
	u64 max_delay, max_bytes;
	double mark;
};

static const struct family families[] = {
	{ "clean", 0, 0, 0, 0, 0, false, 100 * NSEC_PER_MSEC, 2000000 },
	{ "light loss", 0.01, 0, 0, 0, 0, false, 100 * NSEC_PER_MSEC, 1000000 },
	{ "heavy loss", 0.30, 0, 0, 0, 0, false, 50 * NSEC_PER_MSEC, 60000 },
	{ "bursts of loss", 0.02, 0, 0, 0, 8, false, 50 * NSEC_PER_MSEC, 300000 },
	{ "reordering", 0, 0, 0, 0.3, 0, false, 20 * NSEC_PER_MSEC, 500000 },
	{ "duplication", 0, 0.3, 0, 0, 0, false, 20 * NSEC_PER_MSEC, 500000 },
	{ "corruption", 0, 0, 0.05, 0, 0, false, 20 * NSEC_PER_MSEC, 200000 },
	{ "everything", 0.1, 0.1, 0.02, 0.1, 3, false, 50 * NSEC_PER_MSEC, 200000 },
	{ "congestion marks", 0, 0, 0, 0, 0, false, 50 * NSEC_PER_MSEC, 500000, 0.3 },
	{ "marks and everything", 0.1, 0.1, 0.02, 0.1, 3, true, 20 * NSEC_PER_MSEC, 200000, 0.3 },
	{ "restarts", 0, 0, 0, 0, 0, true, 20 * NSEC_PER_MSEC, 500000 },
	{ "restarts and everything", 0.05, 0.05, 0.02, 0.05, 2, true, 20 * NSEC_PER_MSEC, 200000 },
};

static void draw(struct sim *s, const struct family *f)
{
	for (int i = 0; i < 2; i++)
		s->wire[i] = (struct wire_conf){
			.loss = f->loss * (double)sim_below(s, 1001) / 1000, .dup = f->dup * (double)sim_below(s, 1001) / 1000,
			.corrupt = f->corrupt * (double)sim_below(s, 1001) / 1000,
			.reorder = f->reorder * (double)sim_below(s, 1001) / 1000, .burst = f->burst,
			.mark = f->mark * (double)sim_below(s, 1001) / 1000,
			.delay = 1000 + sim_below(s, f->max_delay), .jitter = sim_below(s, 3) ? 0 : sim_below(s, 1000000),
			.bytes_per_sec = sim_below(s, 2) ? 0 : 100000 + sim_below(s, 100000000),
			.queue = 20 + (u32)sim_below(s, 1000),
		};
	s->checksum = f->corrupt > 0 || sim_below(s, 2);
	s->restarts = f->restarts;
	s->mtu = sim_below(s, 4) ? 1500 : (u16)(576 + sim_below(s, 8400));
}

static bool all_done(const struct sim *s)
{
	for (int i = 0; i < 2; i++)
		for (u32 j = 0; j < s->node[i].napp; j++)
			if (!s->node[i].app[j].closed)
				return false;
	return s->node[0].napp - s->gave_up == s->node[1].napp;
}

static bool all_freed(const struct sim *s)
{
	for (int i = 0; i < 2; i++)
		for (u32 j = 0; j < s->node[i].napp; j++)
			if (!s->node[i].app[j].freed)
				return false;
	return true;
}

static void step(struct sim *s)
{
	struct packet *p = wire_next(s);
	u64 t = MIN(node_next(&s->node[0]), node_next(&s->node[1]));

	if (p)
		t = MIN(t, p->at);
	if (t == UINT64_MAX) {
		sim_fail(s, "nothing will ever happen again, and the connections are not done");
		return;
	}
	s->now = MAX(s->now, t);
	while ((p = wire_next(s)) && p->at <= s->now) {
		u8 to = p->to;

		wire_pop(s);
		wire_trace(s, "arrives", to, p->data, p->len);
		node_deliver(&s->node[to], p);
		free(p);
	}
	if (s->restarts && sim_chance(s, 0.003)) {
		struct node *n = &s->node[sim_below(s, 2)];

		if (s->trace)
			printf("# %12.6f restart of node %u\n", (double)s->now / 1e9, n->id);
		if (node_restart(n))
			sim_fail(s, "node %u cannot restart", n->id);
	}
	node_apps(&s->node[0]);
	node_apps(&s->node[1]);
	if (s->now - s->last_progress > SIM_HOUR / 6)
		sim_fail(s, "no progress for ten minutes");
}

/* On a wire that keeps the order every mark is heard, and answered at most once. (A scaled window may show a byte more than
 * there is room for, and what is refused is not heard.) */
static void check_marks(struct sim *s, const struct family *f)
{
	u64 heard = 0, answered = 0;

	if (s->failed || f->loss > 0 || f->restarts || s->wire[0].jitter || s->wire[1].jitter)
		return;
	for (int i = 0; i < 2; i++) {
		heard += counter_get(&s->node[i].counters, TCP_CE_MARKS);
		answered += counter_get(&s->node[i].counters, TCP_ECN_CWR);
	}
	if (!s->conf.window_scaling && heard < s->marked)
		sim_fail(s, "%llu packets were marked and %llu marks heard", (unsigned long long)s->marked, (unsigned long long)heard);
	if (answered > s->marked)
		sim_fail(s, "%llu answers to %llu marks", (unsigned long long)answered, (unsigned long long)s->marked);
}

static void finish(struct sim *s)
{
	while (s->nheap) {
		struct packet *p = wire_next(s);

		wire_pop(s);
		free(p);
	}
	free(s->heap);
	for (int i = 0; i < 2; i++) {
		if (!s->failed && s->node[i].outstanding)
			sim_fail(s, "node %d: %u transmit buffers leaked", i, s->node[i].outstanding);
		node_fini(&s->node[i]);
	}
}

static bool run(u64 seed, const struct family *f, bool trace, u64 *packets)
{
	struct sim s = { .seed = seed, .rng = seed, .now = 1000 * NSEC_PER_SEC, .trace = trace };
	u32 conns;

	s.conf = (struct config){ .congestion = "cubic", .rcvbuf = 65536, .sndbuf = 65536, .port_lo = 32768, .port_hi = 60999,
				  .fin_timeout_s = 60, .tw_max = 1024, .backlog_max = 4096, .timestamps = sim_below(&s, 4) != 0,
				  .sack = sim_below(&s, 4) != 0, .window_scaling = sim_below(&s, 4) != 0, .ttl = 64 };
	strcpy(s.conf.congestion, (const char *[]){ "cubic", "reno", "bbr" }[sim_below(&s, 3)]);
	s.conf.syncookies = sim_below(&s, 4) ? COOKIES_WHEN_FULL : COOKIES_ALWAYS;
	s.conf.ecn = f->mark > 0 ? ECN_ASK : (u8)sim_below(&s, 3);
	draw(&s, f);
	s.last_progress = s.now;
	conns = 1 + (u32)sim_below(&s, SIM_CONNS - 1);
	if (node_init(&s, &s.node[0], 0) || node_init(&s, &s.node[1], 1) || node_listen(&s.node[1], 80))
		sim_fail(&s, "cannot begin");
	for (u32 i = 0; i < conns && !s.failed; i++)
		if (node_connect(&s.node[0], 80, sim_below(&s, f->max_bytes), sim_below(&s, f->max_bytes)))
			sim_fail(&s, "connect failed at once");
	while (!s.failed && !all_done(&s))
		step(&s);
	while (!s.failed && !all_freed(&s))	/* orphans: FINs acknowledged, slots given back */
		step(&s);
	check_marks(&s, f);
	*packets += s.packets;
	finish(&s);
	if (s.failed)
		printf("# seed %llu, %s: %s at %.6f s\n#   again: sim --seed %llu --family %ld --count 1 --trace\n",
		       (unsigned long long)seed, f->name, s.why, (double)(s.now - 1000 * NSEC_PER_SEC) / 1e9,
		       (unsigned long long)seed, (long)(f - families));
	return !s.failed;
}

int main(int argc, char **argv)
{
	static const struct option opts[] = { { "count", 1, 0, 'c' }, { "seed", 1, 0, 's' }, { "trace", 0, 0, 't' },
					      { "family", 1, 0, 'f' }, { "help", 0, 0, 'h' }, { 0 } };
	u64 count = 100, seed = 1, packets = 0;
	long only = -1;
	bool trace = false, bad = false;
	int c;

	while ((c = getopt_long(argc, argv, "c:s:tf:h", opts, NULL)) != -1)
		switch (c) {
		case 'c': count = strtoull(optarg, NULL, 0); break;
		case 's': seed = strtoull(optarg, NULL, 0); break;
		case 'f': only = strtol(optarg, NULL, 0); break;
		case 't': trace = true; break;
		default:
			printf("usage: sim [--count N per family] [--seed FIRST] [--family K] [--trace]\n");
			return c != 'h';
		}
	printf("1..%zu\n", only < 0 ? ARRAY_SIZE(families) : 1);
	for (size_t f = 0, n = 1; f < ARRAY_SIZE(families); f++) {
		u64 failed = 0, before = packets;

		if (only >= 0 && (size_t)only != f)
			continue;
		for (u64 i = 0; i < count && failed < 5; i++)
			failed += !run(seed + i, &families[f], trace, &packets);
		printf("%sok %zu - %s: %llu scenarios from seed %llu, %llu packets\n", failed ? "not " : "", n++, families[f].name,
		       (unsigned long long)count, (unsigned long long)seed, (unsigned long long)(packets - before));
		fflush(stdout);
		bad |= failed != 0;
	}
	return bad;
}
