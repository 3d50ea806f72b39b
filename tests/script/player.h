/* player.h – one script being played: what play.c (packets) and play_call.c (socket calls) share. */
#ifndef STRATA_SCRIPT_PLAYER_H
#define STRATA_SCRIPT_PLAYER_H

#include "script.h"

#define TRACE 20
#define MAX_BLOCKED 8

struct player {
	const struct script *s;
	struct host *h;
	struct wire_state wire;
	const struct event *e;		/* now */
	u64 start, last;		/* last: when the event before happened */
	bool have[MAX_SOCKS];
	struct blocked blocked[MAX_BLOCKED];
	u32 nblocked, ntrace;
	char trace[TRACE][200];
	char *out;
	size_t len;
	bool failed;
};

void player_fail(struct player *p, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void player_trace(struct player *p, u64 at, const char *what);
double player_seconds(const struct player *p, u64 t);
u64 player_slack(const struct player *p, u64 t);
void player_call(struct player *p);
void player_wait(struct player *p);			/* for calls that block, as long as they may */
void player_returned(struct player *p, bool end);	/* judge those that have; at the end all must have */

#endif
