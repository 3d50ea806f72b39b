/* sock.h – sockd's region: a mailbox per socket towards tcpd, one for administration, and the clients' requests.
 *
 * A mailbox, not a queue: the request is state (op_seq != done_seq), so that nothing is lost or done twice
 * whoever dies: a successor looks at every mailbox. The hint ring only says which to look at first.
 * sockd: fill op and arguments; store_release(op_seq); hint; doorbell.  tcpd: do it, store the answer in
 * tcp_shm.ans[sk]; store_release(done_seq); hint; doorbell. One request per socket at a time. */
#ifndef STRATA_SHM_SOCK_H
#define STRATA_SHM_SOCK_H

#include "proto/shm/region.h"
#include "proto/shm/arena.h"
#include "common/counters.h"
#include "common/ring.h"

#define SOCK_VERSION 3u
#define SOCK_OPT_MAX 264u	/* TCP_INFO fits */
#define SOCK_HINTS 4096u

enum sk_op { SKOP_NONE, SKOP_BIND, SKOP_CONNECT, SKOP_LISTEN, SKOP_SHUTDOWN, SKOP_SETSOCKOPT, SKOP_GETSOCKOPT,
	     SKOP_DISCONNECT /* connect(AF_UNSPEC) */ };

#define SKOP_CONNECT_FASTOPEN 1	/* for sendto(MSG_FASTOPEN) */

struct sk_ctl {
	_Atomic u32 gen;	/* of the slot as sockd allocated it; odd: in use, even: free. Slots from ARENA_ACTIVE: 0 */
	_Atomic u32 op_seq;	/* != tcp_shm.ans[sk].done_seq: a request is open */
	u32 op;			/* enum sk_op */
	u32 uid, pid;		/* of the creator, for ss and quotas */
	be32 addr; be16 port; u16 pad0;	/* BIND, CONNECT */
	s32 arg;		/* LISTEN backlog, SHUTDOWN how, CONNECT SKOP_CONNECT_* */
	u32 want_gen;		/* generation the request is for */
	s32 level, optname;
	u32 optlen;
	u32 req_seq;		/* op_seq of the request that client and req name: written before op_seq, so that a request
				 * filled in but never posted is told from one that was */
	u64 client, req;	/* who asked: client id and its request number (idempotence) */
	u64 cookie;		/* SO_COOKIE of the application's descriptor; slots below ARENA_ACTIVE */
	u64 nonce;		/* for the plug; slots below ARENA_ACTIVE */
	u8 optval[SOCK_OPT_MAX];
};

/* used: use << 1 | live. `use` counts up when the number is taken and again when it is given up, so that a parked
 * message of an earlier use is told from a living one. app: number of the application (its process family),
 * used once: tcpd may put connections of one's listener into another arena's slots. */
struct sock_arena {
	_Atomic u32 used;
	u32 uid, pid, app;
	u64 secret[2];
	char comm[16];
	_Atomic u32 high;	/* slots below ARENA_ACTIVE from here on were not used in this use. Stored before sk_ctl.gen */
};

/* Hints, both ways. Below SK_MAX: a socket's mailbox. */
#define SOCK_HINT_SCAN 0xffffffffu		/* hints were lost, or an arena came: look at everything */
#define SOCK_HINT_GONE 0x20000000u		/* sockd: | arena: it was given up */
#define SOCK_HINT_KICK 0x40000000u		/* sockd: | arena: one who had it mapped is gone and may have died before he kicked */
#define SOCK_HINT_ARENA 0x80000000u		/* tcpd: | arena: this application needs more slots for accepted connections */
static_assert(SK_MAX <= SOCK_HINT_GONE, "a hint is a socket or has a bit of its own");

/* A request of the `strata` command to ipd: one at a time, same protocol (ip_shm.admin_ans). */
struct ip_admin { _Atomic u32 seq; u32 len; u8 request[2040]; };	/* request: protobuf, proto/control.proto */

struct sock_shm {
	struct region_hdr hdr;
	struct counters counters;
	struct ip_admin ip_admin;
	struct sock_arena arena[ARENA_MAX];
	_Atomic u64 left[ARENA_MAX / 64];	/* bit per arena whose application has no client: tcpd says when its accepted
						 * sockets are gone */
	struct ring_prod sock_tcp;	/* hints: u32 sk */
	struct ring_cons tcp_sock;
	u32 sock_tcp_slots[SOCK_HINTS];
	struct sk_ctl ctl[SK_MAX];
};

#endif
