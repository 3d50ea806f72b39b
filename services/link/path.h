/* path.h – linkd's part of the flow, in packet order: rx1, rx2 up; tx7, tx8 down.
 *
 * Everything here is pure but the drivers (dev_*.c) and tap_pcap.c: no clock, no system call; `now` is set by
 * main.c before every pass, neighbours are rung through `bell`.
 *
 * Exactly once (DESIGN.md, crash rules 1 and 2), where each packet is at every instant:
 *   receive   posted[] -> R_LINK_IP slot (published) -> posted[] entry cleared
 *   transmit  R_IP_LINK slot -> [hold[]] -> device -> R_LINK_*_DONE slot (published) -> tail -> hold[] cleared */
#ifndef STRATA_LINK_PATH_H
#define STRATA_LINK_PATH_H

#include "common/daemon.h"
#include "common/pool.h"
#include "proto/shm/ip.h"
#include "proto/shm/tcp.h"
#include "services/link/dev.h"
#include "services/link/qdisc.h"

#define NETDEV_TX_BUSY (-EAGAIN)
#define COMPLETIONS 512u
#define QDISC_QUOTA 64u			/* packets a qdisc_run() may send */
#define TX_RETRY_NS (200 * NSEC_PER_USEC)	/* a device that said -EAGAIN is tried again after this */
#define GRO_FLOWS 8u

/* A handler for frames: of one protocol (ptype_base) or of all, both directions (ptype_all: packet taps).
 * A tap gets the frame; a protocol's handler gets the skb and takes it over. */
struct packet_type {
	u16 type;			/* ETH_P_*; ETH_P_ALL for a tap */
	struct net_device *dev;		/* NULL: every device */
	int (*func)(struct linkd *l, struct net_device *dev, struct sk_buff *skb, const struct frame *f,
		    struct packet_type *pt);
	struct packet_type *next;
};

struct completion {			/* a transmit buffer the device has (tx8) or that was dropped */
	u32 buf, gen;
	struct cause cause;
	u32 hold;			/* entry to release after publishing, or HOLD_NONE */
	u16 error;
};

struct gro_flow {			/* a TCP segment held back within one poll, in the hope of its successor */
	struct sk_buff skb;		/* data = IP header on */
	u8 *data;
	u32 hdr_len;			/* IP + TCP headers */
	u32 next_seq;
	u16 mss, count;
};

struct softnet_data {
	u32 ncompletion, flushed;	/* [0, flushed) are in their rings already */
	struct completion completion_queue[COMPLETIONS];
	u32 ngro;
	struct gro_flow gro[GRO_FLOWS];
};

struct linkd {
	struct link_shm *shm;
	const struct ip_shm *ip;	/* its requests: admin.c */
	struct counters *counters;
	struct pools *pools;
	struct pool *pool;		/* our own, owner's end */
	struct ring link_ip, link_tcp_done, link_ip_done;	/* we produce */
	struct ring ip_link, ip_link_done, tcp_link_done;	/* we consume */
	u64 now;
	void (*bell)(void *ctx, enum region_id who);
	void *ctx;
	u32 ndevs;
	struct net_device dev[LINK_DEVS];
	struct Qdisc qdisc[LINK_DEVS];
	struct packet_type *ptype_all, *ptype_base;
	struct packet_type ip_type, arp_type;
	bool (*ingress)(struct linkd *l, struct net_device *dev, struct sk_buff *skb, const u8 *frame);	/* false: drop */
	struct hold_table holds;
	struct softnet_data sd;
	/* After a start: inputs of R_IP_LINK that a predecessor had answered; all are before answered_end. */
	u32 answered_end;
	bool answered[TX_RING];
	bool bulk;			/* packets of many segments passed: for the loop */
	bool rx_blocked;		/* R_LINK_IP was full or the pool empty: devices are not read */
};

