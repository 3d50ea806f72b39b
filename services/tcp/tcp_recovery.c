/* tcp_recovery.c – rx6 tcp_fastretrans_alert(): Open, Disorder, CWR, Recovery, Loss; PRR (RFC 6937), F-RTO and Eifel undo.
 *
 * Detection is tcp_rack.c with SACK, three duplicate ACKs without (RFC 5681, RFC 6582). Called by tcp_ack(). */
#include "services/tcp/path.h"

void tcp_cwnd_init(struct tcp_conn *c)
{
	c->ca = tcp_cong_list[c->h->cong];
	c->cwnd = TCP_INIT_CWND;	/* RFC 6928 */
	c->ssthresh = 0x7fffffff;
	c->cwnd_cnt = 0;
	c->cwnd_stamp = c->t->now;
	memset(c->cong, 0, sizeof(c->cong));
	if (c->ca->init)
		c->ca->init(c);
	tcp_pacing_update(c);
}

/* RFC 3522, RFC 4015: the ACK echoes a time before our retransmission, so the original had arrived. */
static bool packet_delayed(const struct tcp_conn *c, const struct tcp_seg *g)
{
	return has_ts(c) && g->has_ts && g->tsecr && c->retrans_stamp &&
	       (s32)(g->tsecr - ((u32)(c->retrans_stamp / MSEC) + c->h->ts_offset)) < 0;
}

static bool may_undo(const struct tcp_conn *c, const struct tcp_seg *g)
{
	return c->undo_marker && (!c->undo_retrans || packet_delayed(c, g));
}

static void undo_cwnd_reduction(struct tcp_conn *c, bool unmark)
{
	if (unmark) {
		for (struct tcp_rec *r = c->head; r; r = r->next)
			if (r->flags & REC_LOST && !(r->flags & REC_RETRANS)) {
				r->flags &= (u8)~REC_LOST;
				c->lost_out -= r->pcount;
			}
	}
	if (c->prior_ssthresh) {
		c->cwnd = MAX(c->ca->undo_cwnd(c), c->cwnd);
		c->ssthresh = MAX(c->ssthresh, c->prior_ssthresh);
		c->ecn &= (u8)~ECN_QUEUE_CWR;
	}
	c->undo_marker = 0;
	c->cwnd_stamp = c->t->now;
}

/* ACKs come in batches and segments leave at their end: what this batch delivered before the loss was seen has not been
 * answered with new segments yet. PRR counts it, unless the window was not what held the sender back. */
static u32 unanswered(const struct tcp_conn *c)
{
	u32 flight = c->packets_out - c->sacked_out + c->retrans_out;

	return c->cong_limited && c->cwnd > flight ? c->cwnd - flight : 0;
}

static void init_reduction(struct tcp_conn *c)
{
	c->high_seq = snd_nxt(c);
	c->tlp_high = 0;
	c->prior_cwnd = c->cwnd;
	c->prr_delivered = unanswered(c);
	c->prr_out = 0;
	c->cwnd_cnt = 0;
	c->prior_ssthresh = c->ssthresh;
	c->ssthresh = MAX(c->ca->ssthresh(c), 2u);
	tcp_ecn_queue_cwr(c);
}

void tcp_enter_cwr(struct tcp_conn *c)
{
	if (c->ca_state >= CA_CWR)
		return;
	init_reduction(c);
	c->undo_marker = 0;
	c->prior_ssthresh = 0;		/* not to be undone, whatever a loss on the way turns out to be */
	c->ca_state = CA_CWR;
}

static void enter_recovery(struct tcp_conn *c)
{
	if (c->ca_state < CA_CWR)
		init_reduction(c);
	c->high_seq = snd_nxt(c);
	c->undo_marker = snd_una(c) + 1;
	c->undo_retrans = (s32)c->retrans_out;
	c->retrans_stamp = 0;
	c->ca_state = CA_RECOVERY;
	conn_count(c, TCP_FAST_RETRANS);
	if (!has_sack(c) && c->head) {
		if (c->head->pcount > 1)
			tcp_rec_split(c, c->head, c->head->start + c->mss);
		tcp_mark_lost(c, c->head);
	}
}

