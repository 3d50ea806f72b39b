/* play.c – carrying out a script on a host, event by event, and the report of the first thing that is not as it says.
 *
 * A time counts from when the event before happened, not from when it should have: lateness does not add up. An arrow out
 * takes the next packet, whatever it is; so a packet that no line expects is found by the line after it, or by the end. */
#include "player.h"

#include <stdarg.h>
#include <stdio.h>

#define SETTLE (10 * MSEC)	/* after the last event nothing may come for so long */

/* ---- the report ---- */

static void __attribute__((format(printf, 2, 3))) add(struct player *p, const char *fmt, ...)
{
	size_t n = strlen(p->out);
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(p->out + n, p->len - n, fmt, ap);
	va_end(ap);
}

void player_fail(struct player *p, const char *fmt, ...)
{
	size_t n;
	va_list ap;

	if (p->failed)
		return;
	p->failed = true;
	add(p, "%s:%u: %s\nexpected: ", p->e->file, p->e->line, p->e->text);
	n = strlen(p->out);
	va_start(ap, fmt);
	vsnprintf(p->out + n, p->len - n, fmt, ap);
	va_end(ap);
	add(p, "\nwhat happened, seconds from the start:\n");
	for (u32 i = p->ntrace > TRACE ? p->ntrace - TRACE : 0; i < p->ntrace; i++)
		add(p, "  %s\n", p->trace[i % TRACE]);
}

double player_seconds(const struct player *p, u64 t) { return ((double)t - (double)p->start) / 1e9; }

void player_trace(struct player *p, u64 at, const char *what)
{
	snprintf(p->trace[p->ntrace++ % TRACE], sizeof(p->trace[0]), "%9.6f %.180s", player_seconds(p, at), what);
}

/* How far from its time something may happen that was to happen after t. The kernel's timers are late by up to
 * an eighth, and what follows then seems early. */
u64 player_slack(const struct player *p, u64 t)
{
	return p->s->tolerance + p->h->slack + (p->h->where == ON_KERNEL ? t / 8 : 0);
}

/* ---- packets ---- */

static bool waiting(const struct host *h) { return h->qhead != h->qtail; }
static u64 at_least(const struct player *p) { return (p->e->absolute ? p->start : p->last) + p->e->lo; }
static u64 at_most(const struct player *p) { return (p->e->absolute ? p->start : p->last) + p->e->hi; }

/* The next packet out of the queue; what it looks like in the script's words goes to text. */
static const struct pkt *take(struct player *p, char *text, size_t len)
{
	const struct pkt *k = &p->h->q[p->h->qhead++ % QUEUE];
	struct wire_state seen;
	char why[300] = "", unused[600] = "";

	segment_note(&p->wire, k, why, sizeof(why));
	seen = p->wire;
	if (p->e->kind == EV_EXPECT || p->e->kind == EV_MAYBE)	/* the first SYN says where numbers begin */
		segment_compare(&seen, &p->e->seg, 0, k, unused, sizeof(unused));
	segment_print(&seen, k, true, text, len);
	player_trace(p, k->at, text);
	if (why[0])
		player_fail(p, "a proper segment\ncame: %s\nbut: %s", text, why);
	return k;
}

static void nothing_came(struct player *p)
{
	char text[300];
	const struct pkt *k;

	if (!waiting(p->h))
		return;
	k = take(p, text, sizeof(text));
	player_fail(p, "nothing sent before this\ncame: %s at %.6f", text, player_seconds(p, k->at));
}

/* The k'th of the segments that the line expects; when it came. */
static u64 expect_one(struct player *p, u32 k)
{
	u64 early = player_slack(p, p->e->lo / 2), late = player_slack(p, p->e->hi), lo = at_least(p), hi = at_most(p);
	char why[600] = "", text[300];
	const struct pkt *got;

	p->h->ops->run_to_packet(p->h, hi + late);
	if (!waiting(p->h)) {
		player_fail(p, "this, %.6f to %.6f\ncame: nothing until %.6f", player_seconds(p, lo), player_seconds(p, hi),
			    player_seconds(p, p->h->now));
		return p->last;
	}
	got = take(p, text, sizeof(text));
	segment_compare(&p->wire, &p->e->seg, k, got, why, sizeof(why));
	if (got->at + early < lo || got->at > hi + late)
		snprintf(why + strlen(why), sizeof(why) - strlen(why), "the time is not between %.6f and %.6f; ",
			 player_seconds(p, lo), player_seconds(p, hi));
	if (why[0])
		player_fail(p, "this%s\ncame: %s at %.6f\nbut: %s", p->e->seg.count > 1 ? ", several times" : "", text,
			    player_seconds(p, got->at), why);
	return got->at;
}

