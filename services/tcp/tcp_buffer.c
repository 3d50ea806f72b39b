/* tcp_buffer.c – how much a connection may hold: the receive window it may offer (rx6), the send buffer (tx2), and memory
 * of rings that lie idle.
 *
 * A ring is as large as the configuration allows at most; what of it is used grows with need, as in Linux. The window
 * begins at 64 KB and follows what the application reads in a round trip (dynamic right-sizing); the send buffer is twice
 * the congestion window. SO_RCVBUF and SO_SNDBUF fix them. All of it is soft: what
 * was advertised (rcv_adv) is hard, so nothing is taken back, whatever a successor finds in the words it shows.
 *
 * A ring goes round, so sooner or later each of its pages has been touched: a connection that was busy and no longer is
 * gives them back (ops->trim). Called by tcp_socket.c, tcp_close.c, tcp_data.c, tcp_ack.c. */
#include "services/tcp/path.h"

#define SND_FIRST (256u << 10)		/* send buffer to begin with: a program's burst, whatever the window */
#define TRIM_BYTES (256u << 10)		/* so many have passed: worth a look; so many in a period: busy */
#define TRIM_PERIOD (1 * SEC)
#define RTT_TICK_US 1000u		/* of timestamps: no round trip is measured as shorter */

/* ---- receive ---- */

/* The most that may ever be offered; also what the window scale is chosen for. */
u32 tcp_rcv_limit(const struct tcp_sock *h, u32 ring)
{
	u32 limit = h->so & TSO_RCVBUF ? MIN(ring, h->rcvbuf / 2) : ring;	/* socket(7): half of it is for bookkeeping */

	return h->window_clamp ? MIN(limit, h->window_clamp) : limit;
}

/* The window of a SYN, which is not scaled: whole segments, as Linux has it. */
u16 tcp_first_window(u32 limit, u16 mss)
{
	u32 win = MIN(limit, 65535u);

	return (u16)(win > mss ? win - win % mss : win);
}

/* The window from now on, told to the application in a word of ours. */
void tcp_rcvbuf_set(struct tcp_conn *c, u32 space)
{
	c->rcv_space = c->h->so & TSO_RCVBUF ? tcp_rcv_limit(c->h, c->b.rx_size) : space;
	store_relaxed(&c->b.s->rx_limit, c->rcv_space);
}

/* A connection begins, or is found again after a restart: then it is where the old process left off, as far as is known. */
void tcp_buffers_start(struct tcp_conn *c)
{
	bool again = phase(c) == TCPP_SYNC;

	tcp_rcvbuf_set(c, MIN(tcp_rcv_limit(c->h, c->b.rx_size), again ? MAX(load_relaxed(&c->b.s->rx_limit), 65535u) : 65535u));
	c->rcvq_seq = load_relaxed(&c->h->valid_rx_tail);
	c->rcvq_time = c->t->now;
	c->rcvq_space = 0;
	c->rcv_rtt_us = 0;
	c->rcv_rtt_ref = 0;
	tcp_sndbuf_set(c, again ? load_relaxed(&c->b.s->tx_limit) : 0);
}

static void rcv_rtt_sample(struct tcp_conn *c, u32 us)
{
	us = MAX(us, 1u);
	c->rcv_rtt_us = c->rcv_rtt_us ? c->rcv_rtt_us - c->rcv_rtt_us / 8 + us / 8 : us;
}

/* The round trip as a receiver sees it: from our timestamp that a segment of data echoes, or else how long a window takes
 * to arrive, which is never too short. */
void tcp_rcv_rtt_measure(struct tcp_conn *c, const struct tcp_seg *g)
{
	u32 end = rcv_wire(c, rcv_nxt(c)), us;

	if (has_ts(c)) {
		if (!g->tsecr || g->tsecr == c->rcv_rtt_ref || g->len < c->rcv_mss)
			return;
		c->rcv_rtt_ref = g->tsecr;
		rcv_rtt_sample(c, MAX((tcp_ts(c->t, c->h->ts_offset) - g->tsecr) * RTT_TICK_US, RTT_TICK_US));
		return;
	}
	if (c->rcv_rtt_time && seq_before(end, c->rcv_rtt_ref))
		return;
	us = (u32)MIN((c->t->now - c->rcv_rtt_time) / 1000, 10000000ull);
	if (c->rcv_rtt_time && (!c->rcv_rtt_us || us < c->rcv_rtt_us))
		rcv_rtt_sample(c, us);
	c->rcv_rtt_ref = end + c->rcv_space;
	c->rcv_rtt_time = c->t->now;
}

