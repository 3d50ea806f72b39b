/* ring.h – single-producer single-consumer rings between daemons.
 *
 * A ring is two pieces in two regions, because every page has one writing process:
 *   struct ring_prod + slots   in the producer's region: head, want
 *   struct ring_cons           in the consumer's region: tail
 * Indexes are free-running u32; capacity is a power of two. The handle (struct ring) is private to a
 * process: it holds pointers, its own index, and the last index seen from the peer.
 *
 * Exactly once, by cause (DESIGN.md, crash rule 1): every slot carries the input ring and index that
 * caused it. Outputs are published before the input's tail moves. A successor calls
 * ring_cons_recover() with the newest cause it finds in its own outputs.
 *
 * Units: indexes count slots. Ownership: a slot belongs to the producer until ring_publish(), then to
 * the consumer until ring_release(). Errors: NULL / false, never an assertion on what a peer wrote. */
#ifndef STRATA_RING_H
#define STRATA_RING_H

#include "base.h"

struct ring_prod {
	_Alignas(CACHELINE) _Atomic u32 head;	/* next slot the producer will fill */
	_Atomic u32 want;			/* producer waits for space: ring its doorbell after a release */
	u32 pad[14];
};

struct ring_cons {
	_Alignas(CACHELINE) _Atomic u32 tail;	/* next slot the consumer will take */
	_Atomic u32 hungry;			/* completion rings: the consumer is out of buffers, ring it; else no doorbell */
	u32 pad[14];
};

static_assert(sizeof(struct ring_prod) == CACHELINE, "one line");
static_assert(sizeof(struct ring_cons) == CACHELINE, "one line");

struct ring {
	struct ring_prod *prod;
	struct ring_cons *cons;
	u8 *slots;
	u32 mask;	/* capacity - 1 */
	u32 stride;	/* bytes per slot */
	u32 pos;	/* this side's private index: head of a producer, tail of a consumer */
	u32 seen;	/* last index read from the peer */
	u64 bad;	/* times the peer's index was nonsense */
};

static inline void *ring_at(const struct ring *r, u32 i)
{
	return r->slots + (size_t)(i & r->mask) * r->stride;
}

static inline u32 ring_capacity(const struct ring *r) { return r->mask + 1; }

/* ---- producer ---- */

/* Slots free to fill, counted from the private head. */
static inline u32 ring_space(struct ring *r)
{
	u32 used = r->pos - r->seen;

	if (used <= r->mask && ring_capacity(r) - used > r->mask / 2)
		return ring_capacity(r) - used;
	r->seen = load_acquire(&r->cons->tail);	/* pairs with the release in ring_release() */
	used = r->pos - r->seen;
	if (unlikely(used > ring_capacity(r))) {	/* a consumer's nonsense: treat as full */
		r->bad++;
		return 0;
	}
	return ring_capacity(r) - used;
}

/* Next slot to fill, or NULL when full. Nothing is visible before ring_publish(). */
static inline void *ring_reserve(struct ring *r)
{
	if (unlikely(ring_space(r) == 0))
		return NULL;
	return ring_at(r, r->pos++);
}

/* Make every reserved slot visible; pairs with the acquire in ring_peek(). */
static inline void ring_publish(struct ring *r)
{
	store_release(&r->prod->head, r->pos);
}

/* True when something reserved has not been published. */
static inline bool ring_dirty(const struct ring *r)
{
	return load_relaxed(&r->prod->head) != r->pos;
}

/* Ask for a doorbell when there is space again. Call, then look at ring_space() once more before sleeping:
 * the fence pairs with the one in ring_release_wants_bell(). */
static inline void ring_want_space(struct ring *r)
{
	store_relaxed(&r->prod->want, 1);
	fence_seq_cst();
	r->seen = load_acquire(&r->cons->tail);
}

static inline void ring_clear_want(struct ring *r)
{
	if (load_relaxed(&r->prod->want))
		store_relaxed(&r->prod->want, 0);
}

/* ---- consumer ---- */

/* Slots ready to take. A producer's nonsense index yields 0 and is counted. */
static inline u32 ring_count(struct ring *r)
{
	u32 n = r->seen - r->pos;

	if (n && n <= ring_capacity(r))
		return n;
	r->seen = load_acquire(&r->prod->head);	/* pairs with the release in ring_publish() */
	n = r->seen - r->pos;
	if (unlikely(n > ring_capacity(r))) {
		r->bad++;
		r->seen = r->pos;
		return 0;
	}
	return n;
}

/* Next slot, or NULL. Copy it out before trusting it: the producer may be dying. */
static inline const void *ring_peek(struct ring *r)
{
	return ring_count(r) ? ring_at(r, r->pos) : NULL;
}

static inline void ring_next(struct ring *r) { r->pos++; }

/* Give every taken slot back; pairs with the acquire in ring_space(). Call after the outputs are published. */
static inline void ring_release(struct ring *r)
{
	store_release(&r->cons->tail, r->pos);
}

/* ring_release(), then: does the producer wait for space? The fence pairs with ring_want_space(). */
static inline bool ring_release_wants_bell(struct ring *r)
{
	if (load_relaxed(&r->cons->tail) == r->pos)
		return false;
	ring_release(r);
	fence_seq_cst();
	return load_relaxed(&r->prod->want) != 0;
}

/* ---- attach: a start is a restart ---- */

static inline void ring_attach(struct ring *r, struct ring_prod *p, struct ring_cons *c, void *slots,
			       u32 capacity, u32 stride)
{
	*r = (struct ring){ .prod = p, .cons = c, .slots = slots, .mask = capacity - 1, .stride = stride };
}

static inline void ring_attach_producer(struct ring *r, struct ring_prod *p, struct ring_cons *c,
					void *slots, u32 capacity, u32 stride)
{
	ring_attach(r, p, c, slots, capacity, stride);
	r->pos = load_acquire(&p->head);
	r->seen = load_acquire(&c->tail);
}

static inline void ring_attach_consumer(struct ring *r, struct ring_prod *p, struct ring_cons *c,
					void *slots, u32 capacity, u32 stride)
{
	ring_attach(r, p, c, slots, capacity, stride);
	r->pos = load_acquire(&c->tail);
	r->seen = r->pos;
}

/* The newest cause found in the successor's own outputs said input `index` was answered. */
static inline void ring_cons_recover(struct ring *r, u32 index)
{
	if ((s32)(index + 1 - r->pos) > 0 && index + 1 - r->pos <= ring_capacity(r))
		r->pos = index + 1;
	ring_release(r);
}

#endif
