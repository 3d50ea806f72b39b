/* flow.c – strata flow: the flow's table, tx1..tx8 and rx1..rx8, with what has passed each step. */
#include "strata.h"

static const char help[] =
	"usage: strata flow\n\n"
	"The steps of the flow in packet order: who does it, and how often it was done since the instance started.\n";

/* Who counts a step: the daemon in whose region the counter is. */
static const char *daemon_of(const struct layer l[LAYERS], u32 id)
{
	static const char *const home[] = { "sockd", "tcpd", "tcpd", "ipd", "ipd", "ipd", "linkd", "linkd",
					    "linkd", "linkd", "ipd", "ipd", "ipd", "tcpd", "tcpd", "tcpd" };

	for (u32 i = 0; i < LAYERS; i++)
		if (l[i].counters && counter_get(l[i].counters, (enum counter_id)id))
			return l[i].name;
	return home[id - FLOW_TX1_SENDMSG];
}

int cmd_flow(struct cli *c, int argc, char **argv)
{
	struct layer l[LAYERS];

	static_assert(FLOW_RX8_RECVMSG - FLOW_TX1_SENDMSG == 15, "sixteen steps");
	if (wants_help(argc, argv, help))
		return EXIT_SUCCESS;
	if (argc > 1)
		return misuse("flow", "does not take", argv[1]);
	if (look(c) < 0)
		return EXIT_FAILURE;
	layers(c, l);
	printf("%-4s  %-6s  %16s  %s\n", "step", "daemon", "count", "what");
	for (u32 id = FLOW_TX1_SENDMSG; id <= FLOW_RX8_RECVMSG; id++) {
		u64 sum = 0;

		for (u32 i = 0; i < LAYERS; i++)
			sum += l[i].counters ? counter_get(l[i].counters, (enum counter_id)id) : 0;
		printf("%-4s  %-6s  %16llu  %s\n", counter_names[id].where, daemon_of(l, id), (unsigned long long)sum,
		       counter_names[id].text);
	}
	return EXIT_SUCCESS;
}
