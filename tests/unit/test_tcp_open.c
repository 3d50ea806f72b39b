/* test_tcp_open.c – services/tcp: who may open what, initial sequence numbers, addresses, TOS and TTL (RFC 9293 3.4.1, 3.5, 3.9). */
#include "tcp_dialogue.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

/* RFC 6528: M(4 us) + F(tuple, secret). */
static void initial_sequence_numbers(void)
{
	struct peer *p = peer_begin(0);
	struct tcp_stack *t = &p->r->t;
	struct tcp_tuple k = { to_be32(US), to_be32(PEER), to_be16(80), to_be16(5000) }, o = k;
	u32 first = tcp_isn(t, &k), close = 0, last = tcp_isn(t, &k);

	for (u32 i = 1; i <= 1000; i++) {
		t->now += 4000;
		CHECK_EQ(tcp_isn(t, &k), first + i);
	}
	for (u32 i = 0; i < 1000; i++) {	/* neighbours in the tuple are strangers in the number */
		o.fport = to_be16((u16)(5001 + i));
		close += (s32)(tcp_isn(t, &o) - last) < 100000 && (s32)(tcp_isn(t, &o) - last) > -100000;
		last = tcp_isn(t, &o);
	}
	CHECK(close < 3);
	p->r->secret.isn[0] ^= 1;		/* and nobody without the key can tell */
	CHECK(tcp_isn(t, &k) != first + 1000);
	peer_end(p);
	p = peer_begin(0);
	connect_begins(p);
	CHECK_EQ(p->got.seq, tcp_isn(&p->r->t, &conn(p)->h->tuple));
	peer_end(p);
}

static void simultaneous_open_carries_data(void)
{
	struct peer *p = peer_begin(OFFER_ALL);

	connect_begins(p);
	say(p, TCP_SYN, p->seq, 0);
	REQUIRE(last(p) && p->got.flags == (TCP_SYN | TCP_ACK));
	CHECK_EQ(p->got.seq, p->ack - 1);
	CHECK_EQ(p->got.ack, p->seq + 1);
	say(p, TCP_SYN | TCP_ACK, p->seq, p->ack);
	p->seq++;
	CHECK_EQ(state(p), TCPS_ESTABLISHED);
	forget(p);
	write_n(p, 10);
	REQUIRE(last(p));
	CHECK_EQ(p->got.seq, p->ack);
	say_ack(p, 10);
	say_data(p, 20);
	CHECK_EQ(read_all(p), 20);
	peer_end(p);
}

static void syn_received_knows_where_it_came_from(void)
{
	struct peer *p = peer_begin(OFFER_ALL);

	peer_listen(p);			/* from LISTEN: back to it, nobody hears */
	say(p, TCP_SYN, p->seq, 0);
	say(p, TCP_RST, p->seq + 1, 0);
	CHECK_EQ(load_relaxed(&p->r->t.t->req[0].used), 0);
	CHECK_EQ(tcp_state(rig_conn(p->r, L)), TCPS_LISTEN);
	CHECK_EQ(load_relaxed(&rig_conn(p->r, L)->b.s->err), 0);
	forget(p);
	say(p, TCP_SYN, p->seq, 0);
	REQUIRE(last(p) && p->got.flags == (TCP_SYN | TCP_ACK));
	peer_end(p);
	p = peer_begin(OFFER_ALL);	/* from SYN-SENT: refused */
	connect_begins(p);
	say(p, TCP_SYN, p->seq, 0);
	CHECK_EQ(state(p), TCPS_SYN_RECV);
	say(p, TCP_RST, p->seq + 1, 0);
	CHECK_EQ(state(p), TCPS_CLOSE);
	CHECK_EQ(load_relaxed(&conn(p)->b.s->err), ECONNREFUSED);
	peer_end(p);
}

static void application_sets_r2_of_syn(void)
{
	static const struct { int name, v; u32 after; u32 syns; } c[] = { { TCP_SYNCNT, 2, 7, 2 }, { TCP_USER_TIMEOUT, 5000, 7, 2 } };

	for (u32 i = 0; i < ARRAY_SIZE(c); i++) {
		struct peer *p = peer_begin(0);

		REQUIRE_EQ(tcp_socket(&p->r->t, A, 1, 0), 0);
		set_opt(p, A, IPPROTO_TCP, c[i].name, c[i].v);
		REQUIRE_EQ(tcp_connect(&p->r->t, A, to_be32(PEER), to_be16(p->port), 1), 0);
		p->sk = A;
		forget(p);
		rig_advance(p->r, c[i].after * SEC - SEC / 2);
		CHECK_EQ(state(p), TCPS_SYN_SENT);
		rig_advance(p->r, SEC);
		CHECK_EQ(forget(p), c[i].syns);
		CHECK_EQ(load_relaxed(&conn(p)->b.s->err), ETIMEDOUT);
		peer_end(p);
	}
	struct peer *p = peer_begin(0);		/* three minutes and more, for who wants them */

	REQUIRE_EQ(tcp_socket(&p->r->t, A, 1, 0), 0);
	set_opt(p, A, IPPROTO_TCP, TCP_SYNCNT, 7);
	REQUIRE_EQ(tcp_connect(&p->r->t, A, to_be32(PEER), to_be16(p->port), 1), 0);
	p->sk = A;
	rig_advance(p->r, 200 * SEC);
	CHECK_EQ(state(p), TCPS_SYN_SENT);
	peer_end(p);
}

