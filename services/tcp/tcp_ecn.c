/* tcp_ecn.c – explicit congestion notification (RFC 3168): asked for, marks heard and echoed, the answer once a window.
 *
 * rx6: tcp_conn_request() and synsent() negotiate; tcp_data.c reports marks of data that is in the receive ring, tcp_ack.c
 * the peer's echoes. tx3: tcp_transmit_skb() asks for the bits of every segment.
 *
 * Hard, in the block: whether ECN is in use (a constant of the handshake), and ecn_echo, that a mark waits for the peer's
 * CWR: the segment that had it is acknowledged and does not come again, so only the word knows. It is stored before
 * rx_head passes that segment. Soft, in c->ecn: that we owe a CWR. The peer echoes until it gets one, so a successor hears
 * of it again (and has begun with a small window anyway). ECN_SEEN steers ACKs and is for TCP_INFO. */
#include "services/tcp/path.h"

enum { NOT_ECT = 0, ECT1 = 1, ECT0 = 2, CE = 3 };	/* RFC 3168 5: the low two bits of TOS */

/* RFC 3168 6.1.1: a SYN asks with both bits; one that is itself marked capable comes from a broken sender (6.1.1, as Linux). */
bool tcp_ecn_asked(const struct tcp_stack *t, const struct tcp_seg *g)
{
	return t->conf->ecn != ECN_OFF && (g->flags & (TCP_ECE | TCP_CWR)) == (TCP_ECE | TCP_CWR) && (g->tos & 3) == NOT_ECT;
}

/* The peer's SYN+ACK, or its SYN that crossed ours. A SYN+ACK with both bits is an echo of ours by a broken host. */
bool tcp_ecn_agreed(const struct tcp_seg *g)
{
	return (g->flags & (TCP_ECE | TCP_CWR)) == (g->flags & TCP_ACK ? TCP_ECE : TCP_ECE | TCP_CWR);
}

/* Flags of our SYN, or SYN+ACK. 6.1.1.1: a path that swallows SYNs with these bits is met with a plain one the second time. */
u8 tcp_ecn_syn(const struct tcp_conn *c)
{
	if (!(c->h->negotiated & TCPN_ECN))
		return 0;
	if (phase(c) == TCPP_SYN_RECV || c->cf & CF_SYN_OUT)
		return TCP_ECE;
	return c->retrans_stamp ? 0 : TCP_ECE | TCP_CWR;
}

/* Flags and TOS bits of a segment. 6.1.4, 6.1.5, 6.1.6: neither ACKs nor retransmissions nor probes are ECN-capable. */
u8 tcp_ecn_send(const struct tcp_conn *c, bool fresh_data, u8 *tos)
{
	u8 flags = 0;

	if (!(c->h->negotiated & TCPN_ECN))
		return 0;
	if (fresh_data) {
		*tos |= ECT0;
		if (c->ecn & ECN_QUEUE_CWR)
			flags |= TCP_CWR;
	}
	if (load_relaxed(&c->h->ecn_echo))
		flags |= TCP_ECE;
	return flags;
}

/* The window was reduced, for whatever reason (6.1.2): the next new data tells the peer. */
void tcp_ecn_queue_cwr(struct tcp_conn *c)
{
	if (c->h->negotiated & TCPN_ECN)
		c->ecn |= ECN_QUEUE_CWR;
}

static void ack_soon(struct tcp_conn *c)
{
	c->quick = MAX(c->quick, 2u);
	c->pingpong = 0;
}

/* 6.1.3: payload that is in the receive ring and about to count. */
void tcp_ecn_received(struct tcp_conn *c, const struct tcp_seg *g)
{
	if (!(c->h->negotiated & TCPN_ECN) || !g->len)
		return;
	if (g->flags & TCP_CWR) {
		store_relaxed(&c->h->ecn_echo, 0);
		c->cf |= CF_ACK_NOW;	/* its window may be a single segment now */
	}
	if ((g->tos & 3) == NOT_ECT) {
		if (c->ecn & ECN_SEEN)	/* a retransmission, most likely */
			ack_soon(c);
		return;
	}
	c->ecn |= ECN_SEEN;
	if ((g->tos & 3) != CE)
		return;
	conn_count(c, TCP_CE_MARKS);
	if (load_relaxed(&c->h->ecn_echo))
		return;
	store_release(&c->h->ecn_echo, 1);
	ack_soon(c);
}

/* Does this ACK echo a mark (6.1.2)? Of a SYN the bit means something else. */
bool tcp_ecn_echoed(const struct tcp_conn *c, const struct tcp_seg *g)
{
	return (g->flags & (TCP_ECE | TCP_SYN)) == TCP_ECE && c->h->negotiated & TCPN_ECN;
}