/* The application has read: once a round trip, twice what it took in the last one, and ahead of a sender that doubles. */
void tcp_rcv_space_adjust(struct tcp_conn *c)
{
	u64 took = load_relaxed(&c->h->valid_rx_tail) - c->rcvq_seq, want;

	if (c->h->so & TSO_RCVBUF || !c->rcv_rtt_us || c->t->now - c->rcvq_time < c->rcv_rtt_us * 1000ull)
		return;
	if (took > c->rcvq_space) {
		want = 2 * took + 16 * c->rcv_mss;
		if (c->rcvq_space)
			want += 2 * want * (took - c->rcvq_space) / c->rcvq_space;
		want = MIN(want, (u64)tcp_rcv_limit(c->h, c->b.rx_size));
		tcp_rcvbuf_set(c, MAX(c->rcv_space, (u32)want));
		c->rcvq_space = (u32)MIN(took, (u64)UINT32_MAX);
	}
	c->rcvq_seq += took;
	c->rcvq_time = c->t->now;
}

/* ---- send ---- */

/* What the application may have unacknowledged in its ring; at least `want`. Told to it in a word of ours. */
void tcp_sndbuf_set(struct tcp_conn *c, u64 want)
{
	u32 limit = (u32)MIN(MAX(want, (u64)SND_FIRST), (u64)c->b.tx_size);

	if (c->h->so & TSO_SNDBUF)
		limit = MIN(c->b.tx_size, MAX(c->h->sndbuf / 2, TCP_MIN_SNDBUF));
	if (limit != load_relaxed(&c->b.s->tx_limit))
		store_release(&c->b.s->tx_limit, limit);
}

/* An ACK came: room for another window behind the one in flight, so that the next is written while this one travels. */
void tcp_sndbuf_expand(struct tcp_conn *c)
{
	u64 want = 2ull * c->cwnd * c->mss;

	if (want > load_relaxed(&c->b.s->tx_limit) && load_relaxed(&c->b.s->tx_limit) < c->b.tx_size)
		tcp_sndbuf_set(c, want);
}

/* ---- idle rings ---- */

/* In order, and cheap: called for every segment of data. */
void tcp_trim_arm(struct tcp_conn *c)
{
	if (rcv_nxt(c) - c->trimmed >= TRIM_BYTES && !timer_armed(&c->trim))
		timer_arm(&c->t->soft->wheel, &c->trim, c->t->now + TRIM_PERIOD);
}

/* Read and no hole open: nothing in the ring is wanted any more. */
static void trim(struct tcp_conn *c)
{
	c->trimmed = rcv_nxt(c);
	if (c->t->ops->trim)
		c->t->ops->trim(c->t->ctx, c->sk);
}

void tcp_timer_trim(struct timer *tm, void *arg, u64 now)
{
	struct tcp_conn *c = container_of(tm, struct tcp_conn, trim);
	u64 moved = rcv_nxt(c) - c->trim_seq;

	c->trim_seq = rcv_nxt(c);
	if (phase(c) != TCPP_SYNC || !tcp_take_words(c))
		return;
	if (moved < TRIM_BYTES && !rcv_unread(c) && !c->ooo_count)
		trim(c);
	else if (moved)		/* who does not read gets no further look until something arrives */
		timer_arm(&c->t->soft->wheel, &c->trim, c->t->now + TRIM_PERIOD);
}

/* The slot is given back. */
void tcp_trim_end(struct tcp_conn *c)
{
	if (rcv_nxt(c) - c->trimmed >= TRIM_BYTES)
		trim(c);
}
