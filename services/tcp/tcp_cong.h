/* tcp_cong.h – congestion control as a virtual method (tx3): struct tcp_congestion_ops and the list of them.
 *
 * cwnd and ssthresh are in segments, as the kernel's. Called by tcp_recovery.c; state is conn->cong[], soft. */
#ifndef STRATA_TCP_CONG_H
#define STRATA_TCP_CONG_H

#include "common/base.h"

struct tcp_conn;
struct tcp_ackinfo;

enum tcp_ca_event { CA_EVENT_TX_START, CA_EVENT_LOSS, CA_EVENT_CWND_RESTART };

struct tcp_congestion_ops {
	const char *name;
	void (*init)(struct tcp_conn *c);
	u32 (*ssthresh)(struct tcp_conn *c);			/* a loss or mark: the new slow start threshold */
	void (*cong_avoid)(struct tcp_conn *c, u32 acked);	/* `acked` segments newly acknowledged */
	void (*pkts_acked)(struct tcp_conn *c, u32 acked, u32 rtt_us);	/* may be NULL; rtt 0: no sample */
	void (*event)(struct tcp_conn *c, enum tcp_ca_event ev);	/* may be NULL */
	u32 (*undo_cwnd)(struct tcp_conn *c);			/* the reduction was a mistake */
	/* Not NULL: it decides cwnd and pacing_rate at every ACK, and cong_avoid, PRR and restarts after idle do not. */
	void (*cong_control)(struct tcp_conn *c, const struct tcp_ackinfo *a);
	u32 (*info)(const struct tcp_conn *c, void *out, u32 len);	/* TCP_CC_INFO; NULL: nothing to tell */
};

extern const struct tcp_congestion_ops tcp_cubic, tcp_reno, tcp_bbr;
extern const struct tcp_congestion_ops *const tcp_cong_list[];	/* tcp_sock.cong is an index */
int tcp_cong_find(const char *name, size_t len);		/* index or -ENOENT */

u32 tcp_slow_start(struct tcp_conn *c, u32 acked);		/* what is left of acked */
void tcp_cong_avoid_ai(struct tcp_conn *c, u32 w, u32 acked);
u32 tcp_reno_undo_cwnd(struct tcp_conn *c);

#endif
