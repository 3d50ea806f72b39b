/* path.h – the contents page of ipd: its part of the flow, in packet order.
 *
 *   tcpd --R_TCP_IP--> ip_queue_xmit --> ip_output --> neighbour.output --R_IP_LINK--> linkd      tx4 tx5 tx6
 *   linkd --R_LINK_IP--> packet_type.func: arp_rcv | ip_rcv --> ip_local_deliver --R_IP_TCP--> tcpd   rx3 rx4 rx5
 *
 * Unless said otherwise a function that is given an sk_buff takes it: it is passed on, held, or completed. */
#ifndef STRATA_IP_PATH_H
#define STRATA_IP_PATH_H

#include "ip.h"

/* ---- start, batches, outputs: attach.c, poll.c, emit.c, hold.c ---- */
int ip_attach(struct ip_stack *st);		/* a start is a restart; 0 or -ENOMEM */
void ip_detach(struct ip_stack *st);
u32 ip_poll(struct ip_stack *st, u32 budget);	/* every input once; how much was done */
bool ip_pending(struct ip_stack *st);		/* is there input? asked after sleep was declared */
u64 ip_run_timers(struct ip_stack *st);		/* what is due; returns the next deadline */

bool ip_emit_link(struct ip_stack *st, const struct sk_buff *skb);	/* false: ring full, sk_buff still the caller's */
bool ip_emit_tcp(struct ip_stack *st, const struct sk_buff *skb);
void ip_publish(struct ip_stack *st);
void ip_settle(struct ip_stack *st);		/* all answers visible, answered inputs released */
void ip_complete(struct ip_stack *st, const struct sk_buff *skb, int error);	/* back to its pool's owner */
void drop(struct ip_stack *st, const struct sk_buff *skb, enum counter_id reason, int error);
u8 *ip_alloc(struct ip_stack *st, u32 size, struct sk_buff *skb);	/* a buffer of our own, caused by the current input */
void ip_end_batch(struct ip_stack *st);

bool hold_put(struct ip_stack *st, enum hold_kind kind, u32 owner, u64 deadline, const struct sk_buff *skb, u16 *ret);
void hold_skb(struct ip_stack *st, u16 h, struct sk_buff *ret);	/* copy with cause R_HOLD */
void hold_clear(struct ip_stack *st, u16 h);	/* after its output and ip_settle() */
void hold_attach(struct ip_stack *st);

/* ---- transmit ---- */
void ip_queue_xmit(struct ip_stack *st, struct sk_buff *skb);				/* tx4, output.c */
int ip_build_and_send(struct ip_stack *st, struct sk_buff *skb, be32 saddr, be32 daddr, u8 proto, u8 tos, u8 ttl);
struct dst_entry *ip_route_output(struct ip_stack *st, be32 daddr, be32 saddr);		/* tx4, route.c */
void ip_output(struct ip_stack *st, struct dst_entry *dst, struct sk_buff *skb);	/* tx5, output.c */
void ip_finish_output(struct ip_stack *st, struct dst_entry *dst, struct sk_buff *skb);
void ip_fragment(struct ip_stack *st, struct dst_entry *dst, struct sk_buff *skb);	/* tx5, fragment.c */
void ip_local_error(struct ip_stack *st, const struct sk_buff *skb, u32 mtu);		/* tx5: too big, tell tcpd */
void neigh_connected_output(struct ip_stack *st, struct neighbour *nb, struct sk_buff *skb);	/* tx6, neigh_output.c */
void neigh_resolve_output(struct ip_stack *st, struct neighbour *nb, struct sk_buff *skb);

/* ---- neighbours: neigh.c, arp.c ---- */
struct neighbour *neigh_lookup(struct ip_stack *st, be32 addr, u8 dev, bool create);
void neigh_update(struct ip_stack *st, struct neighbour *nb, const u8 *mac, enum nud_state state, bool override);
void neigh_set_state(struct ip_stack *st, struct neighbour *nb, enum nud_state state);
void neigh_flush(struct ip_stack *st, struct neighbour *nb);	/* resolved: send what is held */
void neigh_fail(struct ip_stack *st, struct neighbour *nb);	/* unanswered: complete what is held */
void neigh_delete(struct ip_stack *st, struct neighbour *nb);
void neigh_refresh(struct ip_stack *st);			/* device addresses may have changed: link headers anew */
void neigh_attach(struct ip_stack *st);
void arp_send(struct ip_stack *st, u16 op, u8 dev, const u8 *dst_mac, be32 spa, const u8 *tha, be32 tpa);
void arp_solicit(struct ip_stack *st, struct neighbour *nb, bool broadcast);
void arp_announce(struct ip_stack *st);				/* RFC 5227: whatever is due */
void arp_attach(struct ip_stack *st);

