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

int cmd_neigh(struct cli *c, int argc, char **argv)
{
	admin_request q = ADMIN_REQUEST(NEIGH_ADD);
	u8 mac[6];
	be32 addr;
	int r;

	if (wants_help(argc, argv, help))
		return EXIT_SUCCESS;
	if (is_show(argc, argv))
		return show(c);
	if (strcmp(argv[1], "del") == 0)
		q.op = STRATA__CONTROL__REQUEST__OP__NEIGH_DEL;
	else if (strcmp(argv[1], "add"))
		return misuse("neigh", "cannot", argv[1]);
	if (argc < 3 || !parse_ip(argv[2], &addr))
		return misuse("neigh", "not an address:", argc < 3 ? "(nothing)" : argv[2]);
	q.has_addr = true;
	q.addr = addr.v;
	r = parse_words("neigh", argc - 3, argv + 3, &q, mac);
	if (r)
		return r;
	if (q.op == STRATA__CONTROL__REQUEST__OP__NEIGH_ADD && (!q.has_mac || !q.dev))
		return misuse("neigh", "'lladdr MAC' and 'dev DEVICE' are needed", NULL);
	return admin_run(c, &q);
}
