/* arp.c – rx3 arp_rcv(), and everything ARP that is sent: requests, replies, announcements (RFC 826, RFC 5227).
 *
 * Called by poll.c for frames of type ETH_P_ARP, by neigh.c to ask, and at every pass to announce our addresses after we
 * or linkd have started. Replies are cross-direction: a full ring or an empty pool drops them, counted. */
#include "path.h"

#define DEFEND_INTERVAL (10 * NSEC_PER_SEC)	/* RFC 5227 1.1 */
#define ANNOUNCE_NUM 2u
#define ANNOUNCE_INTERVAL (2 * NSEC_PER_SEC)
#define ANNOUNCE_RETRY (500 * NSEC_PER_MSEC)	/* a device that is not up yet */
#define LOCKTIME (1 * NSEC_PER_SEC)		/* as Linux: the first of several answers counts */

static const u8 broadcast_mac[ETH_ALEN] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff };
static const u8 zero_mac[ETH_ALEN];

static bool mac_unicast(const u8 *m) { return !(m[0] & 1) && memcmp(m, zero_mac, ETH_ALEN) != 0; }

void arp_send(struct ip_stack *st, u16 op, u8 dev, const u8 *dst_mac, be32 spa, const u8 *tha, be32 tpa)
{
	const u8 *mac = st->link->dev[dev].mac;
	struct arp_hdr a = { .htype = to_be16(1), .ptype = to_be16(ETH_P_IP), .hlen = ETH_ALEN, .plen = 4, .op = to_be16(op) };
	struct eth_hdr e = { .proto = to_be16(ETH_P_ARP) };
	struct sk_buff skb;
	u8 *b;

	if (!mac_unicast(mac))
		return;		/* linkd has not brought the device up yet; whoever asked asks again */
	b = ip_alloc(st, sizeof(a), &skb);
	if (!b) {
		count(st->counters, DROP_NO_BUFFER);
		return;
	}
	memcpy(a.sha, mac, ETH_ALEN);
	memcpy(a.spa, &spa, 4);
	memcpy(a.tha, tha, ETH_ALEN);
	memcpy(a.tpa, &tpa, 4);
	memcpy(b, &a, sizeof(a));
	skb.len = sizeof(a);
	skb.dev = dev;
	skb.protocol = to_be16(ETH_P_ARP);
	memcpy(e.dst, dst_mac, ETH_ALEN);
	memcpy(e.src, mac, ETH_ALEN);
	memcpy(skb_push_hdr(&skb, ETH_HLEN), &e, ETH_HLEN);
	count(st->counters, op == ARP_REQUEST ? ARP_REQUESTS : ARP_REPLIES);
	if (!ip_emit_link(st, &skb))
		drop(st, &skb, DROP_RING_FULL, 0);
}

/* An address of the device to ask from: one in the target's network if there is one. */
static be32 source_for(const struct ip_stack *st, be32 target, u8 dev)
{
	be32 any = { 0 };

	for (u32 i = 0; i < IP_ADDRS; i++) {
		const struct ip_addr *a = &st->shm->addr[i];

		if (!a->used || a->dev != dev)
			continue;
		if (ip_in_net(target, a->addr, a->prefix))
			return a->addr;
		any = a->addr;
	}
	return any;
}

void arp_solicit(struct ip_stack *st, struct neighbour *nb, bool broadcast)
{
	be32 src = source_for(st, nb->n->addr, nb->n->dev);

	if (src.v)
		arp_send(st, ARP_REQUEST, nb->n->dev, broadcast ? broadcast_mac : nb->n->mac, src, zero_mac, nb->n->addr);
}

/* RFC 5227 2.3: a broadcast request with our address as sender and target. */
static void announce_one(struct ip_stack *st, const struct ip_addr *a)
{
	arp_send(st, ARP_REQUEST, a->dev, broadcast_mac, a->addr, zero_mac, a->addr);
}

static void announce_timer(struct timer *t, void *arg, u64 now)
{
	struct ip_stack *st = arg;
	bool again = false, retry = false;

	for (u8 d = 0; d < LINK_DEVS; d++) {
		retry |= st->link->dev[d].name[0] && !st->announced[d];
		if (!st->announce_left[d])
			continue;
		for (u32 i = 0; i < IP_ADDRS; i++)
			if (st->shm->addr[i].used && st->shm->addr[i].dev == d)
				announce_one(st, &st->shm->addr[i]);
		again |= --st->announce_left[d] > 0;
	}
	if (again)
		timer_arm(&st->wheel, t, now + ANNOUNCE_INTERVAL);
	else if (retry)
		timer_arm(&st->wheel, t, now + ANNOUNCE_RETRY);
	arp_announce(st);
}

