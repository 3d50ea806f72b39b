/* config.c – reads an instance's configuration: see config.h. Called by daemon_init(), and by sockd and the tests.
 *
 * `keys` is the list of keys with defaults; config_value.c turns values into numbers and addresses. libinih
 * splits lines; the reader below feeds it, because it alone knows line numbers and sees sections that have no
 * keys. Errors are collected to the end of the file, so that one start shows all; then all holds or nothing. */
#include "config_value.h"

#include <ini.h>
#include <stdio.h>
#include <stdlib.h>

enum kind { K_BOOL, K_LEVEL, K_U32, K_POW2, K_TEXT, K_MAC, K_PORTS, K_BYPASS, K_CPUS, K_ADDRESS, K_ROUTE, K_RULE };

/* Every key. `choices`: of K_TEXT, what may be written ("": anything). K_ADDRESS and below may be repeated.
 * `offset` is in struct conf_dev for section link, else in struct config. */
#define DEV(m) offsetof(struct conf_dev, m), sizeof(((struct conf_dev *)0)->m)
#define CONF(m) offsetof(struct config, m), sizeof(((struct config *)0)->m)
static const struct key {
	const char *section, *name, *dflt;
	enum kind kind;
	size_t offset, size;
	u32 lo, hi;
	const char *choices;
} keys[] = {
	/* section, key,                  default,       kind,      where,                  lowest, highest, choices */
	{ "link", "driver",               "tap",         K_TEXT,    DEV(driver),            0, 0, "tap packet" },
	{ "link", "mac",                  NULL,          K_MAC,     DEV(mac) },
	{ "link", "mtu",                  "1500",        K_U32,     DEV(mtu),               576, 65521 },
	{ "link", "txqueuelen",           "1000",        K_U32,     DEV(txqueuelen),        1, 1024 },
	{ "link", "qdisc",                "pfifo_fast",  K_TEXT,    DEV(qdisc),             0, 0, "pfifo_fast" },
	{ "link", "tso",                  "yes",         K_BOOL,    DEV(tso) },
	{ "link", "csum",                 "yes",         K_BOOL,    DEV(csum) },
	{ "link", "vnet",                 "yes",         K_BOOL,    DEV(vnet) },
	{ "link", "netns",                "",            K_TEXT,    DEV(netns),             0, 0, "" },
	{ "ip",   "address",              NULL,          K_ADDRESS },
	{ "ip",   "route",                NULL,          K_ROUTE },
	{ "ip",   "ttl",                  "64",          K_U32,     CONF(ttl),              1, 255 },
	{ "ip",   "forwarding",           "no",          K_BOOL,    CONF(forwarding) },
	{ "tcp",  "congestion",           "cubic",       K_TEXT,    CONF(congestion),       0, 0, "cubic reno bbr" },
	{ "tcp",  "rcvbuf",               "8M",          K_POW2,    CONF(rcvbuf),           16384, 64 << 20 },
	{ "tcp",  "sndbuf",               "4M",          K_POW2,    CONF(sndbuf),           16384, 64 << 20 },
	{ "tcp",  "ports",                "32768 60999", K_PORTS,   0, 0,                   1, 65535 },
	{ "tcp",  "fin_timeout",          "60",          K_U32,     CONF(fin_timeout_s),    1, 3600 },
	{ "tcp",  "tw_max",               "16384",       K_U32,     CONF(tw_max),           0, 1 << 20 },
	{ "tcp",  "backlog_max",          "4096",        K_U32,     CONF(backlog_max),      1, 65535 },
	{ "tcp",  "timestamps",           "yes",         K_BOOL,    CONF(timestamps) },
	{ "tcp",  "sack",                 "yes",         K_BOOL,    CONF(sack) },
	{ "tcp",  "window_scaling",       "yes",         K_BOOL,    CONF(window_scaling) },
	{ "tcp",  "mtu_probing",          "1",           K_LEVEL,   CONF(mtu_probing),      MTU_PROBING_BLACKHOLE, 2 },
	{ "tcp",  "ecn",                  "2",           K_LEVEL,   CONF(ecn),              ECN_ASK, 2 },
	{ "tcp",  "syncookies",           "1",           K_LEVEL,   CONF(syncookies),       COOKIES_WHEN_FULL, 2 },
	{ "tcp",  "fastopen",             "1",           K_LEVEL,   CONF(fastopen),         FASTOPEN_CLIENT | FASTOPEN_SERVER, 3 },
	{ "sock", "allow",                NULL,          K_RULE },
	{ "sock", "deny",                 NULL,          K_RULE },
	{ "sock", "max_sockets_per_uid",  "16384",       K_U32,     CONF(max_sockets_per_uid), 1, 1 << 20 },
	{ "sock", "max_arenas_per_uid",   "768",         K_U32,     CONF(max_arenas_per_uid),  1, 1 << 16 },
	{ "sock", "max_clients",          "4096",        K_U32,     CONF(max_clients),         1, 1 << 16 },
	{ "shim", "bypass",               "",            K_BYPASS,  CONF(bypass) },
	{ "run",  "poll_us",              "0",           K_U32,     CONF(poll_us),          0, 1000000 },
	{ "run",  "cpus",                 "auto",        K_CPUS,    CONF(cpus) },
	{ "run",  "chaos",                "no",          K_BOOL,    CONF(chaos) },
};
static_assert(ARRAY_SIZE(keys) <= 64, "a bit each in `given`");

