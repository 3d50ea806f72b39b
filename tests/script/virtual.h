/* virtual.h – the host of virtual time: TCP itself, linked in, with private memory; its sockets are its words. */
#ifndef STRATA_SCRIPT_VIRTUAL_H
#define STRATA_SCRIPT_VIRTUAL_H

#include "script.h"

#include "services/tcp/path.h"

struct virtual {
	struct host *h;
	struct tcp_stack t;
	struct counters counters;
	struct secret_shm secret;
	struct config conf;
	u32 mtu, ring;
	u64 rng;
	s32 outstanding;		/* transmit buffers that TCP holds */
	u32 child, next, gen, op_seq;	/* slots given out */
	u32 freed[ARENA_SLOTS], nfreed;	/* those given back, for the next */
	u32 sk[MAX_SOCKS];		/* of the script's sockets */
	bool edge[ARENA_SLOTS];		/* something happened since edge() was asked */
	bool in_progress[ARENA_SLOTS];	/* a connect() whose outcome connect() has not told */
	struct blocked *blocked[8];
	u32 nblocked, partial[8];
};

/* virtual_call.c */
void virtual_call(struct host *h, const struct call *c, struct answer *ret);
void virtual_call_blocking(struct host *h, struct blocked *b);
void virtual_retry(struct virtual *v);		/* calls that block: can they return now? */

#endif
