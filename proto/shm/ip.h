/* ip.h – ipd's region: its pool, rings, addresses and routes (read by tcpd under a sequence lock),
 * neighbours, hold table (ARP queue, reassembly). */
#ifndef STRATA_SHM_IP_H
#define STRATA_SHM_IP_H

#include "proto/shm/region.h"
#include "proto/shm/link.h"

#define IP_VERSION 2u
#define IP_NSMALL 1024u
#define IP_NLARGE 64u
#define IP_NBUF (IP_NSMALL + IP_NLARGE)
#define IP_DONE_RING 8192u
#define IP_ADDRS 16u
#define IP_ROUTES 256u
#define IP_NEIGHS 1024u
#define IP_HOLD 1024u		/* descriptors waiting for a neighbour or for the rest of a datagram */

enum { IP_ROW_FREE, IP_ROW_RUNTIME, IP_ROW_CONFIG };	/* ip_addr.used, ip_route.used: where the row came from */
struct ip_addr { be32 addr; u8 prefix, dev, used, conflict; };

struct ip_route {		/* longest prefix wins, then the lower metric */
	be32 dst, gateway;	/* gateway 0: on link */
	be32 prefsrc;		/* 0: the device's first address */
	u8 prefix, dev, used, scope;
	u32 metric, mtu;	/* mtu 0: the device's */
};

enum nud_state { NUD_NONE, NUD_INCOMPLETE, NUD_REACHABLE, NUD_STALE, NUD_DELAY, NUD_PROBE, NUD_FAILED, NUD_PERMANENT };

struct ip_neigh {		/* survives a restart (crash rule 9) */
	be32 addr;
	u8 mac[6];
	u8 state, dev;		/* enum nud_state */
	u32 probes;
	u64 confirmed, updated, used;	/* CLOCK_MONOTONIC ns */
	u64 deadline;
};

/* A path MTU learnt (RFC 1191). locked: less was asked for, and is left to fragmentation. */
#define IP_PMTUS 256u
struct ip_pmtu { be32 dst; u16 mtu, locked; u64 expires; };

/* In tcp_shm: path MTUs that connections have learnt, for this table: only tcpd can tell a message about a segment of ours from a
 * stranger's (RFC 5927 7). A note is one word, destination << 32 | MTU, stored before `head`, which counts for ever. Soft: a
 * note that is overwritten, or written while ipd is away, is lost, and a later packet's message makes another. */
#define TCP_PMTU_NOTES 64u
struct tcp_pmtu_notes { _Atomic u32 head; u32 pad; _Atomic u64 note[TCP_PMTU_NOTES]; };

struct ip_hold {		/* a descriptor not in any ring (crash rule 2) */
	_Atomic u32 used;	/* enum: 0 free, 1 neighbour queue, 2 reassembly */
	u32 owner;		/* neighbour index / reassembly queue id */
	u64 seq;		/* order, and the index of cause R_HOLD */
	u64 deadline;
	struct sk_buff skb;
};

struct ip_admin_ans { _Atomic u32 done; s32 result; char text[4088]; };	/* answer to sock_shm.ip_admin */

/* A request to linkd, as all mailboxes: state, open while seq != link_shm.set_ans.done. */
struct ip_link_set { _Atomic u32 seq; u32 dev, mtu; };

struct ip_shm {
	struct region_hdr hdr;
	struct counters counters;
	_Atomic u32 conf_seq;	/* sequence lock of addr, route, pmtu: odd while being written */
	u32 ip_id;		/* soft: RFC 6864 identification counter */
	u64 conf_hash;		/* of the configuration's addresses and routes as last applied */
	struct ip_addr addr[IP_ADDRS];
	struct ip_route route[IP_ROUTES];
	struct ip_pmtu pmtu[IP_PMTUS];
	struct ip_neigh neigh[IP_NEIGHS];
	struct ip_admin_ans admin_ans;
	struct ip_link_set link_set;
	_Atomic u32 dev_seq;	/* counts up when a device has changed: who keeps routes asks for them again */
	struct ring_prod ip_tcp, ip_link, ip_link_done, ip_tcp_done;
	struct ring_cons link_ip, tcp_ip, link_ip_done, tcp_ip_done;
	struct ip_hold hold[IP_HOLD];
	_Atomic u64 words[IP_NBUF];
	_Alignas(PAGE) struct sk_buff ip_tcp_slots[RX_RING];
	struct sk_buff ip_link_slots[TX_RING];
	struct skb_done ip_link_done_slots[LINK_DONE_RING];
	struct skb_done ip_tcp_done_slots[IP_DONE_RING];
	_Alignas(PAGE) u8 bytes[(size_t)IP_NSMALL * POOL_SMALL + (size_t)IP_NLARGE * POOL_LARGE_STRIDE];
};

#endif
