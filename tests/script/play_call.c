/* play_call.c – socket calls of a script: made, judged, and those that block waited for. Called by play.c. */
#include "player.h"

#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>

/* ---- is the answer the one expected? ---- */

static void print_answer(const struct call *c, s64 r, char *out, size_t len)
{
	out[0] = 0;
	if (r < 0) {
		snprintf(out, len, "%s", errno_name(r) ? errno_name(r) : strerror((int)-r));
	} else if (c->op == OP_POLL || c->op == OP_EDGE) {
		for (u32 i = 0; ready_names[i].name; i++)
			if (r & ready_names[i].bit)
				snprintf(out + strlen(out), len - strlen(out), "%s%s", out[0] ? "|" : "", ready_names[i].name);
		if (!out[0])
			snprintf(out, len, "none");
	} else {
		snprintf(out, len, "%lld", (long long)r);
	}
}

/* Strata shows no ERR and no PRI, and no HUP on a socket that was never connected: known differences. */
static s64 ready_seen(const struct host *h, s64 r)
{
	return h->where == ON_KERNEL ? r : r & ~(s64)(POLLERR | POLLHUP | POLLPRI);
}

static bool answer_fits(const struct player *p, const struct call *c, const struct answer *a)
{
	if (c->any)
		return true;
	switch (c->op) {
	case OP_POLL:
	case OP_EDGE:
		return a->result >= 0 && ready_seen(p->h, a->result) == ready_seen(p->h, c->result);
	case OP_ACCEPT:
	case OP_SOCKET:
		return c->result < 0 ? a->result == c->result : a->result >= 0;
	case OP_GETSOCKOPT:
		if (c->text[0])
			return a->result >= 0 && !strcmp((const char *)a->data, c->text);
		return a->result == c->result;
	default:
		return a->result == c->result;
	}
}

static bool check_fits(const struct check *k, s64 got)
{
	switch (k->cmp) {
	case C_EQ: return got == k->value;
	case C_NE: return got != k->value;
	case C_LT: return got < k->value;
	case C_GT: return got > k->value;
	case C_LE: return got <= k->value;
	default: return got >= k->value;
	}
}

/* why stays empty, or tells what came instead. */
static void judge(const struct player *p, const struct call *c, const struct answer *a, char *why, size_t len)
{
	why[0] = 0;
	if (!answer_fits(p, c, a)) {
		print_answer(c, a->result, why, len);
		if (c->op == OP_GETSOCKOPT && c->text[0] && a->result >= 0)
			snprintf(why, len, "%.30s", (const char *)a->data);
		return;
	}
	for (u32 i = 0; i < c->nchecks; i++) {
		s64 v = info_value(a->data, c->checks[i].field);

		if (!check_fits(&c->checks[i], v))
			snprintf(why + strlen(why), len - strlen(why), "%s = %lld; ", info_name(c->checks[i].field), (long long)v);
	}
}

static void note_socket(struct player *p, const struct call *c, const struct answer *a)
{
	if (c->ret >= 0)
		p->have[c->ret] = a->result >= 0;
}

/* ---- calls that block ---- */

static void judge_blocked(struct player *p, struct blocked *b)
{
	const struct call *c = &b->e->call;
	u64 lo = b->start + c->lo, hi = b->start + c->hi;
	char why[200], line[150];

	b->checked = true;
	if (!load_acquire(&b->done)) {
		player_fail(p, "it to return, %.6f to %.6f\ncame: it blocks still, at %.6f", player_seconds(p, lo), player_seconds(p, hi),
			    player_seconds(p, p->h->now));
		return;
	}
	snprintf(line, sizeof(line), "%.100s  (has returned)", b->e->text);
	player_trace(p, b->end, line);
	judge(p, c, &b->a, why, sizeof(why));
	if (why[0])
		player_fail(p, "that result\ncame: %s", why);
	else if (b->end + player_slack(p, c->lo / 2) < lo || b->end > hi + player_slack(p, c->hi))
		player_fail(p, "it to return, %.6f to %.6f\ncame: at %.6f", player_seconds(p, lo), player_seconds(p, hi),
			    player_seconds(p, b->end));
	note_socket(p, c, &b->a);
}

void player_returned(struct player *p, bool end)
{
	const struct event *now = p->e;

	for (u32 i = 0; i < p->nblocked && !p->failed; i++) {
		struct blocked *b = &p->blocked[i];

		if (b->checked || (!load_acquire(&b->done) && !end))
			continue;
		p->e = b->e;
		judge_blocked(p, b);
	}
	p->e = now;
}

void player_wait(struct player *p)
{
	u64 until = 0;

	for (;;) {
		until = 0;
		for (u32 i = 0; i < p->nblocked; i++)
			if (!load_acquire(&p->blocked[i].done))
				until = MAX(until, p->blocked[i].start + p->blocked[i].e->call.hi + player_slack(p, p->blocked[i].e->call.hi));
		if (p->h->now >= until)
			return;
		p->h->ops->run_until(p->h, MIN(until, p->h->now + MSEC));
	}
}

static void call_blocking(struct player *p)
{
	struct blocked *b = &p->blocked[p->nblocked];

	if (p->nblocked++ == MAX_BLOCKED) {
		player_fail(p, "no more than %d calls that block", MAX_BLOCKED);
		return;
	}
	*b = (struct blocked){ .e = p->e, .h = p->h, .start = p->h->now };
	p->h->ops->call_blocking(p->h, b);
}

/* ---- calls ---- */

/* Daemons hear of things a moment after they are so: an answer that may still change is asked for again. */
static bool ask_again(const struct player *p, const struct call *c, const struct answer *a, u64 since)
{
	bool asks = c->op == OP_POLL || c->op == OP_INFO || c->op == OP_INQ || c->op == OP_OUTQ ||
		    (c->op == OP_GETSOCKOPT && c->name != SO_ERROR) || (a->result == -EAGAIN && c->result != -EAGAIN);

	return p->h->slack && asks && p->h->now - since < player_slack(p, 0);
}

void player_call(struct player *p)
{
	const struct call *c = &p->e->call;
	struct answer a = { 0 };
	u64 since = p->h->now;
	char why[300];

	player_trace(p, p->h->now, p->e->text);
	if (c->s >= 0 && !p->have[c->s]) {
		player_wait(p);
		player_returned(p, false);
	}
	if (p->failed)
		return;
	if (c->s >= 0 && !p->have[c->s]) {
		player_fail(p, "a socket of this name");
		return;
	}
	if (c->blocks) {
		call_blocking(p);
		return;
	}
	do {
		p->h->ops->call(p->h, c, &a);
		judge(p, c, &a, why, sizeof(why));
		if (!why[0] || !ask_again(p, c, &a, since))
			break;
		p->h->ops->run_until(p->h, p->h->now + MSEC);
	} while (true);
	if (why[0])
		player_fail(p, "that result\ncame: %s", why);
	note_socket(p, c, &a);
}
