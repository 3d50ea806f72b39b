/* attach.c – a start is a restart (crash rules 1, 2, 6, 10): linkd takes over what its predecessor left.
 *
 *   1. link_attach: inputs of R_IP_LINK that are answered, in a completion ring or in the hold table, are noted, to be
 *      passed over; holds whose completion was published are released. R_IP_LINK_DONE and R_TCP_LINK_DONE have no
 *      answers: giving back is idempotent by generation.
 *   2. link_take_over, with the devices open: frames the kernel had written into posted buffers climb (harvest);
 *      own loans seen nowhere, in flow order, are taken back; disciplines go on with what they held; new buffers
 *      are posted.
 * A frame may be written to a device twice; nothing else happens twice. Called by main.c and the tests. */
#include "common/log.h"
#include "services/link/path.h"

/* The other side's region was made anew, or ours was: begin where the producer is. */
static void resync(struct ring *r)
{
	u32 head = load_acquire(&r->prod->head);

	if (head - r->pos <= ring_capacity(r))
		return;
	r->pos = r->seen = head;
	ring_release(r);
}

/* Completions reach their rings at the end of a batch, holds the table at once: answers are not in the order of the
 * inputs. So each input between the tail and the newest answer is looked up by itself. */
static void note_answered(struct linkd *l, u8 ring, u32 index)
{
	if (ring != R_IP_LINK || index - l->ip_link.pos >= ring_count(&l->ip_link))
		return;
	l->answered[index % TX_RING] = true;
	if ((s32)(index + 1 - l->answered_end) > 0)
		l->answered_end = index + 1;
}

/* Half a ring back: what was filled and never published lies before that (rings.c). */
static void note_completions(struct linkd *l, const struct ring *done)
{
	u32 head = load_relaxed(&done->prod->head);

	for (u32 back = 1; back <= ring_capacity(done) / 2; back++) {
		const struct skb_done *d = ring_at(done, head - back);

		note_answered(l, d->ring, d->index);
	}
}

static void recover_inputs(struct linkd *l)
{
	l->answered_end = l->ip_link.pos;
	note_completions(l, &l->link_tcp_done);
	note_completions(l, &l->link_ip_done);
	for (u32 i = 0; i < QDISC_HOLD; i++) {
		const struct qdisc_hold *h = &l->shm->hold[i];

		if (load_relaxed(&h->used))
			note_answered(l, h->skb.cause.ring, h->skb.cause.index);
	}
}

/* Completed and published, but killed before the entry was released. */
static void recover_holds(struct linkd *l)
{
	for (u32 i = 0; i < QDISC_HOLD; i++) {
		struct qdisc_hold *h = &l->shm->hold[i];

		if (load_relaxed(&h->used) && (ring_has_cause(&l->link_tcp_done, true, R_HOLD, (u32)h->seq, 0) ||
					       ring_has_cause(&l->link_ip_done, true, R_HOLD, (u32)h->seq, 0)))
			store_release(&h->used, 0);
	}
	hold_attach(&l->holds, l->shm->hold);
}

int link_attach(struct linkd *l, struct daemon *d)
{
	l->shm = d->link;
	l->counters = d->counters;
	l->pools = &d->pools;
	l->pool = &d->pools.p[POOL_LINK];
	ring_open(d, R_LINK_IP, &l->link_ip);
	ring_open(d, R_LINK_TCP_DONE, &l->link_tcp_done);
	ring_open(d, R_LINK_IP_DONE, &l->link_ip_done);
	ring_open(d, R_IP_LINK, &l->ip_link);
	ring_open(d, R_IP_LINK_DONE, &l->ip_link_done);
	ring_open(d, R_TCP_LINK_DONE, &l->tcp_link_done);
	resync(&l->ip_link);
	resync(&l->ip_link_done);
	resync(&l->tcp_link_done);
	recover_inputs(l);
	recover_holds(l);
	/* What a predecessor waited for; we find out ourselves. */
	store_relaxed(&l->ip_link_done.cons->hungry, 0);
	store_relaxed(&l->tcp_link_done.cons->hungry, 0);
	ring_clear_want(&l->link_ip);
	receive_attach(l);
	return pool_attach_owner(l->pool, POOL_LINK, l->shm->words, l->shm->bytes, LINK_NSMALL, LINK_NLARGE);
}

/* Has this buffer been published in R_LINK_IP? A slot filled but never published carries an index not below head. */
static bool published(const struct linkd *l, u32 buf, u32 gen)
{
	u32 head = load_relaxed(&l->link_ip.prod->head);

	for (u32 back = 1; back <= RX_RING; back++) {
		const struct sk_buff *s = ring_at(&l->link_ip, head - back);

		if (s->buf == buf && s->gen == gen && s->cause.index == head - back)
			return true;
	}
	return false;
}

