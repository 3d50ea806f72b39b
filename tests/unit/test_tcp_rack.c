/* test_tcp_rack.c – services/tcp: RACK and the tail loss probe (RFC 8985). Round trip 100 ms. */
#include "tcp_dialogue.h"

#define MSS 1448u

static struct peer *flying(u8 offers, u32 n, u32 more)
{
	struct peer *p = peer_begin(offers);

	peer_connects(p, 100 * MSEC);
	conn(p)->cwnd = n;
	write_n(p, (n + more) * MSS);
	CHECK_EQ(forget(p), n);
	return p;
}

static void blocks(struct peer *p, u32 s0, u32 e0, u32 s1, u32 e1)
{
	static u8 o[20] = { 1, 1, 5, 18 };

	o[3] = s1 == e1 ? 10 : 18;
	unwire(o + 4, s0);
	unwire(o + 8, e0);
	unwire(o + 12, s1);
	unwire(o + 16, e1);
	p->opts = o;
	p->nopts = 2u + o[3];
	p->tsval++;
	say(p, TCP_ACK, p->seq, p->ack);
}
static void sack(struct peer *p, u32 from, u32 to) { blocks(p, p->ack + from * MSS, p->ack + to * MSS, 0, 0); }

/* However much reordering was seen, what a segment sent later overtook by a round trip and more is lost. */
static void reordering_window_is_bounded(void)
{
	struct peer *p = flying(OFFER_ALL, 10, 10);
	u64 from;

	for (u32 i = 0; i < 400; i++)		/* a peer that reports duplicates without end */
		blocks(p, p->ack - 2 * MSS, p->ack - MSS, 0, 0);
	rig_advance(p->r, 100 * MSEC);
	forget(p);
	conn(p)->reord_seen = 1;
	from = p->r->t.now;
	sack(p, 1, 2);
	while (!unseen(p))
		rig_advance(p->r, MSEC);
	REQUIRE(next(p));
	while (p->got.seq != p->ack) {
		while (!unseen(p))
			rig_advance(p->r, MSEC);
		REQUIRE(next(p));
	}
	CHECK(p->r->t.now - from <= (u64)(conn(p)->srtt8_us >> 3) * 1000 + 5 * MSEC);
	peer_end(p);
}

static void needs_sack(void)
{
	struct peer *p = flying(OFFER_MSS | OFFER_TS, 10, 0);

	rig_advance(p->r, 100 * MSEC);
	say_ack(p, 0);				/* one duplicate, late enough for RACK */
	rig_advance(p->r, 150 * MSEC);
	CHECK_EQ(unseen(p), 0);			/* neither RACK nor a loss probe */
	CHECK_EQ(conn(p)->lost_out, 0);
	say_ack(p, 0);
	CHECK_EQ(unseen(p), 0);
	say_ack(p, 0);
	CHECK_EQ(unseen(p), 1);			/* three duplicates do it */
	peer_end(p);
	p = flying(OFFER_ALL, 10, 0);
	rig_advance(p->r, 100 * MSEC);
	sack(p, 1, 2);				/* one SACK and a quarter of the round trip are enough with RACK */
	CHECK_EQ(unseen(p), 0);
	rig_advance(p->r, 30 * MSEC);
	REQUIRE(next(p));
	CHECK_EQ(p->got.seq, p->ack);
	peer_end(p);
}

static void merely_late_is_not_lost(void)
{
	struct peer *p = flying(OFFER_ALL, 10, 0);

	rig_advance(p->r, 100 * MSEC);
	sack(p, 1, 2);
	rig_advance(p->r, 20 * MSEC);
	p->tsval++;
	say_ack(p, 2 * MSS);			/* it arrived after all */
	rig_advance(p->r, 100 * MSEC);
	CHECK_EQ(dropped(p, TCP_RETRANS_SEGS), 0);
	CHECK_EQ(conn(p)->cwnd >= 10, 1);
	peer_end(p);
}

