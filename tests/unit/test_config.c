/* test_config.c – common/config.h: defaults, every kind of key, and errors that name line and remedy. */
#include "common/config.h"
#include "unit.h"

#include <stdlib.h>
#include <unistd.h>

static struct config conf;
static char said[8192];		/* what the last load() wrote to stderr */

#define GOOD "[link tap0]\ndriver = tap\n[ip]\naddress = 10.77.0.2/24 dev tap0\n"

/* Load a file, catch what is said on stderr. */
static int load_file(const char *file)
{
	char err[] = "/tmp/strata-test-err-XXXXXX";
	int efd = mkstemp(err), old = dup(STDERR_FILENO), r;
	ssize_t n;

	REQUIRE(efd >= 0 && old >= 0);
	fflush(stderr);
	dup2(efd, STDERR_FILENO);
	r = config_load(&conf, file, "demo");
	fflush(stderr);
	dup2(old, STDERR_FILENO);
	n = pread(efd, said, sizeof(said) - 1, 0);
	said[n > 0 ? n : 0] = 0;
	close(old);
	close(efd);
	unlink(err);
	return r;
}

/* The same of a text. */
static int load(const char *text)
{
	char file[] = "/tmp/strata-test-conf-XXXXXX";
	int fd = mkstemp(file), r;

	REQUIRE(fd >= 0);
	REQUIRE_EQ(write(fd, text, strlen(text)), strlen(text));
	close(fd);
	r = load_file(file);
	unlink(file);
	return r;
}

/* The file is refused, and some line of the log has ":LINE: " followed by TEXT anywhere after it. */
static void refused_(const char *text, u32 line, const char *what, u32 from)
{
	char place[32];
	char *at;
	int r = load(text);

	snprintf(place, sizeof(place), ":%u: ", line);
	at = strstr(said, place);
	if (r != -EINVAL || !at || !strstr(at, what))
		printf("# line %u of this file: returned %d, said: %s", from, r, said);
	CHECK_EQ(r, -EINVAL);
	CHECK(at && strstr(at, what));
}
#define REFUSED(text, line, what) refused_(text, line, what, __LINE__)

static void defaults(void)
{
	REQUIRE_EQ(load(GOOD), 0);
	CHECK_STR(said, "");
	CHECK_EQ(conf.ndevs, 1);
	CHECK_STR(conf.dev[0].name, "tap0");
	CHECK_STR(conf.dev[0].driver, "tap");
	CHECK_STR(conf.dev[0].qdisc, "pfifo_fast");
	CHECK_EQ(conf.dev[0].mtu, 1500);
	CHECK_EQ(conf.dev[0].txqueuelen, 1000);
	CHECK(conf.dev[0].tso && conf.dev[0].csum && conf.dev[0].vnet && !conf.dev[0].has_mac);
	CHECK_EQ(conf.dev[0].line, 1);
	CHECK_EQ(conf.ttl, 64);
	CHECK(!conf.forwarding && !conf.chaos);
	CHECK_EQ(conf.ecn, ECN_ANSWER);
	CHECK_EQ(conf.syncookies, COOKIES_WHEN_FULL);
	CHECK_EQ(conf.fastopen, FASTOPEN_CLIENT);
	CHECK_EQ(conf.mtu_probing, MTU_PROBING_BLACKHOLE);
	CHECK(conf.timestamps && conf.sack && conf.window_scaling);
	CHECK_STR(conf.congestion, "cubic");
	CHECK_EQ(conf.rcvbuf, 8 << 20);
	CHECK_EQ(conf.sndbuf, 4 << 20);
	CHECK_EQ(conf.port_lo, 32768);
	CHECK_EQ(conf.port_hi, 60999);
	CHECK_EQ(conf.fin_timeout_s, 60);
	CHECK_EQ(conf.backlog_max, 4096);
	CHECK_STR(conf.cpus, "auto");
	CHECK_STR(conf.bypass, "");
	CHECK_EQ(conf.naddrs, 1);
	CHECK_EQ(from_be32(conf.addr[0].addr), 0x0a4d0002);
	CHECK_EQ(conf.addr[0].prefix, 24);
	CHECK_EQ(conf.addr[0].line, 4);
	CHECK_STR(conf.instance, "demo");
}

