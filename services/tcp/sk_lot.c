/* sk_lot.c – descriptors that outlive tcpd (crash rule 8): walking the lots, adopting what lies there, compaction.
 *
 * Messages stay unread; new ones are found by an edge in the epoll set, or because a mailbox names a socket that is not
 * known yet. A message's far ends may lie before their arena's, in another lot: they are stashed until a walk is
 * through. Called by sk_loop.c, sk_far.c, sk_mbox.c; at start by main.c. */
#include "tcpd.h"
#include "common/log.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define COMPACT_MESSAGES 64u	/* a lot holds 550 and more */
#define COMPACT_BUSY 256u

int tcp_lots_open(struct tcpd *x)
{
	char name[32];

	for (u32 i = 0; i < LOTS_MAX; i++) {
		snprintf(name, sizeof(name), "lot:tcp:%u:0", i);
		int r = daemon_fd(&x->d, name);
		snprintf(name, sizeof(name), "lot:tcp:%u:1", i);
		int w = daemon_fd(&x->d, name);
		if (r < 0 || w < 0)
			break;
		x->lots.lot[x->lots.n] = (struct lot){ .r = r, .w = w };
		int e = lot_rewind(&x->lots.lot[x->lots.n]);
		if (!e)
			e = far_watch(x, r, EV_LOT, i, 0, EPOLLIN | EPOLLET);
		if (e)
			return e;
		x->lots.n++;
	}
	return x->lots.n ? 0 : -ENOENT;
}

void lot_entry_died(struct tcpd *x, u16 lot)
{
	if (lot >= x->lots.n)
		return;
	x->lots.lot[lot].dead++;
	if (x->lots.lot[lot].live)
		x->lots.lot[lot].live--;
}

/* ---- what lies there ---- */

static int stash_put(struct tcpd *x, const struct lot_far *f, int fd, u16 lot)
{
	if (x->nstash == x->stash_room) {
		u32 room = MAX(x->stash_room * 2, 256u);
		struct stash *s = realloc(x->stash, room * sizeof(*s));

		if (!s)
			return -ENOMEM;
		x->stash = s;
		x->stash_room = room;
	}
	x->stash[x->nstash++] = (struct stash){ *f, fd, lot };
	return 0;
}

static s64 sk_of_cookie(struct tcpd *x, u64 cookie)
{
	BIT_EACH(a, x->mapped, ARENA_MAX)
		TCP_SLOT_EACH(sk, x->t.t, SK(a, ARENA_ACTIVE), SK(a + 1, 0))
			if (load_relaxed(&x->d.tcp->near_cookie[sk]) == cookie)
				return sk;
	return -ENOENT;
}

static bool is_spare(const struct tcpd *x, u64 cookie)
{
	for (u32 i = 0; i < x->nspare; i++)
		if (x->spare[i].cookie == cookie)
			return true;
	return false;
}

static int adopt_accepted(struct tcpd *x, const struct stash *s)
{
	s64 sk = is_spare(x, s->far.cookie) ? -ESTALE : sk_of_cookie(x, s->far.cookie);

	if (sk < 0 || x->far[sk].kind || load_relaxed(&x->d.tcp->t.sk[sk].phase) == TCPP_FREE)
		return -ESTALE;
	return far_adopt(x, (u32)sk, x->d.tcp->t.sk[sk].gen, FAR_ACCEPTED, s->fd, s->far.cookie, s->lot);
}

/* The socket it belonged to is gone. */
static bool is_dead(const struct tcpd *x, const struct lot_far *f)
{
	return f->sk < SK_MAX && (load_relaxed(&x->d.tcp->ans[f->sk].freed_gen) == f->gen ||
				  load_relaxed(&x->d.sock->ctl[f->sk].gen) != f->gen);
}

static int adopt_active(struct tcpd *x, const struct stash *s)
{
	u32 sk = s->far.sk, gen = s->far.gen;
	struct tcp_sock *c = &x->d.tcp->t.sk[sk];

	_Atomic u64 *swapped = &x->d.tcp->near_cookie[sk];
	bool fresh = load_relaxed(&c->phase) == TCPP_FREE || c->gen != gen;

	if (x->far[sk].kind || is_dead(x, &s->far) || !x->t.arena[SK_ARENA(sk)].used ||
	    (!fresh && load_relaxed(swapped) && load_relaxed(swapped) != s->far.cookie))
		return -ESTALE;
	if (s->fd >= x->fd_max && x->d.loop.passes) {	/* a successor could not take all of them; what we took over stays */
		x->far[sk] = (struct far){ .gen = gen, .starved = true };
		return -ESTALE;
	}
	if (fresh) {
		store_relaxed(swapped, 0);
		int r = tcp_socket(&x->t, sk, gen, x->d.sock->ctl[sk].uid);

		if (r)
			return r;
	}
	struct sockbuf b = view(x, sk);
	store_release(&b.s->nonce, s->far.nonce);	/* again, if we died right after tcp_socket() */
	return far_adopt(x, sk, gen, FAR_ACTIVE, s->fd, s->far.cookie, s->lot);
}

