/* neigh_output.c – tx6: the link header, from the neighbour's cache or after asking for it.
 *
 * neighbour.output is one of the two functions here; neigh_set_state() picks. Called by ip_finish_output(). */
#include "path.h"

/* Known and believed: copy the cached link header, hand the frame to linkd (tx7). */
void neigh_connected_output(struct ip_stack *st, struct neighbour *nb, struct sk_buff *skb)
{
	u8 *p = skb_push_hdr(skb, ETH_HLEN);

	if (unlikely(!p)) {
		drop(st, skb, DROP_NONSENSE, EINVAL);
		return;
	}
	memcpy(p, nb->hh.hdr, ETH_HLEN);
	nb->n->used = st->now;
	skb->dev = nb->n->dev;
	count(st->counters, FLOW_TX6_NEIGH_OUTPUT);
	if (unlikely(!ip_emit_link(st, skb)))
		drop(st, skb, DROP_RING_FULL, ENOBUFS);
}

static void enqueue(struct ip_stack *st, struct neighbour *nb, struct sk_buff *skb)
{
	u32 bytes = skb_total_len(skb);
	u16 h;

	if (nb->qlen >= NEIGH_QUEUE || nb->qbytes + bytes > NEIGH_QUEUE_BYTES ||
	    !hold_put(st, HOLD_NEIGH, (u32)(nb - st->neigh), nb->n->deadline, skb, &h)) {
		drop(st, skb, DROP_NEIGH_QUEUE, ENOBUFS);
		return;
	}
	if (nb->head == NONE16)
		nb->head = h;
	else
		st->hold_next[nb->tail] = h;
	nb->tail = h;
	nb->qlen++;
	nb->qbytes += bytes;
}

/* Unknown, or known but doubtful. */
void neigh_resolve_output(struct ip_stack *st, struct neighbour *nb, struct sk_buff *skb)
{
	nb->n->used = st->now;
	switch (nb->n->state) {
	case NUD_NONE:
	case NUD_FAILED:
		neigh_set_state(st, nb, NUD_INCOMPLETE);
		enqueue(st, nb, skb);
		break;
	case NUD_INCOMPLETE:
		enqueue(st, nb, skb);
		break;
	case NUD_STALE:		/* use it, and find out whether it is still true */
		neigh_set_state(st, nb, NUD_DELAY);
		neigh_connected_output(st, nb, skb);
		break;
	default:
		neigh_connected_output(st, nb, skb);
	}
}

/* Complete `nb`'s queue: sent, or refused with error. */
static void empty_queue(struct ip_stack *st, struct neighbour *nb, int error)
{
	u16 first = nb->head;

	if (first == NONE16)
		return;
	nb->head = nb->tail = NONE16;
	nb->qlen = nb->qbytes = 0;
	for (u16 h = first; h != NONE16; h = st->hold_next[h]) {
		struct sk_buff skb;

		hold_skb(st, h, &skb);
		if (error)
			drop(st, &skb, DROP_NEIGH_FAILED, error);
		else
			neigh_connected_output(st, nb, &skb);
	}
	ip_settle(st);
	for (u16 h = first, next; h != NONE16; h = next) {
		next = st->hold_next[h];
		hold_clear(st, h);
	}
}

void neigh_flush(struct ip_stack *st, struct neighbour *nb) { empty_queue(st, nb, 0); }
void neigh_fail(struct ip_stack *st, struct neighbour *nb) { empty_queue(st, nb, EHOSTUNREACH); }
