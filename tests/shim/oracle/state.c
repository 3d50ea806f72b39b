/* state.c – calls in every state of a socket, connecting and its failures, listening and accepting. */
#include "tests/shim/oracle/oracle.h"

#include <sys/resource.h>

static void calls(int fd)
{
	struct sockaddr_in a;
	socklen_t len = sizeof(a);
	char buf[10];

	result("recv", recv(fd, buf, sizeof(buf), MSG_DONTWAIT));
	result("send", send(fd, "x", 1, MSG_NOSIGNAL | MSG_DONTWAIT));
	result("peername", getpeername(fd, (struct sockaddr *)&a, &len));
	result("accept", accept4(fd, NULL, NULL, SOCK_NONBLOCK));
	result("shutdown", shutdown(fd, SHUT_WR));
	result("how", shutdown(fd, 7));
}

static void fresh(void)
{
	int fd = tcp();

	calls(fd);
	calls(fd);
	result("listen", listen(fd, 5));	/* an address is found for it */
	fcntl(fd, F_SETFL, O_NONBLOCK);
	result("accept", accept(fd, NULL, NULL));
}

static void bound(void)
{
	struct sockaddr_in a = o.mine, b;
	socklen_t len = sizeof(b);
	int fd = tcp();

	result("bind", bind(fd, (struct sockaddr *)&a, sizeof(a)));
	result("name", getsockname(fd, (struct sockaddr *)&b, &len));
	say("same=%d port=%d len=%u", b.sin_addr.s_addr == a.sin_addr.s_addr, b.sin_port != 0, len);
	calls(fd);
	result("again", bind(fd, (struct sockaddr *)&a, sizeof(a)));
	result("connect", connect(fd, (struct sockaddr *)&o.peer, sizeof(o.peer)));
	len = sizeof(a);
	getsockname(fd, (struct sockaddr *)&a, &len);
	say("port kept=%d", a.sin_port == b.sin_port);
}

static void listening(void)
{
	int port, l = listener(&port);

	fcntl(l, F_SETFL, O_NONBLOCK);
	result("recv", recv(l, &port, 1, 0));
	result("read", read(l, &port, 1));
	result("send", send(l, "x", 1, MSG_NOSIGNAL));
	result("connect", connect(l, (struct sockaddr *)&o.peer, sizeof(o.peer)));
	result("bind", bind(l, (struct sockaddr *)&o.mine, sizeof(o.mine)));
	result("again", listen(l, 20));
	result("accept", accept(l, NULL, NULL));
	result("flags", accept4(l, NULL, NULL, 0x40));
	result("shutdown wr", shutdown(l, SHUT_WR));
	result("shutdown rd", shutdown(l, SHUT_RD));
	result("accept", accept(l, NULL, NULL));
}

static void connected(void)
{
	int fd = ask("echo\n");

	result("listen", listen(fd, 5));
	result("connect", connect(fd, (struct sockaddr *)&o.peer, sizeof(o.peer)));
	result("bind", bind(fd, (struct sockaddr *)&o.mine, sizeof(o.mine)));
	calls(fd);
	wait_for(fd, POLLRDHUP);
	calls(fd);
}

static void after_reset(void)
{
	int fd = ask("rst 50\n"), e = -1;
	socklen_t len = sizeof(e);

	wait_for(fd, POLLIN);
	result("so_error", getsockopt(fd, SOL_SOCKET, SO_ERROR, &e, &len));
	say("%s", errno_name(e));
	getsockopt(fd, SOL_SOCKET, SO_ERROR, &e, &len);
	say("then %d", e);
	calls(fd);
	result("connect", connect(fd, (struct sockaddr *)&o.peer, sizeof(o.peer)));
}

static void reset_read(void)
{
	int fd = ask("sendrst 100 50\n");
	char buf[1000];

	result("peek", recv(fd, buf, 100, MSG_PEEK | MSG_WAITALL));
	wait_for(fd, POLLRDHUP);
	result("read", read(fd, buf, sizeof(buf)));
	result("read", read(fd, buf, sizeof(buf)));
	result("read", read(fd, buf, sizeof(buf)));
	result("write", send(fd, buf, 1, MSG_NOSIGNAL));
}

static void refused(void)
{
	struct sockaddr_in a = o.peer;
	int fd = tcp(), e = -1;
	socklen_t len = sizeof(e);

	a.sin_port = htons(1);
	result("connect", connect(fd, (struct sockaddr *)&a, sizeof(a)));
	getsockopt(fd, SOL_SOCKET, SO_ERROR, &e, &len);
	say("so_error=%d", e);
	calls(fd);
	result("again", connect(fd, (struct sockaddr *)&a, sizeof(a)));
	result("elsewhere", connect(fd, (struct sockaddr *)&o.peer, sizeof(o.peer)));
	result("send", send(fd, "echo\nx", 6, 0));
	wait_for(fd, POLLIN);
	result("recv", recv(fd, &e, 4, 0));
}

