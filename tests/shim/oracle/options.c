/* options.c – socket options: defaults, what is set comes back, lengths, what is refused; ioctl. */
#include "tests/shim/oracle/oracle.h"

#include <linux/sockios.h>

static const struct option { int level, name, value; const char *text; } opts[] = {
	{ SOL_SOCKET, SO_TYPE, -1, "SO_TYPE" }, { SOL_SOCKET, SO_PROTOCOL, -1, "SO_PROTOCOL" }, { SOL_SOCKET, SO_DOMAIN, -1, "SO_DOMAIN" },
	{ SOL_SOCKET, SO_ERROR, -1, "SO_ERROR" }, { SOL_SOCKET, SO_ACCEPTCONN, -1, "SO_ACCEPTCONN" },
	{ SOL_SOCKET, SO_REUSEADDR, 1, "SO_REUSEADDR" }, { SOL_SOCKET, SO_REUSEPORT, 1, "SO_REUSEPORT" },
	{ SOL_SOCKET, SO_KEEPALIVE, 1, "SO_KEEPALIVE" }, { SOL_SOCKET, SO_OOBINLINE, 1, "SO_OOBINLINE" },
	{ SOL_SOCKET, SO_BROADCAST, 1, "SO_BROADCAST" }, { SOL_SOCKET, SO_DONTROUTE, 1, "SO_DONTROUTE" },
	{ SOL_SOCKET, SO_SNDBUF, 30000, "SO_SNDBUF" }, { SOL_SOCKET, SO_RCVBUF, 30000, "SO_RCVBUF" },
	{ SOL_SOCKET, SO_RCVLOWAT, 5, "SO_RCVLOWAT" }, { SOL_SOCKET, SO_SNDLOWAT, 5, "SO_SNDLOWAT" },
	{ SOL_SOCKET, SO_PRIORITY, 3, "SO_PRIORITY" }, { SOL_SOCKET, SO_ZEROCOPY, 1, "SO_ZEROCOPY" },
	{ SOL_SOCKET, SO_INCOMING_CPU, -1, "SO_INCOMING_CPU" }, { SOL_SOCKET, SO_MAX_PACING_RATE, 1000000, "SO_MAX_PACING_RATE" },
	{ IPPROTO_TCP, TCP_NODELAY, 1, "TCP_NODELAY" }, { IPPROTO_TCP, TCP_CORK, 1, "TCP_CORK" },
	{ IPPROTO_TCP, TCP_QUICKACK, 1, "TCP_QUICKACK" }, { IPPROTO_TCP, TCP_MAXSEG, 1000, "TCP_MAXSEG" },
	{ IPPROTO_TCP, TCP_KEEPIDLE, 100, "TCP_KEEPIDLE" }, { IPPROTO_TCP, TCP_KEEPINTVL, 10, "TCP_KEEPINTVL" },
	{ IPPROTO_TCP, TCP_KEEPCNT, 4, "TCP_KEEPCNT" }, { IPPROTO_TCP, TCP_SYNCNT, 3, "TCP_SYNCNT" },
	{ IPPROTO_TCP, TCP_LINGER2, 30, "TCP_LINGER2" }, { IPPROTO_TCP, TCP_DEFER_ACCEPT, 1, "TCP_DEFER_ACCEPT" },
	{ IPPROTO_TCP, TCP_WINDOW_CLAMP, 20000, "TCP_WINDOW_CLAMP" }, { IPPROTO_TCP, TCP_USER_TIMEOUT, 5000, "TCP_USER_TIMEOUT" },
	{ IPPROTO_TCP, TCP_NOTSENT_LOWAT, 16384, "TCP_NOTSENT_LOWAT" }, { IPPROTO_TCP, TCP_FASTOPEN_CONNECT, 0, "TCP_FASTOPEN_CONNECT" },
	{ IPPROTO_IP, IP_TOS, 0x10, "IP_TOS" }, { IPPROTO_IP, IP_TTL, 33, "IP_TTL" },
	{ IPPROTO_IP, IP_MTU_DISCOVER, 2, "IP_MTU_DISCOVER" }, { IPPROTO_IP, IP_RECVERR, 1, "IP_RECVERR" },
	{ IPPROTO_IP, IP_FREEBIND, 1, "IP_FREEBIND" }, { IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1, "IP_BIND_ADDRESS_NO_PORT" },
};
#define NOPTS (sizeof(opts) / sizeof(opts[0]))

static void get(int fd, const struct option *p)
{
	int value = 0;
	socklen_t len = sizeof(value);
	int r = getsockopt(fd, p->level, p->name, &value, &len);

	say("%s", p->text);
	if (r < 0)
		printf("=%s", errno_name(errno));
	else
		printf("=%d/%u", value, len);
}

static void defaults(void)
{
	int fd = tcp();

	for (unsigned i = 0; i < NOPTS; i++)
		get(fd, &opts[i]);
}

