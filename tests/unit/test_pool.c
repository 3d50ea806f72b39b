/* test_pool.c – common/pool.h: loans and generations, two size classes, readers' checks, restart, reconciliation. */
#include "common/pool.h"
#include "unit.h"

#include <stdlib.h>

#define NSMALL 6u
#define NLARGE 3u
#define N (NSMALL + NLARGE)

static _Atomic u64 words[N];
static u8 *bytes;
static struct pool p;

/* Generations start before their wrap. */
static void open_pool(void)
{
	bytes = calloc(1, pool_bytes_size(NSMALL, NLARGE));
	REQUIRE(bytes);
	for (u32 i = 0; i < N; i++)
		store_relaxed(&words[i], POOL_WORD(0xfffffffeu, 0, 0));
	REQUIRE_EQ(pool_attach_owner(&p, POOL_TCP, words, bytes, NSMALL, NLARGE), 0);
}

/* Every test ends with every buffer back. */
static void close_pool(void)
{
	CHECK_EQ(pool_loans(&p), 0);
	CHECK_EQ(p.nfree_small, NSMALL);
	CHECK_EQ(p.nfree_large, NLARGE);
	for (u32 i = 0; i < N; i++)
		CHECK(!POOL_WORD_LOAN(load_relaxed(&words[i])));
	pool_detach(&p);
	free(bytes);
}

static void take_and_give_back(void)
{
	struct sk_buff skb;
	u32 tag = 0;
	u8 *at;

	open_pool();
	at = pool_take(&p, 100, 4711, &skb);
	REQUIRE(at);
	CHECK_EQ(SKB_BUF_POOL(skb.buf), POOL_TCP);
	CHECK_EQ(skb.off + skb.len, 0);
	CHECK_EQ(skb.hdr_off, SKB_HDR_ROOM);
	CHECK(at == pool_addr(&p, SKB_BUF_INDEX(skb.buf)));
	CHECK_EQ(pool_loans(&p), 1);
	CHECK(pool_give_back(&p, skb.buf, skb.gen, &tag));
	CHECK_EQ(tag, 4711);
	close_pool();
}

static void give_back_happens_once(void)
{
	struct sk_buff skb, again;
	u32 tag = 5;

	open_pool();
	REQUIRE(pool_take(&p, 1, 1, &skb));
	CHECK(!pool_give_back(&p, skb.buf, skb.gen + 1, &tag));
	CHECK(!pool_give_back(&p, skb.buf, skb.gen - 1, NULL));
	CHECK(!pool_give_back(&p, SKB_BUF(POOL_LINK, SKB_BUF_INDEX(skb.buf)), skb.gen, NULL));
	CHECK(!pool_give_back(&p, SKB_BUF(POOL_TCP, N), skb.gen, NULL));
	CHECK(!pool_give_back(&p, SKB_BUF(POOL_TCP, 0x0fffffff), skb.gen, NULL));
	CHECK_EQ(tag, 5);
	CHECK(pool_give_back(&p, skb.buf, skb.gen, NULL));
	CHECK(!pool_give_back(&p, skb.buf, skb.gen, NULL));
	REQUIRE(pool_take(&p, 1, 2, &again));		/* the same buffer, another loan */
	CHECK_EQ(again.buf, skb.buf);
	CHECK(again.gen != skb.gen);
	CHECK(!pool_give_back(&p, skb.buf, skb.gen, NULL));
	CHECK(pool_give_back(&p, again.buf, again.gen, NULL));
	close_pool();
}

static void classes_and_exhaustion(void)
{
	struct sk_buff small[NSMALL], large[NLARGE], skb;

	open_pool();
	CHECK(!pool_take(&p, POOL_LARGE + 1, 0, &skb));
	for (u32 i = 0; i < NSMALL; i++) {
		REQUIRE(pool_take(&p, POOL_SMALL, 0, &small[i]));
		CHECK_EQ(pool_capacity(&p, SKB_BUF_INDEX(small[i].buf)), POOL_SMALL);
	}
	REQUIRE(pool_take(&p, 10, 0, &large[0]));	/* no small one left: a large one serves */
	CHECK_EQ(pool_capacity(&p, SKB_BUF_INDEX(large[0].buf)), POOL_LARGE);
	REQUIRE(pool_take(&p, POOL_LARGE, 0, &large[1]));
	REQUIRE(pool_take(&p, POOL_SMALL + 1, 0, &large[2]));
	CHECK(!pool_take(&p, 1, 0, &skb));
	CHECK_EQ(pool_loans(&p), N);
	for (u32 i = 0; i < NSMALL; i++)
		CHECK(pool_give_back(&p, small[i].buf, small[i].gen, NULL));
	CHECK(!pool_take(&p, POOL_SMALL + 1, 0, &skb));
	for (u32 i = 0; i < NLARGE; i++)
		CHECK(pool_give_back(&p, large[i].buf, large[i].gen, NULL));
	close_pool();
}

