/* test_tcp_rto.c – services/tcp: round trips, the retransmission time-out, giving up (RFC 6298, RFC 9293 3.8.1, 3.8.3). */
#include "tcp_dialogue.h"

#include <netinet/in.h>
#include <netinet/tcp.h>

/* One segment there and its ACK back. */
static void round_trip(struct peer *p, u64 ms)
{
	write_n(p, 100);
	rig_advance(p->r, ms * MSEC);
	say_ack(p, 100);
	forget(p);
}

static void first_measurement(void)
{
	for (u32 ms = 100; ms <= 700; ms += 100)	/* from 100 ms on Linux's floor of 200 ms for 4 RTTVAR does not show */
		for (u32 way = 0; way < 2; way++) {
			struct peer *p = peer_begin(OFFER_MSS);

			if (way)
				we_connect(p, ms * MSEC);
			else
				peer_connects(p, ms * MSEC);
			CHECK_EQ(conn(p)->srtt8_us, 8000 * ms);
			CHECK_EQ(conn(p)->rto, 3 * ms * MSEC);
			peer_end(p);
		}
}

/* R = 200 ms, R' = 500 ms: RTTVAR = 3/4 * 100 + 1/4 * 300 = 150, SRTT = 7/8 * 200 + 1/8 * 500 = 237.5, RTO = 837.5. */
static void variance_before_mean(void)
{
	struct peer *p = peer_begin(OFFER_MSS);

	peer_connects(p, 200 * MSEC);
	round_trip(p, 500);
	CHECK_EQ(conn(p)->srtt8_us, 1900000);
	CHECK_EQ(conn(p)->rto, 837500 * 1000ull);
	peer_end(p);
}

static void karn(void)
{
	struct peer *p = peer_begin(OFFER_MSS);
	u32 was;

	peer_connects(p, 200 * MSEC);
	was = conn(p)->srtt8_us;
	write_n(p, 100);
	rig_advance(p->r, 650 * MSEC);		/* sent again after 600 */
	CHECK_EQ(forget(p), 2);
	say_ack(p, 100);
	CHECK_EQ(conn(p)->srtt8_us, was);
	round_trip(p, 200);
	CHECK_EQ(conn(p)->srtt8_us, was);	/* a clean one, of the same length */
	round_trip(p, 400);
	CHECK(conn(p)->srtt8_us > was);
	peer_end(p);
}

static void a_measurement_each_round_trip(void)
{
	for (u32 offers = OFFER_MSS; offers <= OFFER_ALL; offers += 14) {
		struct peer *p = peer_begin((u8)offers);

		peer_connects(p, 200 * MSEC);
		for (u32 ms = 210; ms < 400; ms += 10) {
			u32 was = conn(p)->srtt8_us;

			write_n(p, 3000);	/* several segments, one ACK */
			rig_advance(p->r, ms * MSEC);
			say_ack(p, 3000);
			forget(p);
			CHECK(conn(p)->srtt8_us > was);
		}
		peer_end(p);
	}
}

static void steady_path_keeps_a_margin(void)
{
	struct peer *p = peer_begin(OFFER_MSS);

	peer_connects(p, 50 * MSEC);
	for (u32 i = 0; i < 500; i++)
		round_trip(p, 50);
	CHECK_EQ(conn(p)->srtt8_us >> 3, 50000);
	CHECK(conn(p)->rto >= (50 + 200) * MSEC);
	CHECK(conn(p)->rto <= (50 + 201) * MSEC);
	peer_end(p);
}

/* RFC 6298 5.1 to 5.3: an RTO after it was sent, or after the last ACK that acknowledged something. */
static void not_before_its_time(void)
{
	struct peer *p = peer_begin(OFFER_MSS);
	u64 from, rto;

	peer_connects(p, 200 * MSEC);
	set_opt(p, p->sk, IPPROTO_TCP, TCP_NODELAY, 1);
	for (u32 gap = 0; gap < 500; gap += 70) {
		write_n(p, 100);
		rig_advance(p->r, gap * MSEC);
		write_n(p, 100);
		forget(p);
		say_ack(p, 100);
		from = p->r->t.now;
		rto = conn(p)->rto;
		while (!unseen(p))
			rig_advance(p->r, MSEC);
		CHECK(p->r->t.now - from >= rto);
		CHECK(p->r->t.now - from <= rto + 2 * MSEC);
		REQUIRE(last(p));
		CHECK_EQ(p->got.seq, p->ack);	/* 5.4: the earliest */
		say_ack(p, 100);
		CHECK(!timer_armed(&conn(p)->rtx));	/* 5.2 */
		forget(p);
	}
	peer_end(p);
}

