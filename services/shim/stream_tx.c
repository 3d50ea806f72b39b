/* stream_tx.c – tx2: tcp_sendmsg() in the application.
 *
 * Bytes go into the ring behind tx_head, then tx_head is published; tcpd segments them (tx3) when it is kicked.
 * A full ring is told to the kernel's poll by a plug: PLUG_BYTES in the far end, more than the near end's minimal
 * send buffer shows OUT for. The stack reads it away when a third is free. The plug is its own doorbell: sent after
 * tx_head is published and before the call returns, so that nobody can see OUT and a full ring for long. */
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>

#include "services/shim/stream.h"

#define TRIM_BYTES (256u << 10)

#ifndef STREAM_MUTANT
#define STREAM_MUTANT 0
#endif

static void copy_in(const struct sockbuf *b, u64 off, const struct iovec *v, size_t skip, size_t n)
{
	for (; n; v++) {
		size_t l;

		if (skip >= v->iov_len) {
			skip -= v->iov_len;
			continue;
		}
		l = MIN(n, v->iov_len - skip);
		bytes_in(b->tx, b->tx_size, off, (const u8 *)v->iov_base + skip, l);
		skip = 0;
		off += l;
		n -= l;
	}
}

static void plug_fill(u8 *buf, const struct sock *s)
{
	struct plug p = { PLUG_MAGIC, 0 };

	if (load_relaxed(&((struct sock *)s)->life) == SOCK_LIVE && load_acquire(&s->b.s->state) == SKS_CONNECTED)
		p.nonce = load_relaxed(&s->b.s->nonce);
	memset(buf, 0, PLUG_BYTES);
	memcpy(buf, &p, sizeof(p));
}

int stream_plug(struct sock *s, int fd, int flags)
{
	u8 buf[PLUG_BYTES];
	long r;

	if (STREAM_MUTANT == 3)
		return 0;
	plug_fill(buf, s);
	r = sys_send(fd, buf, PLUG_BYTES, MSG_NOSIGNAL | MSG_DONTWAIT | flags);
	return r < 0 ? (int)r : 0;
}

/* The far end is still our own, and the caller is going to block: so many bytes that the send buffer is full. One plug takes
 * OUT away, but a send blocks only when there are four, and each of them would wake the stack. */
void stream_plug_deep(int fd)
{
	u8 buf[PLUG_DEEP] = { 0 };
	struct plug p = { PLUG_MAGIC, 0 };

	memcpy(buf, &p, sizeof(p));
	sys_send(fd, buf, sizeof(buf), MSG_NOSIGNAL | MSG_DONTWAIT);	/* EAGAIN: it is full already */
}

/* A blocking send of one more plug waits exactly as long as OUT is away, with the kernel's SO_SNDTIMEO, O_NONBLOCK
 * and SA_RESTART. That it may leave a plug behind when there is space is harmless: the stack reads it away. */
int stream_wait_out(struct sock *s, int fd)
{
	u8 buf[PLUG_BYTES];

	plug_fill(buf, s);
	if (real.send(fd, buf, PLUG_BYTES, MSG_NOSIGNAL) < 0)
		return -errno;
	return 0;
}

/* May this socket be written to? 0 or -errno. */
static int writable(struct sock *s)
{
	const struct sockbuf *b = &s->b;
	int err = stream_error(b, true);

	if (err)
		return -err;
	if (load_relaxed(&b->c->shut) & SKC_SHUT_WR)
		return -EPIPE;
	switch (load_acquire(&b->s->state)) {
	case SKS_CONNECTED:
	case SKS_CONNECTING:
	case SKS_DEFERRED:
		return 0;
	default:
		return -EPIPE;
	}
}

static void set_more(struct sock *s, int flags)
{
	u32 opts = load_relaxed(&s->b.c->opts);

	if ((opts & SKC_MORE) && !(flags & MSG_MORE))
		atomic_fetch_and(&s->b.c->opts, ~(u32)SKC_MORE);
	else if (!(opts & SKC_MORE) && (flags & MSG_MORE))
		atomic_fetch_or(&s->b.c->opts, SKC_MORE);
}

