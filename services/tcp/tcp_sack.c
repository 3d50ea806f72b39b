/* tcp_sack.c – the retransmission queue's records and the SACK scoreboard on them (RFC 2018, RFC 2883). rx6, from tcp_ack(). */
#include "services/tcp/path.h"

/* ---- records: a private pool, never grown after attach ---- */

struct tcp_rec *tcp_rec_new(struct tcp_conn *c)
{
	struct tcp_soft *s = c->t->soft;
	struct tcp_rec *r = s->rec_free;

	if (r)
		s->rec_free = r->next;
	else if (s->recs_used < TCP_RECS)
		r = &s->recs[s->recs_used++];
	return r;
}

void tcp_rec_unlink(struct tcp_conn *c, struct tcp_rec *r)
{
	*(r->prev ? &r->prev->next : &c->head) = r->next;
	*(r->next ? &r->next->prev : &c->tail) = r->prev;
	r->next = c->t->soft->rec_free;
	c->t->soft->rec_free = r;
}

void tcp_recs_free(struct tcp_conn *c)
{
	while (c->head)
		tcp_rec_unlink(c, c->head);
	c->packets_out = c->sacked_out = c->lost_out = c->retrans_out = 0;
}

static void adjust(struct tcp_conn *c, const struct tcp_rec *r, s32 d)
{
	c->packets_out = (u32)((s32)c->packets_out + d);
	if (r->flags & REC_SACKED)
		c->sacked_out = (u32)((s32)c->sacked_out + d);
	if (r->flags & REC_LOST)
		c->lost_out = (u32)((s32)c->lost_out + d);
	if (r->flags & REC_RETRANS)
		c->retrans_out = (u32)((s32)c->retrans_out + d);
}

/* [start, end) becomes [start, at) and [at, end). false: no record left, nothing changed. */
bool tcp_rec_split(struct tcp_conn *c, struct tcp_rec *r, u64 at)
{
	struct tcp_rec *n;
	s32 before_split = r->pcount;

	if (!after(at, r->start) || !before(at, r->end))
		return true;
	n = tcp_rec_new(c);
	if (!n)
		return false;
	*n = *r;
	n->start = at;
	n->prev = r;
	if (r->next)
		r->next->prev = n;
	else
		c->tail = n;
	r->next = n;
	r->end = at;
	n->pcount = tcp_pcount(c, n->end - n->start - !!(n->flags & REC_FIN));
	r->flags &= (u8)~REC_FIN;
	r->pcount = tcp_pcount(c, r->end - r->start);
	adjust(c, r, r->pcount + n->pcount - before_split);
	if (!has_sack(c))	/* segments have grown since they were counted: duplicate ACKs stood for more of them */
		c->sacked_out = MIN(c->sacked_out, c->packets_out);
	return true;
}

/* ---- scoreboard ---- */

static void mark_sacked(struct tcp_conn *c, struct tcp_rec *r, struct tcp_ackinfo *a)
{
	if (r->flags & REC_SACKED)
		return;
	if (r->flags & REC_LOST)
		c->lost_out -= r->pcount;
	if (r->flags & REC_RETRANS)
		c->retrans_out -= r->pcount;
	if (!(r->flags & REC_EVER)) {
		a->orig_acked |= !after(r->end, c->high_seq);
		a->sack_xmit = r->xmit;
		if (before(r->end, c->sacked_high))
			c->reord_seen = 1;	/* never sent again, and arrived after later ones */
	}
	tcp_rate_delivered(c, r, a);
	r->flags = (r->flags & (REC_EVER | REC_FIN)) | REC_SACKED;
	c->sacked_out += r->pcount;
	c->delivered += r->pcount;
	a->newly_sacked += r->pcount;
	if (after(r->end, c->sacked_high))
		c->sacked_high = r->end;
	tcp_rack_advance(c, r);
}

/* Cut records at whole segments only, so that a hostile peer cannot shred them. */
static void sack_range(struct tcp_conn *c, u64 s, u64 e, struct tcp_ackinfo *a)
{
	struct tcp_rec *r, *next;
	u32 mss = MAX(c->mss, 1u);

	for (r = c->head; r && before(r->start, e); r = next) {
		next = r->next;
		if (!after(r->end, s) || r->flags & REC_SACKED)
			continue;
		if (before(r->start, s)) {
			u64 cut = r->start + (s - r->start + mss - 1) / mss * mss;

			if (!before(cut, r->end) || !before(cut, e))
				continue;
			if (!tcp_rec_split(c, r, cut))
				return;
			next = r->next;
			continue;
		}
		if (after(r->end, e)) {
			u64 n = (e - r->start) / mss * mss;

			if (!n)
				continue;
			if (!tcp_rec_split(c, r, r->start + n))
				return;
			next = r->next;
		}
		mark_sacked(c, r, a);
	}
}

/* RFC 2883 4: the first block repeats what is below the ACK or inside the second. */
static bool is_dsack(const struct tcp_seg *g)
{
	u32 s = g->sack[0][0], e = g->sack[0][1];

	if (seq_before(s, g->ack))
		return seq_before_eq(e, g->ack);
	return g->nsack > 1 && seq_before_eq(e, g->sack[1][1]) && seq_after_eq(s, g->sack[1][0]);
}

void tcp_sacktag(struct tcp_conn *c, const struct tcp_seg *g, struct tcp_ackinfo *a)
{
	u32 i = 0;

	if (!has_sack(c))
		return;
	if (is_dsack(g)) {
		u64 s = snd_off(c, g->sack[0][0]), e = snd_off(c, g->sack[0][1]);

		i = 1;
		if (before(s, e) && !after(e, snd_nxt(c)) && e - s < (1u << 30)) {
			a->dsack = true;
			if (c->undo_marker && c->undo_retrans > 0 && !before(e, c->undo_marker))
				c->undo_retrans -= MIN((s32)tcp_pcount(c, e - s), c->undo_retrans);
			c->rack_steps = (u8)MIN(c->rack_steps + 1, 255);
			c->reord_seen |= c->undo_marker != 0;
		}
	}
	for (; i < g->nsack; i++) {
		u64 s = snd_off(c, g->sack[i][0]), e = snd_off(c, g->sack[i][1]);

		if (!before(s, e) || after(e, snd_nxt(c)) || !after(e, snd_una(c)))
			continue;
		if (before(s, snd_una(c)))
			s = snd_una(c);
		sack_range(c, s, e, a);
	}
	a->sacked_any = c->sacked_out != 0;
}
