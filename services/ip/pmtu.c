/* pmtu.c – what is known of path MTUs, by destination (RFC 1191): learnt from tcpd's notes and from answers to our own echo
 * requests, kept in the region (a successor goes on with it), forgotten after ten minutes, read by every route lookup.
 *
 * An ICMP message alone is not believed: a stranger could make every path narrow (RFC 5927 7). tcpd knows whether it quotes a
 * segment in flight, and writes a note (proto/shm/tcp.h). Called by poll.c, icmp.c and the sweep timer. */
#include "path.h"

#define PMTU_TIME (600 * NSEC_PER_SEC)	/* RFC 1191 6.3 */

/* The row of dst; else a free one, or the next to expire. */
static struct ip_pmtu *row_of(struct ip_stack *st, be32 dst)
{
	struct ip_pmtu *row = &st->shm->pmtu[0];

	for (u32 i = 0; i < IP_PMTUS; i++) {
		struct ip_pmtu *p = &st->shm->pmtu[i];

		if (p->expires && be32_eq(p->dst, dst))
			return p;
		if (p->expires < row->expires)
			row = p;
	}
	return row;
}

/* Only ever lower than what is known; what is known is kept longer when it is heard again in the second half of its time.
 * Never below the floor: then fragmentation must help. */
void pmtu_update(struct ip_stack *st, be32 dst, u32 mtu)
{
	struct ip_pmtu *row = row_of(st, dst);
	bool known = row->expires && be32_eq(row->dst, dst), locked = mtu < IP_MTU_MIN;
	struct ip_path path;

	mtu = MAX(mtu, IP_MTU_MIN);
	if (route_find(st->shm, st->link, dst, (be32){ 0 }, &path) < 0 || mtu > path.mtu)
		return;
	if (mtu == path.mtu && (!known || mtu != row->mtu || row->expires > st->now + PMTU_TIME / 2) && locked == path.mtu_locked)
		return;
	conf_write_begin(st);
	row->expires = 0;
	row->dst = dst;
	row->mtu = (u16)mtu;
	row->locked = locked;
	atomic_signal_fence(memory_order_seq_cst);
	row->expires = st->now + PMTU_TIME;
	conf_write_end(st);
}

/* Every ten seconds: forget what expired, and look at the devices' MTUs again. */
void pmtu_sweep(struct ip_stack *st)
{
	for (u32 i = 0; i < IP_PMTUS; i++) {
		if (!st->shm->pmtu[i].expires || st->shm->pmtu[i].expires > st->now)
			continue;
		conf_write_begin(st);
		st->shm->pmtu[i].expires = 0;
		conf_write_end(st);
	}
	st->route_gen++;
}

/* Notes written while nobody was here are not told from those that have expired: they are left. */
void pmtu_attach(struct ip_stack *st)
{
	if (st->notes)
		st->notes_seen = load_acquire((_Atomic u32 *)&st->notes->head);
}

bool pmtu_pending(const struct ip_stack *st)
{
	return st->notes && load_acquire((_Atomic u32 *)&st->notes->head) != st->notes_seen;
}

u32 pmtu_poll(struct ip_stack *st)
{
	u32 head, n;

	if (!pmtu_pending(st))
		return 0;
	head = load_acquire((_Atomic u32 *)&st->notes->head);	/* pairs with the release in tcpd's op_pmtu_learnt() */
	n = MIN(head - st->notes_seen, TCP_PMTU_NOTES);
	for (u32 i = head - n; i != head; i++) {
		u64 w = load_relaxed((_Atomic u64 *)&st->notes->note[i % TCP_PMTU_NOTES]);

		pmtu_update(st, (be32){ (u32)(w >> 32) }, (u32)w);
	}
	st->notes_seen = head;
	return n;
}
