/* test_ip_neigh.c – services/ip/neigh.c, neigh_output.c, arp.c, with virtual time; common/iproute.c. */
#include "ip_host.h"
#include "unit.h"

static struct frame f;
static u8 buf[2048];
static const u8 zero[6], other_mac[6] = { 2, 9, 9, 9, 9, 9 };
static const u8 seg[40] = { [12] = 0x50 };
#define PEER A(10, 0, 0, 2)
#define SEC NSEC_PER_SEC

static struct host *quiet(void)
{
	struct host *h = host_new();

	host_wait(h, 5 * SEC);
	host_drain(h);
	host_run(h);
	return h;
}

static void end(struct host *h)
{
	while (host_segment(h, &f.skb, NULL) || host_drain(h))
		host_run(h);
	host_run(h);
	CHECK_EQ(host_loans(h), 0);
	host_free(h);
}

static u32 state(struct host *h)
{
	struct neighbour *nb = neigh_lookup(h->st, PEER, 0, false);

	return nb ? nb->n->state : NUD_NONE;
}

static void send(struct host *h)
{
	host_send(h, PEER, seg, sizeof(seg), true, 0);
	host_run(h);
}

static void arp_in(struct host *h, u16 op, const u8 *sha, be32 spa, const u8 *tha, be32 tpa)
{
	host_frame_in(h, ETH_P_ARP, buf, host_arp(buf, op, sha, spa, tha, tpa), PACKET_HOST);
	host_run(h);
}

static bool next_arp(struct host *h, struct arp_hdr *a)
{
	if (!host_frame(h, &f) || from_be16(f.eth.proto) != ETH_P_ARP)
		return false;
	memcpy(a, f.data, sizeof(*a));
	return true;
}

static void life_of_a_neighbour(void)
{
	struct host *h = quiet();
	struct arp_hdr a;

	send(h);
	CHECK_EQ(state(h), NUD_INCOMPLETE);
	REQUIRE(next_arp(h, &a));
	CHECK_EQ(from_be16(a.op), ARP_REQUEST);
	CHECK_EQ(f.eth.dst[0], 0xff);
	CHECK_MEM(a.tpa, ((u8[]){ 10, 0, 0, 2 }), 4);
	send(h);
	CHECK_EQ(host_drain(h), 0);
	CHECK_EQ(h->st->nhold_neigh, 2);
	arp_in(h, ARP_REPLY, peer_mac, PEER, host_mac, A(10, 0, 0, 1));
	CHECK_EQ(state(h), NUD_REACHABLE);
	CHECK_EQ(h->st->nhold_neigh, 0);
	CHECK_EQ(host_drain(h), 2);
	host_wait(h, 46 * SEC);
	CHECK_EQ(state(h), NUD_STALE);
	send(h);
	CHECK_EQ(state(h), NUD_DELAY);
	CHECK_EQ(host_drain(h), 1);
	host_wait(h, 5500 * NSEC_PER_MSEC);
	CHECK_EQ(state(h), NUD_PROBE);
	REQUIRE(next_arp(h, &a));
	CHECK_MEM(f.eth.dst, peer_mac, 6);	/* unicast */
	arp_in(h, ARP_REPLY, peer_mac, PEER, host_mac, A(10, 0, 0, 1));
	CHECK_EQ(state(h), NUD_REACHABLE);
	host_wait(h, 46 * SEC);
	send(h);
	host_wait(h, 9 * SEC);
	CHECK_EQ(state(h), NUD_FAILED);
	CHECK_EQ(host_drain(h), 4);		/* the packet, three probes */
	end(h);
}

static void unanswered(void)
{
	struct host *h = quiet();

	send(h);
	send(h);
	host_wait(h, 2900 * NSEC_PER_MSEC);
	CHECK_EQ(h->errors, 0);
	host_wait(h, 300 * NSEC_PER_MSEC);
	CHECK_EQ(h->errors, 2);
	CHECK_EQ(h->last_error, EHOSTUNREACH);
	CHECK_EQ(host_drain(h), 3);
	CHECK_EQ(host_count(h, DROP_NEIGH_FAILED), 2);
	send(h);		/* asked again at the next packet */
	CHECK_EQ(state(h), NUD_INCOMPLETE);
	CHECK_EQ(host_drain(h), 1);
	host_wait(h, 4 * SEC);
	end(h);
}

static void queue_is_bounded(void)
{
	struct host *h = quiet();

	for (u32 i = 0; i < 150; i++)
		send(h);
	CHECK_EQ(h->st->nhold_neigh, NEIGH_QUEUE);
	CHECK_EQ(h->errors, 150 - NEIGH_QUEUE);
	CHECK_EQ(h->last_error, ENOBUFS);
	host_drain(h);
	arp_in(h, ARP_REPLY, peer_mac, PEER, host_mac, A(10, 0, 0, 1));
	CHECK_EQ(host_drain(h), NEIGH_QUEUE);
	end(h);
}