static int level(const char *value)
{
	char text[200];

	snprintf(text, sizeof(text), GOOD "[tcp]\necn = %s\n", value);
	return load(text) ? -1 : conf.ecn;
}

/* The kernel's numbers, or yes and no. */
static void levels(void)
{
	CHECK_EQ(level("0"), ECN_OFF);
	CHECK_EQ(level("1"), ECN_ASK);
	CHECK_EQ(level("2"), ECN_ANSWER);
	CHECK_EQ(level("no"), ECN_OFF);
	CHECK_EQ(level("yes"), ECN_ASK);
	CHECK_EQ(level("3"), -1);
	CHECK_EQ(level("maybe"), -1);
	CHECK(strstr(said, "ecn = maybe: out of range; write yes, no or a number from 0 to 2"));
}

static void every_key_is_taken(void)
{
	REQUIRE_EQ(load("# a comment\n; another\n\n[link eth1]\ndriver=packet\n  mac = 02:AB:cd:00:00:01  # inline\nmtu = 9000\n"
			"txqueuelen = 10\nqdisc = pfifo_fast\ntso = no\ncsum = off\nvnet = 0\nnetns = /run/netns/x\n"
			"[ip]\naddress = 192.0.2.1/24 dev eth1\naddress = 10.0.0.1/32 dev eth1\n"
			"route = default via 192.0.2.254 dev eth1\nroute = 10.1.0.0/16 via 192.0.2.9 dev eth1 metric 5 mtu 1400\n"
			"ttl = 255\nforwarding = yes\n[tcp]\ncongestion = reno\nrcvbuf = 256K\nsndbuf = 65536\nports = 1024 65535\n"
			"fin_timeout = 5\ntw_max = 0\nbacklog_max = 7\ntimestamps = no\nsack = no\nwindow_scaling = false\necn = on\nsyncookies = 2\nfastopen = yes\nmtu_probing = 2\n"
			"[sock]\nallow = bind 33 * 80\ndeny = connect * 169.254.0.0/16 1-1023\nmax_sockets_per_uid = 9\n"
			"max_arenas_per_uid = 3\nmax_clients = 2\n[shim]\nbypass = 192.168.0.0/16 10.9.0.0/24\nbypass = 198.51.100.0/24\n"
			"[run]\npoll_us = 50\ncpus = linkd=0 tcpd=1\nchaos = yes\n"), 0);
	CHECK_STR(said, "");
	CHECK_STR(conf.dev[0].driver, "packet");
	CHECK_MEM(conf.dev[0].mac, "\x02\xab\xcd\0\0\x01", 6);
	CHECK(conf.dev[0].has_mac && !conf.dev[0].tso && !conf.dev[0].csum && !conf.dev[0].vnet);
	CHECK_EQ(conf.dev[0].mtu, 9000);
	CHECK_STR(conf.dev[0].netns, "/run/netns/x");
	CHECK_EQ(conf.naddrs, 2);
	CHECK_EQ(conf.nroutes, 2);
	CHECK_EQ(conf.route[0].prefix, 0);
	CHECK_EQ(from_be32(conf.route[0].gateway), 0xc00002fe);
	CHECK_EQ(from_be32(conf.route[1].dst), 0x0a010000);
	CHECK_EQ(conf.route[1].metric, 5);
	CHECK_EQ(conf.route[1].mtu, 1400);
	CHECK_EQ(conf.ttl, 255);
	CHECK(conf.forwarding && conf.chaos);
	CHECK_EQ(conf.ecn, ECN_ASK);
	CHECK_EQ(conf.syncookies, COOKIES_ALWAYS);
	CHECK_EQ(conf.fastopen, FASTOPEN_CLIENT | FASTOPEN_SERVER);
	CHECK_EQ(conf.mtu_probing, MTU_PROBING_ALWAYS);
	CHECK(!conf.timestamps && !conf.sack && !conf.window_scaling);
	CHECK_STR(conf.congestion, "reno");
	CHECK_EQ(conf.rcvbuf, 256 << 10);
	CHECK_EQ(conf.sndbuf, 65536);
	CHECK_EQ(conf.port_lo, 1024);
	CHECK_EQ(conf.tw_max, 0);
	CHECK_EQ(conf.nrules, 2);
	CHECK(conf.rule[0].allow && conf.rule[0].bind && !conf.rule[0].any_uid);
	CHECK_EQ(conf.rule[0].uid, 33);
	CHECK_EQ(conf.rule[0].prefix, 0);
	CHECK_EQ(conf.rule[0].lo, 80);
	CHECK_EQ(conf.rule[0].hi, 80);
	CHECK(!conf.rule[1].allow && !conf.rule[1].bind && conf.rule[1].any_uid);
	CHECK_EQ(conf.rule[1].hi, 1023);
	CHECK_STR(conf.bypass, "192.168.0.0/16 10.9.0.0/24 198.51.100.0/24");
	CHECK_EQ(conf.poll_us, 50);
	CHECK_STR(conf.cpus, "linkd=0 tcpd=1");
}

