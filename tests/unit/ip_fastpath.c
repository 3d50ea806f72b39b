/* ip_fastpath.c – what ipd costs per packet of an established flow, transmit (tx4-tx6) and receive (rx4-rx5), without the
 * other daemons: only ip_poll() is timed, in batches of 64. Prints ns per packet; run on a quiet machine. */
#include <stdio.h>
#include <time.h>

#include "ip_host.h"

#define ROUNDS 20000u
#define BATCH 64u

static u64 clock_now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (u64)t.tv_sec * NSEC_PER_SEC + (u64)t.tv_nsec;
}

static double measure(struct host *h, bool tx)
{
	static u8 seg[1448] = { [12] = 0x50 }, buf[1600];
	u32 n = host_ip(buf, A(10, 0, 0, 2), A(10, 0, 0, 1), IPPROTO_TCP_, 1, IP_DF, seg, sizeof(seg));
	struct sk_buff skb;
	u64 spent = 0;

	for (u32 r = 0; r < ROUNDS; r++) {
		u64 t;

		for (u32 i = 0; i < BATCH; i++)
			if (!(tx ? host_send(h, A(10, 0, 0, 2), seg, sizeof(seg), true, 0) : host_frame_in(h, ETH_P_IP, buf, n, PACKET_HOST)))
				return -1;
		t = clock_now();
		(void)ip_poll(h->st, BATCH);
		spent += clock_now() - t;
		host_drain(h);
		while (host_segment(h, &skb, NULL))
			;
		host_done(h);
	}
	return (double)spent / (ROUNDS * BATCH);
}

int main(void)
{
	struct host *h = host_new();
	u8 buf[64];

	host_frame_in(h, ETH_P_ARP, buf, host_arp(buf, ARP_REQUEST, peer_mac, A(10, 0, 0, 2), (u8[6]){ 0 }, A(10, 0, 0, 1)), PACKET_HOST);
	host_run(h);
	neigh_update(h->st, neigh_lookup(h->st, A(10, 0, 0, 2), 0, true), peer_mac, NUD_PERMANENT, true);
	host_drain(h);
	printf("tx %.1f ns/packet\n", measure(h, true));
	printf("rx %.1f ns/packet\n", measure(h, false));
	host_free(h);
	return 0;
}
