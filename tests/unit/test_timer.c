/* test_timer.c – common/timer.h: never early, at most a tick late, whatever the callbacks do. */
#include "common/timer.h"
#include "unit.h"

#include <stdlib.h>

#define MS NSEC_PER_MSEC

static struct timer_wheel w;
static u64 start = 123456789ull * MS + 777;	/* a machine that has been up for a day and a half */

struct probe { struct timer t; u64 ran_at; u32 runs; };

static void note(struct timer *t, void *arg, u64 now)
{
	struct probe *p = container_of(t, struct probe, t);

	p->ran_at = now;
	p->runs++;
	(void)arg;
}

static void runs_once_when_due(void)
{
	struct probe p = { .t.fn = note };

	timer_wheel_init(&w, start, NULL);
	CHECK_EQ(timer_wheel_next(&w), UINT64_MAX);
	CHECK_EQ(timer_wheel_run(&w, start + 1000 * MS), 0);
	timer_arm(&w, &p.t, start + 1500 * MS);
	CHECK(timer_armed(&p.t));
	CHECK(timer_wheel_next(&w) <= start + 1501 * MS);
	CHECK_EQ(timer_wheel_run(&w, start + 1500 * MS - 1), 0);
	CHECK_EQ(timer_wheel_run(&w, start + 1501 * MS), 1);
	CHECK(!timer_armed(&p.t));
	CHECK_EQ(timer_wheel_run(&w, start + 9000 * MS), 0);
	CHECK_EQ(p.runs, 1);
	CHECK_EQ(w.armed, 0);
	CHECK_EQ(timer_wheel_next(&w), UINT64_MAX);
}

static void cancel_and_move(void)
{
	struct probe a = { .t.fn = note }, b = { .t.fn = note };

	timer_wheel_init(&w, start, NULL);
	timer_arm(&w, &a.t, start + 10 * MS);
	timer_arm(&w, &b.t, start + 10 * MS);
	timer_cancel(&w, &a.t);
	timer_cancel(&w, &a.t);		/* of an unarmed timer: nothing */
	timer_arm(&w, &b.t, start + 5000 * MS);
	CHECK_EQ(timer_wheel_run(&w, start + 4999 * MS), 0);
	timer_arm(&w, &b.t, start + 100 * MS);	/* the past: with the next tick */
	CHECK_EQ(timer_wheel_run(&w, start + 5001 * MS), 1);
	CHECK_EQ(a.runs, 0);
	CHECK_EQ(b.runs, 1);
	CHECK_EQ(w.armed, 0);
}

/* One timer for each distance from 1 ms to beyond the wheel's reach; the wheel is run when it asks to be. */
static void any_distance(void)
{
	enum { N = 140 };
	static struct probe p[N];
	u64 due[N], now = start;

	memset(p, 0, sizeof(p));
	timer_wheel_init(&w, start, NULL);
	for (u32 i = 0; i < N; i++) {
		u64 ms = (1ull << (i / 3)) + i % 3 * ((1ull << (i / 3)) / 3) - (i % 2);	/* up to 2^46 ms */

		p[i].t.fn = note;
		due[i] = start + ms * MS + i;
		timer_arm(&w, &p[i].t, due[i]);
	}
	for (u32 guard = 0; w.armed && guard < 100000; guard++) {
		u64 next = timer_wheel_next(&w);

		CHECK(next > now);
		now = next;
		timer_wheel_run(&w, now);
	}
	CHECK_EQ(w.armed, 0);
	for (u32 i = 0; i < N; i++) {
		CHECK_EQ(p[i].runs, 1);
		CHECK(p[i].ran_at >= due[i]);
		CHECK(p[i].ran_at < due[i] + 2 * MS);
	}
}

