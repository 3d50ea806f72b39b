/* csum.h – the Internet checksum (RFC 1071), 64 bits a step or wider, and its incremental update (RFC 1624).
 *
 * A partial sum is a u32 in the byte order of memory (as Linux's __wsum); fold at the end.
 * csum_fold() gives the value to store in a header field (already complemented, memory order).
 * Verifying: csum_fold(sum over everything including the field) == 0. */
#ifndef STRATA_CSUM_H
#define STRATA_CSUM_H

#include "base.h"

u32 csum_partial(const void *buf, size_t len, u32 sum);		/* any length, any alignment */
u32 csum_copy(void *dst, const void *src, size_t len, u32 sum);	/* copy and sum in one pass */

static inline u16 csum_fold(u32 sum)
{
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return (u16)~sum;
}
static inline u32 csum_add(u32 a, u32 b) { a += b; return a + (a < b); }
/* Sum of a block that starts at an odd offset of the whole: rotate before adding. */
static inline u32 csum_block_add(u32 a, u32 b, size_t offset)
{
	return csum_add(a, offset & 1 ? (b << 8 | b >> 24) : b);
}
u32 csum_pseudo(be32 saddr, be32 daddr, u8 protocol, u32 len);	/* IPv4 pseudo header, unfolded */
/* RFC 1624: the checksum field after a 16-bit word of the header changed from old to new (memory order). */
u16 csum_update16(u16 check, u16 old, u16 new_);
u16 csum_update32(u16 check, be32 old, be32 new_);

#endif
