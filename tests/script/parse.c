/* parse.c – a script's lines into events: words, times, settings. Segments and calls have files of their own.
 *
 * Called by main.c through script_read(). README.md is the language. */
#include "script.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- words ---- */

static bool in_word(const char *p) { return isalnum((u8)*p) || strchr("_.~$", *p); }

static bool words_split(struct words *w, const char *line)
{
	char *out = w->store = malloc(strlen(line) * 2 + 2);

	if (!out)
		return false;
	for (const char *p = line; *p && *p != '#' && w->n < ARRAY_SIZE(w->w);) {
		if (isspace((u8)*p)) {
			p++;
			continue;
		}
		w->w[w->n++] = out;
		if (in_word(p) || (*p == '-' && isdigit((u8)p[1]))) {
			*out++ = *p++;
			while (*p && in_word(p))
				*out++ = *p++;
		} else {
			*out++ = *p++;
		}
		*out++ = 0;
	}
	return true;
}

const char *word_next(struct words *w) { return w->at < w->n ? w->w[w->at++] : ""; }

bool word_is(struct words *w, const char *what)
{
	if (w->at >= w->n || strcmp(w->w[w->at], what))
		return false;
	w->at++;
	return true;
}

bool word_number(struct words *w, s64 *ret)
{
	char *end;

	if (w->at >= w->n || !w->w[w->at][0])
		return false;
	*ret = strtoll(w->w[w->at], &end, 0);
	if (*end)
		return false;
	w->at++;
	return true;
}

/* ---- times: ".2", ".15~.25" ---- */

static const char *seconds(const char *p, u64 *ret)
{
	char *end;
	double s = strtod(p, &end);

	if (end == p || s < 0)
		return NULL;
	*ret = (u64)(s * 1e9 + 0.5);
	return end;
}

bool parse_time(const char *p, u64 *lo, u64 *hi)
{
	p = seconds(p, lo);
	if (!p)
		return false;
	*hi = *lo;
	if (*p == '~')
		p = seconds(p + 1, hi);
	return p && !*p && *hi >= *lo;
}

static const char *take_time(struct event *e, const char *p)
{
	char word[64];
	size_t n = strcspn(p, " \t");

	if (*p != '+' && *p != '@')
		return p;
	if (n >= sizeof(word))
		return NULL;
	memcpy(word, p, n);
	word[n] = 0;
	e->absolute = *p == '@';
	return parse_time(word + 1, &e->lo, &e->hi) ? p + n + strspn(p + n, " \t") : NULL;
}

/* ---- settings ---- */

static bool take_run(struct script *s, struct words *w)
{
	s->where = 0;
	while (w->at < w->n) {
		if (word_is(w, "virtual"))
			s->where |= ON_VIRTUAL;
		else if (word_is(w, "kernel"))
			s->where |= ON_KERNEL;
		else if (word_is(w, "strata"))
			s->where |= ON_STRATA;
		else
			return false;
	}
	return s->where;
}

/* What the kernel must be told to behave as the script says: "sysctl tcp_rfc1337 1". */
static bool take_sysctl(struct script *s, struct words *w)
{
	if (s->nsysctls == ARRAY_SIZE(s->sysctl) || w->n - w->at != 2)
		return false;
	snprintf(s->sysctl[s->nsysctls][0], sizeof(s->sysctl[0][0]), "%s", word_next(w));
	snprintf(s->sysctl[s->nsysctls++][1], sizeof(s->sysctl[0][0]), "%s", word_next(w));
	return true;
}

static bool take_set(struct script *s, struct words *w)
{
	const char *name = word_next(w), *value = w->at < w->n ? w->w[w->at] : "";
	bool off = !strcmp(value, "off");
	u64 hi;
	s64 n = 0;

	if (!strcmp(name, "congestion")) {
		snprintf(s->congestion, sizeof(s->congestion), "%s", word_next(w));
		return w->at == w->n;
	}
	if (!strcmp(name, "tolerance"))
		return parse_time(word_next(w), &s->tolerance, &hi);
	if (off) {
		w->at++;
		if (!strcmp(name, "sack"))
			s->no_sack = true;
		else if (!strcmp(name, "timestamps"))
			s->no_timestamps = true;
		else if (!strcmp(name, "window_scaling"))
			s->no_window_scaling = true;
		else
			return false;
		return true;
	}
	if (!word_number(w, &n) || n < 0)
		return false;
	if (!strcmp(name, "rcvbuf"))
		s->rcvbuf = (u32)n;
	else if (!strcmp(name, "sndbuf"))
		s->sndbuf = (u32)n;
	else if (!strcmp(name, "ecn"))
		s->ecn = (u8)n;
	else if (!strcmp(name, "fastopen"))
		s->fastopen = (u8)n;
	else if (!strcmp(name, "syncookies"))
		s->syncookies = (u8)n;
	else if (!strcmp(name, "mtu"))
		s->mtu = (u32)n;
	else
		return false;
	return w->at == w->n;
}

