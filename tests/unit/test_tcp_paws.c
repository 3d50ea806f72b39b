/* test_tcp_paws.c – services/tcp: timestamps, what they measure, and old duplicates (RFC 7323 3 to 5). */
#include "tcp_dialogue.h"

static u32 recent(struct peer *p) { return (u32)(load_relaxed(&conn(p)->h->ts_recent) >> 32); }

static struct peer *opened(u64 rtt)
{
	struct peer *p = peer_begin(OFFER_ALL);

	peer_connects(p, rtt);
	return p;
}

static void in_every_segment(void)
{
	struct peer *p = opened(0);

	write_n(p, 5000);
	say_data(p, 100);
	say_raw(p, TCP_ACK, p->seq + 500, p->ack, NULL, 10);	/* duplicate ACK with SACK */
	rig_advance(p->r, 2 * SEC);				/* probe and retransmission */
	p->wnd = 0;
	say_ack(p, 5000);
	write_n(p, 10);
	rig_advance(p->r, 5 * SEC);				/* zero-window probes */
	tcp_orphan(&p->r->t, p->sk);
	tcp_flush(&p->r->t);
	CHECK(unseen(p) > 8);
	while (next(p))
		CHECK(p->got.has_ts || p->got.flags & TCP_RST);
	peer_end(p);
	for (u32 i = 0; i < 2; i++) {		/* FIN, its retransmission, and the ACKs of TIME_WAIT */
		p = opened(0);
		tcp_shutdown(&p->r->t, p->sk, 1);
		tcp_flush(&p->r->t);
		rig_advance(p->r, 3 * SEC);
		say(p, TCP_FIN | TCP_ACK, p->seq, p->ack + 1);
		say(p, TCP_FIN | TCP_ACK, p->seq, p->ack + 1);
		CHECK(unseen(p) >= 4);
		while (next(p))
			CHECK(p->got.has_ts);
		rig_advance(p->r, 61 * SEC);
		peer_end(p);
	}
}

/* Our SYN is answered by a SYN without ACK: what stands in its TSecr is nobody's. */
static void echo_needs_an_ack(void)
{
	static const u8 o[] = { 1, 1, 8, 10, 0, 0, 0, 5, 0xde, 0xad, 0xbe, 0xef };
	struct peer *p = peer_begin(OFFER_MSS);

	connect_begins(p);
	p->opts = o;
	p->nopts = sizeof(o);
	say(p, TCP_SYN, p->seq, 0);
	REQUIRE(last(p) && p->got.flags == (TCP_SYN | TCP_ACK));
	CHECK_EQ(p->got.tsecr, 5);
	CHECK_EQ(conn(p)->srtt8_us, 0);
	peer_end(p);
	p = peer_begin(OFFER_ALL);
	connect_begins(p);
	CHECK_EQ(p->got.tsecr, 0);	/* nor do we echo what we never heard */
	p->tsecr = p->got.tsval + 1000;	/* an echo from the future is no answer to our SYN */
	say(p, TCP_SYN | TCP_ACK, p->seq, p->ack);
	CHECK_EQ(state(p), TCPS_SYN_SENT);
	peer_end(p);
}

static void missing_timestamp_is_no_abort(void)
{
	struct peer *p = opened(0);

	p->offers = 0;
	say_data(p, 100);
	say_raw(p, TCP_ACK, p->seq + 50, p->ack, NULL, 10);
	CHECK_EQ(state(p), TCPS_ESTABLISHED);
	while (next(p))
		CHECK(!(p->got.flags & TCP_RST));
	p->offers = OFFER_ALL;
	p->tsval++;
	say_data(p, 100);
	CHECK(read_all(p) >= 100);
	CHECK_EQ(state(p), TCPS_ESTABLISHED);
	peer_end(p);
}

static void not_negotiated_is_ignored(void)
{
	struct peer *p = peer_begin(OFFER_MSS);
	u8 o[12] = { 1, 1, 8, 10 };

	peer_connects(p, 0);
	for (u32 i = 0; i < 20; i++) {		/* times that jump back and forth */
		unwire(o + 4, i & 1 ? 1000 : 0x70000000);
		unwire(o + 8, i * 77777);
		p->opts = o;
		p->nopts = 12;
		say_data(p, 10);
		rig_advance(p->r, 50 * MSEC);
		REQUIRE(last(p));
		CHECK_EQ(p->got.ack, p->seq);
		CHECK(!p->got.has_ts);
	}
	CHECK_EQ(read_all(p), 200);
	CHECK_EQ(dropped(p, DROP_TCP_PAWS), 0);
	peer_end(p);
}

static void measures_only_what_advances(void)
{
	struct peer *p = opened(100 * MSEC);
	u32 was = conn(p)->srtt8_us;

	CHECK_EQ(was >> 3, 100000);
	write_n(p, 100);
	REQUIRE(last(p));
	rig_advance(p->r, 50 * MSEC);
	say_data(p, 10);			/* echoes what the peer heard last, but acknowledges nothing */
	say(p, TCP_ACK, p->seq, p->ack);
	CHECK_EQ(conn(p)->srtt8_us, was);
	rig_advance(p->r, 50 * MSEC);
	say_ack(p, 100);
	CHECK_EQ(conn(p)->srtt8_us >> 3, 100000);
	peer_end(p);
}

