/* test_tcp_icmp.c – services/tcp/tcp_icmp.c: which ICMP errors are believed, and what they do to each state. */
#include "tcp_peer.h"

static u32 error_of(struct peer *p, u32 sk) { return load_relaxed(&rig_conn(p->r, sk)->b.s->err); }
static u32 soft_of(struct peer *p, u32 sk) { return tcp_soft_error(rig_conn(p->r, sk)); }

static void connect_fails_with_the_errno_of_the_code(void)
{
	static const struct { u8 type, code; u32 err; } cases[] = {
		{ 3, 0, ENETUNREACH }, { 3, 1, EHOSTUNREACH }, { 3, 2, ENOPROTOOPT }, { 3, 3, ECONNREFUSED }, { 3, 5, EOPNOTSUPP },
		{ 3, 7, EHOSTDOWN }, { 3, 8, ENONET }, { 3, 13, EHOSTUNREACH }, { 11, 0, EHOSTUNREACH }, { 12, 0, EPROTO },
	};

	for (u32 i = 0; i < ARRAY_SIZE(cases); i++) {
		struct rig *r = rig_new(US, 7);
		struct peer p = peer_of(r);
		u32 sk = connects_to_peer(&p);
		struct sk_error *e = rig_conn(r, sk)->b.errq->e;

		icmp(&p, cases[i].type, cases[i].code, 0, p.ack - 1);
		CHECK_EQ(error_of(&p, sk), cases[i].err);
		CHECK_EQ(load_relaxed(&rig_conn(r, sk)->b.s->state), SKS_FAILED);
		CHECK_EQ(load_relaxed(&rig_conn(r, sk)->b.s->errq_head), 1);
		CHECK_EQ(e->err, cases[i].err);
		CHECK_EQ(e->type, cases[i].type);
		CHECK_EQ(e->code, cases[i].code);
		CHECK_EQ(from_be32(e->offender), ROUTER);
		CHECK_EQ(from_be32(e->daddr), PEER);
		CHECK_EQ(e->len, 20);
		peer_end(&p);
	}
}

/* Codes nobody has defined, source quench and redirect; and a SYN that is not ours. */
static void connect_ignores_the_rest(void)
{
	struct peer p = peer_of(rig_new(US, 7));
	u32 sk = connects_to_peer(&p);

	icmp(&p, 3, 16, 0, p.ack - 1);
	icmp(&p, 4, 0, 0, p.ack - 1);
	icmp(&p, 5, 1, 0, p.ack - 1);
	icmp(&p, 3, 3, 0, p.ack - 2);
	icmp(&p, 3, 3, 0, p.ack + 1);
	CHECK_EQ(error_of(&p, sk), 0);
	CHECK_EQ(tcp_state(rig_conn(p.r, sk)), TCPS_SYN_SENT);
	peer_end(&p);
}

static void the_queue_is_bounded_and_survives(void)
{
	struct rig *r = rig_new(US, 7);
	struct peer p = peer_of(r);
	u32 sk = connects_to_peer(&p);
	struct sockbuf *b = &rig_conn(r, sk)->b;

	for (u32 i = 0; i < SK_ERRQ + 3; i++) {
		icmp(&p, 3, 3, 0, p.ack - 1);
		CHECK_EQ(tcp_connect(&r->t, sk, to_be32(PEER), to_be16(p.port), 2 + i), 0);
		const struct tcp_hdr *h = sent(r);
		REQUIRE(h != NULL);
		p.our_port = from_be16(h->source);
		p.ack = from_be32(h->seq) + 1;
	}
	CHECK_EQ(load_relaxed(&b->s->errq_head) - load_relaxed(&b->c->errq_tail), SK_ERRQ);
	rig_restart(r);
	CHECK_EQ(load_relaxed(&rig_conn(r, sk)->b.s->errq_head), SK_ERRQ);
	store_relaxed(&rig_conn(r, sk)->b.c->errq_tail, 12345);	/* a hostile client loses his errors, nobody else anything */
	icmp(&p, 3, 3, 0, p.ack - 1);
	CHECK_EQ(load_relaxed(&rig_conn(r, sk)->b.s->errq_head), SK_ERRQ);
	peer_end(&p);
}

/* RFC 5927 4.1, and soft as RFC 1122 4.2.3.9 wants it. */
static void connected_only_in_the_window_and_soft(void)
{
	struct rig *r = rig_new(US, 7);
	struct peer p = peer_of(r);
	u32 sk = peer_connects(&p);
	u64 dropped = counter_get(&r->counters, DROP_TCP_SEQUENCE);

	rig_write(r, sk, "data", 4);
	tcp_flush(&r->t);
	icmp(&p, 3, 1, 0, p.ack - 1);
	icmp(&p, 3, 1, 0, p.ack + 5);
	CHECK_EQ(counter_get(&r->counters, DROP_TCP_SEQUENCE), dropped + 2);
	CHECK_EQ(soft_of(&p, sk), 0);
	icmp(&p, 3, 3, 0, p.ack);
	CHECK_EQ(tcp_state(rig_conn(p.r, sk)), TCPS_ESTABLISHED);
	CHECK_EQ(soft_of(&p, sk), ECONNREFUSED);
	CHECK_EQ(error_of(&p, sk), 0);
	inject(&p, TCP_ACK, p.seq, p.ack + 4, NULL, 0);	/* something got through */
	CHECK_EQ(soft_of(&p, sk), 0);
	peer_end(&p);
}

