/* tcp_ack.c – rx6 tcp_ack(): what an acknowledgment says: bytes the peer has, its window, the round trip time.
 *
 * Order: snd_una is stored (bytes may be overwritten from then on), then write_space. Loss detection is tcp_recovery.c. */
#include "services/tcp/path.h"

/* RFC 6298 with Linux's one-sided variance and a floor of 200 ms on the variance term. */
void tcp_rtt_estimator(struct tcp_conn *c, u32 rtt_us)
{
	s32 m = (s32)MIN(MAX(rtt_us, 1u), 100000000u);

	if (!c->min_rtt_us || rtt_us < c->min_rtt_us)
		c->min_rtt_us = (u32)m;
	if (!c->srtt8_us) {
		c->srtt8_us = (u32)m << 3;
		c->mdev4_us = (u32)m << 1;
		c->rttvar4_us = MAX(c->mdev4_us, (u32)(TCP_RTO_MIN / 1000));
		c->mdev_max4_us = c->rttvar4_us;
		c->rtt_seq = snd_nxt(c);
	} else {
		m -= (s32)(c->srtt8_us >> 3);
		c->srtt8_us = (u32)((s32)c->srtt8_us + m);
		if (m < 0) {
			m = -m;
			m -= (s32)(c->mdev4_us >> 2);
			if (m > 0)
				m >>= 3;	/* a shorter RTT should not raise the variance much */
		} else {
			m -= (s32)(c->mdev4_us >> 2);
		}
		c->mdev4_us = (u32)((s32)c->mdev4_us + m);
		if (c->mdev4_us > c->mdev_max4_us) {
			c->mdev_max4_us = c->mdev4_us;
			if (c->mdev_max4_us > c->rttvar4_us)
				c->rttvar4_us = c->mdev_max4_us;
		}
		if (after(snd_una(c), c->rtt_seq)) {
			if (c->mdev_max4_us < c->rttvar4_us)
				c->rttvar4_us -= (c->rttvar4_us - c->mdev_max4_us) >> 2;
			c->rtt_seq = snd_nxt(c);
			c->mdev_max4_us = (u32)(TCP_RTO_MIN / 1000);
		}
	}
	tcp_set_rto(c);
}

void tcp_set_rto(struct tcp_conn *c)
{
	u64 rto = ((u64)(c->srtt8_us >> 3) + c->rttvar4_us) * 1000;

	c->rto = MIN(MAX(rto, TCP_RTO_MIN), TCP_RTO_MAX);
}

/* A record, or its first `n` segments, are acknowledged. */
static void count_acked(struct tcp_conn *c, struct tcp_rec *r, u32 n, struct tcp_ackinfo *a)
{
	c->packets_out -= n;
	if (r->flags & REC_SACKED)
		c->sacked_out -= MIN(c->sacked_out, n);
	else {
		a->newly_acked += n;
		c->delivered += n;
	}
	if (r->flags & REC_LOST)
		c->lost_out -= MIN(c->lost_out, n);
	if (r->flags & REC_RETRANS)
		c->retrans_out -= MIN(c->retrans_out, n);
	if (r->flags & REC_EVER) {
		a->retrans_acked = true;
		a->retrans_xmit = MAX(a->retrans_xmit, r->xmit);
	} else if (!(r->flags & REC_SACKED)) {
		a->orig_acked |= !after(r->end, c->high_seq);
		a->last_xmit = r->xmit;
		if (!a->first_xmit)
			a->first_xmit = r->xmit;
	}
	if (!(r->flags & REC_SACKED)) {
		tcp_rack_advance(c, r);
		tcp_rate_delivered(c, r, a);
	}
}

static void clean_rtx_queue(struct tcp_conn *c, u64 ack, struct tcp_ackinfo *a)
{
	struct tcp_rec *r;

	while ((r = c->head) && before(r->start, ack)) {
		if (!after(r->end, ack)) {
			count_acked(c, r, r->pcount, a);
			tcp_rec_unlink(c, r);
			continue;
		}
		u16 left = tcp_pcount(c, r->end - ack - (r->flags & REC_FIN ? 1 : 0)), had = r->pcount;

		left = MIN(left, had);
		count_acked(c, r, had - left, a);
		r->start = ack;
		r->pcount = left;
		return;
	}
}

