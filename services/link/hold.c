/* hold.c – tx7: the table of descriptors that queueing disciplines hold back (crash rule 2).
 *
 * In link_shm.hold, so that a successor goes on with them. An entry is complete before `used` is stored, and `used`
 * is cleared only after the buffer's completion was published and R_IP_LINK's tail moved past it. `seq` is never
 * reused: it orders the entries and is the index of cause R_HOLD. Called by dev_queue_xmit.c, xmit.c and attach.c. */
#include <stdlib.h>

#include "services/link/qdisc.h"

void hold_attach(struct hold_table *t, struct qdisc_hold *h)
{
	*t = (struct hold_table){ .h = h, .free = HOLD_NONE };
	for (u32 i = QDISC_HOLD; i-- > 0;) {
		t->seq = MAX(t->seq, h[i].seq + 1);	/* free entries remember theirs */
		if (load_relaxed(&h[i].used))
			continue;
		t->next[i] = t->free;
		t->free = i;
		t->nfree++;
	}
}

u32 hold_add(struct hold_table *t, const struct sk_buff *skb, u32 band)
{
	u32 i = t->free;

	if (i == HOLD_NONE)
		return HOLD_NONE;
	t->free = t->next[i];
	t->nfree--;
	t->h[i].skb = *skb;
	t->h[i].band = band;
	t->h[i].seq = t->seq++;
	store_release(&t->h[i].used, 1);
	return i;
}

void hold_release(struct hold_table *t, u32 i)
{
	store_release(&t->h[i].used, 0);
	t->next[i] = t->free;
	t->free = i;
	t->nfree++;
}

u32 hold_order(const struct hold_table *t, u32 order[QDISC_HOLD])
{
	u32 n = 0;

	/* Insertion sort: once per start, and nearly sorted. */
	for (u32 i = 0; i < QDISC_HOLD; i++) {
		u32 at = n;

		if (!load_relaxed(&t->h[i].used))
			continue;
		for (; at > 0 && t->h[order[at - 1]].seq > t->h[i].seq; at--)
			order[at] = order[at - 1];
		order[at] = i;
		n++;
	}
	return n;
}
