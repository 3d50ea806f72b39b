/* check.c – what must hold in every scenario: on the wire, in the state of every connection, in time, and at the end.
 *
 * What the programs see (bytes, order, ends, errors) is checked by app.c. */
#include "sim.h"

#include "services/tcp/path.h"

#define EVERY 8u	/* steps between two looks at the state */

/* ---- the wire ---- */

static struct flow *flow_of(struct sim *s, u8 from, const struct tcp_hdr *h)
{
	be16 port = from ? h->dest : h->source;		/* the client's */
	u32 i = 0;

	while (i < SIM_CONNS - 1 && s->flow[i].port.v && !be16_eq(s->flow[i].port, port))
		i++;
	if (!be16_eq(s->flow[i].port, port))
		s->flow[i] = (struct flow){ .port = port };
	return &s->flow[i];
}

/* A SYN cookie may have no room for it. */
static bool has_wscale(const struct packet *p)
{
	const u8 *o = p->data + 20, *end = p->data + (u32)(p->data[12] >> 4) * 4;

	while (o + 1 < end && *o)
		if (*o == 3)
			return true;
		else
			o += *o == 1 ? 1 : MAX(o[1], 2);
	return false;
}

/* Both nodes have the same rings, so one scale is everybody's. */
static u32 scale(const struct sim *s, const struct flow *f) { return f->wscale[0] && f->wscale[1] ? tcp_pick_wscale(s->ring) : 0; }

static u32 right_edge(const struct sim *s, const struct flow *f, const struct tcp_hdr *h)
{
	return from_be32(h->ack_seq) + ((u32)from_be16(h->window) << (h->flags & TCP_SYN ? 0 : scale(s, f)));
}

/* RFC 3168 6.1.4 to 6.1.6: capable are segments with payload that was never sent before, and no others. */
static void check_ecn(struct sim *s, u8 from, const struct packet *p, struct flow *f, u32 len)
{
	const struct tcp_hdr *h = (const struct tcp_hdr *)p->data;
	u32 seq = from_be32(h->seq);

	if (!f->sent_any[from] || h->flags & TCP_SYN)
		f->high[from] = seq;
	f->sent_any[from] = true;
	if (p->cb.tos & 3 && ((p->cb.tos & 3) != 2 || !len || h->flags & (TCP_SYN | TCP_RST) || seq_before(seq, f->high[from])))
		sim_fail(s, "ECN bits %u on a segment of %u bytes, flags %02x, %d beyond what was sent", p->cb.tos & 3, len, h->flags,
			 (s32)(seq - f->high[from]));
	if (!(h->flags & TCP_RST) && seq_after(seq + len, f->high[from]))	/* a RST answers any number */
		f->high[from] = seq + len;
}

/* A segment as it leaves: nothing beyond the largest window its sender has heard, no window smaller than was said, but
 * for the unit of the scale (RFC 7323 2.4). */
void check_sent(struct sim *s, u8 from, const struct packet *p)
{
	const struct tcp_hdr *h = (const struct tcp_hdr *)p->data;
	struct flow *f = flow_of(s, from, h);
	u32 len = p->len - (u32)(h->doff_res >> 4) * 4, end = from_be32(h->seq) + len + !!(h->flags & TCP_FIN), edge;

	s->was_hostile |= s->hostile;
	if (s->was_hostile)		/* answers to anybody's segments, of any number */
		return;
	check_ecn(s, from, p, f, len);
	if (h->flags & TCP_RST)
		return;
	if (h->flags & TCP_SYN)
		f->wscale[from] = has_wscale(p);
	edge = right_edge(s, f, h);
	if (!(h->flags & TCP_SYN) && f->heard_any[from] && seq_after(end, f->heard[from]))
		sim_fail(s, "node %u sends %u bytes beyond the window", from, end - f->heard[from]);
	if (!(h->flags & TCP_ACK))
		return;
	/* (A SYN+ACK again, after data of a connection that Fast Open made: its window has no scale and says less.) */
	if (f->said_any[from] && !(h->flags & TCP_SYN) && seq_before(edge + (1u << scale(s, f)) - 1, f->said[from]))
		sim_fail(s, "node %u takes %u bytes of the window back", from, f->said[from] - edge);
	if (!f->said_any[from] || seq_after(edge, f->said[from]))
		f->said[from] = edge;
	f->said_any[from] = true;
}

