/* defrag.c – rx5: reassembly (RFC 791 3.2, in the manner of RFC 815) with RFC 5722's lesson: overlapping fragments
 * discard the whole datagram; an exact duplicate is only dropped itself.
 *
 * Fragments wait in the hold table (crash rule 2), also the one that completes the datagram: the copy is made into a buffer of
 * our own, delivered, and only then are the holds released. A death between delivers it twice, which IP may. A successor
 * rebuilds the queues from the table. Limits: per datagram, per source, in total; 30 s; the oldest datagram makes room.
 * Called by ip_local_deliver() with data at the network header; calls ip_deliver_whole(), icmp_send(). */
#include "path.h"

#define FRAG_TIME (30 * NSEC_PER_SEC)

static u32 frags_of_source(const struct ip_stack *st, be32 saddr)
{
	u32 n = 0;

	for (u32 i = 0; i < FRAG_QUEUES; i++)
		if (st->ipq[i].used && be32_eq(st->ipq[i].saddr, saddr))
			n += st->ipq[i].nfrags;
	return n;
}

/* Give every fragment back to its owner and forget the datagram. reason COUNTERS: it was delivered. */
static void release(struct ip_stack *st, struct ipq *q, enum counter_id reason)
{
	u16 first = q->head;

	q->used = false;
	q->head = NONE16;
	timer_cancel(&st->wheel, &q->timer);
	for (u16 h = first; h != NONE16; h = st->hold_next[h]) {
		struct sk_buff skb;

		hold_skb(st, h, &skb);
		if (reason == COUNTERS)
			ip_complete(st, &skb, 0);
		else
			drop(st, &skb, reason, 0);
	}
	ip_settle(st);
	for (u16 h = first, next; h != NONE16; h = next) {
		next = st->hold_next[h];
		hold_clear(st, h);
	}
}

/* RFC 1122 3.3.2: time exceeded, but only if the first fragment is there to be quoted. */
static void expire(struct timer *t, void *arg, u64 now)
{
	struct ip_stack *st = arg;
	struct ipq *q = container_of(t, struct ipq, timer);

	if (q->head != NONE16 && st->frag[q->head].off == 0) {
		struct sk_buff skb;

		hold_skb(st, q->head, &skb);
		icmp_send(st, &skb, ICMP_TIME_EXCEEDED, 1, 0);
	}
	release(st, q, DROP_FRAG_TIMEOUT);
}

static struct ipq *find(struct ip_stack *st, const struct ip_hdr *h)
{
	for (u32 i = 0; i < FRAG_QUEUES; i++) {
		struct ipq *q = &st->ipq[i];

		if (q->used && q->id == from_be16(h->id) && be32_eq(q->saddr, h->saddr) && be32_eq(q->daddr, h->daddr) &&
		    q->protocol == h->protocol)
			return q;
	}
	return NULL;
}

static struct ipq *oldest(struct ip_stack *st)
{
	struct ipq *best = NULL;

	for (u32 i = 0; i < FRAG_QUEUES; i++)
		if (st->ipq[i].used && (!best || st->ipq[i].timer.deadline < best->timer.deadline))
			best = &st->ipq[i];
	return best;
}

static struct ipq *create(struct ip_stack *st, const struct ip_hdr *h, u8 dev, u64 deadline)
{
	struct ipq *q = NULL;

	for (u32 i = 0; i < FRAG_QUEUES && !q; i++)
		if (!st->ipq[i].used)
			q = &st->ipq[i];
	if (!q) {
		q = oldest(st);
		release(st, q, DROP_FRAG_LIMIT);
	}
	*q = (struct ipq){ .used = true, .saddr = h->saddr, .daddr = h->daddr, .id = from_be16(h->id), .protocol = h->protocol,
			   .dev = dev, .head = NONE16, .timer = { .fn = expire } };
	timer_arm(&st->wheel, &q->timer, deadline);
	return q;
}

/* Where it goes among its siblings: 0, -EEXIST a duplicate, -EINVAL it overlaps or contradicts them. */
static int place(const struct ip_stack *st, const struct ipq *q, u32 off, u32 end, bool last, u16 *ret_after)
{
	u16 after = NONE16;

	if (last ? (q->last_in && q->len != end) : (q->last_in && end > q->len))
		return -EINVAL;
	for (u16 h = q->head; h != NONE16; h = st->hold_next[h]) {
		if (st->frag[h].off == off && st->frag[h].end == end)
			return -EEXIST;
		if (st->frag[h].off < end && off < st->frag[h].end)
			return -EINVAL;
		if (last && st->frag[h].end > end)
			return -EINVAL;
		if (st->frag[h].off < off)
			after = h;
	}
	*ret_after = after;
	return 0;
}

static void insert(struct ip_stack *st, struct ipq *q, u16 h, u16 after, u32 off, u32 end, bool last)
{
	u16 *p = after == NONE16 ? &q->head : &st->hold_next[after];

	st->frag[h].off = (u16)off;
	st->frag[h].end = (u16)end;
	st->hold_next[h] = *p;
	*p = h;
	q->nfrags++;
	q->meat += end - off;
	if (last) {
		q->last_in = true;
		q->len = end;
	}
}

/* RFC 3168 5.3: a mark on one fragment is a mark on the datagram; with fragments that were not capable it cannot be. */
static bool fragments_ecn(struct ip_stack *st, const struct ipq *q, u8 *tos)
{
	u32 seen = 0;

	for (u16 h = q->head; h != NONE16; h = st->hold_next[h]) {
		struct sk_buff skb;

		hold_skb(st, h, &skb);
		seen |= 1u << (IPCB(&skb)->iph.tos & 3);
	}
	if (seen & 8)
		*tos |= 3;
	return (seen & 9) != 9;
}

