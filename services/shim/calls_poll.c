/* calls_poll.c – rx7: poll and select, interposed.
 *
 * The kernel's own are right about our pairs, but for two things: a token may be left over when the bytes are gone
 * (read by another, or twice told), which a program with a blocking socket must not see; and POLLERR, which a pair
 * cannot show. Everything else passes through. */
#include <stdlib.h>
#include <sys/select.h>
#include <sys/syscall.h>

#include "services/shim/calls.h"

#define IN_BITS (POLLIN | POLLRDNORM)

/* One entry as TCP would show it. */
static void correct(struct pollfd *p)
{
	struct sock *s = sock_get(p->fd);

	if (!s)
		return;
	if (load_acquire(&s->life) == SOCK_LIVE) {
		if (stream_error_queued(&s->b))
			p->revents |= POLLERR;
		if (stream_over(&s->b))		/* a pair cannot say HUP and take it back: a failed connect may be repeated */
			p->revents |= POLLERR | POLLHUP | (p->events & (IN_BITS | POLLRDHUP));
		else if (stream_error(&s->b, false))	/* the token that tells it is no data */
			p->revents = (short)((p->revents & ~(stream_readable(&s->b) || stream_eof(&s->b) ? 0 : IN_BITS)) | POLLERR);
		else if (load_relaxed(&s->b.c->shut) & SKC_SHUT_RD)
			p->revents |= p->events & POLLRDHUP;
		else if ((p->revents & IN_BITS) && !(p->revents & (POLLRDHUP | POLLHUP | POLLERR)) && stream_spurious(s, p->fd, p->events & POLLPRI))
			p->revents &= (short)~IN_BITS;
	}
	sock_put(s);
}

/* Is there ERR to be shown which a pair does not know of? */
static bool any_error(const struct pollfd *v, nfds_t n)
{
	bool found = false;

	for (nfds_t i = 0; i < n && !found; i++) {
		struct sock *s = sock_get(v[i].fd);

		if (!s)
			continue;
		found = load_acquire(&s->life) == SOCK_LIVE && (stream_error_queued(&s->b) || stream_error(&s->b, false));
		sock_put(s);
	}
	return found;
}

static int poll_ours(struct pollfd *v, nfds_t n, const struct timespec *timeout, const sigset_t *mask)
{
	u64 deadline = shim_deadline(timeout);
	struct timespec t;
	bool error;
	int r, shown;

	for (;;) {
		error = any_error(v, n);
		if (timeout || error)
			t = error ? (struct timespec){ 0 } : shim_left(deadline);
		r = real.ppoll(v, n, timeout || error ? &t : NULL, mask);
		if (r < 0 || (!r && !error))
			return r;
		shown = 0;
		for (nfds_t i = 0; i < n; i++) {
			if (v[i].revents || error)
				correct(&v[i]);
			shown += v[i].revents != 0;
		}
		if (shown)
			return shown;
	}
}

static bool any_ours(const struct pollfd *v, nfds_t n)
{
	for (nfds_t i = 0; i < n; i++)
		if (ours(v[i].fd))
			return true;
	return false;
}

EXPORT int poll(struct pollfd *v, nfds_t n, int ms)
{
	struct timespec t = { ms / 1000, (long)(ms % 1000) * 1000000 };

	real_need();
	return any_ours(v, n) ? poll_ours(v, n, ms < 0 ? NULL : &t, NULL) : real.poll(v, n, ms);
}

EXPORT int ppoll(struct pollfd *v, nfds_t n, const struct timespec *timeout, const sigset_t *mask)
{
	real_need();
	return any_ours(v, n) ? poll_ours(v, n, timeout, mask) : real.ppoll(v, n, timeout, mask);
}

EXPORT int __poll_chk(struct pollfd *v, nfds_t n, int ms, size_t size);
EXPORT int __poll_chk(struct pollfd *v, nfds_t n, int ms, size_t size)
{
	if (size / sizeof(*v) < n)
		abort();
	return poll(v, n, ms);
}

EXPORT int __ppoll_chk(struct pollfd *v, nfds_t n, const struct timespec *t, const sigset_t *mask, size_t size);
EXPORT int __ppoll_chk(struct pollfd *v, nfds_t n, const struct timespec *t, const sigset_t *mask, size_t size)
{
	if (size / sizeof(*v) < n)
		abort();
	return ppoll(v, n, t, mask);
}

/* Bits of the read set that mean nothing are cleared; how many were. */
static int clear_spurious(int n, fd_set *in, const fd_set *asked_ex)
{
	int cleared = 0;

	for (int fd = 0; in && fd < n; fd++) {
		struct sock *s;

		if (!FD_ISSET(fd, in))
			continue;
		s = sock_get(fd);
		if (!s)
			continue;
		if (load_acquire(&s->life) == SOCK_LIVE && stream_spurious(s, fd, asked_ex && FD_ISSET(fd, asked_ex))) {
			FD_CLR(fd, in);
			cleared++;
		}
		sock_put(s);
	}
	return cleared;
}

static int do_select(int n, fd_set *in, fd_set *out, fd_set *ex, const struct timespec *timeout, const sigset_t *mask)
{
	struct { const sigset_t *mask; size_t len; } m = { mask, 8 };
	u64 deadline = shim_deadline(timeout);
	fd_set was_in, was_out, was_ex;
	size_t bytes = (size_t)(n + 63) / 64 * 8;
	struct timespec t;
	bool more = n > 0 && bytes <= sizeof(fd_set) && in;
	long r;

	if (more) {
		memcpy(&was_in, in, bytes);
		memcpy(&was_out, out ? out : in, bytes);
		memcpy(&was_ex, ex ? ex : in, bytes);
	}
	for (;;) {
		if (timeout)
			t = shim_left(deadline);
		r = sys(SYS_pselect6, n, in, out, ex, timeout ? &t : NULL, &m);
		if (r <= 0 || !more)
			return (int)r;
		r -= clear_spurious(n, in, ex ? &was_ex : NULL);
		if (r > 0)
			return (int)r;
		memcpy(in, &was_in, bytes);
		if (out)
			memcpy(out, &was_out, bytes);
		if (ex)
			memcpy(ex, &was_ex, bytes);
	}
}

EXPORT int select(int n, fd_set *in, fd_set *out, fd_set *ex, struct timeval *tv)
{
	struct timespec t, *timeout = NULL;
	u64 deadline = 0;
	int r;

	if (tv) {
		if (tv->tv_sec < 0 || tv->tv_usec < 0)
			return errno_of(-EINVAL);
		t = (struct timespec){ tv->tv_sec + tv->tv_usec / 1000000, (long)(tv->tv_usec % 1000000) * 1000 };
		timeout = &t;
		deadline = shim_deadline(timeout);
	}
	r = do_select(n, in, out, ex, timeout, NULL);
	if (tv) {			/* Linux: what is left of it */
		t = shim_left(deadline);
		tv->tv_sec = t.tv_sec;
		tv->tv_usec = t.tv_nsec / 1000;
	}
	return errno_of(r);
}

EXPORT int pselect(int n, fd_set *in, fd_set *out, fd_set *ex, const struct timespec *timeout, const sigset_t *mask)
{
	return errno_of(do_select(n, in, out, ex, timeout, mask));
}
