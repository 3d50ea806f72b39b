/* test_tcp_state.c – services/tcp against a scripted peer: opens, RST rules, closes, TIME_WAIT, windows, client nonsense.
 *
 *      us 10.0.0.1:80 or :ephemeral   <-- script -->   peer 10.0.0.2:5000 */
#include "tcp_rig.h"

#define US 0x0a000001u
#define PEER 0x0a000002u
#define L SK(0, 1)
#define A SK(0, 2)

struct peer { struct rig *r; u32 seq, ack; u16 port, our_port; };

static void inject(struct peer *p, u8 flags, u32 seq, u32 ack, const char *data, u16 wnd)
{
	u8 b[1600] = { 0 };
	u32 n = data ? (u32)strlen(data) : 0;

	*(struct tcp_hdr *)b = (struct tcp_hdr){ .source = to_be16(p->port), .dest = to_be16(p->our_port), .seq = to_be32(seq),
						 .ack_seq = to_be32(ack), .doff_res = 0x50, .flags = flags, .window = to_be16(wnd) };
	if (n)
		memcpy(b + 20, data, n);
	rig_deliver(p->r, b, 20 + n, PEER, US, false);
	tcp_flush(&p->r->t);
}

/* The newest segment sent, and forget all of them; NULL: none. */
static const struct tcp_hdr *sent(struct rig *r)
{
	const struct tcp_hdr *h = r->nout ? (const struct tcp_hdr *)r->out[(r->nout - 1) % RIG_OUT].data : NULL;

	r->nout = 0;
	return h;
}

static struct rig *setup(struct peer *p)
{
	struct rig *r = rig_new(US, 7);

	*p = (struct peer){ .r = r, .seq = 0xffffff00u, .port = 5000, .our_port = 80 };
	return r;
}

/* Passive: listener and the three-way handshake; returns the child. */
static u32 passive(struct peer *p)
{
	const struct tcp_hdr *h;
	s64 sk;

	REQUIRE_EQ(tcp_socket(&p->r->t, L, 1, 0), 0);
	REQUIRE_EQ(tcp_bind(&p->r->t, L, (be32){ 0 }, to_be16(80)), 0);
	REQUIRE_EQ(tcp_listen(&p->r->t, L, 8), 0);
	inject(p, TCP_SYN, p->seq, 0, NULL, 65535);
	h = sent(p->r);
	REQUIRE(h && h->flags == (TCP_SYN | TCP_ACK));
	CHECK_EQ(from_be32(h->ack_seq), p->seq + 1);
	p->seq++;
	p->ack = from_be32(h->seq) + 1;
	inject(p, TCP_ACK, p->seq, p->ack, NULL, 65535);
	sk = tcp_accept_next(&p->r->t, L);
	REQUIRE(sk >= 0);
	tcp_offered(&p->r->t, (u32)sk);
	tcp_claimed(&p->r->t, (u32)sk);
	CHECK_EQ(tcp_accept_next(&p->r->t, L), -EAGAIN);
	sent(p->r);
	return (u32)sk;
}

static u32 active(struct peer *p)
{
	const struct tcp_hdr *h;

	REQUIRE_EQ(tcp_socket(&p->r->t, A, 1, 0), 0);
	REQUIRE_EQ(tcp_connect(&p->r->t, A, to_be32(PEER), to_be16(p->port), 1), 0);
	h = sent(p->r);
	REQUIRE(h && h->flags == TCP_SYN);
	p->our_port = from_be16(h->source);
	p->ack = from_be32(h->seq) + 1;
	return A;
}

static enum tcp_state state(struct peer *p, u32 sk) { return tcp_state(rig_conn(p->r, sk)); }
static void end(struct peer *p)
{
	tcp_flush(&p->r->t);
	CHECK(!p->r->t.soft->dirty);
	rig_free(p->r);
}

