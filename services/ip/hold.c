/* hold.c – the hold table: descriptors that wait for a neighbour (tx6) or for the rest of a datagram (rx5).
 *
 * Crash rule 2: a buffer is in a ring or here, written before the input's tail moves. Order when holding: fill, then
 * `used`. Order when releasing: output published, inputs released (ip_settle), then `used` cleared. */
#include "path.h"

bool hold_put(struct ip_stack *st, enum hold_kind kind, u32 owner, u64 deadline, const struct sk_buff *skb, u16 *ret)
{
	u32 *n = kind == HOLD_NEIGH ? &st->nhold_neigh : &st->nhold_frag;
	struct ip_hold *h;
	u16 i;

	if (*n >= (kind == HOLD_NEIGH ? HOLD_NEIGH_MAX : HOLD_FRAG_MAX) || !st->nhold_free)
		return false;
	ip_publish(st);		/* older answers first */
	i = st->hold_free[--st->nhold_free];
	h = &st->shm->hold[i];
	h->owner = owner;
	h->seq = st->hold_seq++;
	h->deadline = deadline;
	h->skb = *skb;
	store_release(&h->used, kind);	/* pairs with the acquire of whoever reconciles a pool */
	ip_crash_point("after hold");
	if ((skb->cause.flags & CAUSE_LAST) && skb->cause.ring == st->in.id && skb->cause.index == st->in.index)
		st->in.answered = true;
	(*n)++;
	st->hold_next[i] = NONE16;
	*ret = i;
	return true;
}

void hold_skb(struct ip_stack *st, u16 i, struct sk_buff *ret)
{
	const struct ip_hold *h = &st->shm->hold[i];

	*ret = h->skb;
	ret->cause = (struct cause){ .index = (u32)h->seq, .ring = R_HOLD, .flags = CAUSE_LAST };
}

void hold_clear(struct ip_stack *st, u16 i)
{
	struct ip_hold *h = &st->shm->hold[i];

	if (load_relaxed(&h->used) == HOLD_NEIGH)
		st->nhold_neigh--;
	else
		st->nhold_frag--;
	store_release(&h->used, HOLD_FREE);
	ip_crash_point("after hold clear");
	st->hold_free[st->nhold_free++] = i;
}

/* Was this held descriptor released already, its predecessor dying before it could clear the hold? */
static bool emitted(const struct ring *r, bool done, const struct ip_hold *h)
{
	u32 head = load_relaxed(&r->prod->head);

	for (u32 k = 1; k <= RECOVER_BACK && k <= ring_capacity(r); k++) {
		const void *slot = ring_at(r, head - k);
		u32 buf = done ? ((const struct skb_done *)slot)->buf : ((const struct sk_buff *)slot)->buf;
		u32 gen = done ? ((const struct skb_done *)slot)->gen : ((const struct sk_buff *)slot)->gen;

		if (buf == h->skb.buf && gen == h->skb.gen)
			return true;
	}
	return false;
}

static bool still_held(struct ip_stack *st, const struct ip_hold *h)
{
	return (load_relaxed(&h->used) == HOLD_NEIGH || load_relaxed(&h->used) == HOLD_FRAG) &&
	       h->skb.hdr_off <= SKB_HDR_ROOM && skb_data(st->pools, &h->skb) && !emitted(&st->r.ip_link, false, h) &&
	       !emitted(&st->r.ip_link_done, true, h) && !emitted(&st->r.ip_tcp_done, true, h);
}

/* A start: holds whose buffer has moved on are cleared; the rest are counted (their queues are rebuilt by
 * neigh_attach() and ip_defrag_attach()). */
void hold_attach(struct ip_stack *st)
{
	st->nhold_free = st->nhold_neigh = st->nhold_frag = 0;
	st->hold_seq = 1;
	for (u32 i = IP_HOLD; i-- > 0;) {
		struct ip_hold *h = &st->shm->hold[i];

		st->hold_next[i] = NONE16;
		if (h->seq >= st->hold_seq)
			st->hold_seq = h->seq + 1;
		if (load_relaxed(&h->used) && !still_held(st, h))
			store_release(&h->used, HOLD_FREE);
		if (load_relaxed(&h->used) == HOLD_NEIGH)
			st->nhold_neigh++;
		else if (load_relaxed(&h->used) == HOLD_FRAG)
			st->nhold_frag++;
		else
			st->hold_free[st->nhold_free++] = (u16)i;
	}
}
