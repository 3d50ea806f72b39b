/* tcp_input.c – rx6: tcp_v4_rcv(), the first look at a segment; the established fast path; ICMP errors.
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
	       g->seq == rcv_wire(c, rcv_nxt(c)) && !c->ooo_count && !fin_rcv(c) && !is_orphan(c) && g->has_ts == has_ts(c) &&
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
		if (g->flags & TCP_RST)
			return;		/* RFC 9293 3.10.7.2 */
		if (g->flags & TCP_ACK)
			tcp_v4_send_reset(t, g);
		else if ((g->flags & (TCP_SYN | TCP_FIN)) == TCP_SYN)
			tcp_conn_request(l, g);
		else
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

/* ---- ICMP ---- */

/* RFC 1191 and RFC 5927: believed only when the quoted sequence number is in flight. */
static void frag_needed(struct tcp_conn *c, u32 mtu)
{
	u32 mss = MAX(mtu, 68u + 20u) - 40, old = c->mss;

	if (!mtu || mss >= old + tcp_options_size(c))
		return;
	c->h->pmtu_mss = (u16)MIN(mss, 65535u);
	tcp_current_mss(c);
	if (c->mss >= old || !c->head)
		return;
	/* What is in flight does not fit: send it again in smaller pieces, without punishing the window */
	for (struct tcp_rec *r = c->head; r; r = r->next) {
		c->packets_out -= r->pcount;
		if (r->flags & REC_SACKED)
			c->sacked_out -= r->pcount;
		if (r->flags & REC_LOST)
			c->lost_out -= r->pcount;
		if (r->flags & REC_RETRANS)
			c->retrans_out -= r->pcount;
		r->flags &= (u8)~REC_RETRANS;
		r->pcount = tcp_pcount(c, r->end - r->start);
		c->packets_out += r->pcount;
		if (r->flags & REC_SACKED)
			c->sacked_out += r->pcount;
		if (r->flags & REC_LOST)
			c->lost_out += r->pcount;
		else if (!(r->flags & REC_SACKED))
			tcp_mark_lost(c, r);
	}
	if (c->ca_state < CA_RECOVERY) {
		c->high_seq = snd_nxt(c);
		c->prior_ssthresh = c->ssthresh;
		c->ca_state = CA_LOSS;
		c->undo_marker = 0;
	}
	tcp_mark_dirty(c, CF_XMIT);
}

static int icmp_errno(const struct ip_cb *cb)
{
	static const u8 unreach[16] = { ENETUNREACH, EHOSTUNREACH, ENOPROTOOPT, ECONNREFUSED, EMSGSIZE, EOPNOTSUPP, ENETUNREACH,
					EHOSTDOWN, ENONET, ENETUNREACH, EHOSTUNREACH, ENETUNREACH, EHOSTUNREACH, EHOSTUNREACH,
					EHOSTUNREACH, EHOSTUNREACH };

	switch (cb->icmp_type) {
	case 3:
		return cb->icmp_code < 16 ? unreach[cb->icmp_code] : EHOSTUNREACH;
	case 11:
		return EHOSTUNREACH;
	case 12:
		return EPROTO;
	}
	return 0;		/* RFC 6633: source quench is ignored */
}

static struct tcp_conn *err_lookup(struct tcp_stack *t, const struct ip_cb *cb, const struct tcp_hdr *h)
{
	/* The quoted datagram is ours: its source is us. */
	struct tcp_tuple k = { cb->saddr, cb->daddr, h->source, h->dest };
	struct tcp_conn *c = tcp_lookup_established(t, &k);

	if (!c) {	/* cb may describe the quoted header the other way round */
		k = (struct tcp_tuple){ cb->daddr, cb->saddr, h->source, h->dest };
		c = tcp_lookup_established(t, &k);
	}
	return c && c->cf & CF_OPEN ? c : NULL;
}

/* Linux: during a connect an error ends it; afterwards it is noted (soft), except that frag needed is acted on. */
void tcp_v4_err(struct tcp_stack *t, const struct ip_cb *cb, const u8 *data, u32 len)
{
	const struct tcp_hdr *h = (const struct tcp_hdr *)data;
	struct tcp_conn *c;
	u64 off;
	int err = icmp_errno(cb);

	if (len < 8 || !err)
		return;
	c = err_lookup(t, cb, h);
	if (!c)
		return;
	off = snd_off(c, from_be32(h->seq));
	if (phase(c) == TCPP_SYN_SENT || phase(c) == TCPP_SYN_RECV) {
		if (from_be32(h->seq) != c->h->iss)
			return;
		if (cb->icmp_type == 3 && cb->icmp_code == 4)
			frag_needed(c, cb->icmp_mtu);
		else
			tcp_done(c, err);
		return;
	}
	if (before(off, snd_una(c)) || !before(off, snd_nxt(c))) {
		count(t->counters, DROP_TCP_SEQUENCE);	/* RFC 5927 4.1 */
		return;
	}
	if (cb->icmp_type == 3 && cb->icmp_code == 4) {
		if (c->h->mtu_disc)
			frag_needed(c, cb->icmp_mtu);
		return;
	}
	store_relaxed(&c->b.s->soft_err, (u32)err);
}
