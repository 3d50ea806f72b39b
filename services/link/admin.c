/* admin.c – `strata link set`, linkd's end: one request of ipd at a time (ip_shm.link_set, answered in link_shm.set_ans).
 *
 * A mailbox is state: a successor that finds a request open carries it out, a second time if need be, which changes
 * nothing. Called by main.c's pollers; not on the packet path. */
#include "services/link/path.h"

bool link_admin_pending(const struct linkd *l)
{
	return load_acquire(&((struct ip_shm *)l->ip)->link_set.seq) != load_relaxed(&l->shm->set_ans.done);
}

u32 link_admin_poll(struct linkd *l)
{
	if (!link_admin_pending(l))
		return 0;
	u32 seq = load_acquire(&((struct ip_shm *)l->ip)->link_set.seq);	/* pairs with the release in ipd's link_set_start() */
	u32 dev = l->ip->link_set.dev, mtu = l->ip->link_set.mtu;
	bool sane = dev < l->ndevs && mtu >= MTU_MIN && mtu <= MTU_MAX;

	l->shm->set_ans.result = sane ? dev_set_mtu(&l->dev[dev], mtu) : -EINVAL;
	store_release(&l->shm->set_ans.done, seq);	/* pairs with the acquire in ipd's link_set_answered() */
	l->bell(l->ctx, REGION_IP);
	return 1;
}
