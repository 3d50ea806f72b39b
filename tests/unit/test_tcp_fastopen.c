/* test_tcp_fastopen.c – services/tcp/tcp_fastopen.c and tcp_fastopen_client.c: cookies, data in SYNs taken once and sent once more
 * when it was not, listeners under abuse, paths that swallow such SYNs. */
#include "tcp_peer.h"

#include <linux/tcp.h>
#include <netinet/in.h>

static struct rig *setup(struct peer *p)
{
	struct rig *r = rig_new(US, 7);

	r->conf.fastopen = FASTOPEN_CLIENT | FASTOPEN_SERVER;
	*p = peer_of(r);
	return r;
}

static void set_option(struct rig *r, u32 sk, int name, int v) { CHECK_EQ(tcp_setsockopt(&r->t, sk, IPPROTO_TCP, name, &v, 4), 0); }

static struct tcp_info info(struct rig *r, u32 sk)
{
	struct tcp_info i = { 0 };
	u32 len = sizeof(i);

	CHECK_EQ(tcp_getsockopt(&r->t, sk, IPPROTO_TCP, TCP_INFO, &i, &len), 0);
	return i;
}

/* ---- listeners ---- */

static struct rig *listener(struct peer *p, int queue)
{
	struct rig *r = setup(p);

	listen_on_80(r, 8);
	set_option(r, L, TCP_FASTOPEN, queue);
	return r;
}

/* SYN with MSS and a Fast Open option of these bytes, and data. */
static void fast_syn(struct peer *p, const u8 *cookie, u32 len, const char *data)
{
	u8 o[40] = { TCPOPT_MSS, 4, 5, 0xb4, TCPOPT_FASTOPEN, (u8)(2 + len) };

	memset(o + 6 + len, TCPOPT_NOP, 4);
	memcpy(o + 6, cookie, len);
	memcpy(p->opts, o, sizeof(o));
	p->nopts = (u8)ALIGN_UP(6 + len, 4);
	inject(p, TCP_SYN, p->seq, 0, data, (u32)strlen(data));
	p->nopts = 0;
}

/* What a listener gives who asks. */
static void ask(struct peer *p, u8 cookie[8])
{
	const struct rig_pkt *k;
	const u8 *o;

	fast_syn(p, NULL, 0, "");
	k = sent_pkt(p->r);
	REQUIRE(k && flags_of(k) == (TCP_SYN | TCP_ACK));
	o = option(k, TCPOPT_FASTOPEN);
	REQUIRE(o && o[1] == 10);
	memcpy(cookie, o + 2, 8);
	inject(p, TCP_RST, p->seq + 1, 0, NULL, 0);
	p->port++;
}

static void a_cookie_for_who_asks(void)
{
	struct peer p, q;
	struct rig *r = listener(&p, 5);
	u8 a[8], b[8];

	q = p;
	ask(&p, a);
	q.port += 7;
	ask(&q, b);
	CHECK_MEM(a, b, 8);		/* of the host, not the port */
	q.addr++;
	ask(&q, b);
	CHECK(memcmp(a, b, 8));
	rig_restart(r);
	ask(&p, b);
	CHECK_MEM(a, b, 8);
	inject(&p, TCP_SYN, p.seq, 0, NULL, 0);
	CHECK(!option(sent_pkt(r), TCPOPT_FASTOPEN));	/* nobody asked */
	p.port++;
	set_option(r, L, TCP_FASTOPEN, 0);
	fast_syn(&p, NULL, 0, "");
	CHECK(!option(sent_pkt(r), TCPOPT_FASTOPEN));
	p.port++;
	set_option(r, L, TCP_FASTOPEN, 5);
	r->conf.fastopen = FASTOPEN_CLIENT;
	fast_syn(&p, NULL, 0, "");
	CHECK(!option(sent_pkt(r), TCPOPT_FASTOPEN));
	rig_free(r);
}

/* A connection made by a SYN with data "hello". */
static u32 fast(struct peer *p)
{
	const struct tcp_hdr *h;
	u8 cookie[8];

	ask(p, cookie);
	fast_syn(p, cookie, 8, "hello");
	h = sent(p->r);
	REQUIRE(h && h->flags == (TCP_SYN | TCP_ACK));
	CHECK_EQ(from_be32(h->ack_seq), p->seq + 6);
	p->ack = from_be32(h->seq) + 1;
	return accepted(p->r);
}

