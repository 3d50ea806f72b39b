/* world.c – the seed: every random decision of a simulation; its verdict; and its steps in virtual time. */
#include "sim.h"

#include <stdarg.h>
#include <stdlib.h>

u64 sim_rand(struct sim *s)
{
	u64 x = s->rng += 0x9e3779b97f4a7c15ull;	/* splitmix64 */

	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ull;
	x = (x ^ x >> 27) * 0x94d049bb133111ebull;
	return x ^ x >> 31;
}

u64 sim_below(struct sim *s, u64 n) { return n ? sim_rand(s) % n : 0; }
bool sim_chance(struct sim *s, double p) { return p > 0 && (double)(sim_rand(s) >> 11) < p * 9007199254740992.0; }

void sim_fail(struct sim *s, const char *fmt, ...)
{
	va_list ap;

	if (s->failed)
		return;
	va_start(ap, fmt);
	vsnprintf(s->why, sizeof(s->why), fmt, ap);
	va_end(ap);
	s->failed = s->why;
}

/* A loss, a restart, a full ring: a timer may have to run out before anything moves again. */
void sim_excuse(struct sim *s) { s->excuses++; }

int sim_begin(struct sim *s)
{
	s->now = 1000 * NSEC_PER_SEC;
	s->last_progress = s->now;
	return node_init(s, &s->node[0], 0) || node_init(s, &s->node[1], 1) || node_listen(&s->node[1], 80) ? -1 : 0;
}

static void maybe_restart(struct sim *s)
{
	struct node *n;

	if (!s->restarts || !sim_chance(s, 0.003))
		return;
	n = &s->node[sim_below(s, 2)];
	if (s->trace)
		printf("# %12.6f restart of node %u\n", (double)s->now / 1e9, n->id);
	sim_excuse(s);
	if (node_restart(n))
		sim_fail(s, "node %u cannot restart", n->id);
}

static void maybe_change_mtu(struct sim *s)
{
	if (!s->mtu_changes || !sim_chance(s, 0.002))
		return;
	/* Of black holes those that probing reaches: no network carries less than 552 bytes in practice */
	u16 least = s->black_hole ? 560 : 300;

	s->path_mtu = sim_below(s, 3) ? (u16)(least + sim_below(s, s->mtu - least)) : 0;
	if (s->trace)
		printf("# %12.6f path MTU %u\n", (double)s->now / 1e9, s->path_mtu ? s->path_mtu : s->mtu);
}

void sim_step(struct sim *s)
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
	s->steps++;
	while ((p = wire_next(s)) && p->at <= s->now) {
		u8 to = p->to;

		wire_pop(s);
		wire_trace(s, p->type == SKB_ICMP_ERROR ? "icmp" : "arrives", to, p->data, p->len);
		if (!to)
			pcap_packet(s, p);
		check_heard(s, to, p);
		node_deliver(&s->node[to], p);
		free(p);
	}
	maybe_restart(s);
	maybe_change_mtu(s);
	node_apps(&s->node[0]);
	node_apps(&s->node[1]);
	check_state(s);
	check_stalls(s);
}

void sim_end(struct sim *s)
{
	while (s->nheap) {
		struct packet *p = wire_next(s);

		wire_pop(s);
		free(p);
	}
	free(s->heap);
	node_fini(&s->node[0]);
	node_fini(&s->node[1]);
}
