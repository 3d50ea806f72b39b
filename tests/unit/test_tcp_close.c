/* test_tcp_close.c – services/tcp: what a close means to data that still comes, and TIME-WAIT (RFC 9293 3.6, RFC 6191). */
#include "tcp_dialogue.h"

static void data_after_close_means_reset(void)
{
	for (u32 acked = 0; acked < 2; acked++) {
		struct peer *p = peer_begin(OFFER_ALL);

		peer_connects(p, 0);
		tcp_orphan(&p->r->t, p->sk);
		tcp_flush(&p->r->t);
		REQUIRE(last(p) && p->got.flags & TCP_FIN);
		if (acked)
			say_ack(p, 1);
		say_data(p, 10);
		REQUIRE(last(p));
		CHECK_EQ(p->got.flags, TCP_RST);	/* as to a connection that is no more: the number its ACK asks for */
		CHECK_EQ(p->got.seq, p->ack);
		CHECK_EQ(p->r->freed, 1);
		peer_end(p);
	}
}

/* shutdown(SHUT_WR) is no close: data still comes, for as long as the peer likes. */
static void half_closed_still_receives(void)
{
	struct peer *p = peer_begin(OFFER_ALL);

	peer_connects(p, 0);
	tcp_shutdown(&p->r->t, p->sk, 1);
	tcp_flush(&p->r->t);
	say_ack(p, 1);
	for (u32 i = 0; i < 10; i++) {
		rig_advance(p->r, 600 * SEC);
		say_data(p, 100);
		CHECK_EQ(read_all(p), 100);
		CHECK_EQ(state(p), TCPS_FIN_WAIT2);
	}
	say(p, TCP_FIN | TCP_ACK, p->seq, p->ack);
	CHECK_EQ(p->r->t.soft->tw_count, 1);
	rig_advance(p->r, 59 * SEC);
	CHECK_EQ(p->r->t.soft->tw_count, 1);
	rig_advance(p->r, 2 * SEC);
	CHECK_EQ(p->r->t.soft->tw_count, 0);
	peer_end(p);
}

static struct peer *in_time_wait(u8 offers)
{
	struct peer *p = peer_begin(offers);

	peer_connects(p, 0);
	tcp_orphan(&p->r->t, p->sk);
	tcp_flush(&p->r->t);
	say(p, TCP_FIN | TCP_ACK, p->seq, p->ack + 1);
	p->seq++;
	p->ack++;
	REQUIRE_EQ(p->r->t.soft->tw_count, 1);
	forget(p);
	return p;
}

static void time_wait_ends_early_with_timestamps(void)
{
	struct peer *p = in_time_wait(OFFER_ALL);
	u32 old_ack = p->ack;

	rig_advance(p->r, 3 * SEC);
	p->tsval += 10;			/* newer, though the number is lower */
	say(p, TCP_SYN, p->seq - 100000, 0);
	REQUIRE(last(p) && p->got.flags == (TCP_SYN | TCP_ACK));
	CHECK_EQ(p->got.ack, p->seq - 100000 + 1);
	CHECK((s32)(p->got.seq - old_ack) > 65535);	/* above what the old one sent */
	CHECK_EQ(p->r->t.soft->tw_count, 0);
	peer_end(p);
	p = in_time_wait(OFFER_ALL);
	p->tsval -= 10;			/* older: an old duplicate */
	say(p, TCP_SYN, p->seq + 100000, 0);
	CHECK_EQ(p->r->t.soft->tw_count, 1);
	rig_advance(p->r, 61 * SEC);
	peer_end(p);
	p = in_time_wait(OFFER_MSS);	/* without timestamps the number has to tell */
	say(p, TCP_SYN, p->seq - 100, 0);
	CHECK_EQ(p->r->t.soft->tw_count, 1);
	REQUIRE(last(p) && p->got.flags == TCP_ACK);
	say(p, TCP_SYN, p->seq + 100, 0);
	CHECK_EQ(p->r->t.soft->tw_count, 0);
	REQUIRE(last(p) && p->got.flags == (TCP_SYN | TCP_ACK));
	peer_end(p);
}

static void time_wait_does_not_listen_to_strangers(void)
{
	struct peer *p = in_time_wait(OFFER_MSS);

	for (u32 i = 0; i < 1000; i++)		/* RFC 1337 */
		say(p, TCP_RST, p->seq + i - 500, 0);
	CHECK_EQ(unseen(p), 0);
	say_raw(p, TCP_ACK, p->seq, p->ack + 100, "x", 1);
	CHECK_EQ(p->r->t.soft->tw_count, 1);
	while (next(p))
		CHECK_EQ(p->got.flags, TCP_ACK);
	rig_advance(p->r, 61 * SEC);
	CHECK_EQ(p->r->t.soft->tw_count, 0);
	peer_end(p);
}

UNIT_MAIN(UNIT(data_after_close_means_reset), UNIT(half_closed_still_receives), UNIT(time_wait_ends_early_with_timestamps),
	  UNIT(time_wait_does_not_listen_to_strangers))