/* Random arms, moves, cancels and clock steps against a list of deadlines. */
static void against_a_plain_list(void)
{
	enum { N = 500 };
	static struct probe p[N];
	static u64 due[N];	/* 0: not armed */
	u64 now = start, x = 88172645463325252ull;
	u32 early = 0, late = 0, armed = 0;

	memset(p, 0, sizeof(p));
	memset(due, 0, sizeof(due));
	timer_wheel_init(&w, now, NULL);
	for (u32 step = 0; step < 200000; step++) {
		x ^= x << 13, x ^= x >> 7, x ^= x << 17;
		u32 i = (u32)(x >> 8) % N, what = (u32)x & 7;

		if (what < 4) {
			u64 ahead = (x >> 20) % (1ull << (4 + (x >> 50) % 36));	/* up to 2^40 ns, 18 minutes */

			p[i].t.fn = note;
			due[i] = now + ahead;
			timer_arm(&w, &p[i].t, due[i]);
		} else if (what == 4) {
			timer_cancel(&w, &p[i].t);
			due[i] = 0;
		} else {
			now += (x >> 20) % (1ull << (10 + (x >> 50) % 26));
			timer_wheel_run(&w, now);
			for (u32 k = 0; k < N; k++) {
				if (due[k] && !timer_armed(&p[k].t)) {
					early += p[k].ran_at < due[k];
					due[k] = 0;
				}
				late += due[k] && due[k] + 2 * MS <= now;
			}
		}
	}
	for (u32 k = 0; k < N; k++)
		armed += due[k] != 0;
	CHECK_EQ(early, 0);
	CHECK_EQ(late, 0);
	CHECK_EQ(w.armed, armed);
}

/* Callbacks that arm themselves, cancel others, and arm the past. */
static struct probe self, victim, past;
static void busy(struct timer *t, void *arg, u64 now)
{
	note(t, arg, now);
	if (self.runs < 50)
		timer_arm(arg, t, now + 7 * MS);
	timer_cancel(arg, &victim.t);
	if (past.runs < 3)
		timer_arm(arg, &past.t, now - 1000 * MS);
}

static void callbacks_arm_and_cancel(void)
{
	memset(&self, 0, sizeof(self));
	memset(&victim, 0, sizeof(victim));
	memset(&past, 0, sizeof(past));
	self.t.fn = busy;
	victim.t.fn = past.t.fn = note;
	timer_wheel_init(&w, start, &w);
	timer_arm(&w, &victim.t, start + 9 * MS);	/* due in the same run, later than self */
	timer_arm(&w, &self.t, start + 3 * MS);
	timer_wheel_run(&w, start + 20 * MS);
	CHECK_EQ(self.runs, 1);
	CHECK_EQ(victim.runs, 0);
	for (u64 now = start + 21 * MS; now < start + 1000 * MS; now += MS)
		timer_wheel_run(&w, now);
	CHECK_EQ(self.runs, 50);
	CHECK_EQ(past.runs, 3);
	CHECK_EQ(w.armed, 0);
}

/* A timer that always arms the past must not keep the run from ending. */
static void rearm_past(struct timer *t, void *arg, u64 now)
{
	note(t, arg, now);
	timer_arm(arg, t, 1);
}

static void arming_the_past_for_ever_ends_a_run(void)
{
	struct probe p = { .t.fn = rearm_past };

	timer_wheel_init(&w, start, &w);
	timer_arm(&w, &p.t, start);
	CHECK_EQ(timer_wheel_run(&w, start + 3600000 * MS), 1);
	CHECK_EQ(timer_wheel_run(&w, start + 3600002 * MS), 1);
	timer_cancel(&w, &p.t);
}

static void order_follows_deadlines(void)
{
	struct probe p[3] = { 0 };

	timer_wheel_init(&w, start, &w);
	memset(&self, 0, sizeof(self));
	for (u32 i = 0; i < 3; i++) {
		p[i].t.fn = note;
		timer_arm(&w, &p[i].t, start + (300 - 100 * i) * MS);
	}
	timer_wheel_run(&w, start + 150 * MS);
	CHECK(!p[0].runs && !p[1].runs && p[2].runs == 1);
	timer_wheel_run(&w, start + 250 * MS);
	CHECK(!p[0].runs && p[1].runs == 1);
	timer_wheel_run(&w, start + 350 * MS);
	CHECK_EQ(p[0].runs, 1);
}

UNIT_MAIN(UNIT(runs_once_when_due), UNIT(cancel_and_move), UNIT(any_distance), UNIT(against_a_plain_list),
	  UNIT(callbacks_arm_and_cancel), UNIT(arming_the_past_for_ever_ends_a_run), UNIT(order_follows_deadlines))
