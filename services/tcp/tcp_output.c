/* tcp_output.c – tx3 tcp_write_xmit(): which bytes may leave now, as big a GSO packet as windows and Nagle allow;
 * retransmission of what is marked lost; zero-window probes.
 *
 * Called by tcp_flush() at the end of a batch, by timers and by tcp_resume(). */
#include "services/tcp/path.h"

u16 tcp_pcount(const struct tcp_conn *c, u64 bytes)
{
	u32 mss = MAX(c->mss, 1u);

	return (u16)MAX((bytes + mss - 1) / mss, 1ull);
}

static u64 wnd_edge(const struct tcp_conn *c) { return snd_una(c) + load_relaxed(&c->h->snd_wnd); }

/* RFC 896 with Minshall's variation: wait while a small segment is unacknowledged; TCP_CORK and MSG_MORE: always wait. */
static bool nagle_waits(const struct tcp_conn *c)
{
	u32 opts = load_relaxed(&c->b.c->opts) | (c->h->so & TSO_NODELAY ? SKC_NODELAY : 0) | (c->h->so & TSO_CORK ? SKC_CORK : 0);

	if (opts & (SKC_CORK | SKC_MORE))
		return true;
	if (opts & SKC_NODELAY || tcp_urg_mode(c))
		return false;
	return c->packets_out && after(c->snd_sml, snd_una(c)) && !after(c->snd_sml, snd_nxt(c));
}

/* How many bytes of new data may leave as one packet now; *ret_fin: the FIN goes along. 0 and no FIN: nothing. */
static u32 sendable(struct tcp_conn *c, u32 quota, bool force, bool *ret_fin)
{
	u64 nxt = snd_nxt(c), edge = wnd_edge(c), end = fin_snd(c) ? fin_snd(c) - 1 : c->write_seq;
	u32 mss = c->mss, len;
	u64 data = end - nxt, room;

	*ret_fin = false;
	if (!before(nxt, edge))
		return 0;
	room = edge - nxt;
	if (fin_snd(c) && nxt == end) {
		*ret_fin = true;
		return 0;
	}
	len = (u32)MIN(MIN(data, room), (u64)quota * mss);
	len = MIN(len, c->gso && !tcp_urg_mode(c) ? TCP_GSO_MAX / mss * mss : mss);
	if (!len)
		return 0;
	if (len == data) {
		*ret_fin = fin_snd(c) && room > data;
		if (len % mss && !*ret_fin && !force && nagle_waits(c))
			return len - len % mss;
		return len;
	}
	/* Not all of it: whole segments only (RFC 9293 3.8.6.2.1), unless the whole window is that small */
	if (len >= mss)
		return len - len % mss;
	return force || (!c->packets_out && room >= c->max_wnd / 2 && room < mss) ? len : 0;
}

struct tcp_rec *tcp_rec_append(struct tcp_conn *c, u64 start, u64 end, bool fin)
{
	struct tcp_rec *r = tcp_rec_new(c);

	if (!r)
		return NULL;
	*r = (struct tcp_rec){ .start = start, .end = end, .xmit = c->t->now, .prev = c->tail, .flags = fin ? REC_FIN : 0 };
	r->pcount = tcp_pcount(c, end - start - fin);
	if (c->tail)
		c->tail->next = r;
	else
		c->head = r;
	c->tail = r;
	c->packets_out += r->pcount;
	return r;
}

