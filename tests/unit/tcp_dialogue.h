/* tcp_dialogue.h – a scripted peer for the unit tests of TCP: it says what the test tells it, with the options it opened with.
 *
 *      us 10.0.0.1:80 or :ephemeral   <-- the test -->   peer 10.0.0.2:5000
 *
 * say() sends a segment to us; next() takes the oldest segment of ours that was not looked at, into p->got. */
#ifndef STRATA_TCP_DIALOGUE_H
#define STRATA_TCP_DIALOGUE_H

#include "tcp_rig.h"

#define US 0x0a000001u
#define PEER 0x0a000002u
#define L SK(0, 1)		/* the listener */
#define A SK(0, 2)		/* the active opener */

enum { OFFER_MSS = 1, OFFER_TS = 2, OFFER_SACK = 4, OFFER_WS = 8, OFFER_ALL = 15 };

/* A segment of ours, taken apart without the help of what is tested. */
struct got {
	u8 flags, tos, ttl, wscale, nsack;
	u16 wnd, mss, urg;
	u32 seq, ack, len, tsval, tsecr, nopts;
	bool has_mss, has_ts, has_wscale, has_sack_perm;
	u32 sack[4][2];
	const u8 *opts, *data;
};

struct peer {
	struct rig *r;
	u32 sk;			/* of ours, once there is one */
	u32 seq, ack;		/* what the peer sends next, and expects next */
	u16 port, our_port, wnd, mss;
	u8 wscale, offers;	/* OFFER_*: in its SYN, timestamps in all that follows */
	u32 tsval, tsecr;
	const u8 *opts;		/* more options of the next segment */
	u32 nopts, seen;
	struct got got;
};

static inline struct tcp_conn *conn(struct peer *p) { return rig_conn(p->r, p->sk); }
static inline enum tcp_state state(struct peer *p) { return tcp_state(conn(p)); }
static inline u32 wire(const u8 *b) { return (u32)b[0] << 24 | (u32)b[1] << 16 | (u32)b[2] << 8 | b[3]; }
static inline void unwire(u8 *b, u32 v)
{
	for (int i = 0; i < 4; i++)
		b[i] = (u8)(v >> (24 - 8 * i));
}

static inline struct peer *peer_begin(u8 offers)
{
	struct peer *p = calloc(1, sizeof(*p));

	*p = (struct peer){ .r = rig_new(US, 7), .seq = 0xffffff00u, .port = 5000, .our_port = 80, .wnd = 65535, .mss = 1460,
			    .wscale = 7, .offers = offers, .tsval = 0xfffffff0u };
	return p;
}

static inline void peer_end(struct peer *p)
{
	tcp_flush(&p->r->t);
	CHECK(!p->r->t.soft->dirty);
	rig_free(p->r);
	free(p);
}

static inline u32 syn_offers(const struct peer *p, u8 *o)
{
	u32 n = 0;

	if (p->offers & OFFER_MSS) {
		const u8 mss[] = { 2, 4, (u8)(p->mss >> 8), (u8)p->mss };

		memcpy(o + n, mss, 4);
		n += 4;
	}
	if (p->offers & OFFER_SACK) {
		memcpy(o + n, "\1\1\4\2", 4);
		n += 4;
	}
	if (p->offers & OFFER_WS) {
		const u8 ws[] = { 1, 3, 3, p->wscale };

		memcpy(o + n, ws, 4);
		n += 4;
	}
	return n;
}

/* A segment from the peer; data may be NULL (zeros). */
static inline void say_raw(struct peer *p, u8 flags, u32 seq, u32 ack, const void *data, u32 n)
{
	u8 b[2000] = { 0 }, *o = b + 20;
	u32 no = 0;

	if (flags & TCP_SYN)
		no = syn_offers(p, o);
	if (p->offers & OFFER_TS && !(flags & TCP_RST)) {
		memcpy(o + no, "\1\1\x8\xa", 4);
		unwire(o + no + 4, p->tsval);
		unwire(o + no + 8, flags & TCP_ACK ? p->tsecr : 0);
		no += 12;
	}
	if (p->nopts)
		memcpy(o + no, p->opts, p->nopts);
	no = (no + p->nopts + 3) & ~3u;
	p->nopts = 0;
	*(struct tcp_hdr *)b = (struct tcp_hdr){ .source = to_be16(p->port), .dest = to_be16(p->our_port), .seq = to_be32(seq),
						 .ack_seq = to_be32(ack), .doff_res = (u8)((20 + no) << 2), .flags = flags,
						 .window = to_be16(p->wnd) };
	if (n && data)
		memcpy(b + 20 + no, data, n);
	rig_deliver(p->r, b, 20 + no + n, PEER, US, false);
	tcp_flush(&p->r->t);
}

static inline void say(struct peer *p, u8 flags, u32 seq, u32 ack) { say_raw(p, flags, seq, ack, NULL, 0); }
/* The next n bytes of the peer's stream. */
static inline void say_data(struct peer *p, u32 n)
{
	say_raw(p, TCP_ACK | TCP_PSH, p->seq, p->ack, NULL, n);
	p->seq += n;
}
/* An ACK of everything up to p->ack + n, which then is the peer's next expected number. */
static inline void say_ack(struct peer *p, u32 n)
{
	p->ack += n;
	say(p, TCP_ACK, p->seq, p->ack);
}

