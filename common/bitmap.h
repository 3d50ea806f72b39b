/* bitmap.h – sets of small numbers: arrays of u64, private to who uses them.
 *
 * Going through a set costs its words and its members, not its range. */
#ifndef STRATA_BITMAP_H
#define STRATA_BITMAP_H

#include "base.h"

#define BITMAP_WORDS(n) (((n) + 63) / 64)

static inline bool bit_test(const u64 *m, u32 i) { return m[i / 64] >> (i % 64) & 1; }
static inline void bit_set(u64 *m, u32 i) { m[i / 64] |= 1ull << (i % 64); }
static inline void bit_clear(u64 *m, u32 i) { m[i / 64] &= ~(1ull << (i % 64)); }

/* The first member from `from` on, below n; n: there is none. n is a multiple of 64. */
static inline u32 bit_next(const u64 *m, u32 from, u32 n)
{
	for (u32 w = from / 64; w < n / 64; w++) {
		u64 bits = w == from / 64 ? m[w] & ~0ull << (from % 64) : m[w];

		if (bits)
			return w * 64 + (u32)__builtin_ctzll(bits);
	}
	return n;
}

#define BIT_EACH(i, m, n) for (u32 i = bit_next((m), 0, (n)); i < (n); i = bit_next((m), i + 1, (n)))

#endif
