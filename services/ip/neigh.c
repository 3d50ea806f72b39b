/* neigh.c – the neighbour cache: states and times of RFC 4861 as Linux uses them for ARP.
 *
 *   INCOMPLETE  asked (broadcast), packets held     -> REACHABLE on an answer, FAILED after 3 requests 1 s apart
 *   REACHABLE   confirmed                           -> DELAY or STALE after 15..45 s
 *   STALE       believed until used                 -> DELAY at the next packet
 *   DELAY       used unconfirmed, 5 s of grace      -> PROBE
 *   PROBE       asked (unicast)                     -> REACHABLE on an answer, FAILED after 3 requests
 *   FAILED      held packets came back EHOSTUNREACH -> INCOMPLETE at the next packet; a gateway that others stand in for gets
 *               none, and is asked once in 30 s whether it is back
 *   PERMANENT   configured; nothing on the wire changes it
 *
 * The table is in the region and survives a restart (crash rule 9); link headers, queues and timers are private.
 * Called by route.c (lookup), neigh_output.c (tx6), arp.c (rx3), admin.c. */
#include "path.h"

#define REACHABLE_BASE (30 * NSEC_PER_SEC)
#define DELAY_PROBE (5 * NSEC_PER_SEC)
#define RETRANS (1 * NSEC_PER_SEC)
#define UCAST_PROBES 3u
#define MCAST_PROBES 3u
#define REVIVAL (30 * NSEC_PER_SEC)

static u16 *bucket(struct ip_stack *st, be32 addr, u8 dev)
{
	return &st->neigh_hash[((addr.v ^ dev) * 0x9e3779b1u) >> 21];
}
static_assert(NEIGH_HASH == 2048, "bucket() yields 11 bits");

static void hash_in(struct ip_stack *st, u16 i)
{
	u16 *b = bucket(st, st->neigh[i].n->addr, st->neigh[i].n->dev);

	st->neigh[i].hash_next = *b;
	*b = i;
}

static void hash_out(struct ip_stack *st, u16 i)
{
	u16 *p = bucket(st, st->neigh[i].n->addr, st->neigh[i].n->dev);

	while (*p != NONE16 && *p != i)
		p = &st->neigh[*p].hash_next;
	if (*p == i)
		*p = st->neigh[i].hash_next;
}

static void fill_hh(struct ip_stack *st, struct neighbour *nb)
{
	struct eth_hdr e = { .proto = to_be16(ETH_P_IP) };

	memcpy(e.dst, nb->n->mac, ETH_ALEN);
	memcpy(e.src, st->link->dev[nb->n->dev].mac, ETH_ALEN);
	memcpy(nb->hh.hdr, &e, ETH_HLEN);
}

static void set_deadline(struct ip_stack *st, struct neighbour *nb, u64 deadline)
{
	nb->n->deadline = deadline;
	if (deadline)
		timer_arm(&st->wheel, &nb->timer, deadline);
	else
		timer_cancel(&st->wheel, &nb->timer);
}

/* RFC 4861 6.3.2: uniformly between half and one and a half of the base. */
static u64 reachable_time(struct ip_stack *st)
{
	u32 r;

	st->ops->random(st->ctx, &r, sizeof(r));
	return REACHABLE_BASE / 2 + (u64)r % REACHABLE_BASE;
}

static bool is_gateway(const struct ip_stack *st, const struct ip_neigh *n)
{
	for (u32 i = 0; i < IP_ROUTES; i++)
		if (st->shm->route[i].used && st->shm->route[i].dev == n->dev && be32_eq(st->shm->route[i].gateway, n->addr))
			return true;
	return false;
}

void neigh_set_state(struct ip_stack *st, struct neighbour *nb, enum nud_state state)
{
	struct ip_neigh *n = nb->n;

	if (state == NUD_FAILED || n->state == NUD_FAILED)
		st->route_gen++;	/* iproute.c passes over gateways that have failed */
	n->state = (u8)state;
	nb->output = state == NUD_REACHABLE || state == NUD_PERMANENT ? neigh_connected_output : neigh_resolve_output;
	switch (state) {
	case NUD_REACHABLE:
		n->confirmed = st->now;
		set_deadline(st, nb, st->now + reachable_time(st));
		break;
	case NUD_DELAY:
		set_deadline(st, nb, st->now + DELAY_PROBE);
		break;
	case NUD_FAILED:
		set_deadline(st, nb, is_gateway(st, n) ? st->now + REVIVAL : 0);
		neigh_fail(st, nb);
		break;
	case NUD_INCOMPLETE:
	case NUD_PROBE:
		n->probes = 1;
		set_deadline(st, nb, st->now + RETRANS);
		arp_solicit(st, nb, state == NUD_INCOMPLETE);
		break;
	default:
		set_deadline(st, nb, 0);
	}
}

