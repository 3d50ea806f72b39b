/* stat.c – strata stat: starts, counters, rings and pools of every daemon, for people and (--json) for programs. */
#include "strata.h"

#include <getopt.h>

#include "common/daemon.h"

static const char help[] =
	"usage: strata stat [--json] [-z]\n\n"
	"  --json    everything, as one JSON object\n"
	"  -z [all]  counters that are zero too\n";

static const struct { const char *name; enum ring_id id; } rings[] = {
	{ "link_ip", R_LINK_IP },	    { "ip_tcp", R_IP_TCP },
	{ "tcp_ip", R_TCP_IP },		    { "ip_link", R_IP_LINK },
	{ "ip_link_done", R_IP_LINK_DONE }, { "tcp_link_done", R_TCP_LINK_DONE },
	{ "link_tcp_done", R_LINK_TCP_DONE }, { "link_ip_done", R_LINK_IP_DONE },
	{ "ip_tcp_done", R_IP_TCP_DONE },   { "tcp_ip_done", R_TCP_IP_DONE },
};
static_assert(ARRAY_SIZE(rings) == R_HOLD - R_LINK_IP, "every ring");

struct ring_state { u32 head, tail, used, capacity; };
struct pool_state { const char *name; u32 buffers, loans; };

static struct ring_state ring_state(struct cli *c, enum ring_id id)
{
	static struct daemon view;	/* only looks: no end of any ring is its own */
	struct ring_state s;
	struct ring r;

	view.role = REGION_IDS;
	view.link = c->link;
	view.ip = c->ip;
	view.tcp = c->tcp;
	ring_open(&view, id, &r);
	s.tail = load_acquire(&r.cons->tail);
	s.head = load_acquire(&r.prod->head);
	s.capacity = ring_capacity(&r);
	s.used = s.head - s.tail;
	return s;
}

static u32 loans(_Atomic u64 *words, u32 n)
{
	u32 out = 0;

	for (u32 i = 0; i < n; i++)
		out += POOL_WORD_LOAN(load_relaxed(&words[i]));
	return out;
}

static void pool_states(struct cli *c, struct pool_state p[3])
{
	p[0] = (struct pool_state){ "link", LINK_NBUF, loans(c->link->words, LINK_NBUF) };
	p[1] = (struct pool_state){ "ip", IP_NBUF, loans(c->ip->words, IP_NBUF) };
	p[2] = (struct pool_state){ "tcp", TCP_NBUF, loans(c->tcp->words, TCP_NBUF) };
}

static void json_string(const char *s)
{
	putchar('"');
	for (; *s; s++) {
		if (*s == '"' || *s == '\\')
			printf("\\%c", *s);
		else if ((u8)*s < ' ')
			printf("\\u%04x", *s);
		else
			putchar(*s);
	}
	putchar('"');
}

static void json_layer(const struct layer *l, u64 now)
{
	printf("\"%s\": {\"pid\": %u, \"starts\": %u, \"up_ms\": %llu, \"alive\": %s, \"sleeping\": %s, \"harvested\": %llu, "
	       "\"reclaimed\": %llu, \"counters\": {",
	       l->name, l->hdr->pid, load_relaxed(&l->hdr->starts),
	       (unsigned long long)(l->hdr->started ? (now - l->hdr->started) / NSEC_PER_MSEC : 0),
	       l->hdr->pid && !l->dead ? "true" : "false", l->sleeping ? "true" : "false", (unsigned long long)l->hdr->harvested,
	       (unsigned long long)l->hdr->reclaimed);
	for (u32 id = 0; l->counters && id < COUNTERS; id++)
		printf("%s\"%s\": %llu", id ? ", " : "", counter_names[id].name,
		       (unsigned long long)counter_get(l->counters, (enum counter_id)id));
	printf("}}");
}

