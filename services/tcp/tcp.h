/* tcp.h – TCP as pure code: no system call, no clock, no memory of its own.
 *
 * struct tcp_stack is one TCP: the tables in its region, the arenas, the time, and the functions through which
 * it acts. tcpd's main.c and the simulator are the two callers. sk is a socket index (proto/shm/arena.h).
 * All time is CLOCK_MONOTONIC ns in `now`, set by the caller before every call.
 * Errors: 0 or a negative errno, the one Linux gives. */
#ifndef STRATA_TCP_H
#define STRATA_TCP_H

#include "common/config.h"
#include "common/counters.h"
#include "common/skb.h"
#include "common/sockbuf.h"
#include "common/timer.h"
#include "proto/shm/secret.h"
#include "proto/shm/plain.h"
#include "proto/shm/tcb.h"

struct tcp_route { be32 saddr; u32 mtu; bool gso, csum, mtu_locked; };	/* what a path offers */

struct tcp_ops {
	/* af_ops.queue_xmit: hand a segment to IP (tx3 -> tx4). skb holds TCP header + payload in a transmit buffer,
	 * tx_cb filled. Takes ownership on 0; -ENOBUFS (ring full): nothing taken, tcp calls again from tcp_resume(). */
	int (*queue_xmit)(void *ctx, struct sk_buff *skb);
	/* A transmit buffer for `size` bytes (headers included), tagged with sk; its bytes, or NULL. */
	u8 *(*alloc)(void *ctx, u32 size, u32 sk, struct sk_buff *skb);
	void (*unalloc)(void *ctx, struct sk_buff *skb);	/* was never handed down */
	u32 (*loans)(void *ctx, u32 sk);	/* transmit buffers of sk still out: do not resend what is (0 if none) */
	int (*route)(void *ctx, be32 daddr, be32 saddr_hint, struct tcp_route *ret);	/* 0, -ENETUNREACH, ... */
	u32 (*route_gen)(void *ctx);	/* changes with what route() says; NULL: that never changes */
	void (*pmtu_learnt)(void *ctx, be32 daddr, u32 mtu);	/* for other connections; may be lost. NULL: nobody keeps it */
	bool (*is_local)(void *ctx, be32 addr);
	void (*random)(void *ctx, void *buf, size_t n);
	/* sk.data_ready and friends (rx7); the words in sk_stack are stored before these are called. */
	void (*data_ready)(void *ctx, u32 sk);		/* rx_head moved, or fin set (then: RDHUP) */
	void (*write_space)(void *ctx, u32 sk);		/* tx_tail moved */
	void (*state_change)(void *ctx, u32 sk);	/* state or err changed: connected, failed, reset, closed */
	void (*error_report)(void *ctx, u32 sk);	/* sk_stack.report has news; the connection goes on. NULL: nobody asks */
	void (*trim)(void *ctx, u32 sk);		/* nothing in the receive ring is wanted: its memory may go. Optional */
	void (*freed)(void *ctx, u32 sk);		/* the connection and its slot are gone; release everything about sk */
	/* Passive open (rx6): a slot in the listener's arenas for a new connection, or -ENOBUFS: the ACK is dropped. */
	s64 (*child)(void *ctx, u32 listener);		/* sk or -errno */
	void (*accept_ready)(void *ctx, u32 listener, u32 sk);	/* offer it to the application */
	void (*syn_flood)(void *ctx, u16 port, bool cookies);	/* a listener's queue is full: tell the operator. May be NULL */
};

struct tcp_stack {
	const struct tcp_ops *ops;
	void *ctx;
	u64 now;
	u64 realtime;			/* seconds, for nothing but ISN salt rotation; may be 0 */
	struct tcp_tables *t;		/* in the region (hard state) */
	struct secret_shm *secret;	/* keys, in a region of their own */
	struct counters *counters;
	const struct config *conf;
	struct tcp_plain *plain;	/* SK_MAX, in the region; NULL: there are no holders without the shim */
	struct arena_map arena[ARENA_MAX];
	struct tcp_soft *soft;		/* private memory: timers, scoreboards, congestion state of every sk; tcp_attach allocates */
};