void check_heard(struct sim *s, u8 to, const struct packet *p)
{
	const struct tcp_hdr *h = (const struct tcp_hdr *)p->data;
	struct flow *f;
	u32 edge;

	if (p->damaged || p->type != SKB_PACKET || !(h->flags & TCP_ACK) || h->flags & TCP_RST)
		return;
	f = flow_of(s, !to, h);
	edge = right_edge(s, f, h);
	if (!f->heard_any[to] || seq_after(edge, f->heard[to]))
		f->heard[to] = edge;
	f->heard_any[to] = true;
}

/* ---- the state ---- */

static void bad(struct sim *s, const struct node *n, const struct tcp_conn *c, const char *what)
{
	sim_fail(s, "node %u sk %u: %s (una %llu nxt %llu out %u sacked %u lost %u retrans %u cwnd %u state %u cf %x)", n->id, c->sk, what,
		 (unsigned long long)snd_una(c), (unsigned long long)snd_nxt(c), c->packets_out, c->sacked_out, c->lost_out,
		 c->retrans_out, c->cwnd, c->ca_state, c->cf);
}

static void check_send_state(struct sim *s, const struct node *n, struct tcp_conn *c)
{
	u32 out = 0, sacked = 0, lost = 0, retrans = 0;
	u64 at = snd_una(c);

	for (const struct tcp_rec *r = c->head; r; r = r->next) {
		if (r->start != at || !after(r->end, r->start) || (r->next ? r->next->prev : c->tail) != r)
			bad(s, n, c, "records do not follow each other");
		at = r->end;
		out += r->pcount;
		sacked += r->flags & REC_SACKED ? r->pcount : 0;
		lost += r->flags & REC_LOST ? r->pcount : 0;
		retrans += r->flags & REC_RETRANS ? r->pcount : 0;
	}
	if (at != snd_nxt(c))
		bad(s, n, c, "records do not end at snd_nxt");
	if (out != c->packets_out || lost != c->lost_out || retrans != c->retrans_out || (has_sack(c) && sacked != c->sacked_out))
		bad(s, n, c, "counts are not those of the records");
	if (c->sacked_out > c->packets_out || !c->cwnd || after(snd_nxt(c), snd_end(c)))
		bad(s, n, c, "impossible counts");
	if (c->cf & (CF_WAIT | CF_DIRTY))
		return;		/* it will be looked at */
	if (c->head && !timer_armed(&c->rtx))
		bad(s, n, c, "in flight, and no timer");
	if (!c->head && before(snd_nxt(c), snd_end(c)) && !timer_armed(&c->rtx) && !timer_armed(&c->pace))
		bad(s, n, c, "something to send, and no timer");
}

static void check_receive_state(struct sim *s, const struct node *n, struct tcp_conn *c)
{
	u64 have[TCP_OOO][2], adv = load_relaxed(&c->h->rcv_adv), tail = load_relaxed(&c->h->valid_rx_tail);
	u32 k = tcp_ooo_collect(c, have, TCP_OOO);

	if (rcv_unread(c) > c->b.rx_size)
		bad(s, n, c, "more unread than the ring holds");
	if (after(adv, tail + c->b.rx_size) && !fin_rcv(c))
		sim_fail(s, "node %u sk %u offers %lld bytes more than there is room for", n->id, c->sk, (long long)(adv - tail - c->b.rx_size));
	for (u32 i = 0; i < k; i++)
		if (!before(have[i][0], have[i][1]) || after(have[i][1], tail + c->b.rx_size))
			bad(s, n, c, "out of order beyond the ring");
	if (c->cf & CF_ACK_SCHED && !timer_armed(&c->ack) && !(c->cf & (CF_DIRTY | CF_WAIT)))
		bad(s, n, c, "an ACK is owed, and no timer");
}

