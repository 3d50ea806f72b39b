/* timer.c – hierarchical timer wheel: see timer.h. Called by tcpd (retransmission, delayed ACK, keep-alive,
 * TIME_WAIT), ipd (neighbours, reassembly) and linkd (qdisc_watchdog), and by the simulator in virtual time.
 *
 * Level k has 256 slots of 256^k ticks. A timer lies in the lowest level that reaches its tick; when the wheel
 * comes to a slot of a higher level, that slot's timers are placed anew, one level or more further down. A bitmap per
 * level says which slots are used, so that the wheel steps from one used slot to the next, however far. */
#include "timer.h"

#define SLOTS (1u << WHEEL_BITS)
#define TICK NSEC_PER_MSEC
#define REACH (1ull << (WHEEL_BITS * WHEEL_LEVELS))

static u32 slot_of(u64 tick, u32 level)
{
	return (u32)(tick >> (WHEEL_BITS * level)) & (SLOTS - 1);
}

/* First tick at or after the deadline: never early. */
static u64 tick_of(u64 deadline)
{
	return deadline / TICK + (deadline % TICK != 0);
}

static u64 hint_of(u64 tick)
{
	return tick > UINT64_MAX / TICK ? UINT64_MAX - 1 : tick * TICK;
}

static void link_timer(struct timer **head, struct timer *t)
{
	t->next = *head;
	t->pprev = head;
	if (t->next)
		t->next->pprev = &t->next;
	*head = t;
}

static void unlink_timer(struct timer *t)
{
	*t->pprev = t->next;
	if (t->next)
		t->next->pprev = t->pprev;
	t->next = NULL;
	t->pprev = NULL;
}

/* @tick: at or after w->tick. */
static void place(struct timer_wheel *w, struct timer *t, u64 tick)
{
	u64 ahead = tick - w->tick;
	u32 level = 0, slot;

	if (ahead >= REACH)
		tick = w->tick + REACH - 1;	/* placed anew when the wheel gets there */
	while (level < WHEEL_LEVELS - 1 && ahead >> (WHEEL_BITS * (level + 1)))
		level++;
	slot = slot_of(tick, level);
	link_timer(&w->slot[level][slot], t);
	w->used[level][slot / 64] |= 1ull << slot % 64;
}

void timer_wheel_init(struct timer_wheel *w, u64 now, void *arg)
{
	memset(w, 0, sizeof(*w));
	w->tick = now / TICK;
	w->next_hint = UINT64_MAX;
	w->arg = arg;
}

void timer_cancel(struct timer_wheel *w, struct timer *t)
{
	struct timer **first = &w->slot[0][0], **at = t->pprev;

	if (!at)
		return;
	unlink_timer(t);
	if (at >= first && at < first + (size_t)WHEEL_LEVELS * SLOTS && !*at) {	/* it was the last of its slot */
		u32 n = (u32)(at - first);

		w->used[n / SLOTS][n % SLOTS / 64] &= ~(1ull << n % 64);
	}
	if (--w->armed == 0)
		w->next_hint = UINT64_MAX;
}

void timer_arm(struct timer_wheel *w, struct timer *t, u64 deadline)
{
	u64 tick = tick_of(deadline);

	timer_cancel(w, t);
	t->deadline = deadline;
	tick = MAX(tick, w->tick + 1);
	place(w, t, tick);
	w->armed++;
	w->next_hint = MIN(w->next_hint, hint_of(tick));
}

/* Distance in slots from slot `from` (excluded) to the next used one of a level, 1..256; 0: none is used. */
static u32 next_used(const u64 *used, u32 from)
{
	for (u32 d = 1; d <= SLOTS;) {
		u32 slot = (from + d) & (SLOTS - 1);
		u64 rest = used[slot / 64] >> slot % 64;

		if (rest) {
			d += (u32)__builtin_ctzll(rest);
			return d <= SLOTS ? d : 0;
		}
		d += 64 - slot % 64;
	}
	return 0;
}

/* First tick after w->tick at which a slot begins that is used; UINT64_MAX: none. */
static u64 next_event(const struct timer_wheel *w)
{
	u64 first = UINT64_MAX;

	for (u32 level = 0; level < WHEEL_LEVELS; level++) {
		u32 shift = WHEEL_BITS * level;
		u32 d = next_used(w->used[level], slot_of(w->tick, level));

		if (d)
			first = MIN(first, ((w->tick >> shift) + d) << shift);
	}
	return first;
}

/* Take a slot's list; its timers get new places or run. */
static struct timer *detach(struct timer_wheel *w, u32 level, u32 slot)
{
	struct timer *t = w->slot[level][slot];

	w->slot[level][slot] = NULL;
	w->used[level][slot / 64] &= ~(1ull << slot % 64);
	return t;
}

/* Move the wheel to `tick`; no used slot begins between here and there. Due timers go to the end of *due. */
static void advance(struct timer_wheel *w, u64 tick, struct timer ***due_end)
{
	u64 crossed = w->tick ^ tick;

	w->tick = tick;
	for (u32 level = WHEEL_LEVELS; level-- > 0;) {
		struct timer *t, *next;

		if (level && !(crossed >> (WHEEL_BITS * level)))
			continue;
		for (t = detach(w, level, slot_of(tick, level)); t; t = next) {
			next = t->next;
			if (level && tick_of(t->deadline) > tick) {
				place(w, t, tick_of(t->deadline));
				continue;
			}
			t->next = NULL;
			t->pprev = *due_end;
			**due_end = t;
			*due_end = &t->next;
		}
	}
}

u32 timer_wheel_run(struct timer_wheel *w, u64 now)
{
	struct timer *due = NULL, **due_end = &due;
	u64 target = now / TICK;
	u32 ran = 0;

	if (now < w->next_hint)
		return 0;
	while (w->tick < target)
		advance(w, MIN(next_event(w), target), &due_end);
	while (due) {
		struct timer *t = due;

		unlink_timer(t);
		w->armed--;
		ran++;
		t->fn(t, w->arg, now);
	}
	w->next_hint = w->armed ? hint_of(next_event(w)) : UINT64_MAX;
	return ran;
}

u64 timer_wheel_next(const struct timer_wheel *w)
{
	return w->next_hint;
}
