/* addr.c – strata addr: the stack's addresses (ip_shm.addr). */
#include "strata.h"

static const char help[] =
	"usage: strata addr [show]\n"
	"       strata addr add ADDRESS/PREFIX dev DEVICE\n"
	"       strata addr del ADDRESS/PREFIX [dev DEVICE]\n";

static int show(struct cli *c)
{
	if (look(c) < 0)
		return EXIT_FAILURE;
	for (u32 dev = 0; dev < LINK_DEVS; dev++) {
		const struct link_dev *d = &c->link->dev[dev];

		if (!d->name[0])
			continue;
		printf("%u: %s: <%s> mtu %u\n    link/ether %s\n", dev, dev_name(c, dev),
		       load_relaxed((_Atomic u32 *)&d->up) ? "UP" : "DOWN", d->mtu, mac_text(d->mac));
		for (u32 i = 0; i < IP_ADDRS; i++) {
			struct ip_addr a = c->ip->addr[i];

			if (a.used && a.dev == dev)
				printf("    inet %s/%u%s\n", ip_text(a.addr), a.prefix,
				       a.conflict ? " CONFLICT (another host claims it)" : "");
		}
	}
	return EXIT_SUCCESS;
}

int cmd_addr(struct cli *c, int argc, char **argv)
{
	admin_request q = ADMIN_REQUEST(ADDR_ADD);
	be32 addr;
	u32 prefix;
	int r;

	if (wants_help(argc, argv, help))
		return EXIT_SUCCESS;
	if (is_show(argc, argv))
		return show(c);
	if (strcmp(argv[1], "del") == 0)
		q.op = STRATA__CONTROL__REQUEST__OP__ADDR_DEL;
	else if (strcmp(argv[1], "add"))
		return misuse("addr", "cannot", argv[1]);
	if (argc < 3 || !parse_net(argv[2], &addr, &prefix) || !addr.v)
		return misuse("addr", "not an address with prefix:", argc < 3 ? "(nothing)" : argv[2]);
	q.has_addr = q.has_prefix = true;
	q.addr = addr.v;
	q.prefix = prefix;
	r = parse_words("addr", argc - 3, argv + 3, &q, NULL);
	if (r)
		return r;
	if (!q.dev && q.op == STRATA__CONTROL__REQUEST__OP__ADDR_ADD)
		return misuse("addr", "'dev DEVICE' is missing", NULL);
	return admin_run(c, &q);
}