static void listen_leaves_connections_alone(void)
{
	struct peer *p = peer_begin(OFFER_ALL);
	u32 other = SK(0, 3), mine;

	peer_connects(p, 0);
	mine = p->sk;
	REQUIRE_EQ(tcp_socket(&p->r->t, other, 1, 0), 0);
	REQUIRE_EQ(tcp_bind(&p->r->t, other, (be32){ 0 }, to_be16(81)), 0);
	REQUIRE_EQ(tcp_listen(&p->r->t, other, 8), 0);
	CHECK_EQ(tcp_listen(&p->r->t, L, 3), 0);	/* and the same again */
	CHECK_EQ(unseen(p), 0);
	CHECK_EQ(state(p), TCPS_ESTABLISHED);
	say_data(p, 10);
	CHECK_EQ(read_all(p), 10);
	p->port++;			/* a second connection to the port beside the first */
	say(p, TCP_SYN, p->seq, 0);
	REQUIRE(last(p) && p->got.flags == (TCP_SYN | TCP_ACK));
	p->port--;
	p->sk = mine;
	say_data(p, 10);
	CHECK_EQ(read_all(p), 10);
	peer_end(p);
}

static void listen_while_connecting_from_the_port(void)
{
	struct peer *p = peer_begin(OFFER_ALL);
	struct tcp_stack *t = &p->r->t;

	REQUIRE_EQ(tcp_socket(t, A, 1, 0), 0);
	REQUIRE_EQ(tcp_socket(t, L, 1, 0), 0);
	set_opt(p, A, SOL_SOCKET, SO_REUSEADDR, 1);
	set_opt(p, L, SOL_SOCKET, SO_REUSEADDR, 1);
	REQUIRE_EQ(tcp_bind(t, A, (be32){ 0 }, to_be16(80)), 0);
	REQUIRE_EQ(tcp_connect(t, A, to_be32(PEER), to_be16(p->port), 1), 0);
	REQUIRE(last(p) && p->got.flags == TCP_SYN);
	p->sk = A;
	p->ack = p->got.seq + 1;
	CHECK_EQ(tcp_bind(t, L, (be32){ 0 }, to_be16(80)), 0);
	CHECK_EQ(tcp_listen(t, L, 8), 0);
	CHECK_EQ(state(p), TCPS_SYN_SENT);
	say(p, TCP_SYN | TCP_ACK, p->seq, p->ack);	/* each hears what is its own */
	CHECK_EQ(state(p), TCPS_ESTABLISHED);
	forget(p);
	p->port++;
	say(p, TCP_SYN, p->seq, 0);
	REQUIRE(last(p) && p->got.flags == (TCP_SYN | TCP_ACK));
	peer_end(p);
}

static u32 from(const struct peer *p) { return p->r->out[(p->r->nout - 1) % RIG_OUT].saddr; }

static void source_address(void)
{
	for (u32 bound = 0; bound < 2; bound++) {
		struct peer *p = peer_begin(OFFER_ALL);

		REQUIRE_EQ(tcp_socket(&p->r->t, A, 1, 0), 0);
		if (bound) {		/* chosen, though the route would prefer another */
			REQUIRE_EQ(tcp_bind(&p->r->t, A, to_be32(US), to_be16(0)), 0);
			p->r->addr = US + 100;
		}
		REQUIRE_EQ(tcp_connect(&p->r->t, A, to_be32(PEER), to_be16(p->port), 1), 0);
		p->sk = A;
		REQUIRE(last(p));
		CHECK_EQ(from(p), US);
		CHECK(be32_eq(conn(p)->h->tuple.laddr, to_be32(US)));
		p->our_port = from_be16(conn(p)->h->tuple.lport);
		p->ack = p->got.seq + 1;
		p->r->addr = US + 100;	/* what the route prefers now does not matter any more */
		rig_advance(p->r, 1100 * MSEC);
		CHECK_EQ(from(p), US);
		say(p, TCP_SYN | TCP_ACK, p->seq, p->ack);
		p->seq++;
		CHECK_EQ(from(p), US);
		write_n(p, 10);
		CHECK_EQ(from(p), US);
		tcp_orphan(&p->r->t, A);
		tcp_flush(&p->r->t);
		CHECK_EQ(from(p), US);
		say(p, TCP_RST, p->seq, 0);
		p->r->addr = US;
		peer_end(p);
	}
}