static void default_mac_is_stable_and_local(void)
{
	u8 first[6];

	REQUIRE_EQ(load(GOOD), 0);
	memcpy(first, conf.dev[0].mac, 6);
	CHECK_EQ(first[0], 0x02);
	REQUIRE_EQ(load("[link tap0]\nmtu = 1400\n[ip]\naddress = 10.0.0.9/8 dev tap0\n"), 0);
	CHECK_MEM(conf.dev[0].mac, first, 6);
	REQUIRE_EQ(load("[link tap1]\n[ip]\naddress = 10.0.0.9/8 dev tap1\n"), 0);
	CHECK(memcmp(conf.dev[0].mac, first, 6) != 0);
}

static void unknown_words_name_their_line(void)
{
	REFUSED(GOOD "[tpc]\nttl = 3\n", 5, "unknown section [tpc]");
	REFUSED(GOOD "[tcp]\nsack = yes\nsacks = yes\n", 7, "unknown key sacks");
	REFUSED(GOOD "[tcp extra]\n", 5, "unknown section");
	REFUSED("ttl = 4\n" GOOD, 1, "before any section");
	REFUSED(GOOD "gibberish\n", 5, "cannot be read");
	REFUSED(GOOD "[tcp\n", 5, "cannot be read");
}

static void bad_values_name_their_line(void)
{
	REFUSED("[link tap0]\ndriver = pcap\n", 2, "write one of: tap packet");
	REFUSED("[link tap0]\nqdisc = fq\n", 2, "pfifo_fast");
	REFUSED("[link tap0]\nmtu = 20\n", 2, "576 to 65521");
	REFUSED("[link tap0]\nmtu = 1500x\n", 2, "1500x");
	REFUSED("[link tap0]\nmtu = -1\n", 2, "out of range");
	REFUSED("[link tap0]\nmtu = 99999999999999999999\n", 2, "out of range");
	REFUSED("[link tap0]\nmac = 01:00:5e:00:00:01\n", 2, "group");
	REFUSED("[link tap0]\nmac = 02:00:00:00:00\n", 2, "six bytes");
	REFUSED("[link tap0]\nmac = 02:00:00:00:00:01:02\n", 2, "six bytes");
	REFUSED("[link tap0]\ntso = maybe\n", 2, "yes or no");
	REFUSED(GOOD "[tcp]\nrcvbuf = 1000000\n", 6, "power of two");
	REFUSED(GOOD "[tcp]\nrcvbuf = 1K\n", 6, "power of two");
	REFUSED(GOOD "[tcp]\nrcvbuf = 0\n", 6, "power of two");
	REFUSED(GOOD "[tcp]\nrcvbuf = 8192M\n", 6, "power of two");
	REFUSED(GOOD "[tcp]\ncongestion = vegas\n", 6, "cubic reno");
	REFUSED(GOOD "[tcp]\nports = 60999 32768\n", 6, "range");
	REFUSED(GOOD "[sock]\nallow = listen * * *\n", 6, "bind|connect");
	REFUSED(GOOD "[sock]\ndeny = bind * * 99999\n", 6, "bind|connect");
	REFUSED(GOOD "[shim]\nbypass = 10.0.0.1/8\n", 6, "ADDR/PREFIX");
	REFUSED(GOOD "[run]\ncpus = httpd=0\n", 6, "auto");
}