static bool harvest_one(struct linkd *l, struct net_device *dev, const struct posted *p)
{
	u8 *small;
	u32 len;

	if (!pool_check(l->pool, p->buf, p->gen, 0, POOL_SMALL))
		return false;
	small = pool_addr(l->pool, SKB_BUF_INDEX(p->buf));
	if (!napi_arrived(small))
		return false;
	len = napi_frame_len(small);
	if (!len || RX_ETH + len > POOL_LARGE)
		return false;	/* of a protocol we do not carry: nobody misses it */
	if (RX_ETH + len > POOL_SMALL) {
		if (!pool_check(l->pool, p->spill_buf, p->spill_gen, 0, POOL_LARGE) ||
		    published(l, p->spill_buf, p->spill_gen))
			return false;
	} else if (published(l, p->buf, p->gen)) {
		return false;
	}
	napi_frame(dev, p, dev->vnet_len + len);
	return true;
}

/* Entries are filled in turn, so the oldest frame is the first after an entry without one. */
u32 link_harvest(struct linkd *l, struct net_device *dev)
{
	struct posted *post = dev->napi.posted;
	u32 first = 0, n = 0;

	for (u32 i = 0; i < RX_POSTS; i++) {
		const struct posted *p = &post[i];

		if (!load_relaxed(&p->used) || !pool_check(l->pool, p->buf, p->gen, 0, POOL_SMALL) ||
		    !napi_arrived(pool_addr(l->pool, SKB_BUF_INDEX(p->buf))))
			first = i + 1;
		else if (first == i)
			break;
	}
	for (u32 i = 0; i < RX_POSTS; i++) {
		const struct posted *p = &post[(first + i) % RX_POSTS];

		if (load_relaxed(&p->used) && p->dev == dev->index)
			n += harvest_one(l, dev, p);
	}
	napi_gro_flush(l);
	if (ring_dirty(&l->link_ip))
		ring_publish(&l->link_ip);
	return n;
}

/* Own buffers seen nowhere are taken back. In flow order: a buffer that moves while we look is seen at one place or
 * the next. A buffer in a daemon's hands is still in the ring it came from: tails move last. */
static int reconcile(struct linkd *l, struct daemon *d)
{
	struct pool_scan s;
	int r = pool_scan_begin(&s, l->pool);

	if (r < 0)
		return r;
	ring_mark(d, R_LINK_IP, &s);
	for (u32 i = 0; i < IP_HOLD; i++)
		if (load_acquire(&d->ip->hold[i].used))
			pool_scan_mark(&s, d->ip->hold[i].skb.buf, d->ip->hold[i].skb.gen);
	ring_mark(d, R_IP_TCP, &s);
	ring_mark(d, R_IP_LINK, &s);	/* forwarded */
	for (u32 i = 0; i < QDISC_HOLD; i++)
		if (load_relaxed(&l->shm->hold[i].used))
			pool_scan_mark(&s, l->shm->hold[i].skb.buf, l->shm->hold[i].skb.gen);
	ring_mark(d, R_IP_LINK_DONE, &s);
	ring_mark(d, R_TCP_LINK_DONE, &s);
	store_relaxed(&l->shm->hdr.reclaimed, pool_scan_end(&s));
	return 0;
}

/* Held for a device that the configuration no longer has. */
static void complete_orphans(struct linkd *l)
{
	for (u32 i = 0; i < QDISC_HOLD; i++) {
		const struct qdisc_hold *h = &l->shm->hold[i];

		if (!load_relaxed(&h->used) || h->skb.dev < l->ndevs)
			continue;
		if (l->sd.ncompletion == COMPLETIONS && !dev_flush_completions(l))
			return;		/* the rest at the next start */
		count(l->counters, DROP_DEV_DOWN);
		dev_complete(l, &h->skb, i, ENETDOWN);
	}
	dev_flush_completions(l);
}

int link_take_over(struct linkd *l, struct daemon *d)
{
	u32 harvested = 0;
	int r;

	for (u32 i = 0; i < l->ndevs; i++)
		harvested += link_harvest(l, &l->dev[i]);
	store_relaxed(&l->shm->hdr.harvested, harvested);
	for (u32 i = 0; i < POSTED_MAX; i++)
		store_release(&l->shm->posted[i].used, 0);
	for (u32 i = l->ndevs; i < LINK_DEVS; i++) {	/* what the configuration had before */
		store_release(&l->shm->dev[i].up, 0);
		l->shm->dev[i].name[0] = '\0';
	}
	r = reconcile(l, d);
	if (r < 0)
		return r;
	complete_orphans(l);
	for (u32 i = 0; i < l->ndevs; i++) {
		r = qdisc_attach(l, &l->dev[i]);
		if (r < 0) {
			log_err("%s: no queueing discipline '%s' (there is: pfifo_fast)", l->dev[i].shm->name,
				l->dev[i].conf->qdisc);
			return r;
		}
		napi_refill(&l->dev[i]);
		netif_rx_schedule(&l->dev[i]);	/* starts awake */
	}
	/* The predecessor's last batch in one go: its holds may not be released before the tail is behind it. */
	if (l->answered_end != l->ip_link.pos)
		link_tx_poll(l, l->answered_end - l->ip_link.pos);
	if (harvested || load_relaxed(&l->shm->hdr.reclaimed))
		log_info("carried over: %u frames harvested, %llu buffers taken back", harvested,
			 (unsigned long long)load_relaxed(&l->shm->hdr.reclaimed));
	return 0;
}
