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

#endif