/* Is this the copy of a descriptor that counts: the one we believe parked there? */
static bool is_ours(struct tcpd *x, const struct stash *s)
{
	const struct lot_far *f = &s->far;
	s64 sk = f->sk;

	if (f->sk == LOT_SPARE && is_spare(x, f->cookie))
		return true;
	if (f->sk == LOT_SPARE)
		sk = sk_of_cookie(x, f->cookie);
	return sk >= 0 && sk < SK_MAX && x->far[sk].kind && x->far[sk].cookie == f->cookie && x->far[sk].lot == s->lot;
}

/* Parked for an arena that has not been seen: its message lies in a lot that was not walked, or was walked just before. */
static bool arena_missing(const struct tcpd *x)
{
	for (u32 i = 0; i < x->nstash; i++) {
		u32 sk = x->stash[i].far.sk;

		if (sk < SK_MAX && !x->t.arena[SK_ARENA(sk)].used &&
		    load_relaxed(&x->d.sock->ctl[sk].gen) == x->stash[i].far.gen)
			return true;
	}
	return false;
}

static void adopt_stash(struct tcpd *x)
{
	for (u32 i = 0; i < x->nstash; i++) {
		struct stash *s = &x->stash[i];
		struct lot *l = &x->lots.lot[s->lot];
		int r = s->far.sk == LOT_SPARE ? adopt_accepted(x, s) : s->far.sk < SK_MAX ? adopt_active(x, s) : -EPROTO;

		if (!r) {
			l->live++;
			continue;
		}
		close(s->fd);
		/* A message we sent ourselves is seen again; only one copy of a descriptor is kept. */
		if (r == -ESTALE && is_ours(x, s)) {
			l->live++;
			continue;
		}
		l->dead++;
		if (r != -ESTALE)
			log_warn("socket %u could not be adopted: %s", s->far.sk, strerror(-r));
	}
	x->nstash = 0;
}

static void take_message(struct tcpd *x, u16 lot, const struct lot_seen *m)
{
	if (m->msg.hdr.type == LOT_ARENA) {
		int r = arena_map_in(x, &m->msg.arena, m->fd, lot);

		if (!r) {
			x->lots.lot[lot].live++;
			return;
		}
		if (r == -ESTALE && x->arena[m->msg.arena.id].mapped && x->arena[m->msg.arena.id].lot == lot)
			x->lots.lot[lot].live++;	/* our own copy of it */
		else
			x->lots.lot[lot].dead++;
		if (r != -ESTALE)
			log_err("arena %u cannot be mapped: %s", m->msg.arena.id, strerror(-r));
		for (u32 i = 0; i < m->nfds; i++)
			close(m->fd[i]);
		return;
	}
	for (u32 i = 0; i < m->nfds; i++) {
		if (is_dead(x, &m->msg.far[i])) {
			x->lots.lot[lot].dead++;
			close(m->fd[i]);	/* at once: a walk may hold no more than what lives */
		} else if (stash_put(x, &m->msg.far[i], m->fd[i], lot)) {
			log_err("out of memory: a socket is lost");
			close(m->fd[i]);
		}
	}
}

/* The next message of a lot: 1; 0: there is none; -errno. */
static int walk_one(struct tcpd *x, u32 lot, struct lot_seen *seen)
{
	int r = lot_peek(&x->lots.lot[lot], seen);

	if (r > 0)
		take_message(x, (u16)lot, seen);
	else if (r < 0)
		log_err("lot %u: %s", lot, strerror(-r));
	return r;
}

static int walk(struct tcpd *x, u32 first, u32 end)
{
	static struct lot_seen seen;
	int r = 0;

	for (u32 i = first; i < end; i++) {
		int e;

		while ((e = walk_one(x, i, &seen)) > 0)
			x->lot_hot = i;
		r = e ? e : r;
	}
	return r;
}

static int walk_and_adopt(struct tcpd *x, u32 first, u32 end)
{
	int r = walk(x, first, end);

	if (arena_missing(x))
		r = walk(x, 0, x->lots.n);
	adopt_stash(x);
	return r;
}

int tcp_lots_walk(struct tcpd *x) { return walk_and_adopt(x, 0, x->lots.n); }

/* An edge: there is something new in this lot. */
void tcp_lot_event(struct tcpd *x, u32 lot)
{
	if (lot < x->lots.n)
		walk_and_adopt(x, lot, lot + 1);
}

