/* test_ring.c – common/ring.h: wrap, full, nonsense from the peer, recovery, doorbell words, two threads.
 * Every ring starts a few slots before its u32 indexes wrap. */
#include "common/ring.h"
#include "unit.h"

#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <time.h>

#define CAP 8u
#define START (0u - 5u)

struct fixture {
	struct ring_prod prod;
	struct ring_cons cons;
	u32 slots[CAP];
	struct ring p, c;	/* producer's and consumer's handles */
};

static struct fixture f;

static void attach(void)
{
	ring_attach_producer(&f.p, &f.prod, &f.cons, f.slots, CAP, sizeof(u32));
	ring_attach_consumer(&f.c, &f.prod, &f.cons, f.slots, CAP, sizeof(u32));
}

static void fresh(void)
{
	memset(&f, 0, sizeof(f));
	store_relaxed(&f.prod.head, START);
	store_relaxed(&f.cons.tail, START);
	attach();
}

static bool put(u32 v)
{
	u32 *slot = ring_reserve(&f.p);

	if (slot)
		*slot = v;
	return slot;
}

static u32 take(void)
{
	const u32 *slot = ring_peek(&f.c);
	u32 v = slot ? *slot : 0;

	if (slot)
		ring_next(&f.c);
	return v;
}

static void in_order_across_the_wrap(void)
{
	fresh();
	for (u32 i = 1; i <= 100; i++) {
		CHECK(put(i));
		CHECK(put(i + 1000));
		ring_publish(&f.p);
		CHECK_EQ(ring_count(&f.c), 2);
		CHECK_EQ(take(), i);
		CHECK_EQ(take(), i + 1000);
		CHECK(!ring_peek(&f.c));
		ring_release(&f.c);
	}
	CHECK_EQ(load_relaxed(&f.prod.head), START + 200);
}

static void nothing_is_visible_before_publish(void)
{
	fresh();
	CHECK(!ring_dirty(&f.p));
	CHECK(put(1));
	CHECK(ring_dirty(&f.p));
	CHECK(!ring_peek(&f.c));
	ring_publish(&f.p);
	CHECK(!ring_dirty(&f.p));
	CHECK_EQ(take(), 1);
}

static void full_until_released(void)
{
	fresh();
	for (u32 i = 0; i < CAP; i++)
		CHECK(put(i + 1));
	CHECK(!put(99));
	CHECK_EQ(ring_space(&f.p), 0);
	ring_publish(&f.p);
	CHECK_EQ(ring_count(&f.c), CAP);
	CHECK_EQ(take(), 1);
	CHECK(!put(99));		/* taken, but not given back */
	ring_release(&f.c);
	CHECK_EQ(ring_space(&f.p), 1);
	CHECK(put(9));
	CHECK(!put(99));
	ring_publish(&f.p);
	for (u32 i = 2; i <= 9; i++)
		CHECK_EQ(take(), i);
}

static void space_is_exact_after_any_history(void)
{
	fresh();
	for (u32 round = 0; round < 200; round++) {
		u32 n = round * 7 % (CAP + 1), used = 0;

		while (used < n && put(1))
			used++;
		CHECK_EQ(used, n);
		ring_publish(&f.p);
		f.p.seen = load_acquire(&f.cons.tail);
		CHECK_EQ(ring_space(&f.p), CAP - n);
		while (ring_peek(&f.c))
			ring_next(&f.c), used--;
		CHECK_EQ(used, 0);
		ring_release(&f.c);
	}
}

/* A producer's head that cannot be: nothing is taken, it is counted, and a sane head works again. */
static void nonsense_head(void)
{
	static const u32 wrong[] = { START - 1, START + CAP + 1, START + 0x80000000u, 12345 };

	for (u32 i = 0; i < ARRAY_SIZE(wrong); i++) {
		fresh();
		store_relaxed(&f.prod.head, wrong[i]);
		CHECK_EQ(ring_count(&f.c), 0);
		CHECK(!ring_peek(&f.c));
		CHECK_EQ(f.c.bad, 2);
		CHECK(put(7));
		ring_publish(&f.p);
		CHECK_EQ(take(), 7);
	}
}

