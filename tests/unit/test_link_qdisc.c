/* test_link_qdisc.c – services/link: dev_queue_xmit.c, qdisc_pfifo_fast.c, hold.c, xmit.c: order, limits, a device that
 * cannot take it, and deaths: killed at every point between the ring and the completion, nothing is lost, nothing
 * completed twice, and only device writes may be repeated. */
#include "test_link_fixture.h"

static u32 holds_used(void)
{
	u32 n = 0;

	for (u32 i = 0; i < QDISC_HOLD; i++)
		n += load_relaxed(&f.d.link->hold[i].used) != 0;
	return n;
}

static u32 tx(void)
{
	u32 n = 0, k;

	while ((k = link_tx_poll(&f.l, 64)))
		n += k;
	return n;
}

static void unblock(void)
{
	f.busy = -1;
	f.l.now += NSEC_PER_SEC;
	tx();
}

static void bypass_when_empty(void)
{
	REQUIRE_EQ(world_begin(LINK_F_VNET | LINK_F_CSUM | LINK_F_TSO), 0);
	for (u32 i = 0; i < 200; i++)
		give_packet(i, 0);
	tx();
	CHECK_EQ(f.nsent, 200);
	for (u32 i = 0; i < 200; i++)
		CHECK_EQ(f.sent[i].mark, i);
	CHECK_EQ(f.sent[0].len, 94);
	CHECK_EQ(f.l.holds.seq, 1);		/* never entered the table */
	CHECK_EQ(take_completions(NULL), 200);
	CHECK_EQ(pool_loans(&f.tcp), 0);
	CHECK_EQ(load_relaxed(&f.d.link->ip_link.tail), load_relaxed(&f.d.ip->ip_link.head));
	world_end();
}

static void bands_in_order(void)
{
	static const u8 prio[6] = { 2, 0, 6, 6, 0, 2 };	/* bulk, best effort, interactive */
	static const u32 want[6] = { 0, 2, 3, 1, 4, 5 };	/* 0 was refused by the device... */

	REQUIRE_EQ(world_begin(0), 0);
	f.busy = 0;
	for (u32 i = 0; i < 6; i++)
		give_packet(i, prio[i]);
	tx();
	CHECK_EQ(f.nsent, 0);
	CHECK_EQ(holds_used(), 6);
	unblock();
	REQUIRE_EQ(f.nsent, 6);
	CHECK_EQ(f.sent[0].mark, 2);		/* ...but a lower band goes before it */
	CHECK_EQ(f.sent[1].mark, 3);
	CHECK_EQ(f.sent[2].mark, want[3]);
	CHECK_EQ(f.sent[3].mark, 4);
	CHECK_EQ(f.sent[4].mark, 0);
	CHECK_EQ(f.sent[5].mark, 5);
	CHECK_EQ(holds_used(), 0);
	CHECK_EQ(take_completions(NULL), 6);
	world_end();
}

static void full_drops_and_completes(void)
{
	struct qdisc_dump dump;
	u16 error = 0;

	REQUIRE_EQ(world_begin(0), 0);
	f.busy = 0;
	for (u32 i = 0; i < 150; i++)
		give_packet(i, 0);
	tx();
	f.l.dev[0].qdisc->ops->dump(f.l.dev[0].qdisc, &dump);
	CHECK_EQ(dump.qlen, 100);
	CHECK_EQ(counter_get(f.l.counters, DROP_QDISC_FULL), 50);
	CHECK_EQ(take_completions(&error), 50);
	CHECK_EQ(error, ENOBUFS);
	CHECK_EQ(pool_loans(&f.tcp), 100);
	unblock();
	CHECK_EQ(f.nsent, 100);
	CHECK_EQ(take_completions(NULL), 100);
	CHECK_EQ(f.l.holds.nfree, QDISC_HOLD);
	world_end();
}

