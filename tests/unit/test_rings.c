/* test_rings.c – mirrors common/rings.c: every ring has two ends that meet, and is read rightly after a death. */
#include <sys/mman.h>

#include "common/daemon.h"
#include "unit.h"

static struct daemon d;

static void fake(enum region_id role)
{
	d = (struct daemon){ .role = role };
	d.link = mmap(NULL, sizeof(*d.link), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	d.ip = mmap(NULL, sizeof(*d.ip), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	d.tcp = mmap(NULL, sizeof(*d.tcp), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

static void unfake(void)
{
	munmap(d.link, sizeof(*d.link));
	munmap(d.ip, sizeof(*d.ip));
	munmap(d.tcp, sizeof(*d.tcp));
}

static void both_ends_meet(void)
{
	static const struct { enum ring_id id; enum region_id from, to; } all[] = {
		{ R_LINK_IP, REGION_LINK, REGION_IP },	    { R_IP_TCP, REGION_IP, REGION_TCP },
		{ R_TCP_IP, REGION_TCP, REGION_IP },	    { R_IP_LINK, REGION_IP, REGION_LINK },
		{ R_IP_LINK_DONE, REGION_IP, REGION_LINK }, { R_TCP_LINK_DONE, REGION_TCP, REGION_LINK },
		{ R_LINK_TCP_DONE, REGION_LINK, REGION_TCP }, { R_LINK_IP_DONE, REGION_LINK, REGION_IP },
		{ R_IP_TCP_DONE, REGION_IP, REGION_TCP },   { R_TCP_IP_DONE, REGION_TCP, REGION_IP },
	};
	static_assert(ARRAY_SIZE(all) == R_HOLD - 1, "every ring");

	fake(REGION_LINK);
	for (u32 i = 0; i < ARRAY_SIZE(all); i++) {
		struct ring p, c;
		u32 *slot;

		d.role = all[i].from;
		ring_open(&d, all[i].id, &p);
		d.role = all[i].to;
		ring_open(&d, all[i].id, &c);
		CHECK(p.prod == c.prod && p.cons == c.cons && p.slots == c.slots && p.mask == c.mask);
		for (u32 k = 0; k < ring_capacity(&p); k++) {
			slot = ring_reserve(&p);
			REQUIRE(slot != NULL);
			*slot = i << 16 | k;
		}
		CHECK(ring_reserve(&p) == NULL);
		ring_publish(&p);
	}
	for (u32 i = 0; i < ARRAY_SIZE(all); i++) {	/* and none lies on another */
		struct ring c;

		d.role = all[i].to;
		ring_open(&d, all[i].id, &c);
		for (u32 k = 0; k < ring_capacity(&c); k++, ring_next(&c)) {
			REQUIRE(ring_peek(&c) != NULL);
			REQUIRE_EQ(*(const u32 *)ring_peek(&c), i << 16 | k);
		}
		ring_release(&c);
		CHECK(ring_peek(&c) == NULL);
	}
	unfake();
}

static void put(struct ring *r, u8 ring, u32 index, u16 sub, u8 flags)
{
	struct sk_buff *s = ring_reserve(r);

	REQUIRE(s != NULL);
	*s = (struct sk_buff){ .cause = { .index = index, .sub = sub, .ring = ring, .flags = flags } };
}

static void newest_cause_is_published_and_complete(void)
{
	struct ring r, c;
	u32 i = 7;

	fake(REGION_IP);
	store_relaxed(&d.ip->ip_link.head, 0xfffffff0u);	/* near the wrap */
	store_relaxed(&d.link->ip_link.tail, 0xfffffff0u);
	ring_open(&d, R_IP_LINK, &r);
	CHECK(!ring_newest_cause(&r, false, R_TCP_IP, &i));
	put(&r, R_TCP_IP, 0xffffffffu, 0, CAUSE_LAST);
	put(&r, R_TCP_IP, 0, 0, CAUSE_LAST);
	put(&r, R_TCP_IP, 1, 0, 0);	/* a fragment, more to come */
	put(&r, R_HOLD, 900, 0, CAUSE_LAST);
	CHECK(!ring_newest_cause(&r, false, R_TCP_IP, &i));	/* nothing published yet */
	ring_publish(&r);
	CHECK(ring_newest_cause(&r, false, R_TCP_IP, &i));
	CHECK_EQ(i, 0);
	CHECK(ring_newest_cause(&r, false, R_HOLD, &i) && i == 900);
	CHECK(ring_has_cause(&r, false, R_TCP_IP, 1, 0) && !ring_has_cause(&r, false, R_TCP_IP, 1, 1));
	put(&r, R_TCP_IP, 1, 1, CAUSE_LAST);
	CHECK(ring_newest_cause(&r, false, R_TCP_IP, &i) && i == 0);
	ring_publish(&r);
	CHECK(ring_newest_cause(&r, false, R_TCP_IP, &i) && i == 1);
	/* Consumed, and our input's tail not moved: still counts. */
	d.role = REGION_LINK;
	ring_open(&d, R_IP_LINK, &c);
	while (ring_peek(&c))
		ring_next(&c);
	ring_release(&c);
	CHECK(ring_newest_cause(&r, false, R_TCP_IP, &i) && i == 1);
	/* Filled and not published: the slots where they lie once held nothing. */
	for (u32 k = 0; k < ring_capacity(&r) / 2; k++)
		put(&r, R_LINK_IP, k, 0, CAUSE_LAST);
	CHECK(!ring_newest_cause(&r, false, R_LINK_IP, &i));
	unfake();
}

static void mark_sees_what_is_unconsumed(void)
{
	struct pool pool;
	struct pool_scan s;
	struct sk_buff skb[3];
	struct ring p, c;

	fake(REGION_TCP);
	REQUIRE_EQ(pool_attach_owner(&pool, POOL_TCP, d.tcp->words, d.tcp->bytes, TCP_NSMALL, TCP_NLARGE), 0);
	ring_open(&d, R_TCP_IP, &p);
	for (u32 i = 0; i < 3; i++) {
		REQUIRE(pool_take(&pool, 100, i, &skb[i]) != NULL);
		if (i == 2)
			break;	/* taken, never queued: lost with its holder */
		*(struct sk_buff *)ring_reserve(&p) = skb[i];
	}
	ring_publish(&p);
	d.role = REGION_IP;
	ring_open(&d, R_TCP_IP, &c);
	ring_next(&c);
	ring_release(&c);	/* the first one moved on and was lost there */
	d.role = REGION_TCP;
	REQUIRE_EQ(pool_scan_begin(&s, &pool), 0);
	ring_mark(&d, R_TCP_IP, &s);
	CHECK_EQ(pool_scan_end(&s), 2);
	CHECK_EQ(pool_loans(&pool), 1);
	store_relaxed(&d.ip->tcp_ip.tail, 12345);	/* a neighbour's nonsense */
	REQUIRE_EQ(pool_scan_begin(&s, &pool), 0);
	ring_mark(&d, R_TCP_IP, &s);
	CHECK_EQ(pool_scan_end(&s), 0);
	pool_detach(&pool);
	unfake();
}

UNIT_MAIN(UNIT(both_ends_meet), UNIT(newest_cause_is_published_and_complete), UNIT(mark_sees_what_is_unconsumed))
