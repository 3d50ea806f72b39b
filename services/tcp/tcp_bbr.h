/* tcp_bbr.h – state of BBR in conn->cong[], shared by tcp_bbr.c and tcp_bbr_lt.c. */
#ifndef STRATA_TCP_BBR_H
#define STRATA_TCP_BBR_H

#include "services/tcp/path.h"

#define BBR_BW_ROUNDS 10u
#define BBR_CYCLE 8u

enum { BBR_STARTUP, BBR_DRAIN, BBR_PROBE_BW, BBR_PROBE_RTT };

struct bbr {
	u64 bw[BBR_BW_ROUNDS];		/* the most of each of the last rounds */
	u64 full_bw;			/* at the last round that gained a quarter */
	u64 min_rtt_at, cycle_at, probe_rtt_done;	/* ns */
	u32 min_rtt_us;			/* UINT32_MAX: none yet */
	u32 round, next_round;		/* round trips; c->delivered that begins the next */
	u32 prior_cwnd;			/* before a recovery or PROBE_RTT */
	u32 epoch_us, epoch_acked;	/* bunched ACKs: since when, how many segments */
	u32 extra_acked[2];
	u8 extra_rounds, extra_idx;
	u8 mode, cycle, prev_ca, full_bw_rounds;
	u8 round_start, conserve, full_bw_reached, has_seen_rtt, idle_restart, probe_rtt_round;
	/* policer */
	u8 lt_sampling, lt_use_bw, lt_rounds;
	u32 lt_delivered, lt_lost, lt_us;	/* when the interval began */
	u64 lt_bw;
};
static_assert(sizeof(struct bbr) <= sizeof(((struct tcp_conn *)0)->cong), "room");

static inline struct bbr *bbr(struct tcp_conn *c) { return (struct bbr *)c->cong; }
static inline const struct bbr *bbr_const(const struct tcp_conn *c) { return (const struct bbr *)c->cong; }

void bbr_enter_probe_bw(struct tcp_conn *c);
/* tcp_bbr_lt.c */
void bbr_lt_sample(struct tcp_conn *c, const struct tcp_rate_sample *s);
void bbr_lt_reset(struct tcp_conn *c);

#endif
