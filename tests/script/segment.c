/* segment.c – building a segment from its words, comparing one that came with what was expected, printing it in the same words.
 *
 * Called by play.c. struct wire_state knows where the sequence numbers of each flow begin. */
#include "script.h"
#include "common/csum.h"

#include <stdarg.h>
#include <stdio.h>

/* Just below the wrap: every script passes it. */
#define PEER_ISN 0xfffffc00u

static u16 get16(const u8 *p) { return (u16)(p[0] << 8 | p[1]); }
static u32 get32(const u8 *p) { return (u32)get16(p) << 16 | get16(p + 2); }
static void put16(u8 *p, u32 v) { p[0] = (u8)(v >> 8); p[1] = (u8)v; }
static void put32(u8 *p, u32 v) { put16(p, v >> 16); put16(p + 2, v & 0xffff); }

/* ---- building ---- */

static u32 value_of(const struct wire_state *w, const struct value *v, u32 any)
{
	return v->how == V_NUM ? v->num : v->how == V_VAR ? w->var[v->var] + v->num : any;
}

static u32 build_option(const struct wire_state *w, const struct flow *f, const struct opt *o, u8 *p)
{
	p[0] = o->kind;
	switch (o->kind) {
	case TCPOPT_EOL:
	case TCPOPT_NOP:
		return 1;
	case TCPOPT_MSS:
		p[1] = 4;
		put16(p + 2, value_of(w, &o->val[0], 1460));
		return 4;
	case TCPOPT_WSCALE:
		p[1] = 3;
		p[2] = (u8)value_of(w, &o->val[0], 7);
		return 3;
	case TCPOPT_SACK_PERM:
		p[1] = 2;
		return 2;
	case TCPOPT_TS:
		p[1] = 10;
		put32(p + 2, value_of(w, &o->val[0], 1000));
		put32(p + 6, value_of(w, &o->val[1], f->ts_last));	/* not said: echo the last */
		return 10;
	case TCPOPT_SACK:
		p[1] = (u8)(2 + 4 * o->n);
		for (u32 i = 0; i < o->n; i++)
			put32(p + 2 + 4 * i, f->isn_out + o->val[i].num);
		return p[1];
	case TCPOPT_FASTOPEN:
		if (o->val[0].how == V_ANY) {
			p[1] = (u8)(2 + f->ncookie);
			memcpy(p + 2, f->cookie, f->ncookie);
			return p[1];
		}
		/* fall through */
	default:
		p[1] = (u8)(2 + o->n);
		memcpy(p + 2, o->raw, o->n);
		return p[1];
	}
}

static void finish(struct pkt *p, bool bad)
{
	struct tcp_hdr *h = (struct tcp_hdr *)p->tcp;

	h->check = 0;
	h->check = csum_fold(csum_partial(p->tcp, p->len, csum_pseudo(p->saddr, p->daddr, 6, p->len)));
	if (bad)
		h->check ^= 0x5555;
}

void segment_build(struct wire_state *w, const struct segment *g, u32 k, const struct host *h, struct pkt *ret)
{
	struct flow *f = &w->flow[g->flow];
	struct tcp_hdr *t = (struct tcp_hdr *)ret->tcp;
	u32 hl = sizeof(*t), seq = g->seq + k * g->len, first = g->flags & TCP_SYN ? seq + 1 : seq;

	*ret = (struct pkt){ .saddr = h->peer, .daddr = h->local, .ttl = g->ttl < 0 ? 64 : (u8)g->ttl, .tos = g->ecn < 0 ? 0 : (u8)g->ecn };
	if (g->flags & TCP_SYN && (!f->isn_in || g->new_isn)) {
		f->isn_in = g->new_isn ? f->isn_in + 0x01000000 : PEER_ISN;
		f->has_edge = false;
		f->scaled_in = false;
	}
	if (!f->isn_in)
		f->isn_in = PEER_ISN;
	if (g->win_cmp)
		f->win_last = g->win;
	for (u32 i = 0; i < g->nopts; i++) {
		if (g->opts[i].kind == TCPOPT_WSCALE && g->flags & TCP_SYN)
			f->scaled_in = true;
		hl += build_option(w, f, &g->opts[i], ret->tcp + hl);
	}
	while (hl % 4)
		ret->tcp[hl++] = TCPOPT_EOL;
	*t = (struct tcp_hdr){ .source = to_be16((u16)(PEER_PORT + g->flow)), .dest = to_be16(f->lport ? f->lport : h->port),
			       .seq = to_be32(f->isn_in + seq), .doff_res = (u8)(hl / 4 << 4 | (g->res & 15)), .flags = g->flags,
			       .window = to_be16((u16)(f->win_last)), .urg_ptr = to_be16(g->urg) };
	if (g->has_ack)
		t->ack_seq = to_be32(f->isn_out + g->ack);
	for (u32 i = 0; i < g->len; i++)
		ret->tcp[hl + i] = stream_byte(first + i) ^ (g->differs ? 0x5a : 0);
	ret->len = hl + g->len;
	finish(ret, g->bad_csum);
}

