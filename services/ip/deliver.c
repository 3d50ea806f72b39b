/* deliver.c – rx5 ip_local_deliver(): reassembly, LOCAL_IN, raw sockets, policy, then the protocol's handler.
 *
 * Called as dst_entry.input by ip_rcv() and, with whole datagrams, by defrag.c; calls inet_protos[].handler. */
#include "path.h"

/* rx5 -> rx6: to tcpd. The sk_buff travels on; its buffer stays linkd's (or ours, when reassembled). */
static void tcp_deliver(struct ip_stack *st, struct sk_buff *skb)
{
	struct ip_skb_cb *c = IPCB(skb);

	if (unlikely(skb->pkt_type != PACKET_HOST)) {	/* RFC 9293 MUST-57: not to broadcast or multicast addresses */
		drop(st, skb, DROP_IP_MARTIAN, 0);
		return;
	}
	c->cb = (struct ip_cb){ .saddr = c->iph.saddr, .daddr = c->iph.daddr, .protocol = c->iph.protocol, .ttl = c->iph.ttl,
				.tos = c->iph.tos };
	if (unlikely(!ip_emit_tcp(st, skb)))
		drop(st, skb, DROP_RING_FULL, 0);
}

/* The quoted segment of an ICMP error, to whoever sent it; icmp.c has filled ip_cb. */
static void tcp_err(struct ip_stack *st, struct sk_buff *skb)
{
	skb->type = SKB_ICMP_ERROR;
	if (unlikely(!ip_emit_tcp(st, skb)))
		drop(st, skb, DROP_RING_FULL, 0);
}

void inet_protos_init(struct ip_stack *st)
{
	st->inet_protos[IPPROTO_ICMP_] = (struct net_protocol){ .handler = icmp_rcv, .err_handler = icmp_err, .no_policy = true };
	st->inet_protos[IPPROTO_TCP_] = (struct net_protocol){ .handler = tcp_deliver, .err_handler = tcp_err };
}

void ip_deliver_whole(struct ip_stack *st, struct sk_buff *skb)
{
	struct ip_skb_cb *c = IPCB(skb);
	const struct net_protocol *p = &st->inet_protos[c->iph.protocol];

	if (unlikely(nf_hook(&st->nf, st, NF_INET_LOCAL_IN, &c->iph, skb) == NF_DROP)) {
		drop(st, skb, DROP_NETFILTER, 0);
		return;
	}
	if (unlikely(st->raw_local_deliver != NULL))
		st->raw_local_deliver(st, skb);
	skb_pull(skb, c->ihl);
	if (skb->ip_summed == CHECKSUM_PARTIAL && skb->csum_start >= c->ihl)
		skb->csum_start = (u16)(skb->csum_start - c->ihl);
	if (unlikely(!p->handler)) {
		icmp_send(st, skb, ICMP_DEST_UNREACH, ICMP_PROT_UNREACH, 0);
		drop(st, skb, DROP_NO_PROTOCOL, 0);
		return;
	}
	if (unlikely(!p->no_policy && !xfrm4_policy_check(&st->xfrm, XFRM_POLICY_IN, &c->iph))) {
		drop(st, skb, DROP_XFRM, 0);
		return;
	}
	p->handler(st, skb);
}

void ip_local_deliver(struct ip_stack *st, struct dst_entry *dst, struct sk_buff *skb)
{
	count(st->counters, FLOW_RX5_LOCAL_DELIVER);
	if (unlikely(from_be16(IPCB(skb)->iph.frag_off) & (IP_MF | IP_OFFMASK)))
		ip_defrag(st, skb);
	else
		ip_deliver_whole(st, skb);
}