static void nonsense_is_dropped_and_counted(void)
{
	REQUIRE_EQ(world_begin(0), 0);
	srand(7);
	for (u32 i = 0; i < 100000; i++) {
		struct sk_buff *s = ring_reserve(&f.ip_link);

		if (!s) {
			tx();
			take_completions(NULL);
			const void *d;
			while ((d = ring_peek(&f.ip_done)))
				ring_next(&f.ip_done);
			ring_release(&f.ip_done);
			s = ring_reserve(&f.ip_link);
			REQUIRE(s != NULL);
		}
		for (u32 k = 0; k < sizeof(*s) / 4; k++)
			((u32 *)s)[k] = (u32)rand() ^ (u32)rand() << 16;
		if (i % 2) {	/* a live buffer, the rest random */
			struct sk_buff live;

			if (pool_take(&f.tcp, i % 4 == 1 ? 100 : 9000, 0, &live)) {
				s->buf = live.buf;
				s->gen = live.gen;
				s->off = (u32)rand() % 3000;
				s->len = (u32)rand() % 70000;
				s->dev = 0;
				s->hdr_off = (u8)(rand() % 90);
				s->gso_size = (u16)(rand() % 3 ? 0 : 1448);
			}
		}
		ring_publish(&f.ip_link);
	}
	f.l.now += NSEC_PER_SEC;
	tx();
	CHECK(counter_get(f.l.counters, DROP_NONSENSE) > 0);
	CHECK_EQ(holds_used(), 0);
	f.nsent = 0;
	take_completions(NULL);
	pool_detach(&f.tcp);		/* what random pool numbers kept from being completed */
	memset(f.d.tcp->words, 0, sizeof(f.d.tcp->words));
	pool_attach_owner(&f.tcp, POOL_TCP, f.d.tcp->words, f.d.tcp->bytes, TCP_NSMALL, TCP_NLARGE);
	give_packet(4711, 0);		/* alive */
	tx();
	CHECK_EQ(f.sent[0].mark, 4711);
	world_end();
}

/* ---- deaths ---- */

/* After a death and a new life: everything given is sent (perhaps twice), every loan ended exactly once. */
static void all_arrive(u32 given, u32 completed_before)
{
	u8 seen[256] = { 0 };

	unblock();
	for (u32 i = 0; i < f.nsent; i++)
		seen[f.sent[i].mark % 256]++;
	for (u32 i = 0; i < given; i++)
		CHECK(seen[i] == 1 || seen[i] == 2);
	CHECK_EQ(completed_before + take_completions(NULL), given);
	CHECK_EQ(pool_loans(&f.tcp), 0);
	CHECK_EQ(holds_used(), 0);
	CHECK_EQ(f.l.ip_link.pos, load_relaxed(&f.d.ip->ip_link.head));
}

static void killed_when_the_device_has_it_before_the_completion(void)
{
	REQUIRE_EQ(world_begin(0), 0);
	for (u32 i = 0; i < 5; i++)
		give_packet(i, 0);
	f.die_in_xmit = true;
	if (setjmp(f.death) == 0)
		tx();
	life_end();
	REQUIRE_EQ(life_begin(0), 0);
	all_arrive(5, 0);
	CHECK_EQ(f.nsent, 6);		/* one twice */
	world_end();
}

static void killed_after_publishing_completions_before_the_tail(void)
{
	u32 n;

	REQUIRE_EQ(world_begin(0), 0);
	for (u32 i = 0; i < 5; i++)
		give_packet(i, 0);
	f.tcp_done.cons->hungry = 1;
	f.die_in_bell = true;
	if (setjmp(f.death) == 0)
		tx();
	CHECK(load_relaxed(&f.d.link->ip_link.tail) != load_relaxed(&f.d.ip->ip_link.head));
	life_end();
	n = take_completions(NULL);	/* tcpd reuses the buffers at once: wrong bytes if they were sent again */
	CHECK_EQ(n, 5);
	REQUIRE_EQ(life_begin(0), 0);
	all_arrive(5, n);
	CHECK_EQ(f.nsent, 5);
	CHECK_EQ(counter_get(f.l.counters, DROP_NONSENSE), 0);
	world_end();
}