/* ---- what came ---- */

int segment_flow(const struct wire_state *w, const struct pkt *p)
{
	u32 port = from_be16(((const struct tcp_hdr *)p->tcp)->dest);

	return port >= PEER_PORT && port < PEER_PORT + MAX_FLOWS ? (int)(port - PEER_PORT) : -1;
}

static void __attribute__((format(printf, 3, 4))) say(char *out, size_t len, const char *fmt, ...)
{
	size_t n = strlen(out);
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(out + n, len - n, fmt, ap);
	va_end(ap);
}

/* The next option at *at; NULL at the end. */
static const u8 *option_next(const struct pkt *p, u32 *at)
{
	u32 hl = (u32)(p->tcp[12] >> 4) * 4, i = *at;

	if (i >= hl)
		return NULL;
	*at += p->tcp[i] <= TCPOPT_NOP ? 1 : i + 1 < hl && p->tcp[i + 1] >= 2 ? p->tcp[i + 1] : hl;
	return p->tcp + i;
}

static const u8 *option_find(const struct pkt *p, u8 kind)
{
	const u8 *o;

	for (u32 at = 20; (o = option_next(p, &at));)
		if (o[0] == kind)
			return o;
	return NULL;
}

/* What the flow learns from any packet of the host's, expected or not; and what must hold for each. */
void segment_note(struct wire_state *w, const struct pkt *p, char *why, size_t len)
{
	const struct tcp_hdr *t = (const struct tcp_hdr *)p->tcp;
	int i = segment_flow(w, p);
	struct flow *f = i < 0 ? NULL : &w->flow[i];
	const u8 *o;
	u32 edge, scale;

	if (csum_fold(csum_partial(p->tcp, p->len, csum_pseudo(p->saddr, p->daddr, 6, p->len))))
		say(why, len, "its checksum is wrong; ");
	if (!f) {
		say(why, len, "it goes to port %u, which is nobody's; ", from_be16(t->dest));
		return;
	}
	f->lport = from_be16(t->source);
	if ((o = option_find(p, TCPOPT_TS)))
		f->ts_last = get32(o + 2);
	if ((o = option_find(p, TCPOPT_FASTOPEN)) && o[1] > 2 && o[1] <= 2 + sizeof(f->cookie)) {
		f->ncookie = (u8)(o[1] - 2);
		memcpy(f->cookie, o + 2, f->ncookie);
	}
	f->last = *p;
	f->has_last = true;
	f->last_seq = from_be32(t->seq);
	if (t->flags & TCP_RST)
		return;
	if (t->flags & TCP_SYN) {
		f->wscale_out = (o = option_find(p, TCPOPT_WSCALE)) ? o[2] : 0;
		f->scaled_out = o;
		f->has_edge = false;
		return;
	}
	scale = f->scaled_in && f->scaled_out ? f->wscale_out : 0;
	edge = from_be32(t->ack_seq) + ((u32)from_be16(t->window) << scale);
	if (f->has_edge && (s32)(edge - f->edge) <= -(1 << scale))	/* RFC 7323 2.4: rounding is no shrinking */
		say(why, len, "the window shrinks by %u: its right edge was promised; ", f->edge - edge);
	if (!f->has_edge || (s32)(edge - f->edge) > 0)
		f->edge = edge;
	f->has_edge = true;
}

