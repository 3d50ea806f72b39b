/* test_tcp_window.c – services/tcp: the peer's window and ours, silly windows, Nagle, PSH (RFC 9293 3.8.6, 3.7.4, 3.9.1.2). */
#include "tcp_dialogue.h"

#include <netinet/in.h>
#include <netinet/tcp.h>

static struct peer *opened(u8 offers, u16 wnd)
{
	struct peer *p = peer_begin(offers);

	p->wnd = wnd;
	peer_connects(p, 0);
	return p;
}

static u32 bytes_sent(struct peer *p)
{
	u32 n = 0;

	while (next(p))
		n += p->got.len;
	return n;
}

/* The peer closes its window: only a newer segment may. */
static void close_window(struct peer *p)
{
	p->wnd = 0;
	say_data(p, 1);
	read_all(p);
	forget(p);
}

static void window_is_unsigned(void)
{
	static const u16 wnd[] = { 32767, 32768, 40000, 65535 };

	for (u32 i = 0; i < ARRAY_SIZE(wnd); i++) {
		struct peer *p = opened(OFFER_MSS, wnd[i]);

		conn(p)->cwnd = 1000;
		write_n(p, 65536);
		CHECK(bytes_sent(p) > wnd[i] - 1460u);
		peer_end(p);
	}
	struct peer *p = opened(OFFER_MSS | OFFER_WS, 65535);	/* and a scaled one has more than 16 bits */

	conn(p)->cwnd = 1000;
	write_n(p, 65536);
	CHECK_EQ(bytes_sent(p), 65536);
	peer_end(p);
}

static void nagle_and_nodelay(void)
{
	struct peer *p = opened(OFFER_MSS, 65535);

	write_n(p, 100);
	CHECK_EQ(bytes_sent(p), 100);
	write_n(p, 50);
	write_n(p, 70);
	CHECK_EQ(unseen(p), 0);		/* a small one is out */
	say_ack(p, 100);
	CHECK_EQ(unseen(p), 1);
	CHECK_EQ(bytes_sent(p), 120);
	write_n(p, 1460);		/* full segments do not wait */
	CHECK_EQ(bytes_sent(p), 1460);
	write_n(p, 10);
	CHECK_EQ(unseen(p), 0);
	set_opt(p, p->sk, IPPROTO_TCP, TCP_NODELAY, 1);
	CHECK_EQ(bytes_sent(p), 10);
	for (u32 i = 0; i < 5; i++) {
		write_n(p, 1);
		CHECK_EQ(bytes_sent(p), 1);
	}
	peer_end(p);
}

static void shrunk_window(void)
{
	struct peer *p = opened(OFFER_MSS, 20000);
	u32 edge, again = 0;

	write_n(p, 30000);
	CHECK_EQ(bytes_sent(p), 14600);
	p->wnd = 4000;			/* 1460 arrived; the right edge moves back into what is in flight */
	say_ack(p, 1460);
	edge = p->ack + 4000;
	CHECK_EQ(unseen(p), 0);
	for (u32 i = 0; i < 4; i++) {
		rig_advance(p->r, 10 * SEC);
		while (next(p)) {
			CHECK((s32)(p->got.seq + p->got.len - edge) <= 0);
			again += p->got.seq == p->ack && p->got.len == 1460;
		}
	}
	CHECK(again >= 3);		/* what is inside is sent again as ever */
	CHECK_EQ(state(p), TCPS_ESTABLISHED);
	p->wnd = 60000;			/* everything arrives in the end */
	for (u32 i = 0; i < 100 && snd_una(conn(p)) != snd_end(conn(p)); i++) {
		rig_advance(p->r, 2 * SEC);
		while (next(p))
			if (p->got.seq == p->ack)
				p->ack += p->got.len;
		say_ack(p, 0);
	}
	CHECK_EQ(snd_una(conn(p)), snd_end(conn(p)));
	peer_end(p);
}

/* RFC 9293 3.8.6: retransmissions become probes; who answers them is alive. */
static void shrunk_to_nothing_is_no_timeout(void)
{
	struct peer *p = opened(OFFER_MSS, 20000);

	write_n(p, 5000);
	forget(p);
	for (u32 i = 0; i < 60; i++) {		/* two hours */
		rig_advance(p->r, 120 * SEC);
		CHECK(i > 50 || forget(p) >= 1);
		p->wnd = 0;
		say_raw(p, TCP_ACK, p->seq, p->ack, NULL, i == 0);
		p->seq += i == 0;
		REQUIRE_EQ(state(p), TCPS_ESTABLISHED);
	}
	p->wnd = 20000;
	say_ack(p, 0);
	rig_advance(p->r, 121 * SEC);
	for (u32 i = 0; i < 10; i++)
		say_ack(p, (u32)MIN(1460ull, snd_nxt(conn(p)) - snd_una(conn(p))));
	CHECK_EQ(snd_una(conn(p)), snd_end(conn(p)));
	peer_end(p);
}