static void buffers_do_not_overlap(void)
{
	struct sk_buff skb[N];
	u32 wrong = 0;

	open_pool();
	for (u32 i = 0; i < N; i++) {
		u8 *at = pool_take(&p, i < NSMALL ? 1 : POOL_LARGE, 0, &skb[i]);

		REQUIRE(at);
		memset(at, (int)i + 1, pool_capacity(&p, SKB_BUF_INDEX(skb[i].buf)));
	}
	for (u32 i = 0; i < N; i++) {
		u8 *at = pool_addr(&p, SKB_BUF_INDEX(skb[i].buf));

		for (u32 k = 0; k < pool_capacity(&p, SKB_BUF_INDEX(skb[i].buf)); k++)
			wrong += at[k] != i + 1;
		pool_give_back(&p, skb[i].buf, skb[i].gen, NULL);
	}
	CHECK_EQ(wrong, 0);
	/* Large buffers start on different cache sets (64 KB strides would alias). */
	CHECK((POOL_LARGE_STRIDE & 4095) != 0);
	close_pool();
}

static void a_reader_refuses_nonsense(void)
{
	struct pools ps = { 0 };
	struct sk_buff skb, bad;

	open_pool();
	pool_attach_reader(&ps.p[POOL_TCP], POOL_TCP, words, bytes, NSMALL, NLARGE);
	REQUIRE(pool_take(&p, 1, 0, &skb));
	skb.off = 100;
	skb.len = POOL_SMALL - 100;
	CHECK(skb_data(&ps, &skb) == pool_addr(&p, SKB_BUF_INDEX(skb.buf)) + 100);
	bad = skb, bad.len++;
	CHECK(!skb_data(&ps, &bad));
	bad = skb, bad.off = POOL_SMALL + 1, bad.len = 0;
	CHECK(!skb_data(&ps, &bad));
	bad = skb, bad.off = 0xfffffff0u, bad.len = 0x20;	/* their sum wraps */
	CHECK(!skb_data(&ps, &bad));
	bad = skb, bad.len = 0xffffffffu;
	CHECK(!skb_data(&ps, &bad));
	bad = skb, bad.gen++;
	CHECK(!skb_data(&ps, &bad));
	for (u32 pool = 0; pool < 16; pool++) {
		bad = skb, bad.buf = SKB_BUF(pool, SKB_BUF_INDEX(skb.buf));
		CHECK_EQ(skb_data(&ps, &bad) != NULL, pool == POOL_TCP);
	}
	bad = skb, bad.buf = SKB_BUF(POOL_TCP, N);
	CHECK(!skb_data(&ps, &bad));
	CHECK(pool_give_back(&p, skb.buf, skb.gen, NULL));
	CHECK(!skb_data(&ps, &skb));			/* not on loan any more */
	REQUIRE(pool_take(&p, 1, 0, &bad));
	CHECK_EQ(bad.buf, skb.buf);
	CHECK(!skb_data(&ps, &skb));			/* on loan again, to another */
	pool_give_back(&p, bad.buf, bad.gen, NULL);
	close_pool();
}

static void a_restart_keeps_loans(void)
{
	struct sk_buff a, b, c;
	u32 tag = 0;

	open_pool();
	REQUIRE(pool_take(&p, 1, 11, &a));
	REQUIRE(pool_take(&p, POOL_LARGE, 12, &b));
	pool_detach(&p);
	REQUIRE_EQ(pool_attach_owner(&p, POOL_TCP, words, bytes, NSMALL, NLARGE), 0);
	CHECK_EQ(pool_loans(&p), 2);
	for (u32 i = 0; i < NSMALL - 1; i++) {		/* none that is out is handed out again */
		REQUIRE(pool_take(&p, 1, 0, &c));
		CHECK(c.buf != a.buf && c.buf != b.buf);
		pool_give_back(&p, c.buf, c.gen, NULL);
	}
	CHECK(pool_give_back(&p, a.buf, a.gen, &tag));
	CHECK_EQ(tag, 11);
	CHECK(pool_give_back(&p, b.buf, b.gen, &tag));
	CHECK_EQ(tag, 12);
	close_pool();
}