/* ---- comparing ---- */

static bool value_fits(struct wire_state *w, const struct value *v, u32 got)
{
	if (v->how == V_SET)
		w->var[v->var] = got;
	return v->how == V_ANY || v->how == V_SET || got == value_of(w, v, 0);
}

static bool option_fits(struct wire_state *w, const struct flow *f, const struct opt *o, const u8 *p)
{
	if (o->kind != p[0])
		return false;
	switch (o->kind) {
	case TCPOPT_MSS: return p[1] == 4 && value_fits(w, &o->val[0], get16(p + 2));
	case TCPOPT_WSCALE: return p[1] == 3 && value_fits(w, &o->val[0], p[2]);
	case TCPOPT_TS: return p[1] == 10 && value_fits(w, &o->val[0], get32(p + 2)) && value_fits(w, &o->val[1], get32(p + 6));
	case TCPOPT_SACK:
		if (p[1] != 2 + 4 * o->n)
			return false;
		for (u32 i = 0; i < o->n; i++)
			if (get32(p + 2 + 4 * i) != f->isn_in + o->val[i].num)
				return false;
		return true;
	case TCPOPT_FASTOPEN:
		return o->val[0].how == V_ANY ? p[1] > 2 : p[1] == 2 + o->n && !memcmp(p + 2, o->raw, o->n);
	}
	return true;
}

/* Options in their order; NOPs count only where the script names one. */
static bool options_fit(struct wire_state *w, const struct flow *f, const struct segment *g, const struct pkt *p)
{
	const u8 *o;
	u32 n = 0;

	for (u32 at = 20; (o = option_next(p, &at));) {
		if (o[0] == TCPOPT_EOL)
			break;
		if (o[0] == TCPOPT_NOP && !g->nops_given)
			continue;
		if (n == g->nopts || !option_fits(w, f, &g->opts[n++], o))
			return false;
	}
	return n == g->nopts;
}

static bool cmp_fits(u8 cmp, s64 got, s64 want)
{
	switch (cmp) {
	case C_EQ: return got == want;
	case C_NE: return got != want;
	case C_LT: return got < want;
	case C_GT: return got > want;
	case C_LE: return got <= want;
	case C_GE: return got >= want;
	}
	return true;
}

static void compare_payload(const struct segment *g, u32 seq, const u8 *p, char *why, size_t len)
{
	for (u32 i = 0; i < g->len; i++)
		if (p[i] != stream_byte(seq + i)) {
			say(why, len, "byte %u of the stream is wrong; ", seq + i);
			return;
		}
}

static void compare_ip(const struct segment *g, const struct pkt *p, char *why, size_t len)
{
	if (g->ecn >= 0 && (p->tos & 3) != g->ecn)
		say(why, len, "the ECN bits are %u; ", p->tos & 3);
	if (g->ttl >= 0 && p->ttl != g->ttl)
		say(why, len, "the TTL is %u; ", p->ttl);
	if (g->df >= 0 && p->df != g->df)
		say(why, len, "DF is %s; ", p->df ? "set" : "not set");
}

