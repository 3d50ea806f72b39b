/* tcp_fastopen_client.c – Fast Open (RFC 7413), the connecting side: cookies kept, data sent in the SYN. tx2, tx3, rx6.
 *
 * Where a cookie is known connect() succeeds without a packet: the socket is SKS_DEFERRED, may be written to, and the SYN
 * leaves with the first bytes. That state is derived: phase SYN_SENT and sk_stack.state DEFERRED, which becomes CONNECTING
 * before the SYN may leave. snd_nxt is stored before it, as for any segment, so that a successor knows which bytes were
 * perhaps sent: they are repeated after the SYN+ACK unless it acknowledges them.
 *
 * Cookies are soft, in private memory, a bounded number of servers: one that is lost costs one round trip when it is asked
 * for again, and a stale one would cost as much. The same for what is remembered of paths that swallow such SYNs.
 *
 * Called by tcp_socket.c (connect), tcp.c (words written), tcp_xmit.c (the SYN) and tcp_state.c (its answer). */
#include "services/tcp/path.h"

#include <linux/tcp.h>

#define HOLD_OFF (60 * SEC)	/* doubled with every further loss */
#define LOSSES_MAX 10u

static struct tcp_fo_server *set_of(struct tcp_stack *t, be32 addr)
{
	u64 key[2] = { t->soft->hash_seed, ~t->soft->hash_seed };

	return t->soft->fo[tcp_siphash(key, &addr, sizeof(addr)) % TCP_FO_SETS];
}

static struct tcp_fo_server *lookup(struct tcp_stack *t, be32 addr)
{
	struct tcp_fo_server *s = set_of(t, addr);

	for (u32 i = 0; i < TCP_FO_WAYS; i++)
		if (s[i].used && be32_eq(s[i].addr, addr))
			return &s[i];
	return NULL;
}

/* The server's entry, or that of the one not used for longest. */
static struct tcp_fo_server *entry_for(struct tcp_stack *t, be32 addr)
{
	struct tcp_fo_server *s = lookup(t, addr), *set = set_of(t, addr);

	if (!s) {
		s = set;
		for (u32 i = 1; i < TCP_FO_WAYS; i++)
			if (set[i].used < s->used)
				s = &set[i];
		*s = (struct tcp_fo_server){ .addr = addr };
	}
	s->used = t->now;
	return s;
}

/* RFC 7413 4.1.3.1: two SYNs with the option were lost and plain ones were not: leave it for a while. */
static bool held_off(const struct tcp_stack *t, const struct tcp_fo_server *s)
{
	return s && s->losses > 1 && t->now < s->lost_at + (HOLD_OFF << (s->losses - 1));
}

/* connect() with Fast Open: true: a cookie is known, wait for bytes. Else the SYN that goes now asks for one, or does not. */
bool tcp_fastopen_defer(struct tcp_conn *c)
{
	struct tcp_fo_server *s = lookup(c->t, c->h->tuple.faddr);

	c->fo |= FO_WANTED;
	return s && s->len && !held_off(c->t, s);
}

/* How many of the bytes written go into the SYN: what is sure to fit with all options. */
static u32 syn_room(const struct tcp_conn *c, const struct tcp_fo_server *s)
{
	u32 mss = MIN(c->mtu > 40 ? c->mtu - 40 : TCP_MIN_MSS, (u32)(s->mss ? s->mss : TCP_DEFAULT_MSS));

	if (c->h->maxseg)
		mss = MIN(mss, (u32)c->h->maxseg);
	return mss > 40 ? mss - 40 : 0;
}

/* Bytes were written to a deferred socket (or it is to end): the SYN. */
void tcp_fastopen_start(struct tcp_conn *c)
{
	struct tcp_fo_server *s = lookup(c->t, c->h->tuple.faddr);
	u64 base = c->h->tx_base, n;

	if (c->write_seq == base && !fin_snd(c))
		return;
	n = s && s->len ? MIN(c->write_seq - base, (u64)syn_room(c, s)) : 0;
	if (n && !tcp_rec_append(c, base, base + n, false))
		n = 0;
	c->fo |= FO_WANTED;		/* a predecessor's memory of that, and of the cookie, is gone */
	store_relaxed(&c->h->giveup_start, c->t->now);
	store_release(&c->h->snd_nxt, base + n);	/* both before the SYN may leave */
	store_release(&c->b.s->state, SKS_CONNECTING);
	if (tcp_send_syn(c))
		tcp_wait_for_room(c);
	timer_arm(&c->t->soft->wheel, &c->rtx, c->t->now + c->rto);
}

/* The first SYN of a connection: option and data. Those that follow have neither: they get through where this one did not. */
void tcp_fastopen_syn_fill(struct tcp_conn *c, struct tcp_raw *r)
{
	struct tcp_fo_server *s = lookup(c->t, c->h->tuple.faddr);
	bool cookie = s && s->len && c->head;

	if (!(c->fo & FO_WANTED) || c->retrans_stamp || held_off(c->t, s) || r->optlen > 40 - 4 - (cookie ? s->len : 0u))
		return;
	r->optlen += (u8)tcp_fastopen_option(r->opts + r->optlen, cookie ? s->cookie : NULL, cookie ? s->len : 0);
	if (!cookie) {
		c->fo_fail = TFO_COOKIE_UNAVAILABLE;
		return;
	}
	r->data = c;
	r->off = c->h->tx_base;
	r->len = (u32)(snd_nxt(c) - c->h->tx_base);
}

/* What the SYN+ACK says of it. again: it may answer a SYN that had neither option nor data. */
static void remember(struct tcp_conn *c, const struct tcp_seg *g, bool again, bool acked)
{
	struct tcp_fo_server *s;

	if (!(c->fo & FO_WANTED))
		return;			/* an unsolicited cookie */
	s = entry_for(c->t, c->h->tuple.faddr);
	if (g->cookie && g->cookielen) {
		memcpy(s->cookie, g->cookie, g->cookielen);
		s->len = g->cookielen;
	}
	if (g->mss)
		s->mss = g->mss;
	if (again && !g->cookie && !acked) {
		s->losses = (u8)MIN(s->losses + 1u, LOSSES_MAX);
		s->lost_at = c->t->now;
		conn_count(c, TCP_FASTOPEN_HELD_OFF);
		c->fo_fail = TFO_SYN_RETRANSMITTED;
	} else {
		s->losses = 0;
		if (c->head && !acked)
			c->fo_fail = TFO_DATA_NOT_ACKED;
	}
}

/* The handshake is complete. Data of the SYN that was not taken goes again, at once: nothing is known to be congested. */
void tcp_fastopen_synack(struct tcp_conn *c, struct tcp_seg *g, bool again)
{
	bool data = c->head != NULL, acked = after(snd_off(c, g->ack), snd_una(c));

	remember(c, g, again, acked);
	if (!data)
		return;
	if (acked) {
		c->fo |= FO_SYN_DATA;
		tcp_ack(c, g);
	}
	conn_count(c, acked ? TCP_FASTOPEN_ACTIVE : TCP_FASTOPEN_ACTIVE_FAIL);
	for (struct tcp_rec *r = c->head; r; r = r->next)
		tcp_mark_lost(c, r);
	tcp_rearm_rto(c);
}
