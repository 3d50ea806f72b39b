/* test_ip_input.c – services/ip/input.c, options.c, deliver.c, defrag.c: malformed headers, martians, reassembly. */
#include "ip_host.h"
#include "unit.h"

#include "common/csum.h"

#define ME A(10, 0, 0, 1)
#define PEER A(10, 0, 0, 2)
#define SEC NSEC_PER_SEC

static struct frame f;
static u8 buf[66000], data[66000], out[66000];

static struct host *quiet(void)
{
	struct host *h = host_new();

	host_wait(h, 5 * SEC);
	host_frame_in(h, ETH_P_ARP, buf, host_arp(buf, ARP_REQUEST, peer_mac, PEER, (u8[6]){ 0 }, ME), PACKET_HOST);
	host_run(h);
	host_drain(h);
	host_run(h);
	for (u32 i = 0; i < sizeof(data); i++)
		data[i] = (u8)(i * 13 + (i >> 8));
	return h;
}

static void end(struct host *h)
{
	while (host_segment(h, &f.skb, NULL) || host_drain(h))
		host_run(h);
	host_run(h);
	CHECK_EQ(host_loans(h), 0);
	CHECK_EQ(h->st->nhold_frag, 0);
	host_free(h);
}

static u32 delivered(struct host *h)
{
	u32 n = 0;

	host_run(h);
	while (host_segment(h, &f.skb, out))
		n++;
	return n;
}

static void in(struct host *h, u16 id, u32 off, u32 n, bool more)
{
	host_frame_in(h, ETH_P_IP, buf,
		      host_ip(buf, PEER, ME, IPPROTO_TCP_, id, (u16)(off / 8 | (more ? IP_MF : 0)), data + off, n), PACKET_HOST);
	host_run(h);
}

static void csum(u8 *b, u32 ihl)
{
	u16 c;

	b[10] = b[11] = 0;
	c = csum_fold(csum_partial(b, ihl, 0));
	memcpy(b + 10, &c, 2);
}

static void padding_is_trimmed(void)
{
	struct host *h = quiet();

	host_ip(buf, PEER, ME, IPPROTO_TCP_, 1, 0, data, 20);
	host_frame_in(h, ETH_P_IP, buf, 46, PACKET_HOST);
	CHECK_EQ(delivered(h), 1);
	CHECK_EQ(f.skb.len, 20);
	CHECK_EQ(skb_ip_cb(&f.skb)->ttl, 64);
	CHECK_MEM(out, data, 20);
	end(h);
}

/* Every bit of a 20-byte header flipped: only the checksum's compensation could let one through, so none does. */
static void every_bit_flipped(void)
{
	struct host *h = quiet();

	for (u32 bit = 0; bit < 160; bit++) {
		u32 n = host_ip(buf, PEER, ME, IPPROTO_TCP_, 1, 0, data, 40);

		buf[bit / 8] ^= (u8)(1 << bit % 8);
		host_frame_in(h, ETH_P_IP, buf, n, PACKET_HOST);
		CHECK_EQ(delivered(h), 0);
	}
	CHECK_EQ(host_drain(h), 0);
	CHECK_EQ(host_count(h, DROP_IP_CSUM) + host_count(h, DROP_IP_HEADER) + host_count(h, DROP_TRUNCATED), 160);
	end(h);
}

static void expect(struct host *h, u32 n, u32 ihl, enum counter_id why)
{
	u64 was = host_count(h, why);

	csum(buf, ihl);
	host_frame_in(h, ETH_P_IP, buf, n, PACKET_HOST);
	CHECK_EQ(delivered(h), 0);
	CHECK_EQ(host_count(h, why), was + 1);
}

