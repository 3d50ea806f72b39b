/* parse_segment.c – "AP 1+1000 ack 1 win 100 <nop, nop, ts * 7>" and "icmp frag_needed 1200 seq 1".
 *
 * Called by parse.c for the lines with an arrow. */
#include "script.h"

#include <stdio.h>
#include <stdlib.h>
#include <ctype.h>

static const struct { char c; u8 bit; } letters[] = {
	{ 'F', TCP_FIN }, { 'S', TCP_SYN }, { 'R', TCP_RST }, { 'P', TCP_PSH }, { 'A', TCP_ACK }, { 'U', TCP_URG }, { 'E', TCP_ECE }, { 'W', TCP_CWR },
};

/* "-": none at all; p: PSH or not */
static bool take_flags(struct segment *g, const char *word)
{
	if (!strcmp(word, "-"))
		return true;
	for (; *word; word++) {
		u32 i = 0;

		if (*word == 'p') {
			g->psh_any = true;
			continue;
		}
		while (i < ARRAY_SIZE(letters) && letters[i].c != *word)
			i++;
		if (i == ARRAY_SIZE(letters))
			return false;
		g->flags |= letters[i].bit;
	}
	return true;
}

static bool number32(struct words *w, u32 *ret)
{
	s64 n;

	if (!word_number(w, &n))
		return false;
	*ret = (u32)n;
	return true;
}

/* 5, *, $a, $a-5, =a */
static bool take_value(struct words *w, struct value *v)
{
	const char *word;
	s64 n;

	*v = (struct value){ 0 };
	if (word_is(w, "*")) {
		v->how = V_ANY;
		return true;
	}
	if (word_is(w, "=")) {
		word = word_next(w);
		v->how = V_SET;
		v->var = (u8)(word[0] - 'a');
		return islower((u8)word[0]) && !word[1];
	}
	if (w->at < w->n && w->w[w->at][0] == '$') {
		word = word_next(w);
		v->how = V_VAR;
		v->var = (u8)(word[1] - 'a');
		if (!islower((u8)word[1]) || word[2])
			return false;
		if (word_is(w, "+"))
			return number32(w, &v->num);
		if (w->at < w->n && w->w[w->at][0] == '-' && word_number(w, &n))
			v->num = (u32)n;
		return true;
	}
	return number32(w, &v->num);
}

static bool at_end_of_option(struct words *w) { return w->at < w->n && (*w->w[w->at] == ',' || *w->w[w->at] == '>'); }

static bool take_hex(struct opt *o, const char *hex)
{
	for (; hex[0] && hex[1] && o->n < sizeof(o->raw); hex += 2)
		if (sscanf(hex, "%2hhx", &o->raw[o->n++]) != 1)
			return false;
	return !hex[0];
}

static bool take_sack(struct words *w, struct opt *o)
{
	while (!at_end_of_option(w) && o->n < 8) {
		if (!number32(w, &o->val[o->n].num) || !word_is(w, ":") || !number32(w, &o->val[o->n + 1].num))
			return false;
		o->n += 2;
	}
	return at_end_of_option(w) && o->n;
}

static bool take_option(struct words *w, struct segment *g, struct opt *o)
{
	const char *name = word_next(w);
	s64 n;

	if (!strcmp(name, "mss") || !strcmp(name, "wscale")) {
		o->kind = name[0] == 'm' ? TCPOPT_MSS : TCPOPT_WSCALE;
		o->n = 1;
		o->val[0].how = V_ANY;
		return at_end_of_option(w) || take_value(w, &o->val[0]);
	}
	if (!strcmp(name, "nop") || !strcmp(name, "eol")) {
		o->kind = name[0] == 'n' ? TCPOPT_NOP : TCPOPT_EOL;
		g->nops_given |= name[0] == 'n';
		return true;
	}
	if (!strcmp(name, "sackok")) {
		o->kind = TCPOPT_SACK_PERM;
		return true;
	}
	if (!strcmp(name, "sack")) {
		o->kind = TCPOPT_SACK;
		return take_sack(w, o);
	}
	if (!strcmp(name, "ts")) {
		o->kind = TCPOPT_TS;
		o->val[0].how = o->val[1].how = V_ANY;
		for (; o->n < 2 && !at_end_of_option(w); o->n++)
			if (!take_value(w, &o->val[o->n]))
				return false;
		return true;
	}
	if (!strcmp(name, "cookie")) {		/* Fast Open; alone: a request */
		o->kind = TCPOPT_FASTOPEN;
		if (word_is(w, "*"))
			o->val[0].how = V_ANY;
		else if (!at_end_of_option(w))
			return take_hex(o, word_next(w));
		return true;
	}
	if (!strcmp(name, "opt") && word_number(w, &n)) {
		o->kind = (u8)n;
		return at_end_of_option(w) || take_hex(o, word_next(w));
	}
	return false;
}

