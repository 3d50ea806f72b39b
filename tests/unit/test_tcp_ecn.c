/* test_tcp_ecn.c – services/tcp/tcp_ecn.c: who may ask for ECN, which segments are marked capable, echo until CWR, one answer a window. */
#include "tcp_peer.h"

#include <netinet/in.h>
#include <linux/tcp.h>

enum { ECT0 = 2, CE = 3 };

static struct rig *setup(struct peer *p, u8 ecn)
{
	struct rig *r = rig_new(US, 7);

	r->conf.ecn = ecn;
	*p = peer_of(r);
	return r;
}

/* A listener's answer to a SYN with these flags and this TOS. */
static u8 answer(u8 ecn, u8 flags, u8 tos)
{
	struct peer p;
	struct rig *r = setup(&p, ecn);
	u8 got;

	listen_on_80(r, 8);
	r->rx_tos = tos;
	inject(&p, TCP_SYN | flags, p.seq, 0, NULL, 0);
	REQUIRE(r->nout);
	CHECK_EQ(r->out[0].tos, 0);
	got = sent(r)->flags;
	rig_free(r);
	return got;
}

static void answered_when_asked(void)
{
	CHECK_EQ(answer(ECN_ANSWER, TCP_ECE | TCP_CWR, 0), TCP_SYN | TCP_ACK | TCP_ECE);
	CHECK_EQ(answer(ECN_ASK, TCP_ECE | TCP_CWR, 0), TCP_SYN | TCP_ACK | TCP_ECE);
	CHECK_EQ(answer(ECN_OFF, TCP_ECE | TCP_CWR, 0), TCP_SYN | TCP_ACK);
	CHECK_EQ(answer(ECN_ANSWER, TCP_ECE, 0), TCP_SYN | TCP_ACK);
	CHECK_EQ(answer(ECN_ANSWER, 0, 0), TCP_SYN | TCP_ACK);
	CHECK_EQ(answer(ECN_ANSWER, TCP_ECE | TCP_CWR, ECT0), TCP_SYN | TCP_ACK);	/* a SYN is never capable */
}

/* Our connect; the peer's SYN+ACK has `flags`. Is ECN in use? */
static bool asked(u8 ecn, bool lose_first, u8 flags)
{
	struct peer p;
	struct rig *r = setup(&p, ecn);
	const struct tcp_hdr *h;
	bool used;

	REQUIRE_EQ(tcp_socket(&r->t, A, 1, 0), 0);
	REQUIRE_EQ(tcp_connect(&r->t, A, to_be32(PEER), to_be16(p.port), 1), 0);
	CHECK_EQ(r->out[0].tos, 0);
	h = sent(r);
	REQUIRE(h);
	CHECK_EQ(h->flags, ecn == ECN_ASK ? TCP_SYN | TCP_ECE | TCP_CWR : TCP_SYN);
	if (lose_first) {
		rig_advance(r, 1100 * MSEC);
		h = sent(r);
		REQUIRE(h);
		CHECK_EQ(h->flags, TCP_SYN);	/* RFC 3168 6.1.1.1 */
	}
	p.our_port = from_be16(h->source);
	inject(&p, TCP_SYN | TCP_ACK | flags, p.seq, from_be32(h->seq) + 1, NULL, 0);
	CHECK_EQ(tcp_state(rig_conn(r, A)), TCPS_ESTABLISHED);
	used = rig_conn(r, A)->h->negotiated & TCPN_ECN;
	rig_free(r);
	return used;
}

static void asks_when_told_to(void)
{
	CHECK(asked(ECN_ASK, false, TCP_ECE));
	CHECK(asked(ECN_ASK, true, TCP_ECE));		/* the answer to the first, after all */
	CHECK(!asked(ECN_ASK, false, 0));
	CHECK(!asked(ECN_ASK, false, TCP_ECE | TCP_CWR));	/* our own flags come back: no agreement */
	CHECK(!asked(ECN_ANSWER, false, TCP_ECE));
}

/* A connection with ECN, accepted. */
static u32 passive(struct peer *p)
{
	const struct tcp_hdr *h;

	listen_on_80(p->r, 8);
	inject(p, TCP_SYN | TCP_ECE | TCP_CWR, p->seq, 0, NULL, 0);
	h = sent(p->r);
	REQUIRE(h && h->flags & TCP_ECE);
	p->seq++;
	p->ack = from_be32(h->seq) + 1;
	inject(p, TCP_ACK, p->seq, p->ack, NULL, 0);
	sent(p->r);
	return accepted(p->r);
}

static void write_bytes(struct rig *r, u32 sk, u32 n)
{
	static const u8 zero[RIG_RING];

	REQUIRE_EQ(rig_write(r, sk, zero, n), n);
	tcp_flush(&r->t);
}

