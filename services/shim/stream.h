/* stream.h – the byte rings of a socket, read and written by the application itself: tx2 and rx8.
 *
 * Linked into the shim and, unchanged, into tests/shim/stress.c. Nothing here knows sockd. Returns a count or
 * -errno; -ENOTSOCK or -EBADF: the descriptor is not the socket it was (closed behind our back). */
#ifndef STRATA_SHIM_STREAM_H
#define STRATA_SHIM_STREAM_H

#include "services/shim/shim.h"

#pragma GCC visibility push(hidden)

/* rx8 tcp_recvmsg(). flags: MSG_PEEK, MSG_DONTWAIT, MSG_WAITALL, MSG_TRUNC (bytes are discarded, not copied).
 * Blocks as the descriptor's O_NONBLOCK and SO_RCVTIMEO say. 0: end of stream. */
ssize_t tcp_recvmsg(struct sock *s, int fd, const struct iovec *v, int n, int flags);
/* tx2 tcp_sendmsg(). flags: MSG_DONTWAIT, MSG_MORE, MSG_NOSIGNAL (else -EPIPE comes with SIGPIPE). */
ssize_t tcp_sendmsg(struct sock *s, int fd, const struct iovec *v, int n, int flags);

/* The protocol behind a socket. Others (UDP, raw) will stand beside TCP here. */
struct proto_ops {
	ssize_t (*sendmsg)(struct sock *s, int fd, const struct iovec *v, int n, int flags);
	ssize_t (*recvmsg)(struct sock *s, int fd, const struct iovec *v, int n, int flags);
};
/* proto.c: what all of write, writev, send, sendto, sendmsg (tx1) and read, readv, recv, recvfrom, recvmsg (rx8) end in. */
ssize_t sock_sendmsg(struct sock *s, int fd, const struct iovec *v, int n, int flags);
ssize_t sock_recvmsg(struct sock *s, int fd, const struct iovec *v, int n, int flags);

u64 stream_readable(const struct sockbuf *b);	/* bytes that may be read now */
bool stream_eof(const struct sockbuf *b);	/* everything up to the peer's FIN has been read */
bool stream_ended(const struct sockbuf *b);	/* nothing more will come: the descriptor stays readable, nothing is drained */
/* Has it become plain, for this direction (PLAIN_*)? Also when it is over and another lives in its slot: the kernel will
 * say so. A socket that tcpd has not seen yet has an older generation in its words. */
static inline bool stream_plain(const struct sock *s, u32 what)
{
	u32 plain = load_acquire(&s->b.s->plain);	/* cleared after the new gen was stored */

	return plain & what || (s32)(load_relaxed(&s->b.s->gen) - s->gen) > 0;
}
/* Around whatever takes bytes or tokens. False: it has become plain. Waits while the socket is being handed over, which
 * must see all of what was taken and nothing in the middle. Not to be nested. */
bool reading_begin(struct sock *s);
static inline void reading_end(struct sock *s) { atomic_fetch_sub(&s->b.c->readers, 1); }
#define STREAM_PLAIN -ESTALE	/* tcp_recvmsg(), tcp_sendmsg(): nothing was done, it has become plain: ask plain.c */
ssize_t plain_recvmsg(struct sock *s, int fd, const struct iovec *v, int n, int flags);
ssize_t plain_sendmsg(struct sock *s, int fd, const struct iovec *v, int n, int flags);
#define DRAIN_BYTES 64		/* taken at once by a drain; readiness.c's anchor is many times that */
int stream_error(const struct sockbuf *b, bool take);	/* pending error, 0: none; taken: reported once */
int stream_note(_Atomic u32 *note, _Atomic u32 *taken, bool take);	/* errno of a note nobody has taken yet, or 0 */
bool stream_over(const struct sockbuf *b);	/* the pending error is of a connection, or an attempt, that is over */
bool stream_error_queued(const struct sockbuf *b);	/* recvmsg(MSG_ERRQUEUE) has something to give */
u64 stream_arm(struct sock *s);			/* FIONREAD and friends: look, and want to be told what comes later */
/* poll said IN: is there nothing after all? (then: disarmed, wait again). pri: PRI is asked for too, and its token is left */
bool stream_spurious(struct sock *s, int fd, bool pri);
int stream_plug(struct sock *s, int fd, int flags);	/* take OUT away */
void stream_plug_deep(int fd);			/* the same, for who connects and blocks: nobody reads the far end yet */
#define PLUG_DEEP 2352u
int stream_wait_out(struct sock *s, int fd);	/* until there is OUT, as a blocking send: 0, -EAGAIN (timeout), -EINTR */
int stream_drain(struct sock *s, int fd);	/* all tokens out of the near end: how many, or -errno */
bool stream_nonblocking(int fd, int flags);
size_t iov_total(const struct iovec *v, int n);

/* fastopen.c: sendto, sendmsg with MSG_FASTOPEN. -ENOTSOCK: the descriptor is the kernel's now, ask there */
ssize_t sock_send_fastopen(struct sock *s, int fd, const struct iovec *v, int n, int flags, const struct sockaddr *a, socklen_t len);

/* urgent.c */
u64 urgent_mark(const struct sockbuf *b);
bool urgent_inline(const struct sockbuf *b);
bool urgent_at_mark(const struct sockbuf *b);	/* SIOCATMARK */
u64 urgent_inq(const struct sockbuf *b, u64 readable);
bool urgent_keep(const struct sockbuf *b, int fd);
void urgent_passed(int fd);			/* no PRI any more */
ssize_t urgent_recv(struct sock *s, int fd, const struct iovec *v, int n, int flags);

/* errqueue.c */
ssize_t sock_recv_error(struct sock *s, struct msghdr *m);	/* recvmsg(MSG_ERRQUEUE): bytes, or -EAGAIN */
void sock_error_purge(struct sock *s);		/* IP_RECVERR was switched off: what is queued goes */

/* wlock.c: one writer at a time, whatever process it is in; a dead one does not count. Signals are blocked between. */
void wlock_take(struct sock *s, u64 *ret_sigmask);
void wlock_drop(struct sock *s, u64 sigmask);
void wlock_forked(void);

#pragma GCC visibility pop
#endif
