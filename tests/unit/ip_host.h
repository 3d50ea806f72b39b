/* ip_host.h – one ipd in plain memory, for its unit tests and fuzzers: the test plays linkd and tcpd.
 *
 *	linkd (the test)          ip_stack             tcpd (the test)
 *	host_frame_in()  ---->                ---->    host_segment()
 *	host_frame()     <----                <----    host_send()
 *
 * Device 0: 02:00:00:00:00:01, 10.0.0.1/24, MTU 1500, default route via 10.0.0.254. Time is h->now. */
#ifndef STRATA_TESTS_IP_HOST_H
#define STRATA_TESTS_IP_HOST_H

#include "services/ip/path.h"

#define HOST_TCP_SMALL 256u
#define HOST_TCP_LARGE 32u
#define A(a, b, c, d) to_be32((u32)(a) << 24 | (b) << 16 | (c) << 8 | (d))

struct host_tcp {		/* tcpd's side of the rings */
	struct ring_prod tcp_ip, tcp_ip_done;
	struct ring_cons ip_tcp, ip_tcp_done;
	struct sk_buff tcp_ip_slots[TX_RING];
	struct skb_done tcp_ip_done_slots[IP_DONE_RING];
};

struct host {
	struct link_shm *link;
	struct ip_shm *ip;
	struct host_tcp *tcp;
	struct ip_admin admin;
	struct tcp_pmtu_notes notes;
	struct config conf;
	struct pools pools;			/* what the stack sees */
	struct pool link_pool, tcp_pool;	/* owners */
	_Atomic u64 tcp_words[HOST_TCP_SMALL + HOST_TCP_LARGE];
	u8 *tcp_bytes;
	struct ring link_ip, ip_link, ip_link_done, link_ip_done, tcp_ip, ip_tcp, ip_tcp_done, tcp_ip_done;	/* the test's ends */
	struct ip_stack *st;
	u64 now, seed;
	int last_error;				/* of the last buffer that came back to tcpd */
	u32 errors;				/* how many came back with one */
	u32 notices;
	u8 tos;					/* of what host_send() makes */
	u32 twice;				/* buffers that came home a second time */
};

struct frame { u32 len; struct eth_hdr eth; u8 data[66000]; struct sk_buff skb; };

struct host *host_new(void);
void host_free(struct host *h);
void host_restart(struct host *h);		/* the daemon dies and its successor attaches */
void host_run(struct host *h);			/* until idle, timers included, completions taken */
void host_wait(struct host *h, u64 ns);		/* virtual time passes */
void host_done(struct host *h);			/* take completions only */
bool host_frame_in(struct host *h, u16 proto, const void *data, u32 len, u8 pkt_type);
bool host_send(struct host *h, be32 daddr, const void *data, u32 len, bool df, u16 gso);
bool host_frame(struct host *h, struct frame *f);	/* next frame sent; its buffer is completed */
bool host_segment(struct host *h, struct sk_buff *skb, u8 *data);	/* next to tcpd; its buffer is given back */
u32 host_loans(const struct host *h);		/* of all three pools: 0 when nothing is under way */
u32 host_drain(struct host *h);			/* throw away everything sent; how many frames */
u32 host_rand(struct host *h);

/* Packets, into buf; their length. */
u32 host_arp(u8 *buf, u16 op, const u8 *sha, be32 spa, const u8 *tha, be32 tpa);
u32 host_ip(u8 *buf, be32 saddr, be32 daddr, u8 proto, u16 id, u16 frag, const void *payload, u32 len);
u32 host_icmp(u8 *buf, u8 type, u8 code, u16 a, u16 b, const void *payload, u32 len);
void host_resolve(struct host *h, be32 addr);	/* a neighbour answers: REACHABLE with mac 02:aa: + address */
u64 host_count(const struct host *h, enum counter_id id);
extern const u8 host_mac[6], peer_mac[6];

#endif
