/* test_tcp_cubic.c – services/tcp/tcp_cubic.c: the window as RFC 9438 has it, against the formulas in floating point. */
#include "tcp_dialogue.h"

#include <math.h>

#define RTT (100 * MSEC)
#define BETA 0.7
#define C_ 0.4

/* A connection whose window is w; the law is asked directly, one call for each acknowledged segment. */
static struct peer *opened(u32 w, u32 ssthresh)
{
	struct peer *p = peer_begin(OFFER_ALL);

	peer_connects(p, RTT);
	CHECK_EQ(conn(p)->ca == &tcp_cubic, 1);
	conn(p)->cwnd = w;
	conn(p)->ssthresh = ssthresh;
	return p;
}

static void lose(struct peer *p)
{
	conn(p)->ssthresh = conn(p)->ca->ssthresh(conn(p));
	conn(p)->cwnd = conn(p)->ssthresh;
	conn(p)->cwnd_cnt = 0;
}

static void round_trip(struct peer *p)
{
	u32 n = conn(p)->cwnd;

	for (u32 i = 0; i < n; i++) {
		p->r->t.now += RTT / n;
		conn(p)->ca->cong_avoid(conn(p), 1);
	}
}

/* W(t) = C (t - K)^3 + W_max: concave up to W_max, convex beyond. */
static void follows_its_curve(void)
{
	for (u32 w_max = 200; w_max <= 800; w_max += 300) {
		struct peer *p = opened(w_max, w_max);
		double k = cbrt(w_max * (1 - BETA) / C_), t;
		u64 begin;
		bool concave = false, convex = false;

		lose(p);
		CHECK_EQ(conn(p)->cwnd, (u32)(w_max * BETA));
		begin = p->r->t.now;
		for (u32 i = 0; i < 140; i++) {
			double want;

			round_trip(p);
			t = (double)(p->r->t.now - begin) / 1e9;
			want = C_ * pow(t - k, 3) + w_max;
			concave |= conn(p)->cwnd < w_max;
			convex |= conn(p)->cwnd > w_max + 5;
			CHECK(conn(p)->cwnd <= want * 1.05 + 3);
			CHECK(conn(p)->cwnd >= want * 0.93 - 3);
		}
		CHECK(concave && convex);
		peer_end(p);
	}
}

/* RFC 9438 4.3: never slower than reno would be, on short round trips. */
static void no_slower_than_reno(void)
{
	struct peer *p = opened(20, 20);
	double est;

	conn(p)->min_rtt_us = 5000;
	lose(p);
	est = conn(p)->cwnd;
	for (u32 i = 0; i < 100; i++) {
		u32 n = conn(p)->cwnd;

		for (u32 j = 0; j < n; j++) {
			p->r->t.now += 5 * MSEC / n;
			conn(p)->ca->cong_avoid(conn(p), 1);
		}
		est += 3 * (1 - BETA) / (1 + BETA);
	}
	CHECK(conn(p)->cwnd >= est * 0.9);
	peer_end(p);
}

static void fast_convergence(void)
{
	struct peer *p = opened(100, 100);

	lose(p);			/* W_max 100 */
	CHECK_EQ(conn(p)->cwnd, 70);
	conn(p)->cwnd = 80;		/* lost below it: a newcomer wants room, W_max = 80 * 1.7 / 2 = 68 */
	lose(p);
	CHECK_EQ(conn(p)->cwnd, 56);
	for (u32 i = 0; i < 33; i++)	/* K = cbrt(12 / 0.4) = 3.1 s: the plateau is at 68 */
		round_trip(p);
	CHECK(conn(p)->cwnd >= 66 && conn(p)->cwnd <= 76);
	peer_end(p);
}

static void begins_with_slow_start(void)
{
	struct peer *p = opened(10, 0x7fffffff);

	for (u32 i = 0; i < 5; i++) {
		u32 was = conn(p)->cwnd;

		round_trip(p);
		CHECK_EQ(conn(p)->cwnd, 2 * was);
	}
	conn(p)->cwnd = 10;		/* and again after a time-out, up to ssthresh */
	conn(p)->ssthresh = 20;
	conn(p)->ca->event(conn(p), CA_EVENT_LOSS);
	round_trip(p);
	CHECK_EQ(conn(p)->cwnd, 20);
	round_trip(p);
	CHECK(conn(p)->cwnd <= 22);
	peer_end(p);
}

/* The application sends one segment now and then for a minute, in the middle of the curve: it goes on where it was. */
static void time_stands_still_while_idle(void)
{
	struct peer *p = opened(300, 300);
	u32 was, rest = 300;

	lose(p);
	write_n(p, 1000);
	say_ack(p, 1000);
	forget(p);
	for (u32 i = 0; i < 20; i++)
		round_trip(p);
	was = conn(p)->cwnd;
	conn(p)->last_send = p->r->t.now;	/* not idle for an RTO: that has a rule of its own */
	while (rest--) {
		write_n(p, 1000);
		rig_advance(p->r, RTT);
		say_ack(p, 1000);
		rig_advance(p->r, 100 * MSEC);
		forget(p);
	}
	CHECK(conn(p)->cwnd <= was);
	was = conn(p)->cwnd;
	round_trip(p);
	CHECK(conn(p)->cwnd <= was + was / 20 + 2);	/* not half a window at once */
	peer_end(p);
}

UNIT_MAIN(UNIT(follows_its_curve), UNIT(no_slower_than_reno), UNIT(fast_convergence), UNIT(begins_with_slow_start),
	  UNIT(time_stands_still_while_idle))
