/* test_tcp_options.c – services/tcp/tcp_options.c: what options of a segment do to us, and what ours look like (RFC 9293 3.2, 3.7.1). */
#include "tcp_dialogue.h"

#include <netinet/in.h>
#include <netinet/tcp.h>

static void with(struct peer *p, const u8 *opts, u32 n)
{
	p->opts = opts;
	p->nopts = n;
}

static void mandatory_options(void)
{
	static const u8 syn_opts[] = { 1, 2, 4, 3, 232, 1, 0 };		/* NOP, MSS 1000, NOP, end */
	struct peer *p = peer_begin(0);

	peer_listen(p);
	with(p, syn_opts, sizeof(syn_opts));
	say(p, TCP_SYN, p->seq, 0);
	REQUIRE(last(p));
	CHECK(p->got.has_mss);
	CHECK_EQ(p->got.mss, 1460);
	p->ack = p->got.seq + 1;
	p->seq++;
	say_ack(p, 0);
	peer_claim(p);
	CHECK_EQ(conn(p)->h->mss_peer, 1000);
	write_n(p, 5000);
	REQUIRE(unseen(p) >= 5);
	while (next(p)) {
		CHECK(!p->got.has_mss);
		CHECK(p->got.len <= 1000);
	}
	say_data(p, 10);
	while (next(p))
		CHECK(!p->got.has_mss);
	peer_end(p);
	p = peer_begin(0);
	connect_begins(p);
	CHECK_EQ(p->got.mss, 1460);
	rig_advance(p->r, 1100 * MSEC);		/* and again when it is sent again */
	REQUIRE(last(p) && p->got.flags == TCP_SYN);
	CHECK_EQ(p->got.mss, 1460);
	peer_end(p);
}

static void no_mss_means_536(void)
{
	struct peer *p = peer_begin(0);

	peer_connects(p, 0);
	write_n(p, 3000);
	while (next(p))
		CHECK(p->got.len <= 536);
	CHECK_EQ(conn(p)->mss, 536);
	peer_end(p);
	p = peer_begin(0);
	we_connect(p, 0);
	CHECK_EQ(conn(p)->mss, 536);
	peer_end(p);
}

/* RFC 9293 3.7.1: the smaller of the peer's MSS and the path, less our options. */
static void segments_fit_both_sides(void)
{
	static const struct { u16 mtu, mss, want; } c[] = { { 1500, 1460, 1448 }, { 1500, 9000, 1448 }, { 1000, 1460, 948 }, { 1500, 700, 688 } };

	for (u32 i = 0; i < ARRAY_SIZE(c); i++) {
		struct peer *p = peer_begin(OFFER_ALL);
		u32 full = 0;

		p->r->mtu = c[i].mtu;
		p->mss = c[i].mss;
		peer_connects(p, 0);
		write_n(p, 6000);
		while (next(p)) {
			CHECK(p->got.len <= c[i].want);
			CHECK(40 + p->got.nopts + p->got.len <= c[i].mtu);
			full += p->got.len == c[i].want;
		}
		CHECK(full >= 4);
		peer_end(p);
	}
}

static void mss_follows_the_mtu(void)
{
	for (u32 mtu = 576; mtu < 9001; mtu += 702) {
		struct peer *p = peer_begin(OFFER_ALL);

		p->r->mtu = mtu;
		connect_begins(p);
		CHECK_EQ(p->got.mss, mtu - 40);
		peer_end(p);
		p = peer_begin(OFFER_ALL);
		p->r->mtu = mtu;
		peer_listen(p);
		say(p, TCP_SYN, p->seq, 0);
		REQUIRE(last(p));
		CHECK_EQ(p->got.mss, mtu - 40);
		peer_end(p);
	}
	struct peer *p = peer_begin(OFFER_ALL);	/* the path gets narrower while the connection lives */

	p->wnd = 60000;
	peer_connects(p, 0);
	p->r->mtu = 1200;
	CHECK_EQ(tcp_route_conn(conn(p)), 0);
	write_n(p, 4000);
	while (next(p))
		CHECK(p->got.len + p->got.nopts + 40 <= 1200);
	peer_end(p);
}

