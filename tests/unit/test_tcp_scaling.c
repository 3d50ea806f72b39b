/* test_tcp_scaling.c – services/tcp: window scaling (RFC 7323 2). Our ring of 128 KiB asks for a shift of one. */
#define RIG_RING 131072u
#define RIG_OUT 512u
#include "tcp_dialogue.h"

static void needs_both_sides(void)
{
	for (u32 way = 0; way < 4; way++) {
		bool theirs = way & 1;
		struct peer *p = peer_begin(theirs ? OFFER_ALL : OFFER_ALL & ~OFFER_WS);

		if (way & 2) {
			we_connect(p, 0);
		} else {
			peer_listen(p);
			say(p, TCP_SYN, p->seq, 0);
			REQUIRE(last(p));
			CHECK_EQ(p->got.has_wscale, theirs);
			p->ack = p->got.seq + 1;
			p->seq++;
			say_ack(p, 0);
			peer_claim(p);
		}
		CHECK_EQ(conn(p)->h->snd_wscale, theirs ? 7 : 0);
		CHECK_EQ(conn(p)->h->rcv_wscale, theirs ? 1 : 0);
		peer_end(p);
	}
}

static void only_in_a_syn(void)
{
	static const u8 o[] = { 1, 3, 3, 9 };
	struct peer *p = peer_begin(OFFER_ALL);

	peer_connects(p, 0);
	p->opts = o;
	p->nopts = 4;
	p->wnd = 100;
	p->seq++;
	say_raw(p, TCP_ACK, p->seq, p->ack, NULL, 1);
	CHECK_EQ(conn(p)->h->snd_wscale, 7);
	CHECK_EQ(load_relaxed(&conn(p)->h->snd_wnd), 100 << 7);
	peer_end(p);
	p = peer_begin(0);		/* nor does it begin in the third segment */
	peer_listen(p);
	say(p, TCP_SYN, p->seq, 0);
	REQUIRE(last(p));
	p->ack = p->got.seq + 1;
	p->seq++;
	p->opts = o;
	p->nopts = 4;
	say_ack(p, 0);
	peer_claim(p);
	CHECK_EQ(conn(p)->h->snd_wscale, 0);
	CHECK_EQ(load_relaxed(&conn(p)->h->snd_wnd), 65535);
	peer_end(p);
}

static void window_of_a_syn_is_not_scaled(void)
{
	struct peer *p = peer_begin(OFFER_ALL);

	p->wnd = 1000;			/* theirs, in the SYN+ACK of an active open */
	we_connect(p, 0);
	CHECK_EQ(load_relaxed(&conn(p)->h->snd_wnd), 1000);
	write_n(p, 5000);
	for (u32 sent = 0; next(p); sent += p->got.len)
		CHECK(sent + p->got.len <= 1000);
	peer_end(p);
	p = peer_begin(OFFER_ALL);	/* ours */
	peer_listen(p);
	say(p, TCP_SYN, p->seq, 0);
	REQUIRE(last(p));
	CHECK(p->got.wnd > 60000);
	peer_end(p);
	p = peer_begin(OFFER_ALL);
	connect_begins(p);
	CHECK(p->got.wnd > 60000);
	say(p, TCP_SYN, p->seq, 0);	/* both at once */
	REQUIRE(last(p) && p->got.flags == (TCP_SYN | TCP_ACK));
	CHECK(p->got.wnd > 60000);
	p->wnd = 500;
	say(p, TCP_SYN | TCP_ACK, p->seq, p->ack);
	CHECK_EQ(load_relaxed(&conn(p)->h->snd_wnd), 500);
	peer_end(p);
}

static void fourteen_is_the_most(void)
{
	static const struct { u8 said, used; } c[] = { { 0, 0 }, { 14, 14 }, { 15, 14 }, { 200, 14 }, { 255, 14 } };

	for (u32 i = 0; i < ARRAY_SIZE(c); i++) {
		struct peer *p = peer_begin(OFFER_ALL);

		p->wscale = c[i].said;
		p->wnd = 3;
		peer_connects(p, 0);
		CHECK_EQ(load_relaxed(&conn(p)->h->snd_wnd), 3u << c[i].used);
		peer_end(p);
	}
	CHECK(tcp_pick_wscale(UINT32_MAX) <= 14);
}

static void applied_both_ways(void)
{
	struct peer *p = peer_begin(OFFER_ALL);

	p->wnd = 700;
	peer_connects(p, 0);
	CHECK_EQ(load_relaxed(&conn(p)->h->snd_wnd), 700 << 7);
	for (u32 i = 0; i < 50; i++) {
		u64 was = load_relaxed(&conn(p)->h->rcv_adv), edge;

		say_data(p, 1000 + i);
		rig_advance(p->r, 50 * MSEC);
		REQUIRE(last(p));
		CHECK_EQ(p->got.ack, p->seq);
		edge = rcv_nxt(conn(p)) + ((u64)p->got.wnd << 1);	/* told in units of two, and not moved back by one */
		CHECK(edge + 1 >= was);
		CHECK(edge <= load_relaxed(&conn(p)->h->rcv_adv));
	}
	peer_end(p);
}

/* RFC 7323 2.4: the window said in a scaled field may lose its last byte; what was offered once is still taken. */
static void what_was_offered_is_taken(void)
{
	struct peer *p = peer_begin(OFFER_ALL);
	u32 edge, left;

	peer_connects(p, 0);
	conn(p)->rcv_space = RIG_RING;	/* a window that has grown as far as it can */
	for (u32 i = 0; i < 40; i++)	/* odd sizes: rounding shows */
		say_data(p, 1001);
	rig_advance(p->r, 50 * MSEC);
	REQUIRE(last(p));
	edge = p->got.ack + ((u32)p->got.wnd << 1);
	left = edge - p->seq;
	CHECK(left > 20000);
	while (left) {
		u32 n = MIN(left, 1400u);

		say_data(p, n);
		left -= n;
	}
	rig_advance(p->r, 50 * MSEC);
	REQUIRE(last(p));
	CHECK_EQ(p->got.ack, edge);
	CHECK_EQ(p->got.wnd, 0);
	CHECK_EQ(read_all(p), rcv_nxt(conn(p)) - conn(p)->h->rx_base);
	peer_end(p);
}

static void nothing_new_beyond_the_window(void)
{
	struct peer *p = peer_begin(OFFER_ALL);
	u32 base;

	p->wnd = 100;			/* 12800 */
	peer_connects(p, 0);
	base = p->ack;
	write_n(p, 60000);
	while (next(p))
		CHECK((s32)(p->got.seq + p->got.len - (base + 12800)) <= 0);
	for (u32 i = 0; i < 20; i++) {
		p->wnd = (u16)(20 + i * 7 % 90);
		say_ack(p, (u32)(snd_nxt(conn(p)) - snd_una(conn(p))));
		while (next(p))
			CHECK((s32)(p->got.seq + p->got.len - (p->ack + ((u32)p->wnd << 7))) <= 0);
	}
	peer_end(p);
}

UNIT_MAIN(UNIT(needs_both_sides), UNIT(only_in_a_syn), UNIT(window_of_a_syn_is_not_scaled), UNIT(fourteen_is_the_most),
	  UNIT(applied_both_ways), UNIT(what_was_offered_is_taken), UNIT(nothing_new_beyond_the_window))
