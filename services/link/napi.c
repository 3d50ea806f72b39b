/* napi.c – rx1: receive buffers given ahead, and reception in two phases.
 *
 * An event of a device only schedules it (netif_rx_schedule, called by main.c's event loop); net_rx_action(), a
 * poller of the loop, then calls its poll() with a budget, and while there is work no event is needed. The driver
 * asks napi_next() where to write and says napi_filled(); the frame climbs through gro.c to receive.c.
 * A batch ends in napi_refill(): what was emitted is published, then its buffers leave posted[], then new ones are
 * posted. In that order, so that a successor finds every frame in posted[] or in R_LINK_IP. */
#include "services/link/path.h"

void napi_attach(struct net_device *dev, struct posted *posted)
{
	dev->napi = (struct napi){ .posted = posted };
}

void netif_rx_schedule(struct net_device *dev)
{
	dev->napi.scheduled = true;
}

/* Out of ring space or buffers: tell those who can help. The fence inside ring_want_space() comes after all three
 * stores; it pairs with the consumers' between their release and their look at `want`, and with the producers'
 * between their publish and their look at `hungry`. */
static void rx_block(struct linkd *l)
{
	l->rx_blocked = true;
	store_relaxed(&l->ip_link_done.cons->hungry, 1);
	store_relaxed(&l->tcp_link_done.cons->hungry, 1);
	ring_want_space(&l->link_ip);
}

static void rx_unblock(struct linkd *l)
{
	l->rx_blocked = false;
	store_relaxed(&l->ip_link_done.cons->hungry, 0);
	store_relaxed(&l->tcp_link_done.cons->hungry, 0);
	ring_clear_want(&l->link_ip);
}

/* One more small and one more large buffer, and room to pass a frame on. */
static bool rx_resources(struct linkd *l)
{
	const struct pool *p = l->pool;

	return ring_space(&l->link_ip) && p->nfree_large && (p->nfree_small || p->nfree_large > 1);
}

/* Entry i is complete before `used` is stored, and the guard word cleared before that. */
static bool post_one(struct net_device *dev, u32 i)
{
	struct napi *n = &dev->napi;
	struct posted *p = &n->posted[i];
	struct sk_buff skb;

	if (!n->keep[i]) {
		n->small[i] = pool_take(dev->l->pool, POOL_SMALL, dev->index, &skb);
		if (!n->small[i])
			return false;
		p->buf = skb.buf;
		p->gen = skb.gen;
	}
	n->keep[i] = false;
	memset(n->small[i] + RX_GUARD, 0, 4);
	p->dev = dev->index;
	p->spill_buf = p->spill_gen = 0;
	store_release(&p->used, 1);
	return true;
}

void napi_refill(struct net_device *dev)
{
	struct linkd *l = dev->l;
	struct napi *n = &dev->napi;

	napi_gro_flush(l);
	if (ring_dirty(&l->link_ip)) {
		ring_publish(&l->link_ip);
		l->bell(l->ctx, REGION_IP);
	}
	for (; n->retired != n->fill; n->retired++)
		store_release(&n->posted[n->retired % RX_POSTS].used, 0);
	while (n->post - n->retired < RX_POSTS && post_one(dev, n->post % RX_POSTS))
		n->post++;
}

bool napi_next(struct net_device *dev, struct iovec iov[2])
{
	struct linkd *l = dev->l;
	struct napi *n = &dev->napi;
	struct posted *p = &n->posted[n->fill % RX_POSTS];
	u32 start = dev->vnet_len ? RX_VNET : RX_ETH;
	struct sk_buff skb;

	/* Every frame read may become one descriptor, now or when GRO lets go. */
	if (n->fill == n->post || ring_space(&l->link_ip) <= l->sd.ngro)
		return false;
	if (!n->spill) {
		n->spill = pool_take(l->pool, POOL_LARGE, dev->index, &skb);
		if (!n->spill)
			return false;
		n->spill_buf = skb.buf;
		n->spill_gen = skb.gen;
	}
	p->spill_gen = n->spill_gen;
	p->spill_buf = n->spill_buf;
	iov[0] = (struct iovec){ n->small[n->fill % RX_POSTS] + start, POOL_SMALL - start };
	iov[1] = (struct iovec){ n->spill + POOL_SMALL, POOL_LARGE - POOL_SMALL };
	return true;
}

