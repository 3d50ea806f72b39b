/* xfrm.h – the IPsec policy check: allow or block by selector, no cipher.
 *
 * Called by ip_output (tx5, XFRM_POLICY_OUT) and ip_local_deliver (rx5, XFRM_POLICY_IN). The first policy whose selector
 * matches decides; an empty list, or no match, allows. */
#ifndef STRATA_XFRM_H
#define STRATA_XFRM_H

#include "proto/wire/ip.h"

enum xfrm_dir { XFRM_POLICY_IN, XFRM_POLICY_OUT, XFRM_POLICY_FWD, XFRM_DIRS };
enum xfrm_action { XFRM_POLICY_ALLOW, XFRM_POLICY_BLOCK };

struct xfrm_policy {
	be32 saddr, daddr;
	u8 sprefix, dprefix;	/* 0: any */
	u8 protocol;		/* 0: any */
	enum xfrm_action action;
};

#define XFRM_POLICIES 64u
struct xfrm { u32 n[XFRM_DIRS]; struct xfrm_policy policy[XFRM_DIRS][XFRM_POLICIES]; };

int xfrm_policy_add(struct xfrm *x, enum xfrm_dir dir, const struct xfrm_policy *p);	/* 0 or -ENOSPC */
bool xfrm4_policy_match(const struct xfrm *x, enum xfrm_dir dir, const struct ip_hdr *iph);

/* May this packet pass? */
static inline bool xfrm4_policy_check(const struct xfrm *x, enum xfrm_dir dir, const struct ip_hdr *iph)
{
	return likely(!x->n[dir]) || xfrm4_policy_match(x, dir, iph);
}

#endif
