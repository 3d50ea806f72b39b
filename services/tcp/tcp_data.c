/* tcp_data.c – rx6 tcp_data_queue(): payload into the receive ring, in order or not; rx7 follows.
 *
 * Order of stores (crash rules 2, 3, 5): bytes, still_ours(), then the one word that makes them count: rx_head for
 * data in order, an ooo word for an interval beyond it. A FIN's offset is stored before rx_head passes it. */
#include "services/tcp/path.h"

static _Atomic u64 *ooo_words(struct tcp_conn *c) { return c->t->t->ooo[c->sk]; }

void tcp_ooo_reset(struct tcp_conn *c)
{
	for (u32 i = 0; i < TCP_OOO; i++)
		if (load_relaxed(&ooo_words(c)[i]))
			store_relaxed(&ooo_words(c)[i], 0);
	c->ooo_count = 0;
}

/* Expand word i relative to rcv_nxt; false: empty. */
static bool ooo_get(struct tcp_conn *c, u32 i, u64 *start, u64 *end)
{
	u64 w = load_relaxed(&ooo_words(c)[i]), nxt = rcv_nxt(c);

	if (!w)
		return false;
	*start = nxt + (u64)(s64)(s32)((u32)(w >> 32) - (u32)nxt);
	*end = *start + (u32)w;
	return true;
}

static void ooo_put(struct tcp_conn *c, u32 i, u64 start, u64 end)
{
	store_release(&ooo_words(c)[i], (u64)(u32)start << 32 | (u32)(end - start));
}

/* The intervals, ascending and disjoint, at most TCP_OOO. */
static u32 ooo_sorted(struct tcp_conn *c, u64 (*ret)[2])
{
	u32 n = 0, m = 0;
	u64 s, e;

	for (u32 i = 0; i < TCP_OOO; i++) {
		u32 j = n;

		if (!ooo_get(c, i, &s, &e) || !after(e, rcv_nxt(c)))
			continue;
		for (; j && after(ret[j - 1][0], s); j--)
			memcpy(ret[j], ret[j - 1], sizeof(*ret));
		ret[j][0] = s;
		ret[j][1] = e;
		n++;
	}
	for (u32 i = 0; i < n; i++) {		/* may overlap after a crash */
		if (m && !after(ret[i][0], ret[m - 1][1])) {
			ret[m - 1][1] = after(ret[i][1], ret[m - 1][1]) ? ret[i][1] : ret[m - 1][1];
			continue;
		}
		memmove(ret[m++], ret[i], sizeof(*ret));
	}
	return m;
}

void tcp_ooo_recount(struct tcp_conn *c)
{
	u64 s, e;

	c->ooo_count = 0;
	for (u32 i = 0; i < TCP_OOO; i++)
		if (ooo_get(c, i, &s, &e)) {
			if (after(e, rcv_nxt(c)))
				c->ooo_count++;
			else
				store_release(&ooo_words(c)[i], 0);
		}
}

/* SACK blocks to report: the most recently changed intervals first (RFC 2018 4). */
u32 tcp_ooo_collect(struct tcp_conn *c, u64 (*ret)[2], u32 max)
{
	u64 all[TCP_OOO][2];
	u32 n = ooo_sorted(c, all), out = 0;
	bool used[TCP_OOO] = { false };

	for (u32 r = 0; r < ARRAY_SIZE(c->ooo_recent) && out < max; r++)
		for (u32 i = 0; i < n; i++)
			if (!used[i] && !before(c->ooo_recent[r], all[i][0]) && before(c->ooo_recent[r], all[i][1])) {
				memcpy(ret[out++], all[i], sizeof(*ret));
				used[i] = true;
				break;
			}
	for (u32 i = 0; i < n && out < max; i++)
		if (!used[i])
			memcpy(ret[out++], all[i], sizeof(*ret));
	return out;
}

static void remember_recent(struct tcp_conn *c, u64 start)
{
	memmove(c->ooo_recent + 1, c->ooo_recent, sizeof(c->ooo_recent) - sizeof(c->ooo_recent[0]));
	c->ooo_recent[0] = start;
}

static bool intact(struct tcp_conn *c, struct tcp_seg *g)
{
	if (!g->still_ours || g->still_ours(g->ctx, g->skb))
		return true;
	conn_count(c, DROP_NONSENSE);
	return false;
}

