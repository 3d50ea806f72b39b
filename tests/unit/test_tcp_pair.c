/* test_tcp_pair.c – two TCPs over a wire in memory: byte-exact under loss, reordering, duplication and restarts.
 *
 *      client 10.0.0.1  <-- wire -->  server 10.0.0.2:80 */
#include "tcp_rig.h"

#define L SK(0, 1)
#define A SK(0, 2)
#define BYTES 200000u

struct wire { u32 loss, dup, reorder, restart; bool plain; };	/* per thousand; in the middle the client's end becomes plain */

static u8 at(u64 off, u8 salt) { return (u8)(off * 131 + (off >> 8) * 17 + salt); }

struct end { struct rig *r; u32 sk; u64 wrote, got; u8 salt; bool shut, eof; };

static void pump_app(struct end *e, const struct end *o)
{
	u8 b[3000];
	struct sockbuf *s = &rig_conn(e->r, e->sk)->b;

	bool open = load_relaxed(&s->s->state) == SKS_CONNECTED;

	if (!open && load_relaxed(&s->s->state) != SKS_CLOSED)
		return;
	if (open && e->wrote < BYTES) {
		u32 n = (u32)MIN((u64)(1 + rig_rand(e->r) % sizeof(b)), BYTES - e->wrote);

		for (u32 i = 0; i < n; i++)
			b[i] = at(e->wrote + i, e->salt);
		e->wrote += rig_write(e->r, e->sk, b, n);
	} else if (open && !e->shut) {
		e->shut = true;
		tcp_shutdown(&e->r->t, e->sk, 1);
	}
	u32 n = rig_read(e->r, e->sk, b, sizeof(b));

	for (u32 i = 0; i < n; i++)
		if (b[i] != at(e->got + i, o->salt)) {
			CHECK_EQ(b[i], at(e->got + i, o->salt));
			return;
		}
	e->got += n;
	u64 fin = load_relaxed(&s->s->fin);
	e->eof = fin && load_relaxed(&s->c->rx_tail) == fin - 1;
}

/* Everything sent since the last time crosses, or does not. */
static void cross(struct rig *from, struct rig *to, const struct wire *w)
{
	static struct rig_pkt late[2];
	struct rig_pkt *l = &late[from->addr & 1];
	u32 n = from->nout;

	CHECK(n <= RIG_OUT);
	from->nout = 0;
	for (u32 i = 0; i < n; i++) {
		struct rig_pkt *p = &from->out[i % RIG_OUT];

		if (rig_rand(from) % 1000 < w->loss)
			continue;
		if (!l->len && rig_rand(from) % 1000 < w->reorder) {
			*l = *p;
			continue;
		}
		rig_deliver(to, p->data, p->len, p->saddr, p->daddr, true);
		if (rig_rand(from) % 1000 < w->dup)
			rig_deliver(to, p->data, p->len, p->saddr, p->daddr, true);
		if (l->len && rig_rand(from) % 4 == 0) {
			rig_deliver(to, l->data, l->len, l->saddr, l->daddr, true);
			l->len = 0;
		}
	}
}

/* What is in flight goes on from another ring, and nobody looks at the application's any more. */
static void become_plain(struct rig *r)
{
	const struct arena_map *m = &r->t.arena[0];

	CHECK_EQ(tcp_plain_begin(&r->t, A), 0);
	CHECK_EQ(tcp_plain_begin(&r->t, A), 0);
	CHECK_EQ(tcp_plain_serve(&r->t, A), 0);
	CHECK(rig_conn(r, A)->b.tx == arena_plain(m->stack, SK_SLOT(A), m->rx_size, m->tx_size));
	memset(arena_tx(m->client, SK_SLOT(A), m->tx_size), 0xee, m->tx_size);
	store_relaxed(&m->client->sk[SK_SLOT(A)].tx_head, 1);
	store_relaxed(&m->client->sk[SK_SLOT(A)].rx_tail, 1);
}

static void transfer(u64 seed, struct wire w)
{
	struct rig *c = rig_new(0x0a000001, seed), *s = rig_new(0x0a000002, seed + 1);
	struct end ec = { c, A, 0, 0, 1, false, false }, es = { s, NONE, 0, 0, 2, false, false };
	u32 steps = 0;

	REQUIRE_EQ(tcp_socket(&s->t, L, 1, 0), 0);
	REQUIRE_EQ(tcp_bind(&s->t, L, (be32){ 0 }, to_be16(80)), 0);
	REQUIRE_EQ(tcp_listen(&s->t, L, 8), 0);
	REQUIRE_EQ(tcp_socket(&c->t, A, 1, 0), 0);
	REQUIRE_EQ(tcp_connect(&c->t, A, to_be32(0x0a000002), to_be16(80), 1), 0);
	while (!(ec.eof && es.eof) && steps++ < 400000) {
		cross(c, s, &w);
		tcp_flush(&s->t);
		cross(s, c, &w);
		tcp_flush(&c->t);
		s64 sk = tcp_accept_next(&s->t, L);

		if (sk >= 0 && es.sk == NONE) {
			es.sk = (u32)sk;
			tcp_offered(&s->t, es.sk);
			tcp_claimed(&s->t, es.sk);
		}
		pump_app(&ec, &es);
		if (w.plain && ec.wrote > BYTES / 2 && ec.got > BYTES / 3 && rig_conn(c, A)->b.c != &c->t.plain[A].c)
			become_plain(c);	/* with bytes that were written and not sent */
		if (es.sk != NONE)
			pump_app(&es, &ec);
		if (rig_rand(c) % 1000 < w.restart)
			rig_restart(c);
		if (rig_rand(s) % 1000 < w.restart)
			rig_restart(s);
		rig_advance(c, MSEC);
		rig_advance(s, MSEC);
	}
	CHECK_EQ(ec.got, BYTES);
	CHECK_EQ(es.got, BYTES);
	CHECK_EQ(w.plain, rig_conn(c, A)->b.c == &c->t.plain[A].c);
	for (u32 i = 0; i < 100000 && tcp_state(rig_conn(c, A)) != TCPS_CLOSE; i++) {
		cross(c, s, &w);
		cross(s, c, &w);
		rig_advance(c, MSEC);
		rig_advance(s, MSEC);
	}
	tcp_orphan(&c->t, A);
	tcp_orphan(&s->t, es.sk);
	rig_free(c);
	rig_free(s);
}

static void clean(void) { transfer(1, (struct wire){ 0 }); }
static void five_percent_lost(void) { transfer(2, (struct wire){ .loss = 50 }); }
static void twenty_percent_lost(void) { transfer(3, (struct wire){ .loss = 200 }); }
static void reordered(void) { transfer(4, (struct wire){ .reorder = 200 }); }
static void duplicated(void) { transfer(5, (struct wire){ .dup = 300 }); }
static void restarted(void) { transfer(6, (struct wire){ .restart = 10 }); }
static void made_plain(void)
{
	transfer(7, (struct wire){ .plain = true });
	transfer(8, (struct wire){ .plain = true, .loss = 50, .restart = 10 });
}
static void everything(void)
{
	for (u64 seed = 10; seed < 16; seed++)
		transfer(seed, (struct wire){ .loss = 50, .dup = 50, .reorder = 50, .restart = 3 });
}

UNIT_MAIN(UNIT(clean), UNIT(five_percent_lost), UNIT(twenty_percent_lost), UNIT(reordered), UNIT(duplicated), UNIT(restarted), UNIT(made_plain),
	  UNIT(everything))