static void probes_back_off(void)
{
	struct peer *p = opened(OFFER_MSS, 1000);
	u64 at[8], closed;
	u32 n = 0;

	close_window(p);
	write_n(p, 500);
	closed = p->r->t.now;
	while (n < 8) {
		rig_advance(p->r, 50 * MSEC);
		if (!unseen(p))
			continue;
		at[n++] = p->r->t.now;
		REQUIRE(last(p));
		CHECK_EQ(p->got.len, 0);
		CHECK_EQ(p->got.seq, p->ack - 1);
		say_ack(p, 0);
	}
	CHECK(at[0] - closed >= conn(p)->rto);
	for (u32 i = 2; i < 8; i++)		/* each twice as long as the one before, up to two minutes */
		CHECK(at[i] - at[i - 1] + 100 * MSEC >= MIN(2 * (at[i - 1] - at[i - 2]), TCP_RTO_MAX));
	peer_end(p);
}

static void reset_and_urgent_at_a_zero_window(void)
{
	struct peer *p = opened(OFFER_MSS, 65535);
	u8 b[64] = { 0 };

	while (tcp_new_window(conn(p)))
		say_data(p, MIN(tcp_new_window(conn(p)), 1460u));
	say_data(p, (u32)rcv_free(conn(p)));	/* less than a segment, and so not offered */
	rig_advance(p->r, SEC);
	forget(p);
	*(struct tcp_hdr *)b = (struct tcp_hdr){ .source = to_be16(p->port), .dest = to_be16(80), .seq = to_be32(p->seq), .doff_res = 0x50,
						 .ack_seq = to_be32(p->ack), .flags = TCP_ACK | TCP_URG, .window = to_be16(1),
						 .urg_ptr = to_be16(10) };
	rig_deliver(p->r, b, 21, PEER, US, false);
	tcp_flush(&p->r->t);
	CHECK_EQ(load_relaxed(&conn(p)->b.s->urg), rcv_nxt(conn(p)) + 10);
	CHECK_EQ(rcv_wire(conn(p), rcv_nxt(conn(p))), p->seq);	/* the byte had no room */
	write_n(p, 700);		/* ACKs are taken, too */
	forget(p);
	say_ack(p, 700);
	CHECK_EQ(snd_una(conn(p)), snd_nxt(conn(p)));
	say(p, TCP_RST, p->seq, 0);
	CHECK_EQ(state(p), TCPS_CLOSE);
	peer_end(p);
}

static void sender_avoids_silly_windows(void)
{
	struct peer *p = opened(OFFER_MSS, 65535);
	u32 ms = 0;

	close_window(p);
	write_n(p, 20000);
	p->wnd = 100;
	say_ack(p, 0);
	CHECK_EQ(unseen(p), 0);
	while (!unseen(p) && ms++ < 2000)	/* RFC 1122 4.2.3.4: but not for ever */
		rig_advance(p->r, MSEC);
	CHECK(ms >= 100 && ms <= 1000);
	CHECK_EQ(bytes_sent(p), 100);
	p->wnd = 1459;
	say_ack(p, 100);
	CHECK_EQ(unseen(p), 0);
	p->wnd = 3000;
	say_ack(p, 0);
	while (next(p))
		CHECK_EQ(p->got.len, 1460);	/* whole segments; the rest of the window waits */
	peer_end(p);
	p = opened(OFFER_MSS, 400);	/* a peer whose whole window is that small is served */
	write_n(p, 5000);
	CHECK(bytes_sent(p) >= 200);
	peer_end(p);
}

static void receiver_avoids_silly_windows(void)
{
	struct peer *p = opened(OFFER_MSS, 65535);
	u8 b[2000];
	u32 freed = 0;

	while (tcp_new_window(conn(p)))
		say_data(p, MIN(tcp_new_window(conn(p)), 1460u));
	rig_advance(p->r, SEC);
	forget(p);
	freed = conn(p)->rcv_space - (u32)rcv_unread(conn(p));	/* less than a segment */
	CHECK(freed < 1460);
	while (!unseen(p) && freed < 5000) {	/* the edge stays until there is room for a segment */
		CHECK_EQ(tcp_new_window(conn(p)), 0);
		freed += rig_read(p->r, p->sk, b, 20);
		tcp_flush(&p->r->t);
	}
	CHECK(freed >= 1460);
	REQUIRE(last(p));
	CHECK(p->got.wnd >= 1460);
	peer_end(p);
}

