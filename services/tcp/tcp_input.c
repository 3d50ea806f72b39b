/* tcp_input.c – rx6: tcp_v4_rcv(), the first look at a segment; the established fast path.
 *
 * Called by tcpd for every descriptor ipd sends. Payload is copied into the receive ring before the return, checked
 * by still_ours() after the copy and before rcv_nxt moves. */
#include "services/tcp/path.h"

static bool csum_ok(const struct tcp_seg *g)
{
	u32 n = g->hdrlen + g->len;

	return csum_fold(csum_partial(g->hdr, n, csum_pseudo(g->tuple.laddr, g->tuple.faddr, 6, n))) == 0;
}

/* Receiver's guess of the peer's segment size: steers delayed ACKs and window updates. */
static void measure_rcv_mss(struct tcp_conn *c, const struct tcp_seg *g)
{
	u32 seg = g->nseg > 1 ? g->skb->gso_size : g->len;

	if (seg >= c->rcv_mss)
		c->rcv_mss = MIN(seg, 65535u);
}

/* Header prediction: the next expected data, or an ACK for our data, and nothing unusual. */
static bool predicted(struct tcp_conn *c, const struct tcp_seg *g)
{
	return (g->flags & (TCP_SYN | TCP_FIN | TCP_RST | TCP_URG | TCP_ACK | TCP_ECE | TCP_CWR)) == TCP_ACK &&
	       g->seq == rcv_wire(c, rcv_nxt(c)) && !(c->cf & CF_SYN_OUT) && !c->ooo_count && !c->fin_early &&
	       !fin_rcv(c) && !is_orphan(c) && g->has_ts == has_ts(c) &&
	       (!g->has_ts || (s32)(g->tsval - (u32)(load_relaxed(&c->h->ts_recent) >> 32)) >= 0) &&
	       g->len <= rcv_free(c) && !after(rcv_nxt(c) + g->len, load_relaxed(&c->h->rcv_adv)) &&
	       !after(snd_off(c, g->ack), snd_nxt(c)) && !before(snd_off(c, g->ack), snd_una(c));
}

/* rx6, the common case and then the slow path that has every rule. */
static void tcp_rcv_established(struct tcp_conn *c, struct tcp_seg *g)
{
	if (predicted(c, g) && g->len) {
		if (tcp_data_fast(c, g))
			tcp_mark_dirty(c, CF_XMIT);
		return;
	}
	if (g->csum_todo && !csum_ok(g)) {
		conn_count(c, DROP_TCP_CSUM);
		return;
	}
	g->csum_todo = false;
	if (predicted(c, g)) {		/* a pure ACK */
		tcp_paws_update(c, g);
		tcp_ack(c, g);
		tcp_after_ack(c);
		return;
	}
	tcp_rcv_state_process(c, g);
}

static void established(struct tcp_conn *c, struct tcp_seg *g)
{
	c->segs_in += g->nseg;
	c->data_segs_in += g->len ? g->nseg : 0;
	c->last_heard = c->t->now;
	if (g->len)
		measure_rcv_mss(c, g);
	if (phase(c) == TCPP_SYNC) {
		tcp_rcv_established(c, g);
		return;
	}
	if (g->csum_todo && !csum_ok(g)) {
		conn_count(c, DROP_TCP_CSUM);
		return;
	}
	tcp_rcv_state_process(c, g);
}

/* No connection: TIME_WAIT, a handshake, a listener, or nobody (RFC 9293 3.10.7.1). */
static void not_established(struct tcp_stack *t, struct tcp_seg *g)
{
	struct tcp_tw *w = tcp_tw_lookup(t, &g->tuple);
	struct tcp_req *r;
	struct tcp_conn *l;

	if (w) {
		if (!tcp_timewait_state_process(t, w, g, &g->tw_isn))
			return;		/* else: a SYN that may begin anew */
		tcp_tw_free(t, w);
		count(t->counters, TCP_TW_REUSED);
	}
	r = tcp_req_lookup(t, &g->tuple);
	if (r) {
		tcp_check_req(t, r, g);
		return;
	}
	l = tcp_lookup_listener(t, &g->tuple);
	if (l) {
		if (g->flags & TCP_RST || skb_ip_cb(g->skb)->ttl < l->h->min_ttl)
			return;		/* RFC 9293 3.10.7.2, RFC 5082 */
		if (g->flags & TCP_ACK && !tcp_cookie_ack(l, g))
			tcp_v4_send_reset(t, g);
		else if ((g->flags & (TCP_SYN | TCP_FIN | TCP_ACK)) == TCP_SYN)
			tcp_conn_request(l, g);
		else if (!(g->flags & TCP_ACK))
			count(t->counters, DROP_TCP_FLAGS);
		return;
	}
	count(t->counters, DROP_TCP_NO_SOCKET);
	if (!(g->flags & TCP_RST))
		tcp_v4_send_reset(t, g);
}

void tcp_v4_rcv(struct tcp_stack *t, struct sk_buff *skb, const u8 *data,
		bool (*still_ours)(void *ctx, const struct sk_buff *), void *ctx)
{
	struct tcp_conn *c;
	struct tcp_seg g;
	int drop;

	if (skb->type == SKB_ICMP_ERROR) {
		tcp_v4_err(t, skb_ip_cb(skb), data, skb->len);
		return;
	}
	if (skb->pkt_type != PACKET_HOST) {
		count(t->counters, DROP_TCP_FLAGS);	/* RFC 9293 MUST-57: never answer a broadcast */
		return;
	}
	drop = tcp_parse(&g, skb, data);
	if (drop) {
		count(t->counters, (enum counter_id)drop);
		return;
	}
	count(t->counters, FLOW_RX6_TCP_V4_RCV);
	g.still_ours = still_ours;
	g.ctx = ctx;
	g.csum_todo = skb->ip_summed == CHECKSUM_NONE;
	c = tcp_lookup_established(t, &g.tuple);
	if (c && c->cf & CF_OPEN) {
		if (skb_ip_cb(skb)->ttl < c->h->min_ttl) {	/* RFC 5082 */
			conn_count(c, DROP_TCP_TTL);
			return;
		}
		established(c, &g);
		return;
	}
	if (c)
		return;		/* its arena is not mapped yet (a start): the peer will send again */
	if (g.csum_todo && !csum_ok(&g)) {
		count(t->counters, DROP_TCP_CSUM);
		return;
	}
	g.csum_todo = false;
	not_established(t, &g);
}
