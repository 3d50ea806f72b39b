/* tcp_xmit.c – tx3 tcp_transmit_skb(): one segment, single or GSO, into a transmit buffer and down to IP.
 *
 * Header and payload are written by us into our own pool; payload is copied from the application's send ring, fused
 * with the checksum where no device does it. Windows offered are decided here, and stored before they are shown. */
#include "services/tcp/path.h"

/* ---- what we offer ---- */

u8 tcp_pick_wscale(u32 space)
{
	u8 s = 0;

	while (s < 14 && (space - 1) >> s > 65535)	/* a power of two is offered but for its last bytes, as Linux has it */
		s++;
	return s;
}

static u32 window_now(const struct tcp_conn *c)
{
	u64 adv = load_relaxed(&c->h->rcv_adv);

	return after(adv, rcv_nxt(c)) ? (u32)(adv - rcv_nxt(c)) : 0;
}

/* The window to offer from rcv_nxt on; RFC 9293 3.8.6.2.2: the edge moves by a segment or half the buffer, or not. */
u32 tcp_new_window(const struct tcp_conn *c)
{
	u64 unread = rcv_unread(c);
	u32 now = window_now(c), space = c->rcv_space > unread ? c->rcv_space - (u32)unread : 0;
	u32 step = MIN(c->rcv_space / 2, c->rcv_mss);
	u32 unit = 1u << c->h->rcv_wscale;

	if (c->h->window_clamp)
		space = MIN(space, c->h->window_clamp);
	space &= ~(unit - 1);
	space = MIN(space, 65535u << c->h->rcv_wscale);
	if (space < now || space - now < step)
		return now;	/* never shrinks (RFC 9293 SHLD-14) */
	return space;
}

u16 tcp_select_window(struct tcp_conn *c)
{
	u32 win = tcp_new_window(c), unit = 1u << c->h->rcv_wscale;
	u32 field = (win + unit - 1) >> c->h->rcv_wscale;
	u64 edge;

	/* The scale's unit: up, so that the edge does not move back; but not to where there is no room (RFC 7323 2.4) */
	if ((u64)field << c->h->rcv_wscale > rcv_free(c))
		field = win >> c->h->rcv_wscale;
	field = MIN(field, 65535u);
	edge = rcv_nxt(c) + ((u64)field << c->h->rcv_wscale);
	if (after(edge, load_relaxed(&c->h->rcv_adv)))
		store_release(&c->h->rcv_adv, edge);	/* before the ACK that shows it (crash rule 3) */
	return (u16)field;
}

u16 tcp_advertise_mss(struct tcp_stack *t, const struct tcp_sock *h, be32 faddr)
{
	struct tcp_route rt = { .mtu = 1500 };
	u32 mss;

	if (t->ops->route(t->ctx, faddr, h->tuple.laddr, &rt))
		rt.mtu = 1500;
	mss = MAX(rt.mtu, TCP_MIN_MSS + 40) - 40;
	if (h->maxseg)
		mss = MIN(mss, h->maxseg);
	return (u16)MIN(mss, 65495u);
}

/* ---- down to IP ---- */

static void fill_cb(struct sk_buff *skb, const struct tcp_tuple *k, u8 tos, u8 ttl, u8 df, u32 mark)
{
	struct tx_cb *cb = skb_tx_cb(skb);

	*cb = (struct tx_cb){ .saddr = k->laddr, .daddr = k->faddr, .protocol = 6, .ttl = ttl, .tos = tos, .df = df, .mark = mark };
}

static void fill_hdr(u8 *p, const struct tcp_tuple *k, u32 seq, u32 ack, u32 hl, u8 flags, u16 wnd)
{
	*(struct tcp_hdr *)p = (struct tcp_hdr){ .source = k->lport, .dest = k->fport, .seq = to_be32(seq), .ack_seq = to_be32(ack),
						 .doff_res = (u8)(hl << 2), .flags = flags, .window = to_be16(wnd) };
}

static int hand_down(struct tcp_stack *t, struct sk_buff *skb)
{
	int r = t->ops->queue_xmit(t->ctx, skb);

	if (r) {
		t->ops->unalloc(t->ctx, skb);
		return r;
	}
	count(t->counters, FLOW_TX3_TRANSMIT_SKB);
	return 0;
}

static u8 ttl_of(const struct tcp_stack *t, u8 ttl) { return ttl ? ttl : t->conf->ttl ? t->conf->ttl : 64; }

