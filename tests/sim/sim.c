/* sim.c – scenarios of the simulator: families of bad wires, each drawn from a seed, each in whole connections.
 *
 *   sim [--count N] [--minutes M] [--seed S] [--family K] [--trace] [--pcap FILE]
 *
 * Properties: what app.c and check.c say. Prints TAP, one line per family, and for a failure the command that repeats it. */
#include "sim.h"

#include <getopt.h>
#include <stdlib.h>
#include <time.h>

#define MS NSEC_PER_MSEC
#define FAILURES 5u	/* of a family, then it is given up */

/* ---- scenarios ---- */

struct family {
	const char *name;
	double loss, dup, corrupt, reorder, mark;	/* upper bounds; each scenario draws below them */
	u32 burst, queue;				/* queue not 0: a narrow link with at most so many packets waiting */
	bool restarts, mtu_changes, fastopen, black_hole;
	u64 max_delay, max_jitter, max_bytes;
};

static const struct family families[] = {
	{ "clean", .max_delay = 100 * MS, .max_bytes = 2000000 },
	{ "light loss", .loss = 0.01, .max_delay = 100 * MS, .max_bytes = 1000000 },
	{ "heavy loss", .loss = 0.30, .max_delay = 50 * MS, .max_bytes = 60000 },
	{ "bursts of loss", .loss = 0.02, .burst = 8, .max_delay = 50 * MS, .max_bytes = 300000 },
	{ "reordering", .reorder = 0.3, .max_delay = 20 * MS, .max_bytes = 500000 },
	{ "jitter", .max_jitter = 60 * MS, .max_delay = 20 * MS, .max_bytes = 300000 },
	{ "duplication", .dup = 0.3, .max_delay = 20 * MS, .max_bytes = 500000 },
	{ "corruption", .corrupt = 0.05, .max_delay = 20 * MS, .max_bytes = 200000 },
	{ "short queues", .queue = 20, .max_delay = 50 * MS, .max_bytes = 300000 },
	{ "path MTU changes", .mtu_changes = true, .loss = 0.01, .max_delay = 50 * MS, .max_bytes = 300000 },
	{ "black holes", .mtu_changes = true, .black_hole = true, .max_delay = 50 * MS, .max_bytes = 300000 },
	{ "black holes and restarts", .mtu_changes = true, .black_hole = true, .restarts = true, .loss = 0.01, .max_delay = 20 * MS,
	  .max_bytes = 200000 },
	{ "everything", .loss = 0.1, .dup = 0.1, .corrupt = 0.02, .reorder = 0.1, .burst = 3, .mtu_changes = true,
	  .max_delay = 50 * MS, .max_jitter = 20 * MS, .max_bytes = 200000 },
	{ "congestion marks", .mark = 0.3, .max_delay = 50 * MS, .max_bytes = 500000 },
	{ "marks and everything", .loss = 0.1, .dup = 0.1, .corrupt = 0.02, .reorder = 0.1, .mark = 0.3, .burst = 3, .restarts = true,
	  .max_delay = 20 * MS, .max_bytes = 200000 },
	{ "Fast Open", .fastopen = true, .max_delay = 50 * MS, .max_bytes = 20000 },
	{ "Fast Open and losses", .fastopen = true, .loss = 0.1, .mark = 0.1, .restarts = true, .max_delay = 50 * MS,
	  .max_bytes = 20000 },
	{ "restarts", .restarts = true, .max_delay = 20 * MS, .max_bytes = 500000 },
	{ "restarts and everything", .loss = 0.05, .dup = 0.05, .corrupt = 0.02, .reorder = 0.05, .burst = 2, .restarts = true,
	  .mtu_changes = true, .max_delay = 20 * MS, .max_bytes = 200000 },
};

struct tally { u64 runs, failed, packets; };

static double below(struct sim *s, double max) { return max * (double)sim_below(s, 1001) / 1000; }