static int send_new(struct tcp_conn *c, u32 len, bool fin)
{
	u64 nxt = snd_nxt(c), end = nxt + len + fin;
	struct tcp_rec *r = tcp_rec_append(c, nxt, end, fin);
	u8 flags = TCP_ACK;
	int e;

	if (!r) {
		tcp_wait_for_room(c);
		return -ENOBUFS;
	}
	if (fin)
		flags |= TCP_FIN;
	if (len && nxt + len == (fin_snd(c) ? fin_snd(c) - 1 : c->write_seq))
		flags |= TCP_PSH;
	store_release(&c->h->snd_nxt, end);	/* before the segment may leave */
	e = tcp_transmit_skb(c, nxt, len, flags, XMIT_NEW);
	if (e) {
		store_release(&c->h->snd_nxt, nxt);
		c->packets_out -= r->pcount;
		tcp_rec_unlink(c, r);
		return e;
	}
	r->txid = c->txid;
	tcp_rate_sent(c, r, c->packets_out == r->pcount);
	if (c->ca_state == CA_CWR || c->ca_state == CA_RECOVERY)
		c->prr_out += r->pcount;
	if (!c->busy_since)
		c->busy_since = c->t->now;
	if (len % c->mss)
		c->snd_sml = nxt + len;
	if (c->packets_out == r->pcount) {
		c->rtt_seq = c->rtt_seq ? c->rtt_seq : nxt;
		if (c->ca->event)
			c->ca->event(c, CA_EVENT_TX_START);
	}
	/* Answering at once means a conversation: let ACKs ride on data */
	if (c->t->now - c->last_recv < TCP_DELACK && c->bytes_in)
		c->pingpong = 1;
	c->last_send = c->t->now;
	return 0;
}

int tcp_send_probe(struct tcp_conn *c, u32 len)
{
	u32 mss = c->mss;
	int r;

	c->mss = len;		/* one segment, not a GSO packet of two */
	r = send_new(c, len, false);
	c->mss = mss;
	return r;
}

/* RFC 5681 4.1: after an idle RTO the old window says nothing about the path. */
static void restart_after_idle(struct tcp_conn *c)
{
	u64 idle = c->t->now - c->last_send;

	if (c->packets_out || !c->last_send || idle <= c->rto || c->ca->cong_control)
		return;
	if (c->ca->event)
		c->ca->event(c, CA_EVENT_CWND_RESTART);
	c->ssthresh = MAX(c->ssthresh, c->cwnd / 2 + c->cwnd / 4);
	for (; idle > c->rto && c->cwnd > TCP_INIT_CWND; idle -= c->rto)
		c->cwnd = MAX(c->cwnd / 2, TCP_INIT_CWND);
	c->cwnd_used = 0;
	c->cong_limited = 0;
	c->last_send = c->t->now;
}

/* Small queues below us: what is sent in a millisecond at the rate that the last round trips had. RTT stays honest, buffers
 * are shared fairly, and a fast device never waits for us. */
static u32 loans_limit(const struct tcp_conn *c)
{
	u64 ms = c->srtt8_us ? tcp_pacing_rate(c) / 1000 / TCP_GSO_MAX : 0;

	return (u32)MIN(TCP_LOANS_MIN + ms, (u64)TCP_LOANS_MAX);
}

bool tcp_write_xmit(struct tcp_conn *c, bool push_one)
{
	bool sent = false, limited = false, fin;
	u64 rto_at = c->head && timer_armed(&c->rtx) ? c->rto_at : 0;
	u32 loans, limit = loans_limit(c);
	int probe;

	if (c->cf & CF_WAIT || !before(snd_nxt(c), snd_end(c)))
		return false;
	tcp_current_mss(c);
	restart_after_idle(c);
	loans = c->t->ops->loans(c->t->ctx, c->sk);
	while (before(snd_nxt(c), snd_end(c))) {
		u32 flight = in_flight(c), quota = push_one ? 1 : c->cwnd > flight ? c->cwnd - flight : 0, len;

		if (!quota) {
			limited = true;
			break;
		}
		if (loans >= limit && !push_one && (loans = c->t->ops->loans(c->t->ctx, c->sk)) >= limit) {
			tcp_wait_for_room(c);
			break;
		}
		if (!push_one && (probe = tcp_mtu_probe(c)) >= 0) {
			if (!probe)
				break;
			sent = true;
			loans++;
			continue;
		}
		if (c->paced && !push_one && !(quota = tcp_pacing_quota(c, quota)))
			break;
		len = sendable(c, quota, false, &fin);
		if ((!len && !fin) || send_new(c, len, fin))
			break;
		sent = true;
		loans++;
		if (push_one)
			break;
	}
	c->cwnd_used = c->packets_out;
	c->cong_limited = limited;
	if (sent) {
		tcp_arm_tlp_or_rto(c);
		tcp_keep_rto(c, rto_at);
	}
	return sent;
}

