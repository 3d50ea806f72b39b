/* ip.h – IPv4, ARP and ICMP as pure code: no system call, no clock, all memory given or taken at attach.
 *
 * struct ip_stack is one ipd: its region, the rings to its neighbours, the time, private tables rebuilt at each start.
 * Callers: main.c (the daemon), the unit tests, the fuzzers. The caller sets `now` (CLOCK_MONOTONIC ns) before every call.
 *
 * Exactly once (crash rule 1). An output of a later input must not be visible before those of an earlier one, so there is
 * at most one ring with unpublished slots (`dirty`): emitting into another ring, or into the hold table, publishes it
 * first. An established flow stays in one ring and is published once per batch. Every input ends with one output marked
 * CAUSE_LAST; packets of our own made meanwhile carry the cause without the mark, and are made again after a death between. */
#ifndef STRATA_IP_IP_H
#define STRATA_IP_IP_H

#include "common/config.h"
#include "common/counters.h"
#include "common/iproute.h"
#include "common/pool.h"
#include "common/ring.h"
#include "common/timer.h"
#include "netfilter.h"
#include "proto/shm/ip.h"
#include "proto/shm/sock.h"
#include "proto/wire/eth.h"
#include "proto/wire/ip.h"
#include "xfrm.h"

#define IP_MAX_LEN 65535u
#define DST_CACHE 256u		/* entries of each destination cache */
#define NEIGH_HASH 2048u
#define NEIGH_QUEUE 101u	/* packets waiting for one neighbour, as Linux's default queue */
#define NEIGH_QUEUE_BYTES (256u * 1024u)
#define HOLD_NEIGH_MAX 640u	/* of IP_HOLD: for all neighbours ... */
#define HOLD_FRAG_MAX 384u	/* ... and for all datagrams */
#define FRAG_QUEUES 128u
#define FRAG_PER_QUEUE 128u
#define FRAG_PER_SOURCE 256u
#define NONE16 0xffffu
#define BATCH_OUTPUTS 256u	/* a batch ends after so many outputs: recovery looks back RECOVER_BACK slots */
#define RECOVER_BACK 512u
#define SPACE_MIN 64u		/* free slots an input needs before it is taken: the fragments of 64 KB */

enum hold_kind { HOLD_FREE, HOLD_NEIGH, HOLD_FRAG };

struct ip_stack;
struct neighbour;

struct hh_cache { u8 hdr[ETH_HLEN]; };	/* the link header, ready to copy */

struct neighbour {		/* private side of ip_shm.neigh[i] */
	struct ip_neigh *n;
	/* tx6: neigh_connected_output or neigh_resolve_output; takes the sk_buff */
	void (*output)(struct ip_stack *st, struct neighbour *nb, struct sk_buff *skb);
	struct hh_cache hh;
	struct timer timer;
	u16 hash_next;
	u16 head, tail;		/* held packets, by hold index */
	u32 qlen, qbytes;
};

struct dst_entry {
	be32 daddr, saddr;	/* key: output (daddr, wanted source), input (daddr, saddr) */
	u32 gen;		/* ip_stack.route_gen when made */
	u32 mtu;
	be32 src;		/* output: source to use */
	u8 dev, pkt_type;
	enum counter_id reason;	/* input == ip_error: why */
	int error;		/* output == dst_discard: positive errno */
	struct neighbour *neigh;
	be32 nexthop;
	/* rx4: ip_local_deliver or ip_error; a forwarding stack puts ip_forward here. Takes the sk_buff */
	void (*input)(struct ip_stack *st, struct dst_entry *dst, struct sk_buff *skb);
	/* tx5: ip_output or dst_discard; takes the sk_buff, whose IPv4 header is in hdr */
	void (*output)(struct ip_stack *st, struct dst_entry *dst, struct sk_buff *skb);
};

/* What the receive path knows about a packet, at hdr[0] of its sk_buff. ip_cb first: it is what tcpd gets. */
struct ip_skb_cb {
	struct ip_cb cb;
	u32 nh_off;		/* of the network header in the buffer */
	u32 ihl;		/* its bytes, options included */
	struct ip_hdr iph;	/* a private copy of its first 20 bytes */
};
static_assert(sizeof(struct ip_skb_cb) <= SKB_HDR_ROOM, "control block");
static inline struct ip_skb_cb *IPCB(struct sk_buff *skb) { return (struct ip_skb_cb *)skb->hdr; }

