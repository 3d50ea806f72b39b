/* ping.c – strata ping: ICMP echo sent and answered by ipd (tx4, rx5); the command only asks and prints. */
#include "strata.h"

#include <getopt.h>
#include <math.h>
#include <netdb.h>
#include <poll.h>
#include <arpa/inet.h>
#include <sys/socket.h>

#include "common/keeper.h"

static const char help[] =
	"usage: strata ping [-c COUNT] [-s SIZE] [-W SECONDS] [-t TTL] [-I SECONDS] HOST\n\n"
	"  -c COUNT    how many (4)          -s SIZE  bytes of data (56)\n"
	"  -W SECONDS  wait for a reply (1)  -t TTL   time to live (64)\n"
	"  -I SECONDS  between two (1)\n"
	"Exit status 0: at least one reply came.\n";

struct run { u32 count, size, ttl; double timeout, interval; u32 sent, got; double min, max, sum; };

static bool resolve(const char *host, be32 *ret)
{
	struct addrinfo want = { .ai_family = AF_INET, .ai_socktype = SOCK_STREAM }, *ai;

	if (getaddrinfo(host, NULL, &want, &ai))
		return false;
	ret->v = ((struct sockaddr_in *)ai->ai_addr)->sin_addr.s_addr;
	freeaddrinfo(ai);
	return true;
}

static int parse(int argc, char **argv, struct run *p)
{
	int o;

	while ((o = getopt(argc, argv, "c:s:W:t:I:n")) != -1) {
		char *end = NULL;
		double f = optarg ? strtod(optarg, &end) : 0;

		if (o == '?' || (optarg && (end == optarg || *end || !(f >= 0) || f > 1e6)))
			return misuse("ping", "not a number:", optarg ? optarg : "");
		switch (o) {
		case 'c': p->count = (u32)f; break;
		case 's': p->size = (u32)f; break;
		case 't': p->ttl = (u32)f; break;
		case 'W': p->timeout = f; break;
		case 'I': p->interval = f; break;
		default: break;
		}
	}
	if (p->size > 65000 || p->ttl == 0 || p->ttl > 255 || p->timeout <= 0 || p->timeout > 60)
		return misuse("ping", "SIZE up to 65000, TTL 1 to 255, wait up to 60 s", NULL);
	return 0;
}

/* One echo. 0: a reply; -errno. */
static int once(struct cli *c, struct run *p, be32 host, u32 seq)
{
	static struct admin_reply a;
	admin_request q = ADMIN_REQUEST(PING);
	u64 start = now_ns();
	double ms;
	char *t;
	int r;

	q.has_addr = q.has_seq = q.has_size = q.has_timeout_ms = q.has_ttl = true;
	q.addr = host.v;
	q.seq = seq;
	q.size = p->size;
	q.timeout_ms = (u32)(p->timeout * 1000);
	q.ttl = p->ttl;
	p->sent++;
	r = admin(c, &q, q.timeout_ms + 5000, &a);
	if ((r == -EPERM || r == -EACCES) && under_sudo(c))
		return r;
	if (r < 0) {
		printf("icmp_seq=%u %s\n", seq, *a.text ? a.text : strerror(-r));
		return r;
	}
	t = strstr(a.text, "time=");
	ms = a.rtt_ns ? (double)a.rtt_ns / 1e6 : t ? atof(t + 5) : (double)(now_ns() - start) / 1e6;
	if (*a.text)
		puts(a.text);
	else
		printf("%u bytes from %s: icmp_seq=%u ttl=%u time=%.3f ms\n", p->size + 8, ip_text(host), seq, a.ttl, ms);
	p->min = p->got ? fmin(p->min, ms) : ms;
	p->max = p->got ? fmax(p->max, ms) : ms;
	p->sum += ms;
	p->got++;
	return 0;
}

int cmd_ping(struct cli *c, int argc, char **argv)
{
	struct run p = { .count = 4, .size = 56, .ttl = 64, .timeout = 1, .interval = 1 };
	be32 host;
	int r;

	if (wants_help(argc, argv, help))
		return EXIT_SUCCESS;
	r = parse(argc, argv, &p);
	if (r)
		return r;
	if (optind != argc - 1)
		return misuse("ping", "one HOST", NULL);
	if (!resolve(argv[optind], &host)) {
		fprintf(stderr, "strata ping: %s: no such host\n", argv[optind]);
		return EX_NOHOST;
	}
	printf("PING %s (%s) %u bytes of data, instance %s\n", argv[optind], ip_text(host), p.size, c->instance);
	for (u32 seq = 1; seq <= p.count; seq++) {
		r = once(c, &p, host, seq);
		fflush(stdout);
		if (r == -ENOENT || r == -ECONNREFUSED || r == -EPERM || r == -EACCES) {
			fprintf(stderr, "strata ping: %s/%s/sock: %s\n", strata_rundir(), c->instance, strerror(-r));
			return EXIT_FAILURE;
		}
		if (seq < p.count)
			poll(NULL, 0, (int)(p.interval * 1000));
	}
	printf("--- %s ---\n%u sent, %u received, %u%% lost", argv[optind], p.sent, p.got,
	       p.sent ? (p.sent - p.got) * 100 / p.sent : 0);
	if (p.got)
		printf(", rtt min/avg/max %.3f/%.3f/%.3f ms", p.min, p.sum / p.got, p.max);
	putchar('\n');
	return p.got ? EXIT_SUCCESS : EXIT_FAILURE;
}