static inline void got_options(struct got *g)
{
	for (u32 i = 0; i < g->nopts && g->opts[i];) {
		const u8 *o = g->opts + i;

		if (*o == TCPOPT_NOP) {
			i++;
			continue;
		}
		REQUIRE(i + 1 < g->nopts && o[1] >= 2 && i + o[1] <= g->nopts);
		i += o[1];
		if (*o == TCPOPT_MSS) {
			g->has_mss = true;
			g->mss = (u16)(o[2] << 8 | o[3]);
		} else if (*o == TCPOPT_WSCALE) {
			g->has_wscale = true;
			g->wscale = o[2];
		} else if (*o == TCPOPT_SACK_PERM) {
			g->has_sack_perm = true;
		} else if (*o == TCPOPT_TS) {
			g->has_ts = true;
			g->tsval = wire(o + 2);
			g->tsecr = wire(o + 6);
		} else if (*o == TCPOPT_SACK) {
			for (; g->nsack < (o[1] - 2) / 8 && g->nsack < 4; g->nsack++) {
				g->sack[g->nsack][0] = wire(o + 2 + 8 * g->nsack);
				g->sack[g->nsack][1] = wire(o + 6 + 8 * g->nsack);
			}
		}
	}
}

static inline u32 unseen(struct peer *p) { return p->r->nout - p->seen; }
/* Forget what was sent; how much it was. */
static inline u32 forget(struct peer *p)
{
	u32 n = unseen(p);

	p->seen = p->r->nout;
	return n;
}

static inline bool next(struct peer *p)
{
	const struct rig_pkt *k = &p->r->out[p->seen % RIG_OUT];
	const struct tcp_hdr *h = (const struct tcp_hdr *)k->data;
	u32 hl = (u32)(h->doff_res >> 4) * 4;

	if (!unseen(p))
		return false;
	p->seen++;
	p->got = (struct got){ .flags = h->flags, .tos = k->tos, .ttl = k->ttl, .wnd = from_be16(h->window), .urg = from_be16(h->urg_ptr),
			       .seq = from_be32(h->seq), .ack = from_be32(h->ack_seq), .len = k->len - hl, .nopts = hl - 20,
			       .opts = k->data + 20, .data = k->data + hl };
	got_options(&p->got);
	if (p->got.has_ts)
		p->tsecr = p->got.tsval;
	return true;
}

/* The newest segment sent, if any; what came before is forgotten. */
static inline bool last(struct peer *p)
{
	if (!unseen(p))
		return false;
	p->seen = p->r->nout - 1;
	return next(p);
}

static inline void peer_listen(struct peer *p)
{
	REQUIRE_EQ(tcp_socket(&p->r->t, L, 1, 0), 0);
	REQUIRE_EQ(tcp_bind(&p->r->t, L, (be32){ 0 }, to_be16(80)), 0);
	REQUIRE_EQ(tcp_listen(&p->r->t, L, 8), 0);
}

static inline void peer_claim(struct peer *p)
{
	s64 sk = tcp_accept_next(&p->r->t, L);

	REQUIRE(sk >= 0);
	p->sk = (u32)sk;
	tcp_offered(&p->r->t, p->sk);
	tcp_claimed(&p->r->t, p->sk);
}

/* We listen, the peer connects in `rtt`; p->sk is the child. */
static inline void peer_connects(struct peer *p, u64 rtt)
{
	peer_listen(p);
	say(p, TCP_SYN, p->seq, 0);
	REQUIRE(last(p) && p->got.flags == (TCP_SYN | TCP_ACK));
	CHECK_EQ(p->got.ack, p->seq + 1);
	p->seq++;
	p->ack = p->got.seq + 1;
	if (rtt)
		rig_advance(p->r, rtt);
	say(p, TCP_ACK, p->seq, p->ack);
	peer_claim(p);
	forget(p);
}

/* We send a SYN; it is in p->got. */
static inline void connect_begins(struct peer *p)
{
	REQUIRE_EQ(tcp_socket(&p->r->t, A, 1, 0), 0);
	REQUIRE_EQ(tcp_connect(&p->r->t, A, to_be32(PEER), to_be16(p->port), 1), 0);
	p->sk = A;
	REQUIRE(last(p) && p->got.flags == TCP_SYN);
	p->our_port = from_be16(conn(p)->h->tuple.lport);
	p->ack = p->got.seq + 1;
}

/* ... and the peer answers it after `rtt`. */
static inline void we_connect(struct peer *p, u64 rtt)
{
	connect_begins(p);
	if (rtt)
		rig_advance(p->r, rtt);
	say(p, TCP_SYN | TCP_ACK, p->seq, p->ack);
	p->seq++;
	CHECK_EQ(state(p), TCPS_ESTABLISHED);
	forget(p);
}

/* n bytes of the application's, zeros, in one go. */
static inline void write_n(struct peer *p, u32 n)
{
	u8 *b = calloc(1, n ? n : 1);

	CHECK_EQ(rig_write(p->r, p->sk, b, n), n);
	free(b);
	tcp_flush(&p->r->t);
}

static inline u32 read_all(struct peer *p)
{
	static u8 b[RIG_RING];
	u32 n = rig_read(p->r, p->sk, b, sizeof(b));

	tcp_flush(&p->r->t);
	return n;
}

static inline void set_opt(struct peer *p, u32 sk, int level, int name, int v)
{
	CHECK_EQ(tcp_setsockopt(&p->r->t, sk, level, name, &v, sizeof(v)), 0);
	tcp_flush(&p->r->t);
}

static inline u64 dropped(struct peer *p, enum counter_id id) { return counter_get(&p->r->counters, id); }

#endif