static void only_new_data_is_capable(void)
{
	struct peer p;
	struct rig *r = setup(&p, ECN_ANSWER);
	u32 sk = passive(&p);
	int tos = 0x2b;		/* a user's ECN bits do not count */
	const struct rig_pkt *k;

	CHECK_EQ(tcp_setsockopt(&r->t, sk, IPPROTO_IP, IP_TOS, &tos, sizeof(tos)), 0);
	write_bytes(r, sk, 3000);
	CHECK_EQ(r->nout, 6);		/* of 536 bytes: the peer sent no MSS */
	for (u32 i = 0; i < 6; i++)
		CHECK_EQ(r->out[i].tos, 0x28 | ECT0);
	sent(r);
	rig_advance(r, 1500 * MSEC);		/* time-out: again, and not capable */
	k = sent_pkt(r);
	REQUIRE(k && k->len > hdr_len(k));
	CHECK_EQ(k->tos, 0x28);
	p.ack += 3000;
	inject(&p, TCP_ACK, p.seq, p.ack, NULL, 0);
	sent(r);
	inject(&p, TCP_ACK | TCP_PSH, p.seq, p.ack, "ab", 2);
	k = sent_pkt(r);
	REQUIRE(k && k->len == hdr_len(k));	/* a pure ACK */
	CHECK_EQ(k->tos, 0x28);
	p.seq += 2;
	p.wnd = 0;
	inject(&p, TCP_ACK | TCP_PSH, p.seq, p.ack, "x", 1);
	p.seq++;
	write_bytes(r, sk, 100);
	sent(r);
	rig_advance(r, 2 * SEC);		/* a probe of the closed window */
	k = sent_pkt(r);
	REQUIRE(k);
	CHECK_EQ(k->tos, 0x28);
	tcp_abort(&r->t, sk, ECONNRESET);
	k = sent_pkt(r);
	REQUIRE(k && flags_of(k) & TCP_RST);
	CHECK_EQ(k->tos, 0x28);
	rig_free(r);
}

static u8 next_ack(struct peer *p, u8 flags, u8 tos)
{
	const struct tcp_hdr *h;

	p->r->rx_tos = tos;
	inject(p, TCP_ACK | TCP_PSH | flags, p->seq++, p->ack, "x", 1);
	rig_advance(p->r, 50 * MSEC);
	h = sent(p->r);
	REQUIRE(h);
	return h->flags & (TCP_ECE | TCP_CWR);
}

static void echoed_until_cwr(void)
{
	struct peer p;
	struct rig *r = setup(&p, ECN_ANSWER);
	u32 sk = passive(&p);
	struct tcp_info i;
	u32 len = sizeof(i);

	CHECK_EQ(next_ack(&p, 0, ECT0), 0);
	CHECK_EQ(next_ack(&p, 0, CE), TCP_ECE);
	CHECK_EQ(next_ack(&p, 0, ECT0), TCP_ECE);
	CHECK_EQ(next_ack(&p, 0, 0), TCP_ECE);
	rig_restart(r);				/* the mark is acknowledged: only we remember */
	CHECK_EQ(next_ack(&p, 0, ECT0), TCP_ECE);
	CHECK_EQ(next_ack(&p, TCP_CWR, ECT0), 0);
	CHECK_EQ(next_ack(&p, 0, ECT0), 0);
	CHECK_EQ(next_ack(&p, TCP_CWR, CE), TCP_ECE);	/* marked itself: a new one */
	p.seq += 5;				/* out of order, and marked */
	CHECK_EQ(next_ack(&p, TCP_CWR, ECT0), 0);
	CHECK_EQ(next_ack(&p, 0, CE), TCP_ECE);
	CHECK_EQ(counter_get(&r->counters, TCP_CE_MARKS), 3);
	CHECK_EQ(tcp_getsockopt(&r->t, sk, IPPROTO_TCP, TCP_INFO, &i, &len), 0);
	CHECK_EQ(i.tcpi_options & (TCPI_OPT_ECN | TCPI_OPT_ECN_SEEN), TCPI_OPT_ECN | TCPI_OPT_ECN_SEEN);
	rig_free(r);
}

static void marks_without_agreement_mean_nothing(void)
{
	struct peer p;
	struct rig *r = setup(&p, ECN_OFF);
	const struct tcp_hdr *h;
	u32 sk;

	listen_on_80(r, 8);
	inject(&p, TCP_SYN | TCP_ECE | TCP_CWR, p.seq++, 0, NULL, 0);
	h = sent(r);
	REQUIRE(h);
	p.ack = from_be32(h->seq) + 1;
	inject(&p, TCP_ACK, p.seq, p.ack, NULL, 0);
	sk = accepted(r);
	CHECK_EQ(next_ack(&p, 0, CE), 0);
	write_bytes(r, sk, 100);
	CHECK_EQ(r->out[r->nout - 1].tos, 0);
	inject(&p, TCP_ACK | TCP_ECE, p.seq, p.ack + 100, NULL, 0);
	CHECK_EQ(counter_get(&r->counters, TCP_ECN_CWR), 0);
	CHECK_EQ(rig_conn(r, sk)->ca_state, CA_OPEN);
	rig_free(r);
}

/* How many of what was sent carry CWR. */
static u32 cwrs(struct rig *r)
{
	u32 n = 0;

	CHECK(r->nout <= RIG_OUT);
	for (u32 i = 0; i < r->nout; i++)
		n += !!(flags_of(&r->out[i]) & TCP_CWR);
	r->nout = 0;
	return n;
}

