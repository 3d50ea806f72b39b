/* tcp_timer.c – every timer of a connection. An idle connection has none but its keep-alive.
 *
 *   rtx    SYN retransmission | RTO | tail loss probe | RACK reordering | zero-window probe (persist)
 *   ack    delayed ACK, 40 ms
 *   keep   keep-alive probe | FIN_WAIT_2 of an orphan
 *   trim   memory of an idle ring (tcp_buffer.c)
 *   pace   the next quantum of a paced connection (tcp_pacing.c)
 * TIME_WAIT and handshakes have their own (tcp_timewait.c, tcp_minisocks.c). All are soft: a successor arms them from
 * the deadlines in the hard blocks. */
#include "services/tcp/path.h"

#define WHEEL(c) (&(c)->t->soft->wheel)

static u64 backed_off(const struct tcp_conn *c)
{
	u64 rto = c->rto;

	for (u32 i = 0; i < c->backoff && rto < TCP_RTO_MAX; i++)
		rto <<= 1;
	return MIN(rto, TCP_RTO_MAX);
}

void tcp_clear_timers(struct tcp_conn *c)
{
	timer_cancel(WHEEL(c), &c->rtx);
	timer_cancel(WHEEL(c), &c->ack);
	timer_cancel(WHEEL(c), &c->keep);
	timer_cancel(WHEEL(c), &c->pace);
	timer_cancel(WHEEL(c), &c->trim);
}

/* TCP_USER_TIMEOUT may end before the next retransmission would: then it is looked at in time. */
static u64 next_rto(const struct tcp_conn *c)
{
	u64 rto = backed_off(c), since = load_relaxed(&c->h->giveup_start), end = since + c->h->user_timeout_ms * MSEC;

	if (!c->h->user_timeout_ms || !since)
		return rto;
	return end > c->t->now ? MIN(rto, end - c->t->now) : MSEC;
}

void tcp_rearm_rto(struct tcp_conn *c)
{
	if (c->cf & CF_SYN_OUT)
		return;			/* the SYN+ACK's, before anything else is repeated */
	if (!c->head) {
		if (!(c->cf & CF_PROBE0))
			timer_cancel(WHEEL(c), &c->rtx);
		c->cf &= ~(u32)CF_RACK_TIMER;
		return;
	}
	c->cf &= ~(u32)(CF_RACK_TIMER | CF_PROBE0);
	c->ca_flags &= (u8)~2u;
	c->rto_at = c->t->now + next_rto(c);
	timer_arm(WHEEL(c), &c->rtx, c->rto_at);
}

/* RFC 6298 5.1: new data does not start a timer anew that runs; who trickles would never find out what is lost. */
void tcp_keep_rto(struct tcp_conn *c, u64 at)
{
	if (!timer_armed(&c->rtx) || c->cf & (CF_RACK_TIMER | CF_SYN_OUT) || at <= c->t->now)
		return;
	c->rto_at = at;
	if (c->rtx.deadline > at)
		timer_arm(WHEEL(c), &c->rtx, at);
}

/* RFC 6069: the network says that it could not deliver the retransmission, so its loss was no congestion: one doubling is
 * taken back. Never earlier than the timeout without it would have been, so a flood of errors gains nothing. */
void tcp_ld_RTO_revert(struct tcp_conn *c)
{
	if (!c->retransmits || !c->backoff || !c->head || c->cf & (CF_PROBE0 | CF_RACK_TIMER | CF_SYN_OUT) || c->ca_flags & 2)
		return;
	c->backoff--;
	timer_arm(WHEEL(c), &c->rtx, MAX(c->t->now, c->head->xmit + backed_off(c)));
}

