/* dev_queue_xmit.c – tx7: frames from ipd pass the queueing discipline of their device.
 *
 * link_tx_poll(), a poller of main.c, takes R_IP_LINK. An empty queue and a device that can take it: straight to
 * dev_hard_start_xmit() (TCQ_F_CAN_BYPASS), else into the discipline; net_tx_action() runs the queues of the
 * scheduled devices. A device that cannot take a frame: requeue, netif_schedule(), retry.
 * At the end the completions are published, and only then does the tail of R_IP_LINK move (crash rule 1). */
#include "services/link/path.h"

static const struct Qdisc_ops *const disciplines[] = { &pfifo_fast_ops };

const struct Qdisc_ops *qdisc_find(const char *id)
{
	for (u32 i = 0; i < ARRAY_SIZE(disciplines); i++)
		if (!strcmp(disciplines[i]->id, id))
			return disciplines[i];
	return NULL;
}

int qdisc_attach(struct linkd *l, struct net_device *dev)
{
	struct Qdisc *q = &l->qdisc[dev->index];
	u32 order[QDISC_HOLD], n, limit;
	int r;

	*q = (struct Qdisc){ .ops = qdisc_find(dev->conf->qdisc), .holds = &l->holds };
	if (!q->ops)
		return -ENOENT;
	r = q->ops->init(q, dev->conf);
	if (r < 0)
		return r;
	dev->qdisc = q;
	limit = q->limit;
	q->limit = QDISC_HOLD;	/* what is held stays held, even under a smaller txqueuelen than in the life before */
	n = hold_order(&l->holds, order);
	for (u32 i = 0; i < n && r == 0; i++)
		if (l->holds.h[order[i]].skb.dev == dev->index)
			r = q->ops->enqueue(q, order[i]);
	q->limit = limit;
	if (r < 0)
		return r;
	if (q->qlen)
		netif_schedule(dev, 0);
	return 0;
}

void netif_schedule(struct net_device *dev, u64 at)
{
	dev->scheduled = true;
	dev->retry_at = at;
}

/* Send one frame past or out of the queue. -EAGAIN: not sent, the queue stops until retry_at. */
static int sch_direct_xmit(struct linkd *l, struct net_device *dev, const struct sk_buff *skb, u32 hold)
{
	int r = dev_hard_start_xmit(l, dev, skb);

	if (r == NETDEV_TX_BUSY) {
		dev->stopped = true;
		dev_count(&dev->shm->tx_requeues, 1);
		netif_schedule(dev, l->now + TX_RETRY_NS);
		return r;
	}
	dev_complete(l, skb, hold, (u16)-r);
	return 0;
}

/* Into the hold table and the discipline; `front`: the device refused it just now. */
static void qdisc_enqueue(struct linkd *l, struct net_device *dev, const struct sk_buff *skb, bool front)
{
	struct Qdisc *q = dev->qdisc;
	u32 item = q->qlen < q->limit || front ? hold_add(&l->holds, skb, q->ops->classify(q, skb)) : HOLD_NONE;

	if (item != HOLD_NONE && front) {
		q->ops->requeue(q, item);
		return;
	}
	if (item != HOLD_NONE && q->ops->enqueue(q, item) == 0)
		return;
	count(l->counters, DROP_QDISC_FULL);
	dev_count(&dev->shm->tx_dropped, 1);
	dev_complete(l, skb, item, ENOBUFS);
}

void dev_queue_xmit(struct linkd *l, struct sk_buff *skb)
{
	struct net_device *dev;

	if (skb->hdr_off > SKB_HDR_ROOM || !skb_data(l->pools, skb)) {
		count(l->counters, DROP_NONSENSE);
		dev_complete(l, skb, HOLD_NONE, EINVAL);
		return;
	}
	if (skb->dev >= l->ndevs || !l->dev[skb->dev].up) {
		count(l->counters, DROP_DEV_DOWN);
		dev_complete(l, skb, HOLD_NONE, ENETDOWN);
		return;
	}
	dev = &l->dev[skb->dev];
	count(l->counters, FLOW_TX7_DEV_QUEUE_XMIT);
	if ((dev->qdisc->flags & TCQ_F_CAN_BYPASS) && !dev->qdisc->qlen && !dev->stopped) {
		if (sch_direct_xmit(l, dev, skb, HOLD_NONE) == NETDEV_TX_BUSY)
			qdisc_enqueue(l, dev, skb, true);
		return;
	}
	qdisc_enqueue(l, dev, skb, false);
	if (!dev->scheduled)
		netif_schedule(dev, 0);
}

/* One packet from the queue to the device. False: nothing (more) can be sent now. */
static bool qdisc_restart(struct linkd *l, struct net_device *dev)
{
	struct Qdisc *q = dev->qdisc;
	u32 item;

	if (l->sd.ncompletion == COMPLETIONS)
		return false;
	item = q->ops->dequeue(q);
	if (item == HOLD_NONE)
		return false;
	if (sch_direct_xmit(l, dev, &l->holds.h[item].skb, item) == NETDEV_TX_BUSY) {
		q->ops->requeue(q, item);
		return false;
	}
	return true;
}

static u32 qdisc_run(struct linkd *l, struct net_device *dev)
{
	u32 n = 0;

	while (n < QDISC_QUOTA && qdisc_restart(l, dev))
		n++;
	if (dev->qdisc->qlen && !dev->scheduled)
		netif_schedule(dev, l->now);	/* quota used up: go on in the next pass */
	return n;
}

static bool tx_due(const struct linkd *l, const struct net_device *dev)
{
	return dev->scheduled && dev->retry_at <= l->now;
}

u32 net_tx_action(struct linkd *l)
{
	u32 n = 0;

	for (u32 i = 0; i < l->ndevs; i++) {
		struct net_device *dev = &l->dev[i];

		if (!tx_due(l, dev))
			continue;
		dev->scheduled = false;
		dev->stopped = false;
		n += qdisc_run(l, dev);
	}
	return n;
}

u64 net_tx_deadline(const struct linkd *l)
{
	u64 t = l->sd.ncompletion ? l->now + NSEC_PER_MSEC : UINT64_MAX;	/* a completion ring was full */

	for (u32 i = 0; i < l->ndevs; i++)
		if (l->dev[i].scheduled)
			t = MIN(t, l->dev[i].retry_at);
	return t;
}

u32 link_tx_poll(struct linkd *l, u32 budget)
{
	u32 n = 0, sent;

	for (; n < budget && l->sd.ncompletion < COMPLETIONS; n++) {
		const struct sk_buff *slot = ring_peek(&l->ip_link);
		struct sk_buff skb;

		if (!slot)
			break;
		if (unlikely(l->answered[l->ip_link.pos % TX_RING])) {
			l->answered[l->ip_link.pos % TX_RING] = false;
			ring_next(&l->ip_link);
			continue;
		}
		skb = *slot;	/* copied before it is judged */
		skb.cause = (struct cause){ .index = l->ip_link.pos, .ring = R_IP_LINK, .flags = CAUSE_LAST };
		ring_next(&l->ip_link);
		l->bulk |= skb.gso_size != 0;
		dev_queue_xmit(l, &skb);
	}
	sent = net_tx_action(l);
	if (n || l->sd.ncompletion)
		dev_flush_completions(l);
	return n + sent;
}

bool link_tx_pending(struct linkd *l)
{
	if (ring_count(&l->ip_link) && l->sd.ncompletion < COMPLETIONS)
		return true;
	for (u32 i = 0; i < l->ndevs; i++)
		if (tx_due(l, &l->dev[i]))
			return true;
	return false;
}