static void passive_open_and_data(void)
{
	struct peer p;
	struct rig *r = setup(&p);
	u32 sk = passive(&p);
	char b[16] = "";
	const struct tcp_hdr *h;

	CHECK_EQ(state(&p, sk), TCPS_ESTABLISHED);
	inject(&p, TCP_ACK | TCP_PSH, p.seq, p.ack, "hello", 65535);
	CHECK_EQ(rig_read(r, sk, b, sizeof(b)), 5);
	CHECK_MEM(b, "hello", 5);
	h = sent(r);
	REQUIRE(h);
	CHECK_EQ(from_be32(h->ack_seq), p.seq + 5);
	rig_write(r, sk, "world", 5);
	tcp_flush(&r->t);
	h = sent(r);
	REQUIRE(h && h->flags == (TCP_ACK | TCP_PSH));
	CHECK_EQ(from_be32(h->seq), p.ack);
	end(&p);
}

static void connect_refused_and_retry(void)
{
	struct peer p;
	struct rig *r = setup(&p);
	u32 sk = active(&p);

	inject(&p, TCP_RST | TCP_ACK, 0, p.ack - 5, NULL, 0);	/* wrong ACK: ignored */
	CHECK_EQ(state(&p, sk), TCPS_SYN_SENT);
	inject(&p, TCP_RST | TCP_ACK, 0, p.ack, NULL, 0);
	CHECK_EQ(load_relaxed(&rig_conn(r, sk)->b.s->err), ECONNREFUSED);
	CHECK_EQ(load_relaxed(&rig_conn(r, sk)->b.s->state), SKS_FAILED);
	CHECK_EQ(tcp_connect(&r->t, sk, to_be32(PEER), to_be16(5001), 2), 0);
	CHECK_EQ(tcp_connect(&r->t, sk, to_be32(PEER), to_be16(5001), 2), 0);	/* the same request again: done once */
	CHECK_EQ(r->nout, 1);
	tcp_orphan(&r->t, sk);
	CHECK_EQ(r->freed, 1);
	end(&p);
}

static void syn_retransmitted_then_timed_out(void)
{
	struct peer p;
	struct rig *r = setup(&p);
	u32 sk = active(&p);

	rig_advance(r, 1100 * MSEC);
	CHECK_EQ(r->nout, 1);
	rig_advance(r, 130 * SEC);
	CHECK_EQ(r->nout, 6);
	CHECK_EQ(load_relaxed(&rig_conn(r, sk)->b.s->err), ETIMEDOUT);
	end(&p);
}

static void simultaneous_open(void)
{
	struct peer p;
	struct rig *r = setup(&p);
	u32 sk = active(&p);
	const struct tcp_hdr *h;

	inject(&p, TCP_SYN, p.seq, 0, NULL, 65535);
	h = sent(r);
	REQUIRE(h && h->flags == (TCP_SYN | TCP_ACK));
	CHECK_EQ(state(&p, sk), TCPS_SYN_RECV);
	inject(&p, TCP_SYN | TCP_ACK, p.seq, p.ack, NULL, 65535);
	CHECK_EQ(state(&p, sk), TCPS_ESTABLISHED);
	end(&p);
}

static void reset_rules(void)
{
	struct peer p;
	struct rig *r = setup(&p);
	u32 sk = passive(&p);
	const struct tcp_hdr *h;

	inject(&p, TCP_RST, p.seq + 1000000, 0, NULL, 0);	/* outside: nothing */
	CHECK_EQ(r->nout, 0);
	inject(&p, TCP_RST, p.seq + 10, 0, NULL, 0);		/* RFC 5961 3.2: challenge */
	h = sent(r);
	REQUIRE(h && h->flags == TCP_ACK);
	CHECK_EQ(state(&p, sk), TCPS_ESTABLISHED);
	rig_advance(r, SEC);
	inject(&p, TCP_SYN, p.seq, 0, NULL, 0);			/* RFC 5961 4.2 */
	h = sent(r);
	REQUIRE(h && h->flags == TCP_ACK);
	inject(&p, TCP_RST, p.seq, 0, NULL, 0);
	CHECK_EQ(load_relaxed(&rig_conn(r, sk)->b.s->err), ECONNRESET);
	CHECK_EQ(load_relaxed(&rig_conn(r, sk)->b.s->state), SKS_CLOSED);
	inject(&p, TCP_ACK, p.seq, p.ack, NULL, 65535);		/* nobody there */
	h = sent(r);
	REQUIRE(h && h->flags == TCP_RST);
	CHECK_EQ(from_be32(h->seq), p.ack);
	end(&p);
}

