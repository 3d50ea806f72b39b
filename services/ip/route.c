/* route.c – which way out (tx4) and what to do with what came in (rx4): the two destination caches.
 *
 * A dst_entry holds everything a packet of an established flow needs: one comparison, no table walk. All entries
 * are void when route_gen moves (addresses, routes, path MTUs, neighbours, devices changed).
 * Called by ip_queue_xmit, ip_build_and_send, ip_rcv; calls route_find() and neigh_lookup(). */
#include "path.h"

static u32 dst_hash(be32 a, be32 b) { return (a.v * 0x9e3779b1u ^ b.v * 0x85ebca6bu) >> 24; }
static_assert(DST_CACHE == 256, "dst_hash() yields 8 bits");

static void dst_discard(struct ip_stack *st, struct dst_entry *dst, struct sk_buff *skb)
{
	drop(st, skb, DROP_IP_NO_ROUTE, dst->error);
}

struct dst_entry *ip_route_output(struct ip_stack *st, be32 daddr, be32 saddr)
{
	struct dst_entry *dst = &st->dst_out[dst_hash(daddr, saddr)];
	struct ip_path path;
	int r;

	if (likely(dst->gen == st->route_gen && be32_eq(dst->daddr, daddr) && be32_eq(dst->saddr, saddr)))
		return dst;
	memset(dst, 0, sizeof(*dst));
	dst->daddr = daddr;
	dst->saddr = saddr;
	dst->output = dst_discard;
	r = route_find(st->shm, st->link, daddr, saddr, &path);
	/* RFC 1122 3.2.1.3, 4.2.3.10: nothing here is sent to a broadcast or multicast address */
	if (r == 0 && (ip_is_multicast(daddr) || ip_is_net_broadcast(st, daddr)))
		r = -ENETUNREACH;
	if (r == 0) {
		dst->neigh = neigh_lookup(st, path.nexthop, path.dev, true);
		if (!dst->neigh)
			r = -ENOBUFS;
	}
	dst->gen = st->route_gen;	/* after neigh_lookup(): it may evict, and so void every entry */
	if (r < 0) {
		dst->error = -r;
		return dst;
	}
	dst->src = path.saddr;
	dst->nexthop = path.nexthop;
	dst->dev = path.dev;
	dst->mtu = path.mtu;
	dst->output = ip_output;
	return dst;
}

bool ip_is_local_on(const struct ip_stack *st, be32 addr, int dev)
{
	for (u32 i = 0; addr.v && i < IP_ADDRS; i++) {
		const struct ip_addr *a = &st->shm->addr[i];

		if (a->used && be32_eq(a->addr, addr) && (dev < 0 || a->dev == dev))
			return true;
	}
	return false;
}

/* RFC 1122 3.2.1.3 (c), (d): limited, or directed to a network of ours (RFC 3021: /31 and /32 have none). */
bool ip_is_net_broadcast(const struct ip_stack *st, be32 addr)
{
	if (from_be32(addr) == 0xffffffffu)
		return true;
	for (u32 i = 0; i < IP_ADDRS; i++) {
		const struct ip_addr *a = &st->shm->addr[i];

		if (a->used && a->prefix < 31 && ip_in_net(addr, a->addr, a->prefix) &&
		    (from_be32(addr) | ip_mask(a->prefix)) == 0xffffffffu)
			return true;
	}
	return false;
}

/* The input of a destination nobody here is: drop with its reason. */
static void ip_error(struct ip_stack *st, struct dst_entry *dst, struct sk_buff *skb)
{
	drop(st, skb, dst->reason, 0);
}

/* RFC 1122 3.2.1.3, RFC 1812 5.3.7: addresses that no packet on the wire may come from. */
static bool martian_source(const struct ip_stack *st, be32 a)
{
	return ip_is_zeronet(a) || ip_is_loopback(a) || ip_is_multicast(a) || ip_is_classe(a) || ip_is_net_broadcast(st, a) ||
	       ip_is_local(st->shm, a);
}

static void classify(const struct ip_stack *st, struct dst_entry *dst)
{
	be32 d = dst->daddr;

	dst->input = ip_error;
	dst->reason = DROP_IP_MARTIAN;
	dst->pkt_type = PACKET_HOST;
	if (martian_source(st, dst->saddr))
		return;
	if (ip_is_net_broadcast(st, d)) {
		dst->pkt_type = PACKET_BROADCAST;
		dst->input = ip_local_deliver;
	} else if (ip_is_multicast(d)) {
		/* RFC 1112 7.2: every host is a member of all-hosts; other groups are nobody's here */
		dst->pkt_type = PACKET_MULTICAST;
		dst->reason = DROP_IP_NOT_FOR_US;
		if (from_be32(d) == 0xe0000001u)
			dst->input = ip_local_deliver;
	} else if (ip_is_zeronet(d) || ip_is_loopback(d) || ip_is_classe(d)) {
		return;
	} else if (ip_is_local(st->shm, d)) {
		dst->input = ip_local_deliver;
	} else {
		dst->reason = DROP_IP_NOT_FOR_US;	/* RFC 1122 3.2.1.3: a host silently discards; ip_forward's place */
	}
}

struct dst_entry *ip_route_input(struct ip_stack *st, be32 daddr, be32 saddr, u8 dev)
{
	struct dst_entry *dst = &st->dst_in[dst_hash(daddr, saddr)];

	if (likely(dst->gen == st->route_gen && be32_eq(dst->daddr, daddr) && be32_eq(dst->saddr, saddr) && dst->dev == dev))
		return dst;
	memset(dst, 0, sizeof(*dst));
	dst->daddr = daddr;
	dst->saddr = saddr;
	dst->dev = dev;
	classify(st, dst);
	dst->gen = st->route_gen;
	return dst;
}
