/* node.c – one host of the simulator: a TCP with private memory for its tables and arena, and the applications on it. */
#include "sim.h"

#include <stdlib.h>
#include <sys/mman.h>

#define RING 65536u
#define LISTENER SK(0, 1)

static u8 pattern(u64 seed, u64 off)
{
	u64 x = (off >> 3) * 0x9e3779b97f4a7c15ull ^ seed;

	x ^= x >> 29;
	return (u8)(x >> (off & 7) * 8);
}

/* ---- what TCP asks of its surroundings ---- */

/* A simulated transmit buffer is malloc'ed: AddressSanitizer sees every byte written beyond it. Its address
 * travels in buf and gen, which nothing between here and the wire interprets. */
static u8 *skb_bytes(const struct sk_buff *skb)
{
	return (u8 *)(uintptr_t)((u64)skb->buf | (u64)skb->gen << 32);
}

static u8 *op_alloc(void *ctx, u32 size, u32 sk, struct sk_buff *skb)
{
	struct node *n = ctx;
	u8 *b = malloc(size);

	if (!b)
		return NULL;
	n->outstanding++;
	*skb = (struct sk_buff){ .buf = (u32)(uintptr_t)b, .gen = (u32)((u64)(uintptr_t)b >> 32), .hdr_off = SKB_HDR_ROOM };
	return b;
}

static void op_unalloc(void *ctx, struct sk_buff *skb)
{
	struct node *n = ctx;

	free(skb_bytes(skb));
	n->outstanding--;
}

static int op_queue_xmit(void *ctx, struct sk_buff *skb)
{
	struct node *n = ctx;

	if (sim_chance(n->sim, 0.001))
		return -ENOBUFS;	/* a full ring, now and then */
	wire_send(n->sim, n, skb, skb_bytes(skb) + skb->off);
	op_unalloc(ctx, skb);
	return 0;
}

static u32 op_loans(void *ctx, u32 sk) { return 0; }

static int op_route(void *ctx, be32 daddr, be32 hint, struct tcp_route *ret)
{
	struct node *n = ctx;

	*ret = (struct tcp_route){ .saddr = n->addr, .mtu = n->sim->mtu, .gso = true, .csum = true };
	return 0;
}

static bool op_is_local(void *ctx, be32 addr)
{
	return be32_eq(((struct node *)ctx)->addr, addr);
}

static void op_random(void *ctx, void *buf, size_t len)
{
	struct node *n = ctx;

	for (size_t i = 0; i < len; i++)
		((u8 *)buf)[i] = (u8)sim_rand(n->sim);
}

static struct app *app_of(struct node *n, u32 sk)
{
	for (u32 i = 0; i < SIM_CONNS; i++)
		if (n->app[i].used && n->app[i].sk == sk && !n->app[i].freed)
			return &n->app[i];
	return NULL;
}

static void op_wake(void *ctx, u32 sk)
{
	struct node *n = ctx;
	struct app *a = app_of(n, sk);

	if (a)
		a->next = MIN(a->next, MAX(n->sim->now, a->pause_until));
}

static void op_freed(void *ctx, u32 sk)
{
	struct app *a = app_of(ctx, sk);

	if (a)
		a->freed = true;
}

static s64 op_child(void *ctx, u32 listener)
{
	struct node *n = ctx;

	return n->next_child < ARENA_SLOTS ? (s64)SK(0, n->next_child++) : -ENOBUFS;
}

static void op_accept_ready(void *ctx, u32 listener, u32 sk) {}

static const struct tcp_ops node_ops = {
	.queue_xmit = op_queue_xmit, .alloc = op_alloc, .unalloc = op_unalloc, .loans = op_loans, .route = op_route,
	.is_local = op_is_local, .random = op_random, .data_ready = op_wake, .write_space = op_wake,
	.state_change = op_wake, .freed = op_freed, .child = op_child, .accept_ready = op_accept_ready,
};

/* ---- life ---- */

static void *zeroed(size_t n)
{
	void *p = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	assert(p != MAP_FAILED);
	return p;
}

static int attach(struct node *n)
{
	n->tcp = (struct tcp_stack){ .ops = &node_ops, .ctx = n, .now = n->sim->now, .t = n->tcp.t, .secret = &n->secret,
				     .counters = &n->counters, .conf = &n->sim->conf };
	n->tcp.arena[0] = (struct arena_map){ (struct arena_stack *)n->stack_mem, (struct arena_client *)n->client_mem,
					      RING, RING, 0, true };
	int r = tcp_attach(&n->tcp);
	if (r)
		return r;
	tcp_arena_added(&n->tcp, 0);
	return 0;
}

int node_init(struct sim *s, struct node *n, u8 id)
{
	*n = (struct node){ .sim = s, .id = id, .addr = to_be32(0x0a000001u + id), .next_child = ARENA_ACTIVE };
	n->tcp.t = zeroed(sizeof(struct tcp_tables));
	n->stack_mem = zeroed(arena_stack_bytes(RING));
	n->client_mem = zeroed(arena_client_bytes(RING));
	struct arena_client *c = (struct arena_client *)n->client_mem;
	u64 base = sim_rand(s) >> 20;	/* offsets never start at zero in real life */
	for (u32 i = 0; i < ARENA_SLOTS; i++) {
		store_relaxed(&c->sk[i].rx_tail, base + i * 977);
		store_relaxed(&c->sk[i].tx_head, base + i * 1009);
		store_relaxed(&c->sk[i].arm, 1);
	}
	return attach(n);
}