/* What was sent again counts from then: it is lost when something sent after it arrives, and not before. */
static void newest_transmission_counts(void)
{
	struct peer *p = flying(OFFER_ALL, 10, 20);
	u32 again = 0;

	rig_advance(p->r, 100 * MSEC);
	for (u32 i = 1; i < 6; i++)
		sack(p, i, i + 1);
	while (next(p))
		again += p->got.seq == p->ack;
	CHECK_EQ(again, 1);
	for (u32 i = 6; i < 10; i++)		/* the rest of the first flight was sent before */
		sack(p, i, i + 1);
	while (next(p))
		again += p->got.seq == p->ack;
	CHECK_EQ(again, 1);
	rig_advance(p->r, 100 * MSEC);
	sack(p, 1, 12);				/* new data, sent after the retransmission: that is lost, too */
	rig_advance(p->r, 30 * MSEC);
	while (next(p))
		again += p->got.seq == p->ack;
	CHECK_EQ(again, 2);
	CHECK_EQ(dropped(p, TCP_TIMEOUTS), 0);
	peer_end(p);
}

static void one_probe_at_a_time(void)
{
	struct peer *p = flying(OFFER_ALL, 4, 0);
	u64 sent = p->r->t.now;

	while (!unseen(p))
		rig_advance(p->r, MSEC);
	CHECK(p->r->t.now - sent >= 200 * MSEC && p->r->t.now - sent <= 210 * MSEC);	/* 2 SRTT */
	REQUIRE(next(p));
	CHECK_EQ(p->got.seq, p->ack + 3 * MSS);	/* the tail */
	CHECK_EQ(dropped(p, TCP_TIMEOUTS), 0);
	while (!unseen(p))
		rig_advance(p->r, MSEC);
	CHECK_EQ(dropped(p, TCP_TIMEOUTS), 1);	/* no second one: the time-out is next */
	peer_end(p);
	p = flying(OFFER_ALL, 4, 4);		/* new data is the better probe, one segment of it */
	conn(p)->cwnd = 4;
	while (!unseen(p))
		rig_advance(p->r, MSEC);
	CHECK_EQ(unseen(p), 1);
	REQUIRE(next(p));
	CHECK_EQ(p->got.seq, p->ack + 4 * MSS);
	peer_end(p);
}

static void timeout_follows_the_probe(void)
{
	struct peer *p = flying(OFFER_ALL, 4, 0);
	u64 at, rto = conn(p)->rto;

	while (!unseen(p))
		rig_advance(p->r, MSEC);
	at = p->r->t.now;
	forget(p);
	CHECK(timer_armed(&conn(p)->rtx));
	while (!unseen(p))
		rig_advance(p->r, MSEC);
	CHECK(p->r->t.now - at >= rto - MSEC && p->r->t.now - at <= rto + 2 * MSEC);
	REQUIRE(next(p));
	CHECK_EQ(p->got.seq, p->ack);
	peer_end(p);
}

static void repaired_tail_is_congestion(void)
{
	for (u32 dup = 0; dup < 2; dup++) {
		struct peer *p = flying(OFFER_ALL, 10, 0);

		while (!unseen(p))
			rig_advance(p->r, MSEC);
		REQUIRE(next(p));
		rig_advance(p->r, 100 * MSEC);
		p->ack += 10 * MSS;
		if (dup)			/* both arrived: nothing was lost, and the peer says so */
			blocks(p, p->ack - MSS, p->ack, 0, 0);
		else
			say_ack(p, 0);
		CHECK(conn(p)->ssthresh > 20);	/* RFC 8985 7.4.2: the ACK of the probe's end alone leaves it open */
		write_n(p, MSS);
		say_ack(p, MSS);
		CHECK_EQ(conn(p)->ssthresh < 20, !dup);
		CHECK_EQ(dropped(p, TCP_TIMEOUTS), 0);
		peer_end(p);
	}
}

UNIT_MAIN(UNIT(reordering_window_is_bounded), UNIT(needs_sack), UNIT(merely_late_is_not_lost), UNIT(newest_transmission_counts),
	  UNIT(one_probe_at_a_time), UNIT(timeout_follows_the_probe), UNIT(repaired_tail_is_congestion))
