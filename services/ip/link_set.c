/* link_set.c – `strata link set DEVICE mtu N`: ipd asks linkd, who owns the device, and answers when it has.
 *
 * Then every route over the device has another MTU: who keeps what a route said asks again (dev_seq; our own cache by
 * route_gen). What does not fit any more and is on its way is told to tcpd as by a router (ip_local_error()).
 * Called by admin.c. A successor finds the request open and linkd's answer to it, or waits for that. */
#include "path.h"

#include <stdio.h>

/* 0: asked, the answer comes later. */
int link_set_start(struct ip_stack *st, const char *name, u32 mtu)
{
	struct ip_link_set *q = &st->shm->link_set;
	int dev = name ? dev_by_name(st, name) : -ENODEV;

	if (dev < 0)
		return dev;
	if (mtu < MTU_MIN || mtu > MTU_MAX)
		return -ERANGE;
	if (!load_acquire((_Atomic u32 *)&st->link->dev[dev].up))
		return -ENETDOWN;
	if (load_relaxed(&q->seq) == load_acquire((_Atomic u32 *)&st->link->set_ans.done)) {	/* else: a predecessor asked this */
		q->dev = (u32)dev;
		q->mtu = mtu;
		ip_crash_point("before link set");
		store_release(&q->seq, load_relaxed(&q->seq) + 1);	/* pairs with the acquire in linkd's link_admin_poll() */
	}
	st->link_set_for = load_acquire((_Atomic u32 *)&st->admin->seq);
	st->bell_link = true;
	return 0;
}

bool link_set_answered(const struct ip_stack *st)
{
	return load_acquire((_Atomic u32 *)&st->link->set_ans.done) == load_relaxed(&st->shm->link_set.seq);
}

void link_set_finish(struct ip_stack *st)
{
	int r = st->link->set_ans.result;
	char text[128] = "";

	st->link_set_for = 0;
	if (r < 0)
		snprintf(text, sizeof(text), "the interface refuses mtu %u: %s", st->shm->link_set.mtu, strerror(-r));
	st->route_gen++;
	store_release(&st->shm->dev_seq, load_relaxed(&st->shm->dev_seq) + 1);	/* pairs with the acquire in tcpd_poll() */
	st->bell_tcp = true;
	admin_answer(st, r, text);
}
