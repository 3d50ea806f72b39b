/* ip_feed.c – see ip_feed.h. */
#include "ip_feed.h"

static struct frame f;
static struct sk_buff skb;
static u8 got[66000];

static void drain(struct host *h)
{
	do {
		host_run(h);
	} while (host_drain(h) | host_segment(h, &skb, got));
}

void feed_frame(struct host *h, const u8 *data, u32 len, u8 how)
{
	static const u16 proto[4] = { ETH_P_IP, ETH_P_IP, ETH_P_ARP, ETH_P_IP };
	static const u8 type[4] = { PACKET_HOST, PACKET_HOST, PACKET_BROADCAST, PACKET_MULTICAST };

	host_frame_in(h, proto[how & 3], data, len, type[how >> 2 & 3]);
	host_run(h);
	drain(h);
}

void feed_quiet(struct host *h)
{
	for (u32 i = 0; i < 50; i++) {
		h->now += NSEC_PER_SEC;
		drain(h);
	}
}

/* The neighbour may have become anything: let it say who it is, then a segment each way and an echo. */
const char *feed_alive(struct host *h)
{
	u8 buf[256], icmp[64], seg[40] = { [0] = 0x5a, [12] = 0x50 };
	bool sent = false, echoed = false;
	u32 n;

	feed_quiet(h);
	if (host_loans(h))
		return "buffers have leaked";
	host_frame_in(h, ETH_P_ARP, buf, host_arp(buf, ARP_REQUEST, peer_mac, A(10, 0, 0, 2), (u8[6]){ 0 }, A(10, 0, 0, 1)), PACKET_HOST);
	host_run(h);
	if (!host_drain(h))
		return "an ARP request was not answered";
	n = host_icmp(icmp, ICMP_ECHO, 0, 1, 1, seg, 40);
	host_frame_in(h, ETH_P_IP, buf, host_ip(buf, A(10, 0, 0, 2), A(10, 0, 0, 1), IPPROTO_ICMP_, 1, 0, icmp, n), PACKET_HOST);
	host_send(h, A(10, 0, 0, 2), seg, sizeof(seg), true, 0);
	host_run(h);
	while (host_frame(h, &f)) {
		sent |= f.len == 60 && f.data[9] == IPPROTO_TCP_ && f.data[20] == 0x5a;
		echoed |= f.len == 68 && f.data[9] == IPPROTO_ICMP_ && f.data[20] == ICMP_ECHOREPLY;
	}
	if (!sent || !echoed)
		return sent ? "an echo request was not answered" : "a segment was not sent";
	host_frame_in(h, ETH_P_IP, buf, host_ip(buf, A(10, 0, 0, 2), A(10, 0, 0, 1), IPPROTO_TCP_, 1, 0, seg, 40), PACKET_HOST);
	host_run(h);
	if (!host_segment(h, &skb, got) || skb.len != 40)
		return "a segment received did not reach tcpd";
	feed_quiet(h);
	return host_loans(h) ? "buffers have leaked" : NULL;
}
