/* poll.c – the batches: every input ring taken in turn, outputs published, tails moved, neighbours rung.
 *
 * Called by main.c's loop (NAPI: poll with a budget). Full output rings stop only the input that feeds them. */
#include "path.h"

/* Room in the ring that an input feeds? If not, ask for a doorbell and look once more (ring.h). */
static bool room(struct ring *out)
{
	if (likely(ring_space(out) >= SPACE_MIN)) {
		ring_clear_want(out);
		return true;
	}
	ring_want_space(out);
	return ring_space(out) >= SPACE_MIN;
}

static void begin_input(struct ip_stack *st, struct ring *in, enum ring_id id, struct sk_buff *skb)
{
	st->in.ring = in;
	st->in.id = id;
	st->in.index = in->pos;
	st->in.sub = 0;
	st->in.answered = false;
	skb->cause = (struct cause){ .index = in->pos, .ring = id, .flags = CAUSE_LAST };
	st->bulk |= skb->gso_size != 0;
	ring_next(in);
}

/* Ring a completion ring's consumer only when it said that it is out of buffers; the fence pairs with the one it makes
 * between setting `hungry` and looking again. */
static bool hungry(struct ring *r) { return load_relaxed(&r->cons->hungry) != 0; }

/* Outputs first, then the tail (crash rule 1). */
static bool end_input(struct ip_stack *st, struct ring *in)
{
	bool bell;

	ip_publish(st);
	bell = ring_release_wants_bell(in);
	ip_crash_point("after release");
	st->in.ring = NULL;
	st->in.id = R_NONE;
	return bell;
}

void ip_end_batch(struct ip_stack *st)
{
	ip_publish(st);
	fence_seq_cst();
	st->bell_link |= hungry(&st->r.ip_link_done);
	st->bell_tcp |= hungry(&st->r.ip_tcp_done);
}

/* rx2 -> rx3, rx4: frames from linkd, to the packet handler of their protocol. */
static u32 poll_link(struct ip_stack *st, u32 budget)
{
	struct ring *in = &st->r.link_ip;
	u32 n = 0;

	for (st->outputs = 0; n < budget && st->outputs < BATCH_OUTPUTS; n++) {
		struct sk_buff skb;
		const void *slot = ring_peek(in);
		u32 i;

		if (!slot || !room(&st->r.ip_tcp))
			break;
		memcpy(&skb, slot, sizeof(skb));
		begin_input(st, in, R_LINK_IP, &skb);
		if (unlikely(SKB_BUF_POOL(skb.buf) != POOL_LINK || skb.dev >= LINK_DEVS || !skb_data(st->pools, &skb))) {
			drop(st, &skb, DROP_NONSENSE, 0);
			continue;
		}
		for (i = 0; i < ARRAY_SIZE(st->ptype); i++)
			if (from_be16(skb.protocol) == st->ptype[i].type)
				break;
		if (likely(i < ARRAY_SIZE(st->ptype)))
			st->ptype[i].func(st, &skb);
		else
			drop(st, &skb, DROP_NO_HANDLER, 0);
	}
	if (n)
		st->bell_link |= end_input(st, in);
	return n;
}

/* tx3 -> tx4: segments from tcpd. */
static u32 poll_tcp(struct ip_stack *st, u32 budget)
{
	struct ring *in = &st->r.tcp_ip;
	u32 n = 0;

	for (st->outputs = 0; n < budget && st->outputs < BATCH_OUTPUTS; n++) {
		struct sk_buff skb;
		const void *slot = ring_peek(in);

		if (!slot || !room(&st->r.ip_link))
			break;
		memcpy(&skb, slot, sizeof(skb));
		begin_input(st, in, R_TCP_IP, &skb);
		if (unlikely(SKB_BUF_POOL(skb.buf) != POOL_TCP || !skb_data(st->pools, &skb))) {
			drop(st, &skb, DROP_NONSENSE, EINVAL);
			continue;
		}
		ip_queue_xmit(st, &skb);
	}
	if (n)
		st->bell_tcp |= end_input(st, in);
	return n;
}

/* Our own buffers come home. Idempotent (a second completion of a loan does nothing), so no cause is needed. */
static u32 poll_done(struct ip_stack *st, struct ring *in, u32 budget, bool *bell)
{
	u32 n = 0;

	for (const void *slot; n < budget && (slot = ring_peek(in)); n++) {
		struct skb_done done;

		memcpy(&done, slot, sizeof(done));
		ring_next(in);
		if (!pool_give_back(&st->pools->p[POOL_IP], done.buf, done.gen, NULL))
			count(st->counters, DROP_NONSENSE);
	}
	if (n)
		*bell |= ring_release_wants_bell(in);
	return n;
}

u32 ip_poll(struct ip_stack *st, u32 budget)
{
	u32 n = poll_done(st, &st->r.link_ip_done, budget, &st->bell_link);

	n += poll_done(st, &st->r.tcp_ip_done, budget, &st->bell_tcp);
	n += poll_tcp(st, budget);
	n += poll_link(st, budget);
	n += pmtu_poll(st);
	arp_announce(st);
	if (admin_pending(st)) {
		admin_poll(st);
		n++;
	}
	if (n)
		ip_end_batch(st);
	return n;
}

/* An input whose output ring is full is not work: linkd or tcpd rings when there is space. */
bool ip_pending(struct ip_stack *st)
{
	return ring_count(&st->r.link_ip_done) || ring_count(&st->r.tcp_ip_done) ||
	       (ring_count(&st->r.link_ip) && room(&st->r.ip_tcp)) || (ring_count(&st->r.tcp_ip) && room(&st->r.ip_link)) ||
	       pmtu_pending(st) || admin_pending(st);
}

u64 ip_run_timers(struct ip_stack *st)
{
	st->in.ring = NULL;
	st->in.id = R_NONE;
	if (timer_wheel_run(&st->wheel, st->now))
		ip_end_batch(st);
	return timer_wheel_next(&st->wheel);
}
