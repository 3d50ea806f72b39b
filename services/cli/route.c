/* route.c – strata route: ipd's routes and learnt path MTUs (ip_shm.route, pmtu). tx4 looks them up. */
#include "strata.h"

static const char help[] =
	"usage: strata route [show]\n"
	"       strata route add default|NETWORK/PREFIX [via GATEWAY] [dev DEVICE] [metric N] [mtu N]\n"
	"       strata route del default|NETWORK/PREFIX [via GATEWAY] [dev DEVICE]\n";

static void show_route(const struct cli *c, const struct ip_route *r)
{
	if (r->prefix == 0 && !r->dst.v)
		printf("default");
	else
		printf("%s/%u", ip_text(r->dst), r->prefix);
	if (r->gateway.v)
		printf(" via %s", ip_text(r->gateway));
	printf(" dev %s", dev_name(c, r->dev));
	if (!r->gateway.v)
		printf(" scope link");
	if (r->prefsrc.v)
		printf(" src %s", ip_text(r->prefsrc));
	if (r->metric)
		printf(" metric %u", r->metric);
	if (r->mtu)
		printf(" mtu %u", r->mtu);
	putchar('\n');
}

static int show(struct cli *c)
{
	u64 now = now_ns();

	if (look(c) < 0)
		return EXIT_FAILURE;
	/* The default first, then longer prefixes, as they stand. */
	for (int pass = 0; pass < 2; pass++) {
		for (u32 i = 0; i < IP_ROUTES; i++) {
			struct ip_route r = c->ip->route[i];

			if (r.used && (r.prefix == 0) == (pass == 0))
				show_route(c, &r);
		}
	}
	for (u32 i = 0; i < IP_PMTUS; i++) {
		struct ip_pmtu p = c->ip->pmtu[i];

		if (p.dst.v && p.expires > now)
			printf("%s mtu %u expires %llus (learnt)\n", ip_text(p.dst), p.mtu,
			       (unsigned long long)((p.expires - now) / NSEC_PER_SEC));
	}
	return EXIT_SUCCESS;
}

static const char *missing(const admin_request *q)
{
	return q->dev || q->has_gateway ? NULL : "'via GATEWAY' or 'dev DEVICE' is missing";
}

int cmd_route(struct cli *c, int argc, char **argv)
{
	static const struct table t = { "route", help, show, STRATA__CONTROL__REQUEST__OP__ROUTE_ADD, STRATA__CONTROL__REQUEST__OP__ROUTE_DEL,
					subject_net, "not a destination:", missing, false };

	return table_command(c, argc, argv, &t);
}