/* ---- lines ---- */

static bool take_event(struct script *s, struct event *e, struct words *w)
{
	if (word_is(w, "quiet")) {
		e->kind = EV_QUIET;
	} else if (word_is(w, "<")) {
		if (word_is(w, "icmp")) {
			e->kind = EV_ICMP;
			return parse_icmp(w, &e->icmp) && w->at == w->n;
		}
		e->kind = EV_INJECT;
		return parse_segment(s, w, &e->seg, true) && w->at == w->n;
	} else if (word_is(w, ">")) {
		e->kind = EV_EXPECT;
		return parse_segment(s, w, &e->seg, false) && w->at == w->n;
	} else if (word_is(w, "maybe")) {
		e->kind = EV_MAYBE;
		return word_is(w, ">") && parse_segment(s, w, &e->seg, false) && w->at == w->n;
	} else {
		e->kind = EV_CALL;
		return parse_call(s, w, &e->call) && w->at == w->n;
	}
	return w->at == w->n;
}

static bool take_file(struct script *s, const char *file, u32 depth);

/* "begin accepted": tests/script/begin/accepted, how many scripts begin. */
static const char *begin_file(struct script *s, const char *name)
{
	const char *root = strstr(s->file, "script/tcp/");
	int n = root ? (int)(root - s->file) + 7 : 0;

	if (s->nbegins == ARRAY_SIZE(s->begin))
		return "";
	snprintf(s->begin[s->nbegins], sizeof(s->begin[0]), "%.*sbegin/%s", n, s->file, name);
	return s->begin[s->nbegins++];
}

static bool take_line(struct script *s, const char *file, char *line, u32 number, u32 depth)
{
	struct event *e = &s->event[s->nevents];
	struct words w = { 0 };
	const char *p;
	bool good = true;

	*e = (struct event){ .file = file, .line = number, .text = line + strspn(line, " \t") };
	p = take_time(e, e->text);
	if (!p)
		snprintf(s->error, sizeof(s->error), "%s:%u: cannot read the time: %s", file, number, line);
	if (!p || !words_split(&w, p))
		return false;
	if (w.n) {
		if (word_is(&w, "run"))
			good = take_run(s, &w);
		else if (word_is(&w, "set"))
			good = take_set(s, &w);
		else if (word_is(&w, "sysctl"))
			good = take_sysctl(s, &w);
		else if (word_is(&w, "begin"))
			good = take_file(s, begin_file(s, word_next(&w)), depth + 1);
		else if (s->nevents == MAX_EVENTS - 1)
			good = false;
		else if ((good = take_event(s, e, &w)))
			s->nevents++;
	}
	if (!good && !s->error[0])
		snprintf(s->error, sizeof(s->error), "%s:%u: cannot read this, at \"%s\": %s", file, number,
			 w.at < w.n ? w.w[w.at] : "its end", line);
	free(w.store);
	return good;
}

static char *slurp(struct script *s, const char *file)
{
	FILE *f = fopen(file, "r");
	size_t n = 0, size = 1 << 16;
	char *text = f && s->ntexts < ARRAY_SIZE(s->texts) ? calloc(1, size) : NULL;

	if (text) {
		n = fread(text, 1, size - 1, f);
		text[n] = 0;
		s->texts[s->ntexts++] = text;
	}
	if (f)
		fclose(f);
	return text;
}

static bool take_file(struct script *s, const char *file, u32 depth)
{
	char *line = depth > 2 ? NULL : slurp(s, file), *next;
	u32 number = 0;

	if (!line)
		snprintf(s->error, sizeof(s->error), "%s: cannot be opened", file);
	for (; line; line = next) {
		next = strchr(line, '\n');
		if (next)
			*next++ = 0;
		if (!take_line(s, file, line, ++number, depth))
			return false;
	}
	return !s->error[0];
}

int script_read(struct script *s, const char *file)
{
	*s = (struct script){ .file = file, .where = ON_ALL, .tolerance = 4 * MSEC, .ecn = 2, .syncookies = 1, .fastopen = 1 };
	return take_file(s, file, 0) ? 0 : -EINVAL;
}

void script_free(struct script *s)
{
	for (u32 i = 0; i < s->ntexts; i++)
		free(s->texts[i]);
	s->ntexts = 0;
}
