/* security.c – tx1: may this process do that? The rules of [sock] in the configuration, first match wins.
 *
 * Called by call.c before anything reaches tcpd. Without a matching rule everything is allowed, except that ports
 * below 1024 are for uid 0 (or for whom a rule says so). Refused: -EACCES, counted. */
#include "sockd.h"

#define PORT_RESERVED 1024u

static bool addr_in(be32 addr, be32 net, u8 prefix)
{
	u32 mask = prefix ? ~0u << (32 - MIN(prefix, (u8)32)) : 0;

	return ((from_be32(addr) ^ from_be32(net)) & mask) == 0;
}

/* The rule that decides, or NULL. */
static const struct conf_rule *rule_for(const struct config *conf, bool bind, u32 uid, be32 addr, u16 port)
{
	for (u32 i = 0; i < conf->nrules; i++) {
		const struct conf_rule *r = &conf->rule[i];

		if (r->bind == bind && (r->any_uid || r->uid == uid) && addr_in(addr, r->addr, r->prefix) &&
		    port >= r->lo && port <= r->hi)
			return r;
	}
	return NULL;
}

bool policy_allows(const struct config *conf, bool bind, u32 uid, be32 addr, u16 port)
{
	const struct conf_rule *r = rule_for(conf, bind, uid, addr, port);

	if (r)
		return r->allow;
	return !bind || port == 0 || port >= PORT_RESERVED || uid == 0;
}

static int decide(struct sockd *s, bool yes, int error)
{
	count(s->d.counters, yes ? FLOW_TX1_SENDMSG : SOCK_REFUSED);
	return yes ? 0 : error;
}

int security_socket_create(struct sockd *s, const struct cred *who)
{
	struct quota *q = quota_of(s, who->uid);

	return decide(s, q && q->sockets < s->d.conf.max_sockets_per_uid, q ? -EMFILE : -ENFILE);
}

int security_socket_bind(struct sockd *s, const struct cred *who, be32 addr, u16 port)
{
	return decide(s, policy_allows(&s->d.conf, true, who->uid, addr, port), -EACCES);
}

int security_socket_connect(struct sockd *s, const struct cred *who, be32 addr, u16 port)
{
	return decide(s, policy_allows(&s->d.conf, false, who->uid, addr, port), -EACCES);
}

/* The port was judged when it was bound; listen() without bind() takes an ephemeral one. */
int security_socket_listen(struct sockd *s, const struct cred *who) { return decide(s, true, 0); }