/* RFC 7323 4.3: (A) delayed ACKs echo the first, (B) a hole keeps the last before it, (C) what fills it is echoed. */
static void which_timestamp_is_echoed(void)
{
	struct peer *p = opened(0);
	u32 t0;

	set_opt(p, p->sk, 6, 12 /* TCP_QUICKACK */, 0);
	say_data(p, 1460);		/* lets the receiver know the segment size */
	rig_advance(p->r, 50 * MSEC);
	forget(p);
	conn(p)->quick = 0;
	p->tsval = t0 = p->tsval + 10;
	say_data(p, 100);
	CHECK_EQ(unseen(p), 0);
	p->tsval += 10;
	say_data(p, 1400);
	REQUIRE(last(p));
	CHECK_EQ(p->got.tsecr, t0);	/* A: two segments, one ACK, the time of the first */
	p->tsval = t0 + 30;
	say_data(p, 100);
	rig_advance(p->r, 50 * MSEC);
	forget(p);
	p->tsval = t0 + 40;
	say_raw(p, TCP_ACK, p->seq + 100, p->ack, NULL, 100);
	REQUIRE(last(p));
	CHECK_EQ(p->got.tsecr, t0 + 30);	/* B */
	p->tsval = t0 + 50;
	say_raw(p, TCP_ACK, p->seq + 200, p->ack, NULL, 100);
	REQUIRE(last(p));
	CHECK_EQ(p->got.tsecr, t0 + 30);
	p->tsval = t0 + 60;
	say_data(p, 100);
	REQUIRE(last(p));
	CHECK_EQ(p->got.tsecr, t0 + 60);	/* C */
	CHECK_EQ(p->got.ack, p->seq + 200);
	peer_end(p);
}

static void old_duplicates(void)
{
	struct peer *p = opened(0);

	say_data(p, 100);
	rig_advance(p->r, SEC);
	forget(p);
	p->tsval -= 5;
	say_raw(p, TCP_ACK, p->seq, p->ack, "old", 3);
	REQUIRE(last(p) && p->got.flags == TCP_ACK);
	CHECK_EQ(p->got.ack, p->seq);
	CHECK_EQ(read_all(p), 100);
	CHECK_EQ(dropped(p, DROP_TCP_PAWS), 1);
	CHECK_EQ(recent(p), p->tsval + 5);
	rig_advance(p->r, SEC);
	forget(p);
	say(p, TCP_FIN | TCP_ACK, p->seq, p->ack);
	CHECK_EQ(state(p), TCPS_ESTABLISHED);
	CHECK_EQ(unseen(p), 1);
	p->tsval += 5;			/* the same again is no older */
	say_raw(p, TCP_ACK, p->seq, p->ack, "new", 3);
	CHECK_EQ(read_all(p), 3);
	peer_end(p);
}

/* RFC 7323 5.2, in every state that may hear one. */
static void reset_is_not_judged(void)
{
	for (u32 way = 0; way < 3; way++) {
		struct peer *p = peer_begin(OFFER_ALL);
		u8 o[12] = { 1, 1, 8, 10 };
		u32 before;

		if (way == 0) {			/* a handshake in progress */
			peer_listen(p);
			say(p, TCP_SYN, p->seq++, 0);
			REQUIRE(last(p));
		} else {
			peer_connects(p, 0);
			say_data(p, 10);
			read_all(p);
		}
		before = p->tsval;
		unwire(o + 4, before - 100000);
		unwire(o + 8, 0);
		p->opts = o;
		p->nopts = 12;
		if (way == 2) {			/* in the window but not exact: a challenge, and nothing learnt */
			unwire(o + 4, before + 100000);
			say(p, TCP_RST, p->seq + 10, 0);
			CHECK_EQ(recent(p), before);
			CHECK_EQ(state(p), TCPS_ESTABLISHED);
		} else {
			say(p, TCP_RST, p->seq, 0);
			if (way == 0)
				CHECK_EQ(load_relaxed(&p->r->t.t->req[0].used), 0);
			else
				CHECK_EQ(state(p), TCPS_CLOSE);
		}
		peer_end(p);
	}
}

static void clock_ticks_every_millisecond(void)
{
	struct peer *p = opened(0);
	u32 was;

	say_data(p, 10);
	REQUIRE(last(p));
	was = p->got.tsval;
	for (u32 i = 1; i < 2000; i *= 3) {
		rig_advance(p->r, i * MSEC);
		p->tsval++;
		say_data(p, 10);
		say_raw(p, TCP_ACK, p->seq + 1000, p->ack, NULL, 1);
		REQUIRE(last(p));
		CHECK_EQ(p->got.tsval, was + i);
		was = p->got.tsval;
		say_raw(p, TCP_ACK, p->seq, p->ack, NULL, 1000);
		p->seq += 1001;
		last(p);
	}
	peer_end(p);
}

static void forgotten_after_24_days(void)
{
	struct peer *p = opened(0);

	say_data(p, 10);
	rig_advance(p->r, 23 * 86400ull * SEC);
	forget(p);
	p->tsval -= 100;
	say_data(p, 10);
	CHECK_EQ(read_all(p), 10);	/* the first ten only */
	p->seq -= 10;
	rig_advance(p->r, 2 * 86400ull * SEC);
	say_data(p, 10);
	CHECK_EQ(read_all(p), 10);
	CHECK_EQ(recent(p), p->tsval);
	peer_end(p);
}

UNIT_MAIN(UNIT(in_every_segment), UNIT(echo_needs_an_ack), UNIT(missing_timestamp_is_no_abort), UNIT(not_negotiated_is_ignored),
	  UNIT(measures_only_what_advances), UNIT(which_timestamp_is_echoed), UNIT(old_duplicates), UNIT(reset_is_not_judged),
	  UNIT(clock_ticks_every_millisecond), UNIT(forgotten_after_24_days))