static void neigh_timer(struct timer *t, void *arg, u64 now)
{
	struct ip_stack *st = arg;
	struct neighbour *nb = container_of(t, struct neighbour, timer);
	struct ip_neigh *n = nb->n;

	switch (n->state) {
	case NUD_REACHABLE:	/* used lately: find out at once; else only when used again */
		neigh_set_state(st, nb, n->used + DELAY_PROBE > now ? NUD_DELAY : NUD_STALE);
		break;
	case NUD_DELAY:
		neigh_set_state(st, nb, NUD_PROBE);
		break;
	case NUD_PROBE:
	case NUD_INCOMPLETE:
		if (n->probes >= (n->state == NUD_PROBE ? UCAST_PROBES : MCAST_PROBES)) {
			neigh_set_state(st, nb, NUD_FAILED);
			break;
		}
		n->probes++;
		set_deadline(st, nb, now + RETRANS);
		arp_solicit(st, nb, n->state == NUD_INCOMPLETE);
		break;
	case NUD_FAILED:
		set_deadline(st, nb, is_gateway(st, n) ? now + REVIVAL : 0);
		arp_solicit(st, nb, true);
		break;
	default:
		break;
	}
}

/* Something was learnt: mac valid, `state` REACHABLE (it answered us), STALE (overheard) or PERMANENT (configured). Without
 * `override` another MAC than the known one is not believed. */
void neigh_update(struct ip_stack *st, struct neighbour *nb, const u8 *mac, enum nud_state state, bool override)
{
	struct ip_neigh *n = nb->n;
	bool valid = n->state != NUD_NONE && n->state != NUD_INCOMPLETE && n->state != NUD_FAILED;
	bool same = valid && memcmp(n->mac, mac, ETH_ALEN) == 0;

	if (n->state == NUD_PERMANENT && state != NUD_PERMANENT)
		return;
	if (valid && !same && !override)
		return;
	if (valid && same && state == NUD_STALE)
		return;		/* nothing new; a confirmed entry is not made doubtful by hearsay */
	if (n->state == NUD_FAILED)
		st->route_gen++;	/* a gateway is back */
	if (!same) {
		n->state = NUD_INCOMPLETE;	/* a death while the address is half written: ask again */
		ip_crash_point("neighbour half written");
		memcpy(n->mac, mac, ETH_ALEN);
		n->updated = st->now;
	}
	fill_hh(st, nb);
	neigh_set_state(st, nb, state);
	neigh_flush(st, nb);
}

static void init_entry(struct ip_stack *st, u16 i)
{
	struct neighbour *nb = &st->neigh[i];

	nb->n = &st->shm->neigh[i];
	nb->output = neigh_resolve_output;
	nb->timer = (struct timer){ .fn = neigh_timer };
	nb->head = nb->tail = nb->hash_next = NONE16;
	nb->qlen = nb->qbytes = 0;
}

/* A free row, or the one unused longest that nobody waits for and nobody configured. */
static u16 victim(struct ip_stack *st)
{
	u16 best = NONE16;

	for (u16 i = 0; i < IP_NEIGHS; i++) {
		const struct ip_neigh *n = &st->shm->neigh[i];

		if (!n->addr.v)
			return i;
		if (n->state == NUD_PERMANENT || st->neigh[i].qlen)
			continue;
		if (best == NONE16 || n->used < st->shm->neigh[best].used)
			best = i;
	}
	return best;
}

struct neighbour *neigh_lookup(struct ip_stack *st, be32 addr, u8 dev, bool create)
{
	u16 i;

