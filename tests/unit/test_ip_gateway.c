/* test_ip_gateway.c – services/ip: several default gateways, one of which dies (RFC 1122 3.3.1.2, 3.3.1.4, 3.3.1.5).
 *
 *      us 10.0.0.1  ---  10.0.0.254 (metric 0)
 *                   \--  10.0.0.253 (metric 10) */
#include "ip_host.h"
#include "unit.h"

#define FAR_AWAY A(8, 8, 8, 8)
#define SEC NSEC_PER_SEC

static struct frame f;
static u8 seg[40] = { [12] = 0x50 };

static struct host *two_gateways(void)
{
	struct host *h = host_new();
	struct ip_route second = { .gateway = A(10, 0, 0, 253), .metric = 10 };

	CHECK_EQ(route_add(h->st, &second, IP_ROW_RUNTIME), 0);
	host_wait(h, 5 * SEC);
	host_drain(h);
	return h;
}

static void end(struct host *h)
{
	while (host_segment(h, &f.skb, NULL) || host_drain(h))
		host_run(h);
	host_wait(h, 10 * SEC);
	host_drain(h);
	host_run(h);
	CHECK_EQ(host_loans(h), 0);
	host_free(h);
}

/* Last byte of the gateway the datagram went to, 0: none; ARP requests for the two are counted and, when alive, answered. */
static u32 asked[256];
static u8 send_one(struct host *h, bool first_lives)
{
	u8 to = 0;

	host_send(h, FAR_AWAY, seg, sizeof(seg), true, 0);
	host_run(h);
	while (host_frame(h, &f)) {
		struct arp_hdr a;

		if (from_be16(f.eth.proto) == ETH_P_IP) {
			to = f.eth.dst[5];
			continue;
		}
		memcpy(&a, f.data, sizeof(a));
		asked[a.tpa[3]]++;
		if (first_lives || a.tpa[3] != 254)
			host_resolve(h, A(10, 0, 0, a.tpa[3]));
	}
	return to;
}

static void the_next_default_takes_over(void)
{
	struct host *h = two_gateways();
	u32 seconds = 0, before;

	CHECK_EQ(send_one(h, true), 254);
	CHECK_EQ(asked[253], 0);
	while (send_one(h, false) != 253 && seconds++ < 200)	/* the first dies */
		host_wait(h, SEC);
	CHECK(seconds < 60);
	before = asked[254];
	for (u32 i = 0; i < 600; i++) {				/* ten minutes over the second; the first is hardly asked */
		CHECK_EQ(send_one(h, false), 253);
		host_wait(h, SEC);
	}
	CHECK(asked[254] - before >= 10);
	CHECK(asked[254] - before <= 21);
	before = asked[254];
	for (seconds = 0; asked[254] == before && seconds < 200; seconds++) {	/* it comes back */
		host_wait(h, SEC);
		CHECK_EQ(send_one(h, true), 253);
	}
	CHECK(seconds <= 31);
	for (u32 i = 0; i < 100; i++) {
		CHECK_EQ(send_one(h, true), 254);
		host_wait(h, SEC);
	}
	end(h);
}

static void the_only_one_is_tried_again(void)
{
	struct host *h = host_new();

	host_wait(h, 5 * SEC);
	host_drain(h);
	CHECK_EQ(send_one(h, false), 0);
	host_wait(h, 5 * SEC);			/* FAILED; there is no other way */
	CHECK_EQ(h->last_error, EHOSTUNREACH);
	host_drain(h);
	send_one(h, true);			/* so the next datagram asks at once */
	CHECK_EQ(send_one(h, true), 254);
	end(h);
}

static void a_death_of_ours_forgets_nothing(void)
{
	struct host *h = two_gateways();

	send_one(h, false);
	host_wait(h, 5 * SEC);
	host_drain(h);
	send_one(h, false);
	CHECK_EQ(send_one(h, false), 253);
	host_restart(h);
	CHECK_EQ(send_one(h, false), 253);
	end(h);
}

UNIT_MAIN(UNIT(the_next_default_takes_over), UNIT(the_only_one_is_tried_again), UNIT(a_death_of_ours_forgets_nothing))
