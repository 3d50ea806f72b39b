/* tcp_peer.h – a scripted peer for the unit tests of TCP: segments with any options in, what was sent out of the rig's queue.
 *
 *      us 10.0.0.1:80 or :ephemeral   <-- script -->   peer 10.0.0.2:5000 */
#ifndef STRATA_TCP_PEER_H
#define STRATA_TCP_PEER_H

#include "tcp_rig.h"

#define US 0x0a000001u
#define PEER 0x0a000002u
#define L SK(0, 1)
#define A SK(0, 2)

struct peer {
	struct rig *r;
	u32 seq, ack;			/* the next of ours, the next of theirs */
	u16 port, our_port, wnd;
	u8 opts[40], nopts;		/* on every segment injected from now on; a multiple of four */
	u32 addr;
};

static inline struct peer peer_of(struct rig *r)
{
	return (struct peer){ .r = r, .seq = 0xffffff00u, .port = 5000, .our_port = 80, .wnd = 65535, .addr = PEER };
}

static inline void inject(struct peer *p, u8 flags, u32 seq, u32 ack, const void *data, u32 n)
{
	u8 b[1600] = { 0 };
	u32 hl = 20 + p->nopts;

	assert(hl + n <= sizeof(b));
	*(struct tcp_hdr *)b = (struct tcp_hdr){ .source = to_be16(p->port), .dest = to_be16(p->our_port), .seq = to_be32(seq),
						 .ack_seq = to_be32(ack), .doff_res = (u8)(hl << 2), .flags = flags,
						 .window = to_be16(p->wnd) };
	memcpy(b + 20, p->opts, p->nopts);
	if (n)
		memcpy(b + hl, data, n);
	rig_deliver(p->r, b, hl + n, p->addr, US, false);
	tcp_flush(&p->r->t);
}

/* Options of a SYN as Linux sends them; of what follows, the timestamp alone: echo 0 leaves it out. */
static inline void put_be32(u8 *p, u32 v) { memcpy(p, &(be32){ to_be32(v).v }, 4); }
static inline void syn_options(struct peer *p, u16 mss, bool sack, bool ts, int wscale)
{
	u8 *o = p->opts;

	memset(o, TCPOPT_NOP, sizeof(p->opts));
	memcpy(o, (u8[]){ TCPOPT_MSS, 4, (u8)(mss >> 8), (u8)mss }, 4);
	if (sack)
		memcpy(o + 4, (u8[]){ TCPOPT_SACK_PERM, 2 }, 2);
	if (ts) {
		memcpy(o + 6, (u8[]){ TCPOPT_TS, 10 }, 2);
		put_be32(o + 8, 12345);
		put_be32(o + 12, 0);
	}
	if (wscale >= 0)
		memcpy(o + 17, (u8[]){ TCPOPT_WSCALE, 3, (u8)wscale }, 3);
	p->nopts = 20;
}
static inline void timestamp_option(struct peer *p, u32 echo)
{
	p->nopts = 0;
	if (!echo)
		return;
	memcpy(p->opts, (u8[]){ TCPOPT_NOP, TCPOPT_NOP, TCPOPT_TS, 10 }, 4);
	put_be32(p->opts + 4, 12346);
	put_be32(p->opts + 8, echo);
	p->nopts = 12;
}

/* The newest segment sent, and forget all of them; NULL: none. */
static inline const struct rig_pkt *sent_pkt(struct rig *r)
{
	const struct rig_pkt *p = r->nout ? &r->out[(r->nout - 1) % RIG_OUT] : NULL;

	r->nout = 0;
	return p;
}

static inline const struct tcp_hdr *sent(struct rig *r)
{
	const struct rig_pkt *p = sent_pkt(r);

	return p ? (const struct tcp_hdr *)p->data : NULL;
}

/* The bytes of an option, or NULL. */
static inline const u8 *option(const struct rig_pkt *k, u8 kind)
{
	u32 hl = (u32)(k->data[12] >> 4) * 4;

	for (u32 i = 20; i < hl && k->data[i]; i += k->data[i] == TCPOPT_NOP ? 1 : k->data[i + 1])
		if (k->data[i] == kind)
			return k->data + i;
	return NULL;
}
static inline u32 get_be32(const u8 *p) { return (u32)p[0] << 24 | (u32)p[1] << 16 | (u32)p[2] << 8 | p[3]; }
static inline u32 hdr_len(const struct rig_pkt *p) { return (u32)(p->data[12] >> 4) * 4; }
static inline u8 flags_of(const struct rig_pkt *p) { return p->data[13]; }

static inline void listen_on_80(struct rig *r, int backlog)
{
	REQUIRE_EQ(tcp_socket(&r->t, L, 1, 0), 0);
	REQUIRE_EQ(tcp_bind(&r->t, L, (be32){ 0 }, to_be16(80)), 0);
	REQUIRE_EQ(tcp_listen(&r->t, L, backlog), 0);
}

/* The oldest connection waiting for accept, taken. */
static inline u32 accepted(struct rig *r)
{
	s64 sk = tcp_accept_next(&r->t, L);

	REQUIRE(sk >= 0);
	tcp_offered(&r->t, (u32)sk);
	tcp_claimed(&r->t, (u32)sk);
	return (u32)sk;
}

/* A connection from the peer, and one to it. `ack` is then the number of our first byte. */
static inline u32 peer_connects(struct peer *p)
{
	const struct tcp_hdr *h;
	u32 sk;

	listen_on_80(p->r, 8);
	inject(p, TCP_SYN, p->seq, 0, NULL, 0);
	h = sent(p->r);
	REQUIRE(h && h->flags == (TCP_SYN | TCP_ACK));
	p->seq++;
	p->ack = from_be32(h->seq) + 1;
	inject(p, TCP_ACK, p->seq, p->ack, NULL, 0);
	sk = accepted(p->r);
	sent(p->r);
	return sk;
}

static inline u32 connects_to_peer(struct peer *p)
{
	const struct tcp_hdr *h;

	REQUIRE_EQ(tcp_socket(&p->r->t, A, 1, 0), 0);
	REQUIRE_EQ(tcp_connect(&p->r->t, A, to_be32(p->addr), to_be16(p->port), 1), 0);
	h = sent(p->r);
	REQUIRE(h && h->flags == TCP_SYN);
	p->our_port = from_be16(h->source);
	p->ack = from_be32(h->seq) + 1;
	return A;
}

/* An ICMP error from a router, about a segment of ours with this sequence number. */
#define ROUTER 0x0a0000feu
static inline void icmp(struct peer *p, u8 type, u8 code, u32 mtu, u32 seq)
{
	struct tcp_hdr h = { .source = to_be16(p->our_port), .dest = to_be16(p->port), .seq = to_be32(seq), .doff_res = 0x50 };
	struct ip_cb cb = { .saddr = to_be32(US), .daddr = to_be32(p->addr), .protocol = 6, .icmp_type = type, .icmp_code = code,
			    .icmp_mtu = mtu, .icmp_from = to_be32(ROUTER) };

	tcp_v4_err(&p->r->t, &cb, (const u8 *)&h, sizeof(h));
	tcp_flush(&p->r->t);
}

static inline void peer_end(struct peer *p)
{
	tcp_flush(&p->r->t);
	CHECK(!p->r->t.soft->dirty);
	rig_free(p->r);
}

#endif
