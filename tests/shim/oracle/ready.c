/* ready.c – what poll and epoll say, in every state; timeouts; signals. */
#include "tests/shim/oracle/oracle.h"

#include <pthread.h>
#include <sys/select.h>
#include <time.h>

static long ms_since(const struct timespec *from)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (t.tv_sec - from->tv_sec) * 1000 + (t.tv_nsec - from->tv_nsec) / 1000000;
}

static void states(void)
{
	int fd = tcp(), port, l, c;
	char buf[1000];

	flags("fresh", fd);
	l = listener(&port);
	flags("listening", l);
	ask("connect %d echo\n", port);
	wait_for(l, POLLIN);
	flags("pending", l);
	c = accept(l, NULL, NULL);
	flags("accepted", c);
	flags("none pending", l);
	c = ask("send 100\n");
	wait_for(c, POLLIN);
	usleep(20000);
	flags("data", c);
	result("read", read(c, buf, sizeof(buf)));
	flags("read", c);
	shutdown(c, SHUT_WR);
	wait_for(c, POLLRDHUP);
	usleep(20000);
	flags("both ended", c);
	result("read", read(c, buf, sizeof(buf)));
	flags("end read", c);
}

static void peer_ends(void)
{
	int c = ask("half 10\n");
	char buf[100];

	wait_for(c, POLLRDHUP);
	flags("end with data", c);
	result("read", read(c, buf, sizeof(buf)));
	flags("end", c);
	result("read", read(c, buf, sizeof(buf)));
	flags("end read", c);
	result("write", write(c, "x", 1));
	flags("written", c);
	shutdown(c, SHUT_WR);
	usleep(100000);
	flags("both", c);
}

static void we_end(void)
{
	int c = ask("send 10\n");
	char buf[100];

	wait_for(c, POLLIN);
	shutdown(c, SHUT_RD);
	flags("SHUT_RD", c);
	result("read", read(c, buf, sizeof(buf)));
	result("read", read(c, buf, sizeof(buf)));
	result("write", send(c, "x", 1, MSG_NOSIGNAL));
	c = ask("echo\n");
	shutdown(c, SHUT_RDWR);
	wait_for(c, POLLIN);
	usleep(50000);
	flags("SHUT_RDWR", c);
	result("read", read(c, buf, sizeof(buf)));
	result("write", send(c, "x", 1, MSG_NOSIGNAL));
	result("shutdown", shutdown(c, SHUT_WR));
}

static void is_reset(void)
{
	int c = ask("rst 50\n");

	wait_for(c, POLLIN);
	usleep(20000);
	flags("reset", c);
	result("read", read(c, &c, 1));
}

static void full(void)
{
	static char buf[65536];
	int c = ask("hold 400\n");
	long total = 0;
	ssize_t r;

	fcntl(c, F_SETFL, O_NONBLOCK);
	for (int again = 0; again < 2; again++) {	/* what was on the wire has arrived the second time */
		while ((r = write(c, buf, sizeof(buf))) > 0)
			total += r;
		usleep(again ? 0 : 100000);
	}
	result("full", r);
	say("some=%d", total > 65536);
	flags("full", c);
	say("%s", wait_for(c, POLLOUT) & POLLOUT ? "room again" : "no room");
	r = write(c, buf, sizeof(buf));
	say("write=%d", r > 0);
}

static void edge(void)
{
	struct epoll_event e = { .events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET }, got;
	int c = ask("slow 3 60\n"), ep = epoll_create1(0), events = 0, reads = 0;
	char buf[100];

	fcntl(c, F_SETFL, O_NONBLOCK);
	epoll_ctl(ep, EPOLL_CTL_ADD, c, &e);
	while (reads < 3 && epoll_wait(ep, &got, 1, 3000) == 1) {
		events++;
		while (read(c, buf, 1) > 0)
			reads++;
	}
	say("reads=%d", reads);
	say("idle=%d", epoll_wait(ep, &got, 1, 50));
	result("add again", epoll_ctl(ep, EPOLL_CTL_ADD, c, &e));
	result("mod", epoll_ctl(ep, EPOLL_CTL_MOD, c, &e));
	say("after mod=%d", epoll_wait(ep, &got, 1, 50));
	result("del", epoll_ctl(ep, EPOLL_CTL_DEL, c, NULL));
	result("del again", epoll_ctl(ep, EPOLL_CTL_DEL, c, NULL));
}

