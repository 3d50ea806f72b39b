/* rings.c – which ring lies where: binding enum ring_id to the regions, and reading rings after a death.
 *
 * Between the steps tx3/tx4, tx6/tx7, rx2/rx3, rx5/rx6 and on every buffer's way back. Called by the
 * daemons when they start. */
#include "daemon.h"

struct ring_def {
	enum region_id from, to;	/* producer's region, consumer's region */
	size_t prod, slots, cons;	/* offsets there */
	u32 capacity, stride;
};

#define RING(p, P, c, C, name, cap, slot)                                                                    \
	{                                                                                                    \
		REGION_##P, REGION_##C, offsetof(struct p##_shm, name), offsetof(struct p##_shm, name##_slots), \
			offsetof(struct c##_shm, name), cap, sizeof(struct slot)                             \
	}

static const struct ring_def defs[RING_IDS] = {
	[R_LINK_IP] = RING(link, LINK, ip, IP, link_ip, RX_RING, sk_buff),
	[R_IP_TCP] = RING(ip, IP, tcp, TCP, ip_tcp, RX_RING, sk_buff),
	[R_TCP_IP] = RING(tcp, TCP, ip, IP, tcp_ip, TX_RING, sk_buff),
	[R_IP_LINK] = RING(ip, IP, link, LINK, ip_link, TX_RING, sk_buff),
	[R_IP_LINK_DONE] = RING(ip, IP, link, LINK, ip_link_done, LINK_DONE_RING, skb_done),
	[R_TCP_LINK_DONE] = RING(tcp, TCP, link, LINK, tcp_link_done, LINK_DONE_RING, skb_done),
	[R_LINK_TCP_DONE] = RING(link, LINK, tcp, TCP, link_tcp_done, LINK_DONE_RING, skb_done),
	[R_LINK_IP_DONE] = RING(link, LINK, ip, IP, link_ip_done, LINK_DONE_RING, skb_done),
	[R_IP_TCP_DONE] = RING(ip, IP, tcp, TCP, ip_tcp_done, IP_DONE_RING, skb_done),
	[R_TCP_IP_DONE] = RING(tcp, TCP, ip, IP, tcp_ip_done, IP_DONE_RING, skb_done),
};
static_assert(LINK_DONE_RING >= LINK_NBUF && LINK_DONE_RING >= TCP_NBUF && IP_DONE_RING >= IP_NBUF &&
		      IP_DONE_RING >= TCP_NBUF,
	      "a completion ring holds the whole pool");
static_assert(offsetof(struct sk_buff, buf) == offsetof(struct skb_done, buf) &&
		      offsetof(struct sk_buff, gen) == offsetof(struct skb_done, gen),
	      "ring_mark() reads both kinds of slots alike");

static u8 *region_of(const struct daemon *d, enum region_id id)
{
	switch (id) {
	case REGION_LINK: return (u8 *)d->link;
	case REGION_IP: return (u8 *)d->ip;
	case REGION_TCP: return (u8 *)d->tcp;
	default: return NULL;
	}
}

void ring_open(struct daemon *d, enum ring_id id, struct ring *r)
{
	const struct ring_def *f = &defs[id];
	u8 *from, *to;

	assert(f->capacity);
	from = region_of(d, f->from);
	to = region_of(d, f->to);
	if (d->role == f->from)
		ring_attach_producer(r, (void *)(from + f->prod), (void *)(to + f->cons), from + f->slots, f->capacity,
				     f->stride);
	else
		ring_attach_consumer(r, (void *)(from + f->prod), (void *)(to + f->cons), from + f->slots, f->capacity,
				     f->stride);
}

static struct cause cause_at(const struct ring *r, bool done, u32 i)
{
	if (done) {
		const struct skb_done *d = ring_at(r, i);

		return (struct cause){ .index = d->index, .ring = d->ring, .flags = d->flags };
	}
	return ((const struct sk_buff *)ring_at(r, i))->cause;
}

/* Slots from head - capacity/2 to head are published for certain: the ones before may be overwritten by what a
 * predecessor had filled and not published. Everything older than one pass has moved its input's tail anyway. */
bool ring_newest_cause(const struct ring *out, bool done_slots, enum ring_id id, u32 *index)
{
	u32 head = load_acquire(&out->prod->head);

	for (u32 back = 1; back <= ring_capacity(out) / 2; back++) {
		struct cause c = cause_at(out, done_slots, head - back);

		if (c.ring != (u8)id || !(c.flags & CAUSE_LAST))
			continue;
		*index = c.index;	/* causes of one ring ascend: the first found is the newest */
		return true;
	}
	return false;
}

bool ring_has_cause(const struct ring *out, bool done_slots, enum ring_id id, u32 index, u16 sub)
{
	u32 head = load_acquire(&out->prod->head);

	for (u32 back = 1; back <= ring_capacity(out) / 2; back++) {
		struct cause c = cause_at(out, done_slots, head - back);

		if (c.ring == (u8)id && c.index == index && c.sub == sub)
			return true;
	}
	return false;
}

/* Tail before head: what is consumed in between was in the range we mark, or is downstream already, where the caller,
 * walking in flow order, looks afterwards. A range that makes no sense (or has moved on) marks every slot:
 * generations keep old ones from counting, and a loan marked in error is only found at the next start. */
void ring_mark(const struct daemon *d, enum ring_id id, struct pool_scan *s)
{
	const struct ring_def *f = &defs[id];
	const u8 *from, *to;
	u32 tail, head;

	assert(f->capacity);
	from = region_of(d, f->from);
	to = region_of(d, f->to);
	tail = load_acquire(&((struct ring_cons *)(to + f->cons))->tail);
	head = load_acquire(&((struct ring_prod *)(from + f->prod))->head);
	if (head - tail > f->capacity)
		tail = head - f->capacity;
	for (u32 i = tail; i != head; i++) {
		const struct skb_done *slot = (const void *)(from + f->slots + (size_t)(i & (f->capacity - 1)) * f->stride);

		pool_scan_mark(s, slot->buf, slot->gen);
	}
}