static void read_hello(struct rig *r, u32 sk)
{
	char b[16];

	CHECK_EQ(rig_read(r, sk, b, sizeof(b)), 5);
	CHECK_MEM(b, "hello", 5);
	tcp_flush(&r->t);
}

static void data_in_the_syn(void)
{
	struct peer p;
	struct rig *r = listener(&p, 5);
	u32 sk = fast(&p);
	const struct rig_pkt *k;
	struct tcp_conn *c = rig_conn(r, sk);

	CHECK_EQ(tcp_state(c), TCPS_SYN_RECV);
	CHECK_EQ(load_relaxed(&c->b.s->state), SKS_CONNECTED);
	CHECK(info(r, sk).tcpi_options & TCPI_OPT_SYN_DATA);
	read_hello(r, sk);
	rig_write(r, sk, "world", 5);	/* the answer does not wait for the handshake */
	tcp_flush(&r->t);
	k = sent_pkt(r);
	REQUIRE(k);
	CHECK_MEM(k->data + hdr_len(k), "world", 5);
	rig_advance(r, 900 * MSEC);
	CHECK_EQ(r->nout, 0);		/* nor is it repeated before that */
	inject(&p, TCP_ACK, p.seq + 6, p.ack, NULL, 0);
	CHECK_EQ(tcp_state(c), TCPS_ESTABLISHED);
	CHECK_EQ(rig_conn(r, L)->fo_pending, 0);
	CHECK(c->srtt8_us);
	rig_advance(r, 10 * SEC);	/* now it is */
	k = sent_pkt(r);
	REQUIRE(k);
	CHECK_MEM(k->data + hdr_len(k), "world", 5);
	inject(&p, TCP_ACK | TCP_PSH, p.seq + 6, p.ack + 5, "more", 4);
	CHECK_EQ(rcv_unread(c), 4);
	CHECK_EQ(c->packets_out, 0);
	CHECK_EQ(counter_get(&r->counters, TCP_FASTOPEN_PASSIVE), 1);
	rig_free(r);
}

static void a_wrong_cookie_is_an_ordinary_handshake(void)
{
	struct peer p;
	struct rig *r = listener(&p, 5);
	const struct rig_pkt *k;
	u8 cookie[8];

	ask(&p, cookie);
	cookie[7] ^= 1;
	fast_syn(&p, cookie, 8, "hello");
	k = sent_pkt(r);
	REQUIRE(k && option(k, TCPOPT_FASTOPEN));	/* the right one, for next time */
	cookie[7] ^= 1;
	CHECK_MEM(option(k, TCPOPT_FASTOPEN) + 2, cookie, 8);
	CHECK_EQ(from_be32(((const struct tcp_hdr *)k->data)->ack_seq), p.seq + 1);
	CHECK_EQ(tcp_accept_next(&r->t, L), -EAGAIN);
	p.ack = from_be32(((const struct tcp_hdr *)k->data)->seq) + 1;
	inject(&p, TCP_ACK | TCP_PSH, p.seq + 1, p.ack, "hello", 5);
	read_hello(r, accepted(r));
	CHECK_EQ(counter_get(&r->counters, TCP_FASTOPEN_PASSIVE_FAIL), 1);
	rig_free(r);
}

/* Our SYN+ACK was lost: the SYN comes again, with and without what it had. Its data counts once. */
static void syn_again(void)
{
	struct peer p;
	struct rig *r = listener(&p, 5);
	u8 cookie[8];
	u32 sk;

	sk = fast(&p);
	fast_syn(&p, cookie, 8, "hello");
	REQUIRE_EQ(r->nout, 1);
	CHECK_EQ(from_be32(sent(r)->ack_seq), p.seq + 6);
	inject(&p, TCP_SYN, p.seq, 0, NULL, 0);
	REQUIRE_EQ(r->nout, 1);
	CHECK_EQ(sent(r)->flags, TCP_SYN | TCP_ACK);
	read_hello(r, sk);
	CHECK_EQ(rcv_unread(rig_conn(r, sk)), 0);
	CHECK_EQ(tcp_accept_next(&r->t, L), -EAGAIN);
	rig_free(r);
}

