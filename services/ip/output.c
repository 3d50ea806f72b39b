/* output.c – tx4 ip_queue_xmit() and tx5 ip_output().
 *
 * tcpd's segment (TCP header and payload in tcpd's buffer, tx_cb in the descriptor) gets its IPv4 header, right-aligned
 * in the descriptor, passes LOCAL_OUT, POST_ROUTING and the xfrm policy, and goes to the neighbour (tx6). A GSO packet has
 * one header with the length of the whole; the device or linkd cuts it.
 * Called by poll.c (tcpd's ring) and by what ipd itself sends (icmp.c, icmp_send.c, ping.c). */
#include "path.h"

#include "common/csum.h"
#include "proto/wire/tcp.h"

/* Linux's ip_tos2prio, by TOS bits: a priority (TC_PRIO_*). The lowest bit is ECN's: a flow keeps its band, marked or not. */
static const u8 tos2prio[16] = { 0, 0, 0, 0, 2, 2, 2, 2, 6, 6, 6, 6, 4, 4, 4, 4 };

static u16 header_csum(const struct ip_hdr *h)
{
	u32 w[5];
	u64 s;

	memcpy(w, h, sizeof(w));
	s = (u64)w[0] + w[1] + w[2] + w[3] + w[4];
	s = (s & 0xffffffffu) + (s >> 32);
	s = (s & 0xffffffffu) + (s >> 32);
	return csum_fold((u32)s);
}

/* RFC 6864: identification is for datagrams that may be fragmented; as Linux, one per segment of a GSO packet anyway,
 * because what cuts it counts on from the first. */
static u16 next_id(struct ip_stack *st, be32 daddr, u32 segs)
{
	u32 id = st->shm->ip_id;

	st->shm->ip_id = id + segs;
	return (u16)(id + ((daddr.v ^ st->id_key) * 0x9e3779b1u >> 16));
}

static struct ip_hdr *push_header(struct ip_stack *st, struct sk_buff *skb, const struct tx_cb *cb)
{
	struct ip_hdr *h;
	u32 segs = skb->gso_size && skb->len > skb->gso_size ? (skb->len + skb->gso_size - 1) / skb->gso_size : 1;

	skb->hdr_off = SKB_HDR_ROOM;
	h = skb_push_hdr(skb, sizeof(*h));
	*h = (struct ip_hdr){ .ver_ihl = 0x45, .tos = cb->tos, .tot_len = to_be16((u16)(skb->len + sizeof(*h))),
			      .id = to_be16(next_id(st, cb->daddr, segs)), .frag_off = to_be16(cb->df ? IP_DF : 0),
			      .ttl = cb->ttl ? cb->ttl : st->conf->ttl, .protocol = cb->protocol,
			      .saddr = cb->saddr, .daddr = cb->daddr };
	h->check = header_csum(h);
	skb->protocol = to_be16(ETH_P_IP);
	skb->pkt_type = PACKET_OUTGOING;
	skb->priority = tos2prio[(cb->tos & 0x1e) >> 1];
	return h;
}

static void send_with(struct ip_stack *st, struct sk_buff *skb, struct tx_cb *cb)
{
	struct dst_entry *dst = ip_route_output(st, cb->daddr, cb->saddr);
	struct ip_hdr *h;

	if (!cb->saddr.v)
		cb->saddr = dst->src;
	if (unlikely(skb->len > IP_MAX_LEN - sizeof(*h))) {
		drop(st, skb, DROP_FRAG_NEEDED, EMSGSIZE);
		return;
	}
	h = push_header(st, skb, cb);
	if (unlikely(nf_hook(&st->nf, st, NF_INET_LOCAL_OUT, h, skb) == NF_DROP)) {
		drop(st, skb, DROP_NETFILTER, EPERM);
		return;
	}
	dst->output(st, dst, skb);
}

/* tx4: a segment of tcpd's. The control block is copied out before the header is written over its place. */
void ip_queue_xmit(struct ip_stack *st, struct sk_buff *skb)
{
	struct tx_cb cb;

	memcpy(&cb, skb->hdr, sizeof(cb));
	count(st->counters, FLOW_TX4_QUEUE_XMIT);
	if (unlikely(skb->type != SKB_PACKET)) {
		drop(st, skb, DROP_NONSENSE, EINVAL);
		return;
	}
	send_with(st, skb, &cb);
}

