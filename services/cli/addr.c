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

static bool subject(const char *word, admin_request *q) { return subject_net(word, q) && q->addr; }
static const char *missing(const admin_request *q) { return q->dev ? NULL : "'dev DEVICE' is missing"; }

int cmd_addr(struct cli *c, int argc, char **argv)
{
	static const struct table t = { "addr", help, show, STRATA__CONTROL__REQUEST__OP__ADDR_ADD, STRATA__CONTROL__REQUEST__OP__ADDR_DEL,
					subject, "not an address with prefix:", missing, false };

	return table_command(c, argc, argv, &t);
}
