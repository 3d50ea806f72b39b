/* stress_procs.c – the processes that are killed: a stack that receives or sends, applications that read or write. */
#include <poll.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#include "tests/shim/stress.h"

static u32 seed;

void rnd_seed(u32 s) { seed = s; }

u32 rnd(u32 n)
{
	seed = seed * 1103515245u + 12345u;
	return (seed >> 8) % n;
}

u64 now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (u64)t.tv_sec * NSEC_PER_SEC + (u64)t.tv_nsec;
}

void stress_point(void)
{
	if (rnd(8) == 0)
		usleep(rnd(100));
}

/* ---- received bytes say where they are: the word at offset 4n is n ---- */

static u8 byte_at(u64 off)
{
	return (u8)((u32)(off / 4) >> (off % 4 * 8));
}

/* Are these bytes one unbroken piece of the stream? Short ones cannot tell. */
static bool unbroken(const u8 *p, size_t n)
{
	if (n < 16)
		return true;
	for (u32 a = 0; a < 4; a++) {
		u32 word;
		u64 off;
		size_t i;

		memcpy(&word, p + a, 4);
		off = (u64)word * 4 - a;
		for (i = 0; i < n && p[i] == byte_at(off + i); i++)
			;
		if (i == n)
			return true;
	}
	return false;
}

static void rest(void)
{
	u32 w = rnd(20);

	if (w == 0)
		usleep(rnd(200));
	else if (w < 6)
		sched_yield();
}

/* Bursts, then nothing until everything has been read: a lost wake-up is not healed by the next byte. */
void stack_rx(struct scenario *s)
{
	struct arena_client *ac = container_of(s->stack.c, struct arena_client, sk[SLOT]);
	struct ready r;
	u16 kick = load_relaxed(&ac->kick[SLOT]);
	u32 burst = 0;

	rnd_seed((u32)getpid() * 7919 + (u32)now_ns());
	ready_attach(&r, &s->stack, s->far);
	for (;;) {
		u64 head = load_relaxed(&s->stack.s->rx_head), space = RING - (head - atomic_load(&s->stack.c->rx_tail));
		u32 n = rnd(4) ? rnd(300) : rnd(9000);
		u16 k = atomic_load(&ac->kick[SLOT]);

		if (!burst && space == RING)
			burst = 1 + rnd(30);
		if (burst && n <= space) {
			for (u32 i = 0; i < n; i++)
				s->stack.rx[(head + i) % RING] = byte_at(head + i);
			store_release(&s->stack.s->rx_head, head + n);
			ready_data(&r, &s->stack);
			burst--;
		} else {
			sched_yield();
		}
		if (k != kick) {
			kick = k;
			ready_kick(&r, &s->stack);
		}
		rest();
	}
}

static void get_ready(struct scenario *s, int ep, u32 events)
{
	struct pollfd p = { s->near, POLLIN, 0 };
	struct epoll_event e;

	if (s->mode == MODE_BLOCKING)
		return;
	if (s->mode == MODE_POLL) {
		p.events = events & EPOLLOUT ? POLLOUT : POLLIN;
		poll(&p, 1, -1);
		return;
	}
	epoll_wait(ep, &e, 1, -1);
}

static int watch(struct scenario *s, u32 events)
{
	struct epoll_event e = { .events = events };
	int ep = epoll_create1(0);

	if (s->mode == MODE_ET)
		e.events |= EPOLLET;
	if (s->mode == MODE_ONESHOT)
		e.events |= EPOLLONESHOT;
	if (s->mode == MODE_EXCLUSIVE)
		e.events |= EPOLLEXCLUSIVE;
	if (ep < 0 || epoll_ctl(ep, EPOLL_CTL_ADD, s->near, &e))
		abort();
	return ep;
}

static void watch_again(struct scenario *s, int ep, u32 events)
{
	struct epoll_event e = { .events = events | EPOLLONESHOT };

	if (s->mode == MODE_ONESHOT)
		epoll_ctl(ep, EPOLL_CTL_MOD, s->near, &e);
}

static ssize_t read_some(struct scenario *s, size_t n)
{
	static u8 buf[8192];
	struct iovec v[2] = { { buf, n / 2 }, { buf + n / 2, n - n / 2 } };
	ssize_t r;

	if (rnd(50) == 0)
		tcp_recvmsg(s->sock, s->near, v, 2, MSG_PEEK | MSG_DONTWAIT);
	r = tcp_recvmsg(s->sock, s->near, v, 2, 0);
	if (r > 0) {
		if (!unbroken(buf, (size_t)r))
			store_relaxed(&s->board->corrupt, 1);
		atomic_fetch_add(&s->board->done, (u64)r);
	} else if (r == -EAGAIN) {
		atomic_fetch_add(&s->board->spurious, 1);
	}
	return r;
}

