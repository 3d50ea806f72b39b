/* xmit.c – tx8: dev_hard_start_xmit(): the packet taps see the frame, then the device gets it; what the device
 * cannot do (segmentation, checksum) is done here by gso.c. When the device has it, the buffer goes into the
 * completion_queue, and from there, at the end of the batch, back to its owner: never from the submission path.
 *
 * Called by dev_queue_xmit.c; calls net_device_ops.hard_start_xmit. */
#include "services/link/path.h"
#include "proto/wire/tcp.h"

struct xmit_ctx { struct linkd *l; struct net_device *dev; };

void dev_queue_xmit_nit(struct linkd *l, struct net_device *dev, const struct frame *f)
{
	for (struct packet_type *pt = l->ptype_all; pt; pt = pt->next)
		if (!pt->dev || pt->dev == dev)
			pt->func(l, dev, NULL, f, pt);
}

static int xmit_one(void *arg, const struct frame *f)
{
	struct xmit_ctx *c = arg;
	int r;

	if (unlikely(c->l->ptype_all))
		dev_queue_xmit_nit(c->l, c->dev, f);
	r = c->dev->ops->hard_start_xmit(c->dev, f);
	if (r < 0)
		return r;
	count(c->l->counters, FLOW_TX8_HARD_START_XMIT);
	dev_count(&c->dev->shm->tx_packets, 1);
	dev_count(&c->dev->shm->tx_bytes, f->hdr_len + f->len);
	return 0;
}

/* What is left for the device, from the sk_buff's metadata. False: it makes no sense. */
static bool skb_to_virtio_net_hdr(const struct sk_buff *skb, struct frame *f)
{
	u32 start = f->hdr_len + skb->csum_start, doff;

	if (skb->ip_summed == CHECKSUM_PARTIAL) {
		if (start + skb->csum_offset + 2u > f->hdr_len + f->len)
			return false;
		f->vnet.flags = VNET_F_NEEDS_CSUM;
		f->vnet.csum_start = (u16)start;
		f->vnet.csum_offset = skb->csum_offset;
	}
	if (!skb->gso_size)
		return skb->gso_type == GSO_NONE;
	/* Only TCP, its header at csum_start, in the data (tcpd's and forwarded packets are so). */
	if ((skb->gso_type & ~GSO_ECN) != GSO_TCPV4 || skb->ip_summed != CHECKSUM_PARTIAL ||
	    skb->csum_start + sizeof(struct tcp_hdr) > f->len)
		return false;
	doff = (f->data[skb->csum_start + offsetof(struct tcp_hdr, doff_res)] >> 4) * 4u;
	if (doff < sizeof(struct tcp_hdr) || skb->csum_start + doff > f->len)
		return false;
	if (f->len - skb->csum_start - doff <= skb->gso_size)
		return true;	/* one segment */
	f->vnet.gso_type = skb->gso_type;
	f->vnet.gso_size = skb->gso_size;
	f->vnet.hdr_len = (u16)(start + doff);
	return true;
}

/* Cut in software. A device that refuses in the middle gets the rest when the packet comes again. */
static int xmit_segments(struct linkd *l, struct net_device *dev, const struct sk_buff *skb, const struct frame *f)
{
	struct xmit_ctx c = { l, dev };
	u32 first = 0, done;
	int r;

	if (dev->partial.segs && dev->partial.buf == skb->buf && dev->partial.gen == skb->gen)
		first = dev->partial.segs;
	done = first;
	r = tcp_gso_segment(f, skb->gso_size, first, &done, xmit_one, &c);
	count_n(l->counters, LINK_GSO_SEGMENTS, done - first);
	dev->partial.buf = skb->buf;
	dev->partial.gen = skb->gen;
	dev->partial.segs = r == NETDEV_TX_BUSY ? done : 0;
	return r;
}