static bool take_options(struct words *w, struct segment *g)
{
	g->opts_given = true;
	while (!word_is(w, ">")) {
		if (g->nopts == MAX_OPTS || !take_option(w, g, &g->opts[g->nopts++]))
			return false;
		if (!word_is(w, ",") && !(w->at < w->n && *w->w[w->at] == '>'))
			return false;
	}
	return true;
}

static bool take_cmp(struct words *w, u8 *ret)
{
	if (word_is(w, "<"))
		*ret = word_is(w, "=") ? C_LE : C_LT;
	else if (word_is(w, ">"))
		*ret = word_is(w, "=") ? C_GE : C_GT;
	else if (word_is(w, "!"))
		return *ret = C_NE, word_is(w, "=");
	else
		*ret = C_EQ;
	return true;
}

static bool take_extra(struct words *w, struct segment *g, const char *word)
{
	static const char *ecn[] = { "NotECT", "ECT1", "ECT0", "CE" };
	s64 n = 0;

	for (s8 i = 0; i < 4; i++)
		if (!strcmp(word, ecn[i])) {
			g->ecn = i;
			return true;
		}
	if (!strcmp(word, "ack"))
		return g->has_ack = number32(w, &g->ack);
	if (!strcmp(word, "win"))
		return take_cmp(w, &g->win_cmp) && number32(w, &g->win);
	if (!strcmp(word, "urg")) {
		g->has_urg = true;
		if (!word_number(w, &n))
			return false;
		g->urg = (u16)n;
	} else if (!strcmp(word, "ttl")) {
		if (!word_number(w, &n))
			return false;
		g->ttl = (s16)n;
	} else if (!strcmp(word, "reserved")) {
		if (!word_number(w, &n))
			return false;
		g->res = (u8)n;
	} else if (!strcmp(word, "df") || !strcmp(word, "nodf")) {
		g->df = word[0] == 'd';
	} else if (!strcmp(word, "new")) {
		g->new_isn = true;
	} else if (!strcmp(word, "badsum")) {
		g->bad_csum = true;
	} else if (!strcmp(word, "differs")) {
		g->differs = true;
	} else if (!strcmp(word, "<")) {
		return take_options(w, g);
	} else {
		return false;
	}
	return true;
}

static bool take_flow(struct words *w, u8 *ret)
{
	s64 n;

	if (!word_is(w, "@"))
		return true;
	if (!word_number(w, &n) || n < 0 || n >= MAX_FLOWS)
		return false;
	*ret = (u8)n;
	return true;
}

bool parse_segment(struct script *s, struct words *w, struct segment *g, bool inject)
{
	*g = (struct segment){ .count = 1, .ecn = inject ? 0 : -1, .ttl = -1, .df = -1, .flow = 0 };
	if (!take_flow(w, &g->flow) || !take_flags(g, word_next(w)) || !number32(w, &g->seq))
		return false;
	if (word_is(w, "+") && !number32(w, &g->len))
		return false;
	if (word_is(w, "*") && (!number32(w, &g->count) || !g->count))
		return false;
	while (w->at < w->n)
		if (!take_extra(w, g, word_next(w)))
			return false;
	return !inject || g->has_ack || !(g->flags & TCP_ACK);
}

bool parse_icmp(struct words *w, struct icmp_err *e)
{
	static const struct { const char *name; u8 type, code; } names[] = {
		{ "net_unreachable", 3, 0 }, { "host_unreachable", 3, 1 }, { "protocol_unreachable", 3, 2 }, { "port_unreachable", 3, 3 },
		{ "frag_needed", 3, 4 }, { "source_route_failed", 3, 5 }, { "admin_prohibited", 3, 13 }, { "source_quench", 4, 0 },
		{ "time_exceeded", 11, 0 }, { "parameter_problem", 12, 0 },
	};
	const char *name = word_next(w);
	u32 i = 0;

	*e = (struct icmp_err){ 0 };
	while (i < ARRAY_SIZE(names) && strcmp(names[i].name, name))
		i++;
	if (i == ARRAY_SIZE(names))
		return false;
	e->type = names[i].type;
	e->code = names[i].code;
	if (e->type == 3 && e->code == 4 && !number32(w, &e->mtu))
		return false;
	if (word_is(w, "seq") && !(e->has_seq = number32(w, &e->seq)))
		return false;
	return take_flow(w, &e->flow);
}
