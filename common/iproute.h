/* iproute.h – reading ipd's tables: which way to a destination, and is an address ours.
 *
 * Read-only and lock-free: ipd is the one writer of ip_shm, its rows are guarded by the sequence lock conf_seq.
 * Called by tcpd (tcp_ops.route, tcp_ops.is_local), by the command line, and by ipd itself for tx4.
 * Errors: -ENETUNREACH no route, -EINVAL the wanted source is not ours, -EHOSTUNREACH the destination is ours
 * (the stack has no loopback). A writer that died half way cannot hold a reader up: after a bounded number of tries
 * the rows are read as they are; each row is valid or unused at every instant. */
#ifndef STRATA_IPROUTE_H
#define STRATA_IPROUTE_H

#include "proto/shm/ip.h"

#define IP_MTU_DEFAULT 1500u
#define IP_MTU_MIN 552u		/* RFC 1191 with Linux's min_pmtu: a learnt path MTU is never below */

struct ip_path {
	be32 saddr;		/* source to use */
	be32 nexthop;		/* gateway, or the destination itself */
	u32 mtu;		/* least of device, route and learnt path MTU */
	u32 features;		/* LINK_F_* of the device */
	u8 dev;
	bool mtu_locked;	/* the path carries less than mtu says: packets must be free to be fragmented */
};

/* The way to daddr; hint: the source address wanted, 0 for any. 0 or -errno. */
int route_lookup(const struct ip_shm *ip, const struct link_shm *link, be32 daddr, be32 hint, struct ip_path *ret);
/* The same for the writer, who needs no lock. */
int route_find(const struct ip_shm *ip, const struct link_shm *link, be32 daddr, be32 hint, struct ip_path *ret);
bool ip_is_local(const struct ip_shm *ip, be32 addr);

static inline u32 ip_mask(u8 prefix) { return prefix ? 0xffffffffu << (32 - (prefix > 32 ? 32 : prefix)) : 0; }
static inline bool ip_in_net(be32 addr, be32 net, u8 prefix)
{
	return ((from_be32(addr) ^ from_be32(net)) & ip_mask(prefix)) == 0;
}
static inline bool ip_is_multicast(be32 a) { return (from_be32(a) & 0xf0000000u) == 0xe0000000u; }
static inline bool ip_is_loopback(be32 a) { return from_be32(a) >> 24 == 127; }
static inline bool ip_is_zeronet(be32 a) { return from_be32(a) >> 24 == 0; }
static inline bool ip_is_classe(be32 a) { return from_be32(a) >> 28 == 15; }	/* includes 255.255.255.255 */

#endif