static void oneshot(void)
{
	struct epoll_event e = { .events = EPOLLIN | EPOLLONESHOT, .data.u64 = 77 }, got = { 0 };
	int c = ask("slow 4 40\n"), ep = epoll_create1(0);
	char buf[100];

	epoll_ctl(ep, EPOLL_CTL_ADD, c, &e);
	say("first=%d", epoll_wait(ep, &got, 1, 2000));
	say("data=%d", (int)got.data.u64);
	read(c, buf, 1);
	say("disarmed=%d", epoll_wait(ep, &got, 1, 200));
	epoll_ctl(ep, EPOLL_CTL_MOD, c, &e);
	say("armed=%d", epoll_wait(ep, &got, 1, 2000));
}

static void selecting(void)
{
	int c = ask("send 5\n");
	struct timeval tv = { 3, 0 };
	fd_set in, out, ex;

	FD_ZERO(&in);
	FD_ZERO(&out);
	FD_ZERO(&ex);
	FD_SET(c, &in);
	FD_SET(c, &ex);
	say("in=%d", select(c + 1, &in, NULL, &ex, &tv));
	say("%d%d", !!FD_ISSET(c, &in), !!FD_ISSET(c, &ex));
	read(c, &tv, 5);
	tv = (struct timeval){ 0, 100000 };
	FD_SET(c, &in);
	say("none=%d", select(c + 1, &in, NULL, NULL, &tv));
	say("left=%ld", (long)tv.tv_usec);
	FD_SET(c, &out);
	say("out=%d", select(c + 1, NULL, &out, NULL, NULL));
}

