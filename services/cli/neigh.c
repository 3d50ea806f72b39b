/* neigh.c – strata neigh: ipd's neighbour cache (ip_shm.neigh). rx3 fills it, tx6 uses it. */
#include "strata.h"

static const char help[] =
	"usage: strata neigh [show]\n"
	"       strata neigh add ADDRESS lladdr MAC dev DEVICE\n"
	"       strata neigh del ADDRESS [dev DEVICE]\n";

static const char *const states[] = {
	[NUD_NONE] = "NONE",   [NUD_INCOMPLETE] = "INCOMPLETE", [NUD_REACHABLE] = "REACHABLE", [NUD_STALE] = "STALE",
	[NUD_DELAY] = "DELAY", [NUD_PROBE] = "PROBE",		[NUD_FAILED] = "FAILED",       [NUD_PERMANENT] = "PERMANENT",
};
static_assert(ARRAY_SIZE(states) == NUD_PERMANENT + 1, "every state has a name");

static int show(struct cli *c)
{
	u64 now;

	if (look(c) < 0)
		return EXIT_FAILURE;
	now = now_ns();
	for (u32 i = 0; i < IP_NEIGHS; i++) {
		struct ip_neigh n = c->ip->neigh[i];

		if (n.state == NUD_NONE || n.state > NUD_PERMANENT)
			continue;
		printf("%s dev %s", ip_text(n.addr), dev_name(c, n.dev));
		if (n.state != NUD_INCOMPLETE && n.state != NUD_FAILED)
			printf(" lladdr %s", mac_text(n.mac));
		if (n.used && n.used <= now)
			printf(" used %llus", (unsigned long long)((now - n.used) / NSEC_PER_SEC));
		if (n.confirmed && n.confirmed <= now)
			printf(" confirmed %llus", (unsigned long long)((now - n.confirmed) / NSEC_PER_SEC));
		if (n.probes)
			printf(" probes %u", n.probes);
		printf(" %s\n", states[n.state]);
	}
	return EXIT_SUCCESS;
}

static bool subject(const char *word, admin_request *q)
{
	be32 addr;

	q->has_addr = parse_ip(word, &addr);
	q->addr = q->has_addr ? addr.v : 0;
	return q->has_addr;
}

static const char *missing(const admin_request *q)
{
	return q->has_mac && q->dev ? NULL : "'lladdr MAC' and 'dev DEVICE' are needed";
}

int cmd_neigh(struct cli *c, int argc, char **argv)
{
	static const struct table t = { "neigh", help, show, STRATA__CONTROL__REQUEST__OP__NEIGH_ADD, STRATA__CONTROL__REQUEST__OP__NEIGH_DEL,
					subject, "not an address:", missing, true };

	return table_command(c, argc, argv, &t);
}
