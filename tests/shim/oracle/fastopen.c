/* fastopen.c – Fast Open (RFC 7413): connect and send in one call, connects that wait for bytes, listeners. */
#include "tests/shim/oracle/oracle.h"

#define SYN_DATA 32	/* TCPI_OPT_SYN_DATA */

static int options_of(int fd)
{
	struct tcp_info i = { 0 };
	socklen_t len = sizeof(i);

	getsockopt(fd, IPPROTO_TCP, TCP_INFO, &i, &len);
	return i.tcpi_options & SYN_DATA;
}

static long fast(int fd, const char *text, int more)
{
	return sendto(fd, text, strlen(text), MSG_FASTOPEN | MSG_NOSIGNAL | more, (struct sockaddr *)&o.peer, sizeof(o.peer));
}

static void answer(const char *what, int fd)
{
	char b[4] = "";

	result(what, recv(fd, b, 3, MSG_WAITALL));
	say("%s syn=%d", b, options_of(fd));
}

static void send_to(void)
{
	struct sockaddr_in a = o.peer;
	int fd = tcp();

	result("first", fast(fd, "echo\nabc", 0));	/* asks for the cookie, if none is known */
	answer("recv", fd);
	result("again", fast(fd, "x", 0));
	fd = tcp();
	result("second", fast(fd, "echo\ndef", 0));
	answer("recv", fd);
	fd = tcp();
	result("nothing", fast(fd, "", 0));
	result("then", send(fd, "echo\nghi", 8, 0));
	answer("recv", fd);
	fd = tcp();
	fcntl(fd, F_SETFL, O_NONBLOCK);
	result("nonblock", fast(fd, "echo\njkl", 0));
	wait_for(fd, POLLIN);
	answer("recv", fd);
	fd = tcp();
	result("dontwait", fast(fd, "echo\nmno", MSG_DONTWAIT));
	answer("recv", fd);
	result("no address", send(tcp(), "x", 1, MSG_FASTOPEN | MSG_NOSIGNAL));
	a.sin_family = AF_UNSPEC;
	result("unspec", sendto(tcp(), "x", 1, MSG_FASTOPEN | MSG_NOSIGNAL, (struct sockaddr *)&a, sizeof(a)));
	a = o.peer;
	a.sin_port = htons(1);
	result("refused", sendto(tcp(), "x", 1, MSG_FASTOPEN | MSG_NOSIGNAL, (struct sockaddr *)&a, sizeof(a)));
	result("short", sendto(tcp(), "x", 1, MSG_FASTOPEN | MSG_NOSIGNAL, (struct sockaddr *)&a, 4));
	result("connected", fast(ask("echo\n"), "x", 0));
}

/* connect() says yes and nothing leaves; the SYN goes with the first bytes. */
static void deferred(void)
{
	int one = 1, v = -1, fd = tcp();
	struct sockaddr_in a;
	socklen_t len = sizeof(v);

	fast(fd, "echo\n", 0);		/* the cookie */
	close(fd);
	fd = tcp();
	result("set", setsockopt(fd, IPPROTO_TCP, TCP_FASTOPEN_CONNECT, &one, sizeof(one)));
	getsockopt(fd, IPPROTO_TCP, TCP_FASTOPEN_CONNECT, &v, &len);
	say("get=%d", v);
	result("connect", connect(fd, (struct sockaddr *)&o.peer, sizeof(o.peer)));
	flags("deferred", fd);
	len = sizeof(a);
	result("peer", getpeername(fd, (struct sockaddr *)&a, &len));
	result("write", write(fd, "echo\nabc", 8));
	answer("recv", fd);
	result("peer", getpeername(fd, (struct sockaddr *)&a, &len));
	result("set", setsockopt(fd, IPPROTO_TCP, TCP_FASTOPEN_CONNECT, &one, sizeof(one)));
	result("more", send(fd, "def", 3, 0));
	answer("recv", fd);
	fd = tcp();
	fcntl(fd, F_SETFL, O_NONBLOCK);
	setsockopt(fd, IPPROTO_TCP, TCP_FASTOPEN_CONNECT, &one, sizeof(one));
	result("connect", connect(fd, (struct sockaddr *)&o.peer, sizeof(o.peer)));
	result("recv", recv(fd, &v, 1, MSG_DONTWAIT));
	result("send", send(fd, "echo\nghi", 8, 0));
	wait_for(fd, POLLIN);
	answer("recv", fd);
	fd = tcp();
	setsockopt(fd, IPPROTO_TCP, TCP_FASTOPEN_CONNECT, &one, sizeof(one));
	result("connect", connect(fd, (struct sockaddr *)&o.peer, sizeof(o.peer)));
	result("close", close(fd));	/* and nobody hears of it */
}

static void listening(void)
{
	int port, l = listener(&port), v = 5, c, via;
	socklen_t len = sizeof(v);
	char b[8] = "";

	result("set", setsockopt(l, IPPROTO_TCP, TCP_FASTOPEN, &v, sizeof(v)));
	v = -1;
	getsockopt(l, IPPROTO_TCP, TCP_FASTOPEN, &v, &len);
	say("get=%d", v);
	v = -5;
	result("negative", setsockopt(l, IPPROTO_TCP, TCP_FASTOPEN, &v, sizeof(v)));
	for (int i = 0; i < 3; i++) {		/* the first of them asks for the cookie */
		via = ask("fast %d abcd\n", port);
		wait_for(l, POLLIN);
		c = accept4(l, NULL, NULL, SOCK_CLOEXEC);
		result("recv", recv(c, b, 4, MSG_WAITALL));
		say("%s syn=%d", b, options_of(c));
		result("send", send(c, "efgh", 4, MSG_NOSIGNAL));
		result("back", recv(via, b, 4, MSG_WAITALL));
		say("%s", b);
		v = 3;
		result("set", setsockopt(c, IPPROTO_TCP, TCP_FASTOPEN, &v, sizeof(v)));
		close(c);
		close(via);
	}
}

const struct test cases_fastopen[] = {
	{ "fast open: sendto", send_to }, { "fast open: deferred connect", deferred }, { "fast open: listener", listening }, { NULL, NULL },
};