static void addresses_and_routes_are_checked(void)
{
	REFUSED("[link tap0]\n[ip]\naddress = 10.0.0.2/33 dev tap0\n", 3, "ADDR/PREFIX dev NAME");
	REFUSED("[link tap0]\n[ip]\naddress = 10.0.0.2 dev tap0\n", 3, "ADDR/PREFIX dev NAME");
	REFUSED("[link tap0]\n[ip]\naddress = 127.0.0.2/8 dev tap0\n", 3, "unicast");
	REFUSED("[link tap0]\n[ip]\naddress = 224.0.0.2/8 dev tap0\n", 3, "unicast");
	REFUSED("[link tap0]\n[ip]\naddress = 10.0.0.0/24 dev tap0\n", 3, "network's own");
	REFUSED("[link tap0]\n[ip]\naddress = 10.0.0.255/24 dev tap0\n", 3, "broadcast");
	REFUSED("[link tap0]\n[ip]\naddress = 10.0.0.2/24 dev tap1\n", 3, "add [link tap1]");
	REFUSED(GOOD "route = default via 10.77.0.1\n", 5, "dev NAME");
	REFUSED(GOOD "route = default via 10.77.0.1 dev eth7\n", 5, "add [link eth7]");
	REFUSED(GOOD "route = 10.0.0.1/8 dev tap0\n", 5, "host bits");
	REFUSED(GOOD "route = default via nowhere dev tap0\n", 5, "via ADDR");
	REFUSED(GOOD "route = default dev tap0 mtu\n", 5, "not understood");
	REFUSED(GOOD "route = default dev tap0 mtu 1 2 3 4 5 6 7 8 9 10\n", 5, "not understood");
}

static void devices_are_checked(void)
{
	REFUSED("[link]\n", 1, "write [link NAME]");
	REFUSED("[link averyveryverylongname]\n", 1, "at most 15");
	REFUSED("[link a/b]\n", 1, "interface name");
	REFUSED(GOOD "[link tap0]\n", 5, "already at line 1");
	REFUSED("[link tap0]\nmtu = 1500\nmtu = 1500\n", 3, "given twice");
}

static void missing_sections_are_errors(void)
{
	CHECK_EQ(load(""), -EINVAL);
	CHECK(strstr(said, "no [link NAME] section"));
	CHECK_EQ(load("[link tap0]\n"), -EINVAL);
	CHECK(strstr(said, "no address"));
}

static void all_errors_are_said_at_once(void)
{
	CHECK_EQ(load("[link tap0]\nmtu = 1\ntso = 7\n[ip]\nttl = 0\n[x]\n"), -EINVAL);
	CHECK(strstr(said, ":2: mtu"));
	CHECK(strstr(said, ":3: tso"));
	CHECK(strstr(said, ":5: ttl"));
	CHECK(strstr(said, ":6: unknown section"));
}

