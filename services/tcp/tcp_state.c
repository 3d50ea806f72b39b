/* tcp_state.c – rx6 tcp_rcv_state_process(): RFC 9293 3.10.7, opens, the checks of every segment, state from words.
 *
 * Called by tcp_input.c when header prediction fails. Connection state is derived (crash rule 3): tcp_state(). */
#include "services/tcp/path.h"

enum tcp_state tcp_state(const struct tcp_conn *c)
{
	switch (phase(c)) {
	case TCPP_LISTEN:
		return TCPS_LISTEN;
	case TCPP_SYN_SENT:
		return TCPS_SYN_SENT;
	case TCPP_SYN_RECV:
		return TCPS_SYN_RECV;
	case TCPP_SYNC:
		break;
	default:
		return TCPS_CLOSE;
	}
	bool peer = fin_rcv(c) && !before(rcv_nxt(c), fin_rcv(c));

	if (!fin_snd(c) && !peer && load_relaxed(&c->h->syn_out))
		return TCPS_SYN_RECV;
	if (!fin_snd(c))
		return peer ? TCPS_CLOSE_WAIT : TCPS_ESTABLISHED;
	if (load_relaxed(&c->h->fin_acked))
		return peer ? TCPS_TIME_WAIT : TCPS_FIN_WAIT2;
	if (peer)
		return c->h->passive_close ? TCPS_LAST_ACK : TCPS_CLOSING;
	return TCPS_FIN_WAIT1;
}

const char *tcp_state_name(u32 state)
{
	static const char *const names[] = { [TCPS_ESTABLISHED] = "ESTAB", [TCPS_SYN_SENT] = "SYN-SENT", [TCPS_SYN_RECV] = "SYN-RECV",
		[TCPS_FIN_WAIT1] = "FIN-WAIT-1", [TCPS_FIN_WAIT2] = "FIN-WAIT-2", [TCPS_TIME_WAIT] = "TIME-WAIT",
		[TCPS_CLOSE] = "UNCONN", [TCPS_CLOSE_WAIT] = "CLOSE-WAIT", [TCPS_LAST_ACK] = "LAST-ACK",
		[TCPS_LISTEN] = "LISTEN", [TCPS_CLOSING] = "CLOSING" };

	return state < ARRAY_SIZE(names) && names[state] ? names[state] : "?";
}

/* RFC 7323 5.5: nothing was heard for 24 days, the peer's clock may have wrapped. */
static bool paws_outdated(const struct tcp_conn *c, u64 recent)
{
	return !recent || (u32)(c->t->now / SEC) - (u32)recent > 24u * 86400u;
}

/* RFC 7323 4.3: remember the timestamp of a segment that covers the last ACK sent. */
void tcp_paws_update(struct tcp_conn *c, const struct tcp_seg *g)
{
	u64 recent = load_relaxed(&c->h->ts_recent);

	if (!g->has_ts || !has_ts(c) || after(rcv_off(c, g->seq), c->last_ack))
		return;
	if ((s32)(g->tsval - (u32)(recent >> 32)) >= 0 || paws_outdated(c, recent))
		store_relaxed(&c->h->ts_recent, (u64)g->tsval << 32 | (u32)(c->t->now / SEC));
}

/* RFC 7323 5.3: an old duplicate. */
static bool paws_reject(const struct tcp_conn *c, const struct tcp_seg *g)
{
	u64 w = load_relaxed(&c->h->ts_recent);

	if (!has_ts(c) || !g->has_ts || (s32)((u32)(w >> 32) - g->tsval) <= 0 || paws_outdated(c, w))
		return false;
	/* A pure ACK overtaken by a later one carries nothing that could be old. */
	return g->len || g->flags & (TCP_SYN | TCP_FIN) || g->seq != rcv_wire(c, rcv_nxt(c)) ||
	       g->ack != snd_wire(c, snd_una(c));
}

/* Our SYN, and perhaps data that went with it (Fast Open), but nothing that was not sent. */
static bool syn_acked(const struct tcp_conn *c, const struct tcp_seg *g)
{
	u64 ack = snd_off(c, g->ack);

	return !before(ack, c->h->tx_base) && !after(ack, snd_nxt(c));
}

static bool validate_rst(struct tcp_conn *c, const struct tcp_seg *g)
{
	/* RFC 5961 3.2: only the exact next number resets; in the window: ask */
	if (rcv_off(c, g->seq) == rcv_nxt(c))
		tcp_reset_received(c);
	else
		tcp_send_challenge_ack(c);
	return false;
}