void segment_compare(struct wire_state *w, const struct segment *g, u32 k, const struct pkt *p, char *why, size_t len)
{
	const struct tcp_hdr *t = (const struct tcp_hdr *)p->tcp;
	struct flow *f = &w->flow[g->flow];
	u32 hl = (u32)(t->doff_res >> 4) * 4, seq, want = g->seq + k * g->len;
	u8 mask = g->psh_any ? (u8)~TCP_PSH : 0xff;

	if (segment_flow(w, p) != g->flow) {
		say(why, len, "it belongs to flow %d; ", segment_flow(w, p));
		return;
	}
	if (t->flags & TCP_SYN && (!f->out_known || g->new_isn)) {
		f->isn_out = from_be32(t->seq);
		f->out_known = true;
	}
	seq = from_be32(t->seq) - f->isn_out;
	if ((t->flags & mask) != (g->flags & mask))
		say(why, len, "the flags differ; ");
	if (f->out_known && seq != want)
		say(why, len, "seq is %d, not %d; ", (s32)seq, (s32)want);
	if (!f->out_known && from_be32(t->seq) != want)		/* a reset of something that never was */
		say(why, len, "seq is %u, not %u; ", from_be32(t->seq), want);
	if (p->len - hl != g->len)
		say(why, len, "%u bytes of payload, not %u; ", p->len - hl, g->len);
	else
		compare_payload(g, t->flags & TCP_SYN ? seq + 1 : seq, p->tcp + hl, why, len);
	if (g->has_ack && from_be32(t->ack_seq) - f->isn_in != g->ack)
		say(why, len, "ack is %d, not %d; ", (s32)(from_be32(t->ack_seq) - f->isn_in), (s32)g->ack);
	if (!cmp_fits(g->win_cmp, from_be16(t->window), g->win))
		say(why, len, "the window is %u; ", from_be16(t->window));
	if (g->has_urg && from_be16(t->urg_ptr) != g->urg)
		say(why, len, "the urgent pointer is %u; ", from_be16(t->urg_ptr));
	if (g->opts_given ? !options_fit(w, f, g, p) : option_find(p, TCPOPT_SACK) != NULL)
		say(why, len, "the options differ; ");
	compare_ip(g, p, why, len);
}

/* ---- printing ---- */

static void print_options(const struct pkt *p, u32 isn_sack, char *out, size_t len)
{
	const u8 *o;
	const char *sep = " <";

	for (u32 at = 20; (o = option_next(p, &at)) && o[0] != TCPOPT_EOL; sep = ", ") {
		say(out, len, "%s", sep);
		switch (o[0]) {
		case TCPOPT_NOP: say(out, len, "nop"); break;
		case TCPOPT_MSS: say(out, len, "mss %u", get16(o + 2)); break;
		case TCPOPT_WSCALE: say(out, len, "wscale %u", o[2]); break;
		case TCPOPT_SACK_PERM: say(out, len, "sackok"); break;
		case TCPOPT_TS: say(out, len, "ts %u %u", get32(o + 2), get32(o + 6)); break;
		case TCPOPT_SACK:
			say(out, len, "sack");
			for (u32 i = 2; i + 8 <= o[1]; i += 8)
				say(out, len, " %d:%d", (s32)(get32(o + i) - isn_sack), (s32)(get32(o + i + 4) - isn_sack));
			break;
		default:
			say(out, len, "opt %u ", o[0]);
			for (u32 i = 2; i < o[1]; i++)
				say(out, len, "%02x", o[i]);
		}
	}
	if (sep[0] == ',')
		say(out, len, ">");
}

void segment_print(const struct wire_state *w, const struct pkt *p, bool from_host, char *out, size_t len)
{
	static const char *ecn[] = { "", " ECT1", " ECT0", " CE" };
	const struct tcp_hdr *t = (const struct tcp_hdr *)p->tcp;
	u32 port = from_be16(from_host ? t->dest : t->source) - PEER_PORT, hl = (u32)(t->doff_res >> 4) * 4;
	const struct flow *f = &w->flow[port < MAX_FLOWS ? port : 0];
	u32 isn = from_host ? f->isn_out : f->isn_in, other = from_host ? f->isn_in : f->isn_out;

	out[0] = 0;
	say(out, len, "%c ", from_host ? '>' : '<');
	if (port)
		say(out, len, "@%u ", port);
	for (u32 i = 0; i < 8; i++)
		if (t->flags & 1u << i)
			say(out, len, "%c", "FSRPAUEW"[i]);
	say(out, len, "%s %d", t->flags ? "" : "-", (s32)(from_be32(t->seq) - isn));
	if (p->len > hl)
		say(out, len, "+%u", p->len - hl);
	if (t->flags & TCP_ACK)
		say(out, len, " ack %d", (s32)(from_be32(t->ack_seq) - other));
	say(out, len, " win %u%s", from_be16(t->window), ecn[p->tos & 3]);
	if (from_be16(t->urg_ptr))
		say(out, len, " urg %u", from_be16(t->urg_ptr));
	print_options(p, other, out, len);
}
