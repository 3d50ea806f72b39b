/* stream.c – rx8: tcp_recvmsg() in the application, and what the two directions share.
 *
 * The stack's side is common/readiness.c. The rules, each found by a stress test that hung without it:
 *  - rx_tail moves by compare-and-swap: several readers, no lock, any of them may die at any instruction.
 *  - Ring emptied: all tokens are drained. Not emptied: drained to one, so that others are still told.
 *  - Every look, successful or not, re-arms (arm++), fences, and looks again: what came in between is kicked for.
 *  - Once the stream has ended nothing is drained any more: the stack tells by what lies there that we live.
 *  - How many tokens there are is asked of the kernel. sent - eaten does not know it: a process may die, or be
 *    overtaken, between moving a token and counting it, and one believed to be there is a wake-up lost. */
#include "services/shim/stream.h"

#include <fcntl.h>
#include <linux/sockios.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <time.h>

#ifndef STREAM_MUTANT
#define STREAM_MUTANT 0		/* 1: tokens are counted, not asked for; 2: no second look after arming; 3: no plug */
#endif

size_t iov_total(const struct iovec *v, int n)
{
	size_t total = 0;

	for (int i = 0; i < n; i++)
		total += v[i].iov_len;
	return total;
}

/* n bytes at stream offset off go to v, skipping what v holds already. */
static void copy_out(const struct iovec *v, size_t skip, const struct sockbuf *b, u64 off, size_t n)
{
	for (; n; v++) {
		size_t l;

		if (skip >= v->iov_len) {
			skip -= v->iov_len;
			continue;
		}
		l = MIN(n, v->iov_len - skip);
		bytes_out((u8 *)v->iov_base + skip, b->rx, b->rx_size, off, l);
		skip = 0;
		off += l;
		n -= l;
	}
}

/* Where the readable bytes end: the peer's FIN takes an offset of its own, which is no byte. */
static u64 rx_limit(const struct sockbuf *b)
{
	u64 head = load_acquire(&b->s->rx_head), fin = load_acquire(&b->s->fin);

	return fin ? MIN(head, fin - 1) : head;
}

u64 stream_readable(const struct sockbuf *b)
{
	u64 tail = load_relaxed(&b->c->rx_tail), limit = rx_limit(b), n = limit > tail ? limit - tail : 0;

	return n && urgent_at_mark(b) && !urgent_inline(b) ? n - 1 : n;	/* the urgent byte is none of them */
}

bool stream_eof(const struct sockbuf *b)
{
	u64 fin = load_acquire(&b->s->fin);

	return fin && load_acquire(&b->s->rx_head) + 1 >= fin && load_relaxed(&b->c->rx_tail) + 1 >= fin;
}

bool stream_ended(const struct sockbuf *b)
{
	u64 fin = load_acquire(&b->s->fin);
	u32 state = load_acquire(&b->s->state);

	if (load_relaxed(&b->c->shut) & SKC_SHUT_RD)
		return true;		/* the token that tells it stays */
	return state == SKS_CLOSED || (state == SKS_CONNECTED && fin && load_acquire(&b->s->rx_head) + 1 >= fin);
}

int stream_note(_Atomic u32 *note, _Atomic u32 *taken, bool take)
{
	u32 n = load_acquire(note), seen = load_relaxed(taken);

	if (!sk_note_errno(n) || seen == n || (take && !atomic_compare_exchange_strong(taken, &seen, n)))
		return 0;
	return (int)sk_note_errno(n);
}

bool stream_error_queued(const struct sockbuf *b)
{
	u32 n = load_acquire(&b->s->errq_head) - load_relaxed(&b->c->errq_tail);

	return n && n <= SK_ERRQ;
}

/* err belongs to connect attempt `attempt`; err_taken names the attempt whose error was reported, plus one. */
int stream_error(const struct sockbuf *b, bool take)
{
	u32 err = load_acquire(&b->s->err), name = (u32)load_relaxed(&b->s->attempt) + 1;
	u32 seen = load_relaxed(&b->c->err_taken);

	if (!err)
		return stream_note(&b->s->report, &b->c->report_taken, take);
	if (seen == name)
		return 0;
	if (take && !atomic_compare_exchange_strong(&b->c->err_taken, &seen, name))
		return seen == name ? 0 : (int)err;
	return (int)err;
}

