/* loop.c – the event loop of a daemon: see loop.h. Called by every daemon's main.c.
 *
 * Descriptors are watched with multishot poll requests, which behave like EPOLLET: one event for each time the
 * descriptor becomes (or is again made) ready, the first at once if it is ready when it is added. So a callback
 * drains its descriptor. The kernel may end a multishot request at any time (no IORING_CQE_F_MORE); it is then
 * armed again, which looks at the descriptor's state anew: nothing is lost.
 *
 * A request is named by slot and generation, so that an event of a request whose descriptor has been deleted
 * meanwhile finds a slot of another generation and is dropped.
 *
 * System calls: with IORING_SETUP_DEFER_TASKRUN the kernel only marks that it has events (IORING_SQ_TASKRUN);
 * a busy pass looks at that word and at the tail of the completion queue, and enters the kernel when either
 * says so. Sleeping is the protocol of loop_sleep(). */
#include "loop.h"

#include <sched.h>
#include <sys/epoll.h>
#include <time.h>

#define LOOP_SQES 256
#define LOOP_CQES 4096
#define LOOP_CPUS (100 * NSEC_PER_MSEC)
#define LOOP_LUCK 16
#define LOOP_UNLUCKY (20 * NSEC_PER_MSEC)
#define LOOP_NOBODY UINT64_MAX		/* user_data of cancellations: nobody waits for their result */

u64 clock_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (u64)ts.tv_sec * NSEC_PER_SEC + (u64)ts.tv_nsec;
}

int loop_init(struct loop *l, _Atomic u32 *sleeping, u64 poll_ns)
{
	/* Best first: Linux 6.1; 5.19; anything. */
	static const unsigned flags[] = {
		IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_TASKRUN_FLAG,
		IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG,
		0,
	};
	int r = -EINVAL;

	memset(l, 0, sizeof(*l));
	l->sleeping = sleeping;
	l->epoch = &l->own_epoch;
	l->poll_ns = poll_ns;
	l->deadline = UINT64_MAX;
	l->now = clock_ns();
	for (u32 i = 0; i < ARRAY_SIZE(flags) && r == -EINVAL; i++) {
		struct io_uring_params p = { .flags = flags[i] | IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP,
					     .cq_entries = LOOP_CQES };

		r = io_uring_queue_init_params(LOOP_SQES, &l->uring, &p);
	}
	if (r < 0)
		return r;
	if (sleeping)
		store_release(sleeping, 0);	/* a successor starts awake */
	return 0;
}

void loop_fini(struct loop *l)
{
	io_uring_queue_exit(&l->uring);
}

/* An empty submission slot; the queue is handed to the kernel first when it is full. */
static int loop_sqe(struct loop *l, struct io_uring_sqe **ret_sqe)
{
	*ret_sqe = io_uring_get_sqe(&l->uring);
	if (!*ret_sqe) {
		int r = io_uring_submit(&l->uring);

		if (r < 0)
			return r;
		*ret_sqe = io_uring_get_sqe(&l->uring);
	}
	return *ret_sqe ? 0 : -EBUSY;
}

static u64 fd_name(const struct loop *l, u32 id)
{
	return (u64)l->fds[id].gen << 32 | id;
}

static int loop_arm(struct loop *l, u32 id)
{
	struct loop_fd *f = &l->fds[id];
	struct io_uring_sqe *sqe;
	int r = loop_sqe(l, &sqe);

	if (r < 0)
		return r;
	io_uring_prep_poll_multishot(sqe, f->fd, f->events);
	io_uring_sqe_set_data64(sqe, fd_name(l, id));
	f->armed = true;
	return 0;
}

int loop_add_fd(struct loop *l, int fd, u32 events, loop_fd_fn fn, void *arg)
{
	u32 id = l->fds_free;
	int r;

	while (id < LOOP_FDS && l->fds[id].used)
		id++;
	if (id == LOOP_FDS)
		return -ENOSPC;
	events &= ~(u32)(EPOLLET | EPOLLONESHOT | EPOLLEXCLUSIVE);
	l->fds[id] = (struct loop_fd){ .fd = fd, .fn = fn, .arg = arg, .events = events, .used = true,
				       .gen = l->fds[id].gen + 1 };
	r = loop_arm(l, id);
	if (r < 0) {
		l->fds[id].used = false;
		return r;
	}
	l->fds_free = id + 1;
	return (int)id;
}

