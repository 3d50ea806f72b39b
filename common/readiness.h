/* readiness.h – rx7, the stack's side: sk.data_ready, sk.write_space, sk.state_change told through a socketpair.
 *
 * An application's descriptor is the near end of an AF_UNIX stream pair, the stack holds the far end. The kernel's
 * own poll, select and epoll then say what the rings in the arena hold:
 *   IN   one byte (a token) lies in the near end        stack -> application, sent when the application is armed
 *   OUT  no plug (PLUG_BYTES) lies in the far end        application -> stack, its send buffer is at the minimum
 *   PRI  a token sent with MSG_OOB lies in the near end (Linux 5.15): urgent data; SIGURG is the kernel's as well. After a
 *        restart it may be told twice
 *   RDHUP / HUP  the far end was shut down for writing / for both: the peer's FIN / the connection is over
 * A far end that we have shut down for both shows HUP itself, for ever, whoever lives: so an anchor is left in the near
 * end before a shutdown, bytes which no application takes away once the end is told (stream_ended()). While they lie
 * there (SIOCOUTQ) a copy of the descriptor is open; the kernel throws them away with the last.
 * The application's side is services/shim/stream.c; the two are proved together by tests/shim/stress.c, under SIGKILL.
 *
 * Called by tcpd (and the stress test). Every function may be repeated: a successor that does too much is harmless.
 * Nothing here blocks, whatever the application did to the shared file descriptions. A client's words are only
 * compared: nonsense costs that application a needless or a missing wake-up, nobody else anything.
 *
 * How tcpd uses it, by event:
 *   slot gets a pair (SOCKET, accept)     ready_attach()
 *   tcpd started again, for every pair    ready_attach()   (the same: start is restart)
 *   tcp_ops.data_ready                    ready_data()
 *   tcp_ops.write_space                   ready_space()
 *   tcp_ops.state_change                  ready_state()
 *   tcp_ops.error_report                  ready_error()
 *   kick counter of the slot moved, or a process that had the arena mapped has died: tcp_kick(), then ready_kick()
 *     (a process may die between publishing and kicking: after a client of sockd hangs up, kick all slots of its arenas)
 *   EPOLLIN on the far end (watch it EPOLLIN | EPOLLRDHUP | EPOLLET)   ready_input(), then as for a kick
 *   EPOLLHUP on the far end               if ready_gone(): the last copy of the descriptor is gone: tcp_orphan()
 *   tcp_ops.accept_ready                  ready_offer() on the listener's pair, then tcp_offered()
 */
#ifndef STRATA_READINESS_H
#define STRATA_READINESS_H

#include "sockbuf.h"

struct ready {			/* soft: all of it is derived again by ready_attach() */
	int far;		/* the stack's end of the pair; the caller opens and closes it */
	bool plugged;		/* the far end holds bytes: the application does not see OUT */
	bool urgent;		/* an urgent token was sent: what the kernel says of bytes in flight may be one too many */
	u64 urg_told;		/* sk_stack.urg that was told */
	u8 shut;		/* READY_SHUT_*: told already */
};
enum { READY_SHUT_WR = 1, READY_SHUT_RDWR = 2 };

/* What ready_input() found in the far end. */
enum ready_in {
	READY_NOTHING,		/* empty */
	READY_PLUG,		/* the application waits for space: r->plugged is set */
	READY_FOREIGN,		/* bytes that are no plug: a holder without the shim wrote them (services/tcp/sk_plain.c) */
};

/* Adopt a pair, new or inherited from a dead predecessor: plugged is what the far end holds, a token is sent
 * whatever was armed if there is anything to tell, shutdowns are repeated from fin and err, space is looked at. */
void ready_attach(struct ready *r, const struct sockbuf *b, int far);

void ready_data(struct ready *r, const struct sockbuf *b);	/* rx_head or fin has moved (stored before this call) */
void ready_space(struct ready *r, const struct sockbuf *b);	/* tx_tail has moved: unplug when a third is free */
void ready_state(struct ready *r, const struct sockbuf *b);	/* state or err has changed: connected, failed, reset, closed */
void ready_error(struct ready *r, const struct sockbuf *b);	/* report has news: who waits, reading or writing, is woken */
void ready_kick(struct ready *r, const struct sockbuf *b);	/* the application kicked: look again, lose nothing */
enum ready_in ready_input(struct ready *r, const struct sockbuf *b);	/* the far end became readable */

/* The far end shows HUP: is no copy of the application's descriptor left? False: it is our own shutdown that shows. */
bool ready_gone(const struct ready *r);

/* Offer connection descriptor `near` on a listener's pair: one message. 0; -EAGAIN: the listener's buffer is full,
 * again after its next kick or EPOLLOUT; -ETOOMANYREFS: too many descriptors in flight (LimitNOFILE), try later;
 * -EPIPE: the listener is gone. The caller keeps (parks) or closes `near` as it likes afterwards. */
int ready_offer(const struct ready *listener, const struct accept_offer *o, int near);
/* Bytes of offers not yet received: at most READY_OFFERS are put ahead, the rest of the backlog stays in tcpd. */
#define READY_OFFERS 128u
bool ready_offer_room(const struct ready *listener);

#endif
