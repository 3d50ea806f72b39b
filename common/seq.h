/* seq.h – 32-bit sequence number arithmetic (RFC 9293 3.4): the only comparison of sequence numbers. */
#ifndef STRATA_SEQ_H
#define STRATA_SEQ_H

#include "base.h"

static inline bool seq_before(u32 a, u32 b) { return (s32)(a - b) < 0; }
static inline bool seq_after(u32 a, u32 b) { return seq_before(b, a); }
static inline bool seq_before_eq(u32 a, u32 b) { return !seq_after(a, b); }
static inline bool seq_after_eq(u32 a, u32 b) { return !seq_before(a, b); }
/* lo <= x <= hi, all modulo 2^32 */
static inline bool seq_between(u32 x, u32 lo, u32 hi) { return hi - lo >= x - lo; }

#endif
