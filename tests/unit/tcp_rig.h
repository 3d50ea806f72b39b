/* tcp_rig.h – one TCP with private memory for the unit tests: what it sends is kept in a queue, what it hears is given to it.
 *
 * Sequence numbers: offsets begin just below 2^32, so that a test of any length passes a wrap. */
#ifndef STRATA_TCP_RIG_H
#define STRATA_TCP_RIG_H

#include "services/tcp/path.h"
#include "unit.h"

#include <stdlib.h>
#include <sys/mman.h>

#ifndef RIG_RING
#define RIG_RING 65536u
#define RIG_OUT 512u
#endif

struct rig_pkt { u32 len; u8 data[1600]; u32 saddr, daddr; u8 tos, ttl, gso_type, df; };
struct rig {
	struct tcp_stack t;
	struct counters counters;
	struct secret_shm secret;
	struct config conf;
	struct rig_pkt out[RIG_OUT];
	u32 nout, outstanding, freed, child, changed, trimmed;
	u64 rng;
	u32 addr, mtu;
	u32 routes;		/* times the route was asked for */
	u32 route_gen, learnt;	/* how often the route changed; the last path MTU told to ipd */
	bool full;
	u8 rx_tos;		/* of what is delivered from now on */
};

static inline u64 rig_rand(struct rig *r)
{
	u64 x = r->rng += 0x9e3779b97f4a7c15ull;

	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ull;
	x = (x ^ x >> 27) * 0x94d049bb133111ebull;
	return x ^ x >> 31;
}

static u8 *rig_alloc(void *ctx, u32 size, u32 sk, struct sk_buff *skb)
{
	struct rig *r = ctx;
	u8 *b = malloc(size);

	r->outstanding++;
	*skb = (struct sk_buff){ .buf = (u32)(uintptr_t)b, .gen = (u32)((u64)(uintptr_t)b >> 32), .hdr_off = SKB_HDR_ROOM };
	return b;
}
static void rig_unalloc(void *ctx, struct sk_buff *skb)
{
	free((void *)(uintptr_t)((u64)skb->buf | (u64)skb->gen << 32));
	((struct rig *)ctx)->outstanding--;
}
/* Cut as a device does: one queue entry per wire segment, checksum complete. */
static int rig_xmit(void *ctx, struct sk_buff *skb)
{
	struct rig *r = ctx;
	const u8 *d = (const u8 *)(uintptr_t)((u64)skb->buf | (u64)skb->gen << 32);
	u32 hl = (u32)(d[12] >> 4) * 4, pay = skb->len - hl, mss = skb->gso_size ? skb->gso_size : pay, done = 0;
	const struct tx_cb *cb = (const struct tx_cb *)skb->hdr;

	if (r->full)
		return -ENOBUFS;
	do {
		u32 n = MIN(mss, pay - done);
		struct rig_pkt *p = &r->out[r->nout % RIG_OUT];
		struct tcp_hdr *h = (struct tcp_hdr *)p->data;

		assert(hl + n <= sizeof(p->data));
		memcpy(p->data, d, hl);
		memcpy(p->data + hl, d + hl + done, n);
		h->seq = to_be32(from_be32(h->seq) + done);
		if (done + n < pay)
			h->flags &= (u8)~(TCP_FIN | TCP_PSH);
		if (done)
			h->flags &= (u8)~TCP_CWR;
		h->check = 0;
		p->len = hl + n;
		p->saddr = from_be32(cb->saddr);
		p->daddr = from_be32(cb->daddr);
		p->df = cb->df;
		p->tos = cb->tos;
		p->gso_type = skb->gso_type;
		p->ttl = cb->ttl;
		h->check = csum_fold(csum_partial(p->data, p->len, csum_pseudo(cb->saddr, cb->daddr, 6, p->len)));
		r->nout++;
		done += n;
	} while (done < pay);
	rig_unalloc(ctx, skb);
	return 0;
}
static u32 rig_loans(void *ctx, u32 sk) { return 0; }
static int rig_route(void *ctx, be32 d, be32 h, struct tcp_route *ret)
{
	struct rig *r = ctx;

	r->routes++;
	*ret = (struct tcp_route){ .saddr = to_be32(r->addr), .mtu = r->mtu, .gso = true, .csum = true };
	return 0;
}
static u32 rig_route_gen(void *ctx) { return ((struct rig *)ctx)->route_gen; }
static void rig_learnt(void *ctx, be32 daddr, u32 mtu) { ((struct rig *)ctx)->learnt = mtu; }
static bool rig_local(void *ctx, be32 a) { return from_be32(a) == ((struct rig *)ctx)->addr; }
static void rig_random(void *ctx, void *buf, size_t n)
{
	for (size_t i = 0; i < n; i++)
		((u8 *)buf)[i] = (u8)rig_rand(ctx);
}
static void rig_nothing(void *ctx, u32 sk) {}
static void rig_change(void *ctx, u32 sk) { ((struct rig *)ctx)->changed++; }
static void rig_trim(void *ctx, u32 sk) { ((struct rig *)ctx)->trimmed++; }
static void rig_freed(void *ctx, u32 sk) { ((struct rig *)ctx)->freed++; }
static s64 rig_child(void *ctx, u32 l) { return SK(0, ((struct rig *)ctx)->child++); }
static void rig_accept(void *ctx, u32 l, u32 sk) {}

