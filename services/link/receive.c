/* receive.c – rx2: netif_receive_skb(): packet taps first, the ingress hook, then the handlers registered for the
 * frame's protocol, through deliver_skb(). The handlers of ETH_P_IP and ETH_P_ARP pass the sk_buff to ipd.
 *
 * Called by gro.c; the way back of the buffers (rx_buffers_returned) is a poller of main.c. */
#include "services/link/path.h"
#include "common/csum.h"
#include "proto/wire/ip.h"

void kfree_skb(struct linkd *l, const struct sk_buff *skb, enum counter_id why)
{
	count(l->counters, why);
	if (skb->dev < l->ndevs)
		dev_count(&l->dev[skb->dev].shm->rx_dropped, 1);
	pool_give_back(l->pool, skb->buf, skb->gen, NULL);
}

/* Addresses and ports of one flow always give the same number; soft, so it needs no key. */
static u32 flow_hash(const u8 *ip, u32 len)
{
	const struct ip_hdr *h = (const struct ip_hdr *)ip;
	u32 hl, ports = 0;
	u64 x;

	if (len < sizeof(*h))
		return 0;
	hl = (h->ver_ihl & 15u) * 4;
	if (!(from_be16(h->frag_off) & (IP_MF | IP_OFFMASK)) && hl >= sizeof(*h) && len >= hl + 4)
		memcpy(&ports, ip + hl, 4);
	x = ((u64)h->saddr.v << 32 | h->daddr.v) ^ ((u64)ports << 16 | h->protocol);
	x *= 0x9e3779b97f4a7c15ull;
	return (u32)(x >> 32);
}

static u8 eth_pkt_type(const struct net_device *dev, const struct eth_hdr *eth)
{
	static const u8 broadcast[ETH_ALEN] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff };

	if (!memcmp(eth->dst, dev->mac, ETH_ALEN))
		return PACKET_HOST;
	if (eth->dst[0] & 1)
		return memcmp(eth->dst, broadcast, ETH_ALEN) ? PACKET_MULTICAST : PACKET_BROADCAST;
	return PACKET_OTHERHOST;
}

/* virtio 1.1, 5.1.6.4.2: what the vnet header claims must fit the frame, or it is not believed at all. */
static bool virtio_net_hdr_to_skb(struct sk_buff *skb, const u8 *eth, const struct vnet_hdr *v)
{
	u32 len = skb->len;	/* Ethernet on */
	u8 type = v->gso_type & (u8)~VNET_GSO_ECN;
	u8 protocol = len >= ETH_HLEN + sizeof(struct ip_hdr) ? eth[ETH_HLEN + 9] : 0;

	skb->ip_summed = CHECKSUM_NONE;
	if (v->flags & VNET_F_NEEDS_CSUM) {
		if (v->csum_start < ETH_HLEN || v->csum_offset > 255 ||
		    (u32)v->csum_start + v->csum_offset + 2 > len)
			return false;
		skb->ip_summed = CHECKSUM_PARTIAL;
		skb->csum_start = (u16)(v->csum_start - ETH_HLEN);
		skb->csum_offset = (u8)v->csum_offset;
	} else if (v->flags & VNET_F_DATA_VALID) {
		skb->ip_summed = CHECKSUM_UNNECESSARY;
	}
	if (type == VNET_GSO_NONE)
		return v->gso_type == VNET_GSO_NONE;
	if (!v->gso_size || from_be16(skb->protocol) != ETH_P_IP)
		return false;
	if (!(type == VNET_GSO_TCPV4 && protocol == IPPROTO_TCP_) &&
	    !(type == VNET_GSO_UDP_L4 && protocol == IPPROTO_UDP_))
		return false;
	if (len <= v->gso_size)
		return true;	/* one segment after all */
	skb->gso_size = v->gso_size;
	skb->gso_type = v->gso_type;
	return true;
}

/* eth_type_trans() and the rest of the metadata; on true `off` is at the network header. On false it was dropped. */
bool rx_skb_init(struct linkd *l, struct net_device *dev, struct sk_buff *skb, u8 *eth, const struct vnet_hdr *v)
{
	const struct eth_hdr *h = (const struct eth_hdr *)eth;

	if (skb->len < ETH_HLEN) {
		kfree_skb(l, skb, DROP_TRUNCATED);
		return false;
	}
	skb->protocol = h->proto;
	skb->pkt_type = eth_pkt_type(dev, h);
	if (!virtio_net_hdr_to_skb(skb, eth, v)) {
		kfree_skb(l, skb, DROP_GSO_INVALID);
		return false;
	}
	skb_pull(skb, ETH_HLEN);
	skb->hash = from_be16(skb->protocol) == ETH_P_IP ? flow_hash(eth + ETH_HLEN, skb->len) : 0;
	return true;
}