struct parse {
	struct config *c;
	FILE *f;
	struct conf_where at;
	bool known;			/* the section at hand is one of ours */
	struct conf_dev *dev;		/* ... and a device's */
	char section[16];
	u64 given, dev_given;		/* keys that have been given: of all sections, of this device */
};

static bool is_link(const struct key *k) { return !strcmp(k->section, "link"); }

static int store_number(u8 *to, size_t size, u32 v)
{
	u16 half = (u16)v;

	switch (size) {
	case 1: *to = (u8)v; return 0;
	case 2: memcpy(to, &half, 2); return 0;
	default: memcpy(to, &v, 4); return 0;
	}
}

static int set_bypass(struct config *c, const char *value, struct conf_where *at)
{
	size_t n = strlen(c->bypass);
	int r = value_check_nets(value, at);

	if (r < 0 || !*value)
		return r;
	if (n + 1 + strlen(value) >= sizeof(c->bypass))
		return conf_error(at, "bypass lists more than %zu characters; join networks", sizeof(c->bypass) - 1);
	snprintf(c->bypass + n, sizeof(c->bypass) - n, "%s%s", n ? " " : "", value);
	return 0;
}

/* Repeated keys go to the next place of their list. */
static int set_listed(struct config *c, const struct key *k, const char *value, struct conf_where *at)
{
	int r;

	switch (k->kind) {
	case K_ADDRESS:
		if (c->naddrs == CONF_ADDRS)
			return conf_error(at, "more than %d addresses; leave some out", CONF_ADDRS);
		r = value_address(value, &c->addr[c->naddrs], at);
		c->naddrs += r == 0;
		return r;
	case K_ROUTE:
		if (c->nroutes == CONF_ROUTES)
			return conf_error(at, "more than %d routes; leave some out", CONF_ROUTES);
		r = value_route(value, &c->route[c->nroutes], at);
		c->nroutes += r == 0;
		return r;
	default:
		if (c->nrules == CONF_RULES)
			return conf_error(at, "more than %d allow and deny lines; join some", CONF_RULES);
		r = value_rule(value, !strcmp(k->name, "allow"), &c->rule[c->nrules], at);
		c->nrules += r == 0;
		return r;
	}
}

static int set_key(struct config *c, struct conf_dev *dev, const struct key *k, const char *value,
		   struct conf_where *at)
{
	u8 *to = (u8 *)(is_link(k) ? (void *)dev : (void *)c) + k->offset;
	bool yes;
	u32 v;
	int r;