static void killed_while_held(void)
{
	REQUIRE_EQ(world_begin(0), 0);
	f.busy = 0;
	for (u32 i = 0; i < 20; i++)
		give_packet(i, i % 3 == 0 ? 6 : 0);
	tx();
	CHECK_EQ(holds_used(), 20);
	life_end();
	REQUIRE_EQ(life_begin(0), 0);
	CHECK_EQ(f.l.dev[0].qdisc->qlen, 20);
	all_arrive(20, 0);
	CHECK_EQ(f.nsent, 20);
	for (u32 i = 0; i < 7; i++)
		CHECK_EQ(f.sent[i].mark, 3 * i);	/* bands and order as before */
	world_end();
}

/* The hold is written, the tail not yet moved: the entry's cause says that the input was taken. */
static void killed_after_holding_before_the_tail(void)
{
	u32 tail;

	REQUIRE_EQ(world_begin(0), 0);
	f.busy = 0;
	tail = load_relaxed(&f.d.link->ip_link.tail);
	for (u32 i = 0; i < 7; i++)
		give_packet(i, 0);
	tx();
	store_relaxed(&f.d.link->ip_link.tail, tail);
	life_end();
	REQUIRE_EQ(life_begin(0), 0);
	CHECK_EQ(f.l.dev[0].qdisc->qlen, 7);
	tx();
	CHECK_EQ(load_relaxed(&f.d.link->ip_link.tail), tail + 7);
	all_arrive(7, 0);
	CHECK_EQ(f.nsent, 7);
	world_end();
}

/* Sent from the table, completion published, entry not yet released. */
static void killed_after_the_completion_before_the_release(void)
{
	u32 n;

	REQUIRE_EQ(world_begin(0), 0);
	f.busy = 0;
	for (u32 i = 0; i < 7; i++)
		give_packet(i, 0);
	tx();
	f.tcp_done.cons->hungry = 1;
	f.busy = -1;
	f.l.now += NSEC_PER_SEC;
	f.die_in_bell = true;
	if (setjmp(f.death) == 0)
		tx();
	CHECK_EQ(holds_used(), 7);
	life_end();
	n = take_completions(NULL);
	CHECK_EQ(n, 7);
	REQUIRE_EQ(life_begin(0), 0);
	CHECK_EQ(holds_used(), 0);
	all_arrive(7, n);
	CHECK_EQ(f.nsent, 7);
	world_end();
}

static void killed_at_random(void)
{
	static u32 given, done;		/* survive the longjmp() */

	REQUIRE_EQ(world_begin(0), 0);
	srand(1);
	for (u32 i = 0; i < 1500; i++) {
		u32 n = (u32)rand() % 8;

		while (n-- && pool_loans(&f.tcp) < 90) {
			give_packet(given % 256, rand() % 2 ? 0x10 : 0);
			given++;
		}
		f.busy = rand() % 3 ? rand() % 6 : -1;
		f.die_in_xmit = rand() % 4 == 0;
		f.die_in_bell = rand() % 4 == 0;
		store_relaxed(&f.tcp_done.cons->hungry, rand() % 2);
		f.l.now += NSEC_PER_SEC;
		if (setjmp(f.death) == 0) {
			link_tx_poll(&f.l, 64);
			if (rand() % 4)
				goto alive;
		}
		life_end();
		if (rand() % 2)
			done += take_completions(NULL);
		REQUIRE_EQ(life_begin(0), 0);
alive:
		done += take_completions(NULL);
	}
	f.die_in_xmit = f.die_in_bell = false;
	unblock();
	done += take_completions(NULL);
	CHECK_EQ(done, given);
	CHECK_EQ(pool_loans(&f.tcp), 0);
	CHECK_EQ(holds_used(), 0);
	CHECK_EQ(counter_get(f.l.counters, DROP_NONSENSE), 0);
	world_end();
}

UNIT_MAIN(UNIT(bypass_when_empty), UNIT(bands_in_order), UNIT(full_drops_and_completes),
	  UNIT(nonsense_is_dropped_and_counted), UNIT(killed_when_the_device_has_it_before_the_completion),
	  UNIT(killed_after_publishing_completions_before_the_tail), UNIT(killed_while_held),
	  UNIT(killed_after_holding_before_the_tail), UNIT(killed_after_the_completion_before_the_release),
	  UNIT(killed_at_random))