/* ---- rx1: napi.c ---- */
void napi_attach(struct net_device *dev, struct posted *posted);
void netif_rx_schedule(struct net_device *dev);		/* all that a device event does */
u32 net_rx_action(struct linkd *l, u32 budget);		/* polls scheduled devices; frames handled */
bool net_rx_pending(struct linkd *l);
void napi_refill(struct net_device *dev);		/* post buffers in place of those filled */
bool napi_next(struct net_device *dev, struct iovec iov[2]);	/* where the next frame goes; false: no buffer */
void napi_filled(struct net_device *dev, u32 n);	/* n bytes were written there: becomes an sk_buff, goes to rx2 */
bool napi_arrived(const u8 *small);			/* guard word: has the kernel written a frame here? */
u32 napi_frame_len(const u8 *small);			/* bytes of a harvested frame, from its own headers; 0: unknown */
/* A buffer {small, spill} holding n bytes from RX_VNET (or RX_ETH) on becomes an sk_buff and climbs. */
void napi_frame(struct net_device *dev, const struct posted *p, u32 n);
bool rx_skb_init(struct linkd *l, struct net_device *dev, struct sk_buff *skb, u8 *eth, const struct vnet_hdr *v);

/* ---- rx2: gro.c, receive.c, tap_pcap.c ---- */
void napi_gro_receive(struct linkd *l, struct net_device *dev, struct sk_buff *skb, u8 *data);
void napi_gro_flush(struct linkd *l);
void netif_receive_skb(struct linkd *l, struct sk_buff *skb, u8 *data);
void dev_add_pack(struct linkd *l, struct packet_type *pt);
void dev_remove_pack(struct linkd *l, struct packet_type *pt);
void receive_attach(struct linkd *l);			/* registers the handlers of ETH_P_IP and ETH_P_ARP */
void kfree_skb(struct linkd *l, const struct sk_buff *skb, enum counter_id why);	/* receive side */
int tap_pcap_open(struct linkd *l, const char *file);	/* 0 or -errno */

/* ---- buffers given back by ipd and tcpd, all of receive's life ends here: receive.c ---- */
u32 rx_buffers_returned(struct linkd *l, u32 budget);

/* ---- tx7: dev_queue_xmit.c, qdisc_pfifo_fast.c, hold.c ---- */
u32 link_tx_poll(struct linkd *l, u32 budget);		/* takes R_IP_LINK, runs the queues, publishes completions */
bool link_tx_pending(struct linkd *l);
void dev_queue_xmit(struct linkd *l, struct sk_buff *skb);
void netif_schedule(struct net_device *dev, u64 at);
u32 net_tx_action(struct linkd *l);			/* qdisc_run() of every scheduled device */
u64 net_tx_deadline(const struct linkd *l);		/* when a stopped device is tried again; UINT64_MAX none */
int qdisc_attach(struct linkd *l, struct net_device *dev);	/* builds the queue, with what the table holds */

/* ---- tx8: xmit.c, gso.c ---- */
int dev_hard_start_xmit(struct linkd *l, struct net_device *dev, const struct sk_buff *skb);
void dev_queue_xmit_nit(struct linkd *l, struct net_device *dev, const struct frame *f);
void dev_complete(struct linkd *l, const struct sk_buff *skb, u32 hold, u16 error);	/* to the completion_queue */
bool dev_flush_completions(struct linkd *l);		/* publishes; true: all of them */
/* Calls out() for each segment of a GSO frame from number `first` on; stops at its first error. *ret_done counts on. */
int tcp_gso_segment(const struct frame *f, u16 mss, u32 first, u32 *ret_done,
		    int (*out)(void *arg, const struct frame *seg), void *arg);
int skb_checksum_help(struct frame *f, u8 scratch[256]);

/* ---- requests: admin.c ---- */
bool link_admin_pending(const struct linkd *l);
u32 link_admin_poll(struct linkd *l);

/* ---- start is restart: attach.c ---- */
/* In this order: link_attach(), dev_open() of every device, link_take_over(). */
int link_attach(struct linkd *l, struct daemon *d);	/* rings, tails and holds from causes, pool */
int link_take_over(struct linkd *l, struct daemon *d);	/* harvest, reconciliation, queues, buffers to the devices */
u32 link_harvest(struct linkd *l, struct net_device *dev);	/* frames the kernel had written before our death */

#endif
