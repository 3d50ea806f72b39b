/* test_tcp_cookie.c – services/tcp/tcp_cookie.c: a listener under a flood of SYNs still opens connections, and only those. */
#include "tcp_peer.h"

#define BACKLOG 16

static struct rig *setup(struct peer *p)
{
	struct rig *r = rig_new(US, 7);

	listen_on_80(r, BACKLOG);
	*p = peer_of(r);
	return r;
}

/* SYNs from everywhere that nobody follows up. */
static void flood(struct rig *r, u32 n)
{
	struct peer p = peer_of(r);

	for (u32 i = 0; i < n; i++) {
		p.addr = 0xc0000000u + (u32)rig_rand(r) % 1000000;
		p.port = (u16)(1024 + rig_rand(r) % 60000);
		inject(&p, TCP_SYN, (u32)rig_rand(r), 0, NULL, 0);
		r->nout = 0;
	}
}

/* The peer's SYN; fills in what it heard. The answer's timestamp, 0: none. */
static u32 syn(struct peer *p, u8 flags)
{
	const struct rig_pkt *k;

	inject(p, TCP_SYN | flags, p->seq, 0, NULL, 0);
	k = sent_pkt(p->r);
	REQUIRE(k && (flags_of(k) & (TCP_SYN | TCP_ACK)) == (TCP_SYN | TCP_ACK));
	p->ack = from_be32(((const struct tcp_hdr *)k->data)->seq) + 1;
	return option(k, TCPOPT_TS) ? get_be32(option(k, TCPOPT_TS) + 2) : 0;
}

static s64 waiting(struct rig *r) { return tcp_accept_next(&r->t, L); }

static void connects_during_a_flood_and_after(void)
{
	struct peer p;
	struct rig *r = setup(&p);
	const struct rig_pkt *k;
	struct tcp_conn *c;
	char b[8];
	u32 sk, echo;

	r->conf.ecn = ECN_ANSWER;
	flood(r, 20000);
	CHECK_EQ(rig_conn(r, L)->req_count, BACKLOG);
	CHECK_EQ(counter_get(&r->counters, TCP_COOKIES_SENT), 20000 - BACKLOG);
	syn_options(&p, 1400, true, true, 7);
	echo = syn(&p, TCP_ECE | TCP_CWR);
	REQUIRE(echo);
	flood(r, 1000);
	timestamp_option(&p, echo);
	p.seq++;
	inject(&p, TCP_ACK, p.seq, p.ack, NULL, 0);
	sk = accepted(r);
	c = rig_conn(r, sk);
	CHECK_EQ(c->h->negotiated, TCPN_TS | TCPN_SACK | TCPN_WS | TCPN_ECN);
	CHECK_EQ(c->h->snd_wscale, 7);
	CHECK_EQ(load_relaxed(&c->h->snd_wnd), 65535u << 7);
	CHECK_EQ(c->h->mss_peer, 1400);
	CHECK_EQ(counter_get(&r->counters, TCP_COOKIES_RECV), 1);
	inject(&p, TCP_ACK | TCP_PSH, p.seq, p.ack, "hello", 5);
	CHECK_EQ(rig_read(r, sk, b, sizeof(b)), 5);
	CHECK_MEM(b, "hello", 5);
	r->nout = 0;
	rig_write(r, sk, "world", 5);
	tcp_flush(&r->t);
	k = sent_pkt(r);
	REQUIRE(k);
	CHECK_MEM(k->data + hdr_len(k), "world", 5);
	CHECK((s32)(get_be32(option(k, TCPOPT_TS) + 2) - echo) >= 0);	/* our clock did not go back */
	rig_advance(r, 120 * SEC);				/* what the flood left has timed out */
	r->nout = 0;
	CHECK_EQ(rig_conn(r, L)->req_count, 0);
	p.port++;
	p.nopts = 0;
	syn(&p, 0);
	CHECK_EQ(rig_conn(r, L)->req_count, 1);			/* remembered here again */
	inject(&p, TCP_ACK, p.seq + 1, p.ack, NULL, 0);
	CHECK(waiting(r) >= 0);
	CHECK_EQ(counter_get(&r->counters, TCP_COOKIES_RECV), 1);
	rig_free(r);
}

