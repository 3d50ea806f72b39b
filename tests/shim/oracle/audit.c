/* audit.c – options that an operator or a server's author relies on, by what they do: waiting for data before accept, who
 * shares a port, devices and marks. */
#include "tests/shim/oracle/oracle.h"

/* A connection without data is not told until the time is over. */
static void defer_accept(void)
{
	int port, l = listener(&port), value, c;
	static const int asked[] = { 0, 1, 2, 3, 5, 7, 20 };
	socklen_t len = sizeof(value);
	char buf[10];

	for (unsigned i = 0; i < sizeof(asked) / sizeof(asked[0]); i++) {
		setsockopt(l, IPPROTO_TCP, TCP_DEFER_ACCEPT, &asked[i], sizeof(int));
		getsockopt(l, IPPROTO_TCP, TCP_DEFER_ACCEPT, &value, &len);
		say("%d:%d", asked[i], value);
	}
	value = 10;
	setsockopt(l, IPPROTO_TCP, TCP_DEFER_ACCEPT, &value, sizeof(int));
	c = ask("connect %d rst 1000\n", port);
	usleep(300000);
	say("silent=%d", poll(&(struct pollfd){ l, POLLIN, 0 }, 1, 0));
	close(c);
	c = ask("connect %d send 3\n", port);
	wait_for(l, POLLIN);
	c = accept(l, NULL, NULL);
	say("first=%zd", recv(c, buf, sizeof(buf), MSG_DONTWAIT));
}

/* Four sockets on a port: every connection reaches one, and none is left out of many. */
static void reuseport(void)
{
	int l[4], one = 1, n[4] = { 0 }, total = 0, fd = tcp();
	struct sockaddr_in a = o.mine;
	socklen_t len = sizeof(a);

	a.sin_port = 0;
	result("set", setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof(one)));
	result("bind", bind(fd, (struct sockaddr *)&a, len));
	getsockname(fd, (struct sockaddr *)&a, &len);
	for (int i = 0; i < 4; i++) {
		l[i] = i ? tcp() : fd;
		setsockopt(l[i], SOL_SOCKET, SO_REUSEPORT, &one, sizeof(one));
		if (i)
			result("bind", bind(l[i], (struct sockaddr *)&a, len));
		listen(l[i], 64);
		fcntl(l[i], F_SETFL, O_NONBLOCK);
	}
	result("without", bind(tcp(), (struct sockaddr *)&a, len));
	for (int k = 0; k < 48; k++)
		close(ask("connect %d echo\n", ntohs(a.sin_port)));
	for (int tries = 0; total < 48 && tries < 200; tries++) {
		for (int i = 0; i < 4; i++)
			for (int c; (c = accept(l[i], NULL, NULL)) >= 0; total++, n[i]++)
				close(c);
		usleep(10000);
	}
	say("total=%d", total);
	for (int i = 0; i < 4; i++)
		say("%s", n[i] > 0 && n[i] < 40 ? "share" : "uneven");
}

static void devices_and_marks(void)
{
	int fd = tcp(), c = ask("echo\n"), value = 0;
	socklen_t len = 16;
	char name[17] = "";

	result("bound", getsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, name, &len));
	say("len=%u", len);
	result("nowhere", setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, "nosuch0", 8));
	result("empty", setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, "", 0));
	value = 7;
	result("mark", setsockopt(c, SOL_SOCKET, SO_MARK, &value, sizeof(value)));
	len = sizeof(value);
	value = 0;
	result("mark", getsockopt(c, SOL_SOCKET, SO_MARK, &value, &len));
	say("%d", value);
	value = 60;
	result("minttl", setsockopt(c, IPPROTO_IP, 21 /* IP_MINTTL */, &value, sizeof(value)));
	value = 0;
	result("minttl", getsockopt(c, IPPROTO_IP, 21, &value, &len));
	say("%d", value);
	result("tos byte", setsockopt(c, IPPROTO_IP, IP_TOS, &(char){ 0x10 }, 1));
	len = 1;
	value = 0;
	result("tos", getsockopt(c, IPPROTO_IP, IP_TOS, &value, &len));
	say("%d/%u", value, len);
	result("ttl byte", setsockopt(c, IPPROTO_IP, IP_TTL, &(char){ 33 }, 1));
	result("tos ecn", setsockopt(c, IPPROTO_IP, IP_TOS, &(int){ 0xff }, 4));
	len = 4;
	result("tos", getsockopt(c, IPPROTO_IP, IP_TOS, &value, &len));
	say("%d/%u", value, len);
}

/* The peer does not answer any more: the time is the application's. */
static void user_timeout(void)
{
	int c = ask("rst 4000\n"), ms = 700, e = 0;
	socklen_t len = sizeof(e);

	usleep(50000);
	setsockopt(c, IPPROTO_TCP, TCP_USER_TIMEOUT, &ms, sizeof(ms));
	send(c, "!DROP", 5, 0);
	say("events=%d", wait_for(c, POLLIN) & (POLLERR | POLLHUP | POLLIN));
	getsockopt(c, SOL_SOCKET, SO_ERROR, &e, &len);
	say("error=%s", errno_name(e));
}

const struct test cases_audit[] = {
	{ "audit: TCP_DEFER_ACCEPT", defer_accept }, { "audit: SO_REUSEPORT", reuseport },
	{ "audit: devices, marks, IP", devices_and_marks },
	{ "audit: TCP_USER_TIMEOUT", user_timeout }, { NULL, NULL },
};
