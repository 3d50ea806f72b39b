/* qdisc.h – queueing disciplines (tx7) and the table of what they hold.
 *
 * A discipline orders descriptors; the descriptors themselves live in link_shm.hold, written before the tail of
 * R_IP_LINK moves (crash rule 2). A discipline's own lists are private and rebuilt from the table at start.
 * Items are named by their index in the table. */
#ifndef STRATA_LINK_QDISC_H
#define STRATA_LINK_QDISC_H

#include "services/link/dev.h"

#define HOLD_NONE 0xffffffffu

struct hold_table {
	struct qdisc_hold *h;		/* QDISC_HOLD entries in our region */
	u32 next[QDISC_HOLD];		/* list links of free list and disciplines, private */
	u32 free, nfree;
	u64 seq;			/* next to give out; never reused */
};

/* hold.c */
void hold_attach(struct hold_table *t, struct qdisc_hold *h);	/* rebuilds the free list */
u32 hold_add(struct hold_table *t, const struct sk_buff *skb, u32 band);	/* HOLD_NONE: full */
void hold_release(struct hold_table *t, u32 i);			/* after the completion was published and the tail moved */
/* Fills `order` with the used entries, oldest first; returns how many. */
u32 hold_order(const struct hold_table *t, u32 order[QDISC_HOLD]);

#define TCQ_F_CAN_BYPASS 1u
#define QDISC_BANDS 3

struct qdisc_queue { u32 head, tail, len; };

struct Qdisc {
	const struct Qdisc_ops *ops;
	struct hold_table *holds;
	u32 flags;			/* TCQ_F_* */
	u32 limit;			/* packets */
	u32 qlen;
	u64 drops, requeues;
	struct qdisc_queue band[QDISC_BANDS];
};

struct qdisc_dump { u32 qlen, limit; u64 drops, requeues; u32 band[QDISC_BANDS]; };

struct Qdisc_ops {
	const char *id;
	int (*init)(struct Qdisc *q, const struct conf_dev *conf);
	u32 (*classify)(const struct Qdisc *q, const struct sk_buff *skb);	/* band, stored in the hold entry */
	int (*enqueue)(struct Qdisc *q, u32 item);	/* -ENOBUFS: full, item not taken */
	u32 (*dequeue)(struct Qdisc *q);		/* HOLD_NONE: nothing to send now */
	void (*requeue)(struct Qdisc *q, u32 item);	/* back to the front: the device could not take it */
	void (*reset)(struct Qdisc *q);			/* forgets every item; the caller has released them */
	void (*dump)(const struct Qdisc *q, struct qdisc_dump *ret);
};

extern const struct Qdisc_ops pfifo_fast_ops;	/* qdisc_pfifo_fast.c */
const struct Qdisc_ops *qdisc_find(const char *id);

#endif