	for (i = *bucket(st, addr, dev); i != NONE16; i = st->neigh[i].hash_next)
		if (be32_eq(st->neigh[i].n->addr, addr) && st->neigh[i].n->dev == dev)
			return &st->neigh[i];
	if (!create || dev >= LINK_DEVS)
		return NULL;
	i = victim(st);
	if (i == NONE16)
		return NULL;
	if (st->shm->neigh[i].addr.v)
		neigh_delete(st, &st->neigh[i]);
	st->shm->neigh[i] = (struct ip_neigh){ .addr = addr, .dev = dev, .state = NUD_NONE, .used = st->now };
	init_entry(st, i);
	hash_in(st, i);
	return &st->neigh[i];
}

void neigh_delete(struct ip_stack *st, struct neighbour *nb)
{
	u16 i = (u16)(nb - st->neigh);

	neigh_fail(st, nb);
	timer_cancel(&st->wheel, &nb->timer);
	hash_out(st, i);
	memset(nb->n, 0, sizeof(*nb->n));
	st->route_gen++;	/* destinations pointed here */
}

void neigh_refresh(struct ip_stack *st)
{
	for (u32 i = 0; i < IP_NEIGHS; i++)
		if (st->neigh[i].n->addr.v)
			fill_hh(st, &st->neigh[i]);
	st->route_gen++;	/* MTUs and features of devices may be others */
}

/* Append in order of seq: the table's rows are in no order. */
static void requeue(struct ip_stack *st, u16 h)
{
	const struct ip_hold *hold = &st->shm->hold[h];
	struct neighbour *nb = &st->neigh[hold->owner];
	u16 *p = &nb->head;

	while (*p != NONE16 && st->shm->hold[*p].seq < hold->seq)
		p = &st->hold_next[*p];
	st->hold_next[h] = *p;
	*p = h;
	if (st->hold_next[h] == NONE16)
		nb->tail = h;
	nb->qlen++;
	nb->qbytes += skb_total_len(&hold->skb);
}

static void resume(struct ip_stack *st, struct neighbour *nb)
{
	struct ip_neigh *n = nb->n;

	nb->output = n->state == NUD_REACHABLE || n->state == NUD_PERMANENT ? neigh_connected_output : neigh_resolve_output;
	fill_hh(st, nb);
	if (n->state == NUD_REACHABLE || n->state == NUD_DELAY || n->state == NUD_PROBE || (n->state == NUD_FAILED && n->deadline))
		timer_arm(&st->wheel, &nb->timer, n->deadline);
	if (n->state == NUD_INCOMPLETE) {
		if (nb->qlen)
			timer_arm(&st->wheel, &nb->timer, n->deadline);
		else
			n->state = NUD_NONE;
	} else if (n->state == NUD_NONE && nb->qlen) {
		neigh_set_state(st, nb, NUD_INCOMPLETE);
	} else if (n->state == NUD_FAILED) {
		neigh_fail(st, nb);
	} else {
		neigh_flush(st, nb);	/* died between the answer and the release */
	}
}

void neigh_attach(struct ip_stack *st)
{
	memset(st->neigh_hash, 0xff, sizeof(st->neigh_hash));
	for (u16 i = 0; i < IP_NEIGHS; i++) {
		struct ip_neigh *n = &st->shm->neigh[i];

		init_entry(st, i);
		if (!n->addr.v || n->dev >= LINK_DEVS || n->state > NUD_PERMANENT || neigh_lookup(st, n->addr, n->dev, false))
			memset(n, 0, sizeof(*n));
		else
			hash_in(st, i);
	}
	for (u16 h = 0; h < IP_HOLD; h++) {
		const struct ip_hold *hold = &st->shm->hold[h];
		struct sk_buff skb;

		if (load_relaxed(&hold->used) != HOLD_NEIGH)
			continue;
		if (hold->owner < IP_NEIGHS && st->neigh[hold->owner].n->addr.v) {
			requeue(st, h);
			continue;
		}
		hold_skb(st, h, &skb);
		drop(st, &skb, DROP_NEIGH_FAILED, EHOSTUNREACH);
		ip_settle(st);
		hold_clear(st, h);
	}
	for (u32 i = 0; i < IP_NEIGHS; i++)
		if (st->neigh[i].n->addr.v)
			resume(st, &st->neigh[i]);
}