static void no_open_to_broadcast_or_multicast(void)
{
	static const u32 bad[] = { 0xe0000001, 0xe1020304, 0xefffffff, 0xffffffff, 0 };
	struct peer *p = peer_begin(0);

	REQUIRE_EQ(tcp_socket(&p->r->t, A, 1, 0), 0);
	for (u32 i = 0; i < ARRAY_SIZE(bad); i++)
		CHECK_EQ(tcp_connect(&p->r->t, A, to_be32(bad[i]), to_be16(80), i + 1), -ENETUNREACH);
	CHECK_EQ(unseen(p), 0);
	/* which address is a network's broadcast address only IP knows: it refuses the SYN */
	REQUIRE_EQ(tcp_connect(&p->r->t, A, to_be32(0x0a0000ff), to_be16(80), 99), 0);
	tcp_xmit_failed(&p->r->t, A, ENETUNREACH);
	CHECK_EQ(load_relaxed(&rig_conn(p->r, A)->b.s->err), ENETUNREACH);
	peer_end(p);
}

static void segments_to_broadcast_are_dropped(void)
{
	static const u8 types[] = { PACKET_BROADCAST, PACKET_MULTICAST };
	struct peer *p = peer_begin(0);
	struct tcp_hdr h = { .source = to_be16(5000), .dest = to_be16(80), .doff_res = 0x50, .window = to_be16(1000) };

	peer_listen(p);
	for (u32 i = 0; i < 512; i++) {		/* all flags; the second half for a closed port */
		struct sk_buff skb = { .len = 20, .hdr_off = SKB_HDR_ROOM, .pkt_type = types[i & 1], .ip_summed = CHECKSUM_UNNECESSARY };

		h.flags = (u8)(i >> 1);
		h.dest = to_be16(i < 256 ? 80 : 81);
		*skb_ip_cb(&skb) = (struct ip_cb){ .saddr = to_be32(PEER), .daddr = to_be32(US), .protocol = 6, .ttl = 64 };
		tcp_v4_rcv(&p->r->t, &skb, (const u8 *)&h, NULL, NULL);
	}
	tcp_flush(&p->r->t);
	CHECK_EQ(unseen(p), 0);
	peer_end(p);
}

static void tos_and_ttl(void)
{
	struct peer *p = peer_begin(OFFER_ALL);
	int zero = 0;

	p->r->conf.ttl = 33;
	peer_listen(p);
	set_opt(p, L, IPPROTO_IP, IP_TOS, 0xb8);
	say(p, TCP_SYN, p->seq++, 0);
	REQUIRE(last(p));
	CHECK_EQ(p->got.tos, 0xb8);
	CHECK_EQ(p->got.ttl, 33);
	p->ack = p->got.seq + 1;
	say_ack(p, 0);
	peer_claim(p);
	forget(p);
	write_n(p, 100);
	REQUIRE(last(p));
	CHECK_EQ(p->got.tos, 0xb8);	/* inherited */
	set_opt(p, p->sk, IPPROTO_IP, IP_TOS, 0x20);
	set_opt(p, p->sk, IPPROTO_IP, IP_TTL, 5);
	CHECK_EQ(tcp_setsockopt(&p->r->t, p->sk, IPPROTO_IP, IP_TTL, &zero, 4), -EINVAL);
	write_n(p, 100);
	say_ack(p, 100);
	REQUIRE(last(p));
	CHECK_EQ(p->got.tos, 0x20);
	CHECK_EQ(p->got.ttl, 5);
	for (int tos = 0; tos < 256; tos += 4) {
		set_opt(p, p->sk, IPPROTO_IP, IP_TOS, tos);
		say_raw(p, TCP_ACK, p->seq + 100, p->ack, NULL, 1);
		REQUIRE(last(p));
		CHECK_EQ(p->got.tos, tos);
	}
	say(p, TCP_RST, p->seq, 0);
	peer_end(p);
}

UNIT_MAIN(UNIT(initial_sequence_numbers), UNIT(simultaneous_open_carries_data), UNIT(syn_received_knows_where_it_came_from),
	  UNIT(application_sets_r2_of_syn), UNIT(listen_leaves_connections_alone), UNIT(listen_while_connecting_from_the_port),
	  UNIT(source_address), UNIT(no_open_to_broadcast_or_multicast), UNIT(segments_to_broadcast_are_dropped), UNIT(tos_and_ttl))
