/* tcp_plain.c – tx2, rx8 for holders without the shim: TCP's view of a socket that has become plain (proto/shm/plain.h).
 *
 * From then on the words and the transmit ring are tcpd's. Offsets go on: what is not acknowledged is copied to its
 * place in the new ring before the switch is published, so a death on either side of the store changes nothing.
 * Called by sk_plain.c and whoever opens a view (tcp_conn_open). */
#include "services/tcp/path.h"

void tcp_plain_view(struct tcp_conn *c)
{
	const struct arena_map *m = &c->t->arena[SK_ARENA(c->sk)];

	if (!c->t->plain || !(load_acquire(&c->b.s->plain) & PLAIN_TX))
		return;
	c->b.c = &c->t->plain[c->sk].c;
	c->b.tx = arena_plain(m->stack, SK_SLOT(c->sk), m->rx_size, m->tx_size);
}

/* The application's words one last time, then they are not read any more. 0; -ENOTCONN; -ECONNRESET: they made no sense. */
int tcp_plain_begin(struct tcp_stack *t, u32 sk)
{
	struct tcp_conn *c = conn_of(t, sk);
	const struct arena_map *m = &t->arena[SK_ARENA(sk)];
	struct tcp_plain *p = t->plain ? &t->plain[sk] : NULL;

	if (!p || !(c->cf & CF_OPEN) || phase(c) != TCPP_SYNC || is_orphan(c))
		return -ENOTCONN;
	if (load_relaxed(&c->b.s->plain) & PLAIN_TX)
		return 0;
	if (!tcp_take_words(c))
		return -ECONNRESET;
	u8 *ring = arena_plain(m->stack, SK_SLOT(sk), m->rx_size, m->tx_size);
	for (u64 off = load_relaxed(&c->b.s->tx_tail); before(off, c->write_seq);) {
		size_t at = off & (m->tx_size - 1), n = MIN(c->write_seq - off, (u64)m->tx_size - at);

		memcpy(ring + at, c->b.tx + at, n);
		off += n;
	}
	memset(p, 0, sizeof(*p));
	memcpy(&p->c, c->b.c, sizeof(p->c));
	store_relaxed(&p->c.rx_tail, load_relaxed(&c->h->valid_rx_tail));
	store_relaxed(&p->c.tx_head, c->write_seq);
	p->tx[0] = (struct plain_rec){ .off = c->write_seq, .client = c->write_seq };
	store_release(&c->b.s->plain, load_relaxed(&c->b.s->plain) | PLAIN_TX);
	tcp_plain_view(c);
	return 0;
}

/* From here on bytes are served, beginning with the first that nobody has read. rx_tail is the application's own word
 * until now; several readers at this very moment are as unfair to each other as they like. */
int tcp_plain_serve(struct tcp_stack *t, u32 sk)
{
	struct tcp_conn *c = conn_of(t, sk);
	struct tcp_plain *p = &t->plain[sk];

	if (!tcp_take_words(c))
		return -ECONNRESET;
	p->rx[0] = (struct plain_rec){ .off = load_relaxed(&c->h->valid_rx_tail) };
	store_relaxed(&p->rx_which, 0);
	store_relaxed(&p->c.rx_tail, p->rx[0].off);
	store_release(&c->b.s->plain, (load_relaxed(&c->b.s->plain) & ~(u32)PLAIN_QUIET) | PLAIN_RX);
	return 0;
}