bool stream_over(const struct sockbuf *b) { return load_acquire(&b->s->err) && stream_error(b, false); }

bool stream_nonblocking(int fd, int flags)
{
	long fl;

	if (flags & MSG_DONTWAIT)
		return true;
	fl = sys_fcntl(fd, F_GETFL, 0);
	return fl >= 0 && (fl & O_NONBLOCK);
}

bool reading_begin(struct sock *s)
{
	struct timespec nap = { 0, 50000 };

	for (;;) {
		atomic_fetch_add(&s->b.c->readers, 1);
		fence_seq_cst();	/* pairs with the fences between QUIET and the look at `readers` in hand.c and sk_plain.c */
		if (!stream_plain(s, PLAIN_RX | PLAIN_QUIET))
			return true;
		reading_end(s);
		if (stream_plain(s, PLAIN_RX))
			return false;
		sys(SYS_nanosleep, &nap, 0);
	}
}

/* The far end is gone without a word: the instance was torn down, nothing will ever come. (At an urgent byte recv() gives 0, too.) */
static bool hung_up(int fd)
{
	struct pollfd p = { .fd = fd };
	struct timespec none = { 0, 0 };

	return sys(SYS_ppoll, &p, 1, &none, 0, 8) == 1 && p.revents & POLLHUP;
}

/* What lies in the near end of a stream that has ended is the stack's anchor (readiness.h). */
static int drain(struct sock *s, int fd, bool keep_urgent)
{
	char junk[DRAIN_BYTES];
	int total = 0;
	long r = 0;

	do {
		if (stream_ended(&s->b) || (keep_urgent && urgent_keep(&s->b, fd)))
			break;
		r = sys_recv(fd, junk, sizeof(junk), MSG_DONTWAIT);
		if (r > 0)
			total += (int)r;
	} while (r == sizeof(junk));
	if (r < 0 && r != -EAGAIN && r != -EINTR && r != -ECONNRESET)
		return (int)r;
	if (r == 0 && !stream_ended(&s->b) && hung_up(fd))
		return -ECONNRESET;
	if (total)
		atomic_fetch_add(&s->b.c->eaten, (u32)total);
	return total;
}

static int begin_and_drain(struct sock *s, int fd, bool keep_urgent)
{
	if (!reading_begin(s))
		return 0;
	int r = drain(s, fd, keep_urgent);
	reading_end(s);
	return r;
}

int stream_drain(struct sock *s, int fd) { return begin_and_drain(s, fd, true); }

/* The kernel (6.18) goes on counting an urgent byte that was taken: then only looking is certain. */
static int tokens(const struct sock *s, int fd)
{
	char junk[DRAIN_BYTES];
	int n = 0;

	if (unlikely(load_relaxed(&s->b.s->urg)))
		return MAX((int)sys_recv(fd, junk, sizeof(junk), MSG_PEEK | MSG_DONTWAIT), 0);

	if (STREAM_MUTANT == 1)
		return (int)(load_acquire(&s->b.s->sent) - load_relaxed(&s->b.c->eaten));
	return sys(SYS_ioctl, fd, SIOCINQ, &n) < 0 ? 0 : n;
}

/* Leave one token of several. True: none is left (another reader did the same), the stack must be asked. */
static bool drain_to_one(struct sock *s, int fd)
{
	char junk[DRAIN_BYTES];
	int n = tokens(s, fd);
	long r;

	if (n <= 1)
		return n == 0;
	if (stream_ended(&s->b))
		return false;
	r = sys_recv(fd, junk, (size_t)MIN(n - 1, (int)sizeof(junk)), MSG_DONTWAIT);
	if (r > 0)
		atomic_fetch_add(&s->b.c->eaten, (u32)r);
	return tokens(s, fd) == 0;
}