static bool ptype_matches(const struct packet_type *pt, const struct net_device *dev)
{
	return !pt->dev || pt->dev == dev;
}

static int deliver_skb(struct linkd *l, struct net_device *dev, struct sk_buff *skb, const struct frame *f,
		       struct packet_type *pt)
{
	return pt->func(l, dev, skb, f, pt);
}

void netif_receive_skb(struct linkd *l, struct sk_buff *skb, u8 *data)
{
	struct net_device *dev = &l->dev[skb->dev];
	struct frame f = { .data = data - ETH_HLEN, .len = skb->len + ETH_HLEN };

	count(l->counters, FLOW_RX2_NETIF_RECEIVE_SKB);
	for (struct packet_type *pt = l->ptype_all; pt; pt = pt->next)
		if (ptype_matches(pt, dev))
			deliver_skb(l, dev, skb, &f, pt);
	if (l->ingress && !l->ingress(l, dev, skb, f.data)) {
		kfree_skb(l, skb, DROP_INGRESS);
		return;
	}
	if (skb->pkt_type == PACKET_OTHERHOST) {
		kfree_skb(l, skb, DROP_OTHERHOST);
		return;
	}
	for (struct packet_type *pt = l->ptype_base; pt; pt = pt->next) {
		if (pt->type == from_be16(skb->protocol) && ptype_matches(pt, dev)) {
			deliver_skb(l, dev, skb, &f, pt);	/* one handler owns it: the first */
			return;
		}
	}
	kfree_skb(l, skb, DROP_NO_HANDLER);
}

/* packet_type.func of ETH_P_IP and ETH_P_ARP: to ipd. napi_next() made sure of the room. A frame has no input ring;
 * the index of its cause is its own place in R_LINK_IP, by which a successor tells published slots from others. */
static int link_ip_rcv(struct linkd *l, struct net_device *dev, struct sk_buff *skb, const struct frame *f,
		       struct packet_type *pt)
{
	u32 index = l->link_ip.pos;
	struct sk_buff *slot = ring_reserve(&l->link_ip);

	if (!slot) {
		kfree_skb(l, skb, DROP_RING_FULL);
		return -ENOBUFS;
	}
	skb->cause = (struct cause){ .index = index, .ring = R_NONE, .flags = CAUSE_LAST };
	*slot = *skb;
	l->bulk |= skb->gso_size != 0;
	return 0;
}

void dev_add_pack(struct linkd *l, struct packet_type *pt)
{
	struct packet_type **list = pt->type == ETH_P_ALL ? &l->ptype_all : &l->ptype_base;

	pt->next = *list;
	*list = pt;
}

void dev_remove_pack(struct linkd *l, struct packet_type *pt)
{
	struct packet_type **p = pt->type == ETH_P_ALL ? &l->ptype_all : &l->ptype_base;

	for (; *p; p = &(*p)->next) {
		if (*p == pt) {
			*p = pt->next;
			return;
		}
	}
}

void receive_attach(struct linkd *l)
{
	l->arp_type = (struct packet_type){ .type = ETH_P_ARP, .func = link_ip_rcv };
	l->ip_type = (struct packet_type){ .type = ETH_P_IP, .func = link_ip_rcv };
	dev_add_pack(l, &l->arp_type);
	dev_add_pack(l, &l->ip_type);
}

/* Nothing is emitted for these inputs: a loan ends once, however often it is asked for, thanks to its generation. */
static u32 take_done_ring(struct linkd *l, struct ring *r, enum region_id from, u32 budget)
{
	u32 n = 0;

	for (; n < budget; n++) {
		const struct skb_done *slot = ring_peek(r);
		struct skb_done d;

		if (!slot)
			break;
		d = *slot;	/* copied before it is judged */
		ring_next(r);
		if (!pool_give_back(l->pool, d.buf, d.gen, NULL))
			count(l->counters, DROP_NONSENSE);
	}
	if (n && ring_release_wants_bell(r))
		l->bell(l->ctx, from);
	return n;
}

u32 rx_buffers_returned(struct linkd *l, u32 budget)
{
	return take_done_ring(l, &l->ip_link_done, REGION_IP, budget) +
	       take_done_ring(l, &l->tcp_link_done, REGION_TCP, budget);
}
