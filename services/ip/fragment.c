/* fragment.c – tx5: a datagram larger than the path MTU becomes fragments (RFC 791 3.2).
 *
 * A buffer has one descriptor in flight (crash rule 1), so fragments are copies in buffers of our own; the original is
 * completed last and carries the mark that answers the input. Called by ip_output(); calls the neighbour. */
#include "path.h"

#include "common/csum.h"

/* The checksum left to the device must be finished before the datagram is cut: a device sees one fragment only. */
static bool finish_csum(const struct sk_buff *skb, const u8 *data, u16 *check)
{
	if (skb->csum_start > skb->len || skb->len - skb->csum_start < (u32)skb->csum_offset + 2)
		return false;
	*check = csum_fold(csum_partial(data + skb->csum_start, skb->len - skb->csum_start, 0));
	if (!*check)
		*check = 0xffff;
	return true;
}

static bool send_one(struct ip_stack *st, struct dst_entry *dst, const struct sk_buff *whole, const u8 *data, u32 at, u32 n,
		     bool more)
{
	const struct ip_hdr *from = (const struct ip_hdr *)skb_hdr(whole);
	struct sk_buff skb;
	struct ip_hdr *h;
	u8 *b = ip_alloc(st, n, &skb);
	u16 check;

	if (!b)
		return false;
	memcpy(b, data + at, n);
	skb.len = n;
	if (at == 0 && whole->ip_summed == CHECKSUM_PARTIAL && finish_csum(whole, data, &check) &&
	    (u32)whole->csum_start + whole->csum_offset + 2 <= n)
		memcpy(b + whole->csum_start + whole->csum_offset, &check, 2);
	h = skb_push_hdr(&skb, sizeof(*h));
	*h = *from;
	h->tot_len = to_be16((u16)(n + sizeof(*h)));
	h->frag_off = to_be16((u16)(at / 8 | (more ? IP_MF : 0)));
	h->check = 0;
	h->check = csum_fold(csum_partial(h, sizeof(*h), 0));
	skb.protocol = to_be16(ETH_P_IP);
	skb.priority = whole->priority;
	skb.dev = whole->dev;
	count(st->counters, IP_FRAGS_CREATED);
	ip_finish_output(st, dst, &skb);
	return true;
}

void ip_fragment(struct ip_stack *st, struct dst_entry *dst, struct sk_buff *skb)
{
	const u8 *data = skb_data(st->pools, skb);
	u32 room = (dst->mtu - (u32)sizeof(struct ip_hdr)) & ~7u;

	if (!data || dst->mtu < 68) {	/* RFC 791: every network carries 68 */
		drop(st, skb, DROP_NONSENSE, EINVAL);
		return;
	}
	for (u32 at = 0, n; at < skb->len; at += n) {
		n = MIN(room, skb->len - at);
		if (!send_one(st, dst, skb, data, at, n, at + n < skb->len)) {
			drop(st, skb, DROP_NO_BUFFER, ENOBUFS);
			return;
		}
	}
	ip_complete(st, skb, 0);
}