void node_fini(struct node *n)
{
	tcp_detach(&n->tcp);
	munmap(n->tcp.t, sizeof(struct tcp_tables));
	munmap(n->stack_mem, arena_stack_bytes(RING));
	munmap(n->client_mem, arena_client_bytes(RING));
}

int node_restart(struct node *n)
{
	tcp_detach(&n->tcp);
	n->restarts++;
	return attach(n);
}

static bool still_ours(void *ctx, const struct sk_buff *skb) { return true; }

void node_deliver(struct node *n, struct packet *p)
{
	struct sk_buff skb = { .len = p->len, .hdr_off = SKB_HDR_ROOM, .tstamp = n->sim->now,
			       .ip_summed = n->sim->checksum ? CHECKSUM_NONE : CHECKSUM_UNNECESSARY };

	*skb_ip_cb(&skb) = p->cb;
	n->tcp.now = n->sim->now;
	tcp_v4_rcv(&n->tcp, &skb, p->data, still_ours, n);
}

/* ---- applications ---- */

static struct sockbuf view(struct node *n, u32 sk)
{
	struct sockbuf b;

	sockbuf_open(&b, &n->tcp.arena[0], SK_SLOT(sk));
	return b;
}

int node_listen(struct node *n, u16 port)
{
	int r = tcp_socket(&n->tcp, LISTENER, 1, 0);

	if (!r)
		r = tcp_bind(&n->tcp, LISTENER, (be32){ 0 }, to_be16(port));
	return r ? r : tcp_listen(&n->tcp, LISTENER, 64);
}

static void app_open(struct node *n, struct app *a)
{
	struct sockbuf b = view(n, a->sk);

	a->open = true;
	a->rx_base = load_relaxed(&b.c->rx_tail);
	a->tx_base = load_relaxed(&b.c->tx_head);
}

int node_connect(struct node *n, u16 port, u64 bytes, u64 peer_bytes)
{
	struct sim *s = n->sim;
	u32 i = n->napp++;
	struct app *a = &n->app[i];
	int r;

	*a = (struct app){ .used = true, .sk = SK(0, 2 + i), .seed = sim_rand(s), .to_send = bytes, .expect = peer_bytes,
			   .chunk = 1 + (u32)sim_below(s, 20000), .next = UINT64_MAX };
	r = tcp_socket(&n->tcp, a->sk, 1, 0);
	if (!r)
		r = tcp_connect(&n->tcp, a->sk, s->node[1].addr, to_be16(port), 1);
	return r;
}

/* The application closes a connection that came to nothing, or that somebody injects segments into (tests/fuzz). */
static void app_give_up(struct node *n, struct app *a)
{
	a->closed = true;
	tcp_orphan(&n->tcp, a->sk);
}

/* Which client does this accepted connection answer? By its port, as a server's log would tell. */
static void app_accept(struct node *n, u32 sk)
{
	struct sim *s = n->sim;
	struct sockbuf b = view(n, sk);
	struct app *a = &n->app[n->napp++];

	*a = (struct app){ .used = true, .sk = sk, .seed = sim_rand(s), .chunk = 1 + (u32)sim_below(s, 20000), .next = s->now };
	for (u32 i = 0; i < s->node[0].napp; i++) {
		struct app *c = &s->node[0].app[i];
		struct sockbuf cb = view(&s->node[0], c->sk);

		if (!be16_eq(cb.s->lport, b.s->fport))
			continue;
		if (c->peer && !s->hostile)
			sim_fail(s, "connection %u accepted twice", i);
		c->peer = a;
		c->next = MIN(c->next, s->now);
		a->peer = c;
		a->to_send = c->expect;
		a->expect = c->to_send;
	}
	tcp_offered(&n->tcp, sk);
	tcp_claimed(&n->tcp, sk);
	app_open(n, a);
	if (!a->peer && s->hostile)
		app_give_up(n, a);
	else if (!a->peer)
		sim_fail(s, "accepted a connection nobody asked for");
}

static void app_read(struct node *n, struct app *a, struct sockbuf *b)
{
	struct sim *s = n->sim;
	u64 head = load_acquire(&b->s->rx_head), fin = load_acquire(&b->s->fin), tail = load_relaxed(&b->c->rx_tail);
	u64 end = fin ? MIN(head, fin - 1) : head, take = MIN(end - tail, 1 + sim_below(s, 30000));

	for (u64 i = 0; i < take; i++) {
		u8 got = b->rx[(tail + i) & (b->rx_size - 1)];

		if (got != pattern(a->peer->seed, tail + i - a->rx_base)) {
			if (s->hostile) {
				app_give_up(n, a);
				return;
			}
			sim_fail(s, "node %u byte %llu of sk %u is wrong", n->id, (unsigned long long)(tail + i - a->rx_base), a->sk);
			return;
		}
	}
	if (take) {
		store_release(&b->c->rx_tail, tail + take);
		a->got += take;
		s->last_progress = s->now;
		tcp_kick(&n->tcp, a->sk);
	}
	if (fin && tail + take == fin - 1 && head >= fin)
		a->got_eof = true;
}

