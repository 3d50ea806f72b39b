/* tcp_icmp.c – rx6 tcp_v4_err(): ICMP errors about segments we sent, as Linux takes them.
 *
 * Nothing is believed that does not quote a sequence number in flight (RFC 5927 4.1). Then:
 *   connecting     the connect fails with the error, which is put into the socket's error queue
 *   connected      soft (RFC 1122 4.2.3.9): kept for SO_ERROR, and for the time when we give up; a socket with IP_RECVERR
 *                  is told by its next call instead. The connection goes on
 *   too big        tcp_mtu.c
 *   handshake of a listener   forgotten, when net or host is unreachable
 *   TIME_WAIT      ignored
 * Called by tcpd for descriptors of type SKB_ICMP_ERROR; ipd has checked the quotation's IP header. */
#include "services/tcp/path.h"

enum { ICMP_UNREACH = 3, ICMP_TIME = 11, ICMP_PARAM = 12 };
enum { UNREACH_NET = 0, UNREACH_HOST = 1, UNREACH_FRAG = 4, UNREACH_CODES = 16 };

/* Linux's icmp_err_convert; 0: not one to act on. RFC 6633: source quench is ignored, and so are redirects. */
static int icmp_errno(const struct ip_cb *cb)
{
	static const u8 unreach[UNREACH_CODES] = {
		ENETUNREACH, EHOSTUNREACH, ENOPROTOOPT, ECONNREFUSED, EMSGSIZE, EOPNOTSUPP, ENETUNREACH, EHOSTDOWN, ENONET,
		ENETUNREACH, EHOSTUNREACH, ENETUNREACH, EHOSTUNREACH, EHOSTUNREACH, EHOSTUNREACH, EHOSTUNREACH,
	};

	switch (cb->icmp_type) {
	case ICMP_UNREACH:
		return cb->icmp_code < UNREACH_CODES ? unreach[cb->icmp_code] : 0;
	case ICMP_TIME:
		return EHOSTUNREACH;
	case ICMP_PARAM:
		return EPROTO;
	}
	return 0;
}

void tcp_note(_Atomic u32 *note, u32 err) { store_release(note, sk_note(load_relaxed(note), err)); }

u32 tcp_soft_error(struct tcp_conn *c)
{
	u32 note = load_relaxed(&c->b.s->soft_err);

	return note == load_relaxed(&c->b.c->soft_taken) ? 0 : sk_note_errno(note);
}

/* ip_icmp_error(). The entry first, then the count that shows it. Its place is free when the client has read that many;
 * what the client's word says is only compared: nonsense costs him his errors. */
static void queue_error(struct tcp_conn *c, const struct ip_cb *cb, int err, be16 dport, const u8 *data, u32 len)
{
	u32 head = load_relaxed(&c->b.s->errq_head), tail = load_acquire(&c->b.c->errq_tail);
	struct sk_error *e = &c->b.errq->e[head % SK_ERRQ];

	if (head - tail >= SK_ERRQ)
		return;
	*e = (struct sk_error){ .err = (u32)err, .info = cb->icmp_mtu, .offender = cb->icmp_from, .daddr = cb->daddr,
				.dport = dport, .type = cb->icmp_type, .code = cb->icmp_code, .len = MIN(len, SK_ERRQ_DATA) };
	memcpy(e->data, data, e->len);
	store_release(&c->b.s->errq_head, head + 1);	/* pairs with the acquire in sock_recv_error() */
}

static void connected_error(struct tcp_conn *c, int err)
{
	if (!(c->h->so & TSO_RECVERR)) {
		tcp_note(&c->b.s->soft_err, (u32)err);
		return;
	}
	tcp_note(&c->b.s->report, (u32)err);
	if (c->t->ops->error_report)
		c->t->ops->error_report(c->t->ctx, c->sk);
}

static bool unreachable(const struct ip_cb *cb)
{
	return cb->icmp_type == ICMP_UNREACH && (cb->icmp_code == UNREACH_NET || cb->icmp_code == UNREACH_HOST);
}

void tcp_v4_err(struct tcp_stack *t, const struct ip_cb *cb, const u8 *data, u32 len)
{
	const struct tcp_hdr *h = (const struct tcp_hdr *)data;
	int err = icmp_errno(cb);
	struct tcp_tuple k;
	struct tcp_conn *c;
	u64 off, una;
	u32 seq;

	if (len < 8 || !err)
		return;
	k = (struct tcp_tuple){ cb->saddr, cb->daddr, h->source, h->dest };	/* the quoted segment is ours */
	seq = from_be32(h->seq);
	c = tcp_lookup_established(t, &k);
	if (!c) {
		if (!tcp_req_err(t, &k, seq, unreachable(cb) || cb->icmp_type != ICMP_UNREACH))
			count(t->counters, DROP_TCP_SEQUENCE);
		return;
	}
	if (!(c->cf & CF_OPEN))
		return;
	off = snd_off(c, seq);
	una = phase(c) == TCPP_SYNC ? snd_una(c) : c->h->tx_base - 1;	/* the SYN is below the first byte */
	if (before(off, una) || after(off, snd_nxt(c))) {
		count(t->counters, DROP_TCP_SEQUENCE);
		return;
	}
	if (cb->icmp_type == ICMP_UNREACH && cb->icmp_code == UNREACH_FRAG) {
		tcp_mtu_reduced(c, cb->icmp_mtu, be32_eq(cb->icmp_from, cb->saddr));
		return;
	}
	if (unreachable(cb) && off == una)
		tcp_ld_RTO_revert(c);
	if (phase(c) == TCPP_SYNC) {
		connected_error(c, err);
		return;
	}
	queue_error(c, cb, err, h->dest, data, len);
	tcp_done(c, err);
}