/* ---- receive ---- */
void arp_rcv(struct ip_stack *st, struct sk_buff *skb);					/* rx3, arp.c */
void ip_rcv(struct ip_stack *st, struct sk_buff *skb);					/* rx4, input.c */
int ip_options_parse(const u8 *opt, u32 len, u8 *ret_pointer);				/* rx4, options.c */
struct dst_entry *ip_route_input(struct ip_stack *st, be32 daddr, be32 saddr, u8 dev);	/* rx4, route.c */
void ip_local_deliver(struct ip_stack *st, struct dst_entry *dst, struct sk_buff *skb);	/* rx5, deliver.c */
void ip_deliver_whole(struct ip_stack *st, struct sk_buff *skb);			/* rx5: no fragment (any more) */
void inet_protos_init(struct ip_stack *st);
void ip_defrag(struct ip_stack *st, struct sk_buff *skb);				/* rx5, defrag.c */
void ip_defrag_attach(struct ip_stack *st);
void icmp_rcv(struct ip_stack *st, struct sk_buff *skb);				/* rx5, icmp.c */
void icmp_err(struct ip_stack *st, struct sk_buff *skb);
/* An ICMP error about a received packet; the sk_buff stays the caller's. info: pointer, or next-hop MTU. icmp_send.c */
void icmp_send(struct ip_stack *st, struct sk_buff *skb, u8 type, u8 code, u32 info);
u32 icmp_plateau(u32 tot_len);

/* ---- tables and administration: route.c, conf.c, pmtu.c, admin.c, ping.c ---- */
void conf_attach(struct ip_stack *st);
int addr_add(struct ip_stack *st, be32 addr, u8 prefix, u8 dev, u8 origin);
int addr_del(struct ip_stack *st, be32 addr, u8 prefix, int dev);
int route_add(struct ip_stack *st, const struct ip_route *row, u8 origin);
int route_del(struct ip_stack *st, be32 dst, u8 prefix, be32 gateway, int dev);
int dev_by_name(const struct ip_stack *st, const char *name);	/* index or -ENODEV */
bool ip_is_local_on(const struct ip_stack *st, be32 addr, int dev);
bool ip_is_net_broadcast(const struct ip_stack *st, be32 addr);
void conf_write_begin(struct ip_stack *st);	/* around every change of the tables: the sequence lock */
void conf_write_end(struct ip_stack *st);
void pmtu_update(struct ip_stack *st, be32 dst, u32 mtu);	/* pmtu.c */
void pmtu_sweep(struct ip_stack *st);
void pmtu_attach(struct ip_stack *st);
bool pmtu_pending(const struct ip_stack *st);
u32 pmtu_poll(struct ip_stack *st);
bool admin_pending(const struct ip_stack *st);
void admin_poll(struct ip_stack *st);
int link_set_start(struct ip_stack *st, const char *name, u32 mtu);
bool link_set_answered(const struct ip_stack *st);
void link_set_finish(struct ip_stack *st);
void admin_answer(struct ip_stack *st, int result, const char *text);
int ping_start(struct ip_stack *st, be32 daddr, u32 seq, u32 size, u32 timeout_ms, u8 ttl);
void ping_reply(struct ip_stack *st, const struct sk_buff *skb, u16 id, u16 seq, u32 bytes);
bool ping_ours(const struct ip_stack *st, u16 id, be32 daddr);	/* are we waiting for this answer? */
void ping_error(struct ip_stack *st, u16 id, u8 type, u8 code, be32 from);

/* Where a test lets the daemon die: between two stores that others can see. Nothing in the daemon itself. */
#ifdef IP_CRASH_POINTS
void ip_crash_point(const char *where);
#else
#define ip_crash_point(where) ((void)0)
#endif

#endif
