/* test_tcp_fastretrans.c – services/tcp/tcp_recovery.c without SACK: duplicate ACKs, reno (RFC 5681 3.2, RFC 6582, RFC 3042). */
#include "tcp_dialogue.h"

#define MSS 1460u

/* Ten segments out of twenty and more, the first of them about to be missed. */
static struct peer *flying(void)
{
	struct peer *p = peer_begin(OFFER_MSS | OFFER_WS);

	strcpy(p->r->conf.congestion, "reno");
	peer_connects(p, 50 * MSEC);
	write_n(p, 60000);
	CHECK_EQ(forget(p), 10);
	rig_advance(p->r, 50 * MSEC);
	return p;
}

static void duplicate(struct peer *p, u32 n)
{
	for (u32 i = 0; i < n; i++)
		say_ack(p, 0);
}

static void limited_transmit(void)
{
	struct peer *p = flying();

	for (u32 i = 0; i < 2; i++) {
		duplicate(p, 1);
		REQUIRE_EQ(unseen(p), 1);
		REQUIRE(next(p));
		CHECK_EQ(p->got.seq, p->ack + (10 + i) * MSS);	/* new data, one segment for each */
		CHECK_EQ(conn(p)->cwnd, 10);
	}
	peer_end(p);
}

static void third_duplicate(void)
{
	struct peer *p = flying();

	duplicate(p, 2);
	forget(p);
	duplicate(p, 1);
	REQUIRE(next(p));
	CHECK_EQ(p->got.seq, p->ack);
	CHECK_EQ(p->got.len, MSS);
	CHECK_EQ(conn(p)->ssthresh, 5);
	CHECK_EQ(conn(p)->ca_state, CA_RECOVERY);
	duplicate(p, 7);			/* the rest of the flight: nothing twice */
	while (next(p))
		CHECK(p->got.seq - p->ack >= 10 * MSS);
	peer_end(p);
}

static void window_after_recovery(void)
{
	struct peer *p = peer_begin(OFFER_MSS | OFFER_WS);

	strcpy(p->r->conf.congestion, "reno");
	peer_connects(p, 50 * MSEC);
	write_n(p, 10 * MSS);			/* and nothing more, so that the window is not used to grow */
	duplicate(p, 9);
	CHECK_EQ(conn(p)->ssthresh, 5);
	say_ack(p, 10 * MSS);
	CHECK_EQ(conn(p)->ca_state, CA_RECOVERY);	/* RFC 6582 4.1: duplicates of this number may be echoes still */
	CHECK_EQ(conn(p)->cwnd, 5);
	write_n(p, MSS);
	say_ack(p, MSS);
	CHECK_EQ(conn(p)->ca_state, CA_OPEN);
	CHECK_EQ(conn(p)->cwnd, 5);
	peer_end(p);
}

/* RFC 6582 3.2: each partial ACK names the next hole; no time-out for it. */
static void partial_acks_name_the_holes(void)
{
	struct peer *p = flying();

	duplicate(p, 7);			/* three of ten are missing: 1, 4 and 7 */
	forget(p);
	for (u32 i = 0; i < 2; i++) {
		bool again = false;

		say_ack(p, 3 * MSS);
		duplicate(p, 2);		/* of what was sent meanwhile: PRR may want them first */
		while (next(p))
			again |= p->got.seq == p->ack;
		CHECK(again);
	}
	CHECK_EQ(dropped(p, TCP_TIMEOUTS), 0);
	peer_end(p);
}

static void two_losses_are_two_reductions(void)
{
	struct peer *p = flying();
	u32 once;

	duplicate(p, 9);
	once = conn(p)->ssthresh;
	say_ack(p, (u32)(snd_nxt(conn(p)) - snd_una(conn(p))));
	CHECK(conn(p)->cwnd <= once + 1);	/* what the duplicates stood for is not counted again */
	say_ack(p, (u32)(snd_nxt(conn(p)) - snd_una(conn(p))));	/* the second window */
	duplicate(p, 3);
	CHECK(conn(p)->ssthresh < once);
	peer_end(p);
	p = flying();			/* what was sent again is lost again */
	duplicate(p, 9);
	once = conn(p)->ssthresh;
	forget(p);
	while (!dropped(p, TCP_TIMEOUTS))
		rig_advance(p->r, 10 * MSEC);
	CHECK(conn(p)->ssthresh <= once);
	CHECK_EQ(conn(p)->cwnd, 1);
	peer_end(p);
}

static void progress_resets_the_count(void)
{
	struct peer *p = flying();

	for (u32 i = 0; i < 5; i++) {
		duplicate(p, 2);
		say_ack(p, MSS);
		while (next(p))
			CHECK((s32)(p->got.seq - p->ack) >= 0 && p->got.seq != p->ack);
		CHECK(conn(p)->ca_state < CA_RECOVERY);
	}
	peer_end(p);
}

UNIT_MAIN(UNIT(limited_transmit), UNIT(third_duplicate), UNIT(window_after_recovery), UNIT(partial_acks_name_the_holes),
	  UNIT(two_losses_are_two_reductions), UNIT(progress_resets_the_count))
