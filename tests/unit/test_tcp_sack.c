/* test_tcp_sack.c – services/tcp: recovery with SACK (RFC 2018, RFC 6675). Segments are numbered from 0, the first of the flight. */
#include "tcp_dialogue.h"

#define MSS 1448u

/* n segments out; 100 ms later. More is written than may leave. */
static struct peer *flying(u32 n, u32 more)
{
	struct peer *p = peer_begin(OFFER_ALL);

	peer_connects(p, 100 * MSEC);
	conn(p)->cwnd = n;
	write_n(p, (n + more) * MSS);
	CHECK_EQ(forget(p), n);
	rig_advance(p->r, 100 * MSEC);
	return p;
}

/* A duplicate ACK that SACKs [from, to), in segments; the peer's clock goes on. */
static void sack(struct peer *p, u32 from, u32 to)
{
	static u8 o[12] = { 1, 1, 5, 10 };

	unwire(o + 4, p->ack + from * MSS);
	unwire(o + 8, p->ack + to * MSS);
	p->opts = o;
	p->nopts = 12;
	p->tsval++;
	say(p, TCP_ACK, p->seq, p->ack);
}

static u32 segment(const struct peer *p) { return (p->got.seq - p->ack) / MSS; }

static void holes_first_then_new_data(void)
{
	struct peer *p = flying(20, 20);
	u32 lost[20], n = 0, fresh = 0;

	for (u32 i = 1; i < 20; i++) {
		if (i == 4 || i == 9)
			continue;
		sack(p, i, i + 1);
		while (next(p)) {
			if (segment(p) < 20)
				lost[n++] = segment(p);
			else
				fresh++;
			REQUIRE(n < 20);
		}
	}
	REQUIRE_EQ(n, 3);			/* each once, in order, before anything new that could have left */
	CHECK_EQ(lost[0], 0);
	CHECK_EQ(lost[1], 4);
	CHECK_EQ(lost[2], 9);
	CHECK(fresh >= 5);
	CHECK_EQ(dropped(p, TCP_TIMEOUTS), 0);
	peer_end(p);
}

static void nothing_to_send_is_nothing_sent(void)
{
	struct peer *p = flying(10, 0);

	for (u32 i = 1; i < 10; i++)
		sack(p, i, i + 1);
	CHECK_EQ(forget(p), 1);			/* the one that is missing */
	for (u32 i = 0; i < 20; i++)
		sack(p, 1, 10);
	CHECK_EQ(unseen(p), 0);
	peer_end(p);
}

static void sacked_data_is_kept(void)
{
	struct peer *p = flying(10, 0);
	u64 tail = load_relaxed(&conn(p)->b.s->tx_tail);
	u32 again = 0;

	sack(p, 1, 10);
	CHECK_EQ(load_relaxed(&conn(p)->b.s->tx_tail), tail);
	say_ack(p, MSS);			/* the peer reneges: the head was SACKed, and it is not there (RFC 2018 8) */
	forget(p);
	for (u32 i = 0; i < 20 && snd_una(conn(p)) != snd_nxt(conn(p)); i++) {
		rig_advance(p->r, 2 * SEC);
		while (next(p))
			if (p->got.seq == p->ack) {
				p->ack += p->got.len;
				again += p->got.len;
			}
		say_ack(p, 0);
	}
	CHECK_EQ(again, 9 * MSS);
	peer_end(p);
}

static void progress_resets_the_count(void)
{
	struct peer *p = flying(10, 30);

	for (u32 i = 0; i < 4; i++) {
		sack(p, 1, 2);			/* out of order by one, and the gap closes 1 ms later */
		CHECK(conn(p)->sacked_out == 1);
		rig_advance(p->r, MSEC);
		say_ack(p, 2 * MSS);
		CHECK_EQ(conn(p)->sacked_out, 0);
		CHECK(conn(p)->ca_state < CA_RECOVERY);
		while (next(p))
			CHECK(segment(p) >= 8 - 2 * i);	/* nothing again */
	}
	peer_end(p);
}

static void recovery_ends_at_its_point(void)
{
	struct peer *p = flying(10, 30);

	for (u32 i = 1; i < 10; i++)
		sack(p, i, i + 1);
	CHECK_EQ(conn(p)->ca_state, CA_RECOVERY);
	for (u32 i = 0; i < 9; i++) {
		rig_advance(p->r, MSEC);
		say_ack(p, MSS);
		if (before(snd_una(conn(p)), conn(p)->high_seq))
			CHECK_EQ(conn(p)->ca_state, CA_RECOVERY);
	}
	rig_advance(p->r, 100 * MSEC);
	say_ack(p, (u32)(snd_nxt(conn(p)) - snd_una(conn(p))));
	CHECK_EQ(conn(p)->ca_state, CA_OPEN);
	CHECK(conn(p)->cwnd <= conn(p)->ssthresh + 1);
	peer_end(p);
}

static void scoreboard_follows_every_ack(void)
{
	struct peer *p = flying(20, 0);

	for (u32 i = 10; i < 20; i++) {
		struct tcp_conn *c = conn(p);

		sack(p, i, i + 1);
		CHECK_EQ(c->sacked_out, i - 9);
		CHECK_EQ(c->packets_out, 20);
		CHECK_EQ(in_flight(c), c->packets_out + c->retrans_out - c->sacked_out - c->lost_out);
	}
	say_ack(p, 15 * MSS);
	CHECK_EQ(conn(p)->packets_out, 5);
	CHECK_EQ(conn(p)->sacked_out, 5);
	CHECK_EQ(conn(p)->lost_out, 0);
	CHECK_EQ(in_flight(conn(p)), 0);
	peer_end(p);
}

/* RFC 6675 5.1 */
static void timeout_ends_recovery(void)
{
	struct peer *p = flying(10, 20);
	u64 point;

	for (u32 i = 1; i < 5; i++)
		sack(p, i, i + 1);
	CHECK_EQ(conn(p)->ca_state, CA_RECOVERY);
	while (!dropped(p, TCP_TIMEOUTS))
		rig_advance(p->r, 10 * MSEC);
	CHECK_EQ(conn(p)->ca_state, CA_LOSS);
	point = snd_nxt(conn(p));
	forget(p);
	for (u32 i = 5; i < 10; i++) {		/* more duplicates begin no other recovery */
		sack(p, i, i + 1);
		CHECK_EQ(conn(p)->ca_state, CA_LOSS);
	}
	CHECK_EQ(conn(p)->ssthresh, 7);		/* and lower nothing further: cubic, 0.7 of 10 */
	rig_advance(p->r, 100 * MSEC);
	p->tsval++;
	say_ack(p, (u32)(point - snd_una(conn(p))));
	CHECK_EQ(conn(p)->ca_state, CA_OPEN);
	peer_end(p);
}

UNIT_MAIN(UNIT(holes_first_then_new_data), UNIT(nothing_to_send_is_nothing_sent), UNIT(sacked_data_is_kept),
	  UNIT(progress_resets_the_count), UNIT(recovery_ends_at_its_point), UNIT(scoreboard_follows_every_ack),
	  UNIT(timeout_ends_recovery))
