/* region.h – what every shared region starts with, and how regions are named.
 *
 * A region is a sealed memfd made by keepd; one daemon maps it read-write, everybody else read-only.
 * A daemon that finds a layout version it cannot use resets that state cleanly and says so. */
#ifndef STRATA_SHM_REGION_H
#define STRATA_SHM_REGION_H

#include "common/base.h"

#define REGION_MAGIC 0x5354524154410001ull	/* "STRATA", 1 */

enum region_id { REGION_LINK, REGION_IP, REGION_TCP, REGION_SOCK, REGION_PUB, REGION_IDS };
/* REGION_PUB: one page, written by tcpd, mapped read-only by every client: does tcpd sleep? */

/* Offset 0, one page. A fresh memfd is all zeroes: magic == 0 means "never initialised". */
struct region_hdr {
	u64 magic;		/* stored last when initialising */
	u32 version;		/* layout version of this region's kind */
	u32 id;			/* enum region_id */
	u64 size;
	_Alignas(CACHELINE) _Atomic u32 sleeping;	/* not 0: owner sleeps, its doorbell wants ringing after publishing; numbers the sleeps */
	_Atomic u32 epoch;				/* the owner's: number of its last sleep */
	_Alignas(CACHELINE) _Atomic u32 starts;		/* how often an owner has started: 1 = first */
	u32 pid;					/* owner's pid, for people */
	_Atomic u64 started;				/* CLOCK_MONOTONIC ns of the last start */
	_Atomic u64 harvested, reclaimed;		/* frames harvested, loans taken back at the last start */
	u8 pad[PAGE - 3 * CACHELINE];
};
static_assert(sizeof(struct region_hdr) == PAGE, "one page");

#endif