static void expect(struct player *p)
{
	u64 at = p->last;

	for (u32 k = 0; k < p->e->seg.count && !p->failed; k++)
		at = MAX(at, expect_one(p, k));
	p->last = at;
}

/* A packet that may come or not: taken if it is the next one. */
static void maybe(struct player *p)
{
	char why[600] = "", text[300];
	struct wire_state copy = p->wire;

	p->h->ops->run_to_packet(p->h, at_most(p) + player_slack(p, p->e->hi));
	if (!waiting(p->h))
		return;
	segment_compare(&copy, &p->e->seg, 0, &p->h->q[p->h->qhead % QUEUE], why, sizeof(why));
	if (!why[0])
		p->last = MAX(p->last, take(p, text, sizeof(text))->at);
}

static void inject(struct player *p)
{
	char text[300];
	struct pkt k;

	for (u32 i = 0; i < p->e->seg.count; i++) {
		segment_build(&p->wire, &p->e->seg, i, p->h, &k);
		segment_print(&p->wire, &k, false, text, sizeof(text));
		player_trace(p, p->h->now, text);
		p->h->ops->inject(p->h, &k);
	}
}

static void inject_icmp(struct player *p)
{
	const struct icmp_err *e = &p->e->icmp;
	const struct flow *f = &p->wire.flow[e->flow];
	struct pkt quoted = f->last;

	if (!f->has_last) {
		player_fail(p, "something to quote: nothing was sent on this flow");
		return;
	}
	if (e->has_seq)
		((struct tcp_hdr *)quoted.tcp)->seq = to_be32(f->isn_out + e->seq);
	player_trace(p, p->h->now, p->e->text);
	p->h->ops->icmp(p->h, e, &quoted);
}

/* ---- the whole ---- */

static void one(struct player *p)
{
	u64 at = at_least(p);

	if (p->e->kind == EV_EXPECT) {
		expect(p);
		return;
	}
	if (p->e->kind == EV_MAYBE) {
		maybe(p);
		return;
	}
	p->h->ops->run_until(p->h, at);
	if (at > p->last)
		nothing_came(p);
	p->last = MAX(p->last, p->h->now);
	switch (p->e->kind) {
	case EV_INJECT: inject(p); break;
	case EV_ICMP: inject_icmp(p); break;
	case EV_CALL: player_call(p); break;
	default: break;
	}
}

static void begin(struct player *p)
{
	struct host *h = p->h;

	for (u32 i = 0; i < MAX_FLOWS; i++)
		p->wire.flow[i].win_last = 65535;
	for (u32 i = 0; i < MAX_SOCKS; i++)
		h->tx_off[i] = h->rx_off[i] = 1;
	h->qhead = h->qtail = 0;
	h->late = 0;
	p->out[0] = 0;
}

int play(const struct script *s, struct host *h, char *out, size_t len)
{
	static const struct event end = { .file = "", .text = "(the end)", .kind = EV_QUIET };
	struct player *p = &(struct player){ .s = s, .h = h, .out = out, .len = len };
	int r;

	begin(p);
	r = h->ops->start(h, s);
	if (r) {
		snprintf(out, len, "the host does not start: %s\n", strerror(-r));
		return r;
	}
	p->start = p->last = h->now;
	for (u32 i = 0; i < s->nevents && !p->failed; i++) {
		p->e = &s->event[i];
		one(p);
		player_returned(p, false);
	}
	if (!p->failed) {
		player_wait(p);
		player_returned(p, true);
		p->e = &end;
		h->ops->run_until(h, h->now + SETTLE);
		nothing_came(p);
	}
	h->ops->stop(h);
	return p->failed ? -EPROTO : 0;
}
