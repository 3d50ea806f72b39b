/* tcp_options.c – taking a segment's header apart (rx6) and writing options (tx3).
 *
 * Called by tcp_v4_rcv() and by everything that builds a segment. Order of SYN options is Linux's: MSS, SACK permitted,
 * timestamps, NOP, window scale. */
#include "services/tcp/path.h"

static u16 get16(const u8 *p) { return (u16)(p[0] << 8 | p[1]); }
static u32 get32(const u8 *p) { return (u32)p[0] << 24 | (u32)p[1] << 16 | (u32)p[2] << 8 | p[3]; }
static u8 *put16(u8 *p, u16 v)
{
	p[0] = (u8)(v >> 8);
	p[1] = (u8)v;
	return p + 2;
}
static u8 *put32(u8 *p, u32 v) { return put16(put16(p, (u16)(v >> 16)), (u16)v); }

static void one_option(struct tcp_seg *g, const u8 *p, u32 len)
{
	bool syn = g->flags & TCP_SYN;

	switch (p[0]) {
	case TCPOPT_MSS:
		if (len == 4 && syn)
			g->mss = get16(p + 2);
		break;
	case TCPOPT_WSCALE:
		if (len == 3 && syn) {
			g->has_wscale = true;
			g->wscale = MIN(p[2], 14);	/* RFC 7323 2.3 */
		}
		break;
	case TCPOPT_SACK_PERM:
		if (len == 2 && syn)
			g->has_sack_perm = true;
		break;
	case TCPOPT_TS:
		if (len == 10) {
			g->has_ts = true;
			g->tsval = get32(p + 2);
			g->tsecr = get32(p + 6);
		}
		break;
	case TCPOPT_FASTOPEN:
		if (syn && len % 2 == 0 && (len == 2 || (len >= 6 && len <= 2 + TCP_FO_COOKIE_MAX))) {
			g->cookie = p + 2;
			g->cookielen = (u8)(len - 2);
		}
		break;
	case TCPOPT_SACK:
		if (len >= 10 && (len - 2) % 8 == 0 && !syn)
			for (u32 i = 2; i < len && g->nsack < 4; i += 8, g->nsack++) {
				g->sack[g->nsack][0] = get32(p + i);
				g->sack[g->nsack][1] = get32(p + i + 4);
			}
		break;
	}
}

/* RFC 9293 3.1, 3.2: unknown options are skipped by their length; an impossible length ends the parse (MUST-7). */
static void parse_options(struct tcp_seg *g, const u8 *p, u32 n)
{
	while (n) {
		u32 len;

		if (p[0] == TCPOPT_EOL)
			return;
		if (p[0] == TCPOPT_NOP) {
			p++, n--;
			continue;
		}
		if (n < 2 || (len = p[1]) < 2 || len > n)
			return;
		one_option(g, p, len);
		p += len;
		n -= len;
	}
}

/* Fill g; 0 or the reason to drop. The checksum is the caller's business. */
int tcp_parse(struct tcp_seg *g, struct sk_buff *skb, const u8 *data)
{
	const struct ip_cb *cb = skb_ip_cb(skb);
	const struct tcp_hdr *h = (const struct tcp_hdr *)data;

	if (skb->len < sizeof(*h))
		return DROP_TRUNCATED;
	*g = (struct tcp_seg){ .skb = skb, .hdr = data, .hdrlen = (u8)((h->doff_res >> 4) * 4), .flags = h->flags, .tos = cb->tos };
	if (g->hdrlen < sizeof(*h) || g->hdrlen > skb->len)
		return DROP_TCP_HEADER;
	g->tuple = (struct tcp_tuple){ cb->daddr, cb->saddr, h->dest, h->source };
	g->seq = from_be32(h->seq);
	g->ack = from_be32(h->ack_seq);
	g->wnd = from_be16(h->window);
	g->urg = from_be16(h->urg_ptr);
	g->payload = data + g->hdrlen;
	g->len = skb->len - g->hdrlen;
	g->end = g->seq + g->len + !!(g->flags & TCP_SYN) + !!(g->flags & TCP_FIN);
	g->nseg = skb->gso_size ? (g->len + skb->gso_size - 1) / skb->gso_size : 1;
	g->nseg = MAX(g->nseg, 1u);
	parse_options(g, data + sizeof(*h), g->hdrlen - (u32)sizeof(*h));
	return 0;
}

