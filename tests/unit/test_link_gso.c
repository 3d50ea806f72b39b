/* test_link_gso.c – services/link/gso.c, gro.c: cutting large packets, merging small ones, and both together. */
#include "test_link_fixture.h"

static int collect(void *arg, const struct frame *s)
{
	return fake_xmit(NULL, s);
}

/* A packet of n segments as tcpd and ipd give it: Ethernet + IP inline, TCP header and payload in the data. */
static u32 large_frame(u8 *buf, struct frame *ret, u32 payload, u8 flags)
{
	u32 len = make_tcp(buf + ETH_HLEN, 1000, 0xffffff00u, 0xfffe, flags, payload, 3);

	memcpy(buf, our_mac, 6);
	memcpy(buf + 6, peer_mac, 6);
	buf[12] = 8;
	buf[13] = 0;
	*ret = (struct frame){ .hdr = buf, .hdr_len = 34, .data = buf + 34, .len = len - 20 };
	return len;
}

static void segments_are_the_bytes_expected(void)
{
	static u8 big[70000], want[2000];
	struct frame fr;
	u32 done = 0;

	memset(&f, 0, sizeof(f));
	f.busy = -1;
	large_frame(big, &fr, 5000, TCP_ACK | TCP_PSH | TCP_FIN | TCP_CWR);
	CHECK_EQ(tcp_gso_segment(&fr, 1448, 0, &done, collect, NULL), 0);
	REQUIRE_EQ(done, 4);
	CHECK_EQ(f.nsent, 4);
	for (u32 i = 0; i < 4; i++) {
		u32 n = i < 3 ? 1448 : 5000 - 3 * 1448;
		u8 flags = TCP_ACK | (i == 0 ? TCP_CWR : 0) | (i == 3 ? TCP_PSH | TCP_FIN : 0);
		u32 len = make_tcp(want, 1000, 0xffffff00u + i * 1448, (u16)(0xfffe + i), flags, n, 3 + i * 1448 * 7);

		CHECK_EQ(f.sent[i].len, ETH_HLEN + len);
		CHECK_MEM(f.sent[i].bytes + ETH_HLEN, want, len);
		CHECK_EQ(f.sent[i].vnet.flags, 0);
	}
}

static void resumes_where_the_device_stopped(void)
{
	static u8 big[70000];
	struct frame fr;
	u32 done = 0;

	memset(&f, 0, sizeof(f));
	f.busy = 2;
	large_frame(big, &fr, 5000, TCP_ACK);
	CHECK_EQ(tcp_gso_segment(&fr, 1448, 0, &done, collect, NULL), -EAGAIN);
	CHECK_EQ(done, 2);
	f.busy = -1;
	CHECK_EQ(tcp_gso_segment(&fr, 1448, done, &done, collect, NULL), 0);
	CHECK_EQ(f.nsent, 4);
}

static void nonsense_is_not_cut(void)
{
	static u8 big[70000];
	struct frame fr;
	u32 done = 0, seed = 1;

	for (u32 i = 0; i < 20000; i++) {
		memset(&f, 0, offsetof(struct fixture, sent));
		f.nsent = 0;
		f.busy = -1;
		large_frame(big, &fr, 3000, TCP_ACK);
		for (u32 k = 0; k < 4; k++) {
			seed = seed * 1103515245 + 12345;
			big[(seed >> 8) % 60] ^= (u8)(seed >> 20);
		}
		fr.len = (seed >> 4) % 3020;
		done = 0;
		tcp_gso_segment(&fr, (u16)(seed >> 3), 0, &done, collect, NULL);
		CHECK_EQ(done, f.nsent);	/* and the sanitizer has nothing to say */
	}
}

static void checksum_help_finishes(void)
{
	static u8 b[2000], want[2000];
	u8 scratch[256];
	struct frame fr;

	for (u32 payload = 0; payload < 40; payload++) {
		u32 len = large_frame(b, &fr, payload, TCP_ACK);
		struct tcp_hdr *th = (struct tcp_hdr *)(b + 34);

		memcpy(want, b, ETH_HLEN + len);
		th->check = (u16)~csum_fold(csum_pseudo(to_be32(0x0a000001), to_be32(0x0a000002), 6, len - 20));
		fr.vnet = (struct vnet_hdr){ .flags = VNET_F_NEEDS_CSUM, .csum_start = 34, .csum_offset = 16 };
		CHECK_EQ(skb_checksum_help(&fr, scratch), 0);
		memset(&f, 0, offsetof(struct fixture, sent));
		f.nsent = 0;
		f.busy = -1;
		fake_xmit(NULL, &fr);
		CHECK_MEM(f.sent[0].bytes, want, ETH_HLEN + len);
	}
}

