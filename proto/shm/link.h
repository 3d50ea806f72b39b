/* link.h – linkd's region: receive pool, rings it produces, tails it consumes with, qdisc hold table. */
#ifndef STRATA_SHM_LINK_H
#define STRATA_SHM_LINK_H

#include "proto/shm/region.h"
#include "common/counters.h"
#include "common/ring.h"
#include "common/skb.h"
#include "common/pool.h"

#define LINK_VERSION 2u
#define LINK_NSMALL 4096u
#define LINK_NLARGE 512u
#define LINK_NBUF (LINK_NSMALL + LINK_NLARGE)
#define RX_RING 1024u		/* descriptors per packet ring */
#define TX_RING 1024u
#define LINK_DONE_RING 8192u	/* a completion ring holds the whole pool */
#define QDISC_HOLD 1024u	/* descriptors the qdiscs of all devices may hold */
#define POSTED_MAX 256u		/* receive buffers given to devices */
#define LINK_DEVS 8u
#define MTU_MIN 576u		/* RFC 791: what every host must take */
#define MTU_MAX 65521u		/* a TAP's most */

/* A descriptor a discipline holds back (crash rule 2): written before the input's tail moves. */
struct qdisc_hold {
	_Atomic u32 used;	/* stored last when holding, first when releasing */
	u32 band;
	u64 seq;		/* order, and the index of cause R_HOLD */
	struct sk_buff skb;
};

/* A receive buffer given to a device; the guard word is in the buffer and cleared before posting, so
 * that a frame the kernel had already written is harvested by the successor. */
struct posted { _Atomic u32 used; u32 dev, buf, gen; u32 spill_buf, spill_gen; };

struct link_dev {		/* what `strata link` shows */
	char name[16];
	char driver[8];
	u8 mac[6];
	u16 mtu;
	u32 ifindex;
	_Atomic u32 up;
	_Atomic u64 rx_packets, rx_bytes, tx_packets, tx_bytes, rx_dropped, tx_dropped, tx_requeues;
	u32 features;		/* LINK_F_* */
	u16 set_mtu, set_conf;	/* `strata link set`: holds while the configuration still says set_conf; 0: was not */
};
enum { LINK_F_VNET = 1, LINK_F_TSO = 2, LINK_F_CSUM = 4 };

struct link_shm {
	struct region_hdr hdr;
	struct counters counters;
	struct link_dev dev[LINK_DEVS];
	struct { _Atomic u32 done; s32 result; } set_ans;	/* to ip_shm.link_set */
	struct ring_prod link_ip, link_tcp_done, link_ip_done;
	struct ring_cons ip_link, ip_link_done, tcp_link_done;
	struct posted posted[POSTED_MAX];
	struct qdisc_hold hold[QDISC_HOLD];
	_Atomic u64 words[LINK_NBUF];
	_Alignas(PAGE) struct sk_buff link_ip_slots[RX_RING];
	struct skb_done link_tcp_done_slots[LINK_DONE_RING];
	struct skb_done link_ip_done_slots[LINK_DONE_RING];
	_Alignas(PAGE) u8 bytes[(size_t)LINK_NSMALL * POOL_SMALL + (size_t)LINK_NLARGE * POOL_LARGE_STRIDE];
};

#endif