static void malformed_with_good_checksum(void)
{
	struct host *h = quiet();

	for (u32 n = 0; n < 20; n++) {
		host_ip(buf, PEER, ME, IPPROTO_TCP_, 1, 0, data, 40);
		expect(h, n, 20, DROP_TRUNCATED);
	}
	host_ip(buf, PEER, ME, IPPROTO_TCP_, 1, 0, data, 40);
	buf[0] = 0x65;
	expect(h, 60, 20, DROP_IP_HEADER);
	buf[0] = 0x44;
	expect(h, 60, 16, DROP_IP_HEADER);
	buf[0] = 0x4f;			/* header of 60 in a datagram of 60 is fine; of 59 not */
	buf[3] = 59;
	expect(h, 60, 60, DROP_IP_HEADER);
	host_ip(buf, PEER, ME, IPPROTO_TCP_, 1, 0, data, 40);
	buf[3] = 61;
	expect(h, 60, 20, DROP_TRUNCATED);
	buf[3] = 60;
	buf[6] = 0x80;
	expect(h, 60, 20, DROP_IP_HEADER);
	host_frame_in(h, ETH_P_IP, buf, 60, PACKET_OTHERHOST);
	host_frame_in(h, 0x86dd, buf, 60, PACKET_HOST);
	CHECK_EQ(delivered(h), 0);
	CHECK_EQ(host_count(h, DROP_OTHERHOST) + host_count(h, DROP_NO_HANDLER), 2);
	CHECK_EQ(host_drain(h), 0);
	end(h);
}

static void martians(void)
{
	static const u32 sources[] = { 0, 0x7f000001, 0xffffffff, 0xe0000001, 0xf0000001, 0x0a0000ff, 0x0a000001, 0x00010203 };
	static const u32 dests[] = { 0, 0x7f000001, 0xf0000001 };
	struct host *h = quiet();

	for (u32 i = 0; i < ARRAY_SIZE(sources); i++) {
		host_ip(buf, to_be32(sources[i]), ME, IPPROTO_TCP_, 1, 0, data, 40);
		expect(h, 60, 20, DROP_IP_MARTIAN);
	}
	for (u32 i = 0; i < ARRAY_SIZE(dests); i++) {
		host_ip(buf, PEER, to_be32(dests[i]), IPPROTO_TCP_, 1, 0, data, 40);
		expect(h, 60, 20, DROP_IP_MARTIAN);
	}
	host_ip(buf, PEER, A(10, 0, 0, 9), IPPROTO_TCP_, 1, 0, data, 40);
	expect(h, 60, 20, DROP_IP_NOT_FOR_US);
	host_ip(buf, PEER, A(224, 1, 2, 3), IPPROTO_TCP_, 1, 0, data, 40);
	expect(h, 60, 20, DROP_IP_NOT_FOR_US);
	host_ip(buf, PEER, A(10, 0, 0, 255), IPPROTO_TCP_, 1, 0, data, 40);	/* TCP to a broadcast address */
	expect(h, 60, 20, DROP_IP_MARTIAN);
	CHECK_EQ(host_drain(h), 0);
	end(h);
}

static u32 with_options(const u8 *opt, u32 n)
{
	u32 ihl = 20 + (n + 3) / 4 * 4;

	memset(buf, 0, 60);
	host_ip(buf, PEER, ME, IPPROTO_TCP_, 1, 0, NULL, 0);
	memcpy(buf + 20, opt, n);
	memcpy(buf + ihl, data, 40);
	buf[0] = (u8)(0x40 | ihl / 4);
	buf[3] = (u8)(ihl + 40);
	csum(buf, ihl);
	return ihl + 40;
}