/* nginx: ask how much there is, read, stop on a short read or when more than that came. What the first read said. */
static ssize_t read_like_nginx(struct scenario *s)
{
	ssize_t available = -1, size = 1 + (ssize_t)rnd(4000), n, first = 0;

	for (;;) {
		n = read_some(s, (size_t)size);
		first = first ? first : n;
		if (n < 0)
			return first;
		if (available >= 0) {
			available -= n;
			if (available < 0)
				return first;
		} else if (n == size) {
			available = (ssize_t)stream_arm(s->sock);
		}
		if (n < size)
			return first;
	}
}

void app_read(struct scenario *s, int who)
{
	int ep = s->mode == MODE_POLL || s->mode == MODE_BLOCKING ? -1 : watch(s, EPOLLIN);

	rnd_seed((u32)getpid() + (u32)who);
	for (;;) {
		ssize_t r;

		get_ready(s, ep, EPOLLIN);
		if (s->mode == MODE_ET)
			r = read_like_nginx(s);
		else
			r = read_some(s, 1 + rnd(2000));
		if (r == -EAGAIN && s->apps == 1)
			atomic_fetch_add(&s->board->idle, 1);	/* nobody else can have read it */
		watch_again(s, ep, EPOLLIN);
	}
}

/* ---- sent bytes say who wrote them, and count ---- */

void app_write(struct scenario *s, int who)
{
	int ep = s->mode == MODE_POLL || s->mode == MODE_BLOCKING ? -1 : watch(s, EPOLLOUT);
	u8 buf[9000], next = 0;

	rnd_seed((u32)getpid() + (u32)who);
	for (;;) {
		get_ready(s, ep, EPOLLOUT);
		for (;;) {
			u32 want = 1 + rnd(sizeof(buf));
			struct iovec v = { buf, want };
			ssize_t r;

			for (u32 i = 0; i < want; i++)
				buf[i] = (u8)(who << 4 | ((next + i) & 15));
			r = tcp_sendmsg(s->sock, s->near, &v, 1, MSG_NOSIGNAL);
			if (r > 0)
				next = (u8)(next + r);
			if (r == -EAGAIN)
				atomic_fetch_add(&s->board->spurious, 1);
			if (s->mode != MODE_ET || r < (ssize_t)want)
				break;
		}
		watch_again(s, ep, EPOLLOUT);
	}
}

/* One byte of writer w is as it should be, or begins a new life of that writer. */
static bool follows(struct scenario *s, struct expected *e, u8 byte)
{
	u32 w = byte >> 4;
	bool ok = w < APPS_MAX && e->next[w] == (byte & 15);

	if (!ok && w < APPS_MAX && e->resynced[w] < load_relaxed(&s->board->restarts[w])) {
		e->resynced[w]++;
		ok = true;
	}
	if (w < APPS_MAX)
		e->next[w] = (byte + 1) & 15;
	return ok;
}

static void acknowledge(struct scenario *s, u64 tail, u64 n)
{
	struct expected *now = &s->board->expected[s->board->expected[0].at != tail], e = *now;

	for (u64 i = 0; i < n; i++)
		if (!follows(s, &e, s->stack.tx[(tail + i) % RING]))
			store_relaxed(&s->board->corrupt, 1);
	e.at = tail + n;
	s->board->expected[now == &s->board->expected[0]] = e;
	atomic_store(&s->stack.s->tx_tail, tail + n);
	atomic_fetch_add(&s->board->done, n);
}

void stack_tx(struct scenario *s)
{
	struct epoll_event e = { .events = EPOLLIN | EPOLLRDHUP | EPOLLET };
	int ep = epoll_create1(0);
	struct ready r;

	rnd_seed((u32)getpid() * 7919 + (u32)now_ns());
	if (epoll_ctl(ep, EPOLL_CTL_ADD, s->far, &e))
		abort();
	ready_attach(&r, &s->stack, s->far);
	for (;;) {
		u64 tail = load_relaxed(&s->stack.s->tx_tail), used = atomic_load(&s->stack.c->tx_head) - tail;
		u64 n = rnd(8) ? rnd(2000) : rnd(40000);

		if (used > RING)
			store_relaxed(&s->board->corrupt, 2);
		n = MIN(n, used);
		if (n)
			acknowledge(s, tail, n);
		ready_space(&r, &s->stack);
		if (epoll_wait(ep, &e, 1, 0) > 0 && ready_input(&r, &s->stack) == READY_FOREIGN)
			store_relaxed(&s->board->corrupt, 3);
		if (!used)
			sched_yield();
		rest();
	}
}
