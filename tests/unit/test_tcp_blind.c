/* test_tcp_blind.c – services/tcp: segments of somebody who guesses (RFC 5961), and what a RST may look like. */
#include "tcp_dialogue.h"

enum { S_ESTABLISHED, S_FIN_WAIT1, S_FIN_WAIT2, S_CLOSE_WAIT, S_CLOSING, S_LAST_ACK, STATES };

/* A connection in state s; p->seq and p->ack are what an honest peer would say next. */
static struct peer *in_state(u32 s)
{
	struct peer *p = peer_begin(OFFER_MSS);

	peer_connects(p, 0);
	if (s == S_CLOSE_WAIT || s == S_LAST_ACK)
		say(p, TCP_FIN | TCP_ACK, p->seq++, p->ack);
	if (s != S_ESTABLISHED && s != S_CLOSE_WAIT) {
		CHECK_EQ(tcp_shutdown(&p->r->t, p->sk, 1), 0);
		tcp_flush(&p->r->t);
	}
	if (s == S_FIN_WAIT2)
		say_ack(p, 1);
	if (s == S_CLOSING)
		say(p, TCP_FIN | TCP_ACK, p->seq++, p->ack);
	static const enum tcp_state want[] = { TCPS_ESTABLISHED, TCPS_FIN_WAIT1, TCPS_FIN_WAIT2, TCPS_CLOSE_WAIT, TCPS_CLOSING, TCPS_LAST_ACK };

	REQUIRE_EQ(state(p), want[s]);
	rig_advance(p->r, 600 * MSEC);
	forget(p);
	return p;
}

static void reset_only_at_the_next_number(void)
{
	for (u32 s = 0; s < STATES; s++) {
		static const s32 inside[] = { 1, 2, 1000, 60000 }, outside[] = { -1000000, -70000, 70000, 1 << 30 };
		struct peer *p = in_state(s);
		enum tcp_state was = state(p);

		for (u32 i = 0; i < ARRAY_SIZE(outside); i++) {
			say(p, TCP_RST, p->seq + (u32)outside[i], 0);
			CHECK_EQ(unseen(p), 0);
			CHECK_EQ(state(p), was);
		}
		for (u32 i = 0; i < ARRAY_SIZE(inside); i++) {
			rig_advance(p->r, SEC);
			forget(p);
			say(p, TCP_RST, p->seq + (u32)inside[i], 0);
			REQUIRE(last(p));
			CHECK_EQ(p->got.flags, TCP_ACK);
			CHECK_EQ(p->got.ack, p->seq);
			CHECK_EQ(p->got.seq, snd_wire(conn(p), snd_nxt(conn(p))));
			CHECK_EQ(state(p), was);
		}
		say(p, TCP_RST, p->seq, 0);
		CHECK_EQ(state(p), TCPS_CLOSE);
		CHECK_EQ(p->r->t.soft->tw_count, 0);
		peer_end(p);
	}
}

static void syn_is_challenged_in_every_state(void)
{
	static const s32 off[] = { 0, 1, -1, 1000, -1000, 100000, 1 << 30, -(1 << 30) };

	for (u32 s = 0; s < STATES; s++)
		for (u32 ack = 0; ack < 2; ack++) {
			struct peer *p = in_state(s);
			enum tcp_state was = state(p);

			for (u32 i = 0; i < ARRAY_SIZE(off); i++) {
				rig_advance(p->r, SEC);
				forget(p);
				say_raw(p, ack ? TCP_SYN | TCP_ACK : TCP_SYN, p->seq + (u32)off[i], p->ack, "evil", 4);
				REQUIRE(last(p));
				CHECK_EQ(p->got.flags, TCP_ACK);
				CHECK_EQ(p->got.ack, p->seq);
				CHECK_EQ(state(p), was);
			}
			CHECK_EQ(rcv_unread(conn(p)), 0);
			peer_end(p);
		}
}

/* RFC 5961 5.2: SND.UNA - MAX.SND.WND <= SEG.ACK <= SND.NXT, or the data is not believed. */
static void ack_range(void)
{
	struct peer *p = peer_begin(OFFER_MSS);
	static const s32 bad[] = { -2001, -3000, -60000, -(1 << 30), 1, 1000, 1 << 30 };

	p->wnd = 2000;
	peer_connects(p, 0);
	for (u32 i = 0; i < 50; i++) {		/* a past to be old in */
		write_n(p, 1460);
		say_ack(p, 1460);
	}
	for (u32 i = 0; i < ARRAY_SIZE(bad); i++) {
		rig_advance(p->r, SEC);
		forget(p);
		say_raw(p, TCP_ACK, p->seq, p->ack + (u32)bad[i], "evil", 4);
		REQUIRE(last(p));
		CHECK_EQ(p->got.flags, TCP_ACK);
		CHECK_EQ(p->got.ack, p->seq);
		CHECK_EQ(rcv_unread(conn(p)), 0);
		say(p, TCP_FIN | TCP_ACK, p->seq, p->ack + (u32)bad[i]);
		CHECK_EQ(state(p), TCPS_ESTABLISHED);
	}
	say_raw(p, TCP_ACK, p->seq, p->ack - 2000, "good", 4);	/* old, but a window of old */
	CHECK_EQ(read_all(p), 4);
	peer_end(p);
}

static void challenges_are_limited(void)
{
	struct peer *p = in_state(S_ESTABLISHED);

	for (u32 i = 0; i < 10000; i++)
		say(p, i & 1 ? TCP_RST : TCP_SYN, p->seq + 1 + i, 0);
	CHECK_EQ(forget(p), 1);
	for (u32 i = 0; i < 10000; i++)
		say_raw(p, TCP_ACK, p->seq, p->ack + 1 + i, "x", 1);
	CHECK_EQ(forget(p), 0);
	rig_advance(p->r, SEC);
	say(p, TCP_SYN, p->seq, 0);
	CHECK_EQ(forget(p), 1);
	peer_end(p);
}

static void reset_may_carry_data(void)
{
	struct peer *p = in_state(S_ESTABLISHED);

	say_raw(p, TCP_RST, p->seq, 0, "because", 7);
	CHECK_EQ(state(p), TCPS_CLOSE);
	CHECK_EQ(load_relaxed(&conn(p)->b.s->err), ECONNRESET);
	CHECK_EQ(rcv_unread(conn(p)), 0);	/* which is no part of the stream */
	peer_end(p);
	p = peer_begin(0);
	connect_begins(p);
	say_raw(p, TCP_RST | TCP_ACK, 0, p->ack, "refused", 7);
	CHECK_EQ(load_relaxed(&conn(p)->b.s->err), ECONNREFUSED);
	peer_end(p);
}

UNIT_MAIN(UNIT(reset_only_at_the_next_number), UNIT(syn_is_challenged_in_every_state), UNIT(ack_range), UNIT(challenges_are_limited),
	  UNIT(reset_may_carry_data))
