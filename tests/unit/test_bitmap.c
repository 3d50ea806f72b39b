/* test_bitmap.c – common/bitmap.h, services/sock/apps.h, tcp_slot_next() of proto/shm/tcb.h: sets that are walked by member. */
#include "common/bitmap.h"
#include "proto/shm/tcb.h"
#include "services/sock/apps.h"
#include "unit.h"

#include <sys/mman.h>

static void set_clear_next(void)
{
	u64 m[BITMAP_WORDS(256)] = { 0 };
	static const u32 in[] = { 0, 1, 63, 64, 130, 255 };
	u32 n = 0;

	CHECK_EQ(bit_next(m, 0, 256), 256);
	for (u32 i = 0; i < ARRAY_SIZE(in); i++)
		bit_set(m, in[i]);
	BIT_EACH(i, m, 256)
		CHECK_EQ(i, in[n++]);
	CHECK_EQ(n, ARRAY_SIZE(in));
	bit_clear(m, 64);
	CHECK(!bit_test(m, 64));
	CHECK_EQ(bit_next(m, 64, 256), 130);
	CHECK_EQ(bit_next(m, 255, 256), 255);
	CHECK_EQ(bit_next(m, 256, 256), 256);
}

/* The members may go while they are walked. */
static void cleared_on_the_way(void)
{
	u64 m[2] = { ~0ull, ~0ull };
	u32 n = 0;

	BIT_EACH(i, m, 128) {
		bit_clear(m, i);
		n++;
	}
	CHECK_EQ(n, 128);
	CHECK_EQ(m[0] | m[1], 0);
}

static void chains_of_applications(void)
{
	static struct apps a;
	const u32 one = ARENA_MAX * 7 + 5, other = ARENA_MAX * 9 + 5;	/* begin in the same place */

	CHECK_EQ(apps_first(&a, one), ARENA_MAX);
	apps_add(&a, one, 5);
	apps_add(&a, one, 0);
	apps_add(&a, other, ARENA_MAX - 1);
	CHECK_EQ(apps_first(&a, one), ARENA_MAX - 1);
	CHECK_EQ(apps_next(&a, ARENA_MAX - 1), 0);
	CHECK_EQ(apps_next(&a, 0), 5);
	CHECK_EQ(apps_next(&a, 5), ARENA_MAX);
	apps_remove(&a, one, 0);
	apps_remove(&a, one, 17);	/* not there */
	CHECK_EQ(apps_next(&a, ARENA_MAX - 1), 5);
	apps_remove(&a, other, ARENA_MAX - 1);
	apps_remove(&a, one, 5);
	CHECK_EQ(apps_first(&a, one), ARENA_MAX);
}

static void slots_ever_used(void)
{
	struct tcp_tables *t = mmap(NULL, sizeof(*t), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	const u32 last = ARENA_MAX - 1, want[] = { 0, 1, SK(3, ARENA_ACTIVE), SK(last, 0), SK(last, ARENA_SLOTS - 1) };
	u32 n = 0;

	REQUIRE(t != MAP_FAILED);
	CHECK_EQ(tcp_slot_next(t, 0, SK_MAX), SK_MAX);
	store_relaxed(&t->high[0][0], 2);
	store_relaxed(&t->high[3][1], 1);
	store_relaxed(&t->high[last][0], 1);
	TCP_SLOT_EACH(sk, t, 0, SK_MAX)
		CHECK_EQ(sk, want[n++]);
	CHECK_EQ(n, 4);
	CHECK_EQ(tcp_slot_next(t, SK(3, ARENA_ACTIVE + 1), SK_MAX), SK(last, 0));
	CHECK_EQ(tcp_slot_next(t, SK(3, 0), SK(3, ARENA_ACTIVE)), SK(3, ARENA_ACTIVE));	/* the end */
	CHECK_EQ(tcp_slot_next(t, SK(1, 0), SK(2, 0)), SK(2, 0));
	store_relaxed(&t->high[last][1], 60000);	/* nonsense of another process stays within the arena */
	store_relaxed(&t->high[last][0], 60000);
	n = 0;
	TCP_SLOT_EACH(sk, t, SK(last, 0), SK_MAX)
		n++;
	CHECK_EQ(n, ARENA_SLOTS);
	munmap(t, sizeof(*t));
}

UNIT_MAIN(UNIT(set_clear_next), UNIT(cleared_on_the_way), UNIT(chains_of_applications), UNIT(slots_ever_used))
