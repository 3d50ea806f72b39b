/* tcpd.h – what the files of strata-tcpd around the pure TCP share: rings, arenas, far ends, lots, mailboxes.
 *
 * In the order things happen in a pass of the loop (sk_loop.c):
 *   sk_rings.c    rx6 in, completions in, tx3 -> tx4 out, loans
 *   sk_mbox.c     tx1: sockd's requests
 *   sk_arena.c    memory of applications, kicks (tx2 begins)
 *   sk_far.c      rx7: the stack's ends of the sockets' pairs
 *   sk_accept.c   connections offered to applications
 *   sk_lot.c      descriptors that outlive this process */
#ifndef STRATA_TCPD_H
#define STRATA_TCPD_H

#include "common/bitmap.h"
#include "common/daemon.h"
#include "common/readiness.h"
#include "services/sock/apps.h"
#include "services/sock/lot.h"
#include "tcp.h"

#include <sys/epoll.h>

#define SPARES 32u
#define FD_RESERVE 512		/* of RLIMIT_NOFILE: arenas, pairs made ahead, and what a successor holds while it walks the lots */

enum far_kind { FAR_NONE, FAR_ACTIVE, FAR_ACCEPTED };

struct far {			/* soft: found again in the lots */
	struct ready r;
	enum far_kind kind;
	u32 gen;
	int near;		/* of a pair: accepted, not offered yet: the application's end; else -1 */
	u16 lot;		/* where r.far is parked */
	bool news;		/* in tcpd.news */
	bool unread;		/* plain: the last holder went without having read everything */
	bool starved;		/* FAR_NONE: parked, but we had no descriptor left for it */
	bool offered;		/* in somebody's receive queue, not claimed yet as far as we know */
	u64 cookie;
};

struct app_arena {		/* the daemon's side of an arena; the words' side is tcp_stack.arena[] */
	bool mapped, asked;	/* asked: sockd was told that the application needs another one */
	bool hot;		/* in tcpd.hot */
	struct tcpd *x;		/* for its doorbell's callback */
	u32 use, app, uid;
	int stack, client, bell, bell_id;
	u16 lot;
	size_t stack_bytes, client_bytes;
	u64 last_kick;
	u64 free[(ARENA_SLOTS - ARENA_ACTIVE) / 64];	/* slots for accepted connections */
	u32 nfree;
	u16 kick[ARENA_SLOTS];	/* as last seen */
};

struct quiet { u32 sk; u64 until; };	/* a hand-over that began: sk_plain.c */

struct spare { int far, near; u16 lot; u64 cookie; };

struct stash { struct lot_far far; int fd; u16 lot; };	/* found in a lot, not adopted yet */

struct tcpd {
	struct daemon d;
	struct tcp_stack t;
	struct ring ip_tcp, link_done, ip_done;		/* in */
	struct ring tcp_ip, to_link_done, to_ip_done;	/* out */
	struct ring *done_dirty;			/* the one completion ring with unpublished slots */
	bool gave;					/* buffers were given back in this pass */
	struct ring hints_in, hints_out;
	bool hints_lost;
	struct cause cause;				/* of what is sent now */
	bool blocked;					/* a segment found no slot or no buffer */
	bool waiting;					/* a connection has enough out; completions let it go on */
	bool unsent;					/* something happened outside the poll: flush before sleeping */
	u32 pass;
	u32 dev_seq;					/* of ip_shm, as last seen */
	u32 loans[SK_MAX + 1];				/* transmit buffers out, by socket; the last: of none */
	struct app_arena arena[ARENA_MAX];
	u64 mapped[ARENA_MAX / 64];			/* those that are */
	struct apps apps;				/* ... by application */
	u16 hot[ARENA_MAX];				/* whose kicks are looked at in every pass; the others ring */
	u32 nhot;
	u32 lot_arenas[LOTS_MAX];			/* how many are parked where */
	struct far far[SK_MAX];
	struct lots lots;
	u32 lot_hot;					/* where the last new message lay */
	int epfd;
	int fd_max;					/* no new socket's descriptor from here on: see FD_RESERVE */
	struct spare spare[SPARES];
	u32 nspare;
	struct stash *stash;
	u32 nstash, stash_room;
	u32 offered[SK_MAX];				/* sks whose claim is waited for */
	u32 noffered;
	u32 again[SK_MAX];				/* sks to offer (again) before the accept queue's next */
	u32 nagain;
	u32 ready[SK_MAX];				/* listeners to look at */
	bool is_ready[SK_MAX];
	u32 nready;
	u32 news[SK_MAX];				/* sks whose readers are to be told at the end of the pass */
	u32 nnews;
	struct quiet quiet[SK_MAX];			/* sockets that are being handed over */
	u32 nquiet;
	u8 random[256];					/* for op_random(); what was used is wiped */
	u32 nrandom;
	u64 offer_retry;				/* out of descriptors: next try */
};

