/* test_ip_addr.c – services/ip: which addresses datagrams may come from and go to, TOS and TTL (RFC 1122 3.2.1.3, .6, .7, 3.3.6). */
#include "ip_host.h"
#include "unit.h"

#include "common/csum.h"

#define ME A(10, 0, 0, 1)
#define PEER A(10, 0, 0, 2)
#define SEC NSEC_PER_SEC

static struct frame f;
static u8 buf[4096], seg[40] = { [12] = 0x50 };

static struct host *quiet(void)
{
	struct host *h = host_new();

	host_wait(h, 5 * SEC);
	host_drain(h);
	host_send(h, PEER, seg, sizeof(seg), true, 0);
	host_run(h);
	host_resolve(h, PEER);
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

/* As host_send(), with the control block as tcpd would fill it. */
static void send_as(struct host *h, struct tx_cb cb)
{
	struct sk_buff skb, *slot;
	u8 *b = pool_take(&h->tcp_pool, sizeof(seg), 0, &skb);

	REQUIRE(b != NULL);
	memcpy(b, seg, sizeof(seg));
	skb.len = sizeof(seg);
	cb.protocol = IPPROTO_TCP_;
	*skb_tx_cb(&skb) = cb;
	slot = ring_reserve(&h->tcp_ip);
	REQUIRE(slot != NULL);
	*slot = skb;
	ring_publish(&h->tcp_ip);
	h->last_error = 0;
	host_run(h);
}

static void tcp_in(struct host *h, be32 from, be32 to, u8 ttl, u8 pkt_type)
{
	u32 n = host_ip(buf, from, to, IPPROTO_TCP_, 1, 0, seg, sizeof(seg));

	buf[8] = ttl;
	buf[10] = buf[11] = 0;
	((struct ip_hdr *)buf)->check = csum_fold(csum_partial(buf, 20, 0));
	host_frame_in(h, ETH_P_IP, buf, n, pkt_type);
	host_run(h);
}

static void source_is_ours(void)
{
	static const u32 others[] = { 0x0a000002, 0x0a0000ff, 0xffffffff, 0xe0000001, 0x7f000001, 0x08080808, 0xf0000001 };
	struct host *h = quiet();
	struct ip_hdr ip;

	for (u32 i = 0; i < ARRAY_SIZE(others); i++) {
		send_as(h, (struct tx_cb){ .saddr = to_be32(others[i]), .daddr = PEER });
		CHECK_EQ(h->last_error, EINVAL);
	}
	CHECK_EQ(host_drain(h), 0);
	send_as(h, (struct tx_cb){ .daddr = PEER });	/* none given: chosen */
	REQUIRE(host_frame(h, &f));
	memcpy(&ip, f.data, 20);
	CHECK(be32_eq(ip.saddr, ME));
	end(h);
}

static void loopback_never_leaves(void)
{
	struct host *h = quiet();

	send_as(h, (struct tx_cb){ .saddr = ME, .daddr = A(127, 0, 0, 1) });
	CHECK_EQ(h->last_error, ENETUNREACH);
	send_as(h, (struct tx_cb){ .saddr = ME, .daddr = A(127, 255, 1, 2) });
	CHECK_EQ(h->last_error, ENETUNREACH);
	send_as(h, (struct tx_cb){ .saddr = A(127, 0, 0, 1), .daddr = PEER });
	CHECK(h->last_error != 0);
	CHECK_EQ(host_drain(h), 0);
	end(h);
}

static void nothing_leaves_for_broadcast_or_multicast(void)
{
	static const u32 dests[] = { 0x0a0000ff, 0xffffffff, 0xe0000001, 0xe1020304, 0xefffffff, 0xf0000001, 0 };
	struct host *h = quiet();

	for (u32 i = 0; i < ARRAY_SIZE(dests); i++) {
		send_as(h, (struct tx_cb){ .saddr = ME, .daddr = to_be32(dests[i]) });
		CHECK_EQ(h->last_error, ENETUNREACH);
	}
	CHECK_EQ(host_drain(h), 0);
	send_as(h, (struct tx_cb){ .saddr = ME, .daddr = PEER });	/* and what leaves goes to one station */
	REQUIRE(host_frame(h, &f));
	CHECK_EQ(f.eth.dst[0] & 1, 0);
	end(h);
}

static void tos_and_ttl_are_the_transports(void)
{
	struct host *h = quiet();

	for (u32 ttl = 0; ttl < 256; ttl += 5)
		for (u32 tos = 0; tos < 256; tos += 51) {
			send_as(h, (struct tx_cb){ .saddr = ME, .daddr = PEER, .tos = (u8)tos, .ttl = (u8)ttl });
			REQUIRE(host_frame(h, &f));
			CHECK_EQ(f.data[1], tos);
			CHECK_EQ(f.data[8], ttl ? ttl : 64);	/* 0: what is configured */
		}
	h->conf.ttl = 17;
	send_as(h, (struct tx_cb){ .saddr = ME, .daddr = PEER });
	REQUIRE(host_frame(h, &f));
	CHECK_EQ(f.data[8], 17);
	end(h);
}

static void ttl_of_one_is_welcome(void)
{
	struct host *h = quiet();

	for (u8 ttl = 0; ttl < 3; ttl++) {
		tcp_in(h, PEER, ME, ttl, PACKET_HOST);
		REQUIRE(host_segment(h, &f.skb, NULL));
		CHECK_EQ(skb_ip_cb(&f.skb)->ttl, ttl);
	}
	CHECK_EQ(host_drain(h), 0);
	end(h);
}

/* RFC 1122 3.3.6, 2.4: to one station's IP address, but in a broadcast frame. */
static void link_broadcast_of_a_unicast_datagram(void)
{
	struct host *h = quiet();

	tcp_in(h, PEER, ME, 64, PACKET_BROADCAST);
	tcp_in(h, PEER, ME, 64, PACKET_MULTICAST);
	CHECK(!host_segment(h, &f.skb, NULL));
	CHECK_EQ(host_drain(h), 0);
	CHECK_EQ(host_count(h, DROP_IP_MARTIAN), 2);
	tcp_in(h, PEER, ME, 64, PACKET_HOST);
	CHECK(host_segment(h, &f.skb, NULL));
	end(h);
}

/* Limited, and directed to a network of ours: taken in (a protocol nobody has shows it), never answered. */
static void broadcasts_are_recognised(void)
{
	static const u32 mine[] = { 0xffffffff, 0x0a0000ff, 0xac10ffff, 0xe0000001 };
	static const u32 others[] = { 0x0a00ffff, 0x0affffff, 0xac1000ff, 0xe0000002 };
	struct host *h = quiet();

	CHECK_EQ(addr_add(h->st, A(172, 16, 0, 1), 16, 0, IP_ROW_RUNTIME), 0);
	host_wait(h, 5 * SEC);
	host_drain(h);
	for (u32 i = 0; i < ARRAY_SIZE(mine); i++) {
		host_frame_in(h, ETH_P_IP, buf, host_ip(buf, PEER, to_be32(mine[i]), 99, 1, 0, seg, 40), PACKET_BROADCAST);
		host_run(h);
		CHECK_EQ(host_count(h, DROP_NO_PROTOCOL), i + 1);
	}
	for (u32 i = 0; i < ARRAY_SIZE(others); i++) {
		host_frame_in(h, ETH_P_IP, buf, host_ip(buf, PEER, to_be32(others[i]), 99, 1, 0, seg, 40), PACKET_BROADCAST);
		host_run(h);
	}
	CHECK_EQ(host_count(h, DROP_NO_PROTOCOL), 4);
	CHECK_EQ(host_count(h, DROP_IP_NOT_FOR_US), 4);
	CHECK_EQ(host_drain(h), 0);
	end(h);
}

static void several_addresses(void)
{
	struct host *h = quiet();
	be32 second = A(10, 0, 0, 77), net = A(172, 16, 0, 1);
	struct ip_hdr ip;

	CHECK_EQ(addr_add(h->st, second, 24, 0, IP_ROW_RUNTIME), 0);
	CHECK_EQ(addr_add(h->st, net, 16, 0, IP_ROW_RUNTIME), 0);
	host_wait(h, 5 * SEC);
	host_drain(h);
	tcp_in(h, PEER, ME, 64, PACKET_HOST);
	tcp_in(h, PEER, second, 64, PACKET_HOST);
	tcp_in(h, PEER, net, 64, PACKET_HOST);
	for (u32 i = 0; i < 3; i++)
		CHECK(host_segment(h, &f.skb, NULL));
	send_as(h, (struct tx_cb){ .saddr = second, .daddr = PEER });	/* RFC 1122 3.3.4.2: the transport chooses */
	REQUIRE(host_frame(h, &f));
	memcpy(&ip, f.data, 20);
	CHECK(be32_eq(ip.saddr, second));
	end(h);
}

static void works_without_a_gateway(void)
{
	struct host *h = quiet();
	be32 any = { 0 };

	CHECK_EQ(route_del(h->st, any, 0, any, -1), 0);
	send_as(h, (struct tx_cb){ .saddr = ME, .daddr = PEER });
	CHECK_EQ(h->last_error, 0);
	CHECK_EQ(host_drain(h), 1);
	send_as(h, (struct tx_cb){ .saddr = ME, .daddr = A(8, 8, 8, 8) });
	CHECK_EQ(h->last_error, ENETUNREACH);
	tcp_in(h, PEER, ME, 64, PACKET_HOST);
	CHECK(host_segment(h, &f.skb, NULL));
	end(h);
}

UNIT_MAIN(UNIT(source_is_ours), UNIT(loopback_never_leaves), UNIT(nothing_leaves_for_broadcast_or_multicast),
	  UNIT(tos_and_ttl_are_the_transports), UNIT(ttl_of_one_is_welcome), UNIT(link_broadcast_of_a_unicast_datagram),
	  UNIT(broadcasts_are_recognised), UNIT(several_addresses), UNIT(works_without_a_gateway))
