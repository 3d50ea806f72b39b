/* errors.c – ICMP errors: what fails a connect, what a connection is told, IP_RECVERR and the error queue.
 *
 * tests/live/oracle.py has the peer's netfilter refuse: ports 701 host, 702 port, 703 net unreachable, 704 administratively
 * prohibited, 705 protocol unreachable; and of every connection the segments that begin with "!HOST" or "!PORT". */
#include "tests/shim/oracle/oracle.h"

#include <time.h>
#include <linux/errqueue.h>

static struct sockaddr_in port_of_peer(int port)
{
	struct sockaddr_in a = o.peer;

	a.sin_port = htons((uint16_t)port);
	return a;
}

/* One entry, every field. */
static void queue(const char *what, int fd, size_t room, size_t control_room)
{
	struct sockaddr_in from = { 0 }, *offender;
	struct sock_extended_err ee;
	char data[100], control[200];
	struct iovec v = { data, room };
	struct msghdr m = { .msg_name = &from, .msg_namelen = sizeof(from), .msg_iov = &v, .msg_iovlen = 1, .msg_control = control,
			    .msg_controllen = control_room };
	ssize_t n = recvmsg(fd, &m, MSG_ERRQUEUE);
	struct cmsghdr *c;

	result(what, n);
	if (n < 0)
		return;
	say("flags=%s%s%s", m.msg_flags & MSG_ERRQUEUE ? "Q" : "", m.msg_flags & MSG_TRUNC ? "T" : "", m.msg_flags & MSG_CTRUNC ? "C" : "");
	say("name=%u/%d/%s", m.msg_namelen, from.sin_family, from.sin_addr.s_addr == o.peer.sin_addr.s_addr ? "peer" : "other");
	say("port=%d", ntohs(from.sin_port));
	if (room >= 4)
		say("quote=%d", (uint8_t)data[2] << 8 | (uint8_t)data[3]);
	c = CMSG_FIRSTHDR(&m);
	if (!c) {
		say("no control");
		return;
	}
	say("control=%d/%d/%s", c->cmsg_level, c->cmsg_type, c->cmsg_len == CMSG_LEN(sizeof(ee) + sizeof(*offender)) ? "whole" : "cut");
	if (c->cmsg_len < CMSG_LEN(sizeof(ee) + sizeof(*offender)))
		return;
	memcpy(&ee, CMSG_DATA(c), sizeof(ee));
	offender = (struct sockaddr_in *)SO_EE_OFFENDER((struct sock_extended_err *)CMSG_DATA(c));
	say("%s origin=%d type=%d code=%d info=%u data=%u", errno_name((int)ee.ee_errno), ee.ee_origin, ee.ee_type, ee.ee_code, ee.ee_info,
	    ee.ee_data);
	say("offender=%d/%s", offender->sin_family, offender->sin_addr.s_addr == o.peer.sin_addr.s_addr ? "peer" : "other");
}

static void pending(const char *what, int fd)
{
	int e = -1;
	socklen_t len = sizeof(e);

	getsockopt(fd, SOL_SOCKET, SO_ERROR, &e, &len);
	say("%s=%s", what, e ? errno_name(e) : "0");
}

static void poll_says(const char *what, int fd)
{
	struct pollfd p = { fd, POLLIN, 0 };
	int n = poll(&p, 1, 0);

	say("%s=%d%s%s", what, n, p.revents & POLLERR ? "|ERR" : "", p.revents & POLLPRI ? "|PRI" : "");
}

/* Nobody waits for what will never arrive. */
static void abandon(int fd)
{
	struct linger now = { 1, 0 };

	setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
	close(fd);
}

/* Each kind of unreachable, without and with IP_RECVERR. */
static void connects(void)
{
	for (int port = 701; port <= 705; port++)
		for (int recverr = 0; recverr < 2; recverr++) {
			struct sockaddr_in a = port_of_peer(port);
			int fd = tcp();

			setsockopt(fd, IPPROTO_IP, IP_RECVERR, &recverr, sizeof(recverr));
			result("connect", connect(fd, (struct sockaddr *)&a, sizeof(a)));
			pending("pending", fd);
			queue("queue", fd, 100, 200);
			queue("again", fd, 100, 200);
			close(fd);
		}
}