/* Loans seen in a ring stay, those seen nowhere or only as an earlier loan come back. */
static void reconciliation_takes_back_what_is_nowhere(void)
{
	struct sk_buff seen, lost, stale;
	struct pool_scan s;

	open_pool();
	REQUIRE(pool_take(&p, 1, 0, &stale));
	pool_give_back(&p, stale.buf, stale.gen, NULL);
	REQUIRE(pool_take(&p, 1, 0, &lost));		/* the buffer of `stale` */
	CHECK_EQ(lost.buf, stale.buf);
	REQUIRE(pool_take(&p, 1, 0, &seen));
	REQUIRE_EQ(pool_scan_begin(&s, &p), 0);
	pool_scan_mark(&s, stale.buf, stale.gen);
	pool_scan_mark(&s, seen.buf, seen.gen);
	pool_scan_mark(&s, seen.buf, seen.gen);		/* in two rings: the input's and the output's */
	pool_scan_mark(&s, SKB_BUF(POOL_LINK, 0), 1);	/* others' buffers and nonsense: nothing */
	pool_scan_mark(&s, SKB_BUF(POOL_TCP, N), 1);
	CHECK_EQ(pool_scan_end(&s), 1);
	CHECK_EQ(pool_loans(&p), 1);
	CHECK(!pool_give_back(&p, lost.buf, lost.gen, NULL));
	CHECK(pool_give_back(&p, seen.buf, seen.gen, NULL));
	close_pool();
}

/* Why in flow order: a descriptor that moves on while we scan is met again downstream, never missed. */
static void flow_order_meets_a_moving_descriptor(void)
{
	struct sk_buff skb;
	struct pool_scan s;
	u32 buf_in[2], n_up = 1, n_down = 0;

	open_pool();
	REQUIRE(pool_take(&p, 1, 0, &skb));
	buf_in[0] = skb.buf;
	REQUIRE_EQ(pool_scan_begin(&s, &p), 0);
	if (n_up)
		pool_scan_mark(&s, buf_in[0], skb.gen);
	n_up = 0, n_down = 1, buf_in[1] = buf_in[0];	/* the neighbour moves it between our two looks */
	if (n_down)
		pool_scan_mark(&s, buf_in[1], skb.gen);
	CHECK_EQ(pool_scan_end(&s), 0);

	n_up = 1, n_down = 0;
	REQUIRE_EQ(pool_scan_begin(&s, &p), 0);
	if (n_down)
		pool_scan_mark(&s, buf_in[1], skb.gen);
	n_up = 0, n_down = 1;
	if (n_up)
		pool_scan_mark(&s, buf_in[0], skb.gen);
	CHECK_EQ(pool_scan_end(&s), 1);			/* against the flow: a live loan is taken back */
	close_pool();
}

static void random_traffic_leaks_nothing(void)
{
	struct sk_buff out[N];
	u32 n = 0, x = 1, wrong = 0;

	open_pool();
	for (u32 step = 0; step < 100000; step++) {
		x = x * 1664525 + 1013904223;
		if (x >> 31 && n < N) {
			n += pool_take(&p, x >> 30 & 1 ? 1 : POOL_LARGE, n, &out[n]) != NULL;
		} else if (n) {
			u32 i = (x >> 8) % n;

			wrong += !pool_give_back(&p, out[i].buf, out[i].gen, NULL);
			wrong += pool_give_back(&p, out[i].buf, out[i].gen, NULL);
			out[i] = out[--n];
		}
		wrong += pool_loans(&p) != n;
	}
	while (n--)
		pool_give_back(&p, out[n].buf, out[n].gen, NULL);
	CHECK_EQ(wrong, 0);
	close_pool();
}

UNIT_MAIN(UNIT(take_and_give_back), UNIT(give_back_happens_once), UNIT(classes_and_exhaustion),
	  UNIT(buffers_do_not_overlap), UNIT(a_reader_refuses_nonsense), UNIT(a_restart_keeps_loans),
	  UNIT(reconciliation_takes_back_what_is_nowhere), UNIT(flow_order_meets_a_moving_descriptor),
	  UNIT(random_traffic_leaks_nothing))