/* A segment that belongs to no established connection, without payload but for Fast Open's SYN: SYN, SYN+ACK, RST, ACKs of TIME_WAIT. */
int tcp_send_raw(struct tcp_stack *t, const struct tcp_raw *r)
{
	struct sk_buff skb;
	u32 hl = 20 + r->optlen;
	u8 *p = t->ops->alloc(t->ctx, hl + r->len, r->sk, &skb);
	u32 sum;

	if (!p) {
		count(t->counters, DROP_NO_BUFFER);
		return -ENOBUFS;
	}
	skb.len = hl + r->len;
	skb.ip_summed = CHECKSUM_NONE;
	skb.tstamp = t->now;
	fill_hdr(p, &r->tuple, r->seq, r->ack, hl, r->flags, r->wnd);
	memcpy(p + 20, r->opts, r->optlen);
	sum = csum_partial(p, hl, csum_pseudo(r->tuple.laddr, r->tuple.faddr, 6, hl + r->len));
	if (r->len)
		sum = bytes_out_csum(p + hl, r->data->b.tx, r->data->b.tx_size, r->off, r->len, sum);
	((struct tcp_hdr *)p)->check = csum_fold(sum);
	fill_cb(&skb, &r->tuple, r->tos, ttl_of(t, r->ttl), !r->may_fragment, r->mark);
	return hand_down(t, &skb);
}

/* Copy payload and finish the checksum, by us or by the device. */
static void fill_payload(struct tcp_conn *c, struct sk_buff *skb, u8 *p, u32 hl, u64 off, u32 len)
{
	struct tcp_hdr *h = (struct tcp_hdr *)p;
	u32 pseudo = csum_pseudo(c->h->tuple.laddr, c->h->tuple.faddr, 6, hl + len);

	if (len > c->mss) {
		skb->gso_size = (u16)c->mss;
		skb->gso_type = GSO_TCPV4 | (h->flags & TCP_CWR ? GSO_ECN : 0);	/* CWR on the first of them only */
	}
	if (c->csum || skb->gso_size) {
		if (len)
			bytes_out(p + hl, c->b.tx, c->b.tx_size, off, len);
		skb->ip_summed = CHECKSUM_PARTIAL;
		skb->csum_start = 0;
		skb->csum_offset = offsetof(struct tcp_hdr, check);
		h->check = (u16)~csum_fold(pseudo);
		return;
	}
	u32 sum = csum_partial(p, hl, pseudo);

	if (len)
		sum = bytes_out_csum(p + hl, c->b.tx, c->b.tx_size, off, len, sum);
	skb->ip_summed = CHECKSUM_NONE;
	h->check = csum_fold(sum);
}

static void ack_sent(struct tcp_conn *c)
{
	c->last_ack = rcv_nxt(c);
	c->cf &= ~(u32)(CF_ACK_NOW | CF_ACK_SCHED);
	if (timer_armed(&c->ack))
		timer_cancel(&c->t->soft->wheel, &c->ack);
}

/* One segment of an established connection; len > mss makes it a GSO packet. snd_nxt was stored before (crash rule 3). */
int tcp_transmit_skb(struct tcp_conn *c, u64 off, u32 len, u8 flags, enum xmit_kind kind)
{
	struct tcp_stack *t = c->t;
	struct sk_buff skb;
	u8 opts[40], tos = c->h->tos;
	u32 hl, n;
	u16 urg;
	u8 *p;
	int r;

	n = tcp_established_options(c, opts, kind == XMIT_ACK);
	hl = 20 + n;
	flags |= tcp_ecn_send(c, kind == XMIT_NEW && len, &tos);
	p = t->ops->alloc(t->ctx, hl + len, len ? c->sk : NONE, &skb);
	if (!p) {
		tcp_wait_for_room(c);
		return -ENOBUFS;
	}
	skb.len = hl + len;
	skb.tstamp = t->now;
	fill_hdr(p, &c->h->tuple, snd_wire(c, off), rcv_wire(c, rcv_nxt(c)), hl, flags, tcp_select_window(c));
	memcpy(p + 20, opts, n);
	if (unlikely(urg = tcp_urg_ptr(c, off))) {
		((struct tcp_hdr *)p)->flags |= TCP_URG;
		((struct tcp_hdr *)p)->urg_ptr = to_be16(urg);
	}
	fill_payload(c, &skb, p, hl, off, len);
	fill_cb(&skb, &c->h->tuple, tos, ttl_of(t, c->h->ttl), tcp_df(c), c->h->mark);
	r = hand_down(t, &skb);
	if (r) {
		tcp_wait_for_room(c);
		return r;
	}
	if (flags & TCP_CWR)
		c->ecn &= (u8)~ECN_QUEUE_CWR;
	if (len) {
		c->txid++;
		if (c->paced)
			tcp_pacing_sent(c, len);
	}
	c->segs_out += len > c->mss ? (len + c->mss - 1) / c->mss : 1;
	c->data_segs_out += len > c->mss ? (len + c->mss - 1) / c->mss : len != 0;
	c->bytes_out += len;
	ack_sent(c);
	return 0;
}

/* Is the buffer this record left in perhaps still below us? Buffers complete in order, so the last `loans` are. */
bool tcp_still_out(const struct tcp_conn *c, const struct tcp_rec *r)
{
	u32 loans = c->t->ops->loans(c->t->ctx, c->sk);

	return loans && c->txid - r->txid < loans;
}