/* Who reads the queue takes the pending error along; poll shows ERR while either is there. */
static void nonblocking(void)
{
	for (int first = 0; first < 2; first++) {
		struct sockaddr_in a = port_of_peer(701);
		int fd = tcp(), one = 1;

		fcntl(fd, F_SETFL, O_NONBLOCK);
		setsockopt(fd, IPPROTO_IP, IP_RECVERR, &one, sizeof(one));
		result("connect", connect(fd, (struct sockaddr *)&a, sizeof(a)));
		wait_for(fd, POLLOUT);
		poll_says("poll", fd);
		if (first)
			pending("pending", fd);
		poll_says("poll", fd);
		queue("queue", fd, 100, 200);
		poll_says("poll", fd);
		pending("pending", fd);
		result("recv", recv(fd, &(char){ 0 }, 1, MSG_DONTWAIT));
		close(fd);
	}
}

/* A second attempt on the same socket adds a second entry. Short buffers. The option switched off. */
static void queue_rules(void)
{
	struct sockaddr_in a = port_of_peer(701), b = port_of_peer(702);
	int fd = tcp(), one = 1, zero = 0, value = 0;
	socklen_t len = sizeof(value);
	char c;

	result("fresh", recv(fd, &c, 1, MSG_ERRQUEUE));
	setsockopt(fd, IPPROTO_IP, IP_RECVERR, &one, sizeof(one));
	getsockopt(fd, IPPROTO_IP, IP_RECVERR, &value, &len);
	say("option=%d", value);
	result("connect", connect(fd, (struct sockaddr *)&a, sizeof(a)));
	result("connect", connect(fd, (struct sockaddr *)&b, sizeof(b)));
	queue("first", fd, 10, 200);
	queue("second", fd, 100, CMSG_LEN(10));
	result("connect", connect(fd, (struct sockaddr *)&a, sizeof(a)));
	queue("no control", fd, 100, 0);
	result("connect", connect(fd, (struct sockaddr *)&a, sizeof(a)));
	setsockopt(fd, IPPROTO_IP, IP_RECVERR, &zero, sizeof(zero));
	queue("off", fd, 100, 200);
	setsockopt(fd, IPPROTO_IP, IP_RECVERR, &one, sizeof(one));
	connect(fd, (struct sockaddr *)&a, sizeof(a));
	result("recv", recv(fd, &c, 1, MSG_ERRQUEUE));
}

/* A live connection: soft without IP_RECVERR, told once with it; bytes still arrive, and it goes on. */
static void connection(void)
{
	for (int recverr = 0; recverr < 2; recverr++)
		for (int i = 0; i < 2; i++) {
			int fd = ask("echo\n");
			char buf[20];

			usleep(50000);		/* what begins so must begin a segment */
			setsockopt(fd, IPPROTO_IP, IP_RECVERR, &recverr, sizeof(recverr));
			result("send", send(fd, i ? "!PORT" : "!HOST", 5, 0));
			usleep(150000);
			poll_says("poll", fd);
			result("recv", recv(fd, buf, sizeof(buf), MSG_DONTWAIT));
			result("again", recv(fd, buf, sizeof(buf), MSG_DONTWAIT));
			pending("pending", fd);
			pending("again", fd);
			queue("queue", fd, 100, 200);
			usleep(600000);		/* retransmissions meet it again */
			pending("later", fd);
			abandon(fd);
		}
}


/* A reader that blocks is woken by the error. */
static void blocked_reader(void)
{
	int fd = ask("echo\n"), one = 1;
	pid_t child;
	char c;

	setsockopt(fd, IPPROTO_IP, IP_RECVERR, &one, sizeof(one));
	child = fork();
	if (!child) {
		usleep(150000);
		send(fd, "!HOST", 5, 0);
		_exit(0);
	}
	result("recv", recv(fd, &c, 1, 0));
	waitpid(child, NULL, 0);
	abandon(fd);
}

const struct test cases_errors[] = {
	{ "errors: connect", connects }, { "errors: connect without blocking", nonblocking }, { "errors: the queue", queue_rules },
	{ "errors: of a connection", connection }, { "errors: a blocked reader", blocked_reader }, { NULL, NULL },
};
