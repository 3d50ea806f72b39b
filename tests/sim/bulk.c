/* bulk.c – bulk transfers in the simulator, and the TAP of the programs that measure them: see bulk.h. */
#include "bulk.h"

#include <stdlib.h>

bool trace, verbose;
static int number, bad;
static int chosen[32], nchosen;

struct sim *bulk_begin(const struct bulk *b, u64 seed)
{
	struct sim *s = calloc(1, sizeof(*s));

	assert(s);
	s->seed = s->rng = seed;
	s->mtu = 1500;
	s->ring = b->ring ? b->ring : 1 << 20;
	s->steady = true;
	s->trace = trace;
	for (int i = 0; i < 2; i++)
		s->wire[i].delay = b->rtt / 2;
	s->wire[0].loss = b->loss;
	s->wire[0].every = b->every;
	s->wire[0].bytes_per_sec = b->bytes_per_sec;
	s->wire[0].queue = b->queue;
	s->wire[0].police = b->police;
	s->wire[1].bunch = b->bunch;
	s->conf = (struct config){ .rcvbuf = s->ring, .sndbuf = s->ring, .port_lo = 32768, .port_hi = 60999, .fin_timeout_s = 60,
				   .tw_max = 1024, .backlog_max = 4096, .timestamps = true, .sack = !b->no_sack,
				   .window_scaling = true, .ttl = 64 };
	strcpy(s->conf.congestion, b->cong);
	if (sim_begin(s))
		sim_fail(s, "cannot begin");
	return s;
}

void bulk_connect(struct sim *s, u64 bytes)
{
	if (node_connect(&s->node[0], 80, bytes, SIM_MUTE))
		sim_fail(s, "connect failed at once");
}

void bulk_until(struct sim *s, u64 t)
{
	while (!s->failed && s->now < t)
		sim_step(s);
}

bool bulk_end(struct sim *s)
{
	bool ok = !s->failed;

	if (s->failed)
		printf("# %s at %.6f s\n", s->why, (double)(s->now - 1000 * NSEC_PER_SEC) / 1e9);
	sim_end(s);
	free(s);
	return ok;
}

u64 bulk_received(const struct sim *s)
{
	u64 n = 0;

	for (u32 i = 0; i < s->node[1].napp; i++)
		n += s->node[1].app[i].got;
	return n;
}

struct tcp_conn *bulk_sender(struct sim *s) { return conn_of(&s->node[0].tcp, s->node[0].app[0].sk); }

/* ---- TAP ---- */

void bulk_args(int argc, char **argv, int cases)
{
	for (int i = 1; i < argc; i++)
		if (!strcmp(argv[i], "--trace"))
			trace = true;
		else if (!strcmp(argv[i], "--verbose"))
			verbose = true;
		else if (nchosen < (int)ARRAY_SIZE(chosen))
			chosen[nchosen++] = atoi(argv[i]);
	printf("1..%d\n", nchosen ? nchosen : cases);
}

bool bulk_wanted(void)
{
	number++;
	for (int i = 0; i < nchosen; i++)
		if (chosen[i] == number)
			return true;
	return !nchosen;
}

void bulk_say(bool ok, const char *cong, const char *fmt, double a, double b)
{
	printf("%sok %d - %s: ", ok ? "" : "not ", number, cong);
	printf(fmt, a, b);
	printf("\n");
	fflush(stdout);
	bad |= !ok;
}

int bulk_bad(void) { return bad; }
