/* app.c – programs at both ends of a simulated connection: they write a pattern, read and check the other's, stall, close. */
#include "sim.h"

#include "services/tcp/path.h"

#include <netinet/in.h>
#include <netinet/tcp.h>

#define LISTENER SK(0, 1)

/* Eight bytes of the stream `seed`, at offset 8 * `word`. */
static u64 pattern(u64 seed, u64 word)
{
	u64 x = word * 0x9e3779b97f4a7c15ull ^ seed;

	return x ^ x >> 29;
}

/* The bytes of [off, off + n) at p, as far as they lie in one word; returns how many. */
static u64 chunk(u64 seed, u64 off, u64 n, u64 *ret)
{
	u64 in = off & 7;

	*ret = pattern(seed, off >> 3) >> in * 8;
	return MIN(n, 8 - in);
}

static void pattern_fill(u8 *ring, u32 size, u64 at, u64 seed, u64 off, u64 n)
{
	u64 w, k;

	for (; n; at += k, off += k, n -= k) {
		u64 room = size - (at & (size - 1));

		k = chunk(seed, off, MIN(n, room), &w);
		memcpy(ring + (at & (size - 1)), &w, k);
	}
}

/* How many of n bytes are right. */
static u64 pattern_check(const u8 *ring, u32 size, u64 at, u64 seed, u64 off, u64 n)
{
	u64 w, k, done = 0;

	for (; done < n; done += k) {
		const u8 *p = ring + ((at + done) & (size - 1));
		u64 room = size - ((at + done) & (size - 1));

		k = chunk(seed, off + done, MIN(n - done, room), &w);
		if (memcmp(p, &w, k))
			return done;
	}
	return done;
}

static struct sockbuf view(struct node *n, u32 sk)
{
	struct sockbuf b;

	sockbuf_open(&b, &n->tcp.arena[0], SK_SLOT(sk));
	return b;
}

int node_listen(struct node *n, u16 port)
{
	int r = tcp_socket(&n->tcp, LISTENER, 1, 0);

	int queue = n->sim->fastopen ? 8 : 0;

	if (!r)
		r = tcp_setsockopt(&n->tcp, LISTENER, IPPROTO_TCP, TCP_FASTOPEN, &queue, sizeof(queue));
	if (!r)
		r = tcp_bind(&n->tcp, LISTENER, (be32){ 0 }, to_be16(port));
	return r ? r : tcp_listen(&n->tcp, LISTENER, 64);
}

static void app_open(struct node *n, struct app *a)
{
	struct sockbuf b = view(n, a->sk);

	a->open = true;
	a->moved = a->wrote = n->sim->now;
	a->heard = a->acked = n->sim->excuses;
	a->rx_base = load_relaxed(&b.c->rx_tail);
	a->tx_base = load_relaxed(&b.c->tx_head);
}

static int dial(struct node *n, struct app *a, u16 port)
{
	int r = tcp_socket(&n->tcp, a->sk, 1, 0);

	if (r)
		return r;
	a->later = false;
	if (n->sim->fastopen)
		return tcp_connect_fastopen(&n->tcp, a->sk, n->sim->node[1].addr, to_be16(port), 1);
	return tcp_connect(&n->tcp, a->sk, n->sim->node[1].addr, to_be16(port), 1);
}

/* With Fast Open the first of them brings the cookie, the others come when it may be there. */
int node_connect(struct node *n, u16 port, u64 bytes, u64 peer_bytes)
{
	struct sim *s = n->sim;
	u32 i = n->napp++;
	struct app *a = &n->app[i];

	*a = (struct app){ .used = true, .sk = SK(0, 2 + i), .seed = sim_rand(s), .to_send = bytes, .expect = peer_bytes,
			   .chunk = 1 + (u32)sim_below(s, 20000), .next = UINT64_MAX };
	if (!s->fastopen || !i)
		return dial(n, a, port);
	a->later = true;
	a->next = s->now + sim_below(s, NSEC_PER_SEC);
	return 0;
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

		if (c->later || !be16_eq(cb.s->lport, b.s->fport))
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
	u64 end = fin ? MIN(head, fin - 1) : head, take = s->steady ? end - tail : MIN(end - tail, 1 + sim_below(s, 30000));
	u64 right = pattern_check(b->rx, b->rx_size, tail, a->peer->seed, tail - a->rx_base, take);

	if (right < take && s->hostile) {
		app_give_up(n, a);
		return;
	}
	if (right < take) {
		sim_fail(s, "node %u byte %llu of sk %u is wrong", n->id, (unsigned long long)(tail + right - a->rx_base), a->sk);
		return;
	}
	if (take) {
		store_release(&b->c->rx_tail, tail + take);
		a->got += take;
		s->last_progress = a->moved = s->now;
		tcp_kick(&n->tcp, a->sk);
	}
	if (fin && tail + take == fin - 1 && head >= fin)
		a->got_eof = true;
}

static void app_write(struct node *n, struct app *a, struct sockbuf *b)
{
	const struct sim *s = n->sim;
	u64 head = load_relaxed(&b->c->tx_head), space = b->tx_size - (head - load_acquire(&b->s->tx_tail));
	u64 put = MIN(s->steady ? space : MIN(space, (u64)a->chunk), a->to_send - a->sent);

	pattern_fill(b->tx, b->tx_size, head, a->seed, a->sent, put);
	a->sent += put;
	if (put)
		a->wrote = s->now;
	store_release(&b->c->tx_head, head + put);
	if (a->sent == a->to_send && !a->sent_fin) {
		a->sent_fin = true;
		a->wrote = s->now;
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
	if (a->later) {
		if (dial(n, a, 80))
			sim_fail(s, "connect failed at once");
		a->next = s->now;
		return;
	}
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
	if (!a->sent_fin && a->to_send != SIM_MUTE)
		app_write(n, a, &b);
	if (!s->steady && sim_chance(s, 0.02))
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
	if ((a->peer && (head != tail || load_relaxed(&b.s->fin))) || (!a->sent_fin && a->to_send != SIM_MUTE && space && !s->steady))
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
	u64 t = n->tcp.soft->waiting ? MIN(n->next_timer, n->sim->now + NSEC_PER_MSEC) : n->next_timer;	/* room, by then */

	for (u32 i = 0; i < n->napp; i++)
		if (!n->app[i].closed)
			t = MIN(t, n->app[i].next);
	return t;
}
