/* test_ip_icmp.c – services/ip/icmp.c, icmp_send.c: what ICMP does to us, and about what we stay silent (RFC 1122 3.2.2). */
#include "ip_host.h"
#include "unit.h"

#include "common/csum.h"

#define ME A(10, 0, 0, 1)
#define PEER A(10, 0, 0, 2)
#define SEC NSEC_PER_SEC

static struct frame f;
static u8 buf[4096], out[66000], icmp[2048], data[1500];

static struct host *quiet(void)
{
	struct host *h = host_new();
	u8 seg[20] = { [12] = 0x50 };

	for (u32 i = 0; i < sizeof(data); i++)
		data[i] = (u8)(i * 31 + (i >> 8));
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

static void in(struct host *h, be32 from, be32 to, const u8 *msg, u32 n)
{
	host_frame_in(h, ETH_P_IP, buf, host_ip(buf, from, to, IPPROTO_ICMP_, 1, 0, msg, n), PACKET_HOST);
	host_run(h);
}

static void silent_about_what_it_does_not_know(void)
{
	struct host *h = quiet();

	for (u32 type = 0; type < 256; type++)
		for (u32 code = 0; code < 256; code += 51) {
			if ((type == ICMP_ECHO && code == 0) || type == ICMP_DEST_UNREACH || type == ICMP_TIME_EXCEEDED ||
			    type == ICMP_PARAMETERPROB)
				continue;
			in(h, PEER, ME, icmp, host_icmp(icmp, (u8)type, (u8)code, 1, 2, data, 40));
		}
	CHECK_EQ(host_drain(h), 0);
	CHECK(!host_segment(h, &f.skb, NULL));
	end(h);
}

static void echo_comes_from_the_address_asked(void)
{
	static const u32 sizes[] = { 0, 1, 2, 7, 56, 1000, 1472 };
	struct host *h = quiet();
	be32 addr[] = { ME, A(10, 0, 0, 77), A(172, 16, 0, 1) };
	struct ip_hdr ip;

	CHECK_EQ(addr_add(h->st, addr[1], 24, 0, IP_ROW_RUNTIME), 0);
	CHECK_EQ(addr_add(h->st, addr[2], 16, 0, IP_ROW_RUNTIME), 0);
	host_wait(h, 5 * SEC);
	host_drain(h);
	for (u32 a = 0; a < 3; a++)
		for (u32 i = 0; i < ARRAY_SIZE(sizes); i++) {
			in(h, PEER, addr[a], icmp, host_icmp(icmp, ICMP_ECHO, 0, 0x1234, (u16)i, data, sizes[i]));
			REQUIRE(host_frame(h, &f));
			memcpy(&ip, f.data, 20);
			CHECK(be32_eq(ip.saddr, addr[a]));
			CHECK(be32_eq(ip.daddr, PEER));
			CHECK_EQ(f.len, 28 + sizes[i]);
			CHECK_EQ(f.data[20], ICMP_ECHOREPLY);
			CHECK_EQ(csum_fold(csum_partial(f.data + 20, f.len - 20, 0)), 0);
			CHECK_MEM(f.data + 24, icmp + 4, 4);	/* identifier and number */
			CHECK_MEM(f.data + 28, data, sizes[i]);
			CHECK(!host_frame(h, &f));
		}
	end(h);
}

static void errors_go_to_the_quoted_protocol(void)
{
	static const u8 errors[][2] = { { 3, 0 }, { 3, 1 }, { 3, 2 }, { 3, 3 }, { 3, 4 }, { 3, 5 }, { 11, 0 }, { 11, 1 }, { 12, 0 }, { 12, 1 } };
	struct host *h = quiet();
	u8 quote[64], seg[20] = { 0x12, 0x34, 0, 80, 1, 2, 3, 4, 5, 6, 7, 8 };
	u64 was;

	for (u32 i = 0; i < ARRAY_SIZE(errors); i++) {
		u32 n = host_ip(quote, ME, A(8, 8, 8, 8), IPPROTO_TCP_, 5, IP_DF, seg, i & 1 ? 20 : 8);

		in(h, A(10, 0, 0, 254), ME, icmp, host_icmp(icmp, errors[i][0], errors[i][1], 0, 1400, quote, n));
		REQUIRE(host_segment(h, &f.skb, out));
		CHECK_EQ(f.skb.type, SKB_ICMP_ERROR);
		CHECK_EQ(skb_ip_cb(&f.skb)->icmp_type, errors[i][0]);
		CHECK_EQ(skb_ip_cb(&f.skb)->icmp_code, errors[i][1]);
		CHECK(f.skb.len >= 8);
		CHECK_MEM(out, seg, f.skb.len);
	}
	was = host_count(h, DROP_ICMP_INVALID);
	for (u32 proto = 0; proto < 256; proto++) {
		u32 n = host_ip(quote, ME, A(8, 8, 8, 8), (u8)proto, 5, 0, seg, 20);

		if (proto == IPPROTO_TCP_)
			continue;
		in(h, A(10, 0, 0, 254), ME, icmp, host_icmp(icmp, 3, 1, 0, 0, quote, n));
	}
	CHECK(!host_segment(h, &f.skb, NULL));		/* TCP hears of what is TCP's alone */
	CHECK_EQ(host_count(h, DROP_ICMP_INVALID), was + 254);
	CHECK_EQ(host_drain(h), 0);
	end(h);
}

/* A datagram with a malformed option is answered with parameter problem, unless a rule forbids it. */
static u32 malformed(be32 from, be32 to, u8 proto, u16 frag, const u8 *payload, u32 n)
{
	struct ip_hdr *ip = (struct ip_hdr *)buf;

	host_ip(buf, from, to, proto, 1, frag, NULL, 0);
	memcpy(buf + 20, "\1\7\11\4", 4);
	memcpy(buf + 24, payload, n);
	ip->ver_ihl = 0x46;
	ip->tot_len = to_be16((u16)(24 + n));
	ip->check = 0;
	ip->check = csum_fold(csum_partial(buf, 24, 0));
	return 24 + n;
}

static void no_error_about(void)
{
	static const u32 sources[] = { 0, 0x7f000001, 0xe0000001, 0xffffffff, 0x0a0000ff, 0xf0000001, 0x0a000001 };
	static const u8 errors[] = { 3, 4, 5, 11, 12, 31, 200 };
	struct host *h = quiet();
	u32 n;

	for (u32 i = 0; i < ARRAY_SIZE(errors); i++) {		/* an ICMP error, or what might be one */
		n = host_icmp(icmp, errors[i], 0, 0, 0, data, 28);
		host_frame_in(h, ETH_P_IP, buf, malformed(PEER, ME, IPPROTO_ICMP_, 0, icmp, n), PACKET_HOST);
	}
	for (u32 i = 0; i < ARRAY_SIZE(sources); i++)		/* nobody who could hear it */
		host_frame_in(h, ETH_P_IP, buf, malformed(to_be32(sources[i]), ME, IPPROTO_TCP_, 0, data, 40), PACKET_HOST);
	host_frame_in(h, ETH_P_IP, buf, malformed(PEER, A(10, 0, 0, 255), IPPROTO_TCP_, 0, data, 40), PACKET_HOST);
	host_frame_in(h, ETH_P_IP, buf, malformed(PEER, A(255, 255, 255, 255), IPPROTO_TCP_, 0, data, 40), PACKET_HOST);
	host_frame_in(h, ETH_P_IP, buf, malformed(PEER, A(224, 0, 0, 1), IPPROTO_TCP_, 0, data, 40), PACKET_HOST);
	host_frame_in(h, ETH_P_IP, buf, malformed(PEER, ME, IPPROTO_TCP_, 0, data, 40), PACKET_BROADCAST);
	host_frame_in(h, ETH_P_IP, buf, malformed(PEER, ME, IPPROTO_TCP_, 0, data, 40), PACKET_MULTICAST);
	host_frame_in(h, ETH_P_IP, buf, malformed(PEER, ME, IPPROTO_TCP_, 5, data, 40), PACKET_HOST);	/* a later fragment */
	host_run(h);
	CHECK_EQ(host_drain(h), 0);
	host_frame_in(h, ETH_P_IP, buf, malformed(PEER, ME, IPPROTO_TCP_, 0, data, 40), PACKET_HOST);	/* and now one that may */
	host_run(h);
	REQUIRE(host_frame(h, &f));
	CHECK_EQ(f.data[20], ICMP_PARAMETERPROB);
	n = host_icmp(icmp, ICMP_ECHO, 0, 0, 0, data, 28);		/* a query is no error */
	host_frame_in(h, ETH_P_IP, buf, malformed(PEER, ME, IPPROTO_ICMP_, 0, icmp, n), PACKET_HOST);
	host_run(h);
	CHECK_EQ(host_drain(h), 1);
	end(h);
}

UNIT_MAIN(UNIT(silent_about_what_it_does_not_know), UNIT(echo_comes_from_the_address_asked), UNIT(errors_go_to_the_quoted_protocol),
	  UNIT(no_error_about))
