/* counters.h – every drop reason and every counter the operator sees, in one list.
 *
 * A drop names its reason (drop(..., DROP_IP_CSUM)); the counter of the same name goes up in the region of
 * the daemon that dropped. FLOW_* are the steps of the flow, one per row of FLOW.md's tables.
 * To add one: add a line. `strata stat` and the README table follow by themselves.
 *      name                  where   text */
#ifndef STRATA_COUNTERS_H
#define STRATA_COUNTERS_H

#include "base.h"

#define COUNTER_LIST(X)                                                                       \
	X(FLOW_TX1_SENDMSG, "tx1", "socket calls admitted (sock_sendmsg, security hook)")     \
	X(FLOW_TX2_TCP_SENDMSG, "tx2", "bytes taken over from applications (tcp_sendmsg)")    \
	X(FLOW_TX3_TRANSMIT_SKB, "tx3", "segments sent, GSO counted once (tcp_transmit_skb)") \
	X(FLOW_TX4_QUEUE_XMIT, "tx4", "packets routed (ip_queue_xmit)")                       \
	X(FLOW_TX5_IP_OUTPUT, "tx5", "packets output (ip_output)")                            \
	X(FLOW_TX6_NEIGH_OUTPUT, "tx6", "link headers filled (neighbour output)")             \
	X(FLOW_TX7_DEV_QUEUE_XMIT, "tx7", "packets through the qdisc (dev_queue_xmit)")       \
	X(FLOW_TX8_HARD_START_XMIT, "tx8", "frames given to a device (hard_start_xmit)")      \
	X(FLOW_RX1_NET_RX_ACTION, "rx1", "polls of a device (net_rx_action)")                 \
	X(FLOW_RX2_NETIF_RECEIVE_SKB, "rx2", "frames received (netif_receive_skb)")           \
	X(FLOW_RX3_ARP_RCV, "rx3", "ARP packets (arp_rcv)")                                   \
	X(FLOW_RX4_IP_RCV, "rx4", "IPv4 packets (ip_rcv)")                                    \
	X(FLOW_RX5_LOCAL_DELIVER, "rx5", "packets for this host (ip_local_deliver)")          \
	X(FLOW_RX6_TCP_V4_RCV, "rx6", "segments received (tcp_v4_rcv)")                       \
	X(FLOW_RX7_DATA_READY, "rx7", "readers signalled (sk_data_ready)")                    \
	X(FLOW_RX8_RECVMSG, "rx8", "bytes handed to applications (tcp_recvmsg)")              \
	X(DROP_NONSENSE, "any", "descriptor out of range, stale or not on loan")              \
	X(DROP_RING_FULL, "any", "cross-direction output ring full")                          \
	X(DROP_NO_BUFFER, "any", "pool exhausted")                                            \
	X(DROP_TRUNCATED, "any", "shorter than its headers say")                              \
	X(DROP_DEV_DOWN, "tx8", "no such device, or down")                                    \
	X(DROP_DEV_ERROR, "tx8", "the device refused the frame")                              \
	X(DROP_QDISC_FULL, "tx7", "queueing discipline full")                                 \
	X(DROP_NO_HANDLER, "rx2", "no packet handler for the frame's protocol")               \
	X(DROP_OTHERHOST, "rx2", "not for this host's MAC")                                   \
	X(DROP_INGRESS, "rx2", "ingress hook said drop")                                      \
	X(DROP_GSO_INVALID, "rx2", "vnet header makes no sense")                              \
	X(DROP_ARP_INVALID, "rx3", "ARP packet malformed")                                    \
	X(DROP_IP_HEADER, "rx4", "IPv4 header malformed")                                     \
	X(DROP_IP_CSUM, "rx4", "IPv4 header checksum wrong")                                  \
	X(DROP_IP_MARTIAN, "rx4", "impossible source or destination")                         \
	X(DROP_IP_OPTIONS, "rx4", "source routing or malformed options")                      \
	X(DROP_IP_NOT_FOR_US, "rx4", "not for this host and forwarding is off")               \
	X(DROP_IP_NO_ROUTE, "tx4", "no route")                                                \
	X(DROP_NETFILTER, "any", "a netfilter hook said drop")                                \
	X(DROP_XFRM, "any", "xfrm policy said block")                                         \
	X(DROP_FRAG_INVALID, "rx5", "fragment malformed or overlapping")                      \
	X(DROP_FRAG_TIMEOUT, "rx5", "datagram not completed in time")                         \
	X(DROP_FRAG_LIMIT, "rx5", "too many fragments waiting")                               \
	X(DROP_FRAG_NEEDED, "tx5", "larger than the path MTU and may not be fragmented")      \
	X(DROP_NO_PROTOCOL, "rx5", "no handler for the IP protocol")                          \
	X(DROP_ICMP_INVALID, "rx5", "ICMP malformed")                                         \
	X(DROP_ICMP_RATE, "rx5", "ICMP rate limit")                                           \
	X(DROP_NEIGH_QUEUE, "tx6", "queue of an unresolved neighbour full")                   \
	X(DROP_NEIGH_FAILED, "tx6", "neighbour did not answer")                               \
	X(DROP_TCP_HEADER, "rx6", "TCP header malformed")                                     \
	X(DROP_TCP_CSUM, "rx6", "TCP checksum wrong")                                         \
	X(DROP_TCP_NO_SOCKET, "rx6", "no socket: RST sent")                                   \
	X(DROP_TCP_PAWS, "rx6", "timestamp too old (PAWS)")                                   \
	X(DROP_TCP_SEQUENCE, "rx6", "outside the window")                                     \
	X(DROP_TCP_ACK, "rx6", "acknowledges what was not sent, or is too old")               \
	X(DROP_TCP_FLAGS, "rx6", "flags that make no sense in this state")                    \
	X(DROP_TCP_OFO_LIMIT, "rx6", "too many holes")                                        \
	X(DROP_TCP_BACKLOG, "rx6", "listen backlog or accept queue full")                     \
	X(DROP_TCP_COOKIE, "rx6", "not the answer to a SYN cookie")                           \
	X(DROP_TCP_MEMORY, "rx6", "no slot for a new connection")                             \
	X(DROP_TCP_CLOSED, "rx6", "data after the application closed")                        \
	X(DROP_TCP_TTL, "rx6", "TTL below the socket's IP_MINTTL")                            \
	X(TCP_ACTIVE_OPENS, "tcp", "connections asked for")                                   \
	X(TCP_PASSIVE_OPENS, "tcp", "connections accepted")                                   \
	X(TCP_ATTEMPT_FAILS, "tcp", "connections that failed to open")                        \
	X(TCP_ESTAB_RESETS, "tcp", "connections reset")                                       \
	X(TCP_RETRANS_SEGS, "tcp", "segments retransmitted")                                  \
	X(TCP_TIMEOUTS, "tcp", "retransmission timeouts")                                     \
	X(TCP_FAST_RETRANS, "tcp", "fast recoveries")                                         \
	X(TCP_OUT_RSTS, "tcp", "RSTs sent")                                                   \
	X(TCP_CHALLENGE_ACKS, "tcp", "challenge ACKs sent (RFC 5961)")                        \
	X(TCP_CE_MARKS, "tcp", "segments that arrived with a congestion mark (RFC 3168)")     \
	X(TCP_ECN_CWR, "tcp", "windows reduced because the peer echoed a mark")               \
	X(TCP_COOKIES_SENT, "tcp", "SYN cookies sent (RFC 4987)")                              \
	X(TCP_COOKIES_RECV, "tcp", "connections opened by a SYN cookie")                       \
	X(TCP_FASTOPEN_ACTIVE, "tcp", "data in our SYN was taken (RFC 7413)")                 \
	X(TCP_FASTOPEN_ACTIVE_FAIL, "tcp", "data in our SYN was not taken and sent again")    \
	X(TCP_FASTOPEN_HELD_OFF, "tcp", "SYNs with a Fast Open option that got lost where plain ones did not") \
	X(TCP_FASTOPEN_PASSIVE, "tcp", "data in a peer's SYN was taken")                      \
	X(TCP_FASTOPEN_PASSIVE_FAIL, "tcp", "Fast Open cookies that were not ours")           \
	X(TCP_FASTOPEN_COOKIES, "tcp", "Fast Open cookies asked for")                         \
	X(TCP_FASTOPEN_OVERFLOW, "tcp", "Fast Open not used: too many wait for their ACK")    \
	X(TCP_TW_REUSED, "tcp", "TIME_WAIT reused early")                                     \
	X(TCP_CLIENT_NONSENSE, "tcp", "connections cut because a client's words made no sense") \
	X(TCP_PMTU_REDUCED, "tcp", "path MTUs lowered by an ICMP message")                    \
	X(TCP_MTU_BLACKHOLES, "tcp", "paths suspected of dropping large packets silently")    \
	X(TCP_MTU_PROBES, "tcp", "path MTU probes sent (RFC 4821)")                           \
	X(TCP_MTU_PROBES_LOST, "tcp", "path MTU probes lost")                                 \
	X(TCP_TOKENS, "tcp", "readiness tokens sent")                                         \
	X(TCP_PLUGS, "tcp", "plugs taken out")                                                \
	X(TCP_PLAIN, "tcp", "sockets given to programs without the shim")                     \
	X(SOCK_CLIENTS, "sock", "clients that said hello")                                    \
	X(SOCK_REFUSED, "sock", "calls refused by policy or quota")                           \
	X(SOCK_BAD_MESSAGES, "sock", "clients cut off for malformed messages")                \
	X(ICMP_ECHO_REPLIES, "icmp", "echo requests answered")                                \
	X(ARP_REQUESTS, "arp", "ARP requests sent")                                           \
	X(ARP_REPLIES, "arp", "ARP replies sent")                                             \
	X(IP_FRAGS_CREATED, "ip", "fragments made")                                           \
	X(IP_REASM_OK, "ip", "datagrams reassembled")                                         \
	X(LINK_GRO_MERGED, "rx2", "segments merged by GRO")                                   \
	X(LINK_GSO_SEGMENTS, "tx8", "segments cut by software GSO")                           \
	X(DOORBELLS, "any", "doorbells rung")

enum counter_id {
#define X(name, where, text) name,
	COUNTER_LIST(X)
#undef X
	COUNTERS
};

/* One per region, written by its owner, read by `strata stat` and the tests. */
#define COUNTER_ROOM 192
struct counters { _Alignas(CACHELINE) _Atomic u64 v[COUNTER_ROOM]; };
static_assert((int)COUNTERS <= COUNTER_ROOM, "room for more, without a new layout version");

struct counter_name { const char *name, *where, *text; };
extern const struct counter_name counter_names[COUNTERS];	/* counters.c */

/* Single writer: a plain add on an atomic word. */
static inline void count_n(struct counters *c, enum counter_id id, u64 n)
{
	store_relaxed(&c->v[id], load_relaxed(&c->v[id]) + n);
}
static inline void count(struct counters *c, enum counter_id id) { count_n(c, id, 1); }
static inline u64 counter_get(const struct counters *c, enum counter_id id)
{
	return load_relaxed(&((struct counters *)c)->v[id]);
}

#endif