/* Six segments in, one packet up; cut again it is the same six. */
static void gro_then_gso_is_the_identity(void)
{
	static u8 seg[6][1600], big[70000], eth[70000];
	u32 len[6], done = 0;
	struct sk_buff skb;
	struct frame fr;

	REQUIRE_EQ(world_begin(0), 0);
	for (u32 i = 0; i < 6; i++) {
		u32 n = i < 5 ? 1448 : 333;

		len[i] = make_tcp(seg[i], 5, 0xfffff000u + i * 1448, (u16)(65534 + i), TCP_ACK | (i == 5 ? TCP_PSH : 0), n, i);
		wire_send(NULL, ETH_P_IP, seg[i], len[i]);
	}
	link_rx();
	CHECK_EQ(take_received(&skb, big), 1);
	CHECK_EQ(skb.gso_size, 1448);
	CHECK_EQ(skb.gso_type, GSO_TCPV4);
	CHECK_EQ(skb.ip_summed, CHECKSUM_PARTIAL);
	CHECK_EQ(skb.len, 40 + 5 * 1448 + 333);
	CHECK_EQ(csum_fold(csum_partial(big, 20, 0)), 0);
	CHECK_EQ(counter_get(f.l.counters, LINK_GRO_MERGED), 6);
	memcpy(eth + ETH_HLEN, big, skb.len);
	fr = (struct frame){ .hdr = eth, .hdr_len = 34, .data = eth + 34, .len = skb.len - 20 };
	CHECK_EQ(tcp_gso_segment(&fr, skb.gso_size, 0, &done, collect, NULL), 0);
	REQUIRE_EQ(f.nsent, 6);
	for (u32 i = 0; i < 6; i++)
		CHECK_MEM(f.sent[i].bytes + ETH_HLEN, seg[i], len[i]);
	CHECK_EQ(pool_loans(f.l.pool), loans_at_rest());
	world_end();
}

/* A hole, a wrong checksum, another flow, a FIN: each climbs by itself, in order. */
static void gro_leaves_alone_what_differs(void)
{
	static u8 s[1600];
	struct sk_buff skb;
	u32 n;

	REQUIRE_EQ(world_begin(0), 0);
	n = make_tcp(s, 5, 1000, 1, TCP_ACK, 1000, 0);
	wire_send(NULL, ETH_P_IP, s, n);
	n = make_tcp(s, 5, 2001, 2, TCP_ACK, 1000, 0);		/* one byte missing */
	wire_send(NULL, ETH_P_IP, s, n);
	n = make_tcp(s, 5, 3001, 3, TCP_ACK, 1000, 0);
	s[500] ^= 1;						/* damaged: not merged, and left to tcpd to refuse */
	wire_send(NULL, ETH_P_IP, s, n);
	n = make_tcp(s, 5, 4001, 4, TCP_ACK | TCP_FIN, 0, 0);
	wire_send(NULL, ETH_P_IP, s, n);
	n = make_tcp(s, 6, 2000, 2, TCP_ACK, 1000, 0);		/* other port */
	wire_send(NULL, ETH_P_IP, s, n);
	link_rx();
	CHECK_EQ(take_received(&skb, NULL), 5);
	CHECK_EQ(counter_get(f.l.counters, LINK_GRO_MERGED), 0);
	CHECK_EQ(skb.gso_size, 0);
	CHECK_EQ(pool_loans(f.l.pool), loans_at_rest());
	world_end();
}

/* RFC 3168: a mark must reach tcpd, and no unmarked segment may share it: ECT ECT CE CE ECT become three packets. */
static void gro_keeps_congestion_marks_apart(void)
{
	static const u8 tos[5] = { 2, 2, 3, 3, 2 }, want[3] = { 2, 3, 2 };
	static u8 s[1600];
	u32 n, got = 0;

	REQUIRE_EQ(world_begin(0), 0);
	for (u32 i = 0; i < 5; i++) {
		struct ip_hdr *ip = (struct ip_hdr *)s;

		n = make_tcp(s, 5, 1000 + i * 1000, (u16)(1 + i), TCP_ACK, 1000, 0);
		ip->tos = tos[i];
		ip->check = 0;
		ip->check = csum_fold(csum_partial(ip, sizeof(*ip), 0));
		wire_send(NULL, ETH_P_IP, s, n);
	}
	link_rx();
	for (const struct sk_buff *p; (p = ring_peek(&f.link_ip)); got++, ring_next(&f.link_ip)) {
		CHECK_EQ(((const struct ip_hdr *)skb_data(&f.d.pools, p))->tos, want[got % 3]);
		pool_give_back(f.l.pool, p->buf, p->gen, NULL);
	}
	ring_release(&f.link_ip);
	CHECK_EQ(got, 3);
	CHECK_EQ(counter_get(f.l.counters, LINK_GRO_MERGED), 4);
	world_end();
}

UNIT_MAIN(UNIT(segments_are_the_bytes_expected), UNIT(resumes_where_the_device_stopped), UNIT(nonsense_is_not_cut),
	  UNIT(checksum_help_finishes), UNIT(gro_then_gso_is_the_identity), UNIT(gro_leaves_alone_what_differs),
	  UNIT(gro_keeps_congestion_marks_apart))
