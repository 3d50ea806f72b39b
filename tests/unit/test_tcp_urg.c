/* test_tcp_urg.c – services/tcp/tcp_urg.c: the urgent pointer sent and received, across restarts, from hostile clients and peers. */
#include "tcp_peer.h"

static void send_urgent(struct rig *r, u32 sk, const char *text)
{
	struct sockbuf *b = &rig_conn(r, sk)->b;
	u32 n = (u32)strlen(text);

	store_relaxed(&b->c->urg_at, load_relaxed(&b->c->tx_head) + n);
	atomic_fetch_or(&b->c->opts, SKC_URG);
	CHECK_EQ(rig_write(r, sk, text, n), n);
	tcp_flush(&r->t);
}

static u16 urg_of(const struct rig_pkt *p)
{
	const struct tcp_hdr *h = (const struct tcp_hdr *)p->data;

	CHECK_EQ(!!(h->flags & TCP_URG), h->urg_ptr.v != 0);
	return from_be16(h->urg_ptr);
}

static void the_pointer_names_the_byte_after(void)
{
	struct rig *r = rig_new(US, 7);
	struct peer p = peer_of(r);
	u32 sk = peer_connects(&p);

	send_urgent(r, sk, "abc");
	REQUIRE_EQ(r->nout, 1);
	CHECK_EQ(urg_of(&r->out[0]), 3);
	r->nout = 0;
	rig_write(r, sk, "def", 3);		/* Nagle does not hold it, and it is not urgent */
	tcp_flush(&r->t);
	REQUIRE_EQ(r->nout, 1);
	CHECK_EQ(urg_of(&r->out[0]), 0);
	r->nout = 0;
	inject(&p, TCP_ACK, p.seq, p.ack + 6, NULL, 0);
	rig_write(r, sk, "ghi", 3);
	tcp_flush(&r->t);
	CHECK_EQ(urg_of(&r->out[0]), 0);
	r->nout = 0;
	inject(&p, TCP_ACK, p.seq, p.ack + 9, NULL, 0);
	peer_end(&p);
}

/* Every segment up to the urgent byte says where it is, and none is merged with another. */
static void every_segment_says_so(void)
{
	static char bytes[4001];
	struct rig *r = rig_new(US, 7);
	struct peer p = peer_of(r);
	u32 sk = peer_connects(&p), left = 4000;

	memset(bytes, 'x', 4000);
	send_urgent(r, sk, bytes);
	CHECK(r->nout >= 3);
	for (u32 i = 0; i < r->nout; i++) {
		CHECK_EQ(r->out[i].gso_type, 0);
		CHECK_EQ(urg_of(&r->out[i]), left);
		left -= r->out[i].len - hdr_len(&r->out[i]);
	}
	CHECK_EQ(left, 0);
	r->nout = 0;
	inject(&p, TCP_ACK, p.seq, p.ack + 4000, NULL, 0);
	peer_end(&p);
}

static void told_again_after_a_restart(void)
{
	struct rig *r = rig_new(US, 7);
	struct peer p = peer_of(r);
	u32 sk = peer_connects(&p);

	send_urgent(r, sk, "abc");
	r->nout = 0;
	store_relaxed(&rig_conn(r, sk)->b.c->urg_at, 0);	/* what the client says now is late */
	rig_restart(r);
	rig_advance(r, 100 * MSEC);
	REQUIRE(r->nout >= 1);
	CHECK_EQ(urg_of(&r->out[0]), 3);
	r->nout = 0;
	inject(&p, TCP_ACK, p.seq, p.ack + 3, NULL, 0);
	peer_end(&p);
}

static void a_hostile_client_harms_himself(void)
{
	static const u64 nonsense[] = { 0, 1, UINT64_MAX, 1ull << 63 };
	struct rig *r = rig_new(US, 7);
	struct peer p = peer_of(r);
	u32 sk = peer_connects(&p);
	struct sockbuf *b = &rig_conn(r, sk)->b;

	atomic_fetch_or(&b->c->opts, SKC_URG);
	for (u32 i = 0; i < ARRAY_SIZE(nonsense); i++) {
		store_relaxed(&b->c->urg_at, nonsense[i] + (i ? 0 : load_relaxed(&b->c->tx_head) + 100));
		rig_write(r, sk, "x", 1);
		tcp_flush(&r->t);
		REQUIRE(r->nout);
		CHECK_EQ(urg_of(&r->out[0]), 0);
		r->nout = 0;
		p.ack++;
		inject(&p, TCP_ACK, p.seq, p.ack, NULL, 0);
	}
	peer_end(&p);
}

static void urgent_in(struct peer *p, u16 ptr, u32 seq, const char *data)
{
	u8 b[100] = { 0 };
	u32 n = (u32)strlen(data);

	*(struct tcp_hdr *)b = (struct tcp_hdr){ .source = to_be16(p->port), .dest = to_be16(p->our_port), .seq = to_be32(seq),
						 .ack_seq = to_be32(p->ack), .doff_res = 0x50, .flags = TCP_ACK | TCP_URG,
						 .window = to_be16(65535), .urg_ptr = to_be16(ptr) };
	memcpy(b + 20, data, n);
	rig_deliver(p->r, b, 20 + n, p->addr, US, false);
	tcp_flush(&p->r->t);
}

/* Only forward, never what has passed; the mark outlives the stack. */
static void received(void)
{
	struct rig *r = rig_new(US, 7);
	struct peer p = peer_of(r);
	u32 sk = peer_connects(&p);
	struct sockbuf *b = &rig_conn(r, sk)->b;
	u64 base = load_relaxed(&b->s->rx_head);
	char buf[20];

	urgent_in(&p, 3, p.seq, "abc");
	CHECK_EQ(load_relaxed(&b->s->urg), base + 3);
	urgent_in(&p, 3, p.seq, "abc");			/* again */
	CHECK_EQ(load_relaxed(&b->s->urg), base + 3);
	urgent_in(&p, 2, p.seq + 1, "bc");		/* the same byte */
	CHECK_EQ(load_relaxed(&b->s->urg), base + 3);
	urgent_in(&p, 0, p.seq + 3, "d");		/* none */
	CHECK_EQ(load_relaxed(&b->s->urg), base + 3);
	rig_restart(r);
	b = &rig_conn(r, sk)->b;
	CHECK_EQ(load_relaxed(&b->s->urg), base + 3);
	urgent_in(&p, 10, p.seq + 4, "e");		/* the byte is still to come */
	CHECK_EQ(load_relaxed(&b->s->urg), base + 14);
	CHECK_EQ(load_relaxed(&b->s->rx_head), base + 5);
	CHECK_EQ(rig_read(r, sk, buf, sizeof(buf)), 5);
	peer_end(&p);
}

UNIT_MAIN(UNIT(the_pointer_names_the_byte_after), UNIT(every_segment_says_so), UNIT(told_again_after_a_restart),
	  UNIT(a_hostile_client_harms_himself), UNIT(received))