static const struct tcp_ops rig_ops = {
	.queue_xmit = rig_xmit, .alloc = rig_alloc, .unalloc = rig_unalloc, .loans = rig_loans, .route = rig_route,
	.route_gen = rig_route_gen, .pmtu_learnt = rig_learnt,
	.is_local = rig_local, .random = rig_random, .data_ready = rig_nothing, .write_space = rig_nothing,
	.state_change = rig_change, .trim = rig_trim, .freed = rig_freed, .child = rig_child, .accept_ready = rig_accept,
};

static inline void *rig_zero(size_t n)
{
	void *p = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	assert(p != MAP_FAILED);
	return p;
}

static inline struct rig *rig_new(u32 addr, u64 seed)
{
	struct rig *r = calloc(1, sizeof(*r));
	struct arena_client *c;

	r->addr = addr;
	r->mtu = 1500;
	r->rng = seed;
	r->child = ARENA_ACTIVE;
	r->conf = (struct config){ .congestion = "cubic", .port_lo = 32768, .port_hi = 60999, .fin_timeout_s = 60, .tw_max = 1024,
				   .backlog_max = 128, .timestamps = true, .sack = true, .window_scaling = true, .ttl = 64,
				   .syncookies = COOKIES_WHEN_FULL };
	r->t = (struct tcp_stack){ .ops = &rig_ops, .ctx = r, .now = 1000 * SEC, .t = rig_zero(sizeof(struct tcp_tables)),
				   .secret = &r->secret, .counters = &r->counters, .conf = &r->conf, .plain = rig_zero(SK_MAX * sizeof(struct tcp_plain)) };
	r->t.arena[0] = (struct arena_map){ rig_zero(arena_stack_all(RIG_RING, RIG_RING)), rig_zero(arena_client_bytes(RIG_RING)),
					    RIG_RING, RIG_RING, 0, true };
	c = r->t.arena[0].client;
	for (u32 i = 0; i < ARENA_SLOTS; i++) {
		store_relaxed(&c->sk[i].rx_tail, 0xfffff000ull + i);
		store_relaxed(&c->sk[i].tx_head, 0xffffe000ull + i);
		store_relaxed(&c->sk[i].arm, 1);
	}
	REQUIRE_EQ(tcp_attach(&r->t), 0);
	tcp_arena_added(&r->t, 0);
	return r;
}

static inline void rig_restart(struct rig *r)
{
	tcp_detach(&r->t);
	REQUIRE_EQ(tcp_attach(&r->t), 0);
	tcp_arena_added(&r->t, 0);
}

/* Transmit buffers must be back; records must be free when every connection is. */
static inline void rig_free(struct rig *r)
{
	CHECK_EQ(r->outstanding, 0);
	tcp_detach(&r->t);
	munmap(r->t.t, sizeof(struct tcp_tables));
	munmap(r->t.arena[0].stack, arena_stack_all(RIG_RING, RIG_RING));
	munmap(r->t.plain, SK_MAX * sizeof(struct tcp_plain));
	munmap(r->t.arena[0].client, arena_client_bytes(RIG_RING));
	free(r);
}

static inline struct tcp_conn *rig_conn(struct rig *r, u32 sk) { return conn_of(&r->t, sk); }

static inline void rig_deliver(struct rig *r, const u8 *data, u32 len, u32 saddr, u32 daddr, bool verify)
{
	struct sk_buff skb = { .len = len, .hdr_off = SKB_HDR_ROOM, .ip_summed = verify ? CHECKSUM_NONE : CHECKSUM_UNNECESSARY };

	*skb_ip_cb(&skb) = (struct ip_cb){ .saddr = to_be32(saddr), .daddr = to_be32(daddr), .protocol = 6, .ttl = 64,
				       .tos = r->rx_tos };
	tcp_v4_rcv(&r->t, &skb, data, NULL, NULL);
}

/* Time passes; timers run on the way. */
static inline void rig_advance(struct rig *r, u64 ns)
{
	u64 end = r->t.now + ns;

	for (;;) {
		u64 next = tcp_run_timers(&r->t);

		tcp_flush(&r->t);
		if (next > end)
			break;
		r->t.now = MAX(next, r->t.now);
	}
	r->t.now = end;
	tcp_run_timers(&r->t);
	tcp_flush(&r->t);
}

static inline u32 rig_write(struct rig *r, u32 sk, const void *p, u32 n)
{
	struct sockbuf *b = &rig_conn(r, sk)->b;
	u64 head = load_relaxed(&b->c->tx_head), used = head - load_relaxed(&b->s->tx_tail);
	u64 limit = sockbuf_tx_limit(b);

	n = (u32)MIN((u64)n, used < limit ? limit - used : 0);
	bytes_in(b->tx, b->tx_size, head, p, n);
	store_release(&b->c->tx_head, head + n);
	tcp_kick(&r->t, sk);
	return n;
}

static inline u32 rig_read(struct rig *r, u32 sk, void *p, u32 n)
{
	struct sockbuf *b = &rig_conn(r, sk)->b;
	u64 tail = load_relaxed(&b->c->rx_tail), head = load_relaxed(&b->s->rx_head), fin = load_relaxed(&b->s->fin);

	if (fin && head >= fin)
		head = fin - 1;
	n = (u32)MIN((u64)n, head - tail);
	bytes_out(p, b->rx, b->rx_size, tail, n);
	store_release(&b->c->rx_tail, tail + n);
	tcp_kick(&r->t, sk);
	return n;
}

#endif
