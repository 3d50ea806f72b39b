/* loop.h – the event loop of a daemon: io_uring for descriptors and timeouts, NAPI-style polling for rings.
 *
 * One thread. A pass calls every poller with a budget; while any of them had work the loop polls (descriptor
 * events are still looked at each pass, without a system call when there are none). When nothing has had work for poll_ns
 * (yielding the CPU meanwhile; not while a bulk stream passes, and only while that finds work), the loop declares sleep in the region, fences, asks every poller once more
 * (`pending`), and only then blocks in io_uring until a descriptor, the doorbell or the deadline.
 * No wake-up without a sleeper: producers look at region_hdr.sleeping before they ring; it numbers the sleeps, so that
 * each of them rings once in a sleep, however much it publishes before the sleeper has got the CPU. */
#ifndef STRATA_LOOP_H
#define STRATA_LOOP_H

#include <liburing.h>
#include "base.h"

struct loop;
typedef void (*loop_fd_fn)(void *arg, u32 events);		/* EPOLL* events; stays armed, edge-triggered: drain it (an eventfd need not be read: each write is an edge) */
struct loop_fd { int fd; loop_fd_fn fn; void *arg; u32 events, gen; bool used, armed; };
struct loop_poller {
	u32 (*poll)(void *arg, u32 budget);	/* does work, returns how much (0: none) */
	bool (*pending)(void *arg);		/* is there work? called after sleep was declared */
	void *arg;
};

#define LOOP_FDS 2048		/* tcpd: a doorbell per arena */
#define LOOP_POLLERS 16
#define LOOP_BUDGET 64

struct loop {
	struct io_uring uring;
	_Atomic u32 *sleeping;		/* region_hdr.sleeping of this daemon, or NULL: 0 awake, else the number of this sleep */
	_Atomic u32 *epoch;		/* number of the last sleep: in the region, so that a successor does not use one again */
	_Atomic u32 own_epoch;			/* ... or here */
	u64 now;			/* CLOCK_MONOTONIC ns, refreshed each pass */
	u64 poll_ns;			/* how long to poll without work before sleeping */
	u64 bulk_until;			/* a bulk stream passes: until then it sleeps without polling first */
	s32 luck;			/* has polling found work lately? */
	u64 unlucky_until;		/* it has not: until then it sleeps without polling first */
	u64 deadline;			/* earliest timer; UINT64_MAX none. Pollers lower it each pass with loop_deadline() */
	bool quit;
	bool poll_auto;			/* nobody has said how long to poll: on one CPU not at all */
	bool one_cpu;			/* it is so; asked again at cpus_next */
	u64 cpus_next;
	u32 npollers;
	struct loop_poller poller[LOOP_POLLERS];
	u32 fds_free;			/* no free entry below */
	struct loop_fd fds[LOOP_FDS];
	u64 passes, sleeps;
};

int loop_init(struct loop *l, _Atomic u32 *sleeping, u64 poll_ns);
void loop_fini(struct loop *l);
int loop_add_fd(struct loop *l, int fd, u32 events, loop_fd_fn fn, void *arg);	/* id or -errno */
void loop_del_fd(struct loop *l, int id);
int loop_add_poller(struct loop *l, u32 (*poll)(void *, u32), bool (*pending)(void *), void *arg);
static inline void loop_deadline(struct loop *l, u64 t) { if (t < l->deadline) l->deadline = t; }
/* Said by a poller that has passed on a packet of many segments. A layer that yields gives up the rest of its time slice
 * (Linux 6.18), so what comes then waits for those who copy; a sleeper gets the CPU at once. Measured with all on one CPU:
 * bulk 22 Gbit/s sleeping, 18 yielding; but a round trip 48 us sleeping, 40 yielding. */
#define LOOP_BULK NSEC_PER_MSEC
static inline void loop_bulk(struct loop *l) { l->bulk_until = l->now + LOOP_BULK; }
int loop_run(struct loop *l);			/* until l->quit; 0 or -errno */
u64 clock_ns(void);				/* CLOCK_MONOTONIC */

#endif