static void round_trip(int fd, bool connection)
{
	for (unsigned i = 0; i < NOPTS; i++) {
		if (opts[i].value < 0 || (connection && opts[i].level == IPPROTO_TCP && opts[i].name == TCP_MAXSEG))
			continue;	/* the segment size of a connection depends on its path */
		if (setsockopt(fd, opts[i].level, opts[i].name, &opts[i].value, sizeof(int)) < 0)
			result(opts[i].text, -1);
		else
			get(fd, &opts[i]);
	}
}

static void set_before(void) { round_trip(tcp(), false); }

static void set_bound(void)
{
	int port;

	round_trip(listener(&port), false);
}

static void set_connected(void) { round_trip(ask("echo\n"), true); }

/* Set before connect, seen after. */
static void kept(void)
{
	int fd = tcp();

	for (unsigned i = 0; i < NOPTS; i++)
		if (opts[i].value >= 0 && opts[i].name != TCP_MAXSEG)
			setsockopt(fd, opts[i].level, opts[i].name, &opts[i].value, sizeof(int));
	result("connect", connect(fd, (struct sockaddr *)&o.peer, sizeof(o.peer)));
	for (unsigned i = 0; i < NOPTS; i++)
		if (opts[i].value >= 0 && !(opts[i].level == IPPROTO_TCP && (opts[i].name == TCP_MAXSEG || opts[i].name == TCP_QUICKACK)))
			get(fd, &opts[i]);
}

/* What an accepted connection has from its listener. */
static void inherited(void)
{
	static const struct option some[] = {
		{ SOL_SOCKET, SO_KEEPALIVE, 1, "SO_KEEPALIVE" }, { IPPROTO_TCP, TCP_NODELAY, 1, "TCP_NODELAY" },
		{ SOL_SOCKET, SO_RCVBUF, 30000, "SO_RCVBUF" }, { SOL_SOCKET, SO_SNDBUF, 30000, "SO_SNDBUF" },
		{ IPPROTO_TCP, TCP_KEEPIDLE, 100, "TCP_KEEPIDLE" }, { IPPROTO_TCP, TCP_USER_TIMEOUT, 5000, "TCP_USER_TIMEOUT" },
		{ IPPROTO_IP, IP_TTL, 33, "IP_TTL" }, { SOL_SOCKET, SO_ACCEPTCONN, 0, "SO_ACCEPTCONN" },
		{ SOL_SOCKET, SO_REUSEADDR, 1, "SO_REUSEADDR" }, { IPPROTO_TCP, TCP_CORK, 1, "TCP_CORK" },
	};
	struct timeval tv = { 0, 100000 }, got = { 0 };
	socklen_t len = sizeof(got);
	int port, l = listener(&port), c;

	for (unsigned i = 0; i < sizeof(some) / sizeof(some[0]); i++)
		setsockopt(l, some[i].level, some[i].name, &some[i].value, sizeof(int));
	setsockopt(l, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
	c = accept_from_peer(l, port, "echo");
	for (unsigned i = 0; i < sizeof(some) / sizeof(some[0]); i++)
		get(c, &some[i]);
	getsockopt(c, SOL_SOCKET, SO_RCVTIMEO, &got, &len);
	say("SO_RCVTIMEO=%ld", (long)got.tv_usec);
}

static void odd(void)
{
	int fd = tcp(), one = 1, big = 1 << 30;
	struct linger l = { 1, 7 }, g = { 0, 0 };
	struct timeval t = { 2, 500000 }, tg = { 0, 0 }, bad = { 0, 2000000 };
	socklen_t len = 1;
	char small[40];

	result("short", setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, 1));
	result("level", setsockopt(fd, 99, 1, &one, sizeof(one)));
	result("name", setsockopt(fd, IPPROTO_TCP, 9999, &one, sizeof(one)));
	result("get level", getsockopt(fd, 99, 1, small, &len));
	len = 1;
	result("get short", getsockopt(fd, SOL_SOCKET, SO_TYPE, small, &len));
	say("len=%u", len);
	len = (socklen_t)-1;
	result("get negative", getsockopt(fd, SOL_SOCKET, SO_TYPE, small, &len));
	result("readonly", setsockopt(fd, SOL_SOCKET, SO_TYPE, &one, sizeof(one)));
	result("readonly error", setsockopt(fd, SOL_SOCKET, SO_ERROR, &one, sizeof(one)));
	result("set linger", setsockopt(fd, SOL_SOCKET, SO_LINGER, &l, sizeof(l)));
	len = sizeof(g);
	result("linger", getsockopt(fd, SOL_SOCKET, SO_LINGER, &g, &len));
	say("%d/%d/%u", g.l_onoff, g.l_linger, len);
	result("timeo", setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &t, sizeof(t)));
	len = sizeof(tg);
	result("timeo", getsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tg, &len));
	say("%ld.%ld/%u", (long)tg.tv_sec, (long)tg.tv_usec, len);
	result("timeo bad", setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &bad, sizeof(bad)));
	result("ttl 0", setsockopt(fd, IPPROTO_IP, IP_TTL, &(int){ 0 }, sizeof(int)));
	result("ttl 256", setsockopt(fd, IPPROTO_IP, IP_TTL, &(int){ 256 }, sizeof(int)));
	result("keepidle 0", setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &(int){ 0 }, sizeof(int)));
	result("keepcnt 200", setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &(int){ 200 }, sizeof(int)));
	result("maxseg 1", setsockopt(fd, IPPROTO_TCP, TCP_MAXSEG, &(int){ 1 }, sizeof(int)));
	result("maxseg big", setsockopt(fd, IPPROTO_TCP, TCP_MAXSEG, &big, sizeof(int)));
	result("user timeout -1", setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &(int){ -1 }, sizeof(int)));
	result("congestion", setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, "reno", 4));
	len = 16;
	memset(small, 0, sizeof(small));
	result("congestion", getsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, small, &len));
	say("%s/%u", small, len);
	result("congestion nonsense", setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, "nonsense", 8));
}