static u64 t_since(const struct tcp_conn *c, u64 then) { return c->t->now - then; }

/* Karn's rule, or the timestamp when there is one (RFC 7323 4.1). */
static void take_rtt(struct tcp_conn *c, const struct tcp_seg *g, struct tcp_ackinfo *a)
{
	u32 rtt = 0;

	if (a->first_xmit && !a->retrans_acked) {
		rtt = (u32)MIN((c->t->now - a->first_xmit) / 1000, UINT32_MAX / 16);
		a->rtt_us = (u32)MIN((c->t->now - a->last_xmit) / 1000, UINT32_MAX / 16);
	} else if (a->advanced && has_ts(c) && g->has_ts && g->tsecr) {
		u32 d = tcp_ts(c->t, c->h->ts_offset) - g->tsecr;

		if (d > 600000)
			return;
		/* Echo of an earlier transmission, its ACK lost: the time until we sent again is no property of the path,
		 * and would make the next timeout as long as the outage was */
		if (a->retrans_acked && (u64)d * MSEC > t_since(c, a->retrans_xmit) + MSEC)
			return;
		rtt = a->rtt_us = MAX(d * 1000, 1000u);
	} else if (a->sack_xmit && c->ca_state != CA_LOSS) {	/* after a timeout: SACKed long ago, perhaps, and the ACK lost */
		rtt = a->rtt_us = (u32)MIN((c->t->now - a->sack_xmit) / 1000, UINT32_MAX / 16);
	} else {
		return;
	}
	rtt = MAX(rtt, 1u);
	a->rtt_us = MAX(a->rtt_us, 1u);
	tcp_rtt_estimator(c, rtt);
}

/* RFC 9293 3.10.7.4, as Linux tells a newer window from an older one. */
static bool window_update(struct tcp_conn *c, const struct tcp_seg *g, u64 ack)
{
	u32 wnd = (u32)g->wnd << (g->flags & TCP_SYN ? 0 : c->h->snd_wscale);
	u64 seq = rcv_off(c, g->seq);

	if (!after(ack, snd_una(c)) && !after(seq, c->h->snd_wl1) &&
	    !(seq == c->h->snd_wl1 && (wnd > load_relaxed(&c->h->snd_wnd) || !wnd)))
		return false;
	c->h->snd_wl1 = seq;
	c->h->snd_wl2 = ack;
	if (wnd > c->max_wnd)
		c->max_wnd = wnd;
	if (load_relaxed(&c->h->snd_wnd) == wnd)
		return false;
	store_relaxed(&c->h->snd_wnd, wnd);
	return true;
}

/* The store that lets bytes be overwritten; our FIN is acknowledged by a word of its own, after the bytes. */
static void store_una(struct tcp_conn *c, u64 ack)
{
	u64 fin = fin_snd(c);
	bool all = fin && ack == fin;

	store_release(&c->b.s->tx_tail, all ? fin - 1 : ack);
	if (all)
		store_release(&c->h->fin_acked, 1);
}

/* The tail loss probe of RFC 8985 7.4: did it repair a loss nobody would have seen? */
static void tlp_acked(struct tcp_conn *c, u64 ack, const struct tcp_ackinfo *a)
{
	if (!(c->cf & CF_TLP) || before(ack, c->tlp_high))
		return;
	if (c->ca_flags & 1 && !a->dsack) {
		if (ack == c->tlp_high && !a->dup)
			return;		/* 7.4.2: a DSACK or a duplicate that is still to come tells that nothing was lost */
		if (after(ack, c->tlp_high) && c->ca_state < CA_RECOVERY)
			tcp_enter_cwr(c);
	}
	c->cf &= ~(u32)CF_TLP;
	c->ca_flags &= (u8)~1u;
}

