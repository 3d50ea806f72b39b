/* virtual.c – TCP in virtual time as the host of a script: what it sends is queued with the time, what the script injects is
 * given to tcp_v4_rcv(). Time jumps from timer to timer. */
#include "virtual.h"

#include <stdlib.h>
#include <sys/mman.h>

#define RX_RING (8u << 20)	/* as the daemons' defaults */
#define TX_RING (4u << 20)

/* ---- what TCP asks of its surroundings ---- */

static u64 random64(struct virtual *v)
{
	u64 x = v->rng += 0x9e3779b97f4a7c15ull;

	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ull;
	x = (x ^ x >> 27) * 0x94d049bb133111ebull;
	return x ^ x >> 31;
}

/* A transmit buffer is malloc'ed; its address travels in buf and gen, which nothing looks at. */
static u8 *bytes_of(const struct sk_buff *skb) { return (u8 *)(uintptr_t)((u64)skb->buf | (u64)skb->gen << 32); }

static u8 *op_alloc(void *ctx, u32 size, u32 sk, struct sk_buff *skb)
{
	struct virtual *v = ctx;
	u8 *b = malloc(size);

	assert(b);
	v->outstanding++;
	*skb = (struct sk_buff){ .buf = (u32)(uintptr_t)b, .gen = (u32)((u64)(uintptr_t)b >> 32), .hdr_off = SKB_HDR_ROOM };
	return b;
}

static void op_unalloc(void *ctx, struct sk_buff *skb)
{
	free(bytes_of(skb));
	((struct virtual *)ctx)->outstanding--;
}

/* One segment of a packet that a device would cut. */
static void emit(struct virtual *v, const struct sk_buff *skb, const u8 *d, u32 done, u32 n, bool last)
{
	const struct tx_cb *cb = (const struct tx_cb *)skb->hdr;
	u32 hl = (u32)(d[12] >> 4) * 4;
	struct pkt *p = host_queue(v->h);
	struct tcp_hdr *t;

	assert(p && hl + n <= sizeof(p->tcp));
	*p = (struct pkt){ .at = v->t.now, .saddr = cb->saddr, .daddr = cb->daddr, .tos = cb->tos, .ttl = cb->ttl, .df = cb->df, .len = hl + n };
	memcpy(p->tcp, d, hl);
	memcpy(p->tcp + hl, d + hl + done, n);
	t = (struct tcp_hdr *)p->tcp;
	t->seq = to_be32(from_be32(t->seq) + done);
	if (!last)
		t->flags &= (u8)~(TCP_FIN | TCP_PSH);
	if (done)
		t->flags &= (u8)~TCP_CWR;	/* the first alone tells it */
	t->check = 0;
	t->check = csum_fold(csum_partial(p->tcp, p->len, csum_pseudo(p->saddr, p->daddr, 6, p->len)));
	v->h->qtail++;
}

static int op_queue_xmit(void *ctx, struct sk_buff *skb)
{
	struct virtual *v = ctx;
	const u8 *d = bytes_of(skb) + skb->off;
	u32 pay = skb->len - (u32)(d[12] >> 4) * 4, mss = skb->gso_size ? skb->gso_size : MAX(pay, 1u), done = 0;

	do {
		u32 n = MIN(mss, pay - done);

		emit(v, skb, d, done, n, done + n == pay);
		done += n;
	} while (done < pay);
	op_unalloc(ctx, skb);
	return 0;
}

static u32 op_loans(void *ctx, u32 sk) { return 0; }
static int op_route(void *ctx, be32 daddr, be32 hint, struct tcp_route *ret)
{
	struct virtual *v = ctx;

	*ret = (struct tcp_route){ .saddr = v->h->local, .mtu = v->mtu, .gso = true, .csum = true };
	return 0;
}
static bool op_is_local(void *ctx, be32 a) { return be32_eq(a, ((struct virtual *)ctx)->h->local); }
static void op_random(void *ctx, void *buf, size_t n)
{
	for (size_t i = 0; i < n; i++)
		((u8 *)buf)[i] = (u8)random64(ctx);
}
static void op_news(void *ctx, u32 sk) { ((struct virtual *)ctx)->edge[SK_SLOT(sk)] = true; }
static void op_freed(void *ctx, u32 sk)
{
	struct virtual *v = ctx;

	if (SK_SLOT(sk) >= ARENA_ACTIVE)
		v->freed[v->nfreed++] = sk;
}
static s64 op_child(void *ctx, u32 listener)
{
	struct virtual *v = ctx;

	if (v->nfreed)		/* as tcpd does: what the connection before left behind shows */
		return v->freed[--v->nfreed];
	return v->child < ARENA_SLOTS ? (s64)SK(0, v->child++) : -ENOBUFS;
}
static void op_accept_ready(void *ctx, u32 listener, u32 sk) { ((struct virtual *)ctx)->edge[SK_SLOT(listener)] = true; }

static const struct tcp_ops ops = {
	.queue_xmit = op_queue_xmit, .alloc = op_alloc, .unalloc = op_unalloc, .loans = op_loans, .route = op_route,
	.is_local = op_is_local, .random = op_random, .data_ready = op_news, .write_space = op_news, .state_change = op_news,
	.freed = op_freed, .child = op_child, .accept_ready = op_accept_ready,
};

