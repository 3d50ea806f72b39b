/* wlock.c – the writer's lock of a socket: in shared memory, between threads and processes.
 *
 * The owner is pid << 32 | tid. Bytes that are not published when an owner dies are void (tx_head did not move), so
 * the next writer may simply take over. Alive is asked by pidfd, because a killed process that nobody has reaped yet
 * still answers to kill(). Signals are blocked while it is held: a handler that writes to the same socket would wait
 * for the thread it interrupted. Processes in different pid namespaces must not write to one socket at the same time. */
#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <time.h>

#include "services/shim/stream.h"

#define SPINS 64
#define NAPS_PER_CHECK 20	/* of 50 us: how long an owner may hold it before we ask whether it lives */

static __thread u64 me_cached __attribute__((tls_model("initial-exec")));

static u64 me(void)
{
	if (!me_cached)
		me_cached = (u64)(u32)sys_getpid() << 32 | (u32)sys_gettid();
	return me_cached;
}

void wlock_forked(void)
{
	me_cached = 0;
}

static bool dead(u64 owner)
{
	struct pollfd p = { .events = POLLIN };
	struct timespec none = { 0, 0 };
	int pid = (int)(owner >> 32), tid = (int)(u32)owner;
	long fd, r;

	if (sys(SYS_tgkill, pid, tid, 0) == -ESRCH)
		return true;
	fd = sys(SYS_pidfd_open, pid, 0);
	if (fd < 0)
		return fd == -ESRCH;
	p.fd = (int)fd;
	r = sys(SYS_ppoll, &p, 1, &none, 0, 8);
	sys_close((int)fd);
	return r == 1;
}

void wlock_take(struct sock *s, u64 *ret_sigmask)
{
	_Atomic u64 *lock = &s->b.c->wlock;
	struct timespec nap = { 0, 50000 };
	u64 all = ~0ull, seen;
	u32 tries = 0;

	sys(SYS_rt_sigprocmask, SIG_SETMASK, &all, ret_sigmask, 8);
	for (;;) {
		seen = 0;
		if (atomic_compare_exchange_strong(lock, &seen, me()))
			return;
		if (++tries < SPINS) {
			sys(SYS_sched_yield);
			continue;
		}
		if (tries % NAPS_PER_CHECK == 0 && dead(seen) && atomic_compare_exchange_strong(lock, &seen, me()))
			return;
		sys(SYS_nanosleep, &nap, 0);
	}
}

void wlock_drop(struct sock *s, u64 sigmask)
{
	u64 mine = me();

	atomic_compare_exchange_strong(&s->b.c->wlock, &mine, 0);
	sys(SYS_rt_sigprocmask, SIG_SETMASK, &sigmask, 0, 8);
}
