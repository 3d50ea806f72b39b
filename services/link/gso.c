/* gso.c – tx8: what a device without offloads cannot do itself: cut a large TCP packet into segments
 * (tcp_gso_segment) and finish a checksum (skb_checksum_help). No payload is copied: only headers are.
 *
 * Called by xmit.c. Pure. */
#include "services/link/path.h"
#include "common/csum.h"
#include "proto/wire/ip.h"
#include "proto/wire/tcp.h"

#define GSO_HDR_MAX 192u	/* Ethernet, IPv4 and TCP with all their options: 134 */

/* The first n bytes of a frame, wherever they are, copied together. */
static bool frame_peek(const struct frame *f, u8 *to, u32 n)
{
	u32 h = MIN(n, f->hdr_len);

	if (n > f->hdr_len + f->len)
		return false;
	memcpy(to, f->hdr, h);
	memcpy(to + h, f->data, n - h);
	return true;
}

/* The rest of a frame after its first n bytes, n >= hdr_len. */
static struct frame frame_tail(const struct frame *f, const u8 *hdr, u32 n)
{
	return (struct frame){ .hdr = hdr, .hdr_len = n, .data = f->data + (n - f->hdr_len),
			       .len = f->len - (n - f->hdr_len) };
}

/* Length of Ethernet + IP + TCP headers, copied to hdr; 0 when it is no such frame. */
static u32 gso_headers(const struct frame *f, u8 hdr[GSO_HDR_MAX], u32 *ret_ihl)
{
	const struct ip_hdr *ip = (const struct ip_hdr *)(hdr + ETH_HLEN);
	u32 n = ETH_HLEN + sizeof(*ip) + sizeof(struct tcp_hdr), ihl, thl;

	if (!frame_peek(f, hdr, n) || ip->ver_ihl >> 4 != 4 || ip->protocol != IPPROTO_TCP_)
		return 0;
	ihl = (ip->ver_ihl & 15u) * 4;
	n = ETH_HLEN + ihl + (u32)sizeof(struct tcp_hdr);
	if (ihl < sizeof(*ip) || !frame_peek(f, hdr, n))
		return 0;
	thl = (((const struct tcp_hdr *)(hdr + ETH_HLEN + ihl))->doff_res >> 4) * 4u;
	n = ETH_HLEN + ihl + thl;
	if (thl < sizeof(struct tcp_hdr) || n < f->hdr_len || !frame_peek(f, hdr, n))
		return 0;
	*ret_ihl = ihl;
	return n;
}

/* Headers of segment number i, which starts `at` bytes into the payload and has `len` of them. */
static void gso_segment_headers(u8 *hdr, u32 hl, u32 ihl, u32 i, u32 at, const u8 *payload, u32 len, bool last)
{
	struct ip_hdr *ip = (struct ip_hdr *)(hdr + ETH_HLEN);
	struct tcp_hdr *th = (struct tcp_hdr *)(hdr + ETH_HLEN + ihl);
	u32 tcp_len = hl - ETH_HLEN - ihl + len, sum;

	ip->tot_len = to_be16((u16)(hl - ETH_HLEN + len));
	ip->id = to_be16((u16)(from_be16(ip->id) + i));
	ip->check = 0;
	ip->check = csum_fold(csum_partial(ip, ihl, 0));
	th->seq = to_be32(from_be32(th->seq) + at);
	if (i)
		th->flags &= (u8)~TCP_CWR;		/* RFC 3168 6.1.2: once */
	if (!last)
		th->flags &= (u8)~(TCP_FIN | TCP_PSH);
	th->check = 0;
	sum = csum_partial(th, tcp_len - len, csum_pseudo(ip->saddr, ip->daddr, IPPROTO_TCP_, tcp_len));
	th->check = csum_fold(csum_block_add(sum, csum_partial(payload, len, 0), tcp_len - len));
}

int tcp_gso_segment(const struct frame *f, u16 mss, u32 first, u32 *ret_done,
		    int (*out)(void *arg, const struct frame *seg), void *arg)
{
	u8 hdr[GSO_HDR_MAX], seg_hdr[GSO_HDR_MAX];
	u32 ihl, hl = gso_headers(f, hdr, &ihl);
	struct frame rest;

	if (!hl || !mss)
		return -EINVAL;
	rest = frame_tail(f, hdr, hl);
	for (u32 i = first; (u64)i * mss < rest.len || i == 0; i++) {
		u32 at = i * mss, len = MIN(rest.len - at, (u32)mss);
		struct frame seg = { .hdr = seg_hdr, .hdr_len = hl, .data = rest.data + at, .len = len };
		int r;

		memcpy(seg_hdr, hdr, hl);
		gso_segment_headers(seg_hdr, hl, ihl, i, at, seg.data, len, at + len == rest.len);
		r = out(arg, &seg);
		if (r < 0)
			return r;
		*ret_done = i + 1;
	}
	return 0;
}

/* Finish the checksum that f->vnet describes; the patched headers live in scratch, f points there afterwards. */
int skb_checksum_help(struct frame *f, u8 scratch[256])
{
	u32 start = f->vnet.csum_start, field = start + f->vnet.csum_offset, n = MAX(field + 2, f->hdr_len);
	u16 check;
	u32 sum;

	if (n > 256 || !frame_peek(f, scratch, n))
		return -EINVAL;
	*f = frame_tail(f, scratch, n);
	sum = csum_partial(scratch + start, n - start, 0);	/* the field holds the pseudo header's sum */
	sum = csum_block_add(sum, csum_partial(f->data, f->len, 0), n - start);
	check = csum_fold(sum);
	if (!check)
		check = 0xffff;	/* RFC 768: zero would mean "none"; the same value to everybody else */
	memcpy(scratch + field, &check, 2);
	return 0;
}
