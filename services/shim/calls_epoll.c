/* calls_epoll.c – rx7: epoll_ctl and epoll_wait, interposed.
 *
 * The kernel's epoll is right about our pairs as it is: level, edge, ONESHOT, EXCLUSIVE. Events are sifted (epoll.c),
 * and if none is left the wait goes on for the rest of its time. Registrations of a socket that may still turn out to
 * be the kernel's are remembered with it as well: then they are made again. */
#include "services/shim/calls.h"
#include "services/shim/epoll.h"

static void remember(struct sock *s, int epfd, int op, int fd, const struct epoll_event *ev)
{
	u32 i = 0;

	lock_take(&s->lock);
	while (i < s->nregs && !(s->reg[i].epfd == epfd && s->reg[i].fd == fd))
		i++;
	if (op == EPOLL_CTL_DEL) {
		if (i < s->nregs)
			s->reg[i] = s->reg[--s->nregs];
	} else if (i < REGS_MAX && ev) {
		s->reg[i] = (struct sock_reg){ epfd, fd, *ev };
		if (i == s->nregs)
			s->nregs++;
	}
	lock_drop(&s->lock);
}

EXPORT int epoll_ctl(int epfd, int op, int fd, struct epoll_event *ev)
{
	struct sock *s = sock_get(fd);
	int r;

	real_need();
	if (ev && op != EPOLL_CTL_DEL && table_mine())
		epoll_note(epfd, fd, s, ev);
	r = real.epoll_ctl(epfd, op, fd, ev);
	if (s && r == 0 && (load_acquire(&s->life) != SOCK_LIVE || load_acquire(&s->b.s->state) == SKS_FRESH) && table_mine())
		remember(s, epfd, op, fd, ev);
	if (s)
		sock_put(s);
	return r;
}

EXPORT int epoll_pwait(int epfd, struct epoll_event *ev, int max, int ms, const sigset_t *mask)
{
	u64 deadline = ms > 0 ? shim_now() + (u64)ms * NSEC_PER_MSEC : 0, now;
	int r;

	real_need();
	for (;;) {
		r = real.epoll_pwait(epfd, ev, max, ms, mask);
		if (r > 0)
			r = epoll_sift(epfd, ev, r);
		else
			return r;
		if (r > 0)
			return r;
		now = ms > 0 ? shim_now() : 0;
		if (ms > 0)
			ms = now < deadline ? (int)((deadline - now + NSEC_PER_MSEC - 1) / NSEC_PER_MSEC) : 0;
	}
}

EXPORT int epoll_wait(int epfd, struct epoll_event *ev, int max, int ms)
{
	return epoll_pwait(epfd, ev, max, ms, NULL);
}

EXPORT int epoll_pwait2(int epfd, struct epoll_event *ev, int max, const struct timespec *timeout, const sigset_t *mask)
{
	u64 deadline = shim_deadline(timeout);
	struct timespec left;
	int r;

	real_need();
	if (!real.epoll_pwait2)
		return errno_of(-ENOSYS);
	for (;;) {
		r = real.epoll_pwait2(epfd, ev, max, timeout, mask);
		if (r > 0)
			r = epoll_sift(epfd, ev, r);
		else
			return r;
		if (r > 0)
			return r;
		if (timeout) {
			left = shim_left(deadline);
			timeout = &left;
		}
	}
}
