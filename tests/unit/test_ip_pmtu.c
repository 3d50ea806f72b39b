/* test_ip_pmtu.c – services/ip/pmtu.c: path MTUs by destination, from tcpd's notes and from answers to our echo requests. */
#include "ip_host.h"
#include "unit.h"

#define FAR_AWAY A(8, 8, 8, 8)

static void note(struct host *h, be32 dst, u32 mtu)
{
	u32 head = load_relaxed(&h->notes.head);

	store_relaxed(&h->notes.note[head % TCP_PMTU_NOTES], (u64)dst.v << 32 | mtu);
	store_release(&h->notes.head, head + 1);
	CHECK(ip_pending(h->st));
	host_run(h);
	CHECK(!pmtu_pending(h->st));
}

static struct ip_path path_to(struct host *h, be32 dst)
{
	struct ip_path p = { .mtu = 0 };

	CHECK_EQ(route_lookup(h->ip, h->link, dst, (be32){ 0 }, &p), 0);
	return p;
}

static struct host *begin(void)
{
	struct host *h = host_new();

	host_wait(h, 5 * NSEC_PER_SEC);
	host_drain(h);
	return h;
}

static void learnt_lower_only_and_forgotten(void)
{
	struct host *h = begin();

	note(h, FAR_AWAY, 1400);
	CHECK_EQ(path_to(h, FAR_AWAY).mtu, 1400);
	CHECK_EQ(path_to(h, A(8, 8, 8, 9)).mtu, 1500);
	note(h, FAR_AWAY, 1450);
	CHECK_EQ(path_to(h, FAR_AWAY).mtu, 1400);
	note(h, FAR_AWAY, 1300);
	CHECK_EQ(path_to(h, FAR_AWAY).mtu, 1300);
	note(h, A(8, 8, 8, 9), 1600);		/* more than the device carries */
	CHECK_EQ(path_to(h, A(8, 8, 8, 9)).mtu, 1500);
	host_wait(h, 590 * NSEC_PER_SEC);
	CHECK_EQ(path_to(h, FAR_AWAY).mtu, 1300);
	host_wait(h, 30 * NSEC_PER_SEC);	/* RFC 1191 6.3: tried again after ten minutes */
	CHECK_EQ(path_to(h, FAR_AWAY).mtu, 1500);
	host_free(h);
}

static void heard_again_is_kept_longer(void)
{
	struct host *h = begin();

	note(h, FAR_AWAY, 1400);
	host_wait(h, 400 * NSEC_PER_SEC);
	note(h, FAR_AWAY, 1400);
	host_wait(h, 400 * NSEC_PER_SEC);
	CHECK_EQ(path_to(h, FAR_AWAY).mtu, 1400);
	host_free(h);
}

static void below_the_floor_is_left_to_fragmentation(void)
{
	struct host *h = begin();

	note(h, FAR_AWAY, 296);
	CHECK_EQ(path_to(h, FAR_AWAY).mtu, IP_MTU_MIN);
	CHECK(path_to(h, FAR_AWAY).mtu_locked);
	note(h, A(8, 8, 8, 9), IP_MTU_MIN);
	CHECK(!path_to(h, A(8, 8, 8, 9)).mtu_locked);
	note(h, A(8, 8, 8, 9), 68);		/* the same MTU, and now it is known not to be enough */
	CHECK(path_to(h, A(8, 8, 8, 9)).mtu_locked);
	host_free(h);
}

/* A successor has the table, and does not take old notes for new ones. */
static void survives_a_restart(void)
{
	struct host *h = begin();

	note(h, FAR_AWAY, 1400);
	host_wait(h, 300 * NSEC_PER_SEC);
	host_restart(h);
	host_run(h);
	CHECK_EQ(path_to(h, FAR_AWAY).mtu, 1400);
	host_wait(h, 320 * NSEC_PER_SEC);
	CHECK_EQ(path_to(h, FAR_AWAY).mtu, 1500);
	host_free(h);
}

static void more_notes_than_places_and_rows(void)
{
	struct host *h = begin();
	u32 known = 0;

	for (u32 i = 0; i < 3 * TCP_PMTU_NOTES; i++)
		store_relaxed(&h->notes.note[i % TCP_PMTU_NOTES], (u64)A(9, 9, 9, i).v << 32 | 1000);
	store_release(&h->notes.head, 3 * TCP_PMTU_NOTES);
	host_run(h);
	for (u32 i = 0; i < 3 * TCP_PMTU_NOTES; i++)
		known += path_to(h, A(9, 9, 9, i)).mtu == 1000;
	CHECK_EQ(known, TCP_PMTU_NOTES);
	for (u32 i = 0; i < 2 * IP_PMTUS; i++)
		note(h, A(9, 9, i >> 8, i & 255), 1000);
	CHECK_EQ(path_to(h, A(9, 9, 1, 255)).mtu, 1000);
	host_free(h);
}

/* A message about a packet that is not known to be ours changes nothing. */
static void strangers_are_not_believed(void)
{
	struct host *h = begin();
	u8 quote[64], icmp[128], buf[256], echo[8] = { 8, 0, 0, 0, 0x12, 0x34, 0, 1 };
	u32 n = host_ip(quote, A(10, 0, 0, 1), FAR_AWAY, IPPROTO_ICMP_, 5, IP_DF, echo, sizeof(echo));

	n = host_icmp(icmp, ICMP_DEST_UNREACH, ICMP_FRAG_NEEDED, 0, 600, quote, n);
	host_frame_in(h, ETH_P_IP, buf, host_ip(buf, A(10, 0, 0, 254), A(10, 0, 0, 1), IPPROTO_ICMP_, 1, 0, icmp, n), PACKET_HOST);
	host_run(h);
	CHECK_EQ(path_to(h, FAR_AWAY).mtu, 1500);
	host_free(h);
}

UNIT_MAIN(UNIT(learnt_lower_only_and_forgotten), UNIT(heard_again_is_kept_longer), UNIT(below_the_floor_is_left_to_fragmentation),
	  UNIT(survives_a_restart), UNIT(more_notes_than_places_and_rows), UNIT(strangers_are_not_believed))
