/* link.c – strata link: linkd's devices (link_shm.dev). rx1 polls them, tx8 feeds them. */
#include "strata.h"

static const char help[] =
	"usage: strata link [show]\n"
	"       strata link set DEVICE mtu N\n";

static int show(struct cli *c)
{
	if (look(c) < 0)
		return EXIT_FAILURE;
	for (u32 i = 0; i < LINK_DEVS; i++) {
		struct link_dev *d = &c->link->dev[i];

		if (!d->name[0])
			continue;
		printf("%u: %s: <%s%s%s%s> mtu %u driver %.8s\n    link/ether %s\n", i, dev_name(c, i),
		       load_relaxed(&d->up) ? "UP" : "DOWN", d->features & LINK_F_VNET ? ",VNET" : "",
		       d->features & LINK_F_TSO ? ",TSO" : "", d->features & LINK_F_CSUM ? ",CSUM" : "", d->mtu, d->driver,
		       mac_text(d->mac));
		printf("    RX: %14llu bytes %12llu packets %8llu dropped\n",
		       (unsigned long long)load_relaxed(&d->rx_bytes), (unsigned long long)load_relaxed(&d->rx_packets),
		       (unsigned long long)load_relaxed(&d->rx_dropped));
		printf("    TX: %14llu bytes %12llu packets %8llu dropped %8llu requeued\n",
		       (unsigned long long)load_relaxed(&d->tx_bytes), (unsigned long long)load_relaxed(&d->tx_packets),
		       (unsigned long long)load_relaxed(&d->tx_dropped),
		       (unsigned long long)load_relaxed(&d->tx_requeues));
	}
	return EXIT_SUCCESS;
}

int cmd_link(struct cli *c, int argc, char **argv)
{
	admin_request q = ADMIN_REQUEST(LINK_SET);
	int at = 2, r;

	if (wants_help(argc, argv, help))
		return EXIT_SUCCESS;
	if (is_show(argc, argv))
		return show(c);
	if (strcmp(argv[1], "set"))
		return misuse("link", "cannot", argv[1]);
	if (argc > at && strcmp(argv[at], "dev") == 0)
		at++;
	if (argc <= at)
		return misuse("link", "which device?", NULL);
	q.dev = argv[at++];
	r = parse_words("link", argc - at, argv + at, &q, NULL);
	if (r)
		return r;
	if (!q.has_mtu)
		return misuse("link", "nothing to set: 'mtu N' is missing", NULL);
	return admin_run(c, &q);
}
