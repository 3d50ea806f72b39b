/* real.h – the host of real sockets: whatever this process's socket() gives, behind a wire whose other end is the player's. */
#ifndef STRATA_SCRIPT_REAL_H
#define STRATA_SCRIPT_REAL_H

#include "script.h"

struct real {
	int wire;			/* Ethernet frames: a TAP, or a packet socket on Strata's */
	u8 mac[6], host_mac[6];		/* the peer that we play; the host */
	bool resolved;
	const char *congestion;
	u64 acted;			/* when something was last done to the host */
	int fd[MAX_SOCKS], epoll[MAX_SOCKS];
};

/* real_wire.c */
int real_wire_open(struct host *h, const struct script *s);
void real_wire_close(struct host *h);
void real_wire_read(struct host *h);			/* what lies there goes to the queue */
void real_wire_inject(struct host *h, const struct pkt *p);
void real_wire_icmp(struct host *h, const struct icmp_err *e, const struct pkt *quoted);
/* real_call.c */
void real_call(struct host *h, const struct call *c, struct answer *ret);
void real_call_blocking(struct host *h, struct blocked *b);
void real_calls_end(struct host *h);

u64 real_clock(void);

#endif
