/* test_ip_crash.c – ipd dies between any two stores that others can see, and nobody notices.
 *
 * Built with -DIP_CRASH_POINTS: ip_crash_point() is called at each such place; at the k-th the "daemon" is left by longjmp(), its
 * private memory is forgotten and a successor attaches to the region as it is. For every k: each segment is sent once, each
 * segment received reaches tcpd once, nothing comes home twice but by generation, nothing leaks. */
#include "ip_host.h"
#include "unit.h"

#include <setjmp.h>

#define PLAIN 6u	/* segments each way */
#define SEC NSEC_PER_SEC

static struct frame f;
static u8 buf[66000], data[66000];
static jmp_buf dead;
static struct { u32 n, at, every; bool on; const char *where; } crash;
static struct { u32 out[PLAIN], in[PLAIN], whole, echo, frags, too_big; } seen;

void ip_crash_point(const char *where)
{
	if (!crash.on)
		return;
	crash.n++;
	if (crash.every ? crash.n % crash.every == 0 : crash.n == crash.at) {
		crash.where = where;
		longjmp(dead, 1);
	}
}

static void live(struct host *h)	/* the daemon runs; it may die, then its successor runs */
{
	while (setjmp(dead)) {
		crash.on = false;
		if (crash.every) {	/* each life is a little longer, so that it gets somewhere */
			crash.every++;
			crash.n = 0;
		}
		host_restart(h);
		crash.on = crash.every != 0;
	}
	crash.on = true;
	host_run(h);
	crash.on = false;
}

static void look(struct host *h)
{
	struct sk_buff skb;

	while (host_frame(h, &f)) {
		struct ip_hdr ip;

		if (from_be16(f.eth.proto) != ETH_P_IP || f.len < 28)
			continue;
		memcpy(&ip, f.data, sizeof(ip));
		if (ip.protocol == IPPROTO_ICMP_)
			seen.echo++;
		else if (from_be16(ip.frag_off) & (IP_MF | IP_OFFMASK))
			seen.frags++;
		else if (f.data[20] < PLAIN)
			seen.out[f.data[20]]++;
	}
	while (host_segment(h, &skb, data)) {
		if (skb.type == SKB_ICMP_ERROR)
			seen.too_big++;
		else if (skb.len == 4000)
			seen.whole++;
		else if (skb.len && data[0] < PLAIN)
			seen.in[data[0]]++;
	}
}

static void receive(struct host *h, u8 id, u16 frag, u8 proto, const void *payload, u32 n)
{
	host_frame_in(h, ETH_P_IP, buf, host_ip(buf, A(10, 0, 0, 2), A(10, 0, 0, 1), proto, id, frag, payload, n), PACKET_HOST);
}

/* Everything ipd does, interleaved. */
static void scenario(struct host *h)
{
	static u8 big[4000], icmp[200];
	u8 seg[100] = { [12] = 0x50 };
	u32 n = host_icmp(icmp, ICMP_ECHO, 0, 1, 1, big, 100);

	big[0] = 200;
	for (u8 i = 0; i < PLAIN; i++) {
		seg[0] = i;
		host_send(h, A(10, 0, 0, 2), seg, sizeof(seg), true, 0);
		receive(h, i, 0, IPPROTO_TCP_, seg, sizeof(seg));
		if (i == 1) {
			receive(h, 77, 1480 / 8 | IP_MF, IPPROTO_TCP_, big + 1480, 1480);
			live(h);		/* the neighbour is unknown: held */
			look(h);
		}
		if (i == 2) {
			host_send(h, A(10, 0, 0, 2), big, 3000, true, 0);	/* too big */
			host_send(h, A(10, 0, 0, 2), big, 3000, false, 0);	/* fragmented */
			receive(h, 77, IP_MF, IPPROTO_TCP_, big, 1480);
			receive(h, 9, 0, IPPROTO_ICMP_, icmp, n);
			receive(h, 9, 0, 250, big, 40);				/* protocol unreachable */
			receive(h, 80, IP_MF, IPPROTO_TCP_, big, 800);		/* overlapping */
			receive(h, 80, 8, IPPROTO_TCP_, big, 800);
		}
		if (i == 3) {
			u8 arp[28];

			host_arp(arp, ARP_REPLY, peer_mac, A(10, 0, 0, 2), host_mac, A(10, 0, 0, 1));
			host_frame_in(h, ETH_P_ARP, arp, sizeof(arp), PACKET_HOST);
			receive(h, 77, 2960 / 8, IPPROTO_TCP_, big + 2960, 1040);
		}
	}
	live(h);
	look(h);
	live(h);
	look(h);
}

static bool right(struct host *h)
{
	bool ok = seen.whole >= 1 && seen.echo >= 2 && seen.too_big >= 1 && seen.frags >= 3;

	for (u32 i = 0; i < PLAIN; i++)
		ok = ok && seen.out[i] == 1 && seen.in[i] == 1;
	return ok && host_loans(h) == 0;
}

static bool run(u32 at, u32 every)
{
	struct host *h;
	bool ok;

	crash = (typeof(crash)){ .on = false };
	memset(&seen, 0, sizeof(seen));
	h = host_new();
	host_wait(h, 5 * SEC);
	host_drain(h);
	host_run(h);
	crash.at = at;
	crash.every = every;
	scenario(h);
	crash.every = crash.at = 0;
	for (u32 i = 0; i < 8; i++) {
		h->now += SEC;
		host_run(h);
		look(h);
	}
	h->now += 32 * SEC;
	host_run(h);
	look(h);
	host_run(h);
	ok = right(h);
	if (!ok)
		printf("# died at point %u (every %u), last \"%s\": out %u %u %u %u %u %u in %u %u %u %u %u %u whole %u echo %u "
		       "too_big %u frags %u twice %u loans link %u tcp %u ip %u\n", at, every, crash.where ? crash.where : "never",
		       seen.out[0], seen.out[1], seen.out[2], seen.out[3], seen.out[4], seen.out[5], seen.in[0], seen.in[1],
		       seen.in[2], seen.in[3], seen.in[4], seen.in[5], seen.whole, seen.echo, seen.too_big, seen.frags, h->twice,
		       pool_loans(&h->link_pool), pool_loans(&h->tcp_pool), pool_loans(&h->pools.p[POOL_IP]));
	host_free(h);
	return ok;
}

static void nobody_dies(void)
{
	CHECK(run(0, 0));
	CHECK_EQ(seen.whole, 1);
	CHECK_EQ(seen.frags, 3);
}

static void dies_once_at_every_point(void)
{
	u32 points, bad = 0;

	run(0, 0);
	points = crash.n;
	CHECK(points > 50);
	for (u32 k = 1; k <= points; k++)
		bad += !run(k, 0);
	CHECK_EQ(bad, 0);
	printf("# %u crash points\n", points);
}

static void dies_again_and_again(void)
{
	u32 bad = 0;

	for (u32 every = 1; every < 60; every++)
		bad += !run(0, every);
	CHECK_EQ(bad, 0);
}

UNIT_MAIN(UNIT(nobody_dies), UNIT(dies_once_at_every_point), UNIT(dies_again_and_again))
