/* netfilter.c – registration and traversal of the hooks of netfilter.h (tx4, tx5, rx4, rx5). */
#include "netfilter.h"

void nf_register_hook(struct netfilter *nf, struct nf_hook_ops *ops)
{
	struct nf_hook_ops **p = &nf->head[ops->hooknum];

	while (*p && (*p)->priority <= ops->priority)
		p = &(*p)->next;
	ops->next = *p;
	*p = ops;
}

void nf_unregister_hook(struct netfilter *nf, struct nf_hook_ops *ops)
{
	struct nf_hook_ops **p = &nf->head[ops->hooknum];

	while (*p && *p != ops)
		p = &(*p)->next;
	if (*p)
		*p = ops->next;
}

enum nf_verdict nf_hook_slow(struct netfilter *nf, struct ip_stack *st, enum nf_inet_hooks hook,
			     const struct ip_hdr *iph, const struct sk_buff *skb)
{
	for (struct nf_hook_ops *o = nf->head[hook]; o; o = o->next)
		if (o->hook(o->priv, st, iph, skb) == NF_DROP)
			return NF_DROP;
	return NF_ACCEPT;
}