/* The ring is empty, and has gone round since: its memory goes back, once a second at most, or each of many quiet
 * connections would hold all of its ring for ever. tcpd does the same with the receive ring (tcp_buffer.c). */
static void tx_trim(struct sock *s, u64 head)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
	if (now.tv_sec == s->tx_trim_s)
		return;
	sys(SYS_madvise, s->b.tx, s->b.tx_size, MADV_REMOVE);
	s->tx_trimmed = head;
	s->tx_trim_s = now.tv_sec;
}

/* One attempt: as many bytes as fit. The count, 0: full, -errno. */
static ssize_t put(struct sock *s, int fd, const struct iovec *v, size_t done, size_t want, int flags)
{
	const struct sockbuf *b = &s->b;
	u64 sigmask, head, used;
	size_t space = 0, n;
	u32 limit, state;
	int r;

	wlock_take(s, &sigmask);
	r = writable(s);
	if (r < 0) {
		wlock_drop(s, sigmask);
		return r;
	}
	set_more(s, flags);
	head = load_relaxed(&b->c->tx_head);
	used = head - load_acquire(&b->s->tx_tail);
	limit = sockbuf_tx_limit(b);
	if (unlikely(!used && head - s->tx_trimmed >= TRIM_BYTES))
		tx_trim(s, head);
	state = load_acquire(&b->s->state);
	if ((state == SKS_CONNECTED || state == SKS_DEFERRED) && used < limit)
		space = limit - used;
	n = MIN(space, want);
	if (n) {
		copy_in(b, head, v, done, n);
		if (unlikely(flags & MSG_OOB)) {
			store_relaxed(&b->c->urg_at, head + n);
			atomic_fetch_or(&b->c->opts, SKC_URG);
		}
		store_release(&b->c->tx_head, head + n);	/* pairs with tcpd's load before it reads the bytes */
	}
	if ((n == space && load_relaxed(&b->s->state) == SKS_CONNECTED) || (n && state == SKS_DEFERRED))
		r = stream_plug(s, fd, 0);	/* full; or Fast Open: no OUT from here on until it is connected */
	if (n)
		arena_kick(s->sk);
	wlock_drop(s, sigmask);
	if (r == -ENOTSOCK || r == -EBADF)
		return r;
	return (ssize_t)n;
}

/* Fast Open: the bytes went, or will go, with the SYN; a blocking call hears what becomes of it. 0 or -errno. */
static int wait_connected(struct sock *s, int fd)
{
	u32 state;

	while ((state = load_acquire(&s->b.s->state)) == SKS_CONNECTING || state == SKS_DEFERRED)
		if (stream_wait_out(s, fd) < 0 && load_acquire(&s->b.s->state) == state)
			return 0;	/* SO_SNDTIMEO, or a signal: the bytes are taken all the same */
	return state == SKS_FAILED ? -stream_error(&s->b, true) : 0;
}

ssize_t tcp_sendmsg(struct sock *s, int fd, const struct iovec *v, int n, int flags)
{
	bool deferred = load_acquire(&s->b.s->state) == SKS_DEFERRED;
	size_t want = iov_total(v, n), done = 0;
	ssize_t r;

	for (;;) {
		if (stream_plain(s, PLAIN_TX)) {
			r = STREAM_PLAIN;
			break;
		}
		r = put(s, fd, v, done, want - done, flags);
		if (r < 0)
			break;
		done += (size_t)r;
		if (done == want) {
			r = deferred && done && !stream_nonblocking(fd, flags) ? wait_connected(s, fd) : 0;
			return r < 0 ? r : (ssize_t)done;
		}
		if (stream_nonblocking(fd, flags)) {
			r = -EAGAIN;
			break;
		}
		r = stream_wait_out(s, fd);
		if (r == -EPIPE && !writable(s)) {
			r = -ECONNRESET;	/* the stack's end is gone without a word */
			break;
		}
		if (r < 0 && r != -EPIPE)
			break;
	}
	if (done)
		return (ssize_t)done;
	if (r == -EPIPE && !(flags & MSG_NOSIGNAL))
		sys(SYS_tgkill, sys_getpid(), sys_gettid(), SIGPIPE);
	return r;
}