/* ---- life ---- */

static void *zeroed(size_t n)
{
	void *p = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	assert(p != MAP_FAILED);
	return p;
}

static void configure(struct virtual *v, const struct script *s)
{
	v->mtu = s->mtu ? s->mtu : 1500;
	v->ring = s->rcvbuf ? s->rcvbuf : RX_RING;
	v->conf = (struct config){ .port_lo = 32768, .port_hi = 60999, .fin_timeout_s = 60, .tw_max = 1024, .backlog_max = 128,
				   .ecn = s->ecn, .fastopen = s->fastopen, .syncookies = s->syncookies, .timestamps = !s->no_timestamps, .sack = !s->no_sack, .window_scaling = !s->no_window_scaling, .ttl = 64 };
	memcpy(v->conf.congestion, s->congestion[0] ? s->congestion : "cubic", s->congestion[0] ? sizeof(s->congestion) : sizeof("cubic"));
}

static int start(struct host *h, const struct script *s)
{
	struct virtual *v = calloc(1, sizeof(*v));
	struct arena_map *a;
	u32 tx;
	int r;

	if (!v)
		return -ENOMEM;
	h->priv = v;
	h->now = 1000 * SEC;
	h->local = to_be32(0x0a090002);
	h->peer = to_be32(0x0a090001);
	h->port = 8080;
	v->h = h;
	v->child = ARENA_ACTIVE;
	configure(v, s);
	tx = s->sndbuf ? s->sndbuf : TX_RING;
	v->t = (struct tcp_stack){ .ops = &ops, .ctx = v, .now = h->now, .t = zeroed(sizeof(struct tcp_tables)), .secret = &v->secret,
				   .counters = &v->counters, .conf = &v->conf };
	a = &v->t.arena[0];
	*a = (struct arena_map){ zeroed(arena_stack_bytes(v->ring)), zeroed(arena_client_bytes(tx)), v->ring, tx, 0, true };
	for (u32 i = 0; i < ARENA_SLOTS; i++)	/* offsets begin at 0, as in an arena that is new */
		store_relaxed(&a->client->sk[i].arm, 1);
	r = tcp_attach(&v->t);
	if (!r)
		tcp_arena_added(&v->t, 0);
	return r;
}

static void stop(struct host *h)
{
	struct virtual *v = h->priv;

	tcp_detach(&v->t);
	assert(!v->outstanding);
	munmap(v->t.t, sizeof(struct tcp_tables));
	munmap(v->t.arena[0].stack, arena_stack_bytes(v->t.arena[0].rx_size));
	munmap(v->t.arena[0].client, arena_client_bytes(v->t.arena[0].tx_size));
	free(v);
}

/* ---- time and packets ---- */

/* Everything due now; the next time something is. */
static u64 settle(struct virtual *v)
{
	u64 next;

	v->t.now = v->h->now;
	next = tcp_run_timers(&v->t);
	tcp_flush(&v->t);
	virtual_retry(v);
	tcp_flush(&v->t);
	return MIN(next, tcp_run_timers(&v->t));
}

static void run(struct host *h, u64 t, bool to_packet)
{
	struct virtual *v = h->priv;

	for (;;) {
		u64 next = settle(v);

		if ((to_packet && h->qhead != h->qtail) || next > t)
			break;
		h->now = MAX(next, h->now);
	}
	if (!(to_packet && h->qhead != h->qtail) && t > h->now && t != UINT64_MAX) {
		h->now = t;
		settle(v);
	}
}

static void run_until(struct host *h, u64 t) { run(h, t, false); }
static void run_to_packet(struct host *h, u64 t) { run(h, t, true); }

static void inject(struct host *h, const struct pkt *p)
{
	struct virtual *v = h->priv;
	struct sk_buff skb = { .len = p->len, .hdr_off = SKB_HDR_ROOM, .ip_summed = CHECKSUM_NONE, .tstamp = h->now };

	*skb_ip_cb(&skb) = (struct ip_cb){ .saddr = p->saddr, .daddr = p->daddr, .protocol = 6, .ttl = p->ttl, .tos = p->tos };
	v->t.now = h->now;
	tcp_v4_rcv(&v->t, &skb, p->tcp, NULL, NULL);
	settle(v);
}

static void icmp(struct host *h, const struct icmp_err *e, const struct pkt *quoted)
{
	struct virtual *v = h->priv;
	struct ip_cb cb = { .saddr = quoted->saddr, .daddr = quoted->daddr, .protocol = 6, .icmp_type = e->type, .icmp_code = e->code,
			    .icmp_mtu = e->mtu };

	v->t.now = h->now;
	tcp_v4_err(&v->t, &cb, quoted->tcp, quoted->len);
	settle(v);
}

static void call(struct host *h, const struct call *c, struct answer *ret)
{
	virtual_call(h, c, ret);
	settle(h->priv);
}

const struct host_ops virtual_host = {
	.start = start, .stop = stop, .run_until = run_until, .run_to_packet = run_to_packet, .inject = inject, .icmp = icmp,
	.call = call, .call_blocking = virtual_call_blocking,
};