static void survives_a_restart(void)
{
	struct host *h = quiet();
	struct arp_hdr a;

	arp_in(h, ARP_REQUEST, peer_mac, PEER, zero, A(10, 0, 0, 1));
	host_drain(h);
	CHECK_EQ(state(h), NUD_STALE);
	host_restart(h);
	host_wait(h, 3 * SEC);
	CHECK_EQ(host_drain(h), 2);	/* gratuitous ARP */
	send(h);
	REQUIRE(host_frame(h, &f));
	CHECK_MEM(f.eth.dst, peer_mac, 6);
	host_send(h, A(10, 0, 0, 3), seg, sizeof(seg), true, 0);	/* held over a death */
	host_run(h);
	REQUIRE(next_arp(h, &a));
	host_restart(h);
	CHECK_EQ(h->st->nhold_neigh, 1);
	host_wait(h, 3 * SEC);
	host_drain(h);
	host_resolve(h, A(10, 0, 0, 3));
	CHECK_EQ(h->st->nhold_neigh, 0);
	end(h);
}

static void answers_only_for_itself(void)
{
	struct host *h = quiet();
	struct arp_hdr a;

	arp_in(h, ARP_REQUEST, peer_mac, PEER, zero, A(10, 0, 0, 1));
	REQUIRE(next_arp(h, &a));
	CHECK_EQ(from_be16(a.op), ARP_REPLY);
	CHECK_MEM(a.sha, host_mac, 6);
	CHECK_MEM(a.spa, ((u8[]){ 10, 0, 0, 1 }), 4);
	CHECK_MEM(a.tha, peer_mac, 6);
	CHECK_MEM(f.eth.dst, peer_mac, 6);
	arp_in(h, ARP_REQUEST, peer_mac, PEER, zero, A(10, 0, 0, 9));
	CHECK_EQ(host_drain(h), 0);
	arp_in(h, ARP_REQUEST, peer_mac, A(0, 0, 0, 0), zero, A(10, 0, 0, 1));	/* RFC 5227 probe */
	REQUIRE(next_arp(h, &a));
	CHECK_EQ(from_be16(a.op), ARP_REPLY);
	/* a third party's request creates nothing, but updates what is known, a second later */
	arp_in(h, ARP_REQUEST, other_mac, A(10, 0, 0, 77), zero, A(10, 0, 0, 78));
	CHECK(!neigh_lookup(h->st, A(10, 0, 0, 77), 0, false));
	arp_in(h, ARP_REQUEST, other_mac, PEER, zero, PEER);
	CHECK_MEM(neigh_lookup(h->st, PEER, 0, false)->n->mac, peer_mac, 6);
	host_wait(h, 2 * SEC);
	arp_in(h, ARP_REQUEST, other_mac, PEER, zero, PEER);
	CHECK_MEM(neigh_lookup(h->st, PEER, 0, false)->n->mac, other_mac, 6);
	end(h);
}

static void bad_arp(void)
{
	static const u8 bcast[6] = { 255, 255, 255, 255, 255, 255 };
	struct host *h = quiet();

	arp_in(h, ARP_REQUEST, bcast, PEER, zero, A(10, 0, 0, 1));
	arp_in(h, ARP_REQUEST, zero, PEER, zero, A(10, 0, 0, 1));
	arp_in(h, 9, peer_mac, PEER, zero, A(10, 0, 0, 1));
	arp_in(h, ARP_REQUEST, peer_mac, A(10, 0, 0, 255), zero, A(10, 0, 0, 1));
	arp_in(h, ARP_REQUEST, peer_mac, A(224, 0, 0, 1), zero, A(10, 0, 0, 1));
	arp_in(h, ARP_REQUEST, peer_mac, A(127, 0, 0, 1), zero, A(10, 0, 0, 1));
	arp_in(h, ARP_REQUEST, host_mac, A(10, 0, 0, 1), zero, A(10, 0, 0, 1));
	for (u32 at = 0; at < 8; at++) {
		u32 n = host_arp(buf, ARP_REQUEST, peer_mac, PEER, zero, A(10, 0, 0, 1));

		buf[at] ^= 0x40;
		host_frame_in(h, ETH_P_ARP, buf, n, PACKET_HOST);
	}
	host_frame_in(h, ETH_P_ARP, buf, 27, PACKET_HOST);
	host_run(h);
	CHECK_EQ(host_drain(h), 0);
	CHECK_EQ(host_count(h, DROP_ARP_INVALID), 15);
	CHECK_EQ(host_count(h, DROP_TRUNCATED), 1);
	CHECK_EQ(state(h), NUD_NONE);
	end(h);
}

static void conflict_is_defended(void)
{
	struct host *h = quiet();
	struct arp_hdr a;

	for (u32 i = 0; i < 3; i++)
		arp_in(h, ARP_REPLY, other_mac, A(10, 0, 0, 1), host_mac, A(10, 0, 0, 1));
	REQUIRE(next_arp(h, &a));
	CHECK_MEM(a.spa, a.tpa, 4);
	CHECK_EQ(host_drain(h), 0);	/* once in ten seconds */
	CHECK_EQ(h->ip->addr[0].conflict, 1);
	CHECK_EQ(h->notices, 1);
	end(h);
}