/* RTO: everything not SACKed is taken for lost, one segment goes out; F-RTO (RFC 5682) takes it back if it was wrong. */
void tcp_enter_loss(struct tcp_conn *c)
{
	bool first = c->ca_state <= CA_DISORDER || !after(c->high_seq, snd_una(c)) || (c->ca_state == CA_LOSS && !c->retransmits);
	bool renege = c->head && c->head->flags & REC_SACKED;	/* RFC 2018 8: the head cannot be SACKed and missing */

	if (first) {
		init_reduction(c);
		c->undo_marker = snd_una(c) + 1;
		c->undo_retrans = 0;
		c->retrans_stamp = 0;
		if (c->ca->event)
			c->ca->event(c, CA_EVENT_LOSS);
		c->cf |= CF_FRTO;
	} else {
		c->cf &= ~(u32)CF_FRTO;
	}
	c->lost_out = c->retrans_out = 0;
	if (!has_sack(c) || renege)
		c->sacked_out = 0;
	for (struct tcp_rec *r = c->head; r; r = r->next) {
		if (renege)
			r->flags &= (u8)~REC_SACKED;
		r->flags &= (u8)~REC_RETRANS;
		if (r->flags & REC_SACKED)
			continue;
		if (!(r->flags & REC_LOST))
			c->lost += r->pcount;
		r->flags |= REC_LOST;
		c->lost_out += r->pcount;
	}
	c->cwnd = in_flight(c) + 1;
	c->cwnd_cnt = 0;
	c->cwnd_stamp = c->t->now;
	c->high_seq = snd_nxt(c);
	c->ca_state = CA_LOSS;
	tcp_ecn_queue_cwr(c);
	c->cf &= ~(u32)(CF_TLP | CF_RACK_TIMER);
}

/* RFC 5682 3.1, for SACK: what was never sent again is acknowledged: the time-out was spurious. Without SACK it may have
 * waited behind a hole, so then only the timestamp can tell. true: undone. */
static bool frto(struct tcp_conn *c, const struct tcp_seg *g, const struct tcp_ackinfo *a)
{
	if ((has_sack(c) && a->orig_acked) || (a->advanced && packet_delayed(c, g))) {
		undo_cwnd_reduction(c, true);
		c->cf &= ~(u32)CF_FRTO;
		c->ca_state = CA_OPEN;
		c->retrans_stamp = 0;
		return true;
	}
	if (after(snd_nxt(c), c->high_seq)) {	/* step 3a: a duplicate behind the new data, the loss was real */
		if (a->newly_sacked || a->dup)
			c->cf &= ~(u32)CF_FRTO;
	} else if (a->advanced) {		/* step 2b: new data instead of what is marked, to see what is acknowledged next */
		if (has_sack(c) && before(snd_una(c), c->high_seq))
			c->cf |= CF_NEW_FIRST;
		else
			c->cf &= ~(u32)CF_FRTO;
	}
	return false;
}

static void process_loss(struct tcp_conn *c, const struct tcp_seg *g, struct tcp_ackinfo *a)
{
	if (c->cf & CF_FRTO && frto(c, g, a))
		return;
	if (has_sack(c) ? !before(snd_una(c), c->high_seq) : after(snd_una(c), c->high_seq)) {	/* RFC 6582 4, as in leave() */
		if (may_undo(c, g))
			undo_cwnd_reduction(c, false);
		c->ca_state = CA_OPEN;
		c->undo_marker = 0;
		c->retrans_stamp = 0;
		if (!has_sack(c))
			c->sacked_out = 0;
	}
}

/* High sequence reached: the episode is over. */
static bool leave(struct tcp_conn *c, const struct tcp_seg *g)
{
	if (before(snd_una(c), c->high_seq))
		return false;
	if (c->ca_state == CA_RECOVERY) {
		if (may_undo(c, g))
			undo_cwnd_reduction(c, false);
		else if (!has_sack(c) && snd_una(c) == c->high_seq)
			return false;	/* RFC 6582 4: stay, lest old duplicates start another */
	} else if (c->ca_state == CA_CWR && snd_una(c) == c->high_seq && (c->packets_out || c->ecn & ECN_QUEUE_CWR)) {
		/* The peer echoes until it has our CWR, in data beyond: those echoes are of the mark that was answered */
		if (!c->packets_out && !c->ca->cong_control)
			c->cwnd = MAX(c->ssthresh, 2u);
		return false;
	}
	if (!c->ca->cong_control && (c->undo_marker || c->ca_state == CA_CWR))
		c->cwnd = MIN(c->cwnd, MAX(c->ssthresh, 2u));
	if (!c->ca->cong_control && c->ca_state == CA_RECOVERY && c->undo_marker)
		c->cwnd = MAX(c->ssthresh, 2u);
	if (!has_sack(c)) {
		c->undo_marker = 0;
		c->sacked_out = 0;
	}			/* else a DSACK may tell yet that it was for nothing */
	c->retrans_stamp = 0;
	c->ca_state = CA_OPEN;
	return true;
}

static void in_recovery(struct tcp_conn *c, const struct tcp_seg *g, struct tcp_ackinfo *a)
{
	if (has_sack(c)) {
		if (a->dsack && may_undo(c, g)) {
			undo_cwnd_reduction(c, true);
			c->ca_state = c->sacked_out ? CA_DISORDER : CA_OPEN;
		}
		return;
	}
	if (!a->advanced) {
		if (a->dup && c->sacked_out + 1 < c->packets_out)
			c->sacked_out++;
		return;
	}
	/* RFC 6582 3.2: a partial ACK names the next hole */
	if (c->head && !(c->head->flags & (REC_LOST | REC_RETRANS))) {
		if (c->head->pcount > 1)
			tcp_rec_split(c, c->head, c->head->start + c->mss);
		tcp_mark_lost(c, c->head);
		a->newly_lost++;
	}
}