/* A consumer's tail that cannot be: the ring counts as full. */
static void nonsense_tail(void)
{
	static const u32 wrong[] = { START + 1, START - CAP - 1, START + 0x80000000u };

	for (u32 i = 0; i < ARRAY_SIZE(wrong); i++) {
		fresh();
		f.p.seen = wrong[i];
		store_relaxed(&f.cons.tail, wrong[i]);
		CHECK_EQ(ring_space(&f.p), 0);
		CHECK(!ring_reserve(&f.p));
		CHECK(f.p.bad >= 1);
		store_relaxed(&f.cons.tail, START);
		CHECK_EQ(ring_space(&f.p), CAP);
	}
}

static void attach_resumes_where_it_was(void)
{
	fresh();
	for (u32 i = 1; i <= 6; i++)
		CHECK(put(i));
	ring_publish(&f.p);
	CHECK(put(7));			/* reserved, not published: dies with its process */
	CHECK_EQ(take(), 1);
	CHECK_EQ(take(), 2);
	ring_release(&f.c);
	CHECK_EQ(take(), 3);		/* taken, not released: comes again */
	attach();
	CHECK_EQ(take(), 3);
	CHECK_EQ(ring_count(&f.c), 3);
	f.p.seen = load_acquire(&f.cons.tail);
	CHECK_EQ(ring_space(&f.p), CAP - 4);
	CHECK(put(70));
	ring_publish(&f.p);
	CHECK_EQ(take(), 4);
	CHECK_EQ(take(), 5);
	CHECK_EQ(take(), 6);
	CHECK_EQ(take(), 70);
}

/* The newest cause moves the tail forward, never backward and never beyond what a ring can hold. */
static void recover_goes_to_the_newest_cause(void)
{
	fresh();
	for (u32 i = 1; i <= CAP; i++)
		CHECK(put(i));
	ring_publish(&f.p);
	ring_cons_recover(&f.c, START + 2);
	CHECK_EQ(load_relaxed(&f.cons.tail), START + 3);
	CHECK_EQ(take(), 4);
	attach();
	ring_cons_recover(&f.c, START);		/* an older output */
	CHECK_EQ(load_relaxed(&f.cons.tail), START + 3);
	attach();
	ring_cons_recover(&f.c, START - 1000);	/* older than the ring is long */
	CHECK_EQ(load_relaxed(&f.cons.tail), START + 3);
	attach();
	ring_cons_recover(&f.c, START + 3 + CAP);	/* nonsense: cannot have been in the ring */
	CHECK_EQ(load_relaxed(&f.cons.tail), START + 3);
	attach();
	ring_cons_recover(&f.c, START + CAP - 1);	/* everything has been answered */
	CHECK_EQ(load_relaxed(&f.cons.tail), START + CAP);
	CHECK(!ring_peek(&f.c));
}

static void release_rings_only_who_waits(void)
{
	fresh();
	CHECK(!ring_release_wants_bell(&f.c));	/* nothing to release */
	for (u32 i = 0; i < CAP; i++)
		CHECK(put(i));
	ring_publish(&f.p);
	take();
	CHECK(!ring_release_wants_bell(&f.c));
	CHECK(put(1));
	ring_publish(&f.p);
	CHECK_EQ(ring_space(&f.p), 0);
	ring_want_space(&f.p);
	CHECK_EQ(ring_space(&f.p), 0);
	take();
	CHECK(ring_release_wants_bell(&f.c));
	CHECK(!ring_release_wants_bell(&f.c));
	ring_clear_want(&f.p);
	take();
	CHECK(!ring_release_wants_bell(&f.c));
	CHECK_EQ(ring_space(&f.p), 2);
}

