/* test_link_receive.c – services/link/napi.c, receive.c, attach.c: frames into the right buffers, garbage, back
 * pressure, and frames harvested after a death. */
#include "test_link_fixture.h"

static void small_frames_travel_alone(void)
{
	static u8 p[1600], got[70000];
	struct sk_buff skb;
	u32 n = make_tcp(p, 1, 1, 1, TCP_ACK, 0, 0);

	REQUIRE_EQ(world_begin(0), 0);
	wire_send(NULL, ETH_P_IP, p, n);
	link_rx();
	CHECK_EQ(take_received(&skb, got), 1);
	CHECK(SKB_BUF_INDEX(skb.buf) < LINK_NSMALL);
	CHECK_EQ(skb.len, n);
	CHECK_MEM(got, p, n);
	CHECK_EQ(from_be16(skb.protocol), ETH_P_IP);
	CHECK_EQ(skb.pkt_type, PACKET_HOST);
	CHECK_EQ(skb.ip_summed, CHECKSUM_NONE);
	CHECK(skb.hash != 0);
	CHECK_EQ(pool_loans(f.l.pool), loans_at_rest());
	world_end();
}

/* Every length around the edge of the small buffer, and the largest. */
static void split_frames_are_contiguous(void)
{
	static u8 p[70000], got[70000];
	struct sk_buff skb;

	REQUIRE_EQ(world_begin(0), 0);
	for (u32 payload = 1950; payload < 65536 - 40; payload += payload > 2010 && payload < 64000 ? 4001 : 1) {
		u32 n = make_tcp(p, 1, 1, 1, TCP_ACK, payload, 0);
		struct vnet_hdr v = { VNET_F_NEEDS_CSUM, VNET_GSO_TCPV4, 54, 1448, 34, 16 };

		wire_send(&v, ETH_P_IP, p, n);
		link_rx();
		REQUIRE_EQ(take_received(&skb, got), 1);
		CHECK_EQ(skb.len, n);
		CHECK_MEM(got, p, n);
		CHECK_EQ(SKB_BUF_INDEX(skb.buf) >= LINK_NSMALL, RX_ETH + ETH_HLEN + n > POOL_SMALL);
		CHECK_EQ(skb.gso_size, 1448);
		CHECK_EQ(skb.ip_summed, CHECKSUM_PARTIAL);
		CHECK_EQ(skb.csum_start, 20);
	}
	CHECK_EQ(pool_loans(f.l.pool), loans_at_rest());
	world_end();
}

static void others_frames_are_dropped(void)
{
	u8 b[100] = { 0 };
	struct vnet_hdr bad = { VNET_F_NEEDS_CSUM, 0, 0, 0, 200, 16 }, gso = { 0, VNET_GSO_TCPV4, 0, 0, 0, 0 };

	REQUIRE_EQ(world_begin(0), 0);
	wire_send(NULL, 0x86dd, b, 60);
	CHECK(send(f.wire[1], b, 60, 0) > 0);	/* destination MAC of zeroes */
	wire_send(&bad, ETH_P_IP, b, 60);
	wire_send(&gso, ETH_P_IP, b, 60);
	CHECK(send(f.wire[1], b, 12, 0) > 0);	/* two bytes of Ethernet */
	link_rx();
	CHECK_EQ(take_received(NULL, NULL), 0);
	CHECK_EQ(counter_get(f.l.counters, DROP_NO_HANDLER), 1);
	CHECK_EQ(counter_get(f.l.counters, DROP_OTHERHOST), 1);
	CHECK_EQ(counter_get(f.l.counters, DROP_GSO_INVALID), 2);
	CHECK_EQ(counter_get(f.l.counters, DROP_TRUNCATED), 1);
	CHECK_EQ(pool_loans(f.l.pool), loans_at_rest());
	world_end();
}

