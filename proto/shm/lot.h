/* lot.h – parked messages: what a descriptor that outlives everybody is called while it lies in a lot.
 *
 * A lot is an AF_UNIX SOCK_SEQPACKET pair whose ends keepd keeps ("lot:tcp:N:0" is read, "lot:tcp:N:1" written).
 * Messages are left unread: the reader walks them with MSG_PEEK and SO_PEEK_OFF, so they are there for its successor
 * (crash rule 8). Descriptors travel beside the message, in the order of its entries.
 *   tcp lots    written by sockd (LOT_ARENA, LOT_FAR) and tcpd (LOT_FAR, survivors), read by tcpd
 *   sock lots   written and read by sockd (LOT_ARENA)
 * The same entry may lie there twice (a writer died between copying and draining): the first one seen counts.
 * An entry is dead when the state it belongs to has gone on without it; see the rules beside each. */
#ifndef STRATA_SHM_LOT_H
#define STRATA_SHM_LOT_H

#include "proto/shm/arena.h"

#define LOT_MAGIC 0x4c4f5401u
#define LOT_FDS 253u			/* SCM_MAX_FD */
#define LOT_SPARE 0xffffffffu		/* lot_far.sk: a pair made ahead for accept, found by its cookie */

enum lot_type { LOT_ARENA = 1, LOT_FAR = 2 };

struct lot_hdr { u32 magic; u16 type, count; };

/* One per message, three descriptors: stack half, client half, doorbell. In a tcp lot the stack half may be written
 * and the client half only read; in a sock lot the other way round (as clients get them).
 * Dead when sock_shm.arena[id].used has moved on from `use` (its upper 31 bits). */
struct lot_arena { u32 id, use, uid, app; u32 rx_size, tx_size; u64 stack_bytes, client_bytes; };

/* Up to LOT_FDS per message, a descriptor each: the far end of a socket's pair.
 * sk < LOT_SPARE: dead when tcp_shm.ans[sk].freed_gen == gen. LOT_SPARE: dead when no tcp_shm.near_cookie is `cookie`. */
struct lot_far { u32 sk, gen; u64 cookie, nonce; };

struct lot_msg {
	struct lot_hdr hdr;
	union { struct lot_arena arena; struct lot_far far[LOT_FDS]; };
};

static inline size_t lot_msg_size(const struct lot_msg *m)
{
	return offsetof(struct lot_msg, far) +
	       (m->hdr.type == LOT_ARENA ? sizeof(struct lot_arena) : m->hdr.count * sizeof(struct lot_far));
}

#endif