	switch (k->kind) {
	case K_BOOL:
		r = value_bool(k->name, value, &yes, at);
		return r < 0 ? r : store_number(to, 1, yes);
	case K_LEVEL:		/* `lo`: what yes means */
		r = value_level(k->name, value, k->lo, k->hi, &v, at);
		return r < 0 ? r : store_number(to, 1, v);
	case K_U32:
		r = value_number(k->name, value, k->lo, k->hi, &v, at);
		return r < 0 ? r : store_number(to, k->size, v);
	case K_POW2:
		r = value_power(k->name, value, k->lo, k->hi, &v, at);
		return r < 0 ? r : store_number(to, k->size, v);
	case K_TEXT:
		return value_text(k->name, value, k->choices, (char *)to, k->size, at);
	case K_MAC:
		r = value_mac(value, dev->mac, at);
		dev->has_mac = r == 0;
		return r;
	case K_PORTS:
		return value_ports(value, &c->port_lo, &c->port_hi, at);
	case K_BYPASS:
		return set_bypass(c, value, at);
	case K_CPUS:
		return value_cpus(value, (char *)to, k->size, at);
	default:
		return set_listed(c, k, value, at);
	}
}

/* Defaults are values like any other, so a wrong one is found by the first test that runs. */
static int set_defaults(struct config *c, struct conf_dev *dev, struct conf_where *at)
{
	for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
		if (!keys[i].dflt || is_link(&keys[i]) != (dev != NULL))
			continue;
		int r = set_key(c, dev, &keys[i], keys[i].dflt, at);

		if (r < 0)
			return r;
	}
	return 0;
}

static int begin_device(struct parse *p, const char *name)
{
	struct config *c = p->c;
	struct conf_dev *d = &c->dev[c->ndevs];

	if (!*name || strlen(name) >= sizeof(d->name) || strpbrk(name, "/ \t:") || !strcmp(name, ".") || !strcmp(name, ".."))
		return conf_error(&p->at, "[link %s]: not an interface name; write [link NAME], at most 15 characters", name);
	for (u32 i = 0; i < c->ndevs; i++)
		if (!strcmp(c->dev[i].name, name))
			return conf_error(&p->at, "[link %s] is already at line %u; join the two", name, c->dev[i].line);
	if (c->ndevs == CONF_DEVS)
		return conf_error(&p->at, "more than %d [link] sections; leave some out", CONF_DEVS);
	snprintf(d->name, sizeof(d->name), "%s", name);
	d->line = p->at.line;
	p->dev = d;
	p->dev_given = 0;
	c->ndevs++;
	return set_defaults(c, d, &p->at);
}

static void begin_section(struct parse *p, const char *line)
{
	char text[128];
	size_t n = strcspn(line, "]");
	char *name;

	p->dev = NULL;
	p->known = false;
	strcpy(p->section, "?");
	if (line[n] != ']' || n >= sizeof(text))
		return;		/* libinih reports the line */
	snprintf(text, sizeof(text), "%.*s", (int)n, line);
	name = text + strcspn(text, " \t");
	if (*name)
		*name++ = 0;
	name += strspn(name, " \t");
	if (!strcmp(text, "link")) {
		p->known = begin_device(p, name) == 0;
	} else {
		for (size_t i = 0; i < ARRAY_SIZE(keys) && !*name; i++)
			p->known |= !strcmp(text, keys[i].section);
		if (!p->known)
			conf_error(&p->at, "unknown section [%.*s]; there are [link NAME], [ip], [tcp], [sock], [shim], [run]",
				   (int)n, line);
	}
	snprintf(p->section, sizeof(p->section), "%.15s", text);
}

/* ini_reader: like fgets(), but counts lines, takes indentation away (libinih would take an indented line for
 * the continuation of a value) and comments that follow a value. */
static char *read_line(char *buf, int size, void *arg)
{
	struct parse *p = arg;
	size_t n;
	char *c;

	if (!fgets(buf, size, p->f))
		return NULL;
	p->at.line++;
	n = strlen(buf);
	if (n == (size_t)size - 1 && buf[n - 1] != '\n') {
		int ch;

		do
			ch = fgetc(p->f);
		while (ch != '\n' && ch != EOF);
		conf_error(&p->at, "longer than %d characters; split it", size - 2);
		strcpy(buf, "\n");
		return buf;
	}
	for (c = buf; (c = strchr(c, '#')); c++)
		if (c == buf || c[-1] == ' ' || c[-1] == '\t') {
			strcpy(c, "\n");
			break;
		}
	c = buf + strspn(buf, " \t");
	memmove(buf, c, strlen(c) + 1);
	if (*buf == '[')
		begin_section(p, buf + 1);
	return buf;
}

