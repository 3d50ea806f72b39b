/* table.c – which of this process's descriptors are Strata's.
 *
 * Two levels of plain pointers, read without a lock. A struct sock is type-stable, so a reader may take a reference
 * on one that has just been dropped, notice, and let go. The shim's own descriptors are marked in the same table. */
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>

#include "services/shim/shim.h"

#define CHUNK 1024u
#define CHUNKS 1024u
#define OWN ((struct sock *)1)	/* a descriptor of the shim itself */

struct chunk { _Atomic(struct sock *) s[CHUNK]; };
static _Atomic(struct chunk *) chunks[CHUNKS];
static struct sock *free_socks;
static u64 last_id;
static _Atomic u32 free_lock;
static _Atomic int my_pid;

static void *pages(size_t n)
{
	long p = sys(SYS_mmap, 0, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return p < 0 && p > -4096 ? NULL : (void *)p;
}

void lock_take(_Atomic u32 *l)
{
	struct timespec nap = { 0, 20000 };
	u32 tries = 0, zero = 0;

	while (!atomic_compare_exchange_strong(l, &zero, 1)) {
		zero = 0;
		if (++tries < 64)
			sys(SYS_sched_yield);
		else
			sys(SYS_nanosleep, &nap, 0);
	}
}

void lock_drop(_Atomic u32 *l)
{
	store_release(l, 0);
}

u64 signals_block(void)
{
	u64 all = ~0ull, old;

	sys(SYS_rt_sigprocmask, 2 /* SIG_SETMASK */, &all, &old, 8);
	return old;
}

void signals_restore(u64 old)
{
	sys(SYS_rt_sigprocmask, 2, &old, 0, 8);
}

/* The first call, and the child of a fork: this table is this process's own. */
void table_init(void)
{
	lock_drop(&free_lock);
	store_relaxed(&my_pid, sys_getpid());
}

bool table_mine(void)
{
	return load_relaxed(&my_pid) == sys_getpid();
}

static _Atomic(struct sock *) *entry(int fd, bool make)
{
	struct chunk *c, *none = NULL;

	if (fd < 0 || (u32)fd >= CHUNK * CHUNKS)
		return NULL;
	c = load_acquire(&chunks[fd / CHUNK]);
	if (!c && make) {
		c = pages(sizeof(*c));
		if (!c)
			return NULL;
		if (!atomic_compare_exchange_strong(&chunks[fd / CHUNK], &none, c)) {
			sys(SYS_munmap, c, sizeof(*c));
			c = none;
		}
	}
	return c ? &c->s[fd % CHUNK] : NULL;
}

struct sock *sock_get(int fd)
{
	_Atomic(struct sock *) *e = entry(fd, false);
	struct sock *s;
	u32 refs;

	if (!e)
		return NULL;
	for (;;) {
		s = load_acquire(e);
		if (!s || s == OWN)
			return NULL;
		refs = load_relaxed(&s->refs);
		while (refs && !atomic_compare_exchange_weak(&s->refs, &refs, refs + 1))
			;
		if (!refs)
			continue;	/* being freed: its entry is about to change */
		if (load_acquire(e) == s)
			return s;
		sock_put(s);
	}
}

struct sock *sock_new(void)
{
	u64 mask = signals_block(), id;
	struct sock *s;

	lock_take(&free_lock);
	if (!free_socks) {
		struct sock *p = pages(16 * PAGE);

		for (u32 i = 0; p && i < 16 * PAGE / sizeof(*p); i++) {
			p[i].next_free = free_socks;
			free_socks = &p[i];
		}
	}
	s = free_socks;
	if (s)
		free_socks = s->next_free;
	id = ++last_id;
	lock_drop(&free_lock);
	signals_restore(mask);
	if (!s)
		return NULL;
	memset((u8 *)s + sizeof(s->refs), 0, sizeof(*s) - sizeof(s->refs));
	s->id = id;
	s->far = -1;
	store_release(&s->refs, 1);
	return s;
}

void sock_put(struct sock *s)
{
	u64 mask;

	if (atomic_fetch_sub(&s->refs, 1) != 1)
		return;
	if (s->far >= 0) {
		fd_own(s->far, false);
		sys_close(s->far);
	}
	mask = signals_block();
	lock_take(&free_lock);
	s->next_free = free_socks;
	free_socks = s;
	lock_drop(&free_lock);
	signals_restore(mask);
}

static void set(_Atomic(struct sock *) *e, struct sock *s)
{
	struct sock *old = atomic_exchange(e, s);

	if (old && old != OWN)
		sock_put(old);
}

int table_set(int fd, struct sock *s)
{
	_Atomic(struct sock *) *e = entry(fd, true);

	u32 len = sizeof(s->cookie);

	if (!e)
		return -EMFILE;
	if (!s->cookie && sys_getsockopt(fd, SOL_SOCKET, SO_COOKIE, &s->cookie, &len) < 0)
		s->cookie = 0;		/* not found again by a child of vfork, that is all */
	atomic_fetch_add(&s->refs, 1);
	set(e, s);
	return 0;
}

void table_drop(int fd)
{
	_Atomic(struct sock *) *e = entry(fd, false);

	if (e && load_relaxed(e) != OWN)
		set(e, NULL);
}

void table_dup(int from, int to)
{
	struct sock *s = sock_get(from);

	if (!s) {
		table_drop(to);
		return;
	}
	table_set(to, s);
	sock_put(s);
}

void table_drop_range(u32 lo, u32 hi)
{
	for (u32 c = lo / CHUNK; c <= hi / CHUNK && c < CHUNKS; c++) {
		if (!load_acquire(&chunks[c]))
			continue;
		for (u32 i = 0; i < CHUNK; i++)
			if (c * CHUNK + i >= lo && c * CHUNK + i <= hi)
				table_drop((int)(c * CHUNK + i));
	}
}

/* The first descriptor of s from `from` on, or -1. */
int table_next(const struct sock *s, int from)
{
	for (u32 c = (u32)from / CHUNK; c < CHUNKS; c++) {
		struct chunk *p = load_acquire(&chunks[c]);

		for (u32 i = 0; p && i < CHUNK; i++)
			if ((int)(c * CHUNK + i) >= from && load_relaxed(&p->s[i]) == s)
				return (int)(c * CHUNK + i);
	}
	return -1;
}

struct sock *sock_by_cookie(u64 cookie)
{
	for (u32 c = 0; c < CHUNKS; c++) {
		struct chunk *p = load_acquire(&chunks[c]);

		for (u32 i = 0; p && i < CHUNK; i++) {
			struct sock *s = load_relaxed(&p->s[i]) ? sock_get((int)(c * CHUNK + i)) : NULL;

			if (s && s->cookie == cookie)
				return s;
			if (s)
				sock_put(s);
		}
	}
	return NULL;
}

int own_next(int from)
{
	return table_next(OWN, from);
}

bool fd_private(int fd)
{
	_Atomic(struct sock *) *e = entry(fd, false);

	return e && load_relaxed(e) == OWN;
}

void fd_own(int fd, bool own)
{
	_Atomic(struct sock *) *e = entry(fd, own);

	if (e)
		set(e, own ? OWN : NULL);
}

int fd_park(int fd)
{
	struct rlimit lim = { 1024, 1024 };
	long r;

	r = sys_fcntl(fd, F_DUPFD_CLOEXEC, SHIM_HIGH_FD);
	if (r == -EINVAL) {		/* beyond RLIMIT_NOFILE */
		sys(SYS_prlimit64, 0, RLIMIT_NOFILE, 0, &lim);
		r = sys_fcntl(fd, F_DUPFD_CLOEXEC, (long)(lim.rlim_cur / 2));
	}
	if (r < 0) {
		sys_fcntl(fd, F_SETFD, FD_CLOEXEC);
		return (int)r;
	}
	sys_close(fd);
	return (int)r;
}