/* Our SYN+ACK was lost, and the peer had no use for the data behind it: that goes with the handshake's end, not a timeout later. */
static void answer_behind_a_lost_syn_ack(void)
{
	struct peer p;
	struct rig *r = listener(&p, 5);
	u32 sk = fast(&p);
	const struct rig_pkt *k;

	rig_write(r, sk, "world", 5);
	tcp_flush(&r->t);
	rig_advance(r, 1100 * MSEC);
	CHECK_EQ(sent(r)->flags, TCP_SYN | TCP_ACK);
	inject(&p, TCP_ACK, p.seq + 6, p.ack, NULL, 0);
	k = sent_pkt(r);
	REQUIRE(k && k->len == hdr_len(k) + 5);
	CHECK_EQ(from_be32(((const struct tcp_hdr *)k->data)->seq), p.ack);
	rig_free(r);
}

/* Whatever happens to the data, the SYN+ACK's timer is its own. */
static void syn_ack_timer_stays(void)
{
	struct peer p;
	struct rig *r = listener(&p, 5);
	u32 sk = fast(&p);
	struct ip_cb cb = { .saddr = to_be32(US), .daddr = to_be32(PEER), .protocol = 6, .icmp_type = 3, .icmp_code = 4, .icmp_mtu = 576 };
	static const u8 big[1400];

	rig_write(r, sk, big, sizeof(big));
	tcp_flush(&r->t);
	rig_advance(r, 900 * MSEC);
	REQUIRE(r->nout);
	tcp_v4_err(&r->t, &cb, r->out[0].data, 28);
	tcp_flush(&r->t);
	r->nout = 0;
	rig_advance(r, 150 * MSEC);
	REQUIRE_EQ(r->nout, 1);
	CHECK_EQ(sent(r)->flags, TCP_SYN | TCP_ACK);
	rig_free(r);
}

static void unanswered(void)
{
	struct peer p;
	struct rig *r = listener(&p, 5);
	u32 sk = fast(&p);

	for (u32 i = 0; i < 5; i++) {
		rig_advance(r, (SEC << i) + 10 * MSEC);
		REQUIRE_EQ(r->nout, 1);
		CHECK_EQ(sent(r)->flags, TCP_SYN | TCP_ACK);
	}
	rig_advance(r, 40 * SEC);
	CHECK_EQ(load_relaxed(&rig_conn(r, sk)->b.s->err), ETIMEDOUT);
	CHECK_EQ(rig_conn(r, L)->fo_pending, 0);
	rig_free(r);
}

/* A death at every store that matters: the bytes are there once, whatever the successor finds. */
static void deaths_of_a_listener(void)
{
	for (u32 point = 0; point < 3; point++) {
		struct peer p;
		struct rig *r = listener(&p, 5);
		u32 sk = fast(&p);
		struct tcp_conn *c = rig_conn(r, sk);
		const struct tcp_hdr *h;
		u32 got = point == 0 ? 1 : 6;

		if (point == 0)		/* published, the bytes do not count yet */
			store_relaxed(&c->b.s->rx_head, c->h->rx_base);
		if (point == 2) {	/* the application has read and answered */
			read_hello(r, sk);
			rig_write(r, sk, "world", 5);
			tcp_flush(&r->t);
			sent(r);
		}
		rig_restart(r);
		CHECK_EQ(rig_conn(r, L)->fo_pending, 1);
		CHECK_EQ(tcp_state(c), TCPS_SYN_RECV);
		rig_advance(r, 150 * MSEC);
		h = sent(r);
		REQUIRE(h && h->flags == (TCP_SYN | TCP_ACK));
		CHECK_EQ(from_be32(h->ack_seq), p.seq + got);
		CHECK_EQ(from_be32(h->seq) + 1, p.ack);
		inject(&p, TCP_ACK | TCP_PSH, p.seq + got, p.ack, got == 1 ? "hello" : "", got == 1 ? 5 : 0);
		CHECK_EQ(tcp_state(c), TCPS_ESTABLISHED);
		if (point < 2)
			read_hello(r, sk);
		CHECK_EQ(rcv_unread(c), 0);
		CHECK_EQ(rcv_nxt(c) - c->h->rx_base, 5);
		if (point == 2) {	/* what may have been sent is sent again once it may be */
			rig_advance(r, 3 * SEC);
			REQUIRE(r->nout);
			inject(&p, TCP_ACK, p.seq + 6, p.ack + 5, NULL, 0);
			CHECK_EQ(c->packets_out, 0);
		}
		rig_free(r);
	}
}