static void times(void)
{
	struct timeval tv = { 0, 200000 };
	int c = ask("echo\n"), port, l = listener(&port), h = ask("hold 3000\n");
	static char big[1 << 20];
	struct timespec from;
	char b;

	setsockopt(c, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
	clock_gettime(CLOCK_MONOTONIC, &from);
	result("recv", recv(c, &b, 1, 0));
	say("%s", ms_since(&from) >= 190 && ms_since(&from) < 1000 ? "in time" : "at the wrong time");
	setsockopt(l, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
	clock_gettime(CLOCK_MONOTONIC, &from);
	result("accept", accept(l, NULL, NULL));
	say("%s", ms_since(&from) >= 190 && ms_since(&from) < 1000 ? "in time" : "at the wrong time");
	setsockopt(h, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof(tv));
	clock_gettime(CLOCK_MONOTONIC, &from);
	for (int i = 0; i < 20; i++) {
		ssize_t r = send(h, big, sizeof(big), MSG_NOSIGNAL);

		if (r < 0) {
			result("send", r);
			break;
		}
	}
	say("%s", ms_since(&from) >= 190 && ms_since(&from) < 2500 ? "in time" : "at the wrong time");
}

static volatile int signals;
static void on_signal(int n) { (void)n; signals++; }

static void *kick(void *arg)
{
	usleep(100000);
	pthread_kill(*(pthread_t *)arg, SIGUSR1);
	return NULL;
}

/* A call that blocks, and a signal after 100 ms. */
static void interrupted(bool restart)
{
	struct sigaction sa = { .sa_handler = on_signal, .sa_flags = restart ? SA_RESTART : 0 };
	pthread_t me = pthread_self(), t;
	int c, port, l = listener(&port);
	static char big[1 << 22];
	struct pollfd p;
	ssize_t r;
	char b;

	sigaction(SIGUSR1, &sa, NULL);
	c = ask("slow 1 1\n");
	recv(c, &b, 1, 0);
	pthread_create(&t, NULL, kick, &me);
	p = (struct pollfd){ c, POLLIN, 0 };
	result("poll", poll(&p, 1, 400));
	pthread_join(t, NULL);
	c = ask("connect %d slow 1 300\n", port);
	pthread_create(&t, NULL, kick, &me);
	if (restart)
		say("accept=%d", accept(l, NULL, NULL) >= 0);
	pthread_join(t, NULL);
	close(l);
	if (!restart) {
		int l2 = listener(&port);

		pthread_create(&t, NULL, kick, &me);
		result("accept", accept(l2, NULL, NULL));
		pthread_join(t, NULL);
	}
	c = ask("hold 300\n");
	pthread_create(&t, NULL, kick, &me);
	r = send(c, big, sizeof(big), 0);
	say("send=%s", r < 0 ? errno_name(errno) : r == (ssize_t)sizeof(big) ? "all" : "some");
	pthread_join(t, NULL);
	say("signals=%d", signals);
}

static void without_restart(void)
{
	struct sigaction sa = { .sa_handler = on_signal };
	pthread_t me = pthread_self(), t;
	int c = ask("hold 2000\n");
	char b;

	sigaction(SIGUSR1, &sa, NULL);
	pthread_create(&t, NULL, kick, &me);
	result("recv", recv(c, &b, 1, 0));
	pthread_join(t, NULL);
	interrupted(false);
}

static void with_restart(void)
{
	struct sigaction sa = { .sa_handler = on_signal, .sa_flags = SA_RESTART };
	pthread_t me = pthread_self(), t;
	int c = ask("hold 1\n"), port, l = listener(&port);
	char b;

	(void)c;
	(void)l;
	sigaction(SIGUSR1, &sa, NULL);
	c = ask("slow 2 250\n");
	recv(c, &b, 1, 0);
	pthread_create(&t, NULL, kick, &me);
	result("recv", recv(c, &b, 1, 0));
	pthread_join(t, NULL);
	interrupted(true);
}

static void broken_pipe(void)
{
	struct sigaction sa = { .sa_handler = on_signal };
	int c = ask("echo\n");

	sigaction(SIGPIPE, &sa, NULL);
	shutdown(c, SHUT_WR);
	result("write", write(c, "x", 1));
	say("signals=%d", signals);
	result("nosignal", send(c, "x", 1, MSG_NOSIGNAL));
	say("signals=%d", signals);
	c = ask("rst 1\n");
	wait_for(c, POLLIN);
	usleep(20000);
	result("reset write", write(c, "x", 1));
	result("reset write", write(c, "x", 1));
	say("signals=%d", signals);
}

static int shared;
static void *shut(void *arg)
{
	usleep(100000);
	shutdown(shared, (int)(intptr_t)arg);
	return NULL;
}

/* Another thread ends what this one waits on. */
static void shut_while_waiting(void)
{
	pthread_t t;
	int port;
	char b;

	shared = ask("echo\n");
	pthread_create(&t, NULL, shut, (void *)(intptr_t)SHUT_RDWR);
	result("recv", recv(shared, &b, 1, 0));
	pthread_join(t, NULL);
	shared = ask("hold 3000\n");
	pthread_create(&t, NULL, shut, (void *)(intptr_t)SHUT_RD);
	result("recv rd", recv(shared, &b, 1, 0));
	pthread_join(t, NULL);
	shared = listener(&port);
	pthread_create(&t, NULL, shut, (void *)(intptr_t)SHUT_RDWR);
	result("accept", accept(shared, NULL, NULL));
	pthread_join(t, NULL);
	flags("listener", shared);
	result("listen", listen(shared, 3));
}

const struct test cases_ready[] = {
	{ "ready: states", states }, { "ready: the peer ends", peer_ends }, { "ready: we end", we_end }, { "ready: reset", is_reset },
	{ "ready: full", full }, { "ready: edge", edge }, { "ready: oneshot", oneshot }, { "ready: select", selecting },
	{ "time: SO_RCVTIMEO, SO_SNDTIMEO", times }, { "signal: EINTR", without_restart }, { "signal: SA_RESTART", with_restart },
	{ "signal: SIGPIPE", broken_pipe }, { "thread: shutdown while waiting", shut_while_waiting }, { NULL, NULL },
};
