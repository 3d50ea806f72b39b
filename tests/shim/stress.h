/* stress.h – one socket under fire: the arena, the pair and the processes of a scenario.
 *
 *   applications (readers or writers)          stack (one process)
 *     calls_poll.c, calls_epoll.c
 *     stream.c  --- near === far ---             readiness.c
 *           \_______ arena (shared) _______/
 *
 * The referee kills any of them with SIGKILL, starts another in its place, and demands progress before the next. */
#ifndef TESTS_SHIM_STRESS_H
#define TESTS_SHIM_STRESS_H

#include "common/readiness.h"
#include "services/shim/stream.h"

#define APPS_MAX 4
#define RING 65536u
#define SLOT 3u

enum mode { MODE_ET, MODE_LT, MODE_POLL, MODE_ONESHOT, MODE_EXCLUSIVE, MODE_BLOCKING, MODES };
enum { KILL_NONE, KILL_STACK, KILL_APPS, KILL_BOTH };

/* What the writers' bytes should be next; written for a tail before the tail moves there. */
struct expected { u64 at; u8 next[APPS_MAX]; u32 resynced[APPS_MAX]; };

struct board {			/* shared by all processes of a scenario */
	_Atomic u32 corrupt;
	_Atomic u64 done, spurious;
	_Atomic u32 idle;		/* wake-ups of a lone reader that found nothing to read */
	_Atomic u32 restarts[APPS_MAX];
	struct expected expected[2];
};

struct scenario {
	bool tx;
	enum mode mode;
	int apps, kill;
	/* made by scenario_open() */
	struct sockbuf stack;	/* the stack's view: its half writable */
	struct sock *sock;	/* the application's */
	int near, far;
	struct board *board;
};

u32 rnd(u32 n);
void rnd_seed(u32 seed);
u64 now_ns(void);
void stress_point(void);
const char *mode_name(enum mode m);
void stack_rx(struct scenario *s) __attribute__((noreturn));	/* bytes arrive */
void stack_tx(struct scenario *s) __attribute__((noreturn));	/* bytes are acknowledged */
void app_read(struct scenario *s, int who) __attribute__((noreturn));
void app_write(struct scenario *s, int who) __attribute__((noreturn));

#endif
