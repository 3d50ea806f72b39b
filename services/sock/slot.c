/* slot.c – tx1: a socket is a slot below ARENA_ACTIVE in an arena of its application.
 *
 * sk_ctl.gen is odd while the slot is in use. It is stored before the far end is parked, with who asked for it, so
 * that a repeated request finds its socket. The slot is free again when tcpd says so (ans.freed_gen), which it does
 * when the last copy of the descriptor and the connection are gone. Called by call.c, hello.c, mailbox.c. */
#include "sockd.h"

#include <sys/random.h>

struct quota *quota_of(struct sockd *s, u32 uid)
{
	for (u32 i = 0, k = uid * 2654435761u % QUOTA_UIDS; i < QUOTA_UIDS; i++, k = (k + 1) % QUOTA_UIDS) {
		struct quota *q = &s->quota[k];

		if (!q->used)
			*q = (struct quota){ .uid = uid, .used = true };
		if (q->uid == uid)
			return q;
	}
	return NULL;	/* more users than anybody has: refused, not confused */
}

static void slot_back(struct sockd *s, u32 sk)
{
	struct arena_own *a = &s->arena[SK_ARENA(sk)];

	a->free[SK_SLOT(sk) / 64] |= 1ull << (SK_SLOT(sk) % 64);
	a->nfree++;
}

u32 slot_used_next(const struct sockd *s, u32 arena, u32 slot)
{
	const struct arena_own *a = &s->arena[arena];

	for (u32 w = slot / 64; w < ARRAY_SIZE(a->free); w++) {
		u64 used = ~a->free[w] & (w == slot / 64 ? ~0ull << (slot % 64) : ~0ull);

		if (used)
			return w * 64 + (u32)__builtin_ctzll(used);
	}
	return ARENA_ACTIVE;
}

static s64 take_slot(struct sockd *s, u32 arena)
{
	struct arena_own *a = &s->arena[arena];

	for (u32 w = 0; w < ARRAY_SIZE(a->free); w++) {
		if (!a->free[w])
			continue;
		u32 bit = (u32)__builtin_ctzll(a->free[w]);
		a->free[w] &= a->free[w] - 1;
		a->nfree--;
		return SK(arena, w * 64 + bit);
	}
	return -ENOBUFS;
}

/* The application's words as a new socket finds them: whoever had the slot before left his. The offsets stay. Before the
 * request that makes the socket reaches tcpd, which may carry out a connect at once. */
static void words_reset(struct sk_client *c)
{
	store_relaxed(&c->shut, 0);
	store_relaxed(&c->fin_at, 0);
	store_relaxed(&c->err_taken, 0);
	store_relaxed(&c->rcvlowat, 0);
	store_relaxed(&c->wlock, 0);
	store_relaxed(&c->plain, 0);
	store_relaxed(&c->readers, 0);
	store_release(&c->opts, 0);
}

/* Randomness comes many at a time. */
static int nonce_take(struct sockd *s, u64 *ret)
{
	if (!s->nnonce) {
		if (getrandom(s->nonce, sizeof(s->nonce), 0) != sizeof(s->nonce))
			return -EIO;
		s->nnonce = ARRAY_SIZE(s->nonce);
	}
	*ret = s->nonce[--s->nnonce] | 1;
	s->nonce[s->nnonce] = 0;
	return 0;
}

int slot_alloc(struct sockd *s, struct client *c, u64 cookie, u32 *ret_sk, bool *ret_new_arena)
{
	s64 sk = -ENOBUFS;

	*ret_new_arena = false;
	for (u32 a = client_arena(c); a < ARENA_MAX && sk < 0; a = bit_next(c->arenas, a + 1, ARENA_MAX))
		sk = take_slot(s, a);
	if (sk < 0) {
		u32 first = client_arena(c);
		int id = arena_new(s, &c->cred, first < ARENA_MAX ? (s64)s->d.sock->arena[first].app : -1);

		if (id < 0)
			return id == -ENOSPC ? -ENOBUFS : id;
		arena_hold(s, c, (u32)id);
		*ret_new_arena = true;
		sk = take_slot(s, (u32)id);
	}
	struct sk_ctl *ctl = &s->d.sock->ctl[sk];
	_Atomic u32 *high = &s->d.sock->arena[SK_ARENA(sk)].high;
	u64 nonce;
	int r = nonce_take(s, &nonce);
	if (r) {
		slot_back(s, (u32)sk);
		return r;
	}
	words_reset(&s->arena[SK_ARENA(sk)].client->sk[SK_SLOT(sk)]);
	ctl->uid = c->cred.uid;
	ctl->pid = c->cred.pid;
	ctl->client = c->id;
	ctl->req = c->call.rq->id;
	ctl->cookie = cookie;
	ctl->nonce = nonce;
	ctl->op = SKOP_NONE;
	ctl->want_gen = (load_relaxed(&ctl->gen) + 1) | 1;	/* odd already: its arena was lost */
	if (load_relaxed(high) <= SK_SLOT(sk))
		store_release(high, SK_SLOT(sk) + 1);
	store_release(&ctl->gen, ctl->want_gen);
	quota_of(s, c->cred.uid)->sockets++;
	*ret_sk = (u32)sk;
	return 0;
}