static void options(void)
{
	static const u8 nops[] = { 1, 1, 1, 1, 7, 7, 4, 0, 0, 0, 0, 0 }, lsrr[] = { 131, 7, 4, 1, 2, 3, 4, 0 };
	static const u8 ssrr[] = { 137, 3, 4, 0 }, too_long[] = { 1, 7, 9, 4 }, short_one[] = { 148, 1, 0, 0 };
	struct host *h = quiet();

	host_frame_in(h, ETH_P_IP, buf, with_options(nops, sizeof(nops)), PACKET_HOST);
	CHECK_EQ(delivered(h), 1);
	CHECK_EQ(f.skb.len, 40);
	CHECK_MEM(out, data, 40);
	host_frame_in(h, ETH_P_IP, buf, with_options(lsrr, sizeof(lsrr)), PACKET_HOST);
	host_frame_in(h, ETH_P_IP, buf, with_options(ssrr, sizeof(ssrr)), PACKET_HOST);
	CHECK_EQ(delivered(h), 0);
	CHECK_EQ(host_drain(h), 0);
	host_frame_in(h, ETH_P_IP, buf, with_options(too_long, sizeof(too_long)), PACKET_HOST);
	CHECK_EQ(delivered(h), 0);
	REQUIRE(host_frame(h, &f));
	CHECK_EQ(f.data[20], ICMP_PARAMETERPROB);
	CHECK_EQ(f.data[24], 21);
	host_frame_in(h, ETH_P_IP, buf, with_options(short_one, sizeof(short_one)), PACKET_HOST);
	CHECK_EQ(delivered(h), 0);
	CHECK_EQ(host_drain(h), 1);
	CHECK_EQ(host_count(h, DROP_IP_OPTIONS), 4);
	end(h);
}

/* RFC 1122 3.2.1.8: whatever has a length and is neither a source route nor malformed passes, stream identifier (136) and all. */
static void unknown_options_are_ignored(void)
{
	struct host *h = quiet();
	u32 n = 0;

	for (u32 kind = 2; kind < 256; kind++) {
		u8 o[] = { 1, (u8)kind, 4, 0, 0, 1, 1, 1 };

		if (kind == 7 || kind == 68 || kind == 131 || kind == 137)
			continue;
		host_frame_in(h, ETH_P_IP, buf, with_options(o, sizeof(o)), PACKET_HOST);
		CHECK_EQ(delivered(h), 1);
		n++;
	}
	CHECK_EQ(n, 250);
	CHECK_EQ(host_drain(h), 0);
	end(h);
}

static void any_order(void)
{
	struct host *h = quiet();

	for (u32 order = 0; order < 24; order++) {
		u32 left[4] = { 0, 1, 2, 3 }, n = 4, k = order;

		for (; n; n--) {
			u32 pick = k % n, i = left[pick];

			k /= n;
			left[pick] = left[n - 1];
			in(h, (u16)order, i * 1000, i == 3 ? 777 : 1000, i != 3);
			if (n > 1)
				in(h, (u16)order, i * 1000, i == 3 ? 777 : 1000, i != 3);	/* an exact duplicate is harmless */
		}
		CHECK_EQ(delivered(h), 1);
		CHECK_EQ(f.skb.len, 3777);
		CHECK_MEM(out, data, 3777);
	}
	end(h);
}

static void in_marked(struct host *h, u16 id, u32 off, u32 n, bool more, u8 tos)
{
	u32 len = host_ip(buf, PEER, ME, IPPROTO_TCP_, id, (u16)(off / 8 | (more ? IP_MF : 0)), data + off, n);

	buf[1] = tos;
	csum(buf, 20);
	host_frame_in(h, ETH_P_IP, buf, len, PACKET_HOST);
	host_run(h);
}

/* RFC 3168 5.3: one mark marks all; marked and not capable fragments cannot be of one datagram. */
static void congestion_marks_of_fragments(void)
{
	static const struct { u8 a, b; int want; } cases[] = { { 2, 2, 2 }, { 2, 3, 3 }, { 3, 2, 3 }, { 3, 3, 3 }, { 0, 0, 0 },
								{ 0, 3, -1 }, { 3, 0, -1 }, { 0, 2, 0 }, { 1, 3, 3 } };
	struct host *h = quiet();

	for (u32 i = 0; i < ARRAY_SIZE(cases); i++) {
		in_marked(h, (u16)(100 + i), 0, 1000, true, 0x20 | cases[i].a);
		in_marked(h, (u16)(100 + i), 1000, 500, false, 0x20 | cases[i].b);
		CHECK_EQ(delivered(h), cases[i].want >= 0);
		if (cases[i].want >= 0)
			CHECK_EQ(skb_ip_cb(&f.skb)->tos, 0x20 | cases[i].want);
	}
	CHECK_EQ(host_count(h, DROP_FRAG_INVALID), 4);	/* both fragments of both */
	end(h);
}

