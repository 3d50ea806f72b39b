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

/* TCP_DEFER_ACCEPT: seconds, rounded up to where a retransmission of the SYN+ACK ends: 1, 3, 7, 15 ..., as Linux keeps them. */
static inline u32 backoff_seconds(s32 asked)
{
	u32 period = asked > 0 ? 1 : 0;

	for (u32 step = 2; (s32)period < asked && period < 24000; step = MIN(step * 2, 120u))
		period += step;
	return period;
}

#endif