/* Every combination of what a SYN may offer comes back out of the timestamp, or is not used. */
static void options_survive(void)
{
	static const u16 mss[] = { 80, 536, 1000, 1300, 1459, 1460, 1461, 9000 }, kept[] = { 88, 536, 536, 1300, 1440, 1460, 1460, 8960 };

	for (u32 i = 0; i < 64; i++) {
		bool sack = i & 1, ts = i & 2;
		int scale = i & 4 ? (int)(i * 5 % 15) : -1;
		struct peer p;
		struct rig *r = setup(&p);
		struct tcp_conn *c;
		u32 echo;

		r->conf.syncookies = COOKIES_ALWAYS;
		r->t.now += (u64)(i * 37) * MSEC;	/* low bits of the clock of every kind */
		syn_options(&p, mss[i >> 3], sack, ts, scale);
		echo = syn(&p, 0);
		CHECK_EQ(echo != 0, ts);
		timestamp_option(&p, echo);
		inject(&p, TCP_ACK, p.seq + 1, p.ack, NULL, 0);
		c = rig_conn(r, accepted(r));
		CHECK_EQ(c->h->mss_peer, kept[i >> 3]);
		CHECK_EQ(c->h->negotiated, ts ? TCPN_TS | (sack ? TCPN_SACK : 0) | (scale >= 0 ? TCPN_WS : 0) : 0);
		CHECK_EQ(c->h->snd_wscale, ts && scale >= 0 ? scale : 0);
		CHECK_EQ(rig_conn(r, L)->req_count, 0);
		rig_free(r);
	}
}

static void survives_a_restart(void)
{
	struct peer p;
	struct rig *r = setup(&p);

	flood(r, 100);
	syn(&p, 0);
	rig_restart(r);		/* between our SYN+ACK and its answer */
	inject(&p, TCP_ACK | TCP_PSH, p.seq + 1, p.ack, "data", 4);
	CHECK(waiting(r) >= 0);
	CHECK_EQ(rcv_unread(rig_conn(r, (u32)waiting(r))), 4);
	CHECK_EQ(counter_get(&r->counters, TCP_COOKIES_RECV), 1);
	rig_free(r);
}

static void only_what_was_sent_is_taken(void)
{
	struct peer p, q;
	struct rig *r = setup(&p);

	flood(r, 100);
	syn(&p, 0);
	inject(&p, TCP_ACK, p.seq + 2, p.ack, NULL, 0);		/* another ISN */
	inject(&p, TCP_ACK, p.seq + 1, p.ack + 1, NULL, 0);	/* another cookie */
	q = p;
	q.port++;
	inject(&q, TCP_ACK, q.seq + 1, q.ack, NULL, 0);		/* another port */
	q = p;
	q.addr++;
	inject(&q, TCP_ACK, q.seq + 1, q.ack, NULL, 0);		/* another host */
	CHECK_EQ(waiting(r), -EAGAIN);
	CHECK_EQ(counter_get(&r->counters, DROP_TCP_COOKIE), 4);
	CHECK_EQ(r->nout, 0);				/* what overtook its ACK looks like this: no RST */
	for (u32 i = 0; i < 100000; i++)		/* guesses */
		inject(&p, TCP_ACK, p.seq + 1, (u32)rig_rand(r), NULL, 0);
	CHECK_EQ(waiting(r), -EAGAIN);
	inject(&p, TCP_ACK, p.seq + 1, p.ack, NULL, 0);
	CHECK(waiting(r) >= 0);
	rig_free(r);
}

static void grows_old(void)
{
	struct peer p, q;
	struct rig *r = setup(&p);

	r->conf.syncookies = COOKIES_ALWAYS;
	syn(&p, 0);
	q = p;
	q.port++;
	syn(&q, 0);
	rig_advance(r, 59 * SEC);
	inject(&p, TCP_ACK, p.seq + 1, p.ack, NULL, 0);
	CHECK(waiting(r) >= 0);
	accepted(r);
	rig_advance(r, 62 * SEC);
	p.port = 6000;
	syn(&p, 0);
	inject(&q, TCP_ACK, q.seq + 1, q.ack, NULL, 0);		/* two minutes old: no more */
	CHECK_EQ(waiting(r), -EAGAIN);
	CHECK_EQ(counter_get(&r->counters, DROP_TCP_COOKIE), 1);
	rig_advance(r, 125 * SEC);
	r->nout = 0;
	inject(&p, TCP_ACK, p.seq + 1, p.ack, NULL, 0);		/* nothing was sent lately: it is nobody's */
	REQUIRE_EQ(r->nout, 1);
	CHECK_EQ(sent(r)->flags, TCP_RST);
	CHECK_EQ(counter_get(&r->counters, DROP_TCP_COOKIE), 1);
	rig_free(r);
}

static void off_means_off(void)
{
	struct peer p;
	struct rig *r = setup(&p);

	r->conf.syncookies = COOKIES_OFF;
	flood(r, 100);
	inject(&p, TCP_SYN, p.seq, 0, NULL, 0);
	CHECK_EQ(r->nout, 0);
	CHECK_EQ(counter_get(&r->counters, TCP_COOKIES_SENT), 0);
	CHECK_EQ(counter_get(&r->counters, DROP_TCP_BACKLOG), 100 - BACKLOG + 1);
	rig_free(r);
}