/* The far end goes to tcpd by lying in its lot. Repeated: tcpd keeps the first and ignores the second. */
int slot_park(struct sockd *s, u32 sk, int far)
{
	const struct sk_ctl *ctl = &s->d.sock->ctl[sk];
	struct lot_msg m = { .hdr = { LOT_MAGIC, LOT_FAR, 1 } };

	m.far[0] = (struct lot_far){ .sk = sk, .gen = load_relaxed(&ctl->gen), .cookie = ctl->cookie, .nonce = ctl->nonce };
	return lots_error(lots_put(&s->tcp_lots, &m, &far, 1, LOTS_MAX));
}

static void slot_release(struct sockd *s, u32 sk)
{
	struct sk_ctl *ctl = &s->d.sock->ctl[sk];
	struct quota *q = quota_of(s, ctl->uid);

	if (q && q->sockets)
		q->sockets--;
	ctl->cookie = 0;
	store_release(&ctl->gen, load_relaxed(&ctl->gen) + 1);
	slot_back(s, sk);
}

/* Allocated, but tcpd never heard of it. */
void slot_abandon(struct sockd *s, u32 sk) { slot_release(s, sk); }

void slot_reap(struct sockd *s, u32 sk)
{
	const struct sk_ctl *ctl = &s->d.sock->ctl[sk];
	u32 gen = load_relaxed(&((struct sk_ctl *)ctl)->gen);

	if (SK_SLOT(sk) < ARENA_ACTIVE && (gen & 1) && load_acquire(&s->d.tcp->ans[sk].freed_gen) == gen &&
	    !mailbox_busy(s, sk))
		slot_release(s, sk);
}

/* A request that made a socket is repeated (the first after a reconnect may be): which socket was it? It may lie in an
 * arena whose announcement was lost with the reply. */
s64 slot_of_request(struct sockd *s, const struct client *c, u64 req, u64 cookie)
{
	BIT_EACH(a, s->live, ARENA_MAX) {
		SLOT_USED_EACH(i, s, a) {
			const struct sk_ctl *ctl = &s->d.sock->ctl[SK(a, i)];

			if ((load_relaxed(&ctl->gen) & 1) && ctl->cookie == cookie && ctl->client == c->id && ctl->req == req)
				return SK(a, i);
		}
	}
	return -ENOENT;
}

u32 slot_gen(const struct sockd *s, u32 sk)
{
	u32 arena = SK_ARENA(sk), slot = SK_SLOT(sk);

	if (arena >= ARENA_MAX || !arena_live(s, arena))
		return 0;
	if (slot < ARENA_ACTIVE)
		return load_relaxed(&s->d.sock->ctl[sk].gen);
	const struct sk_stack *w = &s->arena[arena].stack->sk[slot];
	return load_acquire(&((struct sk_stack *)w)->state) == SKS_FREE ? 0 : load_relaxed(&((struct sk_stack *)w)->gen);
}

bool slot_may(const struct sockd *s, const struct client *c, u32 sk, u32 gen)
{
	u32 arena = SK_ARENA(sk);

	return arena < ARENA_MAX && bit_test(c->arenas, arena) && gen && slot_gen(s, sk) == gen &&
	       (SK_SLOT(sk) >= ARENA_ACTIVE || (gen & 1));
}

s64 slot_of_cookie(const struct sockd *s, u64 cookie)
{
	if (!cookie)
		return -ENOENT;
	BIT_EACH(a, s->live, ARENA_MAX) {
		SLOT_USED_EACH(i, s, a) {
			const struct sk_ctl *ctl = &s->d.sock->ctl[SK(a, i)];

			if ((load_relaxed(&ctl->gen) & 1) && ctl->cookie == cookie)
				return SK(a, i);
		}
		TCP_SLOT_EACH(sk, &s->d.tcp->t, SK(a, ARENA_ACTIVE), SK(a + 1, 0))
			if (load_acquire(&s->d.tcp->near_cookie[sk]) == cookie && slot_gen(s, sk))
				return sk;
	}
	return -ENOENT;
}