/* The right edge, as the peer sees it, through a random life. */
static void own_window_never_shrinks(void)
{
	for (u8 offers = OFFER_MSS; offers <= OFFER_ALL; offers = (u8)(offers + 14)) {
		struct peer *p = opened(offers, 65535);
		u32 edge = p->seq, unit = 1u << conn(p)->h->rcv_wscale;
		u8 b[9000];

		for (u32 i = 0; i < 5000; i++) {
			u32 room = (u32)(load_relaxed(&conn(p)->h->rcv_adv) - rcv_nxt(conn(p)));

			if (rig_rand(p->r) % 2)
				rig_read(p->r, p->sk, b, (u32)(rig_rand(p->r) % sizeof(b)));
			if (room)
				say_data(p, 1 + (u32)rig_rand(p->r) % MIN(room, 1460u));
			rig_advance(p->r, rig_rand(p->r) % 30 * MSEC);
			while (next(p)) {
				u32 right = p->got.ack + (u32)p->got.wnd * unit;

				CHECK((s32)(right - edge) > -(s32)unit);
				CHECK((u64)p->got.wnd * unit <= RIG_RING);
				if ((s32)(right - edge) > 0)
					edge = right;
			}
		}
		CHECK_EQ(rcv_wire(conn(p), rcv_nxt(conn(p))), p->seq);	/* all that was offered was taken */
		peer_end(p);
	}
}

static void nothing_is_kept_back_for_ever(void)
{
	struct peer *p = opened(OFFER_MSS, 65535);

	write_n(p, 1);			/* nothing out: at once */
	CHECK_EQ(bytes_sent(p), 1);
	say_ack(p, 1);
	set_opt(p, p->sk, IPPROTO_TCP, TCP_CORK, 1);
	write_n(p, 100);
	CHECK_EQ(unseen(p), 0);
	for (u32 ms = 0; !unseen(p) && ms < 2000; ms++)	/* even a cork gives way */
		rig_advance(p->r, MSEC);
	CHECK_EQ(bytes_sent(p), 100);
	say_ack(p, 100);
	write_n(p, 2000);		/* what is a whole segment does not wait for it */
	CHECK_EQ(bytes_sent(p), 1460);
	set_opt(p, p->sk, IPPROTO_TCP, TCP_CORK, 0);
	CHECK_EQ(bytes_sent(p), 540);
	peer_end(p);
}

static void push_on_the_last_segment(void)
{
	struct peer *p = opened(OFFER_MSS, 65535);

	write_n(p, 5000);
	CHECK_EQ(unseen(p), 4);
	while (next(p))
		CHECK_EQ(!!(p->got.flags & TCP_PSH), !unseen(p));
	say_ack(p, 5000);
	conn(p)->cwnd = 4;
	write_n(p, 20 * 1460);			/* in bursts as the window allows: only the last of all has PSH */
	for (u32 i = 0; i < 20; i++) {
		while (next(p))
			CHECK_EQ(!!(p->got.flags & TCP_PSH), p->got.seq + p->got.len == snd_wire(conn(p), conn(p)->write_seq));
		say_ack(p, MIN(2920u, (u32)(snd_nxt(conn(p)) - snd_una(conn(p)))));
	}
	close_window(p);
	for (u32 i = 0; i < 5; i++)
		write_n(p, 200);
	p->wnd = 60000;
	say_ack(p, 0);
	REQUIRE_EQ(unseen(p), 1);	/* five writes, one segment, one PSH */
	REQUIRE(next(p));
	CHECK_EQ(p->got.len, 1000);
	CHECK(p->got.flags & TCP_PSH);
	peer_end(p);
}

static void segments_are_as_large_as_possible(void)
{
	struct peer *p = opened(OFFER_MSS, 65535);
	u32 n = 0;

	close_window(p);
	for (u32 i = 0; i < 20; i++)
		write_n(p, 333);
	p->wnd = 60000;
	say_ack(p, 0);
	while (next(p)) {
		CHECK_EQ(p->got.len, unseen(p) ? 1460 : 20 * 333 % 1460);
		n++;
	}
	CHECK_EQ(n, 5);
	peer_end(p);
}

UNIT_MAIN(UNIT(window_is_unsigned), UNIT(nagle_and_nodelay), UNIT(shrunk_window), UNIT(shrunk_to_nothing_is_no_timeout),
	  UNIT(probes_back_off), UNIT(reset_and_urgent_at_a_zero_window), UNIT(sender_avoids_silly_windows),
	  UNIT(receiver_avoids_silly_windows), UNIT(own_window_never_shrinks), UNIT(nothing_is_kept_back_for_ever),
	  UNIT(push_on_the_last_segment), UNIT(segments_are_as_large_as_possible))