/* The request holds the open file until the kernel has taken it back, at the latest before the loop next
 * sleeps: until then closing the descriptor does not hang up on its peer. */
void loop_del_fd(struct loop *l, int id)
{
	struct io_uring_sqe *sqe;

	if (id < 0 || id >= LOOP_FDS || !l->fds[id].used)
		return;
	l->fds[id].used = false;
	l->fds_free = MIN(l->fds_free, (u32)id);
	if (l->fds[id].armed && loop_sqe(l, &sqe) == 0) {
		io_uring_prep_poll_remove(sqe, fd_name(l, (u32)id));
		io_uring_sqe_set_data64(sqe, LOOP_NOBODY);
	}
	l->fds[id].armed = false;
}

int loop_add_poller(struct loop *l, u32 (*poll)(void *, u32), bool (*pending)(void *), void *arg)
{
	if (l->npollers == LOOP_POLLERS)
		return -ENOSPC;
	l->poller[l->npollers++] = (struct loop_poller){ .poll = poll, .pending = pending, .arg = arg };
	return 0;
}

/* One completion. @res: poll events, or -errno. */
static bool loop_dispatch(struct loop *l, u64 name, s32 res, u32 flags)
{
	u32 id = (u32)name;
	struct loop_fd *f = &l->fds[id % LOOP_FDS];

	if (id >= LOOP_FDS || !f->used || fd_name(l, id) != name)
		return false;
	if (!(flags & IORING_CQE_F_MORE))
		f->armed = false;
	if (res >= 0)
		f->fn(f->arg, (u32)res);
	else if (res != -ECANCELED)	/* cannot be polled (bad descriptor, no memory): the owner decides */
		f->fn(f->arg, EPOLLERR);
	/* The callback may have deleted its descriptor, and even added another one in its slot. */
	if (f->used && fd_name(l, id) == name && !f->armed && (res >= 0 || res == -ECANCELED) && loop_arm(l, id) < 0)
		f->fn(f->arg, EPOLLERR);
	return true;
}

/* The kernel has events that it will only post when entered. */
static bool loop_kernel_waits(const struct loop *l)
{
	return IO_URING_READ_ONCE(*l->uring.sq.kflags) & (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW);
}

/* Hand over what callbacks have queued, fetch what has happened; no system call when there is neither. */
static int loop_exchange(struct loop *l)
{
	int r = 0;

	if (io_uring_sq_ready(&l->uring))
		r = io_uring_submit_and_get_events(&l->uring);
	else if (loop_kernel_waits(l))
		r = io_uring_get_events(&l->uring);
	return r == -EINTR || r == -EAGAIN || r == -EBUSY ? 0 : MIN(r, 0);	/* these: again next pass */
}

/* Events that have been posted by now; those that callbacks provoke wait for the next pass. */
static u32 loop_events(struct loop *l)
{
	u32 n = io_uring_cq_ready(&l->uring), seen = 0;

	while (n--) {
		struct io_uring_cqe *cqe;
		u64 name;
		s32 res;
		u32 flags;

		if (io_uring_peek_cqe(&l->uring, &cqe))
			break;
		name = cqe->user_data;
		res = cqe->res;
		flags = cqe->flags;
		io_uring_cqe_seen(&l->uring, cqe);
		seen += loop_dispatch(l, name, res, flags);
	}
	return seen;
}

static bool loop_pending(struct loop *l)
{
	if (io_uring_cq_ready(&l->uring) || loop_kernel_waits(l) || io_uring_sq_ready(&l->uring))
		return true;
	for (u32 i = 0; i < l->npollers; i++)
		if (l->poller[i].pending && l->poller[i].pending(l->poller[i].arg))
			return true;
	return false;
}