/* RFC 9293 MUST-55, MUST-56: whatever it says, in every state it may find. */
static void hints_do_not_abort(void)
{
	static const u8 hints[][2] = { { 3, 0 }, { 3, 1 }, { 3, 5 }, { 11, 0 }, { 11, 1 }, { 12, 0 }, { 4, 0 } };

	for (u32 closing = 0; closing < 2; closing++)
		for (u32 i = 0; i < ARRAY_SIZE(hints); i++) {
			struct rig *r = rig_new(US, 7);
			struct peer p = peer_of(r);
			u32 sk = peer_connects(&p), cwnd = rig_conn(r, sk)->cwnd;

			rig_write(r, sk, "data", 4);
			if (closing)
				tcp_shutdown(&r->t, sk, 1);
			tcp_flush(&r->t);
			for (u32 n = 0; n < 50; n++)
				icmp(&p, hints[i][0], hints[i][1], 0, p.ack);
			CHECK_EQ(tcp_state(rig_conn(r, sk)), closing ? TCPS_FIN_WAIT1 : TCPS_ESTABLISHED);
			CHECK_EQ(error_of(&p, sk), 0);
			CHECK_EQ(rig_conn(r, sk)->cwnd, cwnd);
			inject(&p, TCP_ACK, p.seq, p.ack + 4 + closing, NULL, 0);
			CHECK_EQ(tcp_state(rig_conn(r, sk)), closing ? TCPS_FIN_WAIT2 : TCPS_ESTABLISHED);
			peer_end(&p);
		}
}

static void giving_up_says_why(void)
{
	struct rig *r = rig_new(US, 7);
	struct peer p = peer_of(r);
	u32 sk = peer_connects(&p);

	rig_write(r, sk, "data", 4);
	tcp_flush(&r->t);
	icmp(&p, 3, 1, 0, p.ack);
	rig_advance(r, 2000 * SEC);
	CHECK_EQ(error_of(&p, sk), EHOSTUNREACH);
	peer_end(&p);
}

static void recverr_is_told_at_once(void)
{
	struct rig *r = rig_new(US, 7);
	struct peer p = peer_of(r);
	u32 sk = peer_connects(&p), note;
	int one = 1;

	CHECK_EQ(tcp_setsockopt(&r->t, sk, 0 /* IPPROTO_IP */, 11 /* IP_RECVERR */, &one, 4), 0);
	rig_write(r, sk, "data", 4);
	tcp_flush(&r->t);
	note = load_relaxed(&rig_conn(r, sk)->b.s->report);
	icmp(&p, 3, 1, 0, p.ack);
	CHECK(load_relaxed(&rig_conn(r, sk)->b.s->report) != note);
	CHECK_EQ(sk_note_errno(load_relaxed(&rig_conn(r, sk)->b.s->report)), EHOSTUNREACH);
	CHECK_EQ(soft_of(&p, sk), 0);
	CHECK_EQ(tcp_state(rig_conn(p.r, sk)), TCPS_ESTABLISHED);
	peer_end(&p);
}

/* RFC 6069: the retransmission is not backed off for what a router says it could not deliver. */
static void unreachable_takes_back_a_doubling(void)
{
	struct rig *r = rig_new(US, 7);
	struct peer p = peer_of(r);
	u32 sk = peer_connects(&p), backoff;

	rig_write(r, sk, "data", 4);
	tcp_flush(&r->t);
	rig_advance(r, 8 * SEC);
	backoff = rig_conn(r, sk)->backoff;
	REQUIRE(backoff >= 2);
	icmp(&p, 3, 3, 0, p.ack);		/* a port tells nothing of the path */
	CHECK_EQ(rig_conn(r, sk)->backoff, backoff);
	icmp(&p, 3, 1, 0, p.ack);
	CHECK_EQ(rig_conn(r, sk)->backoff, backoff - 1);
	CHECK(rig_conn(r, sk)->rtx.deadline >= r->t.now);
	peer_end(&p);
}

/* SYN+ACKs in progress: forgotten when the peer cannot be reached, kept for anything else or a wrong number. */
static void a_handshake_is_forgotten(void)
{
	struct rig *r = rig_new(US, 7);
	struct peer p = peer_of(r);
	struct tcp_tuple k = { to_be32(US), to_be32(PEER), to_be16(80), to_be16(5000) };
	const struct tcp_hdr *h;

	listen_on_80(r, 8);
	inject(&p, TCP_SYN, p.seq, 0, NULL, 0);
	h = sent(r);
	REQUIRE(h && h->flags == (TCP_SYN | TCP_ACK));
	u32 iss = from_be32(h->seq);
	icmp(&p, 3, 1, 0, iss + 1);
	icmp(&p, 3, 3, 0, iss);
	CHECK(tcp_req_lookup(&r->t, &k) != NULL);
	icmp(&p, 3, 1, 0, iss);
	CHECK(tcp_req_lookup(&r->t, &k) == NULL);
	peer_end(&p);
}

UNIT_MAIN(UNIT(connect_fails_with_the_errno_of_the_code), UNIT(connect_ignores_the_rest), UNIT(the_queue_is_bounded_and_survives),
	  UNIT(connected_only_in_the_window_and_soft), UNIT(hints_do_not_abort), UNIT(giving_up_says_why), UNIT(recverr_is_told_at_once),
	  UNIT(unreachable_takes_back_a_doubling), UNIT(a_handshake_is_forgotten))