/* Copy [s, e) of the segment that starts at `off` into the holes only: bytes already there may have been SACKed. */
static void copy_holes(struct tcp_conn *c, const struct tcp_seg *g, u64 off, u64 s, u64 e)
{
	u64 have[TCP_OOO][2];
	u32 n = c->ooo_count ? ooo_sorted(c, have) : 0;

	for (u32 i = 0; i <= n && before(s, e); i++) {
		u64 stop = i < n && before(have[i][0], e) ? have[i][0] : e;

		if (after(stop, s))
			bytes_in(c->b.rx, c->b.rx_size, s, g->payload + (s - off), stop - s);
		if (i < n && after(have[i][1], s))
			s = have[i][1];
	}
}

/* One interval more; true when it was recorded. Merging: the grown word first, then the swallowed ones go. */
static bool ooo_insert(struct tcp_conn *c, u64 s, u64 e)
{
	u32 into = TCP_OOO, empty = TCP_OOO;
	u64 a, b, start = s, end = e;

	for (u32 i = 0; i < TCP_OOO; i++) {
		if (!ooo_get(c, i, &a, &b)) {
			empty = MIN(empty, i);
			continue;
		}
		if (after(a, end) || before(b, start))
			continue;
		start = before(a, start) ? a : start;
		end = after(b, end) ? b : end;
		if (into == TCP_OOO)
			into = i;
	}
	if (into == TCP_OOO && empty == TCP_OOO) {
		conn_count(c, DROP_TCP_OFO_LIMIT);
		return false;
	}
	u32 at = into < TCP_OOO ? into : empty;

	ooo_put(c, at, start, end);
	for (u32 i = 0; i < TCP_OOO; i++)
		if (i != at && ooo_get(c, i, &a, &b) && !before(a, start) && !after(b, end))
			store_release(&ooo_words(c)[i], 0);
	remember_recent(c, s);
	return true;
}

/* Deliver up to `end`, and whatever intervals now touch it. */
static void advance(struct tcp_conn *c, u64 end)
{
	u64 s, e;

	for (bool again = c->ooo_count != 0; again;) {
		again = false;
		for (u32 i = 0; i < TCP_OOO; i++)
			if (ooo_get(c, i, &s, &e) && !after(s, end) && after(e, end)) {
				end = e;
				again = true;
			}
	}
	c->bytes_in += end - rcv_nxt(c);
	store_release(&c->b.s->rx_head, end);
	tcp_trim_arm(c);
	if (c->ooo_count)
		tcp_ooo_recount(c);
	c->t->ops->data_ready(c->t->ctx, c->sk);
}

/* RFC 1122 4.2.3.2, RFC 5681 4.2: at least every second full segment; at once while the sender's window is small. */
static void ack_in_order(struct tcp_conn *c)
{
	u64 unacked = rcv_nxt(c) - c->last_ack;

	c->last_recv = c->t->now;
	if (unacked > c->rcv_mss || load_relaxed(&c->b.c->opts) & SKC_QUICKACK) {
		tcp_mark_dirty(c, CF_ACK_NOW | CF_XMIT);
		return;
	}
	if (c->quick && !c->pingpong) {
		c->quick--;
		tcp_mark_dirty(c, CF_ACK_NOW | CF_XMIT);
		return;
	}
	c->cf |= CF_ACK_SCHED;
	if (!timer_armed(&c->ack))
		timer_arm(&c->t->soft->wheel, &c->ack, c->t->now + TCP_DELACK);
	tcp_mark_dirty(c, CF_XMIT);
}

/* In order, nothing unusual: checksum fused with the copy. false: not believed, nothing happened. */
bool tcp_data_fast(struct tcp_conn *c, struct tcp_seg *g)
{
	u64 off = rcv_nxt(c);
	u32 size = c->b.rx_size, at = off & (size - 1), first = MIN(g->len, size - at);

	if (g->csum_todo) {
		u32 sum = csum_partial(g->hdr, g->hdrlen, csum_pseudo(g->tuple.laddr, g->tuple.faddr, 6, g->hdrlen + g->len));

		sum = csum_copy(c->b.rx + at, g->payload, first, sum);
		if (g->len > first)
			sum = csum_block_add(sum, csum_copy(c->b.rx, g->payload + first, g->len - first, 0), first);
		if (csum_fold(sum)) {
			conn_count(c, DROP_TCP_CSUM);
			return false;
		}
	} else {
		bytes_in(c->b.rx, size, off, g->payload, g->len);
	}
	if (!intact(c, g))
		return false;
	tcp_ecn_received(c, g);
	tcp_paws_update(c, g);
	tcp_ack(c, g);
	advance(c, off + g->len);
	tcp_rcv_rtt_measure(c, g);
	ack_in_order(c);
	tcp_after_ack(c);
	return true;
}