static void want_space_looks_again(void)
{
	fresh();
	for (u32 i = 0; i < CAP; i++)
		CHECK(put(i));
	ring_publish(&f.p);
	CHECK_EQ(ring_space(&f.p), 0);
	take();
	ring_release(&f.c);		/* between finding it full and asking */
	ring_want_space(&f.p);
	CHECK(f.p.seen == START + 1 && ring_space(&f.p) == 1);
}

/* ---- two threads: also the program that ThreadSanitizer watches ---- */

enum { PACKETS = 300000, TCAP = 64 };
struct slot { u64 number; u64 check; };
static struct {
	struct ring_prod prod;
	struct ring_cons cons;
	struct slot slots[TCAP];
	_Atomic u32 bell;	/* stands for the producer's doorbell */
} t;

/* Waits for the bell alone, as a daemon does that sleeps: a bell that is not rung is a lost wake-up. */
static bool wait_for_bell(void)
{
	time_t until = time(NULL) + 20;

	while (!load_acquire(&t.bell)) {
		sched_yield();
		if (time(NULL) > until)
			return false;
	}
	return true;
}

/* Returns NULL, or &t when a wake-up was lost (and then goes on, so that the consumer ends too). */
static void *produce(void *arg)
{
	void *lost = NULL;
	struct ring r;
	u64 n = 0;

	ring_attach_producer(&r, &t.prod, &t.cons, t.slots, TCAP, sizeof(struct slot));
	while (n < PACKETS) {
		struct slot *s;
		u32 batch = 1 + (u32)(n % 13);

		while (batch-- && n < PACKETS && (s = ring_reserve(&r))) {
			s->number = n;
			s->check = n * 0x9e3779b97f4a7c15ull;
			n++;
		}
		ring_publish(&r);
		if (ring_space(&r))
			continue;
		ring_want_space(&r);
		if (!ring_space(&r) && !wait_for_bell())
			lost = &t;
		store_release(&t.bell, 0);
		ring_clear_want(&r);
	}
	(void)arg;
	return lost;
}

static void two_threads_lose_nothing(void)
{
	struct ring r;
	pthread_t thread;
	void *lost;
	u64 n = 0, wrong = 0;

	memset(&t, 0, sizeof(t));
	store_relaxed(&t.prod.head, 0u - PACKETS / 2);
	store_relaxed(&t.cons.tail, 0u - PACKETS / 2);
	ring_attach_consumer(&r, &t.prod, &t.cons, t.slots, TCAP, sizeof(struct slot));
	REQUIRE_EQ(pthread_create(&thread, NULL, produce, NULL), 0);
	while (n < PACKETS) {
		u32 budget = 1 + (u32)(n % 29);
		const struct slot *s;

		while (budget-- && (s = ring_peek(&r))) {
			struct slot copy = *s;

			wrong += copy.number != n || copy.check != n * 0x9e3779b97f4a7c15ull;
			n++;
			ring_next(&r);
		}
		if (ring_release_wants_bell(&r))
			store_release(&t.bell, 1);
		if (!ring_count(&r))
			sched_yield();
	}
	pthread_join(thread, &lost);
	CHECK(!lost);
	CHECK_EQ(wrong, 0);
	CHECK_EQ(ring_count(&r), 0);
	CHECK_EQ(r.bad, 0);
}

UNIT_MAIN(UNIT(in_order_across_the_wrap), UNIT(nothing_is_visible_before_publish), UNIT(full_until_released),
	  UNIT(space_is_exact_after_any_history), UNIT(nonsense_head), UNIT(nonsense_tail),
	  UNIT(attach_resumes_where_it_was), UNIT(recover_goes_to_the_newest_cause), UNIT(release_rings_only_who_waits),
	  UNIT(want_space_looks_again), UNIT(two_threads_lose_nothing))
