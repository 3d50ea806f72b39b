/* node.c – one host of the simulator: a TCP with private memory for its tables and arena, and what it asks of its surroundings. */
#include "sim.h"

#include <stdlib.h>
#include <sys/mman.h>

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

	if (!n->sim->steady && sim_chance(n->sim, 0.001)) {	/* a full ring, now and then */
		sim_excuse(n->sim);
		return -ENOBUFS;
	}
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

static void op_data_ready(void *ctx, u32 sk)
{
	struct app *a = app_of(ctx, sk);

	if (a)
		a->heard = ((struct node *)ctx)->sim->excuses;
	op_wake(ctx, sk);
}

static void op_write_space(void *ctx, u32 sk)
{
	struct app *a = app_of(ctx, sk);

	if (a)
		a->acked = ((struct node *)ctx)->sim->excuses;
	op_wake(ctx, sk);
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
	.is_local = op_is_local, .random = op_random, .data_ready = op_data_ready, .write_space = op_write_space,
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
					      n->sim->ring, n->sim->ring, 0, true };
	int r = tcp_attach(&n->tcp);
	if (r)
		return r;
	tcp_arena_added(&n->tcp, 0);
	return 0;
}

int node_init(struct sim *s, struct node *n, u8 id)
{
	if (!s->ring)
		s->ring = SIM_RING;
	*n = (struct node){ .sim = s, .id = id, .addr = to_be32(0x0a000001u + id), .next_child = ARENA_ACTIVE };
	n->tcp.t = zeroed(sizeof(struct tcp_tables));
	n->stack_mem = zeroed(arena_stack_bytes(s->ring));
	n->client_mem = zeroed(arena_client_bytes(s->ring));
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
	const struct sim *s = n->sim;

	tcp_detach(&n->tcp);
	munmap(n->tcp.t, sizeof(struct tcp_tables));
	munmap(n->stack_mem, arena_stack_bytes(s->ring));
	munmap(n->client_mem, arena_client_bytes(s->ring));
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
	struct sk_buff skb = { .len = p->len, .hdr_off = SKB_HDR_ROOM, .tstamp = n->sim->now, .type = p->type,
			       .ip_summed = n->sim->checksum ? CHECKSUM_NONE : CHECKSUM_UNNECESSARY };

	*skb_ip_cb(&skb) = p->cb;
	n->tcp.now = n->sim->now;
	tcp_v4_rcv(&n->tcp, &skb, p->data, still_ours, n);
}
