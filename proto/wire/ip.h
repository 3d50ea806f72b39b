/* ip.h – IPv4 and ICMP on the wire (RFC 791, RFC 792). */
#ifndef STRATA_WIRE_IP_H
#define STRATA_WIRE_IP_H
#include "common/base.h"

struct ip_hdr {
	u8 ver_ihl, tos; be16 tot_len, id, frag_off; u8 ttl, protocol; u16 check; be32 saddr, daddr;
} __attribute__((packed, aligned(2)));
static_assert(sizeof(struct ip_hdr) == 20, "wire");
enum { IP_RF = 0x8000, IP_DF = 0x4000, IP_MF = 0x2000, IP_OFFMASK = 0x1fff };
enum { IPPROTO_ICMP_ = 1, IPPROTO_TCP_ = 6, IPPROTO_UDP_ = 17 };

struct icmp_hdr { u8 type, code; u16 check; union { struct { be16 id, seq; }; struct { be16 unused, mtu; }; be32 gateway; u8 pointer; }; }
	__attribute__((packed, aligned(2)));
static_assert(sizeof(struct icmp_hdr) == 8, "wire");
enum { ICMP_ECHOREPLY = 0, ICMP_DEST_UNREACH = 3, ICMP_SOURCE_QUENCH = 4, ICMP_REDIRECT = 5, ICMP_ECHO = 8,
       ICMP_TIME_EXCEEDED = 11, ICMP_PARAMETERPROB = 12 };
enum { ICMP_NET_UNREACH, ICMP_HOST_UNREACH, ICMP_PROT_UNREACH, ICMP_PORT_UNREACH, ICMP_FRAG_NEEDED };
#endif
