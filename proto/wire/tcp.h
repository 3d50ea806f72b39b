/* tcp.h – TCP on the wire (RFC 9293 3.1). */
#ifndef STRATA_WIRE_TCP_H
#define STRATA_WIRE_TCP_H
#include "common/base.h"

struct tcp_hdr {
	be16 source, dest; be32 seq, ack_seq; u8 doff_res, flags; be16 window; u16 check; be16 urg_ptr;
} __attribute__((packed, aligned(2)));
static_assert(sizeof(struct tcp_hdr) == 20, "wire");
enum { TCP_FIN = 1, TCP_SYN = 2, TCP_RST = 4, TCP_PSH = 8, TCP_ACK = 16, TCP_URG = 32, TCP_ECE = 64, TCP_CWR = 128 };
enum { TCPOPT_EOL = 0, TCPOPT_NOP = 1, TCPOPT_MSS = 2, TCPOPT_WSCALE = 3, TCPOPT_SACK_PERM = 4, TCPOPT_SACK = 5, TCPOPT_TS = 8, TCPOPT_FASTOPEN = 34 };
#define TCP_MAX_HDR 60
#endif
