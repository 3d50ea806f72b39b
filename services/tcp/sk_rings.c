/* sk_rings.c – rx6 and tx3 at the rings: segments from ipd, segments to ipd, buffers coming and going.
 *
 * Every received descriptor is answered by giving its buffer back (crash rule 1: that completion carries the cause
 * and ends the input). Segments TCP sends meanwhile carry the cause without the last mark: made again after a death in
 * between, they are what a network may deliver twice anyway. An output of a later input is never visible before that
 * of an earlier one: of the two completion rings at most one has unpublished slots.
 * Called by sk_loop.c; queue_xmit and alloc by TCP. */
#include "tcpd.h"

#define MANY_LOANS 4u

/* ---- out: tx3 -> tx4 ---- */

int op_queue_xmit(void *ctx, struct sk_buff *skb)
{
	struct tcpd *x = ctx;
	struct sk_buff *slot = ring_reserve(&x->tcp_ip);

	if (!slot) {
		ring_want_space(&x->tcp_ip);
		slot = ring_reserve(&x->tcp_ip);
	}
	if (!slot) {
		x->blocked = true;
		return -ENOBUFS;
	}
	skb->cause = x->cause;
	x->cause.sub++;
	skb->tstamp = x->t.now;
	if (skb->gso_size)
		loop_bulk(&x->d.loop);
	*slot = *skb;
	return 0;
}

static void hungry(struct tcpd *x, u32 yes)
{
	if (load_relaxed(&x->link_done.cons->hungry) == yes)
		return;
	store_relaxed(&x->link_done.cons->hungry, yes);
	store_relaxed(&x->ip_done.cons->hungry, yes);
	fence_seq_cst();	/* pairs with linkd's and ipd's fence between publishing and looking at hungry */
}

u8 *op_alloc(void *ctx, u32 size, u32 sk, struct sk_buff *skb)
{
	struct tcpd *x = ctx;
	u32 tag = MIN(sk, SK_MAX);
	u8 *b = pool_take(&x->d.pools.p[POOL_TCP], size, tag, skb);

	if (!b) {
		hungry(x, 1);
		if (rings_completions(x))
			b = pool_take(&x->d.pools.p[POOL_TCP], size, tag, skb);
	}
	if (!b) {
		x->blocked = true;
		count(x->d.counters, DROP_NO_BUFFER);
		return NULL;
	}
	x->loans[tag]++;
	return b;
}

static void given_back(struct tcpd *x, u32 buf, u32 gen, u32 *ret_tag)
{
	*ret_tag = SK_MAX;
	if (!pool_give_back(&x->d.pools.p[POOL_TCP], buf, gen, ret_tag)) {
		count(x->d.counters, DROP_NONSENSE);
		return;
	}
	*ret_tag = MIN(*ret_tag, SK_MAX);
	if (x->loans[*ret_tag])
		x->loans[*ret_tag]--;
}

void op_unalloc(void *ctx, struct sk_buff *skb)
{
	u32 tag;

	given_back(ctx, skb->buf, skb->gen, &tag);
}

/* TCP asks before it sends. Who has many out will wait for completions, and nothing else may come to wake us. */
u32 op_loans(void *ctx, u32 sk)
{
	struct tcpd *x = ctx;
	u32 n = sk < SK_MAX ? x->loans[sk] : 0;

	if (n >= MANY_LOANS)
		x->waiting = true;
	return n;
}

/* ---- in: completions ---- */

static u32 completions(struct tcpd *x, struct ring *r)
{
	u32 n = ring_count(r), tag;

	for (u32 i = 0; i < n; i++) {
		struct skb_done done = *(const struct skb_done *)ring_peek(r);

		ring_next(r);
		given_back(x, done.buf, done.gen, &tag);
		if (done.error && tag < SK_MAX)
			tcp_xmit_failed(&x->t, tag, done.error);
	}
	if (n)
		ring_release(r);
	return n;
}

u32 rings_completions(struct tcpd *x)
{
	u32 n = completions(x, &x->link_done) + completions(x, &x->ip_done);

	if (n) {
		hungry(x, 0);
		x->waiting = false;
	}
	return n;
}

/* ---- in: rx6 ---- */

/* The buffer goes back to its pool's owner, and ends the input. */
static void give_back(struct tcpd *x, const struct sk_buff *skb)
{
	struct ring *r = SKB_BUF_POOL(skb->buf) == POOL_IP ? &x->to_ip_done : &x->to_link_done;

	if (x->done_dirty && x->done_dirty != r)
		ring_publish(x->done_dirty);
	x->done_dirty = r;
	x->gave = true;
	struct skb_done *d = ring_reserve(r);
	if (!d) {	/* it holds the whole pool; full only if the owner has gone mad. It will miss the buffer and look for it */
		count(x->d.counters, DROP_RING_FULL);
		return;
	}
	*d = (struct skb_done){ .buf = skb->buf, .gen = skb->gen, .index = x->cause.index, .ring = R_IP_TCP, .flags = CAUSE_LAST };
}