static void back_off(void)
{
	struct peer *p = peer_begin(OFFER_MSS);
	u64 last_at, gap = 0;

	peer_connects(p, 200 * MSEC);
	write_n(p, 100);
	forget(p);
	last_at = p->r->t.now;
	for (u32 i = 0; i < 10; i++) {
		u64 before = gap;

		while (!unseen(p))
			rig_advance(p->r, 10 * MSEC);
		forget(p);
		gap = p->r->t.now - last_at;
		last_at = p->r->t.now;
		if (before)
			CHECK(gap + 20 * MSEC >= MIN(2 * before, TCP_RTO_MAX) && gap <= 2 * before + 20 * MSEC);
		CHECK(gap <= TCP_RTO_MAX + 20 * MSEC);
	}
	say_ack(p, 100);
	round_trip(p, 200);		/* a measurement ends it */
	CHECK(conn(p)->rto < SEC);
	CHECK_EQ(conn(p)->backoff, 0);
	peer_end(p);
}

static void three_seconds_after_a_lost_syn(void)
{
	for (u32 way = 0; way < 2; way++) {
		struct peer *p = peer_begin(OFFER_MSS);

		if (way) {
			connect_begins(p);
			rig_advance(p->r, 1100 * MSEC);
			say(p, TCP_SYN | TCP_ACK, p->seq++, p->ack);
		} else {
			peer_connects(p, 1100 * MSEC);
		}
		CHECK_EQ(state(p), TCPS_ESTABLISHED);
		CHECK_EQ(conn(p)->rto, 3 * SEC);
		write_n(p, 100);
		forget(p);
		rig_advance(p->r, 2900 * MSEC);
		CHECK_EQ(unseen(p), 0);
		rig_advance(p->r, 200 * MSEC);
		CHECK_EQ(unseen(p), 1);
		peer_end(p);
	}
}

static void gives_up_at_r2(void)
{
	struct peer *p = peer_begin(OFFER_MSS);
	u32 asked, n = 0;

	peer_connects(p, 200 * MSEC);
	write_n(p, 100);
	forget(p);
	rig_advance(p->r, 100 * SEC);
	CHECK_EQ(state(p), TCPS_ESTABLISHED);	/* SHLD-11 */
	n = forget(p);
	asked = p->r->routes;
	rig_advance(p->r, 500 * SEC);
	CHECK(unseen(p) >= 3);
	CHECK(p->r->routes >= asked + unseen(p));	/* R1: every time-out asks for the way again */
	CHECK(n >= 3);
	rig_advance(p->r, 600 * SEC);
	CHECK_EQ(state(p), TCPS_CLOSE);
	CHECK_EQ(load_relaxed(&conn(p)->b.s->err), ETIMEDOUT);
	peer_end(p);
}

static void application_sets_r2(void)
{
	struct peer *p = peer_begin(OFFER_MSS);

	peer_connects(p, 200 * MSEC);
	set_opt(p, p->sk, IPPROTO_TCP, TCP_USER_TIMEOUT, 30000);
	write_n(p, 100);
	rig_advance(p->r, 29 * SEC);
	CHECK_EQ(state(p), TCPS_ESTABLISHED);
	rig_advance(p->r, 32 * SEC);
	CHECK_EQ(load_relaxed(&conn(p)->b.s->err), ETIMEDOUT);
	peer_end(p);
}

UNIT_MAIN(UNIT(first_measurement), UNIT(variance_before_mean), UNIT(karn), UNIT(a_measurement_each_round_trip),
	  UNIT(steady_path_keeps_a_margin), UNIT(not_before_its_time), UNIT(back_off), UNIT(three_seconds_after_a_lost_syn),
	  UNIT(gives_up_at_r2), UNIT(application_sets_r2))
