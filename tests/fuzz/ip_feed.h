/* ip_feed.h – what the seeded runner and the libFuzzer target share: feeding one frame, tidying up, and proof of life. */
#ifndef STRATA_TESTS_IP_FEED_H
#define STRATA_TESTS_IP_FEED_H

#include "tests/unit/ip_host.h"

void feed_frame(struct host *h, const u8 *data, u32 len, u8 how);	/* how: bits 0-1 protocol, 2-3 packet type */
void feed_quiet(struct host *h);			/* time passes until nothing is under way */
const char *feed_alive(struct host *h);			/* NULL: alive; else what failed */

#endif
