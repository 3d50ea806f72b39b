/* real.c – real time for real sockets. The kernel's stack is the host when this runs by itself (as root: each script in a new
 * network namespace); Strata is when it runs under `strata run` in the namespace where Strata's TAP is (tests/script/strata). */
#include "real.h"

#include <poll.h>
#include <stdlib.h>
#include <time.h>

#define KERNEL_SLACK (25 * MSEC)
#define STRATA_SLACK (100 * MSEC)
#define STRATA_GAP (3 * MSEC)	/* two things done to daemons at once may be seen in any order, or as one */

u64 real_clock(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (u64)t.tv_sec * SEC + (u64)t.tv_nsec;
}

static struct real *real_of(struct host *h) { return h->priv; }

static void sleep_until(struct host *h, u64 t)
{
	struct pollfd p = { .fd = real_of(h)->wire, .events = POLLIN };
	u64 now = real_clock(), left = t > now ? t - now : 0;
	struct timespec ts = { (time_t)(left / SEC), (long)(left % SEC) };

	ppoll(&p, 1, &ts, NULL);
	real_wire_read(h);
	h->now = real_clock();
}

static void run_until(struct host *h, u64 t)
{
	bool early = h->now < t;

	do
		sleep_until(h, t);
	while (h->now < t);
	if (early && h->now - t > h->late)
		h->late = h->now - t;
}

static void run_to_packet(struct host *h, u64 t)
{
	while (h->qhead == h->qtail && h->now < t)
		sleep_until(h, t);
	if (h->qhead == h->qtail && h->now > t && h->now - t > h->late)
		h->late = h->now - t;
}

static void pace(struct host *h)
{
	struct real *r = real_of(h);

	if (h->where == ON_STRATA && real_clock() < r->acted + STRATA_GAP)
		run_until(h, r->acted + STRATA_GAP);
	r->acted = real_clock();
}

static int start(struct host *h, const struct script *s)
{
	struct real *r = calloc(1, sizeof(*r));
	int e;

	if (!r)
		return -ENOMEM;
	h->priv = r;
	r->congestion = s->congestion[0] ? s->congestion : "cubic";
	h->slack = h->where == ON_STRATA ? STRATA_SLACK : KERNEL_SLACK;
	for (u32 i = 0; i < MAX_SOCKS; i++)
		r->fd[i] = r->epoll[i] = -1;
	e = real_wire_open(h, s);
	if (e)
		return e;
	h->now = real_clock();
	h->late = 0;
	return 0;
}

static void stop(struct host *h)
{
	real_calls_end(h);
	real_wire_close(h);
	free(h->priv);
	h->priv = NULL;
}

static void inject(struct host *h, const struct pkt *p)
{
	pace(h);
	real_wire_inject(h, p);
	h->now = real_clock();
}

static void icmp(struct host *h, const struct icmp_err *e, const struct pkt *quoted)
{
	pace(h);
	real_wire_icmp(h, e, quoted);
	h->now = real_clock();
}

static void call(struct host *h, const struct call *c, struct answer *ret)
{
	pace(h);
	real_call(h, c, ret);
	h->now = real_clock();
}

static void call_blocking(struct host *h, struct blocked *b)
{
	pace(h);
	b->start = real_clock();
	real_call_blocking(h, b);
}

const struct host_ops real_host = {
	.start = start, .stop = stop, .run_until = run_until, .run_to_packet = run_to_packet, .inject = inject, .icmp = icmp,
	.call = call, .call_blocking = call_blocking,
};
