/* netfilter.h – the five hooks of IPv4: ordered lists of functions that may drop a packet.
 *
 * Called by ip_rcv (PRE_ROUTING), ip_local_deliver (LOCAL_IN), a forwarding dst (FORWARD), ip_queue_xmit (LOCAL_OUT)
 * and ip_output (POST_ROUTING). A hook sees the header in host memory of ours (a private copy) and the sk_buff, and
 * answers NF_ACCEPT or NF_DROP; it never takes the sk_buff. Lower priority numbers run first. */
#ifndef STRATA_NETFILTER_H
#define STRATA_NETFILTER_H

#include "common/skb.h"
#include "proto/wire/ip.h"

struct ip_stack;

enum nf_inet_hooks { NF_INET_PRE_ROUTING, NF_INET_LOCAL_IN, NF_INET_FORWARD, NF_INET_LOCAL_OUT, NF_INET_POST_ROUTING,
		     NF_INET_NUMHOOKS };
enum nf_verdict { NF_DROP, NF_ACCEPT };

struct nf_hook_ops {
	enum nf_verdict (*hook)(void *priv, struct ip_stack *st, const struct ip_hdr *iph, const struct sk_buff *skb);
	void *priv;
	enum nf_inet_hooks hooknum;
	int priority;
	struct nf_hook_ops *next;	/* the list's; set by nf_register_hook() */
};

struct netfilter { struct nf_hook_ops *head[NF_INET_NUMHOOKS]; };

void nf_register_hook(struct netfilter *nf, struct nf_hook_ops *ops);
void nf_unregister_hook(struct netfilter *nf, struct nf_hook_ops *ops);
enum nf_verdict nf_hook_slow(struct netfilter *nf, struct ip_stack *st, enum nf_inet_hooks hook,
			     const struct ip_hdr *iph, const struct sk_buff *skb);

/* The common case, an empty list, costs one load. */
static inline enum nf_verdict nf_hook(struct netfilter *nf, struct ip_stack *st, enum nf_inet_hooks hook,
				      const struct ip_hdr *iph, const struct sk_buff *skb)
{
	if (likely(!nf->head[hook]))
		return NF_ACCEPT;
	return nf_hook_slow(nf, st, hook, iph, skb);
}

#endif