/* RFC 9293 3.10.7.4, first to fourth check, with RFC 5961. false: dealt with. */
bool tcp_validate_incoming(struct tcp_conn *c, struct tcp_seg *g)
{
	u64 s = rcv_off(c, g->seq), e = s + (g->end - g->seq), adv = load_relaxed(&c->h->rcv_adv);
	u64 right = before(adv, rcv_nxt(c)) ? rcv_nxt(c) : adv;

	if (paws_reject(c, g)) {
		conn_count(c, DROP_TCP_PAWS);
		if (!(g->flags & TCP_RST)) {
			tcp_send_dupack(c, g);
			return false;
		}
	}
	/* Simultaneous open: the SYN+ACK that answers our SYN repeats a number we already have */
	if (phase(c) == TCPP_SYN_RECV && g->flags & TCP_SYN && g->flags & TCP_ACK && e == rcv_nxt(c) && !(g->flags & TCP_RST) &&
	    syn_acked(c, g))
		return true;
	if (before(e, c->last_ack) || after(s, right)) {
		if (g->flags & TCP_RST)
			return false;
		conn_count(c, DROP_TCP_SEQUENCE);
		if (g->flags & TCP_SYN)
			tcp_send_challenge_ack(c);
		else
			tcp_send_dupack(c, g);
		return false;
	}
	if (g->flags & TCP_RST)
		return validate_rst(c, g);
	if (g->flags & TCP_SYN) {	/* RFC 5961 4.2 */
		tcp_send_challenge_ack(c);
		return false;
	}
	return true;
}

/* ---- opens ---- */

/* What both sides may use: what we offered and the peer's SYN (or SYN+ACK) has. */
static void negotiate(struct tcp_conn *c, const struct tcp_seg *g)
{
	struct tcp_sock *h = c->h;

	if (!g->has_ts)
		h->negotiated &= (u8)~TCPN_TS;
	if (!g->has_sack_perm)
		h->negotiated &= (u8)~TCPN_SACK;
	if (!g->has_wscale) {
		h->negotiated &= (u8)~TCPN_WS;
		h->rcv_wscale = 0;
	}
	if (!tcp_ecn_agreed(g))
		h->negotiated &= (u8)~TCPN_ECN;
	h->snd_wscale = h->negotiated & TCPN_WS ? g->wscale : 0;
	h->mss_peer = g->mss ? MAX(g->mss, (u16)TCP_MIN_MSS) : TCP_DEFAULT_MSS;	/* RFC 9293 MUST-15 */
	if (g->has_ts)
		store_relaxed(&h->ts_recent, (u64)g->tsval << 32 | (u32)(c->t->now / SEC));
	h->irs = g->seq;
	h->snd_wl1 = h->rx_base;
	h->snd_wl2 = h->tx_base;
	store_relaxed(&h->snd_wnd, g->wnd);	/* RFC 7323 2.2: the window of a SYN is not scaled */
	c->max_wnd = g->wnd;
}

/* Handshake complete: constants are written, one word publishes them, then the application hears. */
void tcp_established(struct tcp_conn *c)
{
	struct tcp_sock *h = c->h;

	timer_cancel(&c->t->soft->wheel, &c->rtx);
	store_relaxed(&h->giveup_start, 0);
	tcp_route_conn(c);
	tcp_mtup_init(c);
	tcp_current_mss(c);
	tcp_cwnd_init(c);
	if (c->retransmits > 1)		/* RFC 5681 3.1, RFC 6928 2: more than one lost SYN means congestion */
		c->cwnd = 1;
	c->retransmits = c->backoff = 0;
	if (!c->srtt8_us)
		c->rto = TCP_TIMEOUT_INIT;
	c->rcv_mss = MIN(MAX(c->mss / 2, TCP_DEFAULT_MSS), MAX(c->mss, 1u));
	c->last_ack = rcv_nxt(c);
	c->b.s->mss = c->mss;
	store_release(&h->phase, TCPP_SYNC);
	tcp_store_state(c, SKS_CONNECTED, 0);
	store_relaxed(&h->shown, TCPS_ESTABLISHED);
	tcp_arm_keepalive(c);
}

static bool syn_ack_acceptable(struct tcp_conn *c, const struct tcp_seg *g)
{
	u32 sent = tcp_ts(c->t, c->h->ts_offset);

	if (!syn_acked(c, g))
		return false;
	/* RFC 7323 5: an echo of something we never sent */
	return !g->has_ts || !g->tsecr || !has_ts(c) || (s32)(sent - g->tsecr) >= 0;
}

