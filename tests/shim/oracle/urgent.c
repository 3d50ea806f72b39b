/* urgent.c – urgent data both ways: MSG_OOB, the mark, SO_OOBINLINE, POLLPRI, SIGURG. */
#include "tests/shim/oracle/oracle.h"

#include <sys/select.h>

static volatile sig_atomic_t urgent_signals;

static void on_urg(int sig) { urgent_signals++; }

static void text(const char *what, ssize_t n, const char *buf)
{
	if (n < 0)
		result(what, n);
	else
		say("%s=%zd:%.*s", what, n, (int)n, buf);
}

static void look(const char *what, int c)
{
	struct pollfd p = { c, POLLIN | POLLPRI, 0 };
	int mark = -1, in = -1;

	poll(&p, 1, 0);
	ioctl(c, SIOCATMARK, &mark);
	ioctl(c, FIONREAD, &in);
	say("%s:%s%s mark=%d in=%d", what, p.revents & POLLIN ? "IN" : "", p.revents & POLLPRI ? "PRI" : "", mark, in);
}

/* abc ! abc, the urgent byte read with MSG_OOB when the mark is reached. */
static void out_of_line(void)
{
	int c = ask("urgent 3 3\n");
	char buf[20];

	usleep(250000);
	look("before", c);
	text("read", recv(c, buf, sizeof(buf), MSG_DONTWAIT), buf);
	look("at mark", c);
	text("oob peek", recv(c, buf, sizeof(buf), MSG_OOB | MSG_PEEK), buf);
	text("oob", recv(c, buf, sizeof(buf), MSG_OOB), buf);
	text("oob again", recv(c, buf, sizeof(buf), MSG_OOB), buf);
	look("taken", c);
	text("read", recv(c, buf, sizeof(buf), MSG_DONTWAIT), buf);
	look("past", c);
	text("read", recv(c, buf, sizeof(buf), MSG_DONTWAIT), buf);
}

/* Taken first, then the stream: it stops at the mark once. */
static void taken_first(void)
{
	int c = ask("urgent 3 3\n");
	char buf[20], control[100];
	struct iovec v = { buf, sizeof(buf) };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control) };

	usleep(250000);
	result("oob", recvmsg(c, &m, MSG_OOB));
	say("flags=%d", m.msg_flags & (MSG_OOB | MSG_TRUNC));
	look("taken", c);
	text("read all", recv(c, buf, 6, MSG_WAITALL), buf);
	text("peek", recv(c, buf, sizeof(buf), MSG_PEEK | MSG_DONTWAIT), buf);
	text("read", recv(c, buf, sizeof(buf), MSG_DONTWAIT), buf);
	text("oob", recv(c, buf, sizeof(buf), MSG_OOB), buf);
}

/* Nobody asks for it: it is not in the stream, and gone when the stream has passed it. */
static void ignored(void)
{
	int c = ask("urgent 3 3\n");
	char buf[20];

	usleep(250000);
	text("read", recv(c, buf, sizeof(buf), MSG_DONTWAIT), buf);
	text("read", recv(c, buf, sizeof(buf), MSG_DONTWAIT), buf);
	look("past", c);
	text("oob", recv(c, buf, sizeof(buf), MSG_OOB), buf);
}

static void in_line(void)
{
	int c = ask("urgent 3 3\n"), one = 1;
	char buf[20];

	setsockopt(c, SOL_SOCKET, SO_OOBINLINE, &one, sizeof(one));
	usleep(250000);
	look("before", c);
	text("oob", recv(c, buf, sizeof(buf), MSG_OOB), buf);
	text("read", recv(c, buf, sizeof(buf), MSG_DONTWAIT), buf);
	look("at mark", c);
	text("read", recv(c, buf, sizeof(buf), MSG_DONTWAIT), buf);
	look("past", c);
}

/* Alone: no IN. Then the end of the stream. */
static void alone(void)
{
	int c = ask("urgent 0 0\n");
	struct epoll_event e = { .events = EPOLLIN | EPOLLPRI }, got = { 0 };
	int ep = epoll_create1(EPOLL_CLOEXEC), n;
	fd_set in, ex;
	char buf[20];

	usleep(250000);
	look("there", c);
	epoll_ctl(ep, EPOLL_CTL_ADD, c, &e);
	n = epoll_wait(ep, &got, 1, 1000);
	say("epoll=%d%s%s", n, got.events & EPOLLIN ? "IN" : "", got.events & EPOLLPRI ? "PRI" : "");
	FD_ZERO(&in);
	FD_ZERO(&ex);
	FD_SET(c, &in);
	FD_SET(c, &ex);
	n = select(c + 1, &in, NULL, &ex, &(struct timeval){ 1, 0 });
	say("select=%d%s%s", n, FD_ISSET(c, &in) ? "IN" : "", FD_ISSET(c, &ex) ? "EX" : "");
	text("oob", recv(c, buf, sizeof(buf), MSG_OOB), buf);
	n = epoll_wait(ep, &got, 1, 50);
	say("epoll=%d", n);
	look("taken", c);
	shutdown(c, SHUT_WR);
	text("read", recv(c, buf, sizeof(buf), 0), buf);
}

static void signalled(void)
{
	struct sigaction sa = { .sa_handler = on_urg };
	int c;
	char buf[20];

	sigaction(SIGURG, &sa, NULL);
	c = ask("urgent 3 3\n");
	result("owner", fcntl(c, F_SETOWN, getpid()));
	for (int i = 0; i < 10 && !urgent_signals; i++)
		usleep(50000);
	say("signals=%d", (int)urgent_signals);
	usleep(200000);
	text("oob", recv(c, buf, sizeof(buf), MSG_OOB), buf);
}

/* What the peer sees of ours. */
static void sent(void)
{
	int c = ask("tell\n");
	char buf[200];

	usleep(50000);
	result("before", send(c, "abc", 3, 0));
	usleep(50000);
	result("urgent", send(c, "xyz", 3, MSG_OOB));	/* the last byte of it is urgent */
	usleep(50000);
	result("after", send(c, "def", 3, 0));
	shutdown(c, SHUT_WR);
	text("peer", recv(c, buf, sizeof(buf), MSG_WAITALL), buf);
	c = ask("tell\n");
	usleep(50000);
	result("lone", send(c, "!", 1, MSG_OOB));
	usleep(50000);
	shutdown(c, SHUT_WR);
	text("peer", recv(c, buf, sizeof(buf), MSG_WAITALL), buf);
	result("fresh", send(tcp(), "!", 1, MSG_OOB | MSG_NOSIGNAL));
	result("fresh", recv(tcp(), buf, 1, MSG_OOB));
}

const struct test cases_urgent[] = {
	{ "urgent: out of line", out_of_line }, { "urgent: taken first", taken_first }, { "urgent: ignored", ignored },
	{ "urgent: in line", in_line }, { "urgent: alone", alone }, { "urgent: SIGURG", signalled }, { "urgent: sent", sent },
	{ NULL, NULL },
};