static void permanent_stays(void)
{
	struct host *h = quiet();
	struct neighbour *nb = neigh_lookup(h->st, PEER, 0, true);

	neigh_update(h->st, nb, peer_mac, NUD_PERMANENT, true);
	host_wait(h, 100 * SEC);
	arp_in(h, ARP_REPLY, other_mac, PEER, host_mac, A(10, 0, 0, 1));
	CHECK_EQ(state(h), NUD_PERMANENT);
	send(h);
	REQUIRE(host_frame(h, &f));
	CHECK_MEM(f.eth.dst, peer_mac, 6);
	end(h);
}

static void table_full(void)
{
	struct host *h = quiet();

	for (u32 i = 0; i < 3 * IP_NEIGHS; i++) {
		h->now++;
		h->st->now = h->now;
		REQUIRE(neigh_lookup(h->st, A(10, 1, i >> 8, i & 255), 0, true) != NULL);
	}
	CHECK(!neigh_lookup(h->st, A(10, 1, 0, 0), 0, false));
	CHECK(neigh_lookup(h->st, A(10, 1, (3 * IP_NEIGHS - 1) >> 8, 255), 0, false) != NULL);
	end(h);
}

static void routes(void)
{
	struct host *h = quiet();
	struct ip_route r = { .dst = A(10, 1, 0, 0), .prefix = 16, .gateway = A(10, 0, 0, 3), .metric = 5 };
	struct ip_path p;
	be32 any = { 0 };

	CHECK_EQ(route_add(h->st, &r, IP_ROW_RUNTIME), 0);
	CHECK_EQ(route_add(h->st, &r, IP_ROW_RUNTIME), -EEXIST);
	r.metric = 1;
	r.gateway = A(10, 0, 0, 4);
	r.mtu = 1400;
	CHECK_EQ(route_add(h->st, &r, IP_ROW_RUNTIME), 0);
	r.prefix = 24;
	r.gateway = A(10, 0, 0, 5);
	r.metric = 100;
	CHECK_EQ(route_add(h->st, &r, IP_ROW_RUNTIME), 0);
	r.dst = A(10, 1, 0, 1);
	CHECK_EQ(route_add(h->st, &r, IP_ROW_RUNTIME), -EINVAL);
	CHECK_EQ(route_lookup(h->ip, h->link, A(10, 1, 0, 1), any, &p), 0);
	CHECK(be32_eq(p.nexthop, A(10, 0, 0, 5)));
	CHECK_EQ(route_lookup(h->ip, h->link, A(10, 1, 1, 1), any, &p), 0);
	CHECK(be32_eq(p.nexthop, A(10, 0, 0, 4)));	/* lower metric */
	CHECK_EQ(p.mtu, 1400);
	CHECK_EQ(route_lookup(h->ip, h->link, A(9, 9, 9, 9), any, &p), 0);
	CHECK(be32_eq(p.nexthop, A(10, 0, 0, 254)));
	CHECK(be32_eq(p.saddr, A(10, 0, 0, 1)));
	CHECK_EQ(route_lookup(h->ip, h->link, PEER, any, &p), 0);
	CHECK(be32_eq(p.nexthop, PEER));
	CHECK_EQ(route_lookup(h->ip, h->link, PEER, A(1, 2, 3, 4), &p), -EINVAL);
	CHECK_EQ(route_lookup(h->ip, h->link, A(10, 0, 0, 1), any, &p), -EHOSTUNREACH);
	CHECK_EQ(route_lookup(h->ip, h->link, A(127, 0, 0, 1), any, &p), -ENETUNREACH);
	CHECK_EQ(route_del(h->st, A(0, 0, 0, 0), 0, any, -1), 0);
	CHECK_EQ(route_del(h->st, A(0, 0, 0, 0), 0, any, -1), -ESRCH);
	CHECK_EQ(route_lookup(h->ip, h->link, A(9, 9, 9, 9), any, &p), -ENETUNREACH);
	host_send(h, A(9, 9, 9, 9), seg, sizeof(seg), true, 0);
	host_run(h);
	CHECK_EQ(h->last_error, ENETUNREACH);
	store_relaxed(&h->ip->conf_seq, 7);	/* the writer died: readers go on, the successor evens it */
	CHECK_EQ(route_lookup(h->ip, h->link, PEER, any, &p), 0);
	host_restart(h);
	CHECK_EQ(load_relaxed(&h->ip->conf_seq) & 1, 0);
	CHECK_EQ(route_lookup(h->ip, h->link, A(9, 9, 9, 9), any, &p), 0);	/* built anew from the configuration */
	end(h);
}

UNIT_MAIN(UNIT(life_of_a_neighbour), UNIT(unanswered), UNIT(queue_is_bounded), UNIT(survives_a_restart),
	  UNIT(answers_only_for_itself), UNIT(bad_arp), UNIT(conflict_is_defended), UNIT(permanent_stays), UNIT(table_full), UNIT(routes))
