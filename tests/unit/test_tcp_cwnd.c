/* test_tcp_cwnd.c – services/tcp: the congestion window's life under reno (RFC 5681, RFC 6928, RFC 7661's point). */
#include "tcp_dialogue.h"

#define MSS 1460u

static struct peer *opened(u64 rtt)
{
	struct peer *p = peer_begin(OFFER_MSS | OFFER_WS);

	strcpy(p->r->conf.congestion, "reno");
	peer_connects(p, rtt);
	return p;
}

/* Keep the window full for one round trip, an ACK for every `every` segments. */
static void full_round(struct peer *p, u32 every)
{
	u32 n = (u32)((snd_nxt(conn(p)) - snd_una(conn(p))) / MSS);

	rig_advance(p->r, 50 * MSEC);
	for (u32 i = 0; i < n; i += every) {
		u64 room = RIG_RING - (conn(p)->write_seq - snd_una(conn(p)));

		if (room)
			write_n(p, (u32)room);
		say_ack(p, MIN(every, n - i) * MSS);
	}
	forget(p);
}

static void initial_window(void)
{
	for (u32 way = 0; way < 2; way++) {
		struct peer *p = peer_begin(OFFER_MSS);

		if (way)
			we_connect(p, 0);
		else
			peer_connects(p, 0);
		CHECK_EQ(conn(p)->cwnd, 10);
		write_n(p, 60000);
		CHECK_EQ(unseen(p), 10);
		rig_advance(p->r, 100 * MSEC);
		CHECK_EQ(unseen(p), 10);
		peer_end(p);
	}
}

/* RFC 6928 2: one loss of a SYN may have been no congestion; more than one was. */
static void lost_syns_shrink_the_initial_window(void)
{
	for (u32 way = 0; way < 2; way++)
		for (u32 lost = 0; lost < 4; lost++) {
			static const u64 wait[] = { 100, 1100, 3100, 7100 };
			struct peer *p = peer_begin(OFFER_MSS);

			if (way) {
				connect_begins(p);
				rig_advance(p->r, wait[lost] * MSEC);
				say(p, TCP_SYN | TCP_ACK, p->seq++, p->ack);
				forget(p);
			} else {
				peer_connects(p, wait[lost] * MSEC);
			}
			CHECK_EQ(conn(p)->cwnd, lost > 1 ? 1 : 10);
			write_n(p, 60000);
			CHECK_EQ(unseen(p), lost > 1 ? 1 : 10);
			peer_end(p);
		}
}

static void slow_start(void)
{
	struct peer *p = opened(50 * MSEC);
	u32 want = 10;

	write_n(p, 60000);
	forget(p);
	CHECK(conn(p)->ssthresh > 1u << 30);
	for (u32 i = 1; i <= 10; i++) {		/* a segment more for each acknowledged */
		say_ack(p, MSS);
		CHECK_EQ(conn(p)->cwnd, want + i);
	}
	want = conn(p)->cwnd;
	say_ack(p, 4 * MSS);			/* RFC 3465: bytes count, not ACKs */
	CHECK_EQ(conn(p)->cwnd, want + 4);
	peer_end(p);
}

static void congestion_avoidance(void)
{
	for (u32 every = 1; every <= 2; every++) {
		struct peer *p = opened(50 * MSEC);

		conn(p)->ssthresh = 10;
		write_n(p, 60000);
		forget(p);
		for (u32 round = 0; round < 20; round++) {
			u32 was = conn(p)->cwnd;

			full_round(p, every);
			CHECK(conn(p)->cwnd <= was + 1);
		}
		CHECK(conn(p)->cwnd >= 10 + 18);
		CHECK(conn(p)->cwnd <= 10 + 20);
		peer_end(p);
	}
}

static void one_segment_after_a_timeout(void)
{
	struct peer *p = opened(50 * MSEC);

	write_n(p, 60000);
	forget(p);
	while (!unseen(p))
		rig_advance(p->r, 10 * MSEC);
	CHECK_EQ(forget(p), 1);
	CHECK_EQ(conn(p)->cwnd, 1);
	CHECK_EQ(conn(p)->ssthresh, 5);
	rig_advance(p->r, 10 * SEC);		/* time-outs of what was sent again lower it no further */
	CHECK_EQ(conn(p)->ssthresh, 5);
	CHECK_EQ(conn(p)->cwnd, 1);
	forget(p);
	say_ack(p, MSS);
	CHECK_EQ(forget(p), 2);			/* slow start from there */
	peer_end(p);
}

static void unused_window_does_not_grow(void)
{
	static const char *const laws[] = { "reno", "cubic" };

	for (u32 law = 0; law < 2; law++)
		for (u32 start = 0; start < 2; start++) {
			struct peer *p = peer_begin(OFFER_MSS | OFFER_WS);

			strcpy(p->r->conf.congestion, laws[law]);
			peer_connects(p, 50 * MSEC);
			conn(p)->cwnd = 40;
			conn(p)->ssthresh = start ? 0x7fffffff : 40;
			for (u32 i = 0; i < 200; i++) {
				write_n(p, 2 * MSS);
				rig_advance(p->r, 50 * MSEC);
				say_ack(p, 2 * MSS);
				forget(p);
			}
			CHECK(conn(p)->cwnd <= 40);
			peer_end(p);
		}
}

/* RFC 5681 4.1, as Linux: halved for each RTO of silence, down to the initial window. */
static void restart_after_idle(void)
{
	struct peer *p = opened(50 * MSEC);

	write_n(p, 60000);
	conn(p)->cwnd = 44;
	say_ack(p, (u32)(snd_nxt(conn(p)) - snd_una(conn(p))));
	for (u32 i = 0; i < 10 && snd_una(conn(p)) != snd_end(conn(p)); i++)
		say_ack(p, (u32)(snd_nxt(conn(p)) - snd_una(conn(p))));
	conn(p)->cwnd = 44;
	rig_advance(p->r, 20 * SEC);
	forget(p);
	write_n(p, 60000);
	CHECK_EQ(unseen(p), 10);
	peer_end(p);
}

UNIT_MAIN(UNIT(initial_window), UNIT(lost_syns_shrink_the_initial_window), UNIT(slow_start), UNIT(congestion_avoidance),
	  UNIT(one_segment_after_a_timeout), UNIT(unused_window_does_not_grow), UNIT(restart_after_idle))
