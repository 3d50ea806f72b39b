/* dev.h – what a network device is to linkd: net_device, its virtual methods, its receive buffers.
 *
 * A driver (dev_tap.c, dev_packet.c) fills a struct net_device_ops; nothing above it knows which driver it is.
 * Used at both ends of the flow: rx1 (poll) and tx8 (hard_start_xmit).
 *
 * Ownership: a frame given to hard_start_xmit() belongs to the caller; the driver has copied or sent it when it
 * returns. Errors: 0 or -errno; -EAGAIN means "cannot take it now", the frame is requeued. */
#ifndef STRATA_LINK_DEV_H
#define STRATA_LINK_DEV_H

#include <sys/uio.h>
#include "common/config.h"
#include "proto/shm/link.h"
#include "proto/wire/eth.h"

struct linkd;
struct net_device;
struct Qdisc;

/* Bytes of one frame as the device or a tap sees it: headers and data apart, never copied together. */
struct frame {
	const u8 *hdr;		/* Ethernet on; hdr_len may be 0 */
	u32 hdr_len;
	const u8 *data;
	u32 len;
	struct vnet_hdr vnet;	/* all zero: nothing left for the device to do */
};

struct net_device_ops {
	const char *driver;
	/* Open, or take back `parked` (a descriptor from an earlier life, or -1). Nothing stays open on an error. */
	int (*open)(struct net_device *dev, int parked);
	void (*stop)(struct net_device *dev);
	int (*hard_start_xmit)(struct net_device *dev, const struct frame *f);	/* tx8 */
	u32 (*poll)(struct net_device *dev, u32 budget);			/* rx1; < budget: drained */
	int (*set_mac_address)(struct net_device *dev, const u8 mac[ETH_ALEN]);
};

/* Layout of a receive buffer: the frame's IP header falls on a cache line's half.
 *
 *	small:	|8 pad|10 vnet|14 eth|ip ...                      2048|
 *	large:	|-- room for the small part of a split read --    2048|spill ...    70 KB|
 *
 * A frame that fits travels in the small buffer alone, so a pure ACK does not pin 64 KB. One that spills has its
 * small part copied to the same place of the large buffer, which makes it contiguous; the small one is used again. */
#define RX_VNET 8u
#define RX_ETH (RX_VNET + sizeof(struct vnet_hdr))
#define RX_GUARD (RX_ETH + 10)		/* last bytes of the source MAC, EtherType: never all zero in a frame */
#define RX_POSTS (POSTED_MAX / LINK_DEVS)

struct napi {			/* rx1: receive buffers given to one device, in the order they are filled */
	struct posted *posted;	/* RX_POSTS entries in our region; entry of count x is x % RX_POSTS */
	u8 *small[RX_POSTS];
	bool keep[RX_POSTS];	/* the frame went on in the spill: post the small buffer again */
	u32 post, fill, retired;	/* counts: [retired, fill) filled, not yet published; [fill, post) given to the device */
	u32 spill_buf, spill_gen;
	u8 *spill;		/* NULL: none */
	bool scheduled;
};

struct net_device {
	struct linkd *l;
	const struct net_device_ops *ops;
	const struct conf_dev *conf;
	struct link_dev *shm;		/* name, counters: what `strata link` shows */
	struct Qdisc *qdisc;
	struct napi napi;
	int fd;
	u32 index, ifindex;
	u8 mac[ETH_ALEN];
	u32 mtu;
	u32 features;			/* LINK_F_* */
	u32 vnet_len;			/* bytes of vnet header on every read and write: 0 or 10 */
	bool up;
	bool gone;			/* the interface was deleted: a new start opens it anew */
	bool stopped;			/* netif_stop_queue(): the device said -EAGAIN */
	bool scheduled;			/* netif_schedule(): look at the queue in net_tx_action() */
	u64 retry_at;			/* when to try a stopped device again */
	struct { u32 buf, gen, segs; } partial;	/* software GSO: segments of this packet the device already has */
};

extern const struct net_device_ops tap_ops, packet_ops;	/* dev_tap.c, dev_packet.c */

/* dev_fd.c – devices that are a file descriptor: one frame per readv and writev. */
u32 dev_fd_poll(struct net_device *dev, u32 budget);
int dev_fd_xmit(struct net_device *dev, const struct frame *f);
void dev_fd_stop(struct net_device *dev);

/* dev.c – from configuration to open devices. */
int dev_set_up(struct net_device *dev, int sock);	/* MTU, queue length, IFF_UP of the interface */
int dev_open(struct linkd *l, const struct conf_dev *conf, int parked);	/* appends to l->dev; explained on the log */
int dev_set_mtu(struct net_device *dev, u32 mtu);	/* at run time; a successor does the same */
void dev_close_all(struct linkd *l);

static inline void dev_count(_Atomic u64 *v, u64 n) { store_relaxed(v, load_relaxed(v) + n); }

#endif
