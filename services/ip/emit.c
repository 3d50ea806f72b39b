/* emit.c – how ipd hands a packet on or gives a buffer back; see "exactly once" in ip.h.
 *
 * Called by every step; calls nothing but the rings. */
#include "path.h"

/* Outputs go through one ring at a time: another ring's unpublished slots are older answers and must be seen first. */
static void *reserve(struct ip_stack *st, struct ring *r)
{
	void *slot;

	if (st->dirty != r) {
		ip_publish(st);
		st->dirty = r;
	}
	slot = ring_reserve(r);
	if (slot)
		st->outputs++;
	return slot;
}

static void note_answered(struct ip_stack *st, u8 ring, u32 index, u8 flags)
{
	if ((flags & CAUSE_LAST) && ring == st->in.id && index == st->in.index)
		st->in.answered = true;
}

static bool emit(struct ip_stack *st, struct ring *r, const struct sk_buff *skb)
{
	struct sk_buff *slot = reserve(st, r);

	if (unlikely(!slot))
		return false;
	*slot = *skb;
	note_answered(st, skb->cause.ring, skb->cause.index, skb->cause.flags);
	return true;
}

bool ip_emit_link(struct ip_stack *st, const struct sk_buff *skb)
{
	st->bell_link = true;
	return emit(st, &st->r.ip_link, skb);
}

bool ip_emit_tcp(struct ip_stack *st, const struct sk_buff *skb)
{
	st->bell_tcp = true;
	return emit(st, &st->r.ip_tcp, skb);
}

void ip_publish(struct ip_stack *st)
{
	if (!st->dirty)
		return;
	ip_crash_point("before publish");
	ring_publish(st->dirty);
	ip_crash_point("after publish");
	st->dirty = NULL;
}

/* A completion ring holds the whole pool, so a full one means that its consumer's index is nonsense: the buffer stays on
 * loan until its owner reconciles. */
static void emit_done(struct ip_stack *st, struct ring *r, const struct sk_buff *skb, int error)
{
	struct skb_done *slot = reserve(st, r);

	if (unlikely(!slot)) {
		count(st->counters, DROP_RING_FULL);
		return;
	}
	*slot = (struct skb_done){ .buf = skb->buf, .gen = skb->gen, .index = skb->cause.index, .ring = skb->cause.ring,
				   .flags = skb->cause.flags, .error = (u16)error };
	if (error && r == &st->r.ip_tcp_done)
		st->bell_tcp = true;	/* a connect() waits for this, not for the buffer */
	note_answered(st, slot->ring, slot->index, slot->flags);
}

/* A buffer goes home. An input's descriptor goes back to who sent it whatever it claims to be, so that every input is
 * answered; everything else by its pool. */
void ip_complete(struct ip_stack *st, const struct sk_buff *skb, int error)
{
	if (skb->cause.ring == R_LINK_IP && (skb->cause.flags & CAUSE_LAST))
		emit_done(st, &st->r.ip_link_done, skb, 0);
	else if (skb->cause.ring == R_TCP_IP && (skb->cause.flags & CAUSE_LAST))
		emit_done(st, &st->r.ip_tcp_done, skb, error);
	else if (SKB_BUF_POOL(skb->buf) == POOL_LINK)
		emit_done(st, &st->r.ip_link_done, skb, 0);
	else if (SKB_BUF_POOL(skb->buf) == POOL_TCP)
		emit_done(st, &st->r.ip_tcp_done, skb, error);
	else
		pool_give_back(&st->pools->p[POOL_IP], skb->buf, skb->gen, NULL);
}

void drop(struct ip_stack *st, const struct sk_buff *skb, enum counter_id reason, int error)
{
	count(st->counters, reason);
	ip_complete(st, skb, error);
}

/* Before a hold is cleared, and with it the record that an input was answered: make the answers visible and let go
 * of the inputs they answer. */
void ip_settle(struct ip_stack *st)
{
	ip_publish(st);
	if (st->in.ring) {
		store_release(&st->in.ring->cons->tail, st->in.index + (st->in.answered ? 1 : 0));
		ip_crash_point("after settle");
	}
}

u8 *ip_alloc(struct ip_stack *st, u32 size, struct sk_buff *skb)
{
	u8 *b = pool_take(&st->pools->p[POOL_IP], size, 0, skb);

	ip_crash_point("after take");
	if (!b)
		return NULL;
	skb->cause = (struct cause){ .index = st->in.index, .sub = st->in.sub++, .ring = st->in.id };
	skb->tstamp = st->now;
	skb->pkt_type = PACKET_OUTGOING;
	return b;
}