static void overlaps_discard_everything(void)
{
	struct host *h = quiet();

	in(h, 1, 0, 1000, true);
	in(h, 1, 992, 1000, true);
	CHECK_EQ(h->st->nhold_frag, 0);
	in(h, 1, 1000, 500, false);	/* what comes after begins anew and never completes */
	CHECK_EQ(delivered(h), 0);
	in(h, 2, 1000, 500, false);	/* beyond the end */
	in(h, 2, 1496, 800, true);
	in(h, 3, 1000, 500, false);	/* two different ends */
	in(h, 3, 2000, 500, false);
	in(h, 4, 2000, 800, true);	/* an end before what is there */
	in(h, 4, 1000, 500, false);
	CHECK_EQ(h->st->nhold_frag, 1);
	in(h, 5, 65528, 100, false);	/* ping of death */
	in(h, 6, 0, 1001, true);	/* not a multiple of eight */
	CHECK_EQ(delivered(h), 0);
	CHECK(host_count(h, DROP_FRAG_INVALID) >= 10);
	host_wait(h, 31 * SEC);
	end(h);
}

static void time_exceeded(void)
{
	struct host *h = quiet();

	in(h, 1, 0, 1000, true);
	in(h, 2, 1000, 1000, true);
	host_wait(h, 29 * SEC);
	CHECK_EQ(h->st->nhold_frag, 2);
	host_drain(h);
	host_wait(h, 2 * SEC);
	CHECK_EQ(h->st->nhold_frag, 0);
	CHECK_EQ(host_count(h, DROP_FRAG_TIMEOUT), 2);
	REQUIRE(host_frame(h, &f));	/* of the first only: fragment 0 was seen */
	CHECK_EQ(f.data[20], ICMP_TIME_EXCEEDED);
	CHECK_EQ(f.data[21], 1);
	CHECK_EQ(f.data[28 + 5], 1);	/* quotes datagram 1 */
	CHECK_EQ(host_drain(h), 0);
	end(h);
}

static void limits(void)
{
	struct host *h = quiet();

	for (u32 i = 0; i < 1000; i++)	/* one source */
		in(h, (u16)i, 8, 8, true);
	CHECK(h->st->nhold_frag <= FRAG_PER_SOURCE);
	for (u32 i = 0; i < 200; i++)	/* one datagram */
		in(h, 5000, i * 16, 8, true);
	for (u32 i = 0; i < 1000; i++) {	/* many sources */
		host_frame_in(h, ETH_P_IP, buf, host_ip(buf, A(10, 0, 1, i % 250), ME, IPPROTO_TCP_, (u16)i, 1 | IP_MF, data, 8), PACKET_HOST);
		host_run(h);
	}
	CHECK(h->st->nhold_frag <= HOLD_FRAG_MAX);
	in(h, 6000, 0, 1000, true);	/* and still it works */
	in(h, 6000, 1000, 500, false);
	CHECK_EQ(delivered(h), 1);
	host_wait(h, 31 * SEC);
	end(h);
}

static void survives_a_restart(void)
{
	struct host *h = quiet();

	in(h, 1, 1000, 1000, true);
	in(h, 1, 0, 1000, true);
	host_restart(h);
	CHECK_EQ(h->st->nhold_frag, 2);
	in(h, 1, 2000, 17, false);
	CHECK_EQ(delivered(h), 1);
	CHECK_EQ(f.skb.len, 2017);
	CHECK_MEM(out, data, 2017);
	in(h, 2, 1000, 1000, true);
	host_restart(h);
	host_wait(h, 31 * SEC);
	end(h);
}

UNIT_MAIN(UNIT(padding_is_trimmed), UNIT(every_bit_flipped), UNIT(malformed_with_good_checksum), UNIT(martians), UNIT(options),
	  UNIT(unknown_options_are_ignored), UNIT(any_order), UNIT(congestion_marks_of_fragments), UNIT(overlaps_discard_everything),
	  UNIT(time_exceeded), UNIT(limits), UNIT(survives_a_restart))
