/* tcp.h – tcpd's region: transmit pool, rings, answers to sockd, connection state.
 * The connection blocks (struct tcp_sock and friends) are in proto/shm/tcb.h. */
#ifndef STRATA_SHM_TCP_H
#define STRATA_SHM_TCP_H

#include "proto/shm/region.h"
#include "proto/shm/ip.h"
#include "proto/shm/plain.h"
#include "proto/shm/sock.h"
#include "proto/shm/tcb.h"

#define TCP_VERSION 2u
#define TCP_NSMALL 4096u
#define TCP_NLARGE 512u
#define TCP_NBUF (TCP_NSMALL + TCP_NLARGE)
#define TCP_DONE_RING 8192u

struct sk_ans {
	_Atomic u32 done_seq;	/* == sk_ctl.op_seq: answered */
	s32 result;		/* 0 or a negative errno */
	u32 len;
	_Atomic u32 freed_gen;	/* slots below ARENA_ACTIVE: sockd may reuse the slot when this equals sk_ctl.gen */
	u8 data[SOCK_OPT_MAX];	/* GETSOCKOPT value */
};

struct tcp_shm {
	struct region_hdr hdr;
	struct counters counters;
	struct ring_prod tcp_ip, tcp_link_done, tcp_ip_done, tcp_sock;
	struct ring_cons ip_tcp, link_tcp_done, ip_tcp_done, sock_tcp;
	u32 tcp_sock_slots[SOCK_HINTS];
	struct tcp_pmtu_notes pmtu;
	_Atomic u64 words[TCP_NBUF];
	struct sk_ans ans[SK_MAX];
	_Atomic u64 near_cookie[SK_MAX];	/* slots from ARENA_ACTIVE: SO_COOKIE of the application's end; 0: no pair yet. Below:
						 * of the end that took the place of the first one (sk_plain.c); 0: none did */
	struct tcp_tables t;	/* proto/shm/tcb.h */
	struct tcp_plain plain[SK_MAX];
	_Alignas(PAGE) struct sk_buff tcp_ip_slots[TX_RING];
	struct skb_done tcp_link_done_slots[LINK_DONE_RING];
	struct skb_done tcp_ip_done_slots[IP_DONE_RING];
	_Alignas(PAGE) u8 bytes[(size_t)TCP_NSMALL * POOL_SMALL + (size_t)TCP_NLARGE * POOL_LARGE_STRIDE];
};

#endif