/* arm++ before the second look; pairs with rx_head; fence; load arm in readiness.c. */
static void arm(struct sock *s)
{
	atomic_fetch_add(&s->b.c->arm, 1);
	fence_seq_cst();
}

u64 stream_arm(struct sock *s)
{
	arm(s);
	return stream_readable(&s->b);
}

/* After bytes were taken (or looked at): tokens as they should be, armed, and nothing slipped through between.
 * seen: rx_head as the read saw it. */
static void after_read(struct sock *s, int fd, u64 seen, bool emptied)
{
	bool ask = false;

	if (emptied)
		drain(s, fd, true);
	else
		ask = drain_to_one(s, fd);
	arm(s);
	if (STREAM_MUTANT == 2)
		return;
	if (ask || load_acquire(&s->b.s->rx_head) != seen || (emptied && stream_readable(&s->b)))
		arena_kick(s->sk);
}

/* The window the peer sees is worth an update when reading crosses a quarter of it. */
static bool window_opened(const struct sockbuf *b, u64 before, u64 after)
{
	u32 quarter = MAX(sockbuf_rx_limit(b) / 4, 1u);

	return before / quarter != after / quarter;
}

/* One attempt to take up to `want` bytes: a count, or 0: nothing there. */
static size_t take(struct sock *s, int fd, const struct iovec *v, size_t got, size_t want, int flags)
{
	const struct sockbuf *b = &s->b;

	for (;;) {
		u64 tail = atomic_load(&b->c->rx_tail), head = load_acquire(&b->s->rx_head), limit = rx_limit(b);
		u64 urg = urgent_mark(b), skip = urg && tail == urg - 1 && !urgent_inline(b);
		size_t n;

		if (unlikely(urg && tail < urg - 1))
			limit = MIN(limit, urg - 1);	/* no further than to the mark */

		if (limit <= tail || limit - tail > b->rx_size) {
			if (tail == atomic_load(&b->c->rx_tail))
				return 0;
			continue;	/* limit is older than tail: another reader was here */
		}
		n = MIN(want, (size_t)(limit - tail - skip));
		if (!(flags & MSG_TRUNC))
			copy_out(v, got, b, tail + skip, n);
		if (flags & MSG_PEEK) {
			after_read(s, fd, head, false);
			return n;
		}
		if (!atomic_compare_exchange_strong(&b->c->rx_tail, &tail, tail + skip + n))
			continue;	/* somebody else took them: copy what is there now */
		if (unlikely(urg && tail + skip + n >= urg))
			urgent_passed(fd);
		n += skip;
		if (window_opened(b, limit - tail, limit - tail - n))
			arena_kick(s->sk);
		after_read(s, fd, head, n == limit - tail);
		return n - skip;
	}
}

/* Nothing to read: is that final? 1: not final, wait; 0: end of stream; -errno. */
static int nothing(struct sock *s)
{
	const struct sockbuf *b = &s->b;
	u32 state = load_acquire(&b->s->state);
	int err = stream_error(b, true);

	if (err)
		return -err;
	if (stream_eof(b) || (load_relaxed(&b->c->shut) & SKC_SHUT_RD))
		return 0;
	switch (state) {
	case SKS_CONNECTED:
	case SKS_CONNECTING:
	case SKS_DEFERRED:
		return 1;
	case SKS_CLOSED:
		return 0;
	case SKS_FAILED:	/* as Linux: shut down both ways until connect() has said so, then as new */
		return s->in_progress ? 0 : -ENOTCONN;
	default:
		return -ENOTCONN;
	}
}