static void garbage(void)
{
	static u8 b[4000];
	u8 p[200];
	u32 n;

	REQUIRE_EQ(world_begin(0), 0);
	srand(3);
	for (u32 i = 0; i < 100000; i++) {
		n = 1 + (u32)rand() % (i % 16 ? 120 : 4000);
		for (u32 k = 0; k < MIN(n, 130u); k++)
			b[k] = (u8)rand();
		if (i % 4) {	/* past the first checks: our MAC, IPv4, TCP */
			memset(b, 0, i % 8 == 1 ? 10 : 0);
			memcpy(b + 10, our_mac, 6);
			b[22] = 8;
			b[23] = 0;
			b[24] = 0x45;
			b[33] = 6;
		}
		CHECK(send(f.wire[1], b, n, 0) > 0);
		if (i % 20 == 19) {
			link_rx();
			take_received(NULL, NULL);
		}
	}
	n = make_tcp(p, 1, 1, 1, TCP_ACK, 10, 0);	/* alive */
	wire_send(NULL, ETH_P_IP, p, n);
	link_rx();
	CHECK_EQ(take_received(NULL, NULL), 1);
	CHECK_EQ(pool_loans(f.l.pool), loans_at_rest());
	world_end();
}

/* ipd is away: its ring fills, frames stay in the device; when it is back they come. */
static void full_ring_stops_only_reading(void)
{
	u8 p[200];
	u32 n, got = 0, sent = 0;

	REQUIRE_EQ(world_begin(0), 0);
	for (u32 k = 0; k < 12; k++) {
		for (u32 i = 0; i < 100; i++, sent++) {
			n = make_tcp(p, (u16)(1 + sent), 1, 1, TCP_ACK, 0, 0);
			wire_send(NULL, ETH_P_IP, p, n);
		}
		link_rx();
	}
	CHECK(f.l.rx_blocked);
	CHECK(load_relaxed(&f.d.link->link_ip.want));
	CHECK(!net_rx_pending(&f.l));
	got = take_received(NULL, NULL);
	CHECK_EQ(got, RX_RING);
	CHECK(net_rx_pending(&f.l));
	while (net_rx_action(&f.l, 64))
		;
	got += take_received(NULL, NULL);
	CHECK_EQ(got, sent);
	CHECK(!load_relaxed(&f.d.link->link_ip.want));
	CHECK_EQ(pool_loans(f.l.pool), loans_at_rest());
	world_end();
}

/* Nobody gives buffers back: reading stops, the doorbell is asked for, reading goes on. */
static void no_buffers_is_hunger(void)
{
	static struct skb_done kept[LINK_NBUF];
	static u8 p[70000];
	u32 n = make_tcp(p, 1, 1, 1, TCP_ACK, 9000, 0), held = 0, sent = 0;

	REQUIRE_EQ(world_begin(0), 0);
	while (!f.l.rx_blocked && sent < 2000) {
		const struct sk_buff *s;

		wire_send(NULL, ETH_P_IP, p, n);
		sent++;
		link_rx();
		while ((s = ring_peek(&f.link_ip))) {
			kept[held++] = (struct skb_done){ .buf = s->buf, .gen = s->gen };
			ring_next(&f.link_ip);
		}
		ring_release(&f.link_ip);
	}
	CHECK(f.l.rx_blocked);
	CHECK_EQ(held, LINK_NLARGE - 1);	/* one waits as the spill */
	CHECK(load_relaxed(&f.tcp_back.cons->hungry));
	CHECK(load_relaxed(&f.ip_back.cons->hungry));
	for (u32 i = 0; i < held; i++)
		*(struct skb_done *)ring_reserve(&f.tcp_back) = kept[i];
	ring_publish(&f.tcp_back);
	rx_buffers_returned(&f.l, LINK_DONE_RING);
	CHECK(net_rx_pending(&f.l));
	link_rx();
	CHECK(!load_relaxed(&f.tcp_back.cons->hungry));
	CHECK_EQ(held + take_received(NULL, NULL), sent);
	CHECK_EQ(pool_loans(f.l.pool), loans_at_rest());
	world_end();
}

/* ---- deaths ---- */