/* ---- again ---- */

/* Retransmit one record, or as much of it as the window shows. */
int tcp_retransmit_rec(struct tcp_conn *c, struct tcp_rec *r)
{
	u64 edge = wnd_edge(c), end = r->end;
	bool fin = r->flags & REC_FIN;
	u32 len, max = c->gso && !tcp_urg_mode(c) ? TCP_GSO_MAX / c->mss * c->mss : c->mss;
	u8 flags = TCP_ACK;
	int e;

	if (tcp_still_out(c, r))
		return -EBUSY;		/* never resend what is still below us (crash rule 6) */
	if (!before(r->start, edge)) {	/* RFC 9293 3.8.6.1: the window shrank; one probe of what was sent */
		if (r != c->head)
			return -EAGAIN;
		max = c->mss;
	} else if (after(end, edge)) {
		max = MIN(max, (u32)MAX(edge - r->start, 1ull));
	}
	if (end - fin - r->start > max) {
		if (!tcp_rec_split(c, r, r->start + max))
			return -ENOBUFS;
		fin = false;
	}
	len = (u32)(r->end - fin - r->start);
	if (fin)
		flags |= TCP_FIN;
	if (len)
		flags |= TCP_PSH;
	e = tcp_transmit_skb(c, r->start, len, flags, XMIT_AGAIN);
	if (e)
		return e;
	c->mtup_size = 0;	/* a probe in flight proves nothing any more */
	r->txid = c->txid;
	r->xmit = c->t->now;
	tcp_rate_sent(c, r, false);
	if (!(r->flags & REC_RETRANS))
		c->retrans_out += r->pcount;
	r->flags |= REC_RETRANS | REC_EVER;
	c->undo_retrans += r->pcount;
	c->total_retrans += r->pcount;
	if (!c->retrans_stamp)
		c->retrans_stamp = c->t->now;
	if (!load_relaxed(&c->h->giveup_start))
		store_relaxed(&c->h->giveup_start, c->t->now);
	count_n(c->t->counters, TCP_RETRANS_SEGS, r->pcount);
	c->last_send = c->t->now;
	return 0;
}

/* Everything marked lost and not yet sent again, as far as the congestion window goes. */
void tcp_xmit_retransmit_queue(struct tcp_conn *c)
{
	bool sent = false;
	int e;

	if (c->lost_out <= c->retrans_out || c->cf & CF_WAIT)
		return;
	tcp_current_mss(c);
	for (struct tcp_rec *r = c->head; r; r = r->next) {
		u32 flight = in_flight(c), quota = c->cwnd > flight ? c->cwnd - flight : 0;

		if (!(r->flags & REC_LOST) || r->flags & (REC_SACKED | REC_RETRANS))
			continue;
		if (!quota || (c->paced && !(quota = tcp_pacing_quota(c, quota))))
			break;
		if (r->pcount > quota && !tcp_rec_split(c, r, r->start + (u64)quota * c->mss))
			break;
		e = tcp_retransmit_rec(c, r);
		if (e == -EBUSY)	/* ipd said that it does not fit before it gave the buffer back */
			tcp_wait_for_room(c);
		if (e)
			break;
		if (c->ca_state == CA_RECOVERY || c->ca_state == CA_CWR)
			c->prr_out += r->pcount;
		sent = true;
	}
	if (sent)
		tcp_rearm_rto(c);
}

/* Zero window, or bytes Nagle or cork held for an RTO: send what fits, else a probe with an old number. */
int tcp_write_wakeup(struct tcp_conn *c)
{
	bool fin;
	u32 len;

	if (before(snd_nxt(c), snd_end(c)) && before(snd_nxt(c), wnd_edge(c))) {
		tcp_current_mss(c);
		len = sendable(c, 1, true, &fin);
		if (len || fin)
			return send_new(c, len, fin);
	}
	/* One below snd_una: answered by an ACK with the window (as Linux; RFC 9293 3.8.6.1 allows garbage) */
	return tcp_transmit_skb(c, snd_una(c) - 1, 0, TCP_ACK, XMIT_AGAIN);
}
