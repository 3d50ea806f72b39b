/* lot.h – reading and writing of lots (proto/shm/lot.h has the format). Used by sockd and tcpd.
 *
 * Units: messages. Ownership: lot_put() leaves the descriptors with the caller, lot_peek() gives new ones to it.
 * Nothing blocks. Errors: -errno. */
#ifndef STRATA_SOCK_LOT_H
#define STRATA_SOCK_LOT_H

#include "proto/shm/lot.h"

#define LOTS_MAX 64u

struct lot {
	int r, w;		/* -1: not ours to read / write */
	u32 walked;		/* messages seen since lot_rewind() */
	u32 live, dead;		/* entries seen, by the reader's judgement */
	bool urgent;		/* the dead pin much memory: compact soon */
};

struct lots { u32 n, next; struct lot lot[LOTS_MAX]; };

/* What lot_peek() found: message and its descriptors, nfds as the format demands. */
struct lot_seen { struct lot_msg msg; int fd[LOT_FDS]; u32 nfds; };

/* Park a message with its descriptors in the first lot that has room, not in `except` (LOTS_MAX: any).
 * Returns the lot's number; -EAGAIN: all are full; -ETOOMANYREFS: RLIMIT_NOFILE descriptors are in flight. */
int lots_put(struct lots *l, const struct lot_msg *m, const int *fd, u32 nfds, u32 except);
/* lots_put()'s result as an application may hear it: no room is ENOBUFS, EAGAIN would mean something else to it. */
static inline int lots_error(int r) { return r >= 0 ? 0 : r == -EAGAIN || r == -ETOOMANYREFS ? -ENOBUFS : r; }
int lot_rewind(struct lot *l);		/* walk again from the first message */
/* The next message not walked yet: 1, 0 when there is none. Malformed messages are skipped and counted as dead. */
int lot_peek(struct lot *l, struct lot_seen *seen);
/* Throw away the walked messages: what was worth keeping is in another lot by now. Later ones stay. */
int lot_drain(struct lot *l);

#endif