static void active_close_and_time_wait(void)
{
	struct peer p;
	struct rig *r = setup(&p);
	u32 sk = passive(&p);
	const struct tcp_hdr *h;

	tcp_orphan(&r->t, sk);
	tcp_flush(&r->t);
	h = sent(r);
	REQUIRE(h && h->flags == (TCP_FIN | TCP_ACK));
	CHECK_EQ(state(&p, sk), TCPS_FIN_WAIT1);
	inject(&p, TCP_ACK, p.seq, p.ack + 1, NULL, 65535);
	CHECK_EQ(state(&p, sk), TCPS_FIN_WAIT2);
	inject(&p, TCP_FIN | TCP_ACK, p.seq, p.ack + 1, NULL, 65535);
	h = sent(r);
	REQUIRE(h && h->flags == TCP_ACK);
	CHECK_EQ(from_be32(h->ack_seq), p.seq + 1);
	CHECK_EQ(r->freed, 1);
	CHECK_EQ(r->t.soft->tw_count, 1);
	inject(&p, TCP_FIN | TCP_ACK, p.seq, p.ack + 1, NULL, 65535);	/* our ACK was lost */
	h = sent(r);
	REQUIRE(h && h->flags == TCP_ACK);
	inject(&p, TCP_RST, p.seq + 1, 0, NULL, 0);		/* RFC 1337 */
	CHECK_EQ(r->t.soft->tw_count, 1);
	rig_restart(r);
	CHECK_EQ(r->t.soft->tw_count, 1);
	rig_advance(r, 61 * SEC);
	CHECK_EQ(r->t.soft->tw_count, 0);
	end(&p);
}

static void simultaneous_close(void)
{
	struct peer p;
	struct rig *r = setup(&p);
	u32 sk = passive(&p);

	tcp_shutdown(&r->t, sk, 1);
	tcp_flush(&r->t);
	inject(&p, TCP_FIN | TCP_ACK, p.seq, p.ack, NULL, 65535);
	CHECK_EQ(state(&p, sk), TCPS_CLOSING);
	inject(&p, TCP_ACK, p.seq + 1, p.ack + 1, NULL, 65535);
	CHECK_EQ(r->t.soft->tw_count, 1);
	CHECK_EQ(load_relaxed(&rig_conn(r, sk)->b.s->state), SKS_CLOSED);
	end(&p);
}

static void passive_close(void)
{
	struct peer p;
	struct rig *r = setup(&p);
	u32 sk = passive(&p);
	char b[8];

	inject(&p, TCP_FIN | TCP_ACK | TCP_PSH, p.seq, p.ack, "bye", 65535);
	CHECK_EQ(state(&p, sk), TCPS_CLOSE_WAIT);
	CHECK_EQ(rig_read(r, sk, b, 8), 3);
	tcp_orphan(&r->t, sk);
	tcp_flush(&r->t);
	CHECK_EQ(state(&p, sk), TCPS_LAST_ACK);
	inject(&p, TCP_ACK, p.seq + 4, p.ack + 1, NULL, 65535);
	CHECK_EQ(r->freed, 1);
	CHECK_EQ(r->t.soft->tw_count, 0);
	end(&p);
}

static void unread_data_means_reset(void)
{
	struct peer p;
	struct rig *r = setup(&p);
	u32 sk = passive(&p);
	const struct tcp_hdr *h;

	inject(&p, TCP_ACK | TCP_PSH, p.seq, p.ack, "unread", 65535);
	sent(r);
	tcp_orphan(&r->t, sk);
	h = sent(r);
	REQUIRE(h && h->flags == (TCP_RST | TCP_ACK));
	CHECK_EQ(r->freed, 1);
	end(&p);
}