static void draw(struct sim *s, const struct family *f)
{
	for (int i = 0; i < 2; i++) {
		struct wire_conf *w = &s->wire[i];

		*w = (struct wire_conf){
			.loss = below(s, f->loss), .dup = below(s, f->dup), .corrupt = below(s, f->corrupt),
			.reorder = below(s, f->reorder), .mark = below(s, f->mark), .burst = f->burst,
			.delay = 1000 + sim_below(s, f->max_delay), .jitter = sim_below(s, 3) ? 0 : sim_below(s, MS),
			.bytes_per_sec = sim_below(s, 2) ? 0 : 100000 + sim_below(s, 100000000), .queue = 20 + (u32)sim_below(s, 1000),
		};
		if (f->max_jitter)
			w->jitter = sim_below(s, f->max_jitter);
		if (f->queue) {
			w->bytes_per_sec = 100000 + sim_below(s, 3000000);
			w->queue = 2 + (u32)sim_below(s, f->queue);
		}
	}
	s->checksum = f->corrupt > 0 || sim_below(s, 2);
	s->restarts = f->restarts;
	s->mtu_changes = f->mtu_changes;
	s->fastopen = f->fastopen;
	s->black_hole = f->black_hole;
	s->mtu = sim_below(s, 4) ? 1500 : (u16)(576 + sim_below(s, 8400));
	s->ring = sim_below(s, 4) ? SIM_RING : 16384u << sim_below(s, 5);
	s->conf = (struct config){ .rcvbuf = s->ring, .sndbuf = s->ring, .port_lo = 32768, .port_hi = 60999, .fin_timeout_s = 60,
				   .tw_max = 1024, .backlog_max = 4096, .timestamps = sim_below(s, 4) != 0, .sack = sim_below(s, 4) != 0,
				   .window_scaling = sim_below(s, 4) != 0, .ttl = 64 };
	strcpy(s->conf.congestion, (const char *[]){ "cubic", "reno", "bbr" }[sim_below(s, 3)]);
	s->conf.syncookies = sim_below(s, 4) ? COOKIES_WHEN_FULL : COOKIES_ALWAYS;
	if (f->loss > 0.2)	/* a cookie is good for a minute or two: an ACK that is lost for longer finds nobody */
		s->conf.syncookies = COOKIES_WHEN_FULL;
	s->conf.fastopen = f->fastopen ? FASTOPEN_CLIENT | FASTOPEN_SERVER : FASTOPEN_CLIENT;
	s->conf.mtu_probing = (u8)(f->black_hole ? 1 + sim_below(s, 2) : sim_below(s, 3));
	s->conf.ecn = f->mark > 0 ? ECN_ASK : (u8)sim_below(s, 3);
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

static bool quiet(struct sim *s)
{
	return !wire_next(s) && MIN(node_next(&s->node[0]), node_next(&s->node[1])) == UINT64_MAX;
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

/* Connections from their SYN until nothing reminds of them: orphans' FINs acknowledged, slots given back, TIME_WAIT over. */
static void live(struct sim *s, const struct family *f)
{
	u32 conns = 1 + (u32)sim_below(s, SIM_CONNS / 2 - 1);

	if (sim_begin(s))
		sim_fail(s, "cannot begin");
	for (u32 i = 0; i < conns && !s->failed; i++)
		if (node_connect(&s->node[0], 80, sim_below(s, f->max_bytes), sim_below(s, f->max_bytes)))
			sim_fail(s, "connect failed at once");
	while (!s->failed && !(all_done(s) && all_freed(s)))
		sim_step(s);
	s->restarts = false;
	while (!s->failed && !quiet(s))
		sim_step(s);
	check_marks(s, f);
	if (!s->failed)
		check_empty(s);
}

static void run(u64 seed, const struct family *f, bool trace, FILE *pcap, struct tally *t)
{
	struct sim *s = calloc(1, sizeof(*s));

	assert(s);
	s->seed = s->rng = seed;
	s->trace = trace;
	s->pcap = pcap;
	draw(s, f);
	live(s, f);
	t->runs++;
	t->packets += s->packets;
	sim_end(s);
	if (s->failed) {
		t->failed++;
		printf("# seed %llu, %s: %s at %.6f s\n#   again: sim --family %ld --seed %llu --count 1 --trace --pcap sim.pcap\n",
		       (unsigned long long)seed, f->name, s->why, (double)(s->now - 1000 * NSEC_PER_SEC) / 1e9, (long)(f - families),
		       (unsigned long long)seed);
		fflush(stdout);
	}
	free(s);
}

static int report(const struct tally *t, long only, u64 seed)
{
	int bad = 0, n = 1;

	for (size_t f = 0; f < ARRAY_SIZE(families); f++) {
		if (only >= 0 && (size_t)only != f)
			continue;
		printf("%sok %d - %s: %llu scenarios from seed %llu, %llu packets\n", t[f].failed ? "not " : "", n++, families[f].name,
		       (unsigned long long)t[f].runs, (unsigned long long)seed, (unsigned long long)t[f].packets);
		bad |= t[f].failed != 0;
	}
	return bad;
}

static int usage(int status)
{
	printf("usage: sim [--count N per family | --minutes M] [--seed FIRST] [--family K] [--trace] [--pcap FILE]\n");
	for (size_t f = 0; f < ARRAY_SIZE(families); f++)
		printf("  family %2zu  %s\n", f, families[f].name);
	return status;
}

int main(int argc, char **argv)
{
	static const struct option opts[] = { { "count", 1, 0, 'c' }, { "seed", 1, 0, 's' }, { "trace", 0, 0, 't' }, { "minutes", 1, 0, 'm' },
					      { "family", 1, 0, 'f' }, { "pcap", 1, 0, 'p' }, { "help", 0, 0, 'h' }, { 0 } };
	struct tally tally[ARRAY_SIZE(families)] = { 0 };
	u64 count = 100, seed = 1;
	time_t end = 0;
	long only = -1;
	bool trace = false;
	FILE *pcap = NULL;
	int c;

	while ((c = getopt_long(argc, argv, "c:s:tf:m:p:h", opts, NULL)) != -1)
		switch (c) {
		case 'c': count = strtoull(optarg, NULL, 0); break;
		case 'm': end = time(NULL) + strtol(optarg, NULL, 0) * 60; break;
		case 's': seed = strtoull(optarg, NULL, 0); break;
		case 'f': only = strtol(optarg, NULL, 0); break;
		case 't': trace = true; break;
		case 'p':
			pcap = pcap_open(optarg);
			if (!pcap) {
				perror(optarg);
				return 1;
			}
			break;
		default: return usage(c != 'h');
		}
	printf("1..%zu\n", only < 0 ? ARRAY_SIZE(families) : 1);
	for (u64 i = 0; end ? time(NULL) < end : i < count; i++)
		for (size_t f = 0; f < ARRAY_SIZE(families); f++)
			if ((only < 0 || (size_t)only == f) && tally[f].failed < FAILURES)
				run(seed + i, &families[f], trace, pcap, &tally[f]);
	if (pcap)
		fclose(pcap);
	return report(tally, only, seed);
}
