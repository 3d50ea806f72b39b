/* names.c – AF_INET6 sockets that carry IPv4, and names. */
#include "tests/shim/oracle/oracle.h"

static struct sockaddr_in6 mapped(const struct sockaddr_in *a)
{
	struct sockaddr_in6 r = { .sin6_family = AF_INET6, .sin6_port = a->sin_port };

	r.sin6_addr.s6_addr[10] = r.sin6_addr.s6_addr[11] = 0xff;
	memcpy(&r.sin6_addr.s6_addr[12], &a->sin_addr, 4);
	return r;
}

static void name(const char *what, int fd, bool peer)
{
	struct sockaddr_in6 a;
	socklen_t len = sizeof(a);
	char text[64];
	int r = peer ? getpeername(fd, (struct sockaddr *)&a, &len) : getsockname(fd, (struct sockaddr *)&a, &len);

	if (r < 0) {
		result(what, r);
		return;
	}
	inet_ntop(AF_INET6, &a.sin6_addr, text, sizeof(text));
	if (IN6_IS_ADDR_V4MAPPED(&a.sin6_addr)) {
		bool is_peer = !memcmp(&a.sin6_addr.s6_addr[12], peer ? &o.peer.sin_addr : &o.mine.sin_addr, 4);

		snprintf(text, sizeof(text), "mapped:%s", is_peer ? "right" : "wrong");
	}
	say("%s=%s/%u family=%d port=%d", what, text, len, a.sin6_family, a.sin6_port != 0);
}

static void connecting(void)
{
	struct sockaddr_in6 a = mapped(&o.peer);
	int fd = socket(AF_INET6, SOCK_STREAM, 0), v = -1;
	socklen_t len = sizeof(v);
	char b[4] = "";

	name("fresh", fd, false);
	result("connect", connect(fd, (struct sockaddr *)&a, sizeof(a)));
	name("mine", fd, false);
	name("peer", fd, true);
	getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &v, &len);
	say("domain=%d", v);
	getsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &v, &len);
	say("v6only=%d", v);
	send(fd, "echo\nabc", 8, 0);
	result("recv", recv(fd, b, 3, MSG_WAITALL));
	result("v6only", setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &(int){ 1 }, sizeof(int)));
	fd = socket(AF_INET6, SOCK_STREAM, 0);
	setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &(int){ 1 }, sizeof(int));
	result("v6only connect", connect(fd, (struct sockaddr *)&a, sizeof(a)));
	fd = socket(AF_INET6, SOCK_STREAM, 0);
	result("plain v4", connect(fd, (struct sockaddr *)&o.peer, sizeof(o.peer)));
}

static void accepting(void)
{
	struct sockaddr_in6 a = { .sin6_family = AF_INET6 };
	socklen_t len = sizeof(a);
	int fd = socket(AF_INET6, SOCK_STREAM, 0), c, via;

	setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &(int){ 0 }, sizeof(int));
	result("bind", bind(fd, (struct sockaddr *)&a, sizeof(a)));
	result("listen", listen(fd, 4));
	name("any", fd, false);
	getsockname(fd, (struct sockaddr *)&a, &len);
	via = ask("connect %d echo\n", ntohs(a.sin6_port));
	wait_for(fd, POLLIN);
	len = sizeof(a);
	c = accept(fd, (struct sockaddr *)&a, &len);
	say("accept=%d len=%u family=%d mapped=%d", c >= 0, len, a.sin6_family, IN6_IS_ADDR_V4MAPPED(&a.sin6_addr));
	name("mine", c, false);
	name("peer", c, true);
	close(via);
}

static void mapped_bind(void)
{
	struct sockaddr_in6 a = mapped(&o.mine);
	int fd = socket(AF_INET6, SOCK_STREAM, 0);

	result("bind", bind(fd, (struct sockaddr *)&a, sizeof(a)));
	name("mine", fd, false);
	result("listen", listen(fd, 4));
	fd = socket(AF_INET6, SOCK_STREAM, 0);
	result("v4", bind(fd, (struct sockaddr *)&o.mine, sizeof(o.mine)));
	result("short", bind(fd, (struct sockaddr *)&a, 20));
}

static void lengths(void)
{
	struct sockaddr_in a;
	int fd = ask("echo\n");
	socklen_t len = 4;

	memset(&a, 0x55, sizeof(a));
	result("name", getsockname(fd, (struct sockaddr *)&a, &len));
	say("len=%u family=%d untouched=%d", len, a.sin_family, a.sin_addr.s_addr == 0x55555555);
	len = 100;
	result("peer", getpeername(fd, (struct sockaddr *)&a, &len));
	say("len=%u zero=%d", len, a.sin_zero[0]);
	len = (socklen_t)-4;
	result("negative", getsockname(fd, (struct sockaddr *)&a, &len));
	len = sizeof(a);
	result("fresh", getsockname(tcp(), (struct sockaddr *)&a, &len));
	say("family=%d port=%d addr=%d", a.sin_family, a.sin_port, a.sin_addr.s_addr);
}

const struct test cases_name[] = {
	{ "names: connect to a mapped address", connecting }, { "names: accept on ::", accepting },
	{ "names: bind to a mapped address", mapped_bind }, { "names: lengths", lengths }, { NULL, NULL },
};