static void info(void)
{
	struct tcp_info i;
	int fd = ask("echo\n");
	socklen_t len = sizeof(i);

	memset(&i, 0, sizeof(i));
	result("info", getsockopt(fd, IPPROTO_TCP, TCP_INFO, &i, &len));
	say("len=%s state=%d mss=%s rtt=%s", len >= 104 ? "enough" : "short", i.tcpi_state, i.tcpi_snd_mss > 500 ? "yes" : "no",
	    i.tcpi_rtt ? "yes" : "no");
	len = 8;
	result("short", getsockopt(fd, IPPROTO_TCP, TCP_INFO, &i, &len));
	say("len=%u", len);
	len = sizeof(int);
	result("mtu", getsockopt(fd, IPPROTO_IP, IP_MTU, &(int){ 0 }, &len));
	len = sizeof(i);
	memset(&i, 0, sizeof(i));
	result("fresh", getsockopt(tcp(), IPPROTO_TCP, TCP_INFO, &i, &len));
	say("state=%d", i.tcpi_state);
	len = sizeof(int);
	result("fresh mtu", getsockopt(tcp(), IPPROTO_IP, IP_MTU, &(int){ 0 }, &len));
}

static void bad_pointers(void)
{
	int fd = tcp(), port, c = ask("send 100\n");
	void *volatile nowhere = (void *)8, *bad = nowhere;
	socklen_t len = 16;
	struct sockaddr_in a;

	wait_for(c, POLLIN);
	result("bind", bind(fd, bad, 16));
	result("connect", connect(fd, bad, 16));
	result("name", getsockname(c, bad, &len));
	result("name len", getsockname(c, (struct sockaddr *)&a, bad));
	result("peer", getpeername(c, bad, &len));
	result("set", setsockopt(c, SOL_SOCKET, SO_KEEPALIVE, bad, 4));
	result("set local", setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, bad, 4));
	result("get", getsockopt(c, SOL_SOCKET, SO_TYPE, bad, &len));
	result("get len", getsockopt(c, SOL_SOCKET, SO_TYPE, &port, bad));
	result("fionread", ioctl(c, FIONREAD, bad));
	result("read", read(c, bad, 10));
	result("write", write(c, bad, 10));
	result("recvmsg", recvmsg(c, bad, 0));
	result("sendmsg", sendmsg(c, bad, 0));
	result("readv", readv(c, bad, 1));
	result("writev", writev(c, &(struct iovec){ bad, 5 }, 1));
}

static void queues(void)
{
	int port, l = listener(&port), fd = tcp(), c = ask("send 1000\n"), n = -1;

	result("listener", ioctl(l, FIONREAD, &n));
	n = -1;
	result("fresh", ioctl(fd, FIONREAD, &n));
	say("%d", n);
	wait_for(c, POLLIN);
	usleep(50000);
	result("in", ioctl(c, FIONREAD, &n));
	say("%d", n);
	result("out", ioctl(c, SIOCOUTQ, &n));
	say("%d", n);
	result("nbio", ioctl(c, FIONBIO, &(int){ 1 }));
	say("nonblock=%d", !!(fcntl(c, F_GETFL) & O_NONBLOCK));
	result("atmark", ioctl(c, SIOCATMARK, &n));
	say("%d", n);
	result("nonsense", ioctl(c, 0x12345678, &n));
}

const struct test cases_options[] = {
	{ "options: defaults", defaults }, { "options: set on a fresh socket", set_before }, { "options: set on a listener", set_bound },
	{ "options: set on a connection", set_connected }, { "options: set before connect, kept", kept },
	{ "options: what accept inherits", inherited }, { "options: lengths, ranges, refusals", odd }, { "options: TCP_INFO", info },
	{ "options: bad pointers", bad_pointers }, { "options: ioctl", queues }, { NULL, NULL },
};
