/* icmp.c – rx5: ICMP received (RFC 792, RFC 1122 3.2.2): echo is answered, errors go to the protocol that caused them.
 *
 * Called through inet_protos[] by ip_deliver_whole(); calls ip_build_and_send() (tx4), the err_handler of the quoted protocol,
 * pmtu_update(), ping.c. Source quench (RFC 6633) and redirects are ignored: they let strangers steer us. */
#include "path.h"

#include "common/csum.h"

/* RFC 1122 3.2.2.6: the reply's payload is the request's, from the address that was asked; broadcasts are not answered. */
static void echo(struct ip_stack *st, const struct sk_buff *skb)
{
	const struct ip_skb_cb *c = (const struct ip_skb_cb *)skb->hdr;
	const u8 *d = skb_data(st->pools, skb);
	struct sk_buff reply;
	struct icmp_hdr h;
	u8 *b;

	if (!d || skb->pkt_type != PACKET_HOST)
		return;
	b = ip_alloc(st, skb->len, &reply);
	if (!b) {
		count(st->counters, DROP_NO_BUFFER);
		return;
	}
	memcpy(b, d, skb->len);
	reply.len = skb->len;
	if (!skb_data(st->pools, skb)) {	/* taken back while it was copied */
		ip_complete(st, &reply, 0);
		return;
	}
	memcpy(&h, b, sizeof(h));
	h.type = ICMP_ECHOREPLY;
	h.check = csum_update16(h.check, ICMP_ECHO, ICMP_ECHOREPLY);
	memcpy(b, &h, sizeof(h));
	count(st->counters, ICMP_ECHO_REPLIES);
	(void)ip_build_and_send(st, &reply, c->iph.daddr, c->iph.saddr, IPPROTO_ICMP_, c->iph.tos, 0);
}

/* RFC 1191 section 7: routers that do not tell the next hop's MTU. */
u32 icmp_plateau(u32 tot_len)
{
	static const u16 plateau[] = { 32000, 17914, 8166, 4352, 2002, 1492, 1006, 508, 296, 68 };

	for (u32 i = 0; i < ARRAY_SIZE(plateau); i++)
		if (plateau[i] < tot_len)
			return plateau[i];
	return 68;
}

/* An error about something we sent. The sk_buff moves up to the quoted transport header, its control block becomes that of
 * the quoted packet. Returns the quoted protocol's handler, NULL when the quotation makes no sense. */
static void (*unquote(struct ip_stack *st, struct sk_buff *skb, const struct icmp_hdr *icmp))(struct ip_stack *, struct sk_buff *)
{
	struct ip_skb_cb *c = IPCB(skb);
	const u8 *d;
	struct ip_hdr q;
	u32 ihl, mtu = 0;

	skb_pull(skb, sizeof(*icmp));
	d = skb_header(st->pools, skb, 0, sizeof(q));
	if (!d)
		return NULL;
	memcpy(&q, d, sizeof(q));
	ihl = (q.ver_ihl & 15u) * 4u;
	if ((q.ver_ihl >> 4) != 4 || ihl < sizeof(q) || skb->len < ihl + 8 || !ip_is_local(st->shm, q.saddr) ||
	    (from_be16(q.frag_off) & IP_OFFMASK))
		return NULL;
	skb_pull(skb, ihl);
	if (icmp->type == ICMP_DEST_UNREACH && icmp->code == ICMP_FRAG_NEEDED) {
		mtu = from_be16(icmp->mtu);
		mtu = mtu ? mtu : icmp_plateau(from_be16(q.tot_len));
	}
	c->cb = (struct ip_cb){ .saddr = q.saddr, .daddr = q.daddr, .protocol = q.protocol, .ttl = q.ttl, .tos = q.tos,
				.icmp_type = icmp->type, .icmp_code = icmp->code, .icmp_mtu = mtu, .icmp_from = c->iph.saddr };
	return st->inet_protos[q.protocol].err_handler;
}

static void error(struct ip_stack *st, struct sk_buff *skb, const struct icmp_hdr *icmp)
{
	void (*handler)(struct ip_stack *, struct sk_buff *) = unquote(st, skb, icmp);

	if (!handler) {
		drop(st, skb, DROP_ICMP_INVALID, 0);
		return;
	}
	handler(st, skb);
}

/* An error about an ICMP message of ours: only our echo requests are answered for. */
void icmp_err(struct ip_stack *st, struct sk_buff *skb)
{
	const struct ip_skb_cb *c = IPCB(skb);
	const u8 *d = skb_header(st->pools, skb, 0, sizeof(struct icmp_hdr));
	struct icmp_hdr h;

	if (d) {
		memcpy(&h, d, sizeof(h));
		if (h.type == ICMP_ECHO && c->cb.icmp_mtu && ping_ours(st, from_be16(h.id), c->cb.daddr))
			pmtu_update(st, c->cb.daddr, c->cb.icmp_mtu);
		if (h.type == ICMP_ECHO)
			ping_error(st, from_be16(h.id), c->cb.icmp_type, c->cb.icmp_code, c->iph.saddr);
	}
	ip_complete(st, skb, 0);
}

void icmp_rcv(struct ip_stack *st, struct sk_buff *skb)
{
	const u8 *d = skb_header(st->pools, skb, 0, sizeof(struct icmp_hdr));
	struct icmp_hdr h;

	if (!d || csum_fold(csum_partial(d, skb->len, 0)) != 0) {
		drop(st, skb, DROP_ICMP_INVALID, 0);
		return;
	}
	memcpy(&h, d, sizeof(h));
	switch (h.type) {
	case ICMP_ECHO:
		if (h.code == 0)
			echo(st, skb);
		break;
	case ICMP_ECHOREPLY:
		ping_reply(st, skb, from_be16(h.id), from_be16(h.seq), skb->len);
		break;
	case ICMP_DEST_UNREACH:
	case ICMP_TIME_EXCEEDED:
	case ICMP_PARAMETERPROB:
		error(st, skb, &h);
		return;
	default:		/* RFC 1122 3.2.2: unknown types are silently discarded */
		break;
	}
	ip_complete(st, skb, 0);
}