void check_state(struct sim *s)
{
	if (s->steps % EVERY)
		return;
	for (int i = 0; i < 2; i++)
		for (u32 j = 0; j < s->node[i].napp && !s->failed; j++) {
			struct tcp_conn *c = conn_of(&s->node[i].tcp, s->node[i].app[j].sk);

			if (s->node[i].app[j].freed || !(c->cf & CF_OPEN))
				continue;
			if ((phase(c) == TCPP_SYN_SENT || phase(c) == TCPP_SYN_RECV) && !timer_armed(&c->rtx) &&
			    load_relaxed(&c->b.s->state) != SKS_DEFERRED)
				bad(s, &s->node[i], c, "connecting, and no timer");
			if (phase(c) != TCPP_SYNC)
				continue;
			check_send_state(s, &s->node[i], c);
			check_receive_state(s, &s->node[i], c);
		}
}

/* ---- time ---- */

static u64 longest_round_trip(const struct sim *s)
{
	u64 t = 0;

	for (int i = 0; i < 2; i++) {
		const struct wire_conf *w = &s->wire[i];

		t += w->delay * (w->reorder > 0 ? 5 : 2) + w->jitter;
		if (w->bytes_per_sec)
			t += (w->queue ? w->queue + 1ull : 1000) * (s->mtu + 14ull) * NSEC_PER_SEC / w->bytes_per_sec;
	}
	return t;
}

/* What one side wrote and the other waits for must come within a timeout, doubled for every loss or the like meanwhile. */
void check_stalls(struct sim *s)
{
	u64 base;

	if (s->now - s->last_progress > SIM_HOUR / 6)
		sim_fail(s, "no progress for ten minutes");
	if (s->hostile || s->steps % EVERY)
		return;
	base = (s->excuses ? 3 : 1) * NSEC_PER_SEC + 3 * longest_round_trip(s);	/* RFC 6298 5.7: 3 s after a SYN was lost */
	for (int i = 0; i < 2; i++)
		for (u32 j = 0; j < s->node[i].napp; j++) {
			const struct app *a = &s->node[i].app[j];
			u64 since, allowed;
			u32 n;

			if (!a->open || a->closed || !a->peer || !(a->peer->sent > a->got || (a->peer->sent_fin && !a->got_eof)))
				continue;
			n = s->excuses - MIN(a->heard, a->peer->acked) + 1;
			allowed = MIN(base << MIN(n, 20u), base + n * TCP_RTO_MAX);
			since = MAX(MAX(a->moved, a->pause_until), a->peer->wrote);
			if (s->now > since + allowed)
				sim_fail(s, "node %d sk %u waits for %.3f s after %u losses, %.3f s are allowed", i, a->sk,
					 (double)(s->now - since) / 1e9, n - 1, (double)allowed / 1e9);
		}
}

/* ---- the end ---- */

/* Every connection is over, TIME_WAIT too: what they used is free again. */
void check_empty(struct sim *s)
{
	for (int i = 0; i < 2; i++) {
		struct node *n = &s->node[i];
		const struct tcp_soft *t = n->tcp.soft;
		u32 recs = 0, used = 0;

		for (const struct tcp_rec *r = t->rec_free; r; r = r->next)
			recs++;
		for (u32 sk = 0; sk < ARENA_SLOTS; sk++)
			used += load_relaxed(&n->tcp.t->sk[sk].phase) != TCPP_FREE;
		if (n->outstanding)
			sim_fail(s, "node %d: %u transmit buffers leaked", i, n->outstanding);
		if (recs != t->recs_used)
			sim_fail(s, "node %d: %u of %u records leaked", i, t->recs_used - recs, t->recs_used);
		if (used != (n->id == 1))	/* the listener */
			sim_fail(s, "node %d: %u sockets left", i, used);
		if (t->wheel.armed || t->tw_count)
			sim_fail(s, "node %d: %u timers, %u in TIME_WAIT left", i, t->wheel.armed, t->tw_count);
	}
}
