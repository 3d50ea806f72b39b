/* apps.h – which arenas are one application's, for sockd and tcpd: asking costs its arenas, not everybody's.
 *
 * An application is named by a number that contains the number of its first arena (sock_arena.app): chains begin there.
 * Two may begin in one place when an arena was lost, so whoever walks a chain compares `app`. Soft. */
#ifndef STRATA_SOCK_APPS_H
#define STRATA_SOCK_APPS_H

#include "proto/shm/arena.h"

struct apps { u16 first[ARENA_MAX], next[ARENA_MAX]; };	/* arena + 1; 0: none. Zeroed: empty */
static_assert(ARENA_MAX < 65535, "u16");

/* ARENA_MAX: that was the last. */
static inline u32 apps_first(const struct apps *a, u32 app) { return MIN(a->first[app % ARENA_MAX] - 1u, ARENA_MAX); }
static inline u32 apps_next(const struct apps *a, u32 id) { return MIN(a->next[id] - 1u, ARENA_MAX); }

static inline void apps_add(struct apps *a, u32 app, u32 id)
{
	a->next[id] = a->first[app % ARENA_MAX];
	a->first[app % ARENA_MAX] = (u16)(id + 1);
}

static inline void apps_remove(struct apps *a, u32 app, u32 id)
{
	u16 *p = &a->first[app % ARENA_MAX];

	while (*p && *p != id + 1)
		p = &a->next[*p - 1];
	if (*p)
		*p = a->next[id];
}

#endif
