/* input.c – rx4 ip_rcv(): is this an IPv4 header, and whose is it?
 *
 * The header is copied out of linkd's buffer once and judged there; nothing reads it again. Called by poll.c for frames of
 * type ETH_P_IP, with data at the network header; calls PRE_ROUTING, ip_route_input() and the destination's input (rx5). */
#include "path.h"

#include "common/csum.h"

static bool header_csum_ok(const struct ip_hdr *h, const u8 *d, u32 ihl)
{
	u32 w[5];
	u64 s;

	if (unlikely(ihl > sizeof(*h)))
		return csum_fold(csum_partial(d, ihl, 0)) == 0;
	memcpy(w, h, sizeof(w));
	s = (u64)w[0] + w[1] + w[2] + w[3] + w[4];
	s = (s & 0xffffffffu) + (s >> 32);
	s = (s & 0xffffffffu) + (s >> 32);
	return csum_fold((u32)s) == 0;
}

/* RFC 791, RFC 1122 3.2.1: COUNTERS when the header is good, else the reason to drop. Trims link-layer padding. */
static enum counter_id check_header(const u8 *d, const struct ip_hdr *h, struct sk_buff *skb)
{
	u32 ihl = (h->ver_ihl & 15u) * 4u, tot = from_be16(h->tot_len);

	if ((h->ver_ihl >> 4) != 4 || ihl < sizeof(*h) || tot < ihl)
		return DROP_IP_HEADER;
	if (skb->len < tot)
		return DROP_TRUNCATED;
	if (!header_csum_ok(h, d, ihl))
		return DROP_IP_CSUM;
	if ((from_be16(h->frag_off) & IP_RF) || (skb->gso_size && (from_be16(h->frag_off) & (IP_MF | IP_OFFMASK))))
		return DROP_IP_HEADER;	/* the reserved bit; a merged packet that claims to be a fragment */
	skb->len = tot;
	return COUNTERS;
}

/* Source-routed packets are dropped; malformed options are told to the sender (RFC 1122 3.2.1.8, 3.2.2.5). */
static bool options_ok(struct ip_stack *st, struct sk_buff *skb, const u8 *d, u32 ihl)
{
	u8 opt[40], at;
	int r;

	memcpy(opt, d + sizeof(struct ip_hdr), ihl - sizeof(struct ip_hdr));
	r = ip_options_parse(opt, ihl - (u32)sizeof(struct ip_hdr), &at);
	if (r == -EINVAL && ip_is_local(st->shm, IPCB(skb)->iph.daddr))
		icmp_send(st, skb, ICMP_PARAMETERPROB, 0, at);
	return r == 0;
}

void ip_rcv(struct ip_stack *st, struct sk_buff *skb)
{
	const u8 *d = skb_header(st->pools, skb, 0, sizeof(struct ip_hdr));
	struct ip_skb_cb *cb = IPCB(skb);
	struct dst_entry *dst;
	enum counter_id bad;

	count(st->counters, FLOW_RX4_IP_RCV);
	if (unlikely(!d || skb->pkt_type == PACKET_OTHERHOST)) {
		drop(st, skb, d ? DROP_OTHERHOST : DROP_TRUNCATED, 0);
		return;
	}
	memcpy(&cb->iph, d, sizeof(cb->iph));
	bad = check_header(d, &cb->iph, skb);
	if (unlikely(bad != COUNTERS)) {
		drop(st, skb, bad, 0);
		return;
	}
	cb->nh_off = skb->off;
	cb->ihl = (cb->iph.ver_ihl & 15u) * 4u;
	skb->hdr_off = SKB_HDR_ROOM;
	skb->type = SKB_PACKET;
	if (unlikely(nf_hook(&st->nf, st, NF_INET_PRE_ROUTING, &cb->iph, skb) == NF_DROP)) {
		drop(st, skb, DROP_NETFILTER, 0);
		return;
	}
	dst = ip_route_input(st, cb->iph.daddr, cb->iph.saddr, skb->dev);
	if (skb->pkt_type == PACKET_HOST)
		skb->pkt_type = dst->pkt_type;
	if (unlikely(cb->ihl > sizeof(cb->iph)) && dst->input == ip_local_deliver && !options_ok(st, skb, d, cb->ihl)) {
		drop(st, skb, DROP_IP_OPTIONS, 0);
		return;
	}
	dst->input(st, dst, skb);
}