static void wrong_ack_is_reset(void)
{
	struct peer p;
	struct rig *r = listener(&p, 5);
	u32 sk = fast(&p);

	inject(&p, TCP_ACK, p.seq + 6, p.ack + 77, NULL, 0);
	REQUIRE_EQ(r->nout, 1);
	CHECK_EQ(from_be32(r->out[0].data[13] == TCP_RST ? ((const struct tcp_hdr *)r->out[0].data)->seq : (be32){ 0 }), p.ack + 77);
	CHECK_EQ(tcp_state(rig_conn(r, sk)), TCPS_SYN_RECV);
	rig_free(r);
}

/* RFC 7413 5.1: no more than the listener said, and those that were reset count for a minute. */
static void queue_is_bounded(void)
{
	struct peer p;
	struct rig *r = listener(&p, 2);
	u8 cookie[8];

	ask(&p, cookie);
	for (u32 i = 0; i < 2; i++, p.port++) {
		fast_syn(&p, cookie, 8, "hello");
		CHECK_EQ(from_be32(sent(r)->ack_seq), p.seq + 6);
	}
	fast_syn(&p, cookie, 8, "hello");
	CHECK_EQ(from_be32(sent(r)->ack_seq), p.seq + 1);	/* an ordinary handshake */
	CHECK_EQ(counter_get(&r->counters, TCP_FASTOPEN_OVERFLOW), 1);
	p.port--;
	inject(&p, TCP_RST, p.seq + 6, 0, NULL, 0);
	CHECK_EQ(rig_conn(r, L)->fo_pending, 1);
	p.port += 2;
	fast_syn(&p, cookie, 8, "hello");
	CHECK_EQ(from_be32(sent(r)->ack_seq), p.seq + 1);
	rig_advance(r, 61 * SEC);
	p.port++;
	r->nout = 0;
	fast_syn(&p, cookie, 8, "hello");
	CHECK_EQ(from_be32(sent(r)->ack_seq), p.seq + 6);
	rig_free(r);
}

/* ---- connecting ---- */

static u8 given[10] = { TCPOPT_FASTOPEN, 10, 'c', 'o', 'o', 'k', 'i', 'e', '4', '2' };

/* connect() of socket sk with TCP_FASTOPEN_CONNECT. */
static struct tcp_conn *dial(struct rig *r, u32 sk)
{
	REQUIRE_EQ(tcp_socket(&r->t, sk, 1, 0), 0);
	set_option(r, sk, TCP_FASTOPEN_CONNECT, 1);
	REQUIRE_EQ(tcp_connect(&r->t, sk, to_be32(PEER), to_be16(5000), 1), 0);
	tcp_flush(&r->t);
	return rig_conn(r, sk);
}

/* The SYN just sent; the peer turns to it. */
static const struct rig_pkt *the_syn(struct peer *p)
{
	const struct rig_pkt *k = sent_pkt(p->r);
	const struct tcp_hdr *h;

	REQUIRE(k && (flags_of(k) & ~(TCP_ECE | TCP_CWR)) == TCP_SYN);
	h = (const struct tcp_hdr *)k->data;
	p->our_port = from_be16(h->source);
	p->ack = from_be32(h->seq) + 1;
	return k;
}

static void syn_ack(struct peer *p, u32 taken, bool cookie)
{
	static const u8 plain[8] = { TCPOPT_MSS, 4, 5, 0xb4, TCPOPT_NOP, TCPOPT_WSCALE, 3, 5 };

	memset(p->opts, TCPOPT_NOP, sizeof(p->opts));
	memcpy(p->opts, plain, sizeof(plain));
	memcpy(p->opts + sizeof(plain), given, sizeof(given));
	p->nopts = cookie ? 20 : 8;
	inject(p, TCP_SYN | TCP_ACK, p->seq, p->ack + taken, NULL, 0);
	p->nopts = 0;
}

