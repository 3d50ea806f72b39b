/* timer.h – hierarchical timer wheel, 1 ms ticks, private memory, no allocation after init.
 *
 * Timers are embedded (struct timer) and found again with container_of. All are soft state: a successor arms
 * them anew from deadlines it finds in its region. Units: absolute CLOCK_MONOTONIC nanoseconds.
 * timer_arm() of an armed timer moves it. A callback may arm and cancel any timer. Not thread safe. */
#ifndef STRATA_TIMER_H
#define STRATA_TIMER_H

#include "base.h"

struct timer {
	struct timer *next, **pprev;	/* pprev NULL: not armed */
	u64 deadline;
	void (*fn)(struct timer *t, void *arg, u64 now);
};

#define WHEEL_BITS 8
#define WHEEL_LEVELS 5			/* 2^40 ms: for ever */
struct timer_wheel {
	u64 tick;			/* ticks processed */
	u64 next_hint;			/* lower bound of the earliest deadline in ns; UINT64_MAX: none */
	void *arg;
	u32 armed;
	struct timer *slot[WHEEL_LEVELS][1 << WHEEL_BITS];
	u64 used[WHEEL_LEVELS][(1 << WHEEL_BITS) / 64];	/* which slots hold timers */
};

void timer_wheel_init(struct timer_wheel *w, u64 now, void *arg);
void timer_arm(struct timer_wheel *w, struct timer *t, u64 deadline);
void timer_cancel(struct timer_wheel *w, struct timer *t);
static inline bool timer_armed(const struct timer *t) { return t->pprev != NULL; }
/* Run everything due at `now`; returns how many ran. Never early; at most one tick late. */
u32 timer_wheel_run(struct timer_wheel *w, u64 now);
/* Earliest time timer_wheel_run() may have something to do; UINT64_MAX when nothing is armed. */
u64 timer_wheel_next(const struct timer_wheel *w);

#endif
