/* daemon.h – the thin shell around a layer: arguments, configuration, keeper, regions, doorbells, notify, watchdog.
 *
 * daemon_init() parses "--instance NAME [--config FILE] [--log LEVEL]", loads the configuration, asks keepd for
 * the regions (own one read-write, the others read-only), maps and checks them, opens the loop.
 * An own region of unknown version is zeroed and initialised again (said in the journal).
 * Then the daemon attaches its state (start is restart) and calls daemon_run(), which notifies systemd. */
#ifndef STRATA_DAEMON_H
#define STRATA_DAEMON_H

#include "config.h"
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
	int keeper;			/* connection to keepd */
	struct pools pools;		/* readers of all; the daemon re-attaches its own as owner */
	/* descriptors parked at keepd under a name, given back at start */
	u32 nparked;
	struct { char name[32]; int fd; } parked[64];
};

int daemon_init(struct daemon *d, const char *name, enum region_id role, int argc, char **argv);
int daemon_run(struct daemon *d);		/* READY=1, loop, watchdog; returns exit status */
/* Have keepd keep `fd` (a device) beyond this process's death; synchronous: returns after it is safe. 0 or -errno. */
int daemon_park(struct daemon *d, const char *name, int fd);
int daemon_unpark(struct daemon *d, const char *name);
int daemon_parked(struct daemon *d, const char *name);	/* descriptor from an earlier life, or -1 */

/* Ring a neighbour if it sleeps. Call after publishing; contains the fence that pairs with the loop's. */
void daemon_ring(struct daemon *d, enum region_id who);
void daemon_ring_always(struct daemon *d, enum region_id who);	/* at start: a successor rings everybody once */

/* Handles of the packet and completion rings, producer's or consumer's end as `role` requires. */
void ring_open(struct daemon *d, enum ring_id id, struct ring *r);
/* A start is a restart: newest cause of input `id` among the slots of an output ring; false if none. */
bool ring_newest_cause(const struct ring *out, bool done_slots, enum ring_id id, u32 *index);
/* Mark every buffer seen in a ring (still unconsumed) for reconciliation: pool_scan_mark() in flow order. */
void ring_mark(const struct daemon *d, enum ring_id id, struct pool_scan *s);

#endif
