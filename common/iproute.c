/* iproute.c – reading ipd's tables: see iproute.h. */
#include "iproute.h"

#define READ_TRIES 10000u	/* a writer holds the lock for less than a microsecond; then it is dead */

/* Has the gateway failed to answer (services/ip/neigh.c)? Neighbours are not under the tables' lock: who looks while one changes
 * gets one of two ways that both exist. */
static bool gateway_dead(const struct ip_shm *ip, const struct ip_route *r)
{
	for (u32 i = 0; r->gateway.v && i < IP_NEIGHS; i++)
		if (be32_eq(ip->neigh[i].addr, r->gateway) && ip->neigh[i].dev == r->dev)
			return ip->neigh[i].state == NUD_FAILED;
	return false;
}

static const struct ip_route *best_route(const struct ip_shm *ip, be32 daddr, bool alive, bool *ret_choice)
{
	const struct ip_route *best = NULL;

	*ret_choice = false;
	for (u32 i = 0; i < IP_ROUTES; i++) {
		const struct ip_route *r = &ip->route[i];

		if (!r->used || r->dev >= LINK_DEVS || !ip_in_net(daddr, r->dst, r->prefix) || (best && r->prefix < best->prefix) ||
		    (alive && gateway_dead(ip, r)))
			continue;
		*ret_choice = best && r->prefix == best->prefix;
		if (!*ret_choice || r->metric < best->metric)
			best = r;
	}
	return best;
}

/* RFC 1122 3.3.1.5: where several gateways serve a network, one that is dead is passed over. A longer prefix is not given up for a
 * shorter one. */
static const struct ip_route *usable_route(const struct ip_shm *ip, be32 daddr)
{
	bool choice;
	const struct ip_route *best = best_route(ip, daddr, false, &choice), *other;

	if (!choice || !gateway_dead(ip, best))
		return best;
	other = best_route(ip, daddr, true, &choice);
	return other && other->prefix == best->prefix ? other : best;
}

/* The address of `dev` that shares a network with the next hop, else the device's first. */
static be32 pick_source(const struct ip_shm *ip, u8 dev, be32 nexthop)
{
	be32 first = { 0 };

	for (u32 i = 0; i < IP_ADDRS; i++) {
		const struct ip_addr *a = &ip->addr[i];

		if (!a->used || a->dev != dev)
			continue;
		if (ip_in_net(nexthop, a->addr, a->prefix))
			return a->addr;
		if (!first.v)
			first = a->addr;
	}
	return first;
}

bool ip_is_local(const struct ip_shm *ip, be32 addr)
{
	for (u32 i = 0; addr.v && i < IP_ADDRS; i++)
		if (ip->addr[i].used && be32_eq(ip->addr[i].addr, addr))
			return true;
	return false;
}

static void learnt_mtu(const struct ip_shm *ip, be32 daddr, struct ip_path *path)
{
	for (u32 i = 0; i < IP_PMTUS; i++) {
		const struct ip_pmtu *p = &ip->pmtu[i];

		if (!p->expires || !be32_eq(p->dst, daddr) || p->mtu < IP_MTU_MIN)
			continue;
		path->mtu = MIN(path->mtu, (u32)p->mtu);
		path->mtu_locked = p->locked;
	}
}

int route_find(const struct ip_shm *ip, const struct link_shm *link, be32 daddr, be32 hint, struct ip_path *ret)
{
	const struct ip_route *r;

	if (hint.v && !ip_is_local(ip, hint))
		return -EINVAL;
	if (ip_is_local(ip, daddr))
		return -EHOSTUNREACH;
	/* RFC 1122 3.2.1.3: neither this network, loopback nor class E is a destination on the wire */
	if (ip_is_zeronet(daddr) || ip_is_loopback(daddr) || ip_is_classe(daddr))
		return -ENETUNREACH;
	r = usable_route(ip, daddr);
	if (!r)
		return -ENETUNREACH;
	ret->dev = r->dev;
	ret->nexthop = r->gateway.v ? r->gateway : daddr;
	ret->saddr = hint.v ? hint : r->prefsrc.v ? r->prefsrc : pick_source(ip, r->dev, ret->nexthop);
	if (!ret->saddr.v)
		return -ENETUNREACH;
	ret->mtu = link->dev[r->dev].mtu ? link->dev[r->dev].mtu : IP_MTU_DEFAULT;
	if (r->mtu)
		ret->mtu = MIN(ret->mtu, r->mtu);
	ret->mtu_locked = false;
	learnt_mtu(ip, daddr, ret);
	ret->features = link->dev[r->dev].features;
	return 0;
}

int route_lookup(const struct ip_shm *ip, const struct link_shm *link, be32 daddr, be32 hint, struct ip_path *ret)
{
	_Atomic u32 *seq = (_Atomic u32 *)&ip->conf_seq;

	for (u32 i = 0; i < READ_TRIES; i++) {
		u32 s = load_acquire(seq);	/* pairs with the release in conf_write_end() */
		int r;

		if (s & 1)
			continue;
		r = route_find(ip, link, daddr, hint, ret);
		atomic_thread_fence(memory_order_acquire);	/* pairs with the fence in conf_write_begin() */
		if (load_relaxed(seq) == s)
			return r;
	}
	return route_find(ip, link, daddr, hint, ret);
}