static void refused_nonblocking(void)
{
	struct sockaddr_in a = o.peer;
	int fd = tcp(), e = -1;
	socklen_t len = sizeof(e);

	a.sin_port = htons(1);
	fcntl(fd, F_SETFL, O_NONBLOCK);
	result("connect", connect(fd, (struct sockaddr *)&a, sizeof(a)));
	wait_for(fd, POLLOUT);
	flags("refused", fd);
	getsockopt(fd, SOL_SOCKET, SO_ERROR, &e, &len);
	say("so_error=%s", errno_name(e));
	getsockopt(fd, SOL_SOCKET, SO_ERROR, &e, &len);
	say("then=%d", e);
	result("peername", getpeername(fd, (struct sockaddr *)&a, &len));
	a = o.peer;
	e = connect(fd, (struct sockaddr *)&a, sizeof(a));
	if (e < 0 && errno == ECONNABORTED)	/* Linux: once, if SO_ERROR told why it failed */
		e = connect(fd, (struct sockaddr *)&a, sizeof(a));
	result("elsewhere", e);
	say("%s", wait_for(fd, POLLOUT) & POLLOUT ? "connects" : "does not connect");
	flags("connected", fd);
	result("again", connect(fd, (struct sockaddr *)&a, sizeof(a)));
	result("and again", connect(fd, (struct sockaddr *)&a, sizeof(a)));
}

/* The error is told by whatever call comes first. */
static void refused_told(void)
{
	char c;

	for (int how = 0; how < 3; how++) {
		struct sockaddr_in a = o.peer;
		int fd = tcp();

		a.sin_port = htons(1);
		fcntl(fd, F_SETFL, O_NONBLOCK);
		connect(fd, (struct sockaddr *)&a, sizeof(a));
		wait_for(fd, POLLOUT);
		if (how == 0)
			result("connect", connect(fd, (struct sockaddr *)&a, sizeof(a)));
		if (how == 1)
			result("recv", recv(fd, &c, 1, 0));
		if (how == 2)
			result("send", send(fd, "x", 1, MSG_NOSIGNAL));
	}
}

static void connecting(void)
{
	struct sockaddr_in a = o.peer;
	int fd = tcp(), e = -1;
	socklen_t len = sizeof(e);

	fcntl(fd, F_SETFL, O_NONBLOCK);
	a.sin_addr.s_addr = (o.peer.sin_addr.s_addr & htonl(0xffffff00)) | htonl(77);	/* nobody is there */
	result("connect", connect(fd, (struct sockaddr *)&a, sizeof(a)));
	flags("connecting", fd);
	result("again", connect(fd, (struct sockaddr *)&a, sizeof(a)));
	getsockopt(fd, SOL_SOCKET, SO_ERROR, &e, &len);
	say("so_error=%d", e);
	result("recv", recv(fd, &e, 1, 0));
	result("send", send(fd, "x", 1, MSG_NOSIGNAL));
	len = sizeof(a);
	result("peername", getpeername(fd, (struct sockaddr *)&a, &len));
	result("listen", listen(fd, 1));
	say("%s", wait_for(fd, POLLOUT) ? "decided" : "undecided");
	getsockopt(fd, SOL_SOCKET, SO_ERROR, &e, &len);
	say("so_error=%s", errno_name(e));
}

static void disconnect(void)
{
	struct sockaddr_in none = { .sin_family = AF_UNSPEC }, a;
	int fd = tcp();
	socklen_t len = sizeof(a);

	result("fresh", connect(fd, (struct sockaddr *)&none, sizeof(none)));
	result("connect", connect(fd, (struct sockaddr *)&o.peer, sizeof(o.peer)));
	result("disconnect", connect(fd, (struct sockaddr *)&none, sizeof(none)));
	result("peername", getpeername(fd, (struct sockaddr *)&a, &len));
	result("send", send(fd, "x", 1, MSG_NOSIGNAL));
	result("connect", connect(fd, (struct sockaddr *)&o.peer, sizeof(o.peer)));
	result("send", send(fd, "echo\nabc", 8, 0));
	result("recv", recv(fd, &a, 3, MSG_WAITALL));
}

static void wrong(void)
{
	struct sockaddr_in a = o.peer, b = o.mine;
	struct sockaddr_in6 a6 = { .sin6_family = AF_INET6 };
	int fd = tcp(), n;

	result("short", connect(fd, (struct sockaddr *)&a, 8));
	result("short bind", bind(fd, (struct sockaddr *)&b, 8));
	result("v6", connect(fd, (struct sockaddr *)&a6, sizeof(a6)));
	result("v6 bind", bind(fd, (struct sockaddr *)&a6, sizeof(a6)));
	a.sin_family = 77;
	result("family", connect(fd, (struct sockaddr *)&a, sizeof(a)));
	b.sin_addr.s_addr = inet_addr("10.9.0.99");
	result("not ours", bind(fd, (struct sockaddr *)&b, sizeof(b)));
	a = o.peer;
	a.sin_addr.s_addr = inet_addr("224.0.0.1");
	result("multicast", connect(fd, (struct sockaddr *)&a, sizeof(a)));
	a.sin_addr.s_addr = INADDR_BROADCAST;
	result("broadcast", connect(fd, (struct sockaddr *)&a, sizeof(a)));
	result("type", socket(AF_INET, 77, 0));
	result("protocol", socket(AF_INET, SOCK_STREAM, IPPROTO_UDP));
	n = socket(AF_INET, SOCK_STREAM, IPPROTO_TCP);
	say("tcp=%d", n >= 0);
	result("pair", socketpair(AF_INET, SOCK_STREAM, 0, &(int[2]){ 0 }[0]));
	result("closed", connect(999, (struct sockaddr *)&a, sizeof(a)));
	result("no socket", listen(0, 1));
}