void napi_filled(struct net_device *dev, u32 n)
{
	struct napi *napi = &dev->napi;
	u32 i = napi->fill++ % RX_POSTS;
	u32 end = (dev->vnet_len ? RX_VNET : RX_ETH) + n;

	if (end > POOL_SMALL) {
		napi->keep[i] = true;
		napi->spill = NULL;
	}
	napi_frame(dev, &napi->posted[i], n);
}

void napi_frame(struct net_device *dev, const struct posted *p, u32 n)
{
	struct linkd *l = dev->l;
	u8 *base = pool_addr(l->pool, SKB_BUF_INDEX(p->buf));
	struct sk_buff skb = { .buf = p->buf, .gen = p->gen, .hdr_off = SKB_HDR_ROOM, .dev = (u8)dev->index,
			       .tstamp = l->now, .off = RX_ETH };
	struct vnet_hdr vnet = { 0 };

	if (n < dev->vnet_len) {
		kfree_skb(l, &skb, DROP_TRUNCATED);
		return;
	}
	skb.len = n - dev->vnet_len;
	if (skb.off + skb.len > POOL_SMALL) {	/* spilled: make it contiguous in the large buffer */
		u8 *large = pool_addr(l->pool, SKB_BUF_INDEX(p->spill_buf));

		memcpy(large + RX_VNET, base + RX_VNET, POOL_SMALL - RX_VNET);
		skb.buf = p->spill_buf;
		skb.gen = p->spill_gen;
		base = large;
	}
	if (dev->vnet_len)
		memcpy(&vnet, base + RX_VNET, sizeof(vnet));
	dev_count(&dev->shm->rx_packets, 1);
	dev_count(&dev->shm->rx_bytes, skb.len);
	if (rx_skb_init(l, dev, &skb, base + RX_ETH, &vnet))
		napi_gro_receive(l, dev, &skb, base + skb.off);
}

bool napi_arrived(const u8 *small)
{
	u32 guard;

	memcpy(&guard, small + RX_GUARD, sizeof(guard));
	return guard != 0;
}

u32 napi_frame_len(const u8 *small)
{
	const struct eth_hdr *eth = (const struct eth_hdr *)(small + RX_ETH);
	be16 tot_len;

	switch (from_be16(eth->proto)) {
	case ETH_P_IP:
		memcpy(&tot_len, small + RX_ETH + ETH_HLEN + 2, sizeof(tot_len));
		return ETH_HLEN + from_be16(tot_len);
	case ETH_P_ARP:
		return ETH_HLEN + sizeof(struct arp_hdr);
	default:
		return 0;
	}
}

u32 net_rx_action(struct linkd *l, u32 budget)
{
	u32 done = 0, share = MAX(budget / MAX(l->ndevs, 1u), 1u);

	if (l->rx_blocked) {
		if (!rx_resources(l))
			return 0;
		rx_unblock(l);
	}
	for (u32 i = 0; i < l->ndevs && !l->rx_blocked; i++) {
		struct net_device *dev = &l->dev[i];
		u32 n;

		if (!dev->napi.scheduled)
			continue;
		count(l->counters, FLOW_RX1_NET_RX_ACTION);
		n = dev->ops->poll(dev, share);
		done += n;
		if (n >= share)
			continue;		/* more to come: stays scheduled, no event needed */
		if (rx_resources(l) && dev->napi.fill != dev->napi.post)
			dev->napi.scheduled = false;	/* drained */
		else
			rx_block(l);
	}
	return done;
}

bool net_rx_pending(struct linkd *l)
{
	if (l->rx_blocked && !rx_resources(l))
		return false;
	for (u32 i = 0; i < l->ndevs; i++)
		if (l->dev[i].napi.scheduled)
			return true;
	return false;
}