/* Block until a descriptor, the doorbell or the deadline. */
static int loop_block(struct loop *l)
{
	struct __kernel_timespec ts, *timeout = NULL;
	struct io_uring_cqe *cqe;
	int r;

	if (l->deadline != UINT64_MAX) {
		u64 now = clock_ns();

		if (now >= l->deadline)
			return 0;
		ts.tv_sec = (s64)((l->deadline - now) / NSEC_PER_SEC);
		ts.tv_nsec = (s64)((l->deadline - now) % NSEC_PER_SEC);
		timeout = &ts;
	}
	l->sleeps++;
	r = io_uring_submit_and_wait_timeout(&l->uring, &cqe, 1, timeout, NULL);
	return r == -ETIME || r == -EINTR || r == -EAGAIN || r == -EBUSY ? 0 : MIN(r, 0);
}

static int loop_sleep(struct loop *l)
{
	int r = 0;

	if (l->sleeping) {
		u32 e = load_relaxed(l->epoch) + 1;

		e += !e;	/* 0 says awake */
		store_relaxed(l->epoch, e);
		store_release(l->sleeping, e);	/* after the number is noted for a successor */
	}
	/* Pairs with the fence in daemon_ring(), between publishing and looking at `sleeping`: either the
	 * producer sees that we sleep and rings, or we see in loop_pending() what it has published. */
	fence_seq_cst();
	if (!loop_pending(l))
		r = loop_block(l);
	/* Late or not: who still sees this sleep's number and has rung in it relies on the look before the next one. */
	if (l->sleeping)
		store_relaxed(l->sleeping, 0);
	return r;
}

static int loop_pass(struct loop *l, u32 *ret_work)
{
	int r;

	l->now = clock_ns();
	l->passes++;
	l->deadline = UINT64_MAX;
	r = loop_exchange(l);
	if (r < 0)
		return r;
	*ret_work = loop_events(l);
	for (u32 i = 0; i < l->npollers; i++)
		*ret_work += l->poller[i].poll(l->poller[i].arg, LOOP_BUDGET);
	return 0;
}

/* With one CPU for all, what a poll waits for happens only when it ends: a round trip of 59 us with, 49 without. */
static bool loop_on_one_cpu(struct loop *l)
{
	cpu_set_t set;

	if (l->now >= l->cpus_next) {	/* whoever places us may do so at any time */
		l->cpus_next = l->now + LOOP_CPUS;
		l->one_cpu = !sched_getaffinity(0, sizeof(set), &set) && CPU_COUNT(&set) == 1;
	}
	return l->one_cpu;
}

/* Polling must earn its keep: where the others that are to run are in another scheduling group (a session, a service),
 * sched_yield() does not let them, and a round trip waits for every layer's poll to end: measured 97 us, with luck 40,
 * sleeping at once 48. So four of five polls must find work, else it is left for a while. */
static bool loop_may_poll(struct loop *l, u64 since)
{
	if (l->poll_auto && loop_on_one_cpu(l))
		return false;
	if (l->now < l->bulk_until || l->now < l->unlucky_until)
		return false;
	if (l->now - since < l->poll_ns)
		return true;
	l->luck -= 4;
	if (l->luck < 0) {
		l->luck = 0;
		l->unlucky_until = l->now + LOOP_UNLUCKY;
	}
	return false;
}

int loop_run(struct loop *l)
{
	u64 last_work = clock_ns();
	bool polled = false;

	while (!l->quit) {
		u32 work;
		int r = loop_pass(l, &work);

		if (r < 0)
			return r;
		if (work) {
			last_work = l->now;
			if (polled && l->luck < LOOP_LUCK)
				l->luck++;
			polled = false;
			continue;
		}
		if (l->quit)
			break;
		if (loop_may_poll(l, last_work)) {
			polled = true;
			sched_yield();
			continue;
		}
		polled = false;
		r = loop_sleep(l);
		if (r < 0)
			return r;
	}
	return 0;
}