/* A first connection, which brings the cookie. */
static void learn(struct peer *p, u32 sk)
{
	struct tcp_conn *c = dial(p->r, sk);
	const struct rig_pkt *k = the_syn(p);
	const u8 *o = option(k, TCPOPT_FASTOPEN);

	REQUIRE(o && o[1] == 2);		/* asks */
	CHECK_EQ(k->len, hdr_len(k));
	syn_ack(p, 0, true);
	CHECK_EQ(tcp_state(c), TCPS_ESTABLISHED);
	CHECK_EQ(info(p->r, sk).tcpi_fastopen_client_fail, TFO_COOKIE_UNAVAILABLE);
	p->r->nout = 0;
}

/* A second one: deferred, then its SYN with "hello". */
static struct tcp_conn *hello(struct peer *p, u32 sk)
{
	struct tcp_conn *c = dial(p->r, sk);
	const struct rig_pkt *k;

	CHECK_EQ(p->r->nout, 0);
	CHECK_EQ(load_relaxed(&c->b.s->state), SKS_DEFERRED);
	rig_write(p->r, sk, "hello", 5);
	tcp_flush(&p->r->t);
	k = the_syn(p);
	CHECK_MEM(option(k, TCPOPT_FASTOPEN), given, sizeof(given));
	CHECK_EQ(k->len, hdr_len(k) + 5);
	CHECK_MEM(k->data + hdr_len(k), "hello", 5);
	CHECK_EQ(load_relaxed(&c->b.s->state), SKS_CONNECTING);
	return c;
}

static void data_goes_with_the_syn(void)
{
	struct peer p;
	struct rig *r = setup(&p);
	struct tcp_conn *c;

	learn(&p, SK(0, 10));
	c = hello(&p, A);
	syn_ack(&p, 5, false);
	CHECK_EQ(tcp_state(c), TCPS_ESTABLISHED);
	CHECK_EQ(snd_una(c), snd_nxt(c));
	CHECK_EQ(c->packets_out, 0);
	CHECK_EQ(c->h->snd_wscale, 5);
	CHECK_EQ(load_relaxed(&c->h->snd_wnd), 65535);	/* that of a SYN+ACK is not scaled */
	CHECK(info(r, A).tcpi_options & TCPI_OPT_SYN_DATA);
	CHECK_EQ(sent(r)->flags, TCP_ACK);
	rig_write(r, A, "more", 4);
	tcp_flush(&r->t);
	CHECK_EQ(from_be32(sent(r)->seq), p.ack + 5);
	CHECK_EQ(counter_get(&r->counters, TCP_FASTOPEN_ACTIVE), 1);
	CHECK_EQ(counter_get(&r->counters, TCP_RETRANS_SEGS), 0);
	rig_free(r);
}

/* More than a SYN holds: what fits goes, the rest follows. */
static void only_what_fits(void)
{
	struct peer p;
	struct rig *r = setup(&p);
	static u8 big[5000];
	const struct rig_pkt *k;
	u32 n;

	learn(&p, SK(0, 10));
	dial(r, A);
	rig_write(r, A, big, sizeof(big));
	tcp_flush(&r->t);
	k = the_syn(&p);
	n = k->len - hdr_len(k);
	CHECK(n > 1300 && k->len <= 1480);
	syn_ack(&p, n / 2, true);		/* the server took half */
	CHECK_EQ(snd_una(rig_conn(r, A)) - rig_conn(r, A)->h->tx_base, n / 2);
	REQUIRE(r->nout >= 4);
	CHECK_EQ(from_be32(((const struct tcp_hdr *)r->out[0].data)->seq), p.ack + n / 2);
	inject(&p, TCP_ACK, p.seq + 1, p.ack + 5000, NULL, 0);
	CHECK_EQ(snd_una(rig_conn(r, A)) - rig_conn(r, A)->h->tx_base, 5000);
	rig_free(r);
}

