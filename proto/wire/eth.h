/* eth.h – Ethernet and ARP on the wire (IEEE 802.3, RFC 826), and the virtio-net header (virtio 1.1, 5.1.6.1). */
#ifndef STRATA_WIRE_ETH_H
#define STRATA_WIRE_ETH_H
#include "common/base.h"

#define ETH_ALEN 6
#define ETH_HLEN 14
#define ETH_P_IP 0x0800
#define ETH_P_ARP 0x0806
#define ETH_P_ALL 0x0003

struct eth_hdr { u8 dst[6], src[6]; be16 proto; };
static_assert(sizeof(struct eth_hdr) == 14, "wire");

struct arp_hdr {	/* Ethernet and IPv4 */
	be16 htype, ptype; u8 hlen, plen; be16 op;
	u8 sha[6]; u8 spa[4]; u8 tha[6]; u8 tpa[4];
};
static_assert(sizeof(struct arp_hdr) == 28, "wire");
enum { ARP_REQUEST = 1, ARP_REPLY = 2 };

struct vnet_hdr {	/* 10 bytes; little-endian on TAP after TUNSETVNETLE, native for AF_PACKET: the same here */
	u8 flags, gso_type; u16 hdr_len, gso_size, csum_start, csum_offset;
};
static_assert(sizeof(struct vnet_hdr) == 10, "wire");
enum { VNET_F_NEEDS_CSUM = 1, VNET_F_DATA_VALID = 2 };
enum { VNET_GSO_NONE = 0, VNET_GSO_TCPV4 = 1, VNET_GSO_UDP = 3, VNET_GSO_TCPV6 = 4, VNET_GSO_UDP_L4 = 5, VNET_GSO_ECN = 0x80 };
#endif