/* RFC 8985 7.2: a probe after two round trips when the tail may be lost, if nothing else is being repaired. */
void tcp_arm_tlp_or_rto(struct tcp_conn *c)
{
	u64 pto;

	if ((c->cf & CF_RACK_TIMER && c->head) || c->cf & CF_SYN_OUT)
		return;
	tcp_rearm_rto(c);
	if (!c->head || !has_sack(c) || c->ca_state > CA_DISORDER || c->cf & CF_TLP || !c->srtt8_us || c->sacked_out)
		return;
	pto = (u64)(c->srtt8_us >> 3) * 2 * 1000;
	pto += c->packets_out == 1 ? TCP_RTO_MIN : 2 * MSEC;	/* a lone segment may meet a delayed ACK */
	c->ca_flags |= 2;	/* the rtx timer is a loss probe, no later than the timeout would have been */
	if (pto < c->rtx.deadline - c->t->now)
		timer_arm(WHEEL(c), &c->rtx, c->t->now + pto);
}

/* Nothing in flight to clock us, but something to send: the persist timer (RFC 9293 MUST-35: for ever). */
void tcp_check_probe0(struct tcp_conn *c)
{
	bool need = !c->head && before(snd_nxt(c), snd_end(c)) && !(c->cf & (CF_WAIT | CF_SYN_OUT)) && !timer_armed(&c->pace);

	if (!need) {
		if (c->cf & CF_PROBE0) {
			c->cf &= ~(u32)CF_PROBE0;
			c->backoff = c->probes = 0;
			if (!c->head)
				timer_cancel(WHEEL(c), &c->rtx);
		}
		return;
	}
	if (c->cf & CF_PROBE0 && timer_armed(&c->rtx))
		return;
	c->cf |= CF_PROBE0;
	timer_arm(WHEEL(c), &c->rtx, c->t->now + MAX(backed_off(c), TCP_RTO_MIN));
}

/* ---- giving up ---- */

static u64 giveup_after(const struct tcp_conn *c)
{
	if (c->h->user_timeout_ms)
		return c->h->user_timeout_ms * MSEC;	/* RFC 5482 */
	return is_orphan(c) ? TCP_ORPHAN_GIVEUP : TCP_GIVEUP;
}

/* RFC 9293 SHLD-17: the window was shrunk over what is in flight, and the peer goes on saying so. As with probes of a zero
 * window it is kept while it answers (Linux: heard within twice the longest RTO, or the user's time). */
static bool window_shrunk_over(const struct tcp_conn *c)
{
	u64 lately = c->h->user_timeout_ms ? c->h->user_timeout_ms * MSEC : 2 * TCP_RTO_MAX;

	return !load_relaxed(&c->h->snd_wnd) && !is_orphan(c) && c->t->now - c->last_heard < lately;
}

/* RFC 9293 3.8.3 R2: tcp_retries2 worth of time without an answer. The ICMP error, if there was one, says why. */
static bool gave_up(struct tcp_conn *c)
{
	u64 since = load_relaxed(&c->h->giveup_start);
	u32 soft = tcp_soft_error(c);

	if (!since) {
		store_relaxed(&c->h->giveup_start, c->t->now);
		return false;
	}
	if (c->t->now - since < giveup_after(c))
		return false;
	if (window_shrunk_over(c)) {
		store_relaxed(&c->h->giveup_start, c->t->now);
		return false;
	}
	tcp_send_active_reset(c);
	tcp_done(c, soft ? (int)soft : ETIMEDOUT);
	return true;
}

static void syn_timeout(struct tcp_conn *c)
{
	u32 max = phase(c) == TCPP_SYN_RECV || c->cf & CF_SYN_OUT ? TCP_SYNACK_RETRIES : MAX(c->h->syn_cnt, 1u);
	u64 since = load_relaxed(&c->h->giveup_start);
	u32 soft = tcp_soft_error(c);

	if (c->h->user_timeout_ms && since && c->t->now - since >= c->h->user_timeout_ms * MSEC)
		c->retransmits = max;
	if (c->retransmits >= max) {
		tcp_done(c, soft ? (int)soft : ETIMEDOUT);
		return;
	}
	if (tcp_send_syn(c)) {		/* nothing left: no retransmission either */
		timer_arm(WHEEL(c), &c->rtx, c->t->now + 100 * MSEC);
		return;
	}
	for (struct tcp_rec *r = c->head; r && phase(c) == TCPP_SYN_SENT; r = r->next) {
		r->flags |= REC_EVER;	/* data of the first SYN: which of them an ACK answers is not known any more */
		r->xmit = c->t->now;
	}
	c->retransmits++;
	conn_count(c, TCP_RETRANS_SEGS);
	c->backoff++;
	timer_arm(WHEEL(c), &c->rtx, c->t->now + backed_off(c));
}