static void options_in_any_segment(void)
{
	static const u8 o[] = { 1, 30, 4, 9, 9, 1, 1, 254, 6, 1, 2, 3, 4 };
	static const u8 flags[] = { TCP_ACK, TCP_ACK | TCP_PSH, TCP_ACK | TCP_URG, TCP_ACK | TCP_FIN };

	for (u32 i = 0; i < ARRAY_SIZE(flags); i++) {
		struct peer *p = peer_begin(i & 1 ? OFFER_TS | OFFER_MSS : 0);

		peer_connects(p, 0);
		with(p, o, sizeof(o));
		say_raw(p, flags[i], p->seq, p->ack, "data", 4);
		REQUIRE(last(p));
		CHECK_EQ(p->got.ack, p->seq + 4 + (flags[i] & TCP_FIN ? 1 : 0));
		CHECK_EQ(read_all(p), 4);
		with(p, o, sizeof(o));
		say(p, TCP_RST, p->got.ack, 0);
		CHECK_EQ(state(p), TCPS_CLOSE);
		peer_end(p);
	}
}

/* Every kind there is, with its length, before an option that counts. */
static void unknown_options_are_skipped(void)
{
	for (u32 kind = 9; kind < 256; kind++) {
		struct peer *p = peer_begin(0);
		u8 o[] = { (u8)kind, 5, 2, 4, 1, 2, 4, 2, 88 };

		if (kind == TCPOPT_FASTOPEN) {
			peer_end(p);
			continue;
		}
		peer_listen(p);
		with(p, o, sizeof(o));
		say(p, TCP_SYN, p->seq, 0);
		REQUIRE(last(p) && p->got.flags == (TCP_SYN | TCP_ACK));
		CHECK_EQ(p->r->t.t->req[0].mss_peer, 600);
		peer_end(p);
	}
}

static void illegal_lengths(void)
{
	static const u8 bad[][8] = { { 2, 0 }, { 2, 1 }, { 2, 5, 4, 0 }, { 2, 3, 9, 9 }, { 2, 255 }, { 8, 2 }, { 8, 40 }, { 3, 0, 2, 4, 5, 6 },
				     { 253, 1, 1, 1 }, { 5, 2 }, { 5, 9, 1 }, { 1, 1, 1, 2 } };

	for (u32 i = 0; i < ARRAY_SIZE(bad); i++) {
		struct peer *p = peer_begin(0);

		peer_listen(p);
		with(p, bad[i], 8);
		say(p, TCP_SYN, p->seq, 0);
		REQUIRE(last(p) && p->got.flags == (TCP_SYN | TCP_ACK));
		CHECK_EQ(p->r->t.t->req[0].mss_peer, 536);
		p->ack = p->got.seq + 1;
		p->seq++;
		with(p, bad[i], 8);
		say_ack(p, 0);
		peer_claim(p);
		with(p, bad[i], 8);
		say_data(p, 100);
		CHECK_EQ(read_all(p), 100);
		peer_end(p);
	}
}

static void any_alignment(void)
{
	for (u32 pad = 0; pad < 8; pad++) {
		struct peer *p = peer_begin(0);
		u8 o[40];
		u32 n = pad;

		memset(o, 1, sizeof(o));
		memcpy(o + n, "\2\4\2\130", 4);		/* 600 */
		memcpy(o + n + 4, "\3\3\5", 3);
		memcpy(o + n + 7, "\10\12\1\2\3\4\0\0\0\0", 10);
		memcpy(o + n + 17, "\4\2", 2);
		peer_listen(p);
		with(p, o, n + 19);
		say(p, TCP_SYN, p->seq, 0);
		REQUIRE(last(p));
		CHECK_EQ(p->r->t.t->req[0].mss_peer, 600);
		CHECK_EQ(p->r->t.t->req[0].snd_wscale, 5);
		CHECK(p->got.has_sack_perm);
		CHECK(p->got.has_ts);
		CHECK_EQ(p->got.tsecr, 0x01020304);
		peer_end(p);
	}
}