static void zero_window_is_probed_for_ever(void)
{
	struct peer p;
	struct rig *r = setup(&p);
	u32 sk = passive(&p);
	u32 probes = 0;

	inject(&p, TCP_ACK, p.seq, p.ack, NULL, 0);
	inject(&p, TCP_ACK, p.seq, p.ack, NULL, 0);
	/* the window was 65535: only a newer segment may close it */
	inject(&p, TCP_ACK | TCP_PSH, p.seq, p.ack, "x", 0);
	p.seq++;
	sent(r);
	rig_write(r, sk, "data", 4);
	tcp_flush(&r->t);
	CHECK_EQ(r->nout, 0);
	for (u32 i = 0; i < 50; i++) {		/* more than an hour */
		rig_advance(r, 121 * SEC);
		probes += r->nout;
		r->nout = 0;
		inject(&p, TCP_ACK, p.seq, p.ack, NULL, 0);
	}
	CHECK(probes >= 45);
	CHECK_EQ(state(&p, sk), TCPS_ESTABLISHED);
	inject(&p, TCP_ACK, p.seq, p.ack, NULL, 1000);
	const struct tcp_hdr *h = sent(r);
	REQUIRE(h && h->flags == (TCP_ACK | TCP_PSH));
	end(&p);
}

static void out_of_order_and_restart(void)
{
	struct peer p;
	struct rig *r = setup(&p);
	u32 sk = passive(&p);
	char b[16];

	inject(&p, TCP_ACK, p.seq + 3, p.ack, "def", 65535);
	inject(&p, TCP_ACK, p.seq + 9, p.ack, "jkl", 65535);
	CHECK_EQ(rig_read(r, sk, b, sizeof(b)), 0);
	rig_restart(r);				/* what was SACKed is not taken back */
	inject(&p, TCP_ACK, p.seq, p.ack, "abc", 65535);
	CHECK_EQ(rig_read(r, sk, b, sizeof(b)), 6);
	CHECK_MEM(b, "abcdef", 6);
	inject(&p, TCP_ACK, p.seq + 6, p.ack, "ghi", 65535);
	CHECK_EQ(rig_read(r, sk, b, sizeof(b)), 6);
	CHECK_MEM(b, "ghijkl", 6);
	end(&p);
}

/* What a predecessor sent was sent nobody knows when: a SACK of it says nothing about the round trip. */
static void no_round_trip_from_before_a_restart(void)
{
	static const u8 syn_opts[8] = { TCPOPT_MSS, 4, 5, 0xb4, TCPOPT_NOP, TCPOPT_NOP, TCPOPT_SACK_PERM, 2 };
	u8 b[40] = { 0 }, data[3000] = { 0 };
	struct peer p;
	struct rig *r = setup(&p);
	struct tcp_hdr *h = (struct tcp_hdr *)b;
	be32 edge[2];
	u32 sk;

	REQUIRE_EQ(tcp_socket(&r->t, L, 1, 0), 0);
	REQUIRE_EQ(tcp_bind(&r->t, L, (be32){ 0 }, to_be16(80)), 0);
	REQUIRE_EQ(tcp_listen(&r->t, L, 8), 0);
	*h = (struct tcp_hdr){ .source = to_be16(p.port), .dest = to_be16(80), .seq = to_be32(p.seq), .doff_res = 0x70, .flags = TCP_SYN,
			       .window = to_be16(65535) };
	memcpy(b + 20, syn_opts, 8);
	rig_deliver(r, b, 28, PEER, US, false);
	p.ack = from_be32(sent(r)->seq) + 1;
	p.seq++;
	inject(&p, TCP_ACK, p.seq, p.ack, NULL, 65535);
	sk = (u32)tcp_accept_next(&r->t, L);
	tcp_offered(&r->t, sk);
	tcp_claimed(&r->t, sk);
	rig_write(r, sk, data, sizeof(data));
	tcp_flush(&r->t);
	rig_restart(r);
	rig_advance(r, 10 * MSEC);
	r->t.now += 5 * SEC;			/* the machine slept, or the path did */
	edge[0] = to_be32(p.ack + 1460);
	edge[1] = to_be32(p.ack + 3000);
	*h = (struct tcp_hdr){ .source = to_be16(p.port), .dest = to_be16(80), .seq = to_be32(p.seq), .ack_seq = to_be32(p.ack),
			       .doff_res = 0x80, .flags = TCP_ACK, .window = to_be16(65535) };
	memcpy(b + 20, (u8[]){ TCPOPT_NOP, TCPOPT_NOP, TCPOPT_SACK, 10 }, 4);
	memcpy(b + 24, edge, 8);
	rig_deliver(r, b, 32, PEER, US, false);
	CHECK(rig_conn(r, sk)->sacked_out);
	CHECK(rig_conn(r, sk)->srtt8_us < 8 * 1000000);
	tcp_abort(&r->t, sk, ECONNRESET);
	end(&p);
}

