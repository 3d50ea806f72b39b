/* test_tcp_keepalive.c – services/tcp/tcp_timer.c: keep-alives (RFC 9293 3.8.4). */
#include "tcp_dialogue.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

static struct peer *opened(bool on)
{
	struct peer *p = peer_begin(OFFER_ALL);

	peer_connects(p, 0);
	if (on)
		set_opt(p, p->sk, SOL_SOCKET, SO_KEEPALIVE, 1);
	forget(p);
	return p;
}

static void off_until_asked_for(void)
{
	struct peer *p = opened(false);

	rig_advance(p->r, 100000 * SEC);
	CHECK_EQ(unseen(p), 0);
	set_opt(p, p->sk, SOL_SOCKET, SO_KEEPALIVE, 1);	/* in the middle of its life: idle for long already */
	rig_advance(p->r, SEC);
	CHECK_EQ(forget(p), 1);
	say_ack(p, 0);
	set_opt(p, p->sk, SOL_SOCKET, SO_KEEPALIVE, 0);
	rig_advance(p->r, 100000 * SEC);
	CHECK_EQ(unseen(p), 0);
	CHECK_EQ(state(p), TCPS_ESTABLISHED);
	peer_end(p);
}

static void two_hours_by_default(void)
{
	struct peer *p = opened(true);

	rig_advance(p->r, 7199 * SEC);
	CHECK_EQ(unseen(p), 0);
	rig_advance(p->r, 2 * SEC);
	CHECK_EQ(unseen(p), 1);
	peer_end(p);
}

static void interval_is_an_option(void)
{
	static const int bad[] = { 0, -1, 32768 };
	struct peer *p = opened(true);

	for (u32 i = 0; i < ARRAY_SIZE(bad); i++)
		CHECK_EQ(tcp_setsockopt(&p->r->t, p->sk, IPPROTO_TCP, TCP_KEEPIDLE, &bad[i], 4), -EINVAL);
	set_opt(p, p->sk, IPPROTO_TCP, TCP_KEEPIDLE, 5);
	set_opt(p, p->sk, IPPROTO_TCP, TCP_KEEPINTVL, 2);
	rig_advance(p->r, 4 * SEC);
	CHECK_EQ(unseen(p), 0);
	rig_advance(p->r, 1500 * MSEC);
	CHECK_EQ(forget(p), 1);
	rig_advance(p->r, 2 * SEC);
	CHECK_EQ(forget(p), 1);
	peer_end(p);
}

static void only_when_idle(void)
{
	struct peer *p = opened(true);

	set_opt(p, p->sk, IPPROTO_TCP, TCP_KEEPIDLE, 10);
	for (u32 i = 0; i < 20; i++) {		/* something is heard every nine seconds: data or ACKs */
		rig_advance(p->r, 9 * SEC);
		if (i & 1)
			say_ack(p, 0);
		else
			say_data(p, 10);
		read_all(p);
		while (next(p))
			CHECK_EQ(p->got.seq, p->ack);	/* no probe: that would be one less */
	}
	rig_advance(p->r, 9 * SEC);
	forget(p);
	rig_advance(p->r, 2 * SEC);
	CHECK_EQ(unseen(p), 1);
	peer_end(p);
}

static void lost_answers_are_tolerated(void)
{
	struct peer *p = opened(true);

	set_opt(p, p->sk, IPPROTO_TCP, TCP_KEEPIDLE, 10);
	set_opt(p, p->sk, IPPROTO_TCP, TCP_KEEPINTVL, 10);
	rig_advance(p->r, 95 * SEC);		/* nine probes; the answer to the last arrives */
	CHECK_EQ(forget(p), 9);
	CHECK_EQ(state(p), TCPS_ESTABLISHED);
	say_ack(p, 0);
	rig_advance(p->r, 95 * SEC);		/* and the counting begins anew */
	CHECK_EQ(forget(p), 9);
	CHECK_EQ(state(p), TCPS_ESTABLISHED);
	rig_advance(p->r, 10 * SEC);
	REQUIRE(last(p) && p->got.flags & TCP_RST);
	CHECK_EQ(load_relaxed(&conn(p)->b.s->err), ETIMEDOUT);
	peer_end(p);
}

static void probe_without_data(void)
{
	struct peer *p = opened(true);

	set_opt(p, p->sk, IPPROTO_TCP, TCP_KEEPIDLE, 10);
	rig_advance(p->r, 11 * SEC);
	REQUIRE(last(p));
	CHECK_EQ(p->got.len, 0);
	CHECK_EQ(p->got.flags, TCP_ACK);
	CHECK_EQ(p->got.seq, p->ack - 1);	/* one below: whoever lives answers */
	CHECK_EQ(p->got.ack, p->seq);
	peer_end(p);
}

UNIT_MAIN(UNIT(off_until_asked_for), UNIT(two_hours_by_default), UNIT(interval_is_an_option), UNIT(only_when_idle),
	  UNIT(lost_answers_are_tolerated), UNIT(probe_without_data))
