/* gro.c – rx2: generic receive offload: consecutive TCP segments of one flow become one sk_buff before they climb.
 *
 * For devices that deliver single segments (AF_PACKET on real cards, a peer without TSO). They wait only within
 * one poll batch: napi_refill() flushes. While one waits it is in posted[], so nothing is invisible (crash rule 2);
 * merged ones are copied into one large buffer and their own given back. (A death in between loses segments that were
 * never acknowledged, as the wire may.)
 * What may merge is what Linux's inet_gro_receive() and tcp_gro_receive() merge: same addresses, ports, TOS, TTL, DF,
 * acknowledgement and options, no flags but ACK and PSH, consecutive, none larger than the first; both checksums
 * verified here. The result carries CHECKSUM_PARTIAL and gso_size, so that gso.c can cut the same bytes again.
 *
 * Called by napi.c; calls netif_receive_skb(). */
#include "services/link/path.h"
#include "common/csum.h"
#include "proto/wire/ip.h"
#include "proto/wire/tcp.h"

static struct tcp_hdr *tcp_of(u8 *ip) { return (struct tcp_hdr *)(ip + sizeof(struct ip_hdr)); }

static bool tcp_csum_ok(const struct sk_buff *skb, const u8 *ip)
{
	const struct ip_hdr *h = (const struct ip_hdr *)ip;
	u32 len = skb->len - (u32)sizeof(*h);

	if (skb->ip_summed != CHECKSUM_NONE)
		return true;
	return csum_fold(csum_partial(ip + sizeof(*h), len, csum_pseudo(h->saddr, h->daddr, IPPROTO_TCP_, len))) == 0;
}

/* Bytes of IP + TCP header when the packet is TCP without IP options, whole, well formed; else 0. */
static u32 gro_headers(struct sk_buff *skb, u8 *ip)
{
	struct ip_hdr *h = (struct ip_hdr *)ip;
	u32 tot, thl;

	if (from_be16(skb->protocol) != ETH_P_IP || skb->pkt_type != PACKET_HOST ||
	    skb->len < sizeof(*h) + sizeof(struct tcp_hdr) || h->ver_ihl != 0x45 || h->protocol != IPPROTO_TCP_)
		return 0;
	tot = from_be16(h->tot_len);
	if (tot > skb->len || tot < sizeof(*h) + sizeof(struct tcp_hdr) ||
	    (from_be16(h->frag_off) & (IP_MF | IP_OFFMASK)))
		return 0;
	skb->len = tot;		/* Ethernet padding */
	thl = (tcp_of(ip)->doff_res >> 4) * 4u;
	if (thl < sizeof(struct tcp_hdr) || sizeof(*h) + thl > tot)
		return 0;
	return (u32)sizeof(*h) + thl;
}

static bool same_flow(u8 *a, u8 *b)
{
	return !memcmp(a + 12, b + 12, 8) && !memcmp(tcp_of(a), tcp_of(b), 4);	/* addresses; ports */
}

/* Alone it may start a merge: payload, nothing but ACK and PSH, IP header intact, not merged by the device. */
static bool gro_candidate(const struct sk_buff *skb, u8 *ip, u32 hl)
{
	return skb->len > hl && !skb->gso_size && (tcp_of(ip)->flags & ~TCP_PSH) == TCP_ACK &&
	       csum_fold(csum_partial(ip, sizeof(struct ip_hdr), 0)) == 0;
}

static bool gro_may_append(const struct gro_flow *g, const struct sk_buff *skb, u8 *ip, u32 hl)
{
	struct ip_hdr *a = (struct ip_hdr *)g->data, *b = (struct ip_hdr *)ip;
	struct tcp_hdr *ta = tcp_of(g->data), *tb = tcp_of(ip);

	if (hl != g->hdr_len || from_be32(tb->seq) != g->next_seq || !be32_eq(ta->ack_seq, tb->ack_seq) ||
	    !be16_eq(ta->window, tb->window) || memcmp(ta + 1, tb + 1, hl - sizeof(*a) - sizeof(*ta)))
		return false;
	if (a->tos != b->tos || a->ttl != b->ttl || !be16_eq(a->frag_off, b->frag_off))
		return false;
	/* Identification counts on, or is the same with DF (RFC 6864: it means nothing then). */
	if (from_be16(b->id) != (u16)(from_be16(a->id) + g->count) &&
	    !(be16_eq(a->id, b->id) && (from_be16(a->frag_off) & IP_DF)))
		return false;
	if (ta->flags & TCP_PSH)	/* it ended there */
		return false;
	/* Only the last may be shorter than the rest. */
	return skb->len - hl <= g->mss && (g->skb.len - g->hdr_len) % g->mss == 0 &&
	       g->skb.len + skb->len - hl <= 65535;
}

