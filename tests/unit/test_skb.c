/* test_skb.c – common/skb.h: header room, pulls, and what a descriptor is allowed to say. */
#include "common/pool.h"
#include "common/skb.h"
#include "unit.h"

#include <stdlib.h>

static void push_grows_towards_the_front(void)
{
	struct sk_buff skb = { .hdr_off = SKB_HDR_ROOM, .len = 1000 };
	u8 *ip, *eth;

	CHECK_EQ(skb_hdr_len(&skb), 0);
	ip = skb_push_hdr(&skb, 20);
	REQUIRE(ip);
	memset(ip, 0x45, 20);
	eth = skb_push_hdr(&skb, 14);
	REQUIRE(eth);
	memset(eth, 0xee, 14);
	CHECK(eth + 14 == ip);
	CHECK(skb_hdr(&skb) == eth);
	CHECK_EQ(skb_hdr_len(&skb), 34);
	CHECK_EQ(skb_total_len(&skb), 1034);
	CHECK_EQ(skb.hdr[SKB_HDR_ROOM - 1], 0x45);
	CHECK_EQ(skb.hdr[SKB_HDR_ROOM - 34], 0xee);
}

static void push_stops_at_the_edge(void)
{
	struct sk_buff skb = { .hdr_off = SKB_HDR_ROOM };

	CHECK(!skb_push_hdr(&skb, SKB_HDR_ROOM + 1));
	CHECK(!skb_push_hdr(&skb, 0xffffffffu));
	CHECK(skb_push_hdr(&skb, 60) && skb_push_hdr(&skb, 14));	/* Ethernet and a full IPv4 header */
	CHECK(!skb_push_hdr(&skb, 7));
	CHECK(skb_push_hdr(&skb, 6) == skb.hdr);
	CHECK(!skb_push_hdr(&skb, 1));
	CHECK_EQ(skb_hdr_len(&skb), SKB_HDR_ROOM);
}

static void pull_stops_at_the_end(void)
{
	struct sk_buff skb = { .off = 10, .len = 40 };

	CHECK(skb_pull(&skb, 14));
	CHECK_EQ(skb.off, 24);
	CHECK_EQ(skb.len, 26);
	CHECK(!skb_pull(&skb, 27));
	CHECK(!skb_pull(&skb, 0xffffffffu));
	CHECK_EQ(skb.off, 24);
	CHECK(skb_pull(&skb, 26));
	CHECK_EQ(skb.len, 0);
	CHECK(skb_pull(&skb, 0));
	CHECK(!skb_pull(&skb, 1));
}

static void header_is_safe_or_null(void)
{
	_Atomic u64 word = 0;
	u8 *bytes = calloc(1, POOL_SMALL);
	struct pools ps = { 0 };
	struct pool p;
	struct sk_buff skb;

	REQUIRE(bytes);
	REQUIRE_EQ(pool_attach_owner(&p, POOL_LINK, &word, bytes, 1, 0), 0);
	pool_attach_reader(&ps.p[POOL_LINK], POOL_LINK, &word, bytes, 1, 0);
	REQUIRE(pool_take(&p, 60, 0, &skb));
	skb.off = 2;
	skb.len = 60;
	CHECK(skb_header(&ps, &skb, 0, 14) == bytes + 2);
	CHECK(skb_header(&ps, &skb, 14, 20) == bytes + 16);
	CHECK(skb_header(&ps, &skb, 40, 20) == bytes + 42);
	CHECK(!skb_header(&ps, &skb, 40, 21));
	CHECK(!skb_header(&ps, &skb, 61, 0));
	CHECK(!skb_header(&ps, &skb, 0xfffffff0u, 0x20));
	CHECK(!skb_header(&ps, &skb, 10, 0xfffffff8u));
	CHECK(pool_give_back(&p, skb.buf, skb.gen, NULL));
	CHECK(!skb_header(&ps, &skb, 0, 14));
	CHECK_EQ(pool_loans(&p), 0);
	pool_detach(&p);
	free(bytes);
}

static void control_blocks_fit_and_are_aligned(void)
{
	struct sk_buff skb;

	CHECK(sizeof(struct ip_cb) <= SKB_HDR_ROOM);
	CHECK(sizeof(struct tx_cb) <= SKB_HDR_ROOM);
	CHECK_EQ((uintptr_t)skb_ip_cb(&skb) % 8, 0);
	CHECK_EQ((uintptr_t)skb_tx_cb(&skb) % 8, 0);
	CHECK_EQ(offsetof(struct sk_buff, hdr) + SKB_HDR_ROOM, sizeof(struct sk_buff));
}

static void buffer_names_round_trip(void)
{
	for (u32 pool = 0; pool < POOL_IDS; pool++)
		for (u32 index = 0; index < 0x0fffffff; index += 0x00fffff1) {
			CHECK_EQ(SKB_BUF_POOL(SKB_BUF(pool, index)), pool);
			CHECK_EQ(SKB_BUF_INDEX(SKB_BUF(pool, index)), index);
		}
}

UNIT_MAIN(UNIT(push_grows_towards_the_front), UNIT(push_stops_at_the_edge), UNIT(pull_stops_at_the_end),
	  UNIT(header_is_safe_or_null), UNIT(control_blocks_fit_and_are_aligned), UNIT(buffer_names_round_trip))
