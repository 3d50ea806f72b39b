/* test_seq.c – common/seq.h: comparisons around the wrap of the sequence space. */
#include "common/seq.h"
#include "unit.h"

static void before_and_after_near_the_wrap(void)
{
	u32 a = 0xfffffff0u;

	for (u32 d = 1; d < 64; d++) {
		CHECK(seq_before(a, a + d));
		CHECK(!seq_before(a + d, a));
		CHECK(seq_after(a + d, a));
		CHECK(!seq_after(a, a + d));
	}
	CHECK(!seq_before(a, a));
	CHECK(!seq_after(a, a));
}

static void equal_counts_as_either(void)
{
	CHECK(seq_before_eq(0, 0));
	CHECK(seq_after_eq(0, 0));
	CHECK(seq_before_eq(0xffffffffu, 0));
	CHECK(!seq_before_eq(0, 0xffffffffu));
	CHECK(seq_after_eq(0, 0xffffffffu));
	CHECK(!seq_after_eq(0xffffffffu, 0));
}

static void half_the_space_is_the_limit(void)
{
	CHECK(seq_before(0, 0x7fffffffu));
	CHECK(seq_before(1, 0x80000000u));
	CHECK(seq_after(0, 0x80000001u));
}

static void between_includes_both_ends(void)
{
	u32 lo = 0xfffffffau, hi = 5;

	CHECK(seq_between(lo, lo, hi));
	CHECK(seq_between(hi, lo, hi));
	CHECK(seq_between(0, lo, hi));
	CHECK(!seq_between(lo - 1, lo, hi));
	CHECK(!seq_between(hi + 1, lo, hi));
	CHECK(seq_between(7, 7, 7));
	CHECK(!seq_between(8, 7, 7));
}

UNIT_MAIN(UNIT(before_and_after_near_the_wrap), UNIT(equal_counts_as_either), UNIT(half_the_space_is_the_limit),
	  UNIT(between_includes_both_ends))