void tcp_fastretrans_alert(struct tcp_conn *c, const struct tcp_seg *g, struct tcp_ackinfo *a)
{
	u32 lost = c->lost_out;

	if (a->ece)
		c->prior_ssthresh = 0;	/* a reduction the peer asked for is not undone */
	if (c->ca_state != CA_OPEN && c->ca_state != CA_DISORDER && c->ca_state != CA_LOSS)
		leave(c, g);
	if (c->ca_state == CA_RECOVERY) {
		in_recovery(c, g, a);
	} else if (c->ca_state == CA_LOSS) {
		process_loss(c, g, a);
		if (c->ca_state == CA_LOSS && !has_sack(c))
			return;
	} else if (!has_sack(c) && a->dup && c->sacked_out + 1 < MAX(c->packets_out, 1u) + 1) {
		c->sacked_out = MIN(c->sacked_out + 1, c->packets_out);
	}
	if (a->dsack && c->ca_state <= CA_DISORDER && may_undo(c, g))
		undo_cwnd_reduction(c, false);
	if (has_sack(c))
		tcp_rack_detect_loss(c);
	if (c->lost_out > lost)
		a->newly_lost += c->lost_out - lost;
	if (c->ca_state >= CA_RECOVERY)
		return;
	if (has_sack(c) ? c->lost_out != 0 : c->sacked_out >= 3) {
		if (tcp_mtup_lost(c))
			return;
		/* RFC 6582 3.2: not for duplicates of what was already repaired */
		enter_recovery(c);
		if (a->ece)
			c->prior_ssthresh = 0;
		a->newly_lost = MAX(a->newly_lost, 1u);
		return;
	}
	if (a->ece && c->ca_state < CA_CWR) {	/* RFC 3168 6.1.2: as for a loss, once a round trip */
		conn_count(c, TCP_ECN_CWR);
		tcp_enter_cwr(c);
	}
	if (c->ca_state != CA_CWR)
		c->ca_state = c->sacked_out ? CA_DISORDER : CA_OPEN;
}

/* RFC 6937 with the slow start reduction bound made safe (RFC 9438 era successor: only while nothing new is lost). */
static void prr(struct tcp_conn *c, const struct tcp_ackinfo *a)
{
	u32 n = a->newly_acked + a->newly_sacked, flight = in_flight(c);
	s32 delta = (s32)(c->ssthresh - flight), send;

	if (!has_sack(c) && a->dup)
		n = MAX(n, 1u);
	if (!n || !c->prior_cwnd)
		return;
	if (!c->packets_out) {		/* all is through: where the reduction was to end */
		c->cwnd = MAX(c->ssthresh, 2u);
		return;
	}
	if (a->prior_state >= CA_CWR)
		c->prr_delivered += n;
	else				/* init_reduction() has counted them, if the window was the limit */
		c->prr_delivered = MAX(c->prr_delivered, n);
	if (delta < 0) {
		u64 want = ((u64)c->ssthresh * c->prr_delivered + c->prior_cwnd - 1) / c->prior_cwnd;

		send = (s32)want - (s32)c->prr_out;
	} else {
		send = MAX((s32)(c->prr_delivered - c->prr_out), (s32)n);
		if (a->advanced && !a->newly_lost)
			send++;
		send = MIN(delta, send);
	}
	send = MAX(send, c->prr_out ? 0 : 1);
	c->cwnd = flight + (u32)send;
}

static bool cwnd_limited(const struct tcp_conn *c)
{
	return c->cong_limited || (c->cwnd < c->ssthresh && c->cwnd < 2 * c->cwnd_used);
}

/* A hint for a successor (soft, sequence-locked). */
static void store_hint(struct tcp_conn *c)
{
	u32 s = (load_relaxed(&c->h->hint_seq) + 1) & ~1u;	/* a predecessor may have died writing */

	store_relaxed(&c->h->hint_seq, s + 1);
	atomic_thread_fence(memory_order_release);
	c->h->hint_srtt_us = c->srtt8_us >> 3;
	c->h->hint_cwnd = c->cwnd;
	c->h->hint_ssthresh = c->ssthresh;
	store_release(&c->h->hint_seq, s + 2);
}

void tcp_cong_control(struct tcp_conn *c, struct tcp_ackinfo *a)
{
	if (c->ca->pkts_acked)
		c->ca->pkts_acked(c, a->newly_acked + a->newly_sacked, a->rtt_us);
	if (c->ca->cong_control) {
		c->ca->cong_control(c, a);
	} else if (c->ca_state == CA_RECOVERY || c->ca_state == CA_CWR) {
		prr(c, a);
		return;
	} else if (a->advanced && a->newly_acked && (cwnd_limited(c) || c->ca_state == CA_LOSS)) {
		c->ca->cong_avoid(c, a->newly_acked);	/* RFC 7661's point: a window that is not used says nothing */
	}
	if (a->rtt_us)
		store_hint(c);
}