struct net_protocol {		/* inet_protos[] */
	void (*handler)(struct ip_stack *st, struct sk_buff *skb);	/* off at the transport header; takes the sk_buff */
	/* An ICMP error quoting this protocol: skb at the quoted transport header, cb of the quoted packet. Takes it. */
	void (*err_handler)(struct ip_stack *st, struct sk_buff *skb);
	bool no_policy;
};

struct packet_type { u16 type; void (*func)(struct ip_stack *st, struct sk_buff *skb); };

struct ip_rings {
	struct ring link_ip, tcp_ip, link_ip_done, tcp_ip_done;	/* consumed */
	struct ring ip_link, ip_tcp, ip_link_done, ip_tcp_done;	/* produced */
};

struct ip_ops {
	void (*random)(void *ctx, void *buf, size_t n);
	void (*notice)(void *ctx, const char *text);	/* for the journal */
};

struct ipq {			/* a datagram being reassembled; its fragments are in the hold table */
	bool used, first_in, last_in;
	be32 saddr, daddr;
	u16 id;
	u8 protocol, dev;
	u16 head;		/* hold indexes in order of offset */
	u16 nfrags;
	u32 len, meat;
	struct timer timer;
};

struct token_bucket { u64 stamp; u32 tokens; be32 key; };
#define ICMP_BUCKETS 256u

struct ip_ping { bool active; u32 admin_seq; be32 daddr; u16 id, seq; u32 size; u64 sent; struct timer timer; };

struct ip_stack {
	/* set by the caller before ip_attach() */
	struct ip_shm *shm;
	const struct link_shm *link;
	const struct ip_admin *admin;		/* sock_shm.ip_admin, or NULL */
	const struct qdisc_hold *link_hold;	/* link_shm.hold: part of the flow for reconciliation */
	const struct tcp_pmtu_notes *notes;	/* tcp_shm.pmtu, or NULL */
	const struct config *conf;
	struct counters *counters;
	struct pools *pools;			/* POOL_LINK, POOL_TCP as reader; POOL_IP as owner */
	struct ip_rings r;
	const struct ip_ops *ops;
	void *ctx;
	u64 now;
	/* told to the caller: neighbours to ring after ip_poll() and ip_run_timers(); it clears them */
	bool bulk;			/* packets of many segments passed: for the loop */
	bool bell_link, bell_tcp, bell_sock;

	/* private */
	struct timer_wheel wheel;
	struct ring *dirty;			/* the one ring with unpublished slots */
	struct { struct ring *ring; u32 index; u16 sub; u8 id; bool answered; } in;
	u32 outputs;				/* of this batch */
	u32 route_gen;
	u32 notes_seen;				/* of tcpd's path MTU notes */
	u32 id_key;				/* added to identifications, so that one destination cannot count for another */
	struct dst_entry dst_out[DST_CACHE], dst_in[DST_CACHE];
	struct netfilter nf;
	struct xfrm xfrm;
	struct net_protocol inet_protos[256];
	struct packet_type ptype[2];
	void (*raw_local_deliver)(struct ip_stack *st, const struct sk_buff *skb);	/* raw sockets' place; NULL: none */

	struct neighbour neigh[IP_NEIGHS];
	u16 neigh_hash[NEIGH_HASH];

	u64 hold_seq;
	u16 hold_free[IP_HOLD], hold_next[IP_HOLD];
	u32 nhold_free, nhold_neigh, nhold_frag;
	struct { u16 off, end; } frag[IP_HOLD];
	struct ipq ipq[FRAG_QUEUES];

	struct token_bucket icmp_global, icmp_dst[ICMP_BUCKETS];
	u64 defended[IP_ADDRS];			/* RFC 5227 2.4: when an address was last defended */
	u32 announced[LINK_DEVS];		/* link_shm.hdr.starts for which a device's addresses were announced */
	u8 announce_left[LINK_DEVS];
	struct timer announce_timer, sweep_timer;
	struct ip_ping ping;
	u32 link_set_for;		/* the admin request that waits for linkd; 0: none */
};

#endif
