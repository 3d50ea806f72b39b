/* calls_epoll.c – rx7: epoll_ctl, interposed.
 *
 * The kernel's epoll is right about our pairs as it is: level, edge, ONESHOT, EXCLUSIVE. Registrations are remembered
 * until it is certain that the socket stays ours: one that turns out to be the kernel's is registered again. A wake-up
 * with nothing to read is possible (epoll allows it) and is answered by EAGAIN. */
#include "services/shim/calls.h"

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
	r = real.epoll_ctl(epfd, op, fd, ev);
	if (s && r == 0 && table_mine() &&
	    (load_acquire(&s->life) != SOCK_LIVE || load_acquire(&s->b.s->state) == SKS_FRESH))
		remember(s, epfd, op, fd, ev);
	if (s)
		sock_put(s);
	return r;
}