/* RFC 9293 3.10.7.3 */
static void synsent(struct tcp_conn *c, struct tcp_seg *g)
{
	if (g->flags & TCP_ACK && !syn_ack_acceptable(c, g)) {
		conn_count(c, DROP_TCP_ACK);
		if (!(g->flags & TCP_RST))
			tcp_v4_send_reset(c->t, g);
		/* The peer has an old connection of ours in mind, and has just been told: our SYN again soon, as Linux */
		if (!c->retransmits)
			timer_arm(&c->t->soft->wheel, &c->rtx, c->t->now + TCP_TIMEOUT_MIN);
		return;
	}
	if (g->flags & TCP_RST) {
		if (g->flags & TCP_ACK)
			tcp_reset_received(c);
		return;
	}
	if (!(g->flags & TCP_SYN)) {
		conn_count(c, DROP_TCP_FLAGS);
		return;
	}
	negotiate(c, g);
	if (g->flags & TCP_ACK) {
		bool again = c->retransmits != 0;

		if (!c->retransmits && c->retrans_stamp)
			tcp_rtt_estimator(c, (u32)MAX((c->t->now - c->retrans_stamp) / 1000, 1ull));
		else if (c->retransmits)
			c->cong_limited = 1;	/* RFC 6298 5.7: the SYN was lost */
		tcp_established(c);
		if (c->cong_limited) {
			c->rto = MAX(c->rto, 3 * SEC);
			c->cong_limited = 0;
		}
		tcp_fastopen_synack(c, g, again);
		c->t->ops->state_change(c->t->ctx, c->sk);
		tcp_mark_dirty(c, CF_ACK_NOW | CF_XMIT);
		return;
	}
	/* Simultaneous open: RFC 9293 figure 7 */
	store_release(&c->h->phase, TCPP_SYN_RECV);
	c->retransmits = 0;
	if (tcp_send_syn(c))
		tcp_wait_for_room(c);
	timer_arm(&c->t->soft->wheel, &c->rtx, c->t->now + c->rto);
}

/* The ACK that ends a simultaneous open. */
static bool synrecv(struct tcp_conn *c, struct tcp_seg *g)
{
	if (!syn_acked(c, g)) {
		conn_count(c, DROP_TCP_ACK);
		tcp_v4_send_reset(c->t, g);
		return false;
	}
	store_relaxed(&c->h->snd_wnd, (u32)g->wnd << (g->flags & TCP_SYN ? 0 : c->h->snd_wscale));
	tcp_established(c);
	tcp_fastopen_synack(c, g, false);
	c->t->ops->state_change(c->t->ctx, c->sk);
	if (g->flags & TCP_SYN)		/* the peer may wait for an answer to its SYN+ACK, as to a repeated one */
		tcp_mark_dirty(c, CF_ACK_NOW);
	return true;
}

/* ---- synchronised states ---- */

/* Linux: data nobody can read any more means that the peer must be told. RFC 9293 3.10.7.4 does not forbid, RFC 2525 asks. */
static bool data_after_close(struct tcp_conn *c, const struct tcp_seg *g)
{
	if (!is_orphan(c) || !g->len || !after(rcv_off(c, g->seq) + g->len, rcv_nxt(c)))
		return false;
	conn_count(c, DROP_TCP_CLOSED);
	tcp_v4_send_reset(c->t, g);
	tcp_done(c, ECONNRESET);
	return true;
}

/* FIN_WAIT_1 -> 2, CLOSING -> TIME_WAIT, LAST_ACK -> CLOSED: what the words say now. */
void tcp_after_ack(struct tcp_conn *c)
{
	if (phase(c) != TCPP_SYNC || !load_relaxed(&c->h->fin_acked))
		return;
	if (fin_rcv(c) && !before(rcv_nxt(c), fin_rcv(c))) {
		if (c->h->passive_close) {
			tcp_done(c, 0);
			return;
		}
		if (after(rcv_nxt(c), c->last_ack))
			tcp_send_ack(c);
		tcp_time_wait(c);
		return;
	}
	if (is_orphan(c) && !load_relaxed(&c->h->deadline)) {
		u64 wait = c->h->linger2_s > 0 ? (u64)c->h->linger2_s * SEC : (u64)MAX(c->t->conf->fin_timeout_s, 1u) * SEC;

		store_relaxed(&c->h->deadline, c->t->now + wait);
		timer_arm(&c->t->soft->wheel, &c->keep, c->t->now + wait);
	}
}

void tcp_rcv_state_process(struct tcp_conn *c, struct tcp_seg *g)
{
	if (phase(c) == TCPP_SYN_SENT) {
		synsent(c, g);
		return;
	}
	if (tcp_fastopen_syn_again(c, g) || !tcp_validate_incoming(c, g))
		return;
	if (!(g->flags & TCP_ACK)) {
		conn_count(c, DROP_TCP_FLAGS);
		return;
	}
	if ((phase(c) == TCPP_SYN_RECV && !synrecv(c, g)) || !tcp_fastopen_acked(c, g))
		return;
	if (tcp_ack(c, g) < 0) {	/* RFC 5961 5.2 */
		conn_count(c, DROP_TCP_ACK);
		tcp_send_challenge_ack(c);
		return;
	}
	tcp_paws_update(c, g);
	if (data_after_close(c, g))
		return;
	tcp_urg(c, g);
	tcp_data_queue(c, g);
	tcp_mark_dirty(c, CF_XMIT);
	tcp_after_ack(c);
}