/* Wait until there is a token or a shutdown. 0: look again. */
static int wait_in(struct sock *s, int fd)
{
	int drained = stream_drain(s, fd);
	char c;
	ssize_t r;

	if (drained < 0)
		return drained;
	arm(s);
	if (stream_readable(&s->b) || (load_relaxed(&s->b.c->shut) & SKC_SHUT_RD)) {
		if (drained)
			arena_kick(s->sk);	/* others may have been waiting for the tokens we took */
		return 0;
	}
	r = real.recv(fd, &c, 1, MSG_PEEK);	/* O_NONBLOCK, SO_RCVTIMEO and SA_RESTART are the kernel's to apply */
	if (r < 0 && errno != ECONNRESET)
		return -errno;
	if (r <= 0 && nothing(s) == 1 && !stream_readable(&s->b))
		return -ECONNRESET;	/* the stack's end is gone without a word: the instance was torn down */
	return 0;
}

/* MSG_PEEK | MSG_WAITALL: until so much is there that it can be seen at once. The tokens must stay for others, so this
 * looks again and again. false: it will not come, or a signal, or SO_RCVTIMEO. */
static bool peek_more(struct sock *s, int fd, u64 enough, int flags)
{
	struct timespec nap = { 0, 500000 };
	struct { s64 sec, usec; } timeo = { 0, 0 };
	u32 len = sizeof(timeo);
	u64 naps = 0, most;

	if (!(flags & MSG_WAITALL) || stream_nonblocking(fd, flags))
		return false;
	sys_getsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeo, &len);
	most = (u64)(timeo.sec * 1000000 + timeo.usec) / 500;
	while (stream_readable(&s->b) < enough) {
		if (nothing(s) != 1 || (most && naps++ >= most) || sys(SYS_nanosleep, &nap, 0) < 0)
			return false;
	}
	return true;
}

ssize_t tcp_recvmsg(struct sock *s, int fd, const struct iovec *v, int n, int flags)
{
	size_t want = iov_total(v, n), got = 0, enough = load_relaxed(&s->b.c->rcvlowat);
	int r;

	if (!enough)
		enough = 1;
	if ((enough > want || (flags & MSG_WAITALL)) && want)
		enough = want;
	if (flags & MSG_PEEK)
		enough = MIN(enough, (size_t)s->b.rx_size);
	for (;;) {
		if (!reading_begin(s))
			return got ? (ssize_t)got : STREAM_PLAIN;
		size_t l = want ? take(s, fd, v, got, want - got, flags) : 0;
		reading_end(s);

		if (!want && stream_readable(&s->b))
			return 0;
		if ((flags & MSG_PEEK) && l) {
			if (l >= enough || urgent_mark(&s->b) || !peek_more(s, fd, enough, flags))
				return (ssize_t)l;
			continue;
		}
		got += l;
		if (got >= enough || (got && urgent_at_mark(&s->b)))
			return (ssize_t)got;
		if (l)
			continue;
		if (got && stream_error(&s->b, false))
			return (ssize_t)got;	/* the error is for the next call */
		r = nothing(s);
		if (r == 0 && stream_readable(&s->b))
			continue;	/* came, and ended, since we looked */
		if (r <= 0)
			return got ? (ssize_t)got : r;
		if (flags & MSG_DONTWAIT) {
			r = stream_drain(s, fd);
			if (r < 0)
				return r;
			arm(s);
			if (!stream_readable(&s->b))
				return got ? (ssize_t)got : -EAGAIN;
			if (r)
				arena_kick(s->sk);
			continue;
		}
		r = wait_in(s, fd);
		if (r < 0)
			return got ? (ssize_t)got : r;
	}
}

bool stream_spurious(struct sock *s, int fd, bool pri)
{
	const struct sockbuf *b = &s->b;
	u32 state = load_acquire(&b->s->state);
	int drained;

	if (stream_plain(s, PLAIN_RX) || (state != SKS_CONNECTED && state != SKS_DEFERRED) || stream_readable(b) || stream_eof(b) ||
	    stream_error(b, false) ||
	    (load_relaxed(&b->c->shut) & SKC_SHUT_RD))
		return false;
	drained = begin_and_drain(s, fd, pri);
	if (drained < 0)
		return false;
	arm(s);
	if (!stream_readable(b) && !stream_eof(b) && !stream_error(b, false))
		return true;
	if (drained)
		arena_kick(s->sk);
	return false;
}