static bool still_ours(void *ctx, const struct sk_buff *skb)
{
	return skb_data(&((struct tcpd *)ctx)->d.pools, skb) != NULL;
}

u32 rings_receive(struct tcpd *x, u32 budget)
{
	u32 n = MIN(ring_count(&x->ip_tcp), budget);

	for (u32 i = 0; i < n; i++) {
		struct sk_buff skb = *(const struct sk_buff *)ring_peek(&x->ip_tcp);
		const u8 *data = skb_data(&x->d.pools, &skb);

		x->cause = (struct cause){ .index = x->ip_tcp.pos, .ring = R_IP_TCP };
		if (skb.gso_size)
			loop_bulk(&x->d.loop);
		if (!data)
			count(x->d.counters, DROP_NONSENSE);
		else if (skb.type == SKB_ICMP_ERROR)
			tcp_v4_err(&x->t, skb_ip_cb(&skb), data, skb.len);
		else
			tcp_v4_rcv(&x->t, &skb, data, still_ours, x);
		give_back(x, &skb);
		ring_next(&x->ip_tcp);
	}
	x->cause = (struct cause){ .ring = R_NONE };
	return n;
}

/* ---- end of a pass ---- */

void rings_publish(struct tcpd *x)
{
	if (ring_dirty(&x->tcp_ip)) {
		ring_publish(&x->tcp_ip);
		daemon_ring(&x->d, REGION_IP);
	}
	if (x->gave) {
		if (x->done_dirty)
			ring_publish(x->done_dirty);
		x->done_dirty = NULL;
		x->gave = false;
		fence_seq_cst();	/* pairs with the owners' fences after they said they are hungry */
		if (load_relaxed(&x->to_link_done.cons->hungry))
			daemon_ring(&x->d, REGION_LINK);
		if (load_relaxed(&x->to_ip_done.cons->hungry))
			daemon_ring(&x->d, REGION_IP);
	}
	if (ring_release_wants_bell(&x->ip_tcp))
		daemon_ring(&x->d, REGION_IP);
}

bool rings_pending(struct tcpd *x)
{
	if (ring_count(&x->ip_tcp))
		return true;
	if (x->waiting || x->blocked)
		hungry(x, 1);
	return (x->waiting || x->blocked) && (ring_count(&x->link_done) || ring_count(&x->ip_done) ||
					      (x->blocked && ring_space(&x->tcp_ip)));
}

/* ---- attach: a start is a restart ---- */

/* Take back transmit buffers that are nowhere on their way (crash rule 2), in flow order. */
static int reconcile(struct tcpd *x)
{
	struct pool *p = &x->d.pools.p[POOL_TCP];
	struct pool_scan s;
	int r = pool_scan_begin(&s, p);

	if (r)
		return r;
	ring_mark(&x->d, R_TCP_IP, &s);
	for (u32 i = 0; i < IP_HOLD; i++)
		if (load_acquire(&x->d.ip->hold[i].used))
			pool_scan_mark(&s, x->d.ip->hold[i].skb.buf, x->d.ip->hold[i].skb.gen);
	ring_mark(&x->d, R_IP_LINK, &s);
	for (u32 i = 0; i < QDISC_HOLD; i++)
		if (load_acquire(&x->d.link->hold[i].used))
			pool_scan_mark(&s, x->d.link->hold[i].skb.buf, x->d.link->hold[i].skb.gen);
	ring_mark(&x->d, R_LINK_TCP_DONE, &s);
	ring_mark(&x->d, R_IP_TCP_DONE, &s);
	store_relaxed(&x->d.hdr->reclaimed, pool_scan_end(&s));
	for (u32 i = 0; i < TCP_NBUF; i++) {
		u64 w = load_relaxed(&x->d.tcp->words[i]);

		if (POOL_WORD_LOAN(w))
			x->loans[MIN(POOL_WORD_TAG(w), SK_MAX)]++;
	}
	return 0;
}

int rings_attach(struct tcpd *x)
{
	struct daemon *d = &x->d;
	u32 a, b;

	ring_open(d, R_IP_TCP, &x->ip_tcp);
	ring_open(d, R_LINK_TCP_DONE, &x->link_done);
	ring_open(d, R_IP_TCP_DONE, &x->ip_done);
	ring_open(d, R_TCP_IP, &x->tcp_ip);
	ring_open(d, R_TCP_LINK_DONE, &x->to_link_done);
	ring_open(d, R_TCP_IP_DONE, &x->to_ip_done);
	bool in_a = ring_newest_cause(&x->to_link_done, true, R_IP_TCP, &a);
	bool in_b = ring_newest_cause(&x->to_ip_done, true, R_IP_TCP, &b);
	if (in_a)
		ring_cons_recover(&x->ip_tcp, a);
	if (in_b)
		ring_cons_recover(&x->ip_tcp, b);
	int r = pool_attach_owner(&d->pools.p[POOL_TCP], POOL_TCP, d->tcp->words, d->tcp->bytes, TCP_NSMALL, TCP_NLARGE);
	return r ? r : reconcile(x);
}