void tcp_send_ack(struct tcp_conn *c)
{
	if (tcp_transmit_skb(c, snd_nxt(c), 0, TCP_ACK, XMIT_ACK))
		c->cf |= CF_ACK_NOW;	/* it waits for room: tcp_resume() comes back to it */
}

/* Linux answers at most two a second per connection to what is outside the window and carries no data. */
static bool oow_limited(struct tcp_conn *c)
{
	u32 now = (u32)(c->t->now / MSEC) | 1;	/* 0: none yet */

	if (c->challenge_time && now - c->challenge_time < 500)
		return true;
	c->challenge_time = now;
	return false;
}

void tcp_send_dupack(struct tcp_conn *c, const struct tcp_seg *g)
{
	u64 s = rcv_off(c, g->seq), e = s + g->len;

	if (!g->len && !(g->flags & (TCP_SYN | TCP_FIN)) && oow_limited(c))
		return;
	if (has_sack(c) && g->len && before(s, rcv_nxt(c))) {	/* RFC 2883 */
		c->dsack_start = s;
		c->dsack_end = after(e, rcv_nxt(c)) ? rcv_nxt(c) : e;
	}
	c->quick = TCP_QUICKACKS;
	tcp_send_ack(c);
}

/* RFC 5961 7: limited per connection and altogether. */
void tcp_send_challenge_ack(struct tcp_conn *c)
{
	struct tcp_soft *s = c->t->soft;
	u64 second = c->t->now / SEC;

	if (oow_limited(c))
		return;
	if (s->challenge_second != second) {
		s->challenge_second = second;
		s->challenge_count = TCP_CHALLENGES / 2 + (u32)tcp_random(c->t) % TCP_CHALLENGES;	/* no side channel */
	}
	if (!s->challenge_count)
		return;
	s->challenge_count--;
	conn_count(c, TCP_CHALLENGE_ACKS);
	tcp_send_ack(c);
}

/* We end the connection: RST at snd_nxt. */
void tcp_send_active_reset(struct tcp_conn *c)
{
	struct tcp_raw r = { .tuple = c->h->tuple, .seq = snd_wire(c, snd_nxt(c)), .ack = rcv_wire(c, rcv_nxt(c)),
			     .flags = TCP_RST | TCP_ACK, .tos = c->h->tos, .ttl = c->h->ttl, .sk = NONE, .mark = c->h->mark };

	if (phase(c) == TCPP_SYNC)
		r.optlen = (u8)tcp_established_options(c, r.opts, false);	/* RFC 7323 3.2 */
	if (!tcp_send_raw(c->t, &r))
		conn_count(c, TCP_OUT_RSTS);
}

/* RFC 9293 3.10.7.1: a RST the sender will find acceptable. */
void tcp_v4_send_reset(struct tcp_stack *t, const struct tcp_seg *g)
{
	struct tcp_raw r = { .tuple = g->tuple, .sk = NONE };

	if (g->flags & TCP_RST)
		return;
	if (g->flags & TCP_ACK) {
		r.seq = g->ack;
		r.flags = TCP_RST;
	} else {
		r.ack = g->end;
		r.flags = TCP_RST | TCP_ACK;
	}
	if (!tcp_send_raw(t, &r))
		count(t->counters, TCP_OUT_RSTS);
}

/* Our SYN, or SYN+ACK: in a simultaneous open, or of a connection that Fast Open made. */
int tcp_send_syn(struct tcp_conn *c)
{
	struct tcp_sock *h = c->h;
	bool early = c->cf & CF_SYN_OUT, answer = phase(c) == TCPP_SYN_RECV || early;
	u16 mss = tcp_advertise_mss(c->t, h, h->tuple.faddr);
	u32 recent = (u32)(load_relaxed(&h->ts_recent) >> 32);
	struct tcp_raw r = { .tuple = h->tuple, .seq = h->iss, .ack = answer ? rcv_wire(c, rcv_nxt(c)) : 0,
			     .wnd = early ? (u16)MIN(tcp_new_window(c), 65535u) :
					    tcp_first_window(tcp_rcv_limit(h, c->b.rx_size), mss),
			     .flags = (answer ? TCP_SYN | TCP_ACK : TCP_SYN) | tcp_ecn_syn(c), .tos = h->tos, .ttl = h->ttl, .sk = c->sk,
			     .mark = h->mark };
	int e;

	if (after(rcv_nxt(c) + r.wnd, load_relaxed(&h->rcv_adv)))
		store_release(&h->rcv_adv, rcv_nxt(c) + r.wnd);
	r.optlen = (u8)tcp_syn_options(r.opts, mss, h->negotiated, h->rcv_wscale,
				       tcp_ts(c->t, h->ts_offset), recent);
	if (!answer)
		tcp_fastopen_syn_fill(c, &r);
	e = tcp_send_raw(c->t, &r);
	if (!e && answer)
		ack_sent(c);
	if (!e && !c->retrans_stamp)
		c->retrans_stamp = c->t->now;
	return e;
}