/* The kernel has written frames into posted buffers; linkd died before it looked at them. */
static void frames_written_before_death_are_harvested(void)
{
	static u8 p[4][5000], got[70000];
	u32 len[4] = { 0 };
	struct sk_buff skb;

	REQUIRE_EQ(world_begin(0), 0);
	for (u32 i = 0; i < 4; i++) {
		struct iovec iov[2];

		len[i] = make_tcp(p[i], (u16)(i + 1), 1, 1, TCP_ACK, i == 3 ? 4000 : 10 * i, 0);
		wire_send(NULL, ETH_P_IP, p[i], len[i]);
		REQUIRE(napi_next(&f.l.dev[0], iov));
		CHECK(readv(f.wire[0], iov, 2) > 0);
		f.l.dev[0].napi.fill++;		/* ... killed before napi_filled() */
	}
	life_end();
	REQUIRE_EQ(life_begin(0), 0);
	CHECK_EQ(load_relaxed(&f.d.link->hdr.harvested), 4);
	for (u32 i = 0; i < 4; i++) {
		const struct sk_buff *s = ring_peek(&f.link_ip);

		REQUIRE(s != NULL);
		skb = *s;
		CHECK_EQ(skb.len, len[i]);
		CHECK_MEM(skb_data(&f.d.pools, &skb), p[i], len[i]);
		pool_give_back(f.l.pool, skb.buf, skb.gen, NULL);
		ring_next(&f.link_ip);
	}
	ring_release(&f.link_ip);
	CHECK_EQ(take_received(&skb, got), 0);
	CHECK_EQ(pool_loans(f.l.pool), loans_at_rest());
	world_end();
}

/* Published, but still listed as posted: once is enough, even if ipd has taken it in the meantime. */
static void published_frames_are_not_harvested(void)
{
	u8 p[2][3000];
	u32 n[2] = { make_tcp(p[0], 1, 1, 1, TCP_ACK, 5, 0), make_tcp(p[1], 2, 1, 1, TCP_ACK, 2500, 0) };

	for (u32 taken = 0; taken < 2; taken++) {
		REQUIRE_EQ(world_begin(0), 0);
		for (u32 i = 0; i < 2; i++)
			wire_send(NULL, ETH_P_IP, p[i], n[i]);
		f.die_in_bell = true;
		if (setjmp(f.death) == 0)
			link_rx();
		life_end();
		for (u32 i = 0; taken && i < 2; i++) {
			CHECK(ring_peek(&f.link_ip) != NULL);
			ring_next(&f.link_ip);
		}
		REQUIRE_EQ(life_begin(0), 0);
		CHECK_EQ(load_relaxed(&f.d.link->hdr.harvested), 0);
		CHECK_EQ(take_received(NULL, NULL), taken ? 0 : 2);
		world_end();
	}
}

/* Loans that are in somebody's hands stay; those that are nowhere come back. */
static void loans_are_reconciled(void)
{
	u8 p[200];
	struct sk_buff lost, kept;

	REQUIRE_EQ(world_begin(0), 0);
	for (u32 i = 0; i < 10; i++)
		wire_send(NULL, ETH_P_IP, p, make_tcp(p, (u16)(i + 1), 1, 1, TCP_ACK, 0, 0));
	link_rx();
	CHECK(pool_take(f.l.pool, 100, 0, &lost) != NULL);	/* taken, then killed */
	CHECK(pool_take(f.l.pool, 100, 0, &kept) != NULL);	/* a fragment in ipd's hold table */
	f.d.ip->hold[5].skb = kept;
	store_release(&f.d.ip->hold[5].used, 2);
	life_end();
	REQUIRE_EQ(life_begin(0), 0);
	CHECK(pool_check(f.l.pool, kept.buf, kept.gen, 0, 1));
	CHECK(!pool_check(f.l.pool, lost.buf, lost.gen, 0, 1));
	CHECK_EQ(pool_loans(f.l.pool), RX_POSTS + 11);
	CHECK_EQ(take_received(NULL, NULL), 10);
	CHECK_EQ(pool_loans(f.l.pool), loans_at_rest() + 1);
	world_end();
}

UNIT_MAIN(UNIT(small_frames_travel_alone), UNIT(split_frames_are_contiguous), UNIT(others_frames_are_dropped),
	  UNIT(garbage), UNIT(full_ring_stops_only_reading), UNIT(no_buffers_is_hunger),
	  UNIT(frames_written_before_death_are_harvested), UNIT(published_frames_are_not_harvested),
	  UNIT(loans_are_reconciled))
