/* epoll.c – rx7: events of epoll looked at before the application sees them. Called by calls_epoll.c.
 *
 * The kernel's epoll is right about our pairs, but for a token that is left over when its bytes are gone: sent for an
 * earlier look, or the bytes were taken by another. epoll allows such a wake-up, programs do not all: wrk counts
 * the EAGAIN as an error. So an event with IN alone, of a connection with nothing to read, is taken out after the
 * tokens have been drained and the socket armed again (stream_spurious()): the next byte is a new edge.
 *
 * An event names its descriptor only by what the application put into it. All registrations of this process are
 * remembered by (epfd, data), also those that are not ours, so that data used for two descriptors at a time is known
 * to say nothing. A child of fork begins with an empty memory; what it inherited, or was registered where we could
 * not see it, passes through. One-shot registrations are armed again; one that changes at that moment is left as the
 * application made it.
 *
 * Written under a lock with signals blocked; read without, under a sequence number: who is disturbed knows nothing. */
#include "services/shim/epoll.h"
#include "services/shim/stream.h"

#include <fcntl.h>
#include <sys/mman.h>

#ifndef EPOLL_MUTANT
#define EPOLL_MUTANT 0		/* 1: nothing is taken out; 2: taken out, but one-shot registrations are not armed again */
#endif

#define FIRST_SIZE 256u
#define IN_BITS ((u32)(EPOLLIN | EPOLLRDNORM))
#define END_BITS ((u32)(EPOLLRDHUP | EPOLLHUP | EPOLLERR))

enum { REG_FREE, REG_ONE, REG_MANY /* data of several descriptors: nobody knows whose event it is */ };

struct reg {
	_Atomic u32 kind;
	_Atomic int epfd, fd;
	_Atomic u32 events, changes;	/* what is asked for; how often that was changed while one-shot */
	_Atomic u64 data, id;		/* id: sock.id, 0: not ours */
};
struct reg_table { u32 size, used; struct reg r[]; };

static _Atomic(struct reg_table *) table;
static struct reg_table *spare;		/* of the same size, for cleaning up; tables are never unmapped */
static _Atomic u32 reg_lock, reg_seq;

static struct reg_table *table_new(u32 size)
{
	size_t bytes = sizeof(struct reg_table) + size * sizeof(struct reg);
	long p = sys(SYS_mmap, 0, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p < 0 && p > -4096)
		return NULL;
	((struct reg_table *)p)->size = size;
	return (struct reg_table *)p;
}

/* The entry of a key, or the free one where it belongs. NULL: neither (read while it was written). */
static struct reg *probe(struct reg_table *t, int epfd, u64 data)
{
	u32 at = (u32)((data + (u64)(u32)epfd * 31) * 0x9e3779b97f4a7c15ull >> 32);

	for (u32 i = 0; i < t->size; i++) {
		struct reg *r = &t->r[(at + i) & (t->size - 1)];

		if (load_relaxed(&r->kind) == REG_FREE || (load_relaxed(&r->epfd) == epfd && load_relaxed(&r->data) == data))
			return r;
	}
	return NULL;
}

struct found { int fd; u32 events, changes; u64 id; };

/* false: nothing is known for certain. */
static bool look_up(int epfd, u64 data, struct found *ret)
{
	u32 seq = load_acquire(&reg_seq);
	struct reg_table *t = load_acquire(&table);
	struct reg *r = t && !(seq & 1) ? probe(t, epfd, data) : NULL;
	u32 kind;

	if (!r)
		return false;
	kind = load_relaxed(&r->kind);
	*ret = (struct found){ load_relaxed(&r->fd), load_relaxed(&r->events), load_relaxed(&r->changes), load_relaxed(&r->id) };
	fence_seq_cst();	/* pairs with the fence after reg_seq became odd in reg_begin() */
	return kind == REG_ONE && load_relaxed(&reg_seq) == seq;
}

/* ---- writing ---- */

static u64 reg_begin(void)
{
	u64 mask = signals_block();

	lock_take(&reg_lock);
	store_relaxed(&reg_seq, load_relaxed(&reg_seq) + 1);
	fence_seq_cst();	/* pairs with the fence in look_up() */
	return mask;
}

static void reg_end(u64 mask)
{
	store_release(&reg_seq, load_relaxed(&reg_seq) + 1);
	lock_drop(&reg_lock);
	signals_restore(mask);
}

/* Does an entry still mean the descriptor it was made for? */
static bool alive(const struct reg *r)
{
	int fd = load_relaxed(&((struct reg *)r)->fd);
	u64 id = load_relaxed(&((struct reg *)r)->id);
	struct sock *s = sock_get(fd);
	bool same = s ? s->id == id : !id && sys_fcntl(fd, F_GETFD, 0) >= 0;

	if (s)
		sock_put(s);
	return same;
}

static void put(struct reg_table *t, const struct reg *from)
{
	struct reg *r = probe(t, load_relaxed(&((struct reg *)from)->epfd), load_relaxed(&((struct reg *)from)->data));

	memcpy((void *)r, (const void *)from, sizeof(*r));
	t->used++;
}