static void app_write(struct node *n, struct app *a, struct sockbuf *b)
{
	u64 head = load_relaxed(&b->c->tx_head), space = b->tx_size - (head - load_acquire(&b->s->tx_tail));
	u64 put = MIN(MIN(space, (u64)a->chunk), a->to_send - a->sent);

	for (u64 i = 0; i < put; i++)
		b->tx[(head + i) & (b->tx_size - 1)] = pattern(a->seed, a->sent + i);
	a->sent += put;
	store_release(&b->c->tx_head, head + put);
	if (a->sent == a->to_send && !a->sent_fin) {
		a->sent_fin = true;
		store_release(&b->c->fin_at, head + put + 1);
		store_release(&b->c->shut, SKC_SHUT_WR);
	}
	if (put || a->sent_fin)
		tcp_kick(&n->tcp, a->sk);
}

static void app_act(struct node *n, struct app *a)
{
	struct sim *s = n->sim;
	struct sockbuf b = view(n, a->sk);
	u32 state = load_acquire(&b.s->state);

	a->next = UINT64_MAX;
	if (state == SKS_CONNECTING)
		return;
	if (state == SKS_FAILED && load_relaxed(&b.s->err) == ETIMEDOUT && s->wire[0].loss + s->wire[1].loss > 0.05) {
		s->gave_up++;
		app_give_up(n, a);
		return;
	}
	/* All bytes are across both ways; the peer's TIME_WAIT ran out while the ACKs of our FIN were lost. */
	if (load_relaxed(&b.s->err) == ECONNRESET && a->got_eof && a->sent_fin &&
	    a->peer && a->peer->got == a->to_send && s->wire[0].loss + s->wire[1].loss > 0.1) {
		app_give_up(n, a);
		return;
	}
	if (load_relaxed(&b.s->err)) {
		if (s->hostile) {
			app_give_up(n, a);
			return;
		}
		a->err = (int)load_relaxed(&b.s->err);
		sim_fail(s, "node %u sk %u: error %d", n->id, a->sk, a->err);
		return;
	}
	if (!a->open)
		app_open(n, a);
	if (a->peer)		/* else: not accepted yet, nobody has sent anything */
		app_read(n, a, &b);
	if (a->closed)
		return;
	if (!a->sent_fin)
		app_write(n, a, &b);
	if (sim_chance(s, 0.02))
		a->pause_until = s->now + sim_below(s, sim_chance(s, 0.1) ? 20 * NSEC_PER_SEC : 200 * NSEC_PER_MSEC);
	/* On a very lossy wire an orphan may rightly give up and its RST be lost: stay until the FIN is acknowledged. */
	if (a->got_eof && a->sent_fin && s->wire[0].loss + s->wire[1].loss > 0.1 &&
	    !load_relaxed(&n->tcp.t->sk[a->sk].fin_acked)) {
		a->next = s->now + 100 * NSEC_PER_MSEC;
		return;
	}
	if (a->got_eof && a->sent_fin) {
		if (a->got != a->expect && !s->hostile)
			sim_fail(s, "node %u sk %u: end of file after %llu of %llu bytes", n->id, a->sk,
				 (unsigned long long)a->got, (unsigned long long)a->expect);
		a->closed = true;
		tcp_orphan(&n->tcp, a->sk);
		s->last_progress = s->now;
		return;
	}
	u64 head = load_relaxed(&b.s->rx_head), tail = load_relaxed(&b.c->rx_tail);
	u64 space = b.tx_size - (load_relaxed(&b.c->tx_head) - load_relaxed(&b.s->tx_tail));
	if ((a->peer && (head != tail || load_relaxed(&b.s->fin))) || (!a->sent_fin && space))
		a->next = MAX(a->pause_until, s->now + 20 * NSEC_PER_USEC);
}

void node_apps(struct node *n)
{
	s64 sk;

	n->tcp.now = n->sim->now;
	while (n->id == 1 && n->napp < SIM_CONNS && (sk = tcp_accept_next(&n->tcp, LISTENER)) >= 0)
		app_accept(n, (u32)sk);
	for (u32 i = 0; i < n->napp && !n->sim->failed; i++)
		if (!n->app[i].closed && n->app[i].next <= n->sim->now)
			app_act(n, &n->app[i]);
	tcp_flush(&n->tcp);
	tcp_resume(&n->tcp);
	n->next_timer = tcp_run_timers(&n->tcp);
	tcp_flush(&n->tcp);
}

u64 node_next(struct node *n)
{
	u64 t = n->next_timer;

	for (u32 i = 0; i < n->napp; i++)
		if (!n->app[i].closed)
			t = MIN(t, n->app[i].next);
	return t;
}