/* A start is a restart: verify the tables, rebuild what is soft, note connections with unfinished work. 0 or -ENOMEM. */
int tcp_attach(struct tcp_stack *t);
void tcp_detach(struct tcp_stack *t);
/* An arena was mapped (or mapped again after a restart): its sockets may be touched from now on. */
void tcp_arena_added(struct tcp_stack *t, u32 arena);
/* An arena is about to be unmapped: nothing of it is touched any more. Sockets in it, if sockd lost it, end without a word. */
void tcp_arena_removed(struct tcp_stack *t, u32 arena);

/* rx6 tcp_v4_rcv(): one segment (possibly GRO-merged up to 64 KB). data = TCP header on, skb->len bytes, cb = struct ip_cb.
 * Payload is copied out before it returns; `still_ours` is asked after the copy and before rcv_nxt moves (generation check). */
void tcp_v4_rcv(struct tcp_stack *t, struct sk_buff *skb, const u8 *data, bool (*still_ours)(void *ctx, const struct sk_buff *), void *ctx);
/* An ICMP error for a segment we sent: data = quoted TCP header (at least 8 bytes). */
void tcp_v4_err(struct tcp_stack *t, const struct ip_cb *cb, const u8 *data, u32 len);
/* ipd could not send a segment of sk (positive errno): EHOSTUNREACH fails a connect, is soft otherwise. */
void tcp_xmit_failed(struct tcp_stack *t, u32 sk, int error);

/* A device's MTU is another: connections ask for their routes again. */
void tcp_routes_changed(struct tcp_stack *t);

/* The application's words of sk changed (kick): new bytes, read progress, shutdown, options. tx2 begins here. */
void tcp_kick(struct tcp_stack *t, u32 sk);
/* A holder without the shim: 0, from now on words and transmit ring of a connection are `plain`; -ENOTCONN; -ECONNRESET.
 * Then, with no token in the pair, its receive ring is served, too. */
int tcp_plain_begin(struct tcp_stack *t, u32 sk);
int tcp_plain_serve(struct tcp_stack *t, u32 sk);
/* End of a batch: send what was only noted (ACKs, data freed by ACKs). Also after transmit space came back. */
void tcp_flush(struct tcp_stack *t);
void tcp_resume(struct tcp_stack *t);	/* there is ring space or buffers again */
u64 tcp_run_timers(struct tcp_stack *t);	/* everything due; returns the next deadline, UINT64_MAX none */

/* Socket calls, from sockd's mailbox. The slot must be FRESH or as the call demands. */
int tcp_socket(struct tcp_stack *t, u32 sk, u32 gen, u32 uid);	/* slot becomes a fresh socket */
int tcp_bind(struct tcp_stack *t, u32 sk, be32 addr, be16 port);
int tcp_connect(struct tcp_stack *t, u32 sk, be32 addr, be16 port, u32 op_seq);	/* idempotent by op_seq; 0: SYN sent or queued */
int tcp_connect_fastopen(struct tcp_stack *t, u32 sk, be32 addr, be16 port, u32 op_seq);
int tcp_listen(struct tcp_stack *t, u32 sk, int backlog);
int tcp_disconnect(struct tcp_stack *t, u32 sk);
int tcp_shutdown(struct tcp_stack *t, u32 sk, int how);
int tcp_setsockopt(struct tcp_stack *t, u32 sk, int level, int name, const void *val, u32 len);
int tcp_getsockopt(struct tcp_stack *t, u32 sk, int level, int name, void *val, u32 *len);
/* The last descriptor is closed (HUP on the far end): RST if bytes are unread, else flush and FIN; then ops->freed. */
void tcp_orphan(struct tcp_stack *t, u32 sk);
/* A client's words made no sense: reset this connection, count it. */
void tcp_abort(struct tcp_stack *t, u32 sk, int err);
/* The next connection to offer from listener's queue (established, not offered yet), or -EAGAIN. Marks nothing:
 * tcp_offered() does, once the offer is in the listener's socket. */
s64 tcp_accept_next(struct tcp_stack *t, u32 listener);
void tcp_offered(struct tcp_stack *t, u32 sk);
void tcp_claimed(struct tcp_stack *t, u32 sk);		/* the application took it: no longer in the accept queue */

/* State for ss and the tests. */
const char *tcp_state_name(u32 state);

#endif