/* ---- rtx ---- */

static void retransmit_timeout(struct tcp_conn *c)
{
	u64 since;

	if (!c->head)
		return;
	if (tcp_still_out(c, c->head)) {	/* it never left: the path below is slow, not the network */
		timer_arm(WHEEL(c), &c->rtx, c->t->now + (c->cf & CF_RESTARTED ? 20 * MSEC : MIN(c->rto, 500 * MSEC)));
		return;
	}
	if (c->retransmits && gave_up(c))
		return;
	conn_count(c, TCP_TIMEOUTS);
	since = load_relaxed(&c->h->giveup_start);
	if (c->retransmits >= 3 || (since && c->t->now - since >= 15 * TCP_RTO_MIN))	/* Linux's tcp_retries1 */
		tcp_mtu_probing(c);
	tcp_route_conn(c);		/* the way may have changed (RFC 9293 3.8.3 R1) */
	tcp_enter_loss(c);
	c->retransmits++;
	if (c->head->pcount > 1 && !tcp_rec_split(c, c->head, c->head->start + c->mss))
		tcp_wait_for_room(c);
	if (tcp_retransmit_rec(c, c->head)) {	/* no room below: not the network's fault, so no backing off */
		timer_arm(WHEEL(c), &c->rtx, c->t->now + MIN(c->rto, 500 * MSEC));
		return;
	}
	c->backoff++;
	tcp_rearm_rto(c);
}

/* RFC 8985 7.3: new data if there is any, else the last segment again. */
static void send_loss_probe(struct tcp_conn *c)
{
	struct tcp_rec *r = c->tail;

	c->ca_flags = 0;
	if (!r || c->cf & CF_TLP) {
		tcp_rearm_rto(c);
		return;
	}
	c->cf |= CF_TLP;
	if (!tcp_write_xmit(c, true)) {
		u64 len = r->end - r->start;

		if (r->pcount > 1)
			tcp_rec_split(c, r, r->start + (len - 1) / c->mss * c->mss);
		r = c->tail;
		if (tcp_retransmit_rec(c, r))
			c->cf &= ~(u32)CF_TLP;
		else
			c->ca_flags = 1;	/* it was a retransmission: a loss repaired by it is to be accounted for */
	}
	c->tlp_high = snd_nxt(c);
	tcp_rearm_rto(c);
}

static void rack_timeout(struct tcp_conn *c)
{
	struct tcp_ackinfo a = { .prior_una = snd_una(c), .now = c->t->now };
	struct tcp_seg none = { 0 };

	c->cf &= ~(u32)CF_RACK_TIMER;
	tcp_fastretrans_alert(c, &none, &a);
	if (!(c->cf & CF_RACK_TIMER))
		tcp_rearm_rto(c);
	tcp_mark_dirty(c, CF_XMIT);
}

static void probe_timeout(struct tcp_conn *c)
{
	u64 since = load_relaxed(&c->h->giveup_start);

	if (c->head || !before(snd_nxt(c), snd_end(c))) {
		c->cf &= ~(u32)CF_PROBE0;
		tcp_rearm_rto(c);
		return;
	}
	/* A peer that answers with a closed window is kept for ever; one that does not answer is not. */
	if (c->probes && since && c->t->now - since >= giveup_after(c)) {
		tcp_send_active_reset(c);
		tcp_done(c, ETIMEDOUT);
		return;
	}
	if (!since)
		store_relaxed(&c->h->giveup_start, c->t->now);
	int r = tcp_write_wakeup(c);

	if (c->head) {			/* it was data, and it fitted */
		c->cf &= ~(u32)CF_PROBE0;
		c->backoff = c->probes = 0;
		tcp_rearm_rto(c);
		return;
	}
	if (!r) {
		c->probes = (u8)MIN(c->probes + 1, 255);
		c->backoff = MIN(c->backoff + 1, 15u);
	}
	timer_arm(WHEEL(c), &c->rtx, c->t->now + (r ? 500 * MSEC : MAX(backed_off(c), TCP_RTO_MIN)));
}