static void dsack(struct tcp_conn *c, u64 s, u64 e)
{
	if (has_sack(c)) {
		c->dsack_start = s;
		c->dsack_end = e;
	}
}

static void receive_fin(struct tcp_conn *c)
{
	u64 fin = rcv_nxt(c) + 1;

	c->fin_early = 0;
	store_release(&c->b.s->fin, fin);
	store_release(&c->b.s->rx_head, fin);
	tcp_ooo_reset(c);
	c->cf |= CF_ACK_NOW;
	tcp_mark_dirty(c, CF_XMIT);
	c->t->ops->data_ready(c->t->ctx, c->sk);
}

static void queue_in_order(struct tcp_conn *c, struct tcp_seg *g, u64 off, u64 end)
{
	bool filled = c->ooo_count != 0;

	copy_holes(c, g, off, rcv_nxt(c), end);
	if (!intact(c, g))
		return;
	tcp_ecn_received(c, g);
	advance(c, end);
	tcp_rcv_rtt_measure(c, g);
	if (filled)		/* RFC 5681 4.2: a segment that fills a hole is acknowledged at once */
		c->cf |= CF_ACK_NOW;
	ack_in_order(c);
}

static void queue_out_of_order(struct tcp_conn *c, struct tcp_seg *g, u64 off, u64 end)
{
	u64 have[TCP_OOO][2];
	u32 n = c->ooo_count ? ooo_sorted(c, have) : 0;

	for (u32 i = 0; i < n; i++)
		if (!before(off, have[i][0]) && !after(end, have[i][1]))
			dsack(c, off, end);	/* RFC 2883 4.2.2: all of it was here */
	copy_holes(c, g, off, off, end);
	if (intact(c, g)) {
		tcp_ecn_received(c, g);
		if (ooo_insert(c, off, end))
			tcp_ooo_recount(c);
	}
	c->last_recv = c->t->now;
	c->quick = MAX(c->quick, 2u);
	tcp_send_ack(c);	/* RFC 5681 3.2: a duplicate ACK for every segment out of order, never merged */
}

/* The segment passed tcp_validate_incoming(). */
void tcp_data_queue(struct tcp_conn *c, struct tcp_seg *g)
{
	u64 off = rcv_off(c, g->seq) + !!(g->flags & TCP_SYN), end = off + g->len, nxt = rcv_nxt(c);
	u64 limit = load_relaxed(&c->h->valid_rx_tail) + c->b.rx_size;
	bool fin = g->flags & TCP_FIN;

	if (!g->len && !fin)
		return;
	if (fin_rcv(c)) {		/* RFC 9293 3.10.7.4: what comes after a FIN is ignored, what came before it is told again */
		if (before(off, nxt)) {
			dsack(c, off, before(end + fin, nxt) ? end + fin : nxt);
			tcp_mark_dirty(c, CF_ACK_NOW);
		}
		return;
	}
	if (g->len && !after(end, nxt) && !(fin && end == nxt)) {	/* old: RFC 2883 4.1 */
		dsack(c, off, end);
		c->quick = TCP_QUICKACKS;
		tcp_send_ack(c);
		return;
	}
	if (after(end, limit)) {	/* more than there is room for: the rest will come again */
		end = limit;
		fin = false;
	}
	if (after(off, nxt)) {
		if (fin)
			c->fin_early = end + 1;
		if (after(end, off))
			queue_out_of_order(c, g, off, end);
		else
			tcp_send_ack(c);
		return;
	}
	if (before(off, nxt) && after(end, nxt))
		dsack(c, off, nxt);
	if (after(end, nxt))
		queue_in_order(c, g, off, end);
	else if (g->len && !fin)
		tcp_mark_dirty(c, CF_ACK_NOW);	/* a probe of a zero window */
	if ((fin && rcv_nxt(c) == end) || c->fin_early == rcv_nxt(c) + 1)
		receive_fin(c);
}
