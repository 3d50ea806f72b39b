/* bulk.h – bulk transfers in the simulator, and the TAP of the programs that measure them.
 *
 *   client  --- data: loss, bandwidth, queue, policer --->  server
 *           <-- ACKs: delay, bunches ---------------------
 *
 *   PROGRAM [CASE...] [--trace] [--verbose]     a case by the number TAP gives it */
#ifndef STRATA_SIM_BULK_H
#define STRATA_SIM_BULK_H

#include "sim.h"

#include "services/tcp/path.h"

#define MS NSEC_PER_MSEC
#define FOR_EVER (1ull << 50)

struct bulk {
	const char *cong;
	u32 flows, ring;
	u64 rtt, bytes_per_sec, police, bunch;
	u32 queue, every;
	double loss;
	bool no_sack;
};

extern bool trace, verbose;

struct sim *bulk_begin(const struct bulk *b, u64 seed);
void bulk_connect(struct sim *s, u64 bytes);
void bulk_until(struct sim *s, u64 t);
u64 bulk_received(const struct sim *s);
struct tcp_conn *bulk_sender(struct sim *s);	/* of the first connection */
bool bulk_end(struct sim *s);			/* false: something failed that must hold in every scenario */

void bulk_args(int argc, char **argv, int cases);
bool bulk_wanted(void);				/* the next case */
void bulk_say(bool ok, const char *cong, const char *fmt, double a, double b);
int bulk_bad(void);

#define CASE(run, cong, fmt, a, b) do { if (bulk_wanted()) bulk_say(run, cong, fmt, a, b); } while (0)

#endif
