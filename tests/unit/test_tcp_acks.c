/* test_tcp_acks.c – services/tcp: when what was received is acknowledged (RFC 9293 3.8.6.3, RFC 5681 4.2). */
#include "tcp_dialogue.h"

/* A receiver past its eager beginning, that knows the peer's segment size. */
static struct peer *calm(void)
{
	struct peer *p = peer_begin(OFFER_ALL);

	peer_connects(p, 0);
	for (u32 i = 0; i < 40; i++) {
		say_data(p, 1448);
		read_all(p);
	}
	rig_advance(p->r, SEC);
	conn(p)->quick = 0;
	forget(p);
	return p;
}

static void delayed_but_not_long(void)
{
	struct peer *p = calm();

	for (u32 i = 0; i < 10; i++) {
		u32 ms = 0;

		say_data(p, 100);
		CHECK_EQ(unseen(p), 0);
		while (!unseen(p) && ms++ < 1000)
			rig_advance(p->r, MSEC);
		CHECK(ms >= 20 && ms <= 40);
		REQUIRE(last(p) && p->got.flags == TCP_ACK);
		CHECK_EQ(p->got.ack, p->seq);
		read_all(p);
		forget(p);
	}
	peer_end(p);
}

static void every_second_full_segment(void)
{
	struct peer *p = calm();

	for (u32 i = 0; i < 20; i++) {
		say_data(p, 1448);
		CHECK_EQ(unseen(p), 0);
		say_data(p, 1448);
		REQUIRE(last(p));
		CHECK_EQ(p->got.ack, p->seq);
		read_all(p);
		forget(p);
	}
	peer_end(p);
}

/* What waits is taken in whole, and answered once. */
static void one_ack_for_a_batch(void)
{
	struct peer *p = calm();
	u8 b[1500] = { 0 };

	for (u32 i = 0; i < 10; i++, p->seq += 1448, p->tsval++) {
		*(struct tcp_hdr *)b = (struct tcp_hdr){ .source = to_be16(p->port), .dest = to_be16(p->our_port), .seq = to_be32(p->seq),
							 .ack_seq = to_be32(p->ack), .doff_res = 0x80, .flags = TCP_ACK,
							 .window = to_be16(p->wnd) };
		memcpy(b + 20, "\1\1\x8\xa", 4);
		unwire(b + 24, p->tsval);
		unwire(b + 28, p->tsecr);
		rig_deliver(p->r, b, 32 + 1448, PEER, US, false);
	}
	CHECK_EQ(unseen(p), 0);
	tcp_flush(&p->r->t);
	CHECK_EQ(unseen(p), 1);
	REQUIRE(last(p));
	CHECK_EQ(p->got.ack, p->seq);
	peer_end(p);
}

static void out_of_order_at_once(void)
{
	struct peer *p = calm();

	say_raw(p, TCP_ACK, p->seq + 1000, p->ack, NULL, 500);
	REQUIRE(last(p));
	CHECK_EQ(p->got.ack, p->seq);
	REQUIRE_EQ(p->got.nsack, 1);
	CHECK_EQ(p->got.sack[0][0], p->seq + 1000);
	CHECK_EQ(p->got.sack[0][1], p->seq + 1500);
	say_raw(p, TCP_ACK, p->seq + 2000, p->ack, NULL, 500);
	REQUIRE(last(p));
	CHECK_EQ(p->got.nsack, 2);
	CHECK_EQ(p->got.sack[0][0], p->seq + 2000);	/* RFC 2018: the newest first */
	say_data(p, 1000);		/* fills a hole */
	REQUIRE(last(p));
	CHECK_EQ(p->got.ack, p->seq + 500);
	say_raw(p, TCP_ACK, p->seq - 100, p->ack, NULL, 50);	/* what is old is reported */
	REQUIRE(last(p));
	CHECK_EQ(p->got.sack[0][0], p->seq - 100);
	CHECK_EQ(p->got.sack[0][1], p->seq - 50);
	peer_end(p);
}

static void no_more_acks_than_segments(void)
{
	struct peer *p = peer_begin(OFFER_ALL);
	u32 in = 0, acks = 0;

	peer_connects(p, 0);
	for (u32 i = 0; i < 2000; i++) {
		u32 n = 1 + (u32)rig_rand(p->r) % 1448, how = (u32)rig_rand(p->r) % 8;

		if (how == 0)
			say_raw(p, TCP_ACK, p->seq + 3000, p->ack, NULL, n);
		else if (how == 1)
			say_raw(p, TCP_ACK, p->seq - 500, p->ack, NULL, 400);
		else
			say_data(p, n);
		in++;
		acks += forget(p);
		CHECK(acks <= in);
		if (how == 7)
			rig_advance(p->r, 45 * MSEC);
		u32 before = unseen(p);
		if (rcv_unread(conn(p)) > 20000)	/* an update of the window is no answer to a segment */
			read_all(p);
		acks += before;
		forget(p);
	}
	CHECK(acks > in / 3);
	peer_end(p);
}

UNIT_MAIN(UNIT(delayed_but_not_long), UNIT(every_second_full_segment), UNIT(one_ack_for_a_batch), UNIT(out_of_order_at_once),
	  UNIT(no_more_acks_than_segments))
