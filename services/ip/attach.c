/* attach.c – a start is a restart: tails from causes, holds, loans, tables, timers. One code path.
 *
 * Called by main.c and the tests after the rings are open. Order matters: tails before holds (a hold is an answer), holds before
 * reconciliation (a held buffer is not lost), tables before any input is taken. */
#include "path.h"

/* Inputs not yet answered, as far as is known: a cause further ahead is a leftover of 2^32 inputs ago. */
static u32 waiting(const struct ring *in, u32 next)
{
	return load_acquire(&in->prod->head) - next;
}

/* Newest input `id` whose answer is complete in this output ring. Everything since the last release of any input's tail is
 * within RECOVER_BACK slots (BATCH_OUTPUTS); older slots are not looked at: what follows them in the ring's memory may be
 * slots that were filled and never published. */
static void newest_in_ring(const struct ring *out, bool done, enum ring_id id, const struct ring *in, u32 *next)
{
	u32 head = load_relaxed(&out->prod->head);

	for (u32 k = 1; k <= RECOVER_BACK && k <= ring_capacity(out); k++) {
		const void *slot = ring_at(out, head - k);
		const struct skb_done *d = slot;
		const struct cause *c = &((const struct sk_buff *)slot)->cause;
		u32 ahead = (done ? d->index : c->index) + 1 - *next;

		if ((done ? d->ring : c->ring) != id || !((done ? d->flags : c->flags) & CAUSE_LAST))
			continue;
		if (ahead && ahead <= waiting(in, *next))
			*next += ahead;
	}
}

static void recover_input(struct ip_stack *st, struct ring *in, enum ring_id id)
{
	u32 next;

	/* The producer's region was made anew while ours was not: begin where it does. */
	if (load_acquire(&in->prod->head) - in->pos > ring_capacity(in))
		in->pos = in->seen = load_acquire(&in->prod->head);
	next = in->pos;

	newest_in_ring(&st->r.ip_link, false, id, in, &next);
	newest_in_ring(&st->r.ip_tcp, false, id, in, &next);
	newest_in_ring(&st->r.ip_link_done, true, id, in, &next);
	newest_in_ring(&st->r.ip_tcp_done, true, id, in, &next);
	for (u32 i = 0; i < IP_HOLD; i++) {
		const struct ip_hold *h = &st->shm->hold[i];
		u32 ahead = h->skb.cause.index + 1 - next;

		if (load_relaxed(&h->used) && h->skb.cause.ring == id && (h->skb.cause.flags & CAUSE_LAST) && ahead &&
		    ahead <= waiting(in, next))
			next += ahead;
	}
	ring_cons_recover(in, next - 1);
}

/* Mark what lies between a ring's tail and head. The tail is read first: what its consumer takes meanwhile turns up further on. */
static void mark_ring(const struct ring *r, bool done, struct pool_scan *s)
{
	u32 tail = load_acquire(&r->cons->tail), head = load_acquire(&r->prod->head);

	if (head - tail > ring_capacity(r))
		tail = head - ring_capacity(r);
	for (; tail != head; tail++) {
		const void *slot = ring_at(r, tail);

		if (done)
			pool_scan_mark(s, ((const struct skb_done *)slot)->buf, ((const struct skb_done *)slot)->gen);
		else
			pool_scan_mark(s, ((const struct sk_buff *)slot)->buf, ((const struct sk_buff *)slot)->gen);
	}
}

/* Take back own buffers that are nowhere on their way (crash rule 2): holds, linkd's ring, its disciplines, its completions;
 * tcpd's ring, its completions. In flow order, so that a buffer moving while we look is seen at one place or the next. */
static int reconcile(struct ip_stack *st)
{
	struct pool_scan s;
	int r = pool_scan_begin(&s, &st->pools->p[POOL_IP]);

	if (r < 0)
		return r;
	for (u32 i = 0; i < IP_HOLD; i++)
		if (load_relaxed(&st->shm->hold[i].used))
			pool_scan_mark(&s, st->shm->hold[i].skb.buf, st->shm->hold[i].skb.gen);
	mark_ring(&st->r.ip_link, false, &s);
	for (u32 i = 0; st->link_hold && i < QDISC_HOLD; i++)
		if (load_acquire((_Atomic u32 *)&st->link_hold[i].used))
			pool_scan_mark(&s, st->link_hold[i].skb.buf, st->link_hold[i].skb.gen);
	mark_ring(&st->r.link_ip_done, true, &s);
	mark_ring(&st->r.ip_tcp, false, &s);
	mark_ring(&st->r.tcp_ip_done, true, &s);
	store_relaxed(&st->shm->hdr.reclaimed, pool_scan_end(&s));
	return 0;
}

static void sweep(struct timer *t, void *arg, u64 now)
{
	struct ip_stack *st = arg;

	pmtu_sweep(st);
	timer_arm(&st->wheel, t, now + 10 * NSEC_PER_SEC);
}

int ip_attach(struct ip_stack *st)
{
	int r;

	st->dirty = NULL;
	memset(&st->in, 0, sizeof(st->in));
	st->route_gen = 1;
	st->ops->random(st->ctx, &st->id_key, sizeof(st->id_key));
	timer_wheel_init(&st->wheel, st->now, st);
	r = pool_attach_owner(&st->pools->p[POOL_IP], POOL_IP, st->shm->words, st->shm->bytes, IP_NSMALL, IP_NLARGE);
	if (r < 0)
		return r;
	recover_input(st, &st->r.link_ip, R_LINK_IP);
	recover_input(st, &st->r.tcp_ip, R_TCP_IP);
	hold_attach(st);
	r = reconcile(st);
	if (r < 0) {
		pool_detach(&st->pools->p[POOL_IP]);
		return r;
	}
	st->ptype[0] = (struct packet_type){ ETH_P_IP, ip_rcv };
	st->ptype[1] = (struct packet_type){ ETH_P_ARP, arp_rcv };
	inet_protos_init(st);
	conf_attach(st);
	pmtu_attach(st);
	neigh_attach(st);
	arp_attach(st);
	ip_defrag_attach(st);
	st->sweep_timer.fn = sweep;
	timer_arm(&st->wheel, &st->sweep_timer, st->now + 10 * NSEC_PER_SEC);
	ip_end_batch(st);
	return 0;
}

void ip_detach(struct ip_stack *st)
{
	pool_detach(&st->pools->p[POOL_IP]);
}