static void nothing_is_half_applied(void)
{
	struct config before;

	REQUIRE_EQ(load(GOOD), 0);
	before = conf;
	CHECK_EQ(load("[link tap9]\nmtu = 9000\n[ip]\nttl = 9\naddress = nonsense\n"), -EINVAL);
	CHECK_MEM(&conf, &before, sizeof(conf));
}

static void no_file_says_what_to_do(void)
{
	CHECK_EQ(load_file("/nonexistent/strata.conf"), -ENOENT);
	CHECK(strstr(said, "/nonexistent/strata.conf: No such file or directory; copy"));
}

/* deploy/strata.conf documents the keys: it must load, and so must every default it shows in a comment. */
static void the_annotated_default_is_true(void)
{
	static char text[16384];
	struct config plain;
	char line[512];
	FILE *f = fopen(STRATA_SOURCE "/deploy/strata.conf", "re");

	REQUIRE(f != NULL);
	text[0] = 0;
	while (fgets(line, sizeof(line), f)) {
		bool key = line[0] == '#' && line[1] >= 'a' && line[1] <= 'z' && strchr(line, '=');

		REQUIRE(strlen(text) + strlen(line) < sizeof(text));
		strcat(text, line + key);
	}
	fclose(f);
	CHECK_EQ(load_file(STRATA_SOURCE "/deploy/strata.conf"), 0);
	CHECK_STR(said, "");
	plain = conf;
	CHECK_EQ(load(text), 0);
	CHECK_STR(said, "");
	CHECK_EQ(conf.rcvbuf, plain.rcvbuf);
	CHECK_EQ(conf.sndbuf, plain.sndbuf);
	CHECK_EQ(conf.tw_max, plain.tw_max);
	CHECK_EQ(conf.max_sockets_per_uid, plain.max_sockets_per_uid);
	CHECK_EQ(conf.max_arenas_per_uid, plain.max_arenas_per_uid);
	CHECK_EQ(conf.max_clients, plain.max_clients);
	CHECK_EQ(conf.port_lo, plain.port_lo);
	CHECK_STR(conf.congestion, plain.congestion);
	CHECK_EQ(load_file(STRATA_SOURCE "/deploy/demo.conf"), 0);
	CHECK_STR(said, "");
}

static void garbage_is_refused_not_crashed_on(void)
{
	u32 x = 1, accepted = 0;

	for (u32 round = 0; round < 300; round++) {
		char text[700];
		size_t n = sizeof(GOOD) - 1;

		memcpy(text, GOOD, n);
		for (u32 i = 0; i < 400; i++) {
			x = x * 1664525 + 1013904223;
			text[n++] = round & 1 ? (char)(x >> 24 | 1) : "[]=:#; \nabc/0.9*"[x >> 28];
		}
		text[n] = 0;
		accepted += load(text) == 0;
	}
	CHECK_EQ(load(GOOD), 0);
	CHECK_EQ(accepted, 0);
}

static void long_lines_are_errors(void)
{
	char text[4000] = GOOD "[shim]\nbypass = ";
	size_t n = strlen(text);

	memset(text + n, ' ', 3000);
	strcpy(text + n + 3000, "10.0.0.0/8\n[x]\n");
	CHECK_EQ(load(text), -EINVAL);
	CHECK(strstr(said, ":6: longer than"));
	CHECK(strstr(said, ":7: unknown section"));
}

UNIT_MAIN(UNIT(defaults), UNIT(levels), UNIT(every_key_is_taken), UNIT(default_mac_is_stable_and_local),
	  UNIT(unknown_words_name_their_line), UNIT(bad_values_name_their_line), UNIT(addresses_and_routes_are_checked),
	  UNIT(devices_are_checked), UNIT(missing_sections_are_errors), UNIT(all_errors_are_said_at_once),
	  UNIT(nothing_is_half_applied), UNIT(no_file_says_what_to_do), UNIT(garbage_is_refused_not_crashed_on),
	  UNIT(long_lines_are_errors), UNIT(the_annotated_default_is_true))