static void one_reduction_a_window(void)
{
	struct peer p;
	struct rig *r = setup(&p, ECN_ANSWER);
	u32 sk = passive(&p), mss = rig_conn(r, sk)->mss;
	struct tcp_conn *c = rig_conn(r, sk);

	write_bytes(r, sk, 40 * mss);
	CHECK_EQ(cwrs(r), 0);
	CHECK_EQ(c->packets_out, 10);
	rig_advance(r, 10 * MSEC);
	for (u32 i = 0; i < 10; i++) {		/* every ACK of the window echoes */
		p.ack += mss;
		inject(&p, TCP_ACK | TCP_ECE, p.seq, p.ack, NULL, 0);
		CHECK(c->packets_out <= 10);
	}
	CHECK_EQ(c->ca_state, CA_CWR);
	CHECK_EQ(c->ssthresh, 7);		/* cubic's 0.7 */
	CHECK_EQ(counter_get(&r->counters, TCP_ECN_CWR), 1);
	CHECK_EQ(counter_get(&r->counters, TCP_RETRANS_SEGS), 0);
	CHECK_EQ(cwrs(r), 1);
	CHECK(c->packets_out <= 7);		/* the window was brought down on the way */
	p.ack += mss;				/* the peer has our CWR, and heard no other mark */
	inject(&p, TCP_ACK, p.seq, p.ack, NULL, 0);
	CHECK_EQ(c->ca_state, CA_OPEN);
	CHECK_EQ(c->cwnd, 7);
	CHECK_EQ(cwrs(r), 0);
	p.ack += mss;
	inject(&p, TCP_ACK | TCP_ECE, p.seq, p.ack, NULL, 0);	/* the next window's mark */
	CHECK_EQ(counter_get(&r->counters, TCP_ECN_CWR), 2);
	CHECK_EQ(c->ssthresh, 4);
	rig_free(r);
}

/* Nothing was left to send: the CWR waits, and echoes of the old mark are not answered again. */
static void cwr_waits_for_data(void)
{
	struct peer p;
	struct rig *r = setup(&p, ECN_ANSWER);
	u32 sk = passive(&p), mss = rig_conn(r, sk)->mss;
	struct tcp_conn *c = rig_conn(r, sk);

	write_bytes(r, sk, 10 * mss);
	CHECK_EQ(cwrs(r), 0);
	p.ack += 5 * mss;
	inject(&p, TCP_ACK | TCP_ECE, p.seq, p.ack, NULL, 0);
	p.ack += 5 * mss;
	inject(&p, TCP_ACK | TCP_ECE, p.seq, p.ack, NULL, 0);
	CHECK_EQ(cwrs(r), 0);
	write_bytes(r, sk, 3 * mss);
	CHECK_EQ(r->out[0].gso_type, GSO_TCPV4 | GSO_ECN);
	CHECK_EQ(flags_of(&r->out[0]) & TCP_CWR, TCP_CWR);	/* the first of them */
	CHECK_EQ(cwrs(r), 1);
	inject(&p, TCP_ACK | TCP_ECE | TCP_PSH, p.seq, p.ack, "x", 1);	/* left before it had our CWR */
	CHECK_EQ(counter_get(&r->counters, TCP_ECN_CWR), 1);
	p.seq++;
	p.ack += 3 * mss;
	inject(&p, TCP_ACK, p.seq, p.ack, NULL, 0);
	CHECK_EQ(c->ca_state, CA_OPEN);
	CHECK_EQ(c->cwnd, 7);
	rig_free(r);
}

/* A loss reduces the window, too, and is told. */
static void losses_send_cwr(void)
{
	struct peer p;
	struct rig *r = setup(&p, ECN_ANSWER);
	u32 sk = passive(&p), mss = rig_conn(r, sk)->mss;

	write_bytes(r, sk, 40 * mss);
	CHECK_EQ(cwrs(r), 0);
	for (u32 i = 0; i < 8; i++)
		inject(&p, TCP_ACK, p.seq, p.ack, NULL, 0);	/* no SACK here: duplicates */
	CHECK_EQ(rig_conn(r, sk)->ca_state, CA_RECOVERY);
	for (u32 i = 0; i < r->nout; i++)
		if (flags_of(&r->out[i]) & TCP_CWR)
			CHECK_EQ(r->out[i].tos, ECT0);		/* on new data, never on the retransmission */
	p.ack += 10 * mss;
	inject(&p, TCP_ACK, p.seq, p.ack, NULL, 0);
	CHECK_EQ(cwrs(r), 1);
	rig_free(r);
}

UNIT_MAIN(UNIT(answered_when_asked), UNIT(asks_when_told_to), UNIT(only_new_data_is_capable), UNIT(echoed_until_cwr),
	  UNIT(marks_without_agreement_mean_nothing), UNIT(one_reduction_a_window), UNIT(cwr_waits_for_data), UNIT(losses_send_cwr))
