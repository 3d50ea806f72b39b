/* tcp_mutate.c – malformed segments against the real TCP, seeded: truncated, wrong lengths, wrong checksums, absurd
 * options and flags, and random damage whose checksum has been put right again.
 *
 *   tcp_mutate [--count SEGMENTS] [--seed S]
 *
 * Two simulated hosts (tests/sim) exchange data; beside every segment mutated copies are delivered. What must hold:
 * no crash (run it under the sanitizers), every drop counted, and afterwards a fresh connection on the same two
 * stacks carries its bytes exactly and nothing has leaked. */
#include "tests/sim/sim.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/csum.h"
#include "proto/wire/tcp.h"

static u64 injected, wanted;

static void damage(struct sim *s, struct packet *q)
{
	struct tcp_hdr *h = (struct tcp_hdr *)q->data;

	switch (sim_below(s, 8)) {
	case 0: q->len = (u32)sim_below(s, q->len + 1); break;				/* truncated */
	case 1: h->doff_res = (u8)sim_rand(s); break;					/* absurd header length */
	case 2: h->flags = (u8)sim_rand(s); break;
	case 3: h->seq = to_be32(from_be32(h->seq) + (u32)sim_below(s, 200000) - 100000); break;
	case 4: h->ack_seq = to_be32(from_be32(h->ack_seq) + (u32)sim_below(s, 200000) - 100000); break;
	case 5:										/* options */
		h->doff_res = 0xf0;
		for (u32 i = 20; i < MIN(q->len, 60u); i++)
			q->data[i] = sim_below(s, 3) ? (u8)sim_below(s, 12) : (u8)sim_rand(s);
		break;
	case 6: h->window = to_be16((u16)(sim_below(s, 2) ? 0 : sim_rand(s))); break;
	default:
		for (u64 k = 1 + sim_below(s, 8); k && q->len; k--)
			q->data[sim_below(s, q->len)] = (u8)sim_rand(s);
	}
	if (q->len >= 20 && sim_below(s, 4)) {	/* a checksum that is right lets it through the first gate */
		h->check = 0;
		h->check = csum_fold(csum_partial(q->data, q->len, csum_pseudo(q->cb.saddr, q->cb.daddr, 6, q->len)));
	}
}

static void inject(struct sim *s, u8 to, const struct packet *p)
{
	struct packet *q = malloc(sizeof(*q) + p->len + 64);

	assert(q);
	for (int i = 0; i < 4 && injected < wanted; i++, injected++) {
		memset(q->data, 0, p->len + 64);
		memcpy(q, p, sizeof(*q) + p->len);
		q->len = MAX(p->len, 20u);
		damage(s, q);
		wire_inject(s, to, q, s->now + sim_below(s, 2 * NSEC_PER_MSEC));
	}
	free(q);
}

static void advance(struct sim *s)
{
	struct packet *p = wire_next(s);
	u64 t = MIN(node_next(&s->node[0]), node_next(&s->node[1]));

	s->now = MAX(s->now, MIN(p ? p->at : UINT64_MAX, t));
	while ((p = wire_next(s)) && p->at <= s->now) {
		wire_pop(s);
		node_deliver(&s->node[p->to], p);
		free(p);
	}
	node_apps(&s->node[0]);
	node_apps(&s->node[1]);
}

static bool idle(struct sim *s)
{
	return !wire_next(s) && MIN(node_next(&s->node[0]), node_next(&s->node[1])) == UINT64_MAX;
}

static void wire_empty(struct sim *s)
{
	for (struct packet *p; (p = wire_next(s)); free(p))
		wire_pop(s);
}

/* One pair of hosts: hostile traffic on two connections, then a clean one that must work. */
static bool round_(u64 seed)
{
	struct sim s = { .seed = seed, .rng = seed, .now = 1000 * NSEC_PER_SEC, .mtu = 1500, .checksum = true,
			 .fastopen = seed & 2 };
	struct app *a;
	u32 before;

	s.conf = (struct config){ .congestion = "cubic", .rcvbuf = 65536, .sndbuf = 65536, .port_lo = 32768, .port_hi = 60999,
				  .fin_timeout_s = 60, .tw_max = 1024, .backlog_max = 4096, .timestamps = seed & 1, .sack = true,
				  .window_scaling = true, .ecn = ECN_ASK, .ttl = 64, .syncookies = COOKIES_WHEN_FULL,
				  .fastopen = FASTOPEN_CLIENT | FASTOPEN_SERVER };
	for (int i = 0; i < 2; i++)
		s.wire[i] = (struct wire_conf){ .delay = NSEC_PER_MSEC };
	if (node_init(&s, &s.node[0], 0) || node_init(&s, &s.node[1], 1) || node_listen(&s.node[1], 80))
		return false;
	s.hostile = true;
	s.hook = inject;
	for (int i = 0; i < 2; i++)
		if (node_connect(&s.node[0], 80, 100000, 100000))
			return false;
	for (u32 steps = 0; steps < 3000 && !idle(&s); steps++)
		advance(&s);
	s.hook = NULL;
	wire_empty(&s);
	node_apps(&s.node[1]);		/* a SYN with data may have made a connection (Fast Open): it is accepted */
	for (u32 i = 0; i < SIM_CONNS; i++)	/* whatever became of them: let go */
		for (int k = 0; k < 2; k++)
			if (i < s.node[k].napp && !s.node[k].app[i].closed) {
				s.node[k].app[i].closed = true;
				tcp_orphan(&s.node[k].tcp, s.node[k].app[i].sk);
			}
	before = s.node[1].napp;
	s.hostile = false;
	if (node_connect(&s.node[0], 80, 50000, 50000))
		return false;
	a = &s.node[0].app[s.node[0].napp - 1];
	s.last_progress = s.now;
	for (u32 steps = 0; steps < 100000 && !s.failed && !a->closed && !idle(&s); steps++)
		advance(&s);
	if (!s.failed && !a->closed)
		sim_fail(&s, "after %u accepted connections a clean one does not get through", before);
	wire_empty(&s);
	free(s.heap);
	for (int i = 0; i < 2; i++) {
		if (!s.failed && s.node[i].outstanding)
			sim_fail(&s, "%u transmit buffers leaked", s.node[i].outstanding);
		node_fini(&s.node[i]);
	}
	if (s.failed)
		printf("# seed %llu: %s\n#   again: tcp_mutate --seed %llu --count 1\n", (unsigned long long)seed, s.why,
		       (unsigned long long)seed);
	return !s.failed;
}

int main(int argc, char **argv)
{
	static const struct option opts[] = { { "count", 1, 0, 'c' }, { "seed", 1, 0, 's' }, { 0 } };
	u64 seed = 1, first;
	bool ok = true;
	int c;

	wanted = 100000;
	while ((c = getopt_long(argc, argv, "c:s:", opts, NULL)) != -1)
		switch (c) {
		case 'c': wanted = strtoull(optarg, NULL, 0); break;
		case 's': seed = strtoull(optarg, NULL, 0); break;
		default: return 2;
		}
	first = seed;
	printf("1..1\n");
	do
		ok = round_(seed++);
	while (ok && injected < wanted && seed < first + 100000);
	ok &= injected >= wanted;
	printf("%sok 1 - %llu malformed segments on %llu pairs of hosts from seed %llu\n", ok ? "" : "not ",
	       (unsigned long long)injected, (unsigned long long)(seed - first), (unsigned long long)first);
	return !ok;
}
