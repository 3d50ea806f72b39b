/* config_value.c – values of configuration keys: see config_value.h. Called by config.c. */
#include "config_value.h"

#include <arpa/inet.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "log.h"

#define WORDS 9		/* of a value, at most: a route has 9 */

struct words { u32 n; char *w[WORDS]; char text[512]; };

int conf_error(struct conf_where *at, const char *fmt, ...)
{
	struct log_site each = { 0 };	/* errors of a file are not rate limited: all are wanted, once */
	char text[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (at->line)
		log_at(&each, 3, "%s:%u: %s", at->file, at->line, text);
	else
		log_at(&each, 3, "%s: %s", at->file, text);
	at->errors++;
	return -EINVAL;
}

/* Split at blanks. False: more words than any value has. */
static bool split(const char *value, struct words *w)
{
	char *save, *word;

	w->n = 0;
	snprintf(w->text, sizeof(w->text), "%s", value);
	for (word = strtok_r(w->text, " \t", &save); word; word = strtok_r(NULL, " \t", &save)) {
		if (w->n == WORDS)
			return false;
		w->w[w->n++] = word;
	}
	return true;
}

/* Decimal digits and nothing else. */
static bool digits(const char *s, u64 max, u64 *ret)
{
	u64 v = 0;

	if (!*s)
		return false;
	for (; *s; s++) {
		if (*s < '0' || *s > '9')
			return false;
		v = v * 10 + (u64)(*s - '0');
		if (v > max)
			return false;
	}
	*ret = v;
	return true;
}

static bool parse_addr(const char *s, be32 *ret)
{
	struct in_addr a;

	if (inet_pton(AF_INET, s, &a) != 1)
		return false;
	ret->v = a.s_addr;
	return true;
}

/* ADDR/PREFIX. */
static bool parse_net(const char *s, be32 *ret, u8 *ret_prefix)
{
	const char *slash = strchr(s, '/');
	char addr[32];
	u64 prefix;

	if (!slash || slash - s >= (ptrdiff_t)sizeof(addr) || !digits(slash + 1, 32, &prefix))
		return false;
	snprintf(addr, sizeof(addr), "%.*s", (int)(slash - s), s);
	*ret_prefix = (u8)prefix;
	return parse_addr(addr, ret);
}

static bool host_bits(be32 addr, u8 prefix)
{
	return prefix < 32 && from_be32(addr) << prefix;
}

/* 1 yes, 0 no, -1 neither. */
static int switch_word(const char *value)
{
	static const char *const words[2][4] = { { "no", "false", "off", "0" }, { "yes", "true", "on", "1" } };

	for (int i = 0; i < 8; i++)
		if (!strcmp(value, words[i / 4][i % 4]))
			return i >= 4;
	return -1;
}

int value_bool(const char *key, const char *value, bool *ret, struct conf_where *at)
{
	int yes = switch_word(value);

	if (yes < 0)
		return conf_error(at, "%s = %s: not a switch; write yes or no", key, value);
	*ret = yes;
	return 0;
}

int value_level(const char *key, const char *value, u32 yes, u32 hi, u32 *ret, struct conf_where *at)
{
	int word = switch_word(value);
	u64 v;

	if (digits(value, hi, &v))
		*ret = (u32)v;
	else if (word >= 0)
		*ret = word ? yes : 0;
	else
		return conf_error(at, "%s = %s: out of range; write yes, no or a number from 0 to %u", key, value, hi);
	return 0;
}

int value_number(const char *key, const char *value, u32 lo, u32 hi, u32 *ret, struct conf_where *at)
{
	u64 v;

	if (!digits(value, hi, &v) || v < lo)
		return conf_error(at, "%s = %s: out of range; write a number from %u to %u", key, value, lo, hi);
	*ret = (u32)v;
	return 0;
}

int value_power(const char *key, const char *value, u32 lo, u32 hi, u32 *ret, struct conf_where *at)
{
	size_t n = strlen(value);
	u32 shift = 0;
	char text[32];
	u64 v;

	if (n && strchr("kK", value[n - 1]))
		shift = 10;
	else if (n && strchr("mM", value[n - 1]))
		shift = 20;
	snprintf(text, sizeof(text), "%.*s", (int)(n - (shift != 0)), value);
	if (n >= sizeof(text) || !digits(text, hi >> shift, &v) || v << shift < lo || v & (v - 1))
		return conf_error(at, "%s = %s: not a power of two in range; write one from %uK to %uK, such as 256K or 1M",
				  key, value, lo >> 10, hi >> 10);
	*ret = (u32)(v << shift);
	return 0;
}

int value_text(const char *key, const char *value, const char *choices, char *ret, size_t size, struct conf_where *at)
{
	struct words w;

	if (*choices) {
		bool found = false;

		(void)split(choices, &w);
		for (u32 i = 0; i < w.n; i++)
			found |= !strcmp(value, w.w[i]);
		if (!found)
			return conf_error(at, "%s = %s: there is no such thing; write one of: %s", key, value, choices);
	}
	if (strlen(value) >= size)
		return conf_error(at, "%s: longer than %zu characters; shorten it", key, size - 1);
	snprintf(ret, size, "%s", value);
	return 0;
}

int value_mac(const char *value, u8 ret[6], struct conf_where *at)
{
	static const u8 zero[6];
	unsigned b[6];
	int end = 0;

	if (strspn(value, "0123456789abcdefABCDEF:") != strlen(value) ||
	    sscanf(value, "%2x:%2x:%2x:%2x:%2x:%2x%n", b, b + 1, b + 2, b + 3, b + 4, b + 5, &end) != 6 || value[end])
		return conf_error(at, "mac = %s: not a MAC address; write six bytes, such as 02:00:00:00:00:01", value);
	for (u32 i = 0; i < 6; i++)
		ret[i] = (u8)b[i];
	if (ret[0] & 1 || !memcmp(ret, zero, 6))
		return conf_error(at, "mac = %s: a group's address or none; the first byte must be even, such as 02", value);
	return 0;
}

void value_default_mac(const char *instance, const char *dev, u8 ret[6])
{
	const char *names[2] = { instance, dev };
	u64 hash = 0xcbf29ce484222325ull;	/* FNV-1a, names with their terminators */

	for (u32 i = 0; i < 2; i++)
		for (size_t j = 0; j <= strlen(names[i]); j++)
			hash = (hash ^ (u8)names[i][j]) * 0x100000001b3ull;
	hash ^= hash >> 32;
	ret[0] = 0x02;		/* locally administered, unicast */
	for (u32 i = 1; i < 6; i++)
		ret[i] = (u8)(hash >> (8 * (i - 1)));
}

int value_ports(const char *value, u16 *ret_lo, u16 *ret_hi, struct conf_where *at)
{
	struct words w;
	u64 lo, hi;

	if (!split(value, &w) || w.n != 2 || !digits(w.w[0], 65535, &lo) || !digits(w.w[1], 65535, &hi) || !lo || lo > hi)
		return conf_error(at, "ports = %s: not a range; write the lowest and the highest, such as 32768 60999", value);
	*ret_lo = (u16)lo;
	*ret_hi = (u16)hi;
	return 0;
}

int value_cpus(const char *value, char *ret, size_t size, struct conf_where *at)
{
	static const char *const daemons[] = { "linkd", "ipd", "tcpd", "sockd", "keepd" };
	struct words w;
	bool good = split(value, &w) && w.n;

	for (u32 i = 0; i < w.n && good && strcmp(value, "auto"); i++) {
		size_t n = strcspn(w.w[i], "=");
		u64 cpu;

		good = false;
		for (u32 k = 0; k < ARRAY_SIZE(daemons); k++)
			good |= strlen(daemons[k]) == n && !strncmp(w.w[i], daemons[k], n);
		good = good && w.w[i][n] == '=' && digits(w.w[i] + n + 1, 1023, &cpu);
	}
	if (!good || strlen(value) >= size)
		return conf_error(at, "cpus = %s: not understood; write auto, or linkd=0 ipd=0 tcpd=0 sockd=1", value);
	snprintf(ret, size, "%s", value);
	return 0;
}

int value_check_nets(const char *value, struct conf_where *at)
{
	char text[512], *save, *word;
	be32 addr;
	u8 prefix;

	snprintf(text, sizeof(text), "%s", value);
	for (word = strtok_r(text, " \t", &save); word; word = strtok_r(NULL, " \t", &save))
		if (!parse_net(word, &addr, &prefix) || host_bits(addr, prefix))
			return conf_error(at, "%s: not a network; write ADDR/PREFIX, such as 192.168.0.0/16", word);
	return 0;
}

static int take_dev(const char *name, char ret[16], struct conf_where *at)
{
	if (strlen(name) > 15)
		return conf_error(at, "%s: longer than an interface's name can be; name a [link] section", name);
	snprintf(ret, 16, "%s", name);
	return 0;
}

int value_address(const char *value, struct conf_addr *ret, struct conf_where *at)
{
	struct words w;
	u32 a;

	*ret = (struct conf_addr){ .line = at->line };
	if (!split(value, &w) || w.n != 3 || strcmp(w.w[1], "dev") || !parse_net(w.w[0], &ret->addr, &ret->prefix) ||
	    !ret->prefix)
		return conf_error(at, "address = %s: not understood; write ADDR/PREFIX dev NAME, such as 10.0.0.2/24 dev strata0",
				  value);
	a = from_be32(ret->addr);
	if (!(a >> 24) || a >> 24 == 127 || a >> 28 >= 0xe)
		return conf_error(at, "address = %s: a host cannot have it; use a unicast address outside 0/8 and 127/8", value);
	if (ret->prefix < 31 && (!host_bits(ret->addr, ret->prefix) || !(~a << ret->prefix)))
		return conf_error(at, "address = %s: the network's own or its broadcast address; use one between", value);
	return take_dev(w.w[2], ret->dev, at);
}

int value_route(const char *value, struct conf_route *ret, struct conf_where *at)
{
	struct words w;
	u64 v = 0;
	bool good;

	*ret = (struct conf_route){ .line = at->line };
	good = split(value, &w) && w.n & 1 && (!strcmp(w.w[0], "default") || parse_net(w.w[0], &ret->dst, &ret->prefix));
	for (u32 i = 1; good && i < w.n; i += 2) {
		const char *word = w.w[i], *arg = w.w[i + 1];

		if (!strcmp(word, "via")) {
			good = parse_addr(arg, &ret->gateway) && ret->gateway.v;
		} else if (!strcmp(word, "dev")) {
			int r = take_dev(arg, ret->dev, at);

			if (r < 0)
				return r;
		} else if (!strcmp(word, "metric")) {
			good = digits(arg, UINT32_MAX, &v);
			ret->metric = (u32)v;
		} else if (!strcmp(word, "mtu")) {
			good = digits(arg, 65535, &v) && v >= 68;	/* RFC 791 3.2: every module forwards 68 */
			ret->mtu = (u32)v;
		} else {
			good = false;
		}
	}
	if (!good || !ret->dev[0])
		return conf_error(at, "route = %s: not understood; write default|ADDR/PREFIX [via ADDR] dev NAME [metric N] [mtu N]",
				  value);
	if (host_bits(ret->dst, ret->prefix))
		return conf_error(at, "route = %s: host bits are set beyond the prefix; clear them or lengthen it", value);
	return 0;
}

int value_rule(const char *value, bool allow, struct conf_rule *ret, struct conf_where *at)
{
	const char *usage = "write bind|connect UID|* ADDR/PREFIX|* PORT|LO-HI|*, such as connect 1000 10.0.0.0/8 443";
	struct words w;
	u64 uid = 0, lo = 0, hi = 65535;
	char *dash;
	bool good;

	*ret = (struct conf_rule){ .line = at->line, .allow = allow };
	if (!split(value, &w) || w.n != 4 || (strcmp(w.w[0], "bind") && strcmp(w.w[0], "connect")))
		return conf_error(at, "%s = %s: not understood; %s", allow ? "allow" : "deny", value, usage);
	ret->bind = !strcmp(w.w[0], "bind");
	ret->any_uid = !strcmp(w.w[1], "*");
	good = ret->any_uid || digits(w.w[1], UINT32_MAX - 1, &uid);
	if (strcmp(w.w[2], "*"))
		good = good && parse_net(w.w[2], &ret->addr, &ret->prefix) && !host_bits(ret->addr, ret->prefix);
	if (strcmp(w.w[3], "*")) {
		dash = strchr(w.w[3], '-');
		if (dash)
			*dash++ = 0;
		good = good && digits(w.w[3], 65535, &lo) && digits(dash ? dash : w.w[3], 65535, &hi) && lo <= hi;
	}
	if (!good)
		return conf_error(at, "%s = %s: not understood; %s", allow ? "allow" : "deny", value, usage);
	ret->uid = (u32)uid;
	ret->lo = (u16)lo;
	ret->hi = (u16)hi;
	return 0;
}