/* We or linkd have started: tell the neighbourhood where our addresses are, once the device is up. */
void arp_announce(struct ip_stack *st)
{
	u32 starts = load_acquire((_Atomic u32 *)&st->link->hdr.starts);
	bool any = false;

	for (u32 d = 0; d < LINK_DEVS; d++) {
		const struct link_dev *dev = &st->link->dev[d];

		if (likely(st->announced[d] == starts) || !dev->name[0])
			continue;
		if (!load_acquire((_Atomic u32 *)&dev->up) || !mac_unicast(dev->mac)) {
			if (!timer_armed(&st->announce_timer))
				timer_arm(&st->wheel, &st->announce_timer, st->now + ANNOUNCE_RETRY);
			continue;
		}
		st->announced[d] = starts;
		st->announce_left[d] = ANNOUNCE_NUM;
		any = true;
	}
	if (any) {
		neigh_refresh(st);
		timer_arm(&st->wheel, &st->announce_timer, st->now);
	}
}

void arp_attach(struct ip_stack *st)
{
	memset(st->announced, 0, sizeof(st->announced));
	memset(st->announce_left, 0, sizeof(st->announce_left));
	memset(st->defended, 0, sizeof(st->defended));
	st->announce_timer = (struct timer){ .fn = announce_timer };
	arp_announce(st);
}

/* RFC 5227 2.4 (b): somebody else uses our address: note it, defend it at most once in ten seconds. */
static void conflict(struct ip_stack *st, be32 addr, const u8 *sha)
{
	for (u32 i = 0; i < IP_ADDRS; i++) {
		struct ip_addr *a = &st->shm->addr[i];

		if (!a->used || !be32_eq(a->addr, addr))
			continue;
		if (!a->conflict && st->ops->notice)
			st->ops->notice(st->ctx, "another host uses an address of ours (ARP): see strata addr");
		a->conflict = 1;
		if (!st->defended[i] || st->now - st->defended[i] >= DEFEND_INTERVAL) {
			st->defended[i] = st->now;
			announce_one(st, a);
		}
	}
}

static bool valid_header(const struct arp_hdr *a)
{
	u16 op = from_be16(a->op);

	return from_be16(a->htype) == 1 && from_be16(a->ptype) == ETH_P_IP && a->hlen == ETH_ALEN && a->plen == 4 &&
	       (op == ARP_REQUEST || op == ARP_REPLY) && mac_unicast(a->sha);
}

/* RFC 826, "packet reception": merge if known, create only when we are the target, then answer. */
static void process(struct ip_stack *st, const struct arp_hdr *a, u8 dev, be32 spa, be32 tpa)
{
	bool request = from_be16(a->op) == ARP_REQUEST, for_us = ip_is_local_on(st, tpa, dev);
	bool solicited = !request && for_us && memcmp(a->tha, st->link->dev[dev].mac, ETH_ALEN) == 0;
	struct neighbour *nb = neigh_lookup(st, spa, dev, request && for_us && !be32_eq(spa, tpa));

	if (nb)
		neigh_update(st, nb, a->sha, solicited ? NUD_REACHABLE : NUD_STALE,
			     st->now - nb->n->updated >= LOCKTIME || !nb->n->updated);
	if (request && for_us)
		arp_send(st, ARP_REPLY, dev, a->sha, tpa, a->sha, spa);
}

void arp_rcv(struct ip_stack *st, struct sk_buff *skb)
{
	const u8 *d = skb_header(st->pools, skb, 0, sizeof(struct arp_hdr));
	const u8 *mac = st->link->dev[skb->dev].mac;
	struct arp_hdr a;
	be32 spa, tpa;

	count(st->counters, FLOW_RX3_ARP_RCV);
	if (!d) {
		drop(st, skb, DROP_TRUNCATED, 0);
		return;
	}
	memcpy(&a, d, sizeof(a));
	memcpy(&spa, a.spa, 4);
	memcpy(&tpa, a.tpa, 4);
	if (!valid_header(&a) || skb->pkt_type == PACKET_OTHERHOST || ip_is_loopback(tpa) || ip_is_multicast(tpa)) {
		drop(st, skb, DROP_ARP_INVALID, 0);
		return;
	}
	if (memcmp(a.sha, mac, ETH_ALEN) == 0) {	/* our own, come back */
		drop(st, skb, DROP_ARP_INVALID, 0);
		return;
	}
	if (!spa.v) {		/* RFC 5227 2.1.1: a probe; answered, nothing learnt */
		if (from_be16(a.op) == ARP_REQUEST && ip_is_local_on(st, tpa, skb->dev))
			arp_send(st, ARP_REPLY, skb->dev, a.sha, tpa, a.sha, spa);
	} else if (ip_is_local(st->shm, spa)) {
		conflict(st, spa, a.sha);
	} else if (ip_is_multicast(spa) || ip_is_loopback(spa) || ip_is_zeronet(spa) || ip_is_classe(spa) ||
		   ip_is_net_broadcast(st, spa)) {
		drop(st, skb, DROP_ARP_INVALID, 0);
		return;
	} else {
		process(st, &a, skb->dev, spa, tpa);
	}
	ip_complete(st, skb, 0);
}
