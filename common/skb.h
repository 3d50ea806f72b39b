/* skb.h – sk_buff and the descriptor that carries it through a ring.
 *
 * An sk_buff is one buffer of some daemon's pool plus metadata. The buffer's bytes are written by the pool's
 * owner only; every other daemon maps them read-only. So the headers that a lower daemon adds do not go
 * into the buffer: they are pushed, right-aligned, into `hdr` inside the descriptor (room for Ethernet and
 * a full IPv4 header), and the driver gathers hdr + data.
 *
 *   transmit:  | hdr: ......[eth][ip] |  +  | buffer: ...[tcp][payload]... |
 *                      hdr_off^                         off^      len
 *   receive:   hdr is a control block (struct ip_cb); everything is in the buffer, off/len move up.
 *
 * The same 128 bytes are the ring slot (shape: struct sk_buff). Inside a daemon it is a private copy.
 *
 * Units: bytes. Ownership: who holds the sk_buff must pass it on, hold it, or complete it (drop()).
 * Errors: pull and push return NULL when out of bounds. Source: Linux's sk_buff, virtio-net 5.1.6.1 for
 * gso_type and checksum state. */
#ifndef STRATA_SKB_H
#define STRATA_SKB_H

#include "base.h"

enum ring_id {			/* names the input in a cause; also the list of all rings */
	R_NONE,			/* no input: a timer, a start */
	R_LINK_IP,		/* frames received */
	R_IP_TCP,		/* segments (and ICMP errors) received */
	R_TCP_IP,		/* segments to send */
	R_IP_LINK,		/* frames to send */
	R_IP_LINK_DONE,		/* receive buffers given back by ipd */
	R_TCP_LINK_DONE,	/* receive buffers given back by tcpd */
	R_LINK_TCP_DONE,	/* transmit buffers of tcpd completed by linkd */
	R_LINK_IP_DONE,		/* transmit buffers of ipd completed by linkd */
	R_IP_TCP_DONE,		/* transmit buffers of tcpd dropped by ipd, with the reason's errno */
	R_TCP_IP_DONE,		/* buffers of ipd (reassembled datagrams) given back by tcpd */
	R_HOLD,			/* not a ring: released from the emitter's own hold table */
	RING_IDS
};

enum pool_id { POOL_NONE, POOL_LINK, POOL_IP, POOL_TCP, POOL_IDS };

#define CAUSE_LAST 1u	/* this output ends the answer to that input */

struct cause {
	u32 index;	/* of the input slot (or the hold sequence number) */
	u16 sub;	/* which output of that input, from 0 */
	u8 ring;	/* enum ring_id */
	u8 flags;	/* CAUSE_LAST */
};

enum skb_ip_summed {	/* as the kernel's */
	CHECKSUM_NONE,		/* rx: verify it yourself; tx: complete */
	CHECKSUM_UNNECESSARY,	/* rx: verified by the device or produced on this host */
	CHECKSUM_PARTIAL,	/* tx (and rx of a local peer's packet): the device must finish it: csum_start/offset */
};

enum skb_gso_type { GSO_NONE = 0, GSO_TCPV4 = 1, GSO_UDP_L4 = 5, GSO_ECN = 0x80 };	/* virtio_net_hdr.gso_type */

enum skb_type {
	SKB_PACKET,	/* a packet */
	SKB_ICMP_ERROR,	/* ipd -> tcpd: an ICMP error; data = the quoted IP datagram's transport header, cb says the rest */
};

enum skb_pkt_type { PACKET_HOST, PACKET_BROADCAST, PACKET_MULTICAST, PACKET_OTHERHOST, PACKET_OUTGOING };

#define SKB_HDR_ROOM 80
#define SKB_BUF_POOL(buf) ((buf) >> 28)
#define SKB_BUF_INDEX(buf) ((buf) & 0x0fffffffu)
#define SKB_BUF(pool, index) (((u32)(pool) << 28) | (index))

struct sk_buff {
	u32 buf;		/* pool and index: SKB_BUF() */
	u32 gen;		/* generation of the loan */
	u32 off;		/* first byte of data in the buffer */
	u32 len;		/* bytes of data in the buffer */
	struct cause cause;
	u64 tstamp;		/* CLOCK_MONOTONIC ns when the driver read it; transmit: when tcpd emitted it */
	u32 hash;		/* flow hash */
	u16 gso_size;		/* payload bytes per segment; 0: one packet */
	u16 csum_start;		/* CHECKSUM_PARTIAL: offset from the start of `data` (transport header = 0 from tcpd) */
	u8 csum_offset;		/* ... and of the checksum field from there */
	u8 gso_type;		/* enum skb_gso_type */
	u8 ip_summed : 2, pkt_type : 3, type : 3;
	u8 dev;			/* device index */
	be16 protocol;		/* ETH_P_* */
	u8 hdr_off;		/* first used byte of hdr; SKB_HDR_ROOM: none */
	u8 priority;		/* as Linux's TC_PRIO_*: the qdisc's band follows from it */
	_Alignas(8) u8 hdr[SKB_HDR_ROOM];
};
static_assert(sizeof(struct sk_buff) == 128, "two cache lines: the ring slot");

/* Control block at hdr[0], receive: ipd -> tcpd. */
struct ip_cb {
	be32 saddr, daddr;
	u8 protocol, ttl, tos, icmp_type;
	u8 icmp_code, pad[3];
	u32 icmp_mtu;		/* SKB_ICMP_ERROR, fragmentation needed: next-hop MTU, host order */
	be32 icmp_from;		/* SKB_ICMP_ERROR: who sent it; ourselves when ipd finds that a packet does not fit */
};

/* Control block at hdr[0], transmit: tcpd -> ipd. */
struct tx_cb {
	be32 saddr, daddr;
	u8 protocol, ttl, tos, df;	/* df: set Don't Fragment */
	u32 mark;
	u32 flow;		/* opaque to ipd; comes back with ICMP errors by lookup, not by this */
};

static inline struct ip_cb *skb_ip_cb(struct sk_buff *skb) { return (struct ip_cb *)skb->hdr; }
static inline struct tx_cb *skb_tx_cb(struct sk_buff *skb) { return (struct tx_cb *)skb->hdr; }

/* Buffer completed or given back: the slot of every *_DONE ring. */
struct skb_done {
	u32 buf;
	u32 gen;
	u32 index;	/* cause */
	u8 ring;	/* cause */
	u8 flags;	/* CAUSE_LAST */
	u16 error;	/* 0, or a positive errno: why it was not sent (EHOSTUNREACH, ENOBUFS, ...) */
};
static_assert(sizeof(struct skb_done) == 16, "done slot");

/* Header bytes in front: push returns where to write n bytes, NULL when there is no room. */
static inline void *skb_push_hdr(struct sk_buff *skb, u32 n)
{
	if (n > skb->hdr_off)
		return NULL;
	skb->hdr_off = (u8)(skb->hdr_off - n);
	return skb->hdr + skb->hdr_off;
}

static inline u32 skb_hdr_len(const struct sk_buff *skb) { return SKB_HDR_ROOM - skb->hdr_off; }
static inline const u8 *skb_hdr(const struct sk_buff *skb) { return skb->hdr + skb->hdr_off; }
/* Bytes on the wire, all headers included (of a GSO packet: before cutting). */
static inline u32 skb_total_len(const struct sk_buff *skb) { return skb_hdr_len(skb) + skb->len; }

#endif