/* Nobody accepts: there is no point in cookies, and none in connections. */
static void full_accept_queue_drops(void)
{
	struct peer p;
	struct rig *r = setup(&p);

	r->conf.syncookies = COOKIES_ALWAYS;
	for (u32 i = 0; i < BACKLOG + 2; i++, p.port++) {
		inject(&p, TCP_SYN, p.seq, 0, NULL, 0);
		if (i == BACKLOG + 1)
			break;
		REQUIRE(r->nout);
		p.ack = from_be32(sent(r)->seq) + 1;
		inject(&p, TCP_ACK, p.seq + 1, p.ack, NULL, 0);
	}
	CHECK_EQ(r->nout, 0);
	CHECK_EQ(rig_conn(r, L)->accept_count, BACKLOG + 1);
	CHECK_EQ(counter_get(&r->counters, DROP_TCP_BACKLOG), 1);
	rig_free(r);
}

/* Its ACK finds the accept queue full. It may be the last word we hear, so it is not forgotten. */
static void a_cookie_without_room_waits(void)
{
	struct peer p, late;
	struct rig *r = setup(&p);
	const struct rig_pkt *k;

	r->conf.syncookies = COOKIES_ALWAYS;
	late = p;
	late.port += 1000;
	syn(&late, 0);
	for (u32 i = 0; i < BACKLOG + 1; i++, p.port++) {
		syn(&p, 0);
		inject(&p, TCP_ACK, p.seq + 1, p.ack, NULL, 0);
	}
	r->nout = 0;
	inject(&late, TCP_ACK, late.seq + 1, late.ack, NULL, 0);
	CHECK_EQ(r->nout, 0);
	rig_restart(r);
	accepted(r);
	k = sent_pkt(r);
	REQUIRE(k && flags_of(k) == (TCP_SYN | TCP_ACK));
	CHECK_EQ(from_be32(((const struct tcp_hdr *)k->data)->seq) + 1, late.ack);
	inject(&late, TCP_ACK, late.seq + 1, late.ack, NULL, 0);
	CHECK_EQ(rig_conn(r, L)->accept_count, BACKLOG + 1);
	CHECK_EQ(rig_conn(r, L)->req_waiting, 0);
	rig_free(r);
}

static void cross(struct rig *from, struct rig *to)
{
	u32 n = from->nout;

	from->nout = 0;
	for (u32 i = 0; i < n; i++)
		rig_deliver(to, from->out[i].data, from->out[i].len, from->out[i].saddr, from->out[i].daddr, true);
}

/* Our own client against our own listener: bytes both ways while the flood goes on. */
static void streams_under_a_flood(void)
{
	struct rig *c = rig_new(PEER, 1), *s = rig_new(US, 2);
	static u8 out[20000], in[20000];
	u32 wrote = 0, got = 0, sk = NONE;

	for (u32 i = 0; i < sizeof(out); i++)
		out[i] = (u8)(i * 7 + (i >> 8));
	listen_on_80(s, BACKLOG);
	flood(s, 500);
	REQUIRE_EQ(tcp_socket(&c->t, A, 1, 0), 0);
	REQUIRE_EQ(tcp_connect(&c->t, A, to_be32(US), to_be16(80), 1), 0);
	for (u32 i = 0; i < 2000 && got < sizeof(out); i++) {
		cross(c, s);
		tcp_flush(&s->t);
		cross(s, c);
		tcp_flush(&c->t);
		if (sk == NONE && waiting(s) >= 0)
			sk = accepted(s);
		if (tcp_state(rig_conn(c, A)) == TCPS_ESTABLISHED)
			wrote += rig_write(c, A, out + wrote, MIN(3000u, (u32)sizeof(out) - wrote));
		if (sk != NONE)
			got += rig_read(s, sk, in + got, sizeof(in) - got);
		rig_advance(c, MSEC);
		rig_advance(s, MSEC);
		if (!s->nout)
			flood(s, 5);
	}
	CHECK_EQ(got, sizeof(out));
	CHECK_MEM(in, out, sizeof(out));
	CHECK_EQ(counter_get(&s->counters, TCP_COOKIES_RECV), 1);
	REQUIRE(sk != NONE);
	CHECK_EQ(rig_conn(s, sk)->h->negotiated, rig_conn(c, A)->h->negotiated);
	CHECK_EQ(rig_conn(s, sk)->h->rcv_wscale, rig_conn(c, A)->h->snd_wscale);
	rig_free(c);
	rig_free(s);
}

UNIT_MAIN(UNIT(connects_during_a_flood_and_after), UNIT(options_survive), UNIT(survives_a_restart), UNIT(only_what_was_sent_is_taken),
	  UNIT(grows_old), UNIT(off_means_off), UNIT(full_accept_queue_drops),
	  UNIT(a_cookie_without_room_waits), UNIT(streams_under_a_flood))