/* A mailbox names a socket that is not known yet. Its far end was parked just before, most likely where the last one lay. */
void tcp_lots_find(struct tcpd *x, u32 sk, u32 gen)
{
	static struct lot_seen seen;

	if (x->lot_hot < x->lots.n && walk_one(x, x->lot_hot, &seen) > 0 && !arena_missing(x))
		adopt_stash(x);
	if (x->far[sk].kind != FAR_ACTIVE || x->far[sk].gen != gen)
		tcp_lots_walk(x);
}

/* ---- compaction ---- */

struct batch { struct lot_msg m; int fd[LOT_FDS]; u32 n; u32 from; u32 sk[LOT_FDS]; bool failed; };

static void batch_send(struct tcpd *x, struct batch *b)
{
	if (!b->n || b->failed)
		return;
	b->m.hdr = (struct lot_hdr){ LOT_MAGIC, LOT_FAR, (u16)b->n };
	int r = lots_put(&x->lots, &b->m, b->fd, b->n, b->from);
	if (r < 0) {
		b->failed = true;
		return;
	}
	for (u32 i = 0; i < b->n; i++) {
		if (b->sk[i] >= SK_MAX)
			x->spare[b->sk[i] - SK_MAX].lot = (u16)r;
		else
			x->far[b->sk[i]].lot = (u16)r;
	}
	b->n = 0;
}

static void batch_add(struct tcpd *x, struct batch *b, const struct lot_far *f, int fd, u32 sk)
{
	if (b->n == LOT_FDS)
		batch_send(x, b);
	if (b->failed)
		return;
	b->m.far[b->n] = *f;
	b->sk[b->n] = sk;
	b->fd[b->n++] = fd;
}

static bool arenas_copy(struct tcpd *x, u32 from)
{
	BIT_EACH(i, x->mapped, ARENA_MAX) {
		struct app_arena *a = &x->arena[i];
		const struct arena_map *m = &x->t.arena[i];
		struct lot_msg msg = { .hdr = { LOT_MAGIC, LOT_ARENA, 1 } };

		if (a->lot != from)
			continue;
		msg.arena = (struct lot_arena){ i, a->use, a->uid, a->app, m->rx_size, m->tx_size, a->stack_bytes, a->client_bytes };
		int r = lots_put(&x->lots, &msg, &a->stack, 3, from);
		if (r < 0)
			return false;
		x->lot_arenas[from]--;
		x->lot_arenas[r]++;
		a->lot = (u16)r;
	}
	return true;
}

/* Survivors first, all of them, then the drain: at no instant does a living descriptor lie nowhere. */
static bool compact(struct tcpd *x, u32 from)
{
	static struct batch b;

	b = (struct batch){ .from = from };
	if (!arenas_copy(x, from))
		return false;
	TCP_SLOT_EACH(sk, x->t.t, 0, SK_MAX) {
		const struct far *f = &x->far[sk];

		if (!f->kind || f->lot != from)
			continue;
		struct lot_far e = { .sk = f->kind == FAR_ACTIVE ? sk : LOT_SPARE, .gen = f->gen, .cookie = f->cookie };
		if (f->kind == FAR_ACTIVE)
			e.nonce = x->d.sock->ctl[sk].nonce;
		batch_add(x, &b, &e, f->r.far, sk);
	}
	for (u32 i = 0; i < x->nspare; i++)
		if (x->spare[i].lot == from)
			batch_add(x, &b, &(struct lot_far){ .sk = LOT_SPARE, .cookie = x->spare[i].cookie }, x->spare[i].far, SK_MAX + i);
	batch_send(x, &b);
	if (b.failed)
		return false;
	int r = lot_drain(&x->lots.lot[from]);
	if (r)
		log_warn("lot %u could not be emptied: %s", from, strerror(-r));
	return !r;
}

/* Worth it when half of the messages would be enough (an arena needs one of its own; of far ends many go into one): else
 * many arenas are carried from lot to lot for ever. With traffic to carry it waits longer, but not until the lots are full. */
static bool worth_compacting(const struct tcpd *x, u32 lot, bool busy)
{
	const struct lot *l = &x->lots.lot[lot];
	u32 arenas = x->lot_arenas[lot];

	if (l->urgent || l->walked < (busy ? COMPACT_BUSY : COMPACT_MESSAGES))
		return l->urgent;
	return l->walked > 2 * (arenas + (l->live - MIN(arenas, l->live)) / LOT_FDS + 1);
}

void tcp_lots_compact(struct tcpd *x, bool busy)
{
	for (u32 i = 0; i < x->lots.n; i++) {
		if (!worth_compacting(x, i, busy))
			continue;
		if (x->lots.next == i)
			x->lots.next = (i + 1) % x->lots.n;
		if (tcp_lots_walk(x) || !compact(x, i))
			return;
		tcp_lots_walk(x);	/* the copies are ours: seen, not adopted again */
		return;			/* one a pass */
	}
}