/* Lengths add up, the header ends at a word, and what follows an end of list is zero. */
static void well_formed(struct peer *p)
{
	u32 i = 0;

	CHECK_EQ(p->got.nopts % 4, 0);
	CHECK(p->got.nopts <= 40);
	while (i < p->got.nopts && p->got.opts[i]) {
		if (p->got.opts[i] == TCPOPT_NOP) {
			i++;
			continue;
		}
		REQUIRE(i + 1 < p->got.nopts);
		REQUIRE(p->got.opts[i + 1] >= 2 && i + p->got.opts[i + 1] <= p->got.nopts);
		i += p->got.opts[i + 1];
	}
	for (; i < p->got.nopts; i++)
		CHECK_EQ(p->got.opts[i], 0);
}

static void what_we_send_is_well_formed(void)
{
	for (u8 offers = 0; offers <= OFFER_ALL; offers++) {
		struct peer *p = peer_begin(offers);

		peer_listen(p);
		say(p, TCP_SYN, p->seq, 0);
		REQUIRE(next(p));
		well_formed(p);
		p->seq++;
		p->ack = p->got.seq + 1;
		say_ack(p, 0);
		peer_claim(p);
		write_n(p, 3000);
		for (u32 i = 0; i < 5; i++)	/* up to four SACK blocks, less with timestamps */
			say_raw(p, TCP_ACK, p->seq + 1000 * (i + 1), p->ack, NULL, 100);
		say_raw(p, TCP_ACK, p->seq + 1000, p->ack, NULL, 100);
		tcp_orphan(&p->r->t, p->sk);
		tcp_flush(&p->r->t);
		while (next(p))
			well_formed(p);
		peer_end(p);
		p = peer_begin(offers);
		connect_begins(p);
		well_formed(p);
		say(p, TCP_SYN, p->seq, 0);
		REQUIRE(last(p));
		well_formed(p);
		peer_end(p);
	}
}

static void bad_checksum_is_dropped(void)
{
	struct peer *p = peer_begin(0);
	u8 b[26] = { 0 };
	u32 right;

	peer_connects(p, 0);
	*(struct tcp_hdr *)b = (struct tcp_hdr){ .source = to_be16(p->port), .dest = to_be16(80), .seq = to_be32(p->seq),
						 .ack_seq = to_be32(p->ack), .doff_res = 0x50, .flags = TCP_ACK, .window = to_be16(1000) };
	memcpy(b + 20, "secret", 6);
	right = csum_fold(csum_partial(b, 26, csum_pseudo(to_be32(PEER), to_be32(US), 6, 26)));
	for (u32 bit = 0; bit < sizeof(b) * 8; bit++) {
		((struct tcp_hdr *)b)->check = (u16)right;
		b[bit / 8] ^= (u8)(1 << bit % 8);
		rig_deliver(p->r, b, sizeof(b), PEER, US, true);
		b[bit / 8] ^= (u8)(1 << bit % 8);
	}
	tcp_flush(&p->r->t);
	CHECK_EQ(unseen(p), 0);
	CHECK_EQ(read_all(p), 0);
	CHECK(dropped(p, DROP_TCP_CSUM) > 150);
	((struct tcp_hdr *)b)->check = (u16)right;
	rig_deliver(p->r, b, sizeof(b), PEER, US, true);
	tcp_flush(&p->r->t);
	CHECK_EQ(read_all(p), 6);
	peer_end(p);
}

UNIT_MAIN(UNIT(mandatory_options), UNIT(no_mss_means_536), UNIT(segments_fit_both_sides), UNIT(mss_follows_the_mtu),
	  UNIT(options_in_any_segment), UNIT(unknown_options_are_skipped), UNIT(illegal_lengths), UNIT(any_alignment),
	  UNIT(what_we_send_is_well_formed), UNIT(bad_checksum_is_dropped))