/* sk_rings.c */
int rings_attach(struct tcpd *x);
u32 rings_completions(struct tcpd *x);
u32 rings_receive(struct tcpd *x, u32 budget);
void rings_publish(struct tcpd *x);
bool rings_pending(struct tcpd *x);
int op_queue_xmit(void *ctx, struct sk_buff *skb);
u8 *op_alloc(void *ctx, u32 size, u32 sk, struct sk_buff *skb);
void op_unalloc(void *ctx, struct sk_buff *skb);
u32 op_loans(void *ctx, u32 sk);

/* sk_mbox.c */
int mbox_attach(struct tcpd *x);
u32 mbox_poll(struct tcpd *x);
void mbox_scan(struct tcpd *x);
bool mbox_pending(struct tcpd *x);
void mbox_hint(struct tcpd *x, u32 what);

/* sk_arena.c */
int arena_map_in(struct tcpd *x, const struct lot_arena *m, const int *fd, u16 lot);	/* -ESTALE: dead, descriptors are the caller's */
void arena_look(struct tcpd *x, u32 id);	/* unmap it if sockd gave it up */
void arenas_scan(struct tcpd *x);
void arena_plain_free(struct tcpd *x, u32 sk);
u32 kicks_poll(struct tcpd *x);
bool kicks_pending(struct tcpd *x);
void op_trim(void *ctx, u32 sk);
s64 op_child(void *ctx, u32 listener);
bool arena_slot_back(struct tcpd *x, u32 sk);	/* sockd wants to know: the application is gone */
static inline struct sockbuf view(struct tcpd *x, u32 sk)
{
	struct sockbuf b;

	sockbuf_open(&b, &x->t.arena[SK_ARENA(sk)], SK_SLOT(sk));
	return b;
}

/* sk_far.c */
enum { EV_FAR = 1, EV_LOT };
int fars_open(struct tcpd *x);
void fars_event(void *arg, u32 events);
int far_watch(struct tcpd *x, int fd, u32 kind, u32 index, u32 gen, u32 events);
int far_adopt(struct tcpd *x, u32 sk, u32 gen, enum far_kind kind, int fd, u64 cookie, u16 lot);
void far_drop(struct tcpd *x, u32 sk);
void far_listens(struct tcpd *x, u32 sk);
void far_unplug(struct tcpd *x, u32 sk);
void far_rewatch(struct tcpd *x, u32 sk);	/* it has become plain: OUT is of interest, too */
void sk_kicked(struct tcpd *x, u32 sk);
void op_data_ready(void *ctx, u32 sk);
void fars_tell(struct tcpd *x);			/* what op_data_ready() noted */
void op_write_space(void *ctx, u32 sk);
void op_state_change(void *ctx, u32 sk);
void op_error_report(void *ctx, u32 sk);
void op_freed(void *ctx, u32 sk);

/* sk_plain.c */
static inline bool is_plain(struct tcpd *x, u32 sk) { return load_relaxed(&view(x, sk).s->plain) & PLAIN_TX; }
bool plain_kicked(struct tcpd *x, u32 sk);
bool plain_foreign(struct tcpd *x, u32 sk);
void plain_pump(struct tcpd *x, u32 sk);
void plain_adopted(struct tcpd *x, u32 sk);
void plain_dropped(struct tcpd *x, u32 sk);
void plain_timers(struct tcpd *x);

/* sk_accept.c */
void op_accept_ready(void *ctx, u32 listener, u32 sk);
void offers_run(struct tcpd *x);
void offers_look_for_claims(struct tcpd *x, u32 max);
bool offer_claimed(struct tcpd *x, u32 sk);
void offer_hung_up(struct tcpd *x, u32 sk);	/* the last copy of an offered descriptor is gone */
void offer_forget(struct tcpd *x, u32 sk);
void accept_recover(struct tcpd *x);
void listener_ready(struct tcpd *x, u32 sk);

/* sk_lot.c */
int tcp_lots_open(struct tcpd *x);
int tcp_lots_walk(struct tcpd *x);		/* new messages: arenas mapped, far ends adopted */
void tcp_lot_event(struct tcpd *x, u32 lot);
void tcp_lots_find(struct tcpd *x, u32 sk, u32 gen);
void tcp_lots_compact(struct tcpd *x, bool busy);
void lot_entry_died(struct tcpd *x, u16 lot);

/* sk_loop.c */
u32 tcpd_poll(void *arg, u32 budget);
bool tcpd_pending(void *arg);

#endif