static void in_use(void)
{
	struct sockaddr_in a = o.mine;
	socklen_t len = sizeof(a);
	int port, l = listener(&port), one = 1, r[2];

	a.sin_port = htons((uint16_t)port);
	result("bind", bind(tcp(), (struct sockaddr *)&a, len));
	a.sin_addr.s_addr = INADDR_ANY;
	result("any", bind(tcp(), (struct sockaddr *)&a, len));
	r[0] = tcp();
	setsockopt(r[0], SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	result("reuse", bind(r[0], (struct sockaddr *)&a, len));
	a = o.mine;
	for (int i = 0; i < 2; i++) {
		r[i] = tcp();
		setsockopt(r[i], SOL_SOCKET, SO_REUSEPORT, &one, sizeof(one));
		result("reuseport", bind(r[i], (struct sockaddr *)&a, len));
		getsockname(r[i], (struct sockaddr *)&a, &len);
		result("listen", listen(r[i], 1));
	}
	close(l);
	a.sin_port = htons((uint16_t)port);
	result("after close", bind(tcp(), (struct sockaddr *)&a, len));
}

static void accepting(void)
{
	struct sockaddr_in a, b;
	socklen_t len = sizeof(a), small = 4;
	int port, l = listener(&port), c, via, n;

	via = ask("connect %d echo\n", port);
	wait_for(l, POLLIN);
	c = accept(l, (struct sockaddr *)&a, &len);
	say("c=%d len=%u family=%d peer=%d", c >= 0, len, a.sin_family, a.sin_addr.s_addr == o.peer.sin_addr.s_addr);
	len = sizeof(b);
	getpeername(c, (struct sockaddr *)&b, &len);
	say("same=%d", !memcmp(&a, &b, 8));
	getsockname(c, (struct sockaddr *)&b, &len);
	say("mine=%d port=%d", b.sin_addr.s_addr == o.mine.sin_addr.s_addr, ntohs(b.sin_port) == port);
	say("cloexec=%d nonblock=%d", fcntl(c, F_GETFD), !!(fcntl(c, F_GETFL) & O_NONBLOCK));
	close(via);
	fcntl(l, F_SETFL, O_NONBLOCK);
	for (int i = 0; i < 4; i++) {
		via = ask("connect %d echo\n", port);
		wait_for(l, POLLIN);
		n = accept4(l, (struct sockaddr *)&a, &small, (i & 1 ? SOCK_CLOEXEC : 0) | (i & 2 ? SOCK_NONBLOCK : 0));
		say("len=%u cloexec=%d nonblock=%d", small, fcntl(n, F_GETFD), !!(fcntl(n, F_GETFL) & O_NONBLOCK));
		close(via);
		close(n);
	}
	result("empty", accept(l, NULL, NULL));
	result("lowest", dup(0) - c);
}

static void many(void)
{
	struct rlimit lim = { 64, 64 };
	int port, l = listener(&port), via = ask("connect %d echo\n", port), fd = -1, r;

	wait_for(l, POLLIN);
	setrlimit(RLIMIT_NOFILE, &lim);
	while ((r = dup(0)) >= 0)
		fd = r;
	result("socket", socket(AF_INET, SOCK_STREAM, 0));
	result("accept", accept(l, NULL, NULL));
	flags("listener", l);
	close(fd);
	r = accept(l, NULL, NULL);
	say("then accept=%d", r >= 0);
	result("send", send(r, "abc", 3, 0));
	result("recv", recv(r, &lim, 3, MSG_WAITALL));
	(void)via;
}

const struct test cases_state[] = {
	{ "state: fresh", fresh }, { "state: bound", bound }, { "state: listening", listening }, { "state: connected", connected },
	{ "state: after a reset", after_reset }, { "state: bytes, then a reset", reset_read }, { "connect: refused", refused },
	{ "connect: refused, non-blocking", refused_nonblocking }, { "connect: refused, who tells", refused_told },
	{ "connect: on its way", connecting }, { "connect: AF_UNSPEC", disconnect },
	{ "connect: wrong arguments", wrong }, { "bind: in use", in_use }, { "accept: addresses and flags", accepting },
	{ "accept: out of descriptors", many }, { NULL, NULL },
};
