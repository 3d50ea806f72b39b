/* xfrm.c – the policy table behind xfrm4_policy_check() (tx5, rx5). */
#include "xfrm.h"

#include "common/iproute.h"

int xfrm_policy_add(struct xfrm *x, enum xfrm_dir dir, const struct xfrm_policy *p)
{
	if (x->n[dir] == XFRM_POLICIES)
		return -ENOSPC;
	x->policy[dir][x->n[dir]++] = *p;
	return 0;
}

bool xfrm4_policy_match(const struct xfrm *x, enum xfrm_dir dir, const struct ip_hdr *iph)
{
	for (u32 i = 0; i < x->n[dir]; i++) {
		const struct xfrm_policy *p = &x->policy[dir][i];

		if ((!p->protocol || p->protocol == iph->protocol) && ip_in_net(iph->saddr, p->saddr, p->sprefix) &&
		    ip_in_net(iph->daddr, p->daddr, p->dprefix))
			return p->action == XFRM_POLICY_ALLOW;
	}
	return true;
}