static void advanced(struct tcp_conn *c, u64 ack, struct tcp_ackinfo *a)
{
	clean_rtx_queue(c, ack, a);
	store_una(c, ack);
	if (!c->head && c->busy_since) {
		c->busy_ns += c->t->now - c->busy_since;
		c->busy_since = 0;
	}
	tcp_mtup_acked(c, ack);
	store_relaxed(&c->h->giveup_start, 0);
	c->retransmits = 0;
	c->cf &= ~(u32)CF_RESTARTED;
	tcp_sndbuf_expand(c);
	if (c->t->ops->write_space)
		c->t->ops->write_space(c->t->ctx, c->sk);
	if (!has_sack(c) && c->sacked_out) {	/* duplicate ACKs stood for these */
		u32 n = MIN(c->sacked_out, a->newly_acked ? a->newly_acked - 1 : 0);

		c->sacked_out -= n;
		a->newly_acked -= n;	/* PRR and the window have counted the duplicates when they came */
		if (c->ca_state < CA_RECOVERY)
			c->sacked_out = 0;
		c->sacked_out = MIN(c->sacked_out, c->packets_out ? c->packets_out - 1 : 0);
	}
}

/* Nothing is in flight, but a DSACK may say that what was sent again was not needed. */
static void late_dsack(struct tcp_conn *c, const struct tcp_seg *g, struct tcp_ackinfo *a)
{
	tcp_sacktag(c, g, a);
	if (a->dsack)
		tcp_fastretrans_alert(c, g, a);
}

/* 1: fine; 0: older than what is known; -1: acknowledges what was never sent, or is impossibly old (RFC 5961 5.2). */
int tcp_ack(struct tcp_conn *c, struct tcp_seg *g)
{
	u64 ack = snd_off(c, g->ack), una = snd_una(c);
	struct tcp_ackinfo a = { .prior_una = una, .now = c->t->now, .prior_in_flight = in_flight(c),
				 .prior_state = c->ca_state, .prior_delivered = c->delivered, .prior_lost = c->lost };
	bool had_data = c->head != NULL;

	if (after(ack, snd_nxt(c)))
		return -1;
	if (before(ack, una)) {
		if (before(ack, una - c->max_wnd))
			return -1;
		if (g->nsack && c->head) {
			tcp_sacktag(c, g, &a);
			tcp_fastretrans_alert(c, g, &a);
		}
		return 0;
	}
	c->h->keep_probes = 0;
	if (sk_note_errno(load_relaxed(&c->b.s->soft_err)))	/* something got through */
		tcp_note(&c->b.s->soft_err, 0);
	if (c->probes) {
		c->probes = 0;
		store_relaxed(&c->h->giveup_start, 0);
	}
	a.win_update = window_update(c, g, ack);
	a.advanced = after(ack, una);
	if (g->nsack && had_data)
		tcp_sacktag(c, g, &a);
	if (a.advanced)
		advanced(c, ack, &a);
	/* RFC 5681 2: nothing new, no data, same window, something outstanding */
	a.dup = !a.advanced && !g->len && !a.win_update && !(g->flags & (TCP_SYN | TCP_FIN));
	if (!had_data) {
		if (g->nsack)
			late_dsack(c, g, &a);
		tlp_acked(c, ack, &a);
		tcp_check_probe0(c);
		if (before(snd_nxt(c), snd_end(c)))	/* the window may have opened */
			tcp_mark_dirty(c, CF_XMIT);
		return 1;
	}
	a.ece = tcp_ecn_echoed(c, g);
	if (a.ece)
		c->delivered_ce += a.newly_acked + a.newly_sacked;
	take_rtt(c, g, &a);
	tlp_acked(c, ack, &a);
	if (a.advanced || a.newly_sacked)
		c->backoff = 0;
	if (c->ca_state != CA_OPEN || a.dup || a.newly_sacked || a.dsack || a.ece || c->sacked_out || c->cf & CF_RACK_TIMER)
		tcp_fastretrans_alert(c, g, &a);
	a.maybe_delayed = !c->head && a.newly_acked == 1 && ack - una < c->mss;
	tcp_rate_gen(c, &a);
	tcp_cong_control(c, &a);
	if (a.advanced)
		tcp_arm_tlp_or_rto(c);
	tcp_mark_dirty(c, CF_XMIT);
	return 1;
}