void tcp_timer_rtx(struct timer *tm, void *arg, u64 now)
{
	struct tcp_conn *c = container_of(tm, struct tcp_conn, rtx);
	u8 tlp = c->ca_flags & 2;

	if (phase(c) == TCPP_SYN_SENT || phase(c) == TCPP_SYN_RECV || c->cf & CF_SYN_OUT) {
		syn_timeout(c);
		return;
	}
	if (phase(c) != TCPP_SYNC)
		return;
	if (c->cf & CF_PROBE0)
		probe_timeout(c);
	else if (c->cf & CF_RACK_TIMER)
		rack_timeout(c);
	else if (tlp)
		send_loss_probe(c);
	else
		retransmit_timeout(c);
}

/* ---- ack ---- */

void tcp_timer_ack(struct timer *tm, void *arg, u64 now)
{
	struct tcp_conn *c = container_of(tm, struct tcp_conn, ack);

	if (phase(c) != TCPP_SYNC || !(c->cf & CF_ACK_SCHED))
		return;
	c->pingpong = 0;	/* the answer did not come: this is no conversation */
	tcp_send_ack(c);
}

/* ---- keep ---- */

static u64 keepalive_idle(const struct tcp_conn *c) { return (u64)MAX(c->h->keep_idle_s, 1u) * SEC; }

void tcp_arm_keepalive(struct tcp_conn *c)
{
	u64 at;

	if (!(c->h->so & TSO_KEEPALIVE) || phase(c) != TCPP_SYNC || load_relaxed(&c->h->deadline))
		return;
	at = MAX(c->t->now, c->last_heard + keepalive_idle(c));
	store_relaxed(&c->h->keep_deadline, at);
	timer_arm(WHEEL(c), &c->keep, at);
}

/* RFC 9293 3.8.4; probes and their limit as Linux's tcp_keepalive_*. */
static void keepalive(struct tcp_conn *c)
{
	u64 idle = c->t->now - c->last_heard, user = c->h->user_timeout_ms * MSEC;
	u32 max = c->h->keep_cnt ? c->h->keep_cnt : 9;

	if (!(c->h->so & TSO_KEEPALIVE))
		return;
	if (c->head || before(snd_nxt(c), snd_end(c))) {	/* retransmission finds a dead peer by itself */
		timer_arm(WHEEL(c), &c->keep, c->t->now + keepalive_idle(c));
		return;
	}
	if (!c->h->keep_probes && idle < keepalive_idle(c)) {
		timer_arm(WHEEL(c), &c->keep, c->t->now + keepalive_idle(c) - idle);
		return;
	}
	if (user ? idle >= user && c->h->keep_probes : c->h->keep_probes >= max) {
		tcp_send_active_reset(c);
		tcp_done(c, ETIMEDOUT);
		return;
	}
	if (!tcp_write_wakeup(c))
		c->h->keep_probes++;
	u64 next = c->t->now + (u64)MAX(c->h->keep_intvl_s, 1u) * SEC;

	store_relaxed(&c->h->keep_deadline, next);
	timer_arm(WHEEL(c), &c->keep, next);
}

void tcp_timer_keep(struct timer *tm, void *arg, u64 now)
{
	struct tcp_conn *c = container_of(tm, struct tcp_conn, keep);
	u64 deadline = load_relaxed(&c->h->deadline);

	if (phase(c) != TCPP_SYNC)
		return;
	if (deadline && is_orphan(c)) {
		if (tcp_state(c) == TCPS_FIN_WAIT2)	/* nobody reads, the peer does not close: forget it, as Linux */
			tcp_done(c, 0);
		return;
	}
	keepalive(c);
}