static void gro_complete(struct linkd *l, struct gro_flow *g)
{
	struct sk_buff *skb = &g->skb;
	struct ip_hdr *h = (struct ip_hdr *)g->data;

	if (g->count > 1) {
		u32 len = skb->len - (u32)sizeof(*h);

		h->tot_len = to_be16((u16)skb->len);
		h->check = 0;
		h->check = csum_fold(csum_partial(h, sizeof(*h), 0));
		tcp_of(g->data)->check = (u16)~csum_fold(csum_pseudo(h->saddr, h->daddr, IPPROTO_TCP_, len));
		skb->ip_summed = CHECKSUM_PARTIAL;
		skb->csum_start = sizeof(*h);
		skb->csum_offset = offsetof(struct tcp_hdr, check);
		skb->gso_size = g->mss;
		skb->gso_type = GSO_TCPV4;
		count_n(l->counters, LINK_GRO_MERGED, g->count);
	}
	netif_receive_skb(l, skb, g->data);
}

static void gro_remove(struct linkd *l, u32 i)
{
	struct softnet_data *sd = &l->sd;

	gro_complete(l, &sd->gro[i]);
	sd->ngro--;
	memmove(&sd->gro[i], &sd->gro[i + 1], (sd->ngro - i) * sizeof(sd->gro[0]));
}

/* Move the first segment into a large buffer, where others can follow. */
static bool gro_make_room(struct linkd *l, struct gro_flow *g)
{
	struct sk_buff big;
	u8 *to;

	if (POOL_SMALL - RX_ETH < g->skb.len)
		return false;
	to = pool_take(l->pool, POOL_LARGE, g->skb.dev, &big);
	if (!to)
		return false;
	memcpy(to + RX_ETH, g->data - ETH_HLEN, g->skb.len + ETH_HLEN);
	pool_give_back(l->pool, g->skb.buf, g->skb.gen, NULL);
	g->skb.buf = big.buf;
	g->skb.gen = big.gen;
	g->skb.off = RX_ETH + ETH_HLEN;
	g->data = to + g->skb.off;
	return true;
}

static bool gro_append(struct linkd *l, struct gro_flow *g, const struct sk_buff *skb, u8 *ip, u32 hl)
{
	u32 payload = skb->len - hl;

	if (!gro_may_append(g, skb, ip, hl) || !tcp_csum_ok(skb, ip))
		return false;
	if (g->count == 1 && (!tcp_csum_ok(&g->skb, g->data) || !gro_make_room(l, g)))
		return false;
	memcpy(g->data + g->skb.len, ip + hl, payload);
	g->skb.len += payload;
	g->next_seq += payload;
	g->count++;
	tcp_of(g->data)->flags |= tcp_of(ip)->flags & TCP_PSH;
	pool_give_back(l->pool, skb->buf, skb->gen, NULL);
	return true;
}

void napi_gro_receive(struct linkd *l, struct net_device *dev, struct sk_buff *skb, u8 *data)
{
	struct softnet_data *sd = &l->sd;
	u32 hl = gro_headers(skb, data);
	bool candidate = hl && gro_candidate(skb, data, hl);

	for (u32 i = 0; hl && i < sd->ngro; i++) {
		struct gro_flow *g = &sd->gro[i];

		if (g->skb.dev != skb->dev || !same_flow(g->data, data))
			continue;
		if (candidate && gro_append(l, g, skb, data, hl))
			return;
		gro_remove(l, i);	/* order within the flow */
		break;
	}
	if (!candidate || sd->ngro == GRO_FLOWS) {
		netif_receive_skb(l, skb, data);
		return;
	}
	sd->gro[sd->ngro++] = (struct gro_flow){ .skb = *skb, .data = data, .hdr_len = hl, .count = 1,
						 .mss = (u16)(skb->len - hl),
						 .next_seq = from_be32(tcp_of(data)->seq) + skb->len - hl };
}

void napi_gro_flush(struct linkd *l)
{
	while (l->sd.ngro)
		gro_remove(l, 0);
}