/* 0: the device has it. -EAGAIN: it cannot take it now. Other errors: dropped and counted, to be completed with it. */
int dev_hard_start_xmit(struct linkd *l, struct net_device *dev, const struct sk_buff *skb)
{
	struct xmit_ctx c = { l, dev };
	struct frame f = { .hdr = skb_hdr(skb), .hdr_len = skb_hdr_len(skb), .data = skb_data(l->pools, skb),
			   .len = skb->len };
	u8 scratch[256];
	int r = 0;

	if (!f.data) {
		count(l->counters, DROP_NONSENSE);
		return -EINVAL;
	}
	if (f.hdr_len + f.len < ETH_HLEN) {
		count(l->counters, DROP_TRUNCATED);
		return -EINVAL;
	}
	if (!skb_to_virtio_net_hdr(skb, &f)) {
		count(l->counters, DROP_GSO_INVALID);
		return -EINVAL;
	}
	if (f.vnet.gso_size && !(dev->features & LINK_F_TSO)) {
		r = xmit_segments(l, dev, skb, &f);
	} else {
		if (f.vnet.flags && !(dev->features & LINK_F_CSUM)) {
			r = skb_checksum_help(&f, scratch);
			memset(&f.vnet, 0, sizeof(f.vnet));
		}
		if (r == 0)
			r = xmit_one(&c, &f);
	}
	if (r == 0 || r == NETDEV_TX_BUSY)
		return r;
	dev_count(&dev->shm->tx_dropped, 1);
	if (r == -EIO || r == -ENETDOWN || r == -EBADFD) {	/* the interface is down */
		count(l->counters, DROP_DEV_DOWN);
		return -ENETDOWN;
	}
	count(l->counters, DROP_DEV_ERROR);
	return r;
}

void dev_complete(struct linkd *l, const struct sk_buff *skb, u32 hold, u16 error)
{
	struct completion *c = &l->sd.completion_queue[l->sd.ncompletion++];

	assert(l->sd.ncompletion <= COMPLETIONS);	/* callers look before they take */
	*c = (struct completion){ .buf = skb->buf, .gen = skb->gen, .cause = skb->cause, .hold = hold, .error = error };
	if (hold != HOLD_NONE)
		c->cause = (struct cause){ .index = (u32)l->holds.h[hold].seq, .ring = R_HOLD, .flags = CAUSE_LAST };
}

/* Back to the pool of its owner. False: the ring is full. A buffer of no pool needs no answer. */
static bool complete_one(struct linkd *l, const struct completion *c)
{
	struct ring *r = NULL;
	struct skb_done *d;

	switch (SKB_BUF_POOL(c->buf)) {
	case POOL_TCP:
		r = &l->link_tcp_done;
		break;
	case POOL_IP:
		r = &l->link_ip_done;
		break;
	case POOL_LINK:		/* a forwarded packet: the buffer is our own */
		pool_give_back(l->pool, c->buf, c->gen, NULL);
		return true;
	default:
		return true;
	}
	d = ring_reserve(r);
	if (!d)
		return false;
	*d = (struct skb_done){ .buf = c->buf, .gen = c->gen, .index = c->cause.index, .ring = c->cause.ring,
				.flags = c->cause.flags, .error = c->error };
	return true;
}

static void publish_done(struct linkd *l, struct ring *r, enum region_id who)
{
	if (!ring_dirty(r))
		return;
	ring_publish(r);
	fence_seq_cst();	/* pairs with the consumer's, between setting `hungry` and its second look */
	if (load_relaxed(&r->cons->hungry))
		l->bell(l->ctx, who);
}

bool dev_flush_completions(struct linkd *l)
{
	struct softnet_data *sd = &l->sd;
	u32 *i = &sd->flushed;

	while (*i < sd->ncompletion && complete_one(l, &sd->completion_queue[*i]))
		(*i)++;
	publish_done(l, &l->link_tcp_done, REGION_TCP);
	publish_done(l, &l->link_ip_done, REGION_IP);
	if (*i < sd->ncompletion)
		return false;	/* a consumer's nonsense, or it has been away for a pool's worth: the tail stays */
	if (ring_release_wants_bell(&l->ip_link))
		l->bell(l->ctx, REGION_IP);
	/* After the tail: until then the entry's cause is what tells a successor that the input was taken. */
	for (u32 k = 0; k < sd->ncompletion; k++)
		if (sd->completion_queue[k].hold != HOLD_NONE)
			hold_release(&l->holds, sd->completion_queue[k].hold);
	sd->ncompletion = sd->flushed = 0;
	return true;
}