static void client_nonsense_cuts_one_connection(void)
{
	struct peer p;
	struct rig *r = setup(&p);
	u32 sk = passive(&p);
	struct sockbuf *b = &rig_conn(r, sk)->b;

	store_relaxed(&b->c->tx_head, load_relaxed(&b->c->tx_head) + RIG_RING + 1);
	tcp_kick(&r->t, sk);
	tcp_flush(&r->t);
	CHECK_EQ(load_relaxed(&b->s->err), ECONNRESET);
	CHECK_EQ(counter_get(&r->counters, TCP_CLIENT_NONSENSE), 1);
	const struct tcp_hdr *h = sent(r);
	REQUIRE(h && h->flags & TCP_RST);
	CHECK_EQ(load_relaxed(&rig_conn(r, L)->b.s->state), SKS_LISTEN);
	end(&p);
}

static void bind_rules(void)
{
	struct peer p;
	struct rig *r = setup(&p);
	int one = 1;

	REQUIRE_EQ(tcp_socket(&r->t, L, 1, 0), 0);
	REQUIRE_EQ(tcp_socket(&r->t, A, 1, 0), 0);
	CHECK_EQ(tcp_bind(&r->t, L, to_be32(0x7f000001), to_be16(80)), -EADDRNOTAVAIL);
	CHECK_EQ(tcp_bind(&r->t, L, (be32){ 0 }, to_be16(80)), 0);
	CHECK_EQ(tcp_bind(&r->t, L, (be32){ 0 }, to_be16(81)), -EINVAL);
	CHECK_EQ(tcp_bind(&r->t, A, to_be32(US), to_be16(80)), -EADDRINUSE);
	CHECK_EQ(tcp_setsockopt(&r->t, L, 1 /* SOL_SOCKET */, 2 /* SO_REUSEADDR */, &one, 4), 0);
	CHECK_EQ(tcp_setsockopt(&r->t, A, 1, 2, &one, 4), 0);
	CHECK_EQ(tcp_bind(&r->t, A, to_be32(US), to_be16(80)), 0);
	CHECK_EQ(tcp_listen(&r->t, L, 1), 0);
	end(&p);
}

UNIT_MAIN(UNIT(passive_open_and_data), UNIT(connect_refused_and_retry), UNIT(syn_retransmitted_then_timed_out),
	  UNIT(simultaneous_open), UNIT(reset_rules), UNIT(active_close_and_time_wait), UNIT(simultaneous_close),
	  UNIT(passive_close), UNIT(unread_data_means_reset), UNIT(zero_window_is_probed_for_ever),
	  UNIT(out_of_order_and_restart), UNIT(no_round_trip_from_before_a_restart), UNIT(client_nonsense_cuts_one_connection), UNIT(bind_rules))
