/* icmp_send.c – ICMP errors we send (RFC 792, RFC 1122 3.2.2, RFC 1812 4.3.2.8), rate limited as Linux does.
 *
 * Called by ip_rcv (parameter problem), ip_local_deliver (protocol unreachable), defrag.c (time exceeded) and any protocol that
 * wants port unreachable. The sk_buff must have passed ip_rcv(): its control block knows where the header is. */
#include "path.h"

#include "common/csum.h"

#define QUOTE_MAX (576u - (u32)sizeof(struct ip_hdr) - (u32)sizeof(struct icmp_hdr))	/* RFC 1812 4.3.2.3 */
#define GLOBAL_RATE 1000u	/* per second, with bursts of */
#define GLOBAL_BURST 50u
#define DST_BURST 6u		/* per destination: one a second, six at once */

/* Tokens in thousandths. */
static bool take_token(struct token_bucket *b, u64 now, u32 per_second, u32 burst)
{
	u64 ms = (now - b->stamp) / NSEC_PER_MSEC;

	if (!b->stamp) {
		b->stamp = now ? now : 1;
		b->tokens = burst * 1000;
	} else if (ms) {
		b->tokens = (u32)MIN((u64)burst * 1000, b->tokens + MIN(ms, (u64)100000) * per_second);
		b->stamp = now;
	}
	if (b->tokens < 1000)
		return false;
	b->tokens -= 1000;
	return true;
}

static bool rate_ok(struct ip_stack *st, be32 dst)
{
	struct token_bucket *b = &st->icmp_dst[(dst.v * 0x9e3779b1u) >> 24];

	if (!be32_eq(b->key, dst))
		*b = (struct token_bucket){ .key = dst };
	return take_token(&st->icmp_global, st->now, GLOBAL_RATE, GLOBAL_BURST) && take_token(b, st->now, 1, DST_BURST);
}

/* RFC 1122 3.2.2: no error about an error, a broadcast, a later fragment, or a source that is no single host. (Such
 * sources never get past ip_route_input(), but options are judged before.) */
static bool may_complain(struct ip_stack *st, const struct sk_buff *skb, const struct ip_hdr *h, const u8 *transport, u32 n)
{
	if (skb->pkt_type != PACKET_HOST || (from_be16(h->frag_off) & IP_OFFMASK))
		return false;
	if (ip_is_multicast(h->daddr) || ip_is_net_broadcast(st, h->daddr) || !ip_is_local(st->shm, h->daddr))
		return false;
	if (ip_is_zeronet(h->saddr) || ip_is_loopback(h->saddr) || ip_is_multicast(h->saddr) || ip_is_classe(h->saddr) ||
	    ip_is_net_broadcast(st, h->saddr) || ip_is_local(st->shm, h->saddr))
		return false;
	if (h->protocol == IPPROTO_ICMP_)	/* queries only: echo, timestamp, information, mask */
		return n && (transport[0] == ICMP_ECHO || transport[0] == ICMP_ECHOREPLY ||
			     (transport[0] >= 13 && transport[0] <= 18));
	return true;
}

static void build(u8 *b, const u8 *quote, u32 n, u8 type, u8 code, u32 info)
{
	struct icmp_hdr h = { .type = type, .code = code };

	if (type == ICMP_PARAMETERPROB)
		h.pointer = (u8)info;
	else if (type == ICMP_DEST_UNREACH && code == ICMP_FRAG_NEEDED)
		h.mtu = to_be16((u16)info);
	memcpy(b, &h, sizeof(h));
	memcpy(b + sizeof(h), quote, n);
	h.check = csum_fold(csum_partial(b, sizeof(h) + n, 0));
	memcpy(b, &h, sizeof(h));
}

void icmp_send(struct ip_stack *st, struct sk_buff *skb, u8 type, u8 code, u32 info)
{
	const struct ip_skb_cb *c = IPCB(skb);
	struct sk_buff in = *skb, err;
	const u8 *quote;
	u8 *b;

	in.len += in.off - c->nh_off;	/* back to the network header */
	in.off = c->nh_off;
	quote = skb_header(st->pools, &in, 0, c->ihl);
	if (!quote || !may_complain(st, &in, &c->iph, quote + c->ihl, in.len - c->ihl))
		return;
	if (!rate_ok(st, c->iph.saddr)) {
		count(st->counters, DROP_ICMP_RATE);
		return;
	}
	in.len = MIN(in.len, QUOTE_MAX);
	b = ip_alloc(st, in.len + (u32)sizeof(struct icmp_hdr), &err);
	if (!b) {
		count(st->counters, DROP_NO_BUFFER);
		return;
	}
	build(b, quote, in.len, type, code, info);
	err.len = in.len + (u32)sizeof(struct icmp_hdr);
	(void)ip_build_and_send(st, &err, c->iph.daddr, c->iph.saddr, IPPROTO_ICMP_, 0xc0, 0);	/* precedence 6, RFC 1812 4.3.2.5 */
}