/* Copy header and payloads into a buffer of ours. False: no buffer, or a fragment's buffer was taken back under us. */
static bool assemble(struct ip_stack *st, struct ipq *q, struct sk_buff *ret)
{
	struct sk_buff skb;
	struct ip_skb_cb *c;
	u32 ihl;
	u8 *b;

	hold_skb(st, q->head, &skb);
	ihl = IPCB(&skb)->ihl;
	if (ihl + q->len > IP_MAX_LEN)
		return false;
	b = ip_alloc(st, ihl + q->len, ret);
	if (!b)
		return false;
	memcpy(ret->hdr, skb.hdr, sizeof(struct ip_skb_cb));
	ret->len = ihl + q->len;
	ret->dev = skb.dev;
	ret->protocol = skb.protocol;
	ret->pkt_type = skb.pkt_type;
	ret->ip_summed = CHECKSUM_NONE;
	for (u16 h = q->head; h != NONE16; h = st->hold_next[h]) {
		const u8 *d;
		u32 at = st->frag[h].off, n = st->frag[h].end - at, from;

		hold_skb(st, h, &skb);
		from = IPCB(&skb)->ihl;
		d = skb_header(st->pools, &skb, from, n);
		if (d && at == 0)
			memcpy(b, d - from, ihl);
		if (d)
			memcpy(b + ihl + at, d, n);
		if (!d || !skb_data(st->pools, &skb)) {	/* generation again, after the copy */
			ip_complete(st, ret, 0);
			return false;
		}
	}
	c = IPCB(ret);
	c->nh_off = 0;
	c->iph.tot_len = to_be16((u16)ret->len);
	c->iph.frag_off = to_be16(0);
	if (!fragments_ecn(st, q, &c->iph.tos)) {
		ip_complete(st, ret, 0);
		return false;
	}
	memcpy(b, &c->iph, sizeof(c->iph));
	return true;
}

static void complete(struct ip_stack *st, struct ipq *q)
{
	struct sk_buff whole;

	if (!assemble(st, q, &whole)) {
		release(st, q, DROP_FRAG_INVALID);
		return;
	}
	count(st->counters, IP_REASM_OK);
	ip_deliver_whole(st, &whole);
	release(st, q, COUNTERS);
}

static bool limits_ok(struct ip_stack *st, const struct ip_hdr *h)
{
	struct ipq *q = find(st, h);

	if (q && q->nfrags >= FRAG_PER_QUEUE)
		return false;
	return frags_of_source(st, h->saddr) < FRAG_PER_SOURCE;
}

/* off, end, last of a fragment; false: RFC 791 has no such fragment. */
static bool extent(const struct sk_buff *skb, const struct ip_skb_cb *c, u32 *off, u32 *end, bool *last)
{
	u32 f = from_be16(c->iph.frag_off), n = skb->len - c->ihl;

	*off = (f & IP_OFFMASK) * 8u;
	*end = *off + n;
	*last = !(f & IP_MF);
	return n && *end <= IP_MAX_LEN && (*last || n % 8 == 0);
}

void ip_defrag(struct ip_stack *st, struct sk_buff *skb)
{
	struct ip_skb_cb *c = IPCB(skb);
	struct ipq *q;
	u32 off, end;
	u16 after, h;
	bool last;
	int r;

	if (!extent(skb, c, &off, &end, &last)) {
		drop(st, skb, DROP_FRAG_INVALID, 0);
		return;
	}
	if (!limits_ok(st, &c->iph)) {
		drop(st, skb, DROP_FRAG_LIMIT, 0);
		return;
	}
	if (st->nhold_frag >= HOLD_FRAG_MAX)
		release(st, oldest(st), DROP_FRAG_LIMIT);
	q = find(st, &c->iph);
	if (!q)
		q = create(st, &c->iph, skb->dev, st->now + FRAG_TIME);
	r = place(st, q, off, end, last, &after);
	if (r < 0 || !hold_put(st, HOLD_FRAG, (u32)(q - st->ipq), q->timer.deadline, skb, &h)) {
		drop(st, skb, r < 0 ? DROP_FRAG_INVALID : DROP_FRAG_LIMIT, 0);
		if (r == -EINVAL || q->head == NONE16)	/* RFC 5722: all of it */
			release(st, q, DROP_FRAG_INVALID);
		return;
	}
	insert(st, q, h, after, off, end, last);
	if (q->last_in && q->meat == q->len)
		complete(st, q);
}

/* A start: every held fragment finds its datagram again. */
void ip_defrag_attach(struct ip_stack *st)
{
	memset(st->ipq, 0, sizeof(st->ipq));
	for (u16 h = 0; h < IP_HOLD; h++) {
		const struct ip_hold *hold = &st->shm->hold[h];
		u32 off, end;
		struct sk_buff skb;
		struct ipq *q;
		bool last;
		u16 after;

		if (load_relaxed(&hold->used) != HOLD_FRAG)
			continue;
		hold_skb(st, h, &skb);
		q = find(st, &IPCB(&skb)->iph);
		if (!q)
			q = create(st, &IPCB(&skb)->iph, skb.dev, hold->deadline);
		if (IPCB(&skb)->ihl <= skb.len && extent(&skb, IPCB(&skb), &off, &end, &last) &&
		    place(st, q, off, end, last, &after) == 0) {
			insert(st, q, h, after, off, end, last);
			continue;
		}
		drop(st, &skb, DROP_FRAG_INVALID, 0);
		ip_settle(st);
		hold_clear(st, h);
	}
	for (u32 i = 0; i < FRAG_QUEUES; i++)
		if (st->ipq[i].used && st->ipq[i].last_in && st->ipq[i].meat == st->ipq[i].len)
			complete(st, &st->ipq[i]);
}
