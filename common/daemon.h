/* daemon.h – the thin shell around a layer: arguments, configuration, keeper, regions, doorbells, notify, watchdog.
 *
 * daemon_init() parses "--instance NAME [--config FILE] [--log LEVEL]", loads the configuration, asks keepd for
 * the regions (own one read-write, the others read-only), maps and checks them, opens the loop.
 * An own region of unknown version is zeroed and initialised again (said in the journal).
 * Then the daemon attaches its state (start is restart) and calls daemon_run(), which notifies systemd. */
#ifndef STRATA_DAEMON_H
#define STRATA_DAEMON_H

#include "config.h"
#include "keeper.h"
#include "loop.h"
#include "pool.h"
#include "proto/shm/tcp.h"

struct daemon {
	const char *name;		/* "linkd" */
	enum region_id role;
	struct config conf;
	struct loop loop;
	struct link_shm *link;		/* writable: the one of `role`; tcpd: pub too */
	struct ip_shm *ip;
	struct tcp_shm *tcp;
	struct sock_shm *sock;
	struct pub_shm *pub;
	struct region_hdr *hdr;		/* of the own region */
	struct counters *counters;	/* of the own region */
	bool fresh;			/* the own region was empty (first start) */
	int bell[REGION_IDS];		/* eventfds: own is read, others are rung */
	_Atomic u32 *sleeps[REGION_IDS];	/* whose doorbell need not be rung: 0 there; tcpd's is pub's */
	u32 rung[REGION_IDS];		/* the sleep in which we rang it last */
	int keeper;			/* connection to keepd; -1 while keepd is away */
	struct pools pools;		/* readers of all; the daemon re-attaches its own as owner */
	struct keeper_reply given;	/* every descriptor by name: regions, bells, lots, what was parked */
	/* daemon.c, daemon_keeper.c only */
	int keeper_id, signals;
	u64 keeper_retry;		/* when to look for keepd again; 0: it is there */
	bool keeper_asked;		/* it is there again, perhaps: its answer to our HELLO is outstanding */
	u64 watchdog_ns, watchdog_next;	/* 0: none */
	int status;			/* exit status */
};

struct daemon_args { const char *instance, *config; int level; };	/* config NULL: the default */
/* The arguments every daemon has. 0 or -EINVAL, explained on stderr; --help prints and exits. */
int daemon_args(const char *name, int argc, char **argv, struct daemon_args *a);

/* 0 or -errno, explained on the log. Wrong arguments or configuration exit with EX_CONFIG: restarting does not mend them. */
int daemon_init(struct daemon *d, const char *name, enum region_id role, int argc, char **argv);
int daemon_run(struct daemon *d);		/* READY=1, loop, watchdog; returns exit status */
/* Have keepd keep `fd` (a device) beyond this process's death; synchronous: returns after it is safe. 0 or -errno. */
int daemon_park(struct daemon *d, const char *name, int fd);
int daemon_unpark(struct daemon *d, const char *name);
int daemon_parked(struct daemon *d, const char *name);	/* descriptor from an earlier life, or -1 */
/* Any descriptor received from keepd: "region:secret", "lot:tcp:3:0" (":r" is ":0", ":w" is ":1"), "dev:tap0"; -1: none of that name. Ours for life. */
int daemon_fd(struct daemon *d, const char *name);

/* Ring a neighbour if it sleeps. Call after publishing; contains the fence that pairs with the loop's. */
void daemon_ring(struct daemon *d, enum region_id who);
void daemon_ring_always(struct daemon *d, enum region_id who);	/* at start: a successor rings everybody once */

/* Handles of the packet and completion rings, producer's or consumer's end as `role` requires (rings.c).
 * Who is neither gets a handle that may only be looked at. */
void ring_open(struct daemon *d, enum ring_id id, struct ring *r);
/* A start is a restart: index of the newest input of `id` that the published slots of output ring `out` answer
 * completely (CAUSE_LAST); false if none. Looks back half a ring: outputs of one pass, published or not yet
 * published, must fit in half a ring, or slots never published are taken for old ones. */
bool ring_newest_cause(const struct ring *out, bool done_slots, enum ring_id id, u32 *index);
/* Has output `sub` of input `index` of ring `id` been published in `out`? For inputs that have several outputs: when
 * the first input after recovery is done again, leave out what the predecessor had emitted before it died. */
bool ring_has_cause(const struct ring *out, bool done_slots, enum ring_id id, u32 index, u16 sub);
/* Mark every buffer seen in a ring (still unconsumed) for reconciliation: pool_scan_mark() in flow order. */
void ring_mark(const struct daemon *d, enum ring_id id, struct pool_scan *s);

#endif