/* Returns the number of bytes written, a multiple of four. negotiated: what to offer or to confirm. */
u32 tcp_syn_options(u8 *p, u16 mss, u8 negotiated, u8 wscale, u32 tsval, u32 tsecr)
{
	u8 *start = p;

	*p++ = TCPOPT_MSS;
	*p++ = 4;
	p = put16(p, mss);
	if (negotiated & TCPN_TS) {
		if (negotiated & TCPN_SACK) {
			*p++ = TCPOPT_SACK_PERM;
			*p++ = 2;
		} else {
			*p++ = TCPOPT_NOP;
			*p++ = TCPOPT_NOP;
		}
		*p++ = TCPOPT_TS;
		*p++ = 10;
		p = put32(put32(p, tsval), tsecr);
	} else if (negotiated & TCPN_SACK) {
		*p++ = TCPOPT_NOP;
		*p++ = TCPOPT_NOP;
		*p++ = TCPOPT_SACK_PERM;
		*p++ = 2;
	}
	if (negotiated & TCPN_WS) {
		*p++ = TCPOPT_NOP;
		*p++ = TCPOPT_WSCALE;
		*p++ = 3;
		*p++ = wscale;
	}
	return (u32)(p - start);
}

/* What every segment of an established connection carries, SACK blocks aside. */
u32 tcp_options_size(const struct tcp_conn *c) { return has_ts(c) ? 12 : 0; }

/* RFC 2018 4, RFC 2883 4: the DSACK first, then the most recent block, then the others as room allows. */
static u8 *sack_blocks(struct tcp_conn *c, u8 *p, u32 room)
{
	bool dsack = c->dsack_end != c->dsack_start;
	u32 max = (room - 4) / 8, n = 0;
	u64 blocks[4][2];

	max = MIN(max, 4u);
	if (dsack && n < max) {
		blocks[n][0] = c->dsack_start;
		blocks[n++][1] = c->dsack_end;
		c->dsack_start = c->dsack_end = 0;
	}
	if (c->ooo_count && n < max)
		n += tcp_ooo_collect(c, blocks + n, max - n);
	for (u32 i = dsack; i < n; i++)		/* a FIN has a number of its own */
		blocks[i][1] += c->fin_early && blocks[i][1] + 1 == c->fin_early;
	if (!n)
		return p;
	*p++ = TCPOPT_NOP;
	*p++ = TCPOPT_NOP;
	*p++ = TCPOPT_SACK;
	*p++ = (u8)(2 + 8 * n);
	for (u32 i = 0; i < n; i++)
		p = put32(put32(p, rcv_wire(c, blocks[i][0])), rcv_wire(c, blocks[i][1]));
	return p;
}

u32 tcp_established_options(struct tcp_conn *c, u8 *p, bool with_sack)
{
	u8 *start = p;

	if (has_ts(c)) {
		*p++ = TCPOPT_NOP;
		*p++ = TCPOPT_NOP;
		*p++ = TCPOPT_TS;
		*p++ = 10;
		p = put32(p, tcp_ts(c->t, c->h->ts_offset));
		p = put32(p, (u32)(load_relaxed(&c->h->ts_recent) >> 32));
	}
	if (with_sack && has_sack(c) && (c->ooo_count || c->dsack_end != c->dsack_start))
		p = sack_blocks(c, p, 40 - (u32)(p - start));
	return (u32)(p - start);
}