static void data_not_taken_goes_again_at_once(void)
{
	struct peer p;
	struct rig *r = setup(&p);
	struct tcp_conn *c;
	const struct rig_pkt *k;

	learn(&p, SK(0, 10));
	c = hello(&p, A);
	syn_ack(&p, 0, false);
	k = sent_pkt(r);
	REQUIRE(k && k->len == hdr_len(k) + 5);
	CHECK_EQ(from_be32(((const struct tcp_hdr *)k->data)->seq), p.ack);
	CHECK_EQ(info(r, A).tcpi_fastopen_client_fail, TFO_DATA_NOT_ACKED);
	CHECK(!(info(r, A).tcpi_options & TCPI_OPT_SYN_DATA));
	CHECK_EQ(c->cwnd, 10);		/* nothing was congested */
	CHECK_EQ(c->ca_state, CA_OPEN);
	p.ack += 5;
	inject(&p, TCP_ACK, p.seq + 1, p.ack, NULL, 0);
	CHECK_EQ(c->packets_out, 0);
	CHECK_EQ(counter_get(&r->counters, TCP_FASTOPEN_ACTIVE_FAIL), 1);
	rig_free(r);
}

/* RFC 7413 4.1.3.1: the SYN again is plain; a path that swallows the other kind twice is left alone for a while. */
static void black_hole(void)
{
	struct peer p;
	struct rig *r = setup(&p);
	const struct rig_pkt *k;

	learn(&p, SK(0, 10));
	for (u32 i = 0; i < 2; i++) {
		u32 sk = SK(0, 20 + i);

		hello(&p, sk);
		rig_advance(r, 1100 * MSEC);
		k = the_syn(&p);
		CHECK(!option(k, TCPOPT_FASTOPEN));
		CHECK_EQ(k->len, hdr_len(k));
		syn_ack(&p, 0, false);
		k = sent_pkt(r);
		REQUIRE(k && k->len == hdr_len(k) + 5);
		CHECK_EQ(info(r, sk).tcpi_fastopen_client_fail, TFO_SYN_RETRANSMITTED);
		inject(&p, TCP_ACK, p.seq + 1, p.ack + 5, NULL, 0);
	}
	CHECK_EQ(counter_get(&r->counters, TCP_FASTOPEN_HELD_OFF), 2);
	dial(r, SK(0, 30));
	CHECK(!option(the_syn(&p), TCPOPT_FASTOPEN));
	syn_ack(&p, 0, false);
	rig_advance(r, 121 * SEC);
	r->nout = 0;
	hello(&p, SK(0, 31));			/* tried again */
	syn_ack(&p, 5, false);
	CHECK_EQ(counter_get(&r->counters, TCP_FASTOPEN_ACTIVE), 1);
	rig_free(r);
}

static void deaths_of_a_client(void)
{
	struct peer p;
	struct rig *r = setup(&p);
	struct tcp_conn *c;
	const struct rig_pkt *k;

	learn(&p, SK(0, 10));
	c = dial(r, A);
	rig_restart(r);			/* deferred: the cookie is gone, the connection is not */
	tcp_flush(&r->t);
	CHECK_EQ(r->nout, 0);
	rig_write(r, A, "hello", 5);
	tcp_flush(&r->t);
	k = the_syn(&p);
	CHECK_EQ(k->len, hdr_len(k));
	REQUIRE(option(k, TCPOPT_FASTOPEN));
	CHECK_EQ(option(k, TCPOPT_FASTOPEN)[1], 2);
	syn_ack(&p, 0, false);
	k = sent_pkt(r);
	REQUIRE(k && k->len == hdr_len(k) + 5);
	for (u32 taken = 0; taken <= 5; taken += 5) {	/* after its SYN with data */
		learn(&p, SK(0, 11 + taken));
		c = hello(&p, SK(0, 20 + taken));
		rig_restart(r);
		rig_advance(r, 150 * MSEC);
		k = the_syn(&p);
		CHECK_EQ(k->len, hdr_len(k));
		syn_ack(&p, taken, true);
		rig_advance(r, 100 * MSEC);
		CHECK_EQ(snd_una(c) - c->h->tx_base, taken);
		k = r->nout ? &r->out[0] : NULL;
		REQUIRE(k);
		CHECK_EQ(k->len - hdr_len(k), taken ? 0 : 5);
		r->nout = 0;
		p.ack += 5;
		inject(&p, TCP_ACK, p.seq + 1, p.ack, NULL, 0);
		CHECK_EQ(c->packets_out, 0);
		tcp_abort(&r->t, SK(0, 20 + taken), ECONNRESET);
		r->nout = 0;
	}
	rig_free(r);
}

