/* qdisc_pfifo_fast.c – tx7: three bands, each first in first out; a lower band is served before a higher one.
 *
 * The band follows from the TOS field as in Linux's prio2band: interactive 0, best effort 1, bulk 2.
 * Lists are private; items are entries of the hold table (hold.c). Called through Qdisc_ops by dev_queue_xmit.c. */
#include "services/link/qdisc.h"

static void queue_push(struct Qdisc *q, struct qdisc_queue *b, u32 item)
{
	q->holds->next[item] = HOLD_NONE;
	if (b->len++)
		q->holds->next[b->tail] = item;
	else
		b->head = item;
	b->tail = item;
	q->qlen++;
}

static int pfifo_fast_init(struct Qdisc *q, const struct conf_dev *conf)
{
	q->limit = conf->txqueuelen;
	q->flags = TCQ_F_CAN_BYPASS;
	q->ops->reset(q);
	return 0;
}

/* Linux's prio2band, by the priority that ipd derived from TOS. */
static u32 pfifo_fast_classify(const struct Qdisc *q, const struct sk_buff *skb)
{
	static const u8 prio2band[16] = { 1, 2, 2, 2, 1, 2, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1 };

	return prio2band[skb->priority & 15];
}

static int pfifo_fast_enqueue(struct Qdisc *q, u32 item)
{
	u32 band = q->holds->h[item].band;

	if (q->qlen >= q->limit) {
		q->drops++;
		return -ENOBUFS;
	}
	queue_push(q, &q->band[band < QDISC_BANDS ? band : 1], item);
	return 0;
}

static u32 pfifo_fast_dequeue(struct Qdisc *q)
{
	for (u32 i = 0; i < QDISC_BANDS; i++) {
		struct qdisc_queue *b = &q->band[i];
		u32 item = b->head;

		if (!b->len)
			continue;
		b->head = q->holds->next[item];
		b->len--;
		q->qlen--;
		return item;
	}
	return HOLD_NONE;
}

static void pfifo_fast_requeue(struct Qdisc *q, u32 item)
{
	u32 band = q->holds->h[item].band;
	struct qdisc_queue *b = &q->band[band < QDISC_BANDS ? band : 1];

	q->holds->next[item] = b->len ? b->head : HOLD_NONE;
	b->head = item;
	if (!b->len++)
		b->tail = item;
	q->qlen++;
	q->requeues++;
}

static void pfifo_fast_reset(struct Qdisc *q)
{
	q->qlen = 0;
	for (u32 i = 0; i < QDISC_BANDS; i++)
		q->band[i] = (struct qdisc_queue){ HOLD_NONE, HOLD_NONE, 0 };
}

static void pfifo_fast_dump(const struct Qdisc *q, struct qdisc_dump *ret)
{
	*ret = (struct qdisc_dump){ q->qlen, q->limit, q->drops, q->requeues,
				    { q->band[0].len, q->band[1].len, q->band[2].len } };
}

const struct Qdisc_ops pfifo_fast_ops = {
	.id = "pfifo_fast",
	.init = pfifo_fast_init,
	.classify = pfifo_fast_classify,
	.enqueue = pfifo_fast_enqueue,
	.dequeue = pfifo_fast_dequeue,
	.requeue = pfifo_fast_requeue,
	.reset = pfifo_fast_reset,
	.dump = pfifo_fast_dump,
};