/* ini_handler. Always 1: errors are counted by conf_error(). */
static int take_key(void *user, const char *section, const char *name, const char *value)
{
	struct parse *p = user;
	u64 *given = p->dev ? &p->dev_given : &p->given;

	if (!p->section[0])
		conf_error(&p->at, "%s stands before any section; move it below [link NAME], [ip], [tcp], ...", name);
	if (!p->known)
		return 1;	/* the section's line has been reported */
	for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
		const struct key *k = &keys[i];

		if (strcmp(k->section, p->section) || strcmp(k->name, name))
			continue;
		if (*given >> i & 1 && k->kind < K_ADDRESS && k->kind != K_BYPASS)
			conf_error(&p->at, "%s is given twice in [%s]; keep one", name, section);
		*given |= 1ull << i;
		(void)set_key(p->c, p->dev, k, value, &p->at);
		return 1;
	}
	conf_error(&p->at, "unknown key %s in [%s]; see strata.conf(5) for those that exist", name, section);
	return 1;
}

static bool has_dev(const struct config *c, const char *name)
{
	for (u32 i = 0; i < c->ndevs; i++)
		if (!strcmp(c->dev[i].name, name))
			return true;
	return false;
}

/* What only the whole file can tell. */
static void check_whole(struct config *c, struct conf_where *at)
{
	at->line = 0;
	if (!c->ndevs)
		conf_error(at, "no [link NAME] section; add one, such as [link strata0] with driver = tap");
	if (!c->naddrs)
		conf_error(at, "no address; add [ip] with a line such as address = 10.77.0.2/24 dev strata0");
	for (u32 i = 0; i < c->naddrs; i++) {
		at->line = c->addr[i].line;
		if (!has_dev(c, c->addr[i].dev))
			conf_error(at, "no device %s; add [link %s] or name another", c->addr[i].dev, c->addr[i].dev);
	}
	for (u32 i = 0; i < c->nroutes; i++) {
		at->line = c->route[i].line;
		if (!has_dev(c, c->route[i].dev))
			conf_error(at, "no device %s; add [link %s] or name another", c->route[i].dev, c->route[i].dev);
	}
	for (u32 i = 0; i < c->ndevs; i++)
		if (!c->dev[i].has_mac)
			value_default_mac(c->instance, c->dev[i].name, c->dev[i].mac);
}

static int parse_stream(struct parse *p)
{
	int r = set_defaults(p->c, NULL, &p->at);

	if (r < 0)
		return r;
	r = ini_parse_stream(read_line, p, take_key, p);
	if (r == -2)
		return -ENOMEM;
	if (r > 0) {		/* libinih tells the first line it could not read */
		p->at.line = (u32)r;
		conf_error(&p->at, "cannot be read; write [section], key = value or # comment");
	}
	check_whole(p->c, &p->at);
	return p->at.errors ? -EINVAL : 0;
}

int config_load(struct config *c, const char *file, const char *instance)
{
	struct config *fresh = calloc(1, sizeof(*fresh));
	struct parse p = { .c = fresh, .at = { .file = file } };
	int r;

	if (!fresh)
		return -ENOMEM;
	if (snprintf(fresh->file, sizeof(fresh->file), "%s", file) >= (int)sizeof(fresh->file) || !*instance ||
	    snprintf(fresh->instance, sizeof(fresh->instance), "%s", instance) >= (int)sizeof(fresh->instance)) {
		conf_error(&p.at, "name of file or instance empty or too long; instances have 1 to %zu characters",
			   sizeof(fresh->instance) - 1);
		r = -EINVAL;
	} else if (!(p.f = fopen(file, "re"))) {
		r = -errno;
		conf_error(&p.at, "%s; copy share/strata/strata.conf there and edit it, or use --config", strerror(-r));
	} else {
		r = parse_stream(&p);
		fclose(p.f);
	}
	if (r == 0)
		*c = *fresh;	/* nothing is half applied */
	free(fresh);
	return r;
}