static void what_is_deferred_can_end(void)
{
	struct peer p;
	struct rig *r = setup(&p);
	struct tcp_conn *c;
	u32 freed;

	learn(&p, SK(0, 10));
	dial(r, A);
	freed = r->freed;
	tcp_orphan(&r->t, A);
	CHECK_EQ(r->freed, freed + 1);
	c = dial(r, SK(0, 20));
	CHECK_EQ(tcp_connect(&r->t, SK(0, 20), to_be32(PEER), to_be16(5000), 2), -EALREADY);
	CHECK_EQ(tcp_disconnect(&r->t, SK(0, 20)), 0);
	CHECK_EQ(load_relaxed(&c->b.s->state), SKS_FRESH);
	CHECK_EQ(r->nout, 0);
	hello(&p, SK(0, 21));
	inject(&p, TCP_RST | TCP_ACK, 0, p.ack + 5, NULL, 0);
	CHECK_EQ(load_relaxed(&rig_conn(r, SK(0, 21))->b.s->err), ECONNREFUSED);
	CHECK_EQ(load_relaxed(&rig_conn(r, SK(0, 21))->b.s->state), SKS_FAILED);
	rig_free(r);
}

static void off_means_off(void)
{
	struct peer p;
	struct rig *r = setup(&p);

	r->conf.fastopen = FASTOPEN_SERVER;
	dial(r, A);
	CHECK(!option(the_syn(&p), TCPOPT_FASTOPEN));
	REQUIRE_EQ(tcp_socket(&r->t, SK(0, 20), 1, 0), 0);
	CHECK_EQ(tcp_connect_fastopen(&r->t, SK(0, 20), to_be32(PEER), to_be16(5000), 1), -EOPNOTSUPP);
	rig_free(r);
}

/* More servers than there is room for: the one not used for longest is forgotten, nothing else happens. */
static void cache_is_bounded(void)
{
	struct peer p;
	struct rig *r = setup(&p);
	u32 known = 0;

	for (u32 i = 0; i < 3000; i++) {
		u32 sk = SK(0, 40 + i % 50);

		p.addr = PEER + i;
		REQUIRE_EQ(tcp_socket(&r->t, sk, i + 1, 0), 0);
		REQUIRE_EQ(tcp_connect_fastopen(&r->t, sk, to_be32(p.addr), to_be16(5000), i + 1), 0);
		the_syn(&p);
		syn_ack(&p, 0, true);
		tcp_abort(&r->t, sk, ECONNRESET);
		tcp_orphan(&r->t, sk);
		r->nout = 0;
		r->t.now += MSEC;
	}
	for (u32 i = 0; i < TCP_FO_SETS; i++)
		for (u32 j = 0; j < TCP_FO_WAYS; j++)
			known += r->t.soft->fo[i][j].used != 0;
	CHECK(known <= TCP_FO_SETS * TCP_FO_WAYS && known > 700);
	REQUIRE_EQ(tcp_socket(&r->t, A, 1, 0), 0);
	REQUIRE_EQ(tcp_connect_fastopen(&r->t, A, to_be32(p.addr), to_be16(5000), 1), 0);
	CHECK_EQ(load_relaxed(&rig_conn(r, A)->b.s->state), SKS_DEFERRED);	/* the last one is known */
	rig_free(r);
}

UNIT_MAIN(UNIT(a_cookie_for_who_asks), UNIT(data_in_the_syn), UNIT(a_wrong_cookie_is_an_ordinary_handshake), UNIT(syn_again),
	  UNIT(answer_behind_a_lost_syn_ack),
	  UNIT(syn_ack_timer_stays), UNIT(unanswered), UNIT(deaths_of_a_listener), UNIT(wrong_ack_is_reset), UNIT(queue_is_bounded),
	  UNIT(data_goes_with_the_syn), UNIT(only_what_fits), UNIT(data_not_taken_goes_again_at_once), UNIT(black_hole),
	  UNIT(deaths_of_a_client), UNIT(what_is_deferred_can_end), UNIT(off_means_off), UNIT(cache_is_bounded))