/* A packet of our own: 0, or -errno when there is no way (the buffer is then back in the pool). */
int ip_build_and_send(struct ip_stack *st, struct sk_buff *skb, be32 saddr, be32 daddr, u8 proto, u8 tos, u8 ttl)
{
	struct tx_cb cb = { .saddr = saddr, .daddr = daddr, .protocol = proto, .tos = tos, .ttl = ttl };
	struct dst_entry *dst = ip_route_output(st, daddr, saddr);
	int error = dst->error;

	count(st->counters, FLOW_TX4_QUEUE_XMIT);
	send_with(st, skb, &cb);
	return -error;
}

/* Does every segment that will be cut from this packet fit the path? The TCP header's length is in its own bytes. */
static bool gso_fits(struct ip_stack *st, const struct sk_buff *skb, u32 mtu)
{
	const u8 *d = skb_header(st->pools, skb, 0, sizeof(struct tcp_hdr));
	u32 thl = d ? (d[12] >> 4) * 4u : TCP_MAX_HDR;

	return skb->gso_size + thl + sizeof(struct ip_hdr) <= mtu;
}

void ip_output(struct ip_stack *st, struct dst_entry *dst, struct sk_buff *skb)
{
	const struct ip_hdr *h = (const struct ip_hdr *)skb_hdr(skb);
	bool gso = skb->gso_type != GSO_NONE && skb->gso_size && skb->len > skb->gso_size;

	count(st->counters, FLOW_TX5_IP_OUTPUT);
	skb->dev = dst->dev;
	if (unlikely(nf_hook(&st->nf, st, NF_INET_POST_ROUTING, h, skb) == NF_DROP)) {
		drop(st, skb, DROP_NETFILTER, EPERM);
		return;
	}
	if (unlikely(!xfrm4_policy_check(&st->xfrm, XFRM_POLICY_OUT, h))) {
		drop(st, skb, DROP_XFRM, EPERM);
		return;
	}
	if (gso ? gso_fits(st, skb, dst->mtu) : skb->len + sizeof(*h) <= dst->mtu) {
		ip_finish_output(st, dst, skb);
	} else if (gso || (from_be16(h->frag_off) & IP_DF)) {
		ip_local_error(st, skb, dst->mtu);	/* RFC 1191: as the router that cannot forward it */
		drop(st, skb, DROP_FRAG_NEEDED, EMSGSIZE);
	} else {
		ip_fragment(st, dst, skb);
	}
}

void ip_finish_output(struct ip_stack *st, struct dst_entry *dst, struct sk_buff *skb)
{
	dst->neigh->output(st, dst->neigh, skb);
}

/* Tell tcpd, as an ICMP message would, what fits: fragmentation needed with the path MTU, quoting the TCP header. */
void ip_local_error(struct ip_stack *st, const struct sk_buff *skb, u32 mtu)
{
	const struct ip_hdr *h = (const struct ip_hdr *)skb_hdr(skb);
	u32 n = MIN(skb->len, (u32)TCP_MAX_HDR);
	const u8 *d = skb_header(st->pools, skb, 0, n);
	struct sk_buff err;
	u8 *b;

	if (h->protocol != IPPROTO_TCP_ || !d || ring_space(&st->r.ip_tcp) == 0)
		return;
	b = ip_alloc(st, n, &err);
	if (!b) {
		count(st->counters, DROP_NO_BUFFER);
		return;
	}
	memcpy(b, d, n);
	err.len = n;
	err.type = SKB_ICMP_ERROR;
	err.protocol = to_be16(ETH_P_IP);
	err.pkt_type = PACKET_HOST;
	*skb_ip_cb(&err) = (struct ip_cb){ .saddr = h->saddr, .daddr = h->daddr, .protocol = h->protocol, .ttl = h->ttl,
					   .icmp_type = ICMP_DEST_UNREACH, .icmp_code = ICMP_FRAG_NEEDED, .icmp_mtu = mtu, .icmp_from = h->saddr };
	if (!ip_emit_tcp(st, &err))
		drop(st, &err, DROP_RING_FULL, 0);
}
