/* text.c – addresses in and out, the words of a command. Called by the subcommands. */
#include "strata.h"

#include <arpa/inet.h>

bool parse_ip(const char *s, be32 *ret)
{
	struct in_addr a;

	if (inet_pton(AF_INET, s, &a) != 1)
		return false;
	ret->v = a.s_addr;
	return true;
}

bool parse_u32(const char *s, u32 *ret)
{
	char *end;
	unsigned long v;

	errno = 0;
	v = strtoul(s, &end, 10);
	if (errno || end == s || *end || *s == '-' || v > UINT32_MAX)
		return false;
	*ret = (u32)v;
	return true;
}

bool parse_net(const char *s, be32 *addr, u32 *prefix)
{
	char ip[INET_ADDRSTRLEN];
	const char *slash = strchr(s, '/');
	size_t n = slash ? (size_t)(slash - s) : strlen(s);

	if (strcmp(s, "default") == 0) {
		*addr = to_be32(0);
		*prefix = 0;
		return true;
	}
	if (n >= sizeof(ip))
		return false;
	memcpy(ip, s, n);
	ip[n] = '\0';
	*prefix = 32;
	return parse_ip(ip, addr) && (!slash || (parse_u32(slash + 1, prefix) && *prefix <= 32));
}

bool parse_mac(const char *s, u8 mac[6])
{
	int n = 0;

	return sscanf(s, "%2hhx:%2hhx:%2hhx:%2hhx:%2hhx:%2hhx%n", &mac[0], &mac[1], &mac[2], &mac[3], &mac[4], &mac[5],
		      &n) == 6 && s[n] == '\0';
}

const char *ip_text(be32 a)
{
	static char buf[4][INET_ADDRSTRLEN];
	static u32 next;
	char *b = buf[next++ % 4];

	inet_ntop(AF_INET, &a.v, b, INET_ADDRSTRLEN);
	return b;
}

const char *mac_text(const u8 mac[6])
{
	static char buf[18];

	snprintf(buf, sizeof(buf), "%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2], mac[3], mac[4], mac[5]);
	return buf;
}

const char *dev_name(const struct cli *c, u32 dev)
{
	static char name[2][sizeof(c->link->dev[0].name) + 1];
	static u32 next;
	char *b = name[next++ % 2];

	if (dev < LINK_DEVS && c->link->dev[dev].name[0])
		snprintf(b, sizeof(name[0]), "%.16s", c->link->dev[dev].name);
	else
		snprintf(b, sizeof(name[0]), "dev%u", dev);
	return b;
}

bool wants_help(int argc, char **argv, const char *text)
{
	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--help") && strcmp(argv[i], "-h") && (i > 1 || strcmp(argv[i], "help")))
			continue;
		fputs(text, stdout);
		return true;
	}
	return false;
}

bool is_show(int argc, char **argv)
{
	return argc < 2 || (argc == 2 && (strcmp(argv[1], "show") == 0 || strcmp(argv[1], "list") == 0 ||
					  strcmp(argv[1], "ls") == 0));
}

int misuse(const char *cmd, const char *what, const char *word)
{
	fprintf(stderr, "strata %s: %s%s%s; see strata %s --help\n", cmd, what, word ? " " : "", word ? word : "", cmd);
	return EX_USAGE;
}

int parse_words(const char *cmd, int argc, char **argv, admin_request *q, u8 mac[6])
{
	for (int i = 0; i < argc; i += 2) {
		const char *w = argv[i], *v = i + 1 < argc ? argv[i + 1] : NULL;
		be32 ip;
		u32 n = 0;

		if (!v)
			return misuse(cmd, "nothing follows", w);
		if (strcmp(w, "dev") == 0) {
			q->dev = (char *)v;
		} else if (strcmp(w, "via") == 0 && parse_ip(v, &ip)) {
			q->has_gateway = true;
			q->gateway = ip.v;
		} else if (strcmp(w, "metric") == 0 && parse_u32(v, &n)) {
			q->has_metric = true;
			q->metric = n;
		} else if (strcmp(w, "mtu") == 0 && parse_u32(v, &n)) {
			q->has_mtu = true;
			q->mtu = n;
		} else if (strcmp(w, "lladdr") == 0 && mac && parse_mac(v, mac)) {
			q->has_mac = true;
			q->mac = (ProtobufCBinaryData){ .len = 6, .data = mac };
		} else {
			fprintf(stderr, "strata %s: '%s %s' makes no sense; see strata %s --help\n", cmd, w, v, cmd);
			return EX_USAGE;
		}
	}
	return 0;
}