/* Room for one more: what is dead is left behind, and if that is not enough the table doubles. */
static struct reg_table *make_room(struct reg_table *t)
{
	struct reg_table *n;
	u32 live = 0, size = t ? t->size : FIRST_SIZE;

	if (t && t->used < t->size / 2)
		return t;
	for (u32 i = 0; t && i < t->size; i++) {
		if (load_relaxed(&t->r[i].kind) == REG_ONE && !alive(&t->r[i]))
			store_relaxed(&t->r[i].fd, -1);
		live += load_relaxed(&t->r[i].kind) != REG_FREE && load_relaxed(&t->r[i].fd) >= 0;
	}
	if (live > size / 4)
		size *= 2;
	n = spare && spare->size == size ? spare : table_new(size);
	if (!n)
		return NULL;
	spare = NULL;
	memset((void *)n->r, 0, size * sizeof(n->r[0]));
	n->used = 0;
	for (u32 i = 0; t && i < t->size; i++)
		if (load_relaxed(&t->r[i].kind) != REG_FREE && load_relaxed(&t->r[i].fd) >= 0)
			put(n, &t->r[i]);
	if (t && t->size == size)
		spare = t;
	store_release(&table, n);
	return n;
}

static void write_reg(int epfd, int fd, u64 id, const struct epoll_event *ev)
{
	struct reg_table *t = make_room(load_relaxed(&table));
	struct reg *r = t ? probe(t, epfd, ev->data.u64) : NULL;
	u32 kind = r ? load_relaxed(&r->kind) : REG_FREE;

	if (!r) {		/* out of memory: what is known is not all any more */
		store_release(&table, NULL);
		return;
	}
	if (kind == REG_MANY)
		return;
	if (kind == REG_ONE && load_relaxed(&r->fd) != fd && alive(r)) {
		store_relaxed(&r->kind, REG_MANY);
		return;
	}
	if (kind == REG_FREE) {
		t->used++;
		store_relaxed(&r->epfd, epfd);
		store_relaxed(&r->data, ev->data.u64);
	}
	store_relaxed(&r->fd, fd);
	store_relaxed(&r->id, id);
	store_relaxed(&r->events, ev->events);
	store_relaxed(&r->changes, load_relaxed(&r->changes) + 1);
	store_relaxed(&r->kind, REG_ONE);
}

void epoll_note(int epfd, int fd, const struct sock *s, const struct epoll_event *ev)
{
	u64 id = s ? s->id : 0, mask;
	struct found f;

	if (look_up(epfd, ev->data.u64, &f) && f.fd == fd && f.id == id && !((f.events | ev->events) & EPOLLONESHOT))
		return;		/* as a program does that switches OUT on and off */
	mask = reg_begin();
	write_reg(epfd, fd, id, ev);
	reg_end(mask);
}

void epoll_forked(void)
{
	store_release(&table, NULL);
	spare = NULL;
	store_relaxed(&reg_seq, 0);
	lock_drop(&reg_lock);
}

/* ---- events ---- */

/* The event that disarmed it was none. Changed by the application meanwhile: made so once more, ours may have come last. */
static void arm_again(int epfd, u64 data, struct found f)
{
	struct found now = f;

	if (EPOLL_MUTANT == 2)
		return;
	do {
		struct epoll_event ev = { .events = now.events, .data.u64 = data };

		f = now;
		sys(SYS_epoll_ctl, epfd, EPOLL_CTL_MOD, f.fd, &ev);
	} while (look_up(epfd, data, &now) && now.fd == f.fd && now.id == f.id && now.changes != f.changes);
}

/* One event as TCP would show it; false: it means nothing. */
static bool correct(int epfd, struct epoll_event *e)
{
	struct found f;
	struct sock *s;
	bool live;

	if (!look_up(epfd, e->data.u64, &f) || !f.id)
		return true;
	s = sock_get(f.fd);
	if (!s)
		return true;
	live = s->id == f.id && load_acquire(&s->life) == SOCK_LIVE;
	if (live && stream_error_queued(&s->b))
		e->events |= EPOLLERR;
	if (live && stream_over(&s->b))
		e->events |= EPOLLERR | EPOLLHUP | (f.events & EPOLLRDHUP);
	else if (live && stream_error(&s->b, false))	/* the token that tells it is no data */
		e->events = (e->events & ~(stream_readable(&s->b) || stream_eof(&s->b) ? 0 : IN_BITS)) | EPOLLERR;
	else if (live && (load_relaxed(&s->b.c->shut) & SKC_SHUT_RD))
		e->events |= f.events & EPOLLRDHUP;
	else if (live && !(e->events & END_BITS) && stream_spurious(s, f.fd, f.events & EPOLLPRI))
		e->events &= ~IN_BITS;
	sock_put(s);
	if (e->events)
		return true;
	if (f.events & EPOLLONESHOT)
		arm_again(epfd, e->data.u64, f);
	return false;
}

int epoll_sift(int epfd, struct epoll_event *ev, int n)
{
	int left = 0;

	if (EPOLL_MUTANT == 1)
		return n;
	for (int i = 0; i < n; i++) {
		if (!correct(epfd, &ev[i]))
			continue;
		if (left != i)
			ev[left] = ev[i];
		left++;
	}
	return left;
}