static void show_json(struct cli *c)
{
	struct layer l[LAYERS];
	struct pool_state p[3];
	u64 now = now_ns();

	layers(c, l);
	pool_states(c, p);
	printf("{\"instance\": ");
	json_string(c->instance);
	printf(", \"daemons\": {");
	for (u32 i = 0; i < LAYERS; i++) {
		printf("%s", i ? ", " : "");
		json_layer(&l[i], now);
	}
	printf("}, \"pools\": {");
	for (u32 i = 0; i < 3; i++)
		printf("%s\"%s\": {\"buffers\": %u, \"loans\": %u}", i ? ", " : "", p[i].name, p[i].buffers, p[i].loans);
	printf("}, \"rings\": {");
	for (u32 i = 0; i < ARRAY_SIZE(rings); i++) {
		struct ring_state r = ring_state(c, rings[i].id);

		printf("%s\"%s\": {\"head\": %u, \"tail\": %u, \"used\": %u, \"capacity\": %u}", i ? ", " : "",
		       rings[i].name, r.head, r.tail, r.used, r.capacity);
	}
	printf("}}\n");
}

static void show_daemons(const struct layer l[LAYERS])
{
	u64 now = now_ns();

	printf("%-6s %8s %7s %12s %-7s %10s %10s\n", "daemon", "pid", "starts", "up", "state", "harvested", "reclaimed");
	for (u32 i = 0; i < LAYERS; i++) {
		struct region_hdr *h = l[i].hdr;
		u64 s = load_relaxed(&h->started) ? (now - load_relaxed(&h->started)) / NSEC_PER_SEC : 0;

		if (!l[i].counters) {
			printf("%-6s %8s\n", l[i].name, "(never started)");
			continue;
		}
		printf("%-6s %8u %7u %6llu:%02llu:%02llu %-7s %10llu %10llu\n", l[i].name, h->pid,
		       load_relaxed(&h->starts), (unsigned long long)(s / 3600), (unsigned long long)(s / 60 % 60),
		       (unsigned long long)(s % 60), l[i].dead ? "down" : l[i].sleeping ? "asleep" : "awake",
		       (unsigned long long)load_relaxed(&h->harvested), (unsigned long long)load_relaxed(&h->reclaimed));
	}
}

static void show_counters(const struct layer l[LAYERS], bool zeroes)
{
	printf("\n%-28s", "counter");
	for (u32 i = 0; i < LAYERS; i++)
		printf(" %14s", l[i].name);
	printf("  where  what\n");
	for (u32 id = 0; id < COUNTERS; id++) {
		u64 v[LAYERS], any = 0;

		for (u32 i = 0; i < LAYERS; i++)
			any |= v[i] = l[i].counters ? counter_get(l[i].counters, (enum counter_id)id) : 0;
		if (!any && !zeroes)
			continue;
		printf("%-28s", counter_names[id].name);
		for (u32 i = 0; i < LAYERS; i++)
			if (v[i] || zeroes)
				printf(" %14llu", (unsigned long long)v[i]);
			else
				printf(" %14s", "-");
		printf("  %-5s  %s\n", counter_names[id].where, counter_names[id].text);
	}
}

static void show(struct cli *c, bool zeroes)
{
	struct layer l[LAYERS];
	struct pool_state p[3];

	layers(c, l);
	show_daemons(l);
	show_counters(l, zeroes);
	printf("\n%-14s %10s %10s\n", "ring", "waiting", "capacity");
	for (u32 i = 0; i < ARRAY_SIZE(rings); i++) {
		struct ring_state r = ring_state(c, rings[i].id);

		printf("%-14s %10u %10u\n", rings[i].name, r.used, r.capacity);
	}
	pool_states(c, p);
	printf("\n%-14s %10s %10s\n", "pool", "on loan", "buffers");
	for (u32 i = 0; i < 3; i++)
		printf("%-14s %10u %10u\n", p[i].name, p[i].loans, p[i].buffers);
}

int cmd_stat(struct cli *c, int argc, char **argv)
{
	static const struct option opts[] = { { "json", no_argument, NULL, 'j' },
					      { "zero", no_argument, NULL, 'z' },
					      { 0 } };
	bool json = false, zeroes = false;
	int o;

	if (wants_help(argc, argv, help))
		return EXIT_SUCCESS;
	while ((o = getopt_long(argc, argv, "jz", opts, NULL)) != -1) {
		if (o == '?')
			return misuse("stat", "unknown option", NULL);
		json |= o == 'j';
		zeroes |= o == 'z';
	}
	if (optind < argc && strcmp(argv[optind], "all") == 0)
		zeroes = optind++ > 0;
	if (optind < argc)
		return misuse("stat", "does not take", argv[optind]);
	if (look(c) < 0)
		return EXIT_FAILURE;
	if (json)
		show_json(c);
	else
		show(c, zeroes);
	return EXIT_SUCCESS;
}
