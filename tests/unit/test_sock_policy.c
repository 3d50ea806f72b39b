/* test_sock_policy.c – services/sock/security.c: who may bind and connect where. */
#include "services/sock/sockd.h"
#include "unit.h"

struct quota *quota_of(struct sockd *s, u32 uid) { return &s->quota[0]; }

static struct config conf(const struct conf_rule *r, u32 n)
{
	struct config c = { .nrules = n };

	memcpy(c.rule, r, n * sizeof(*r));
	return c;
}

static void no_rule_allows_all_but_low_ports(void)
{
	struct config c = { 0 };

	CHECK(policy_allows(&c, true, 1000, to_be32(0), 8080));
	CHECK(policy_allows(&c, true, 1000, to_be32(0), 0));
	CHECK(!policy_allows(&c, true, 1000, to_be32(0), 80));
	CHECK(policy_allows(&c, true, 0, to_be32(0), 80));
	CHECK(policy_allows(&c, false, 1000, to_be32(0x0a000001), 80));
}

static void first_match_wins(void)
{
	const struct conf_rule r[] = {
		{ .allow = true, .bind = true, .uid = 33, .lo = 80, .hi = 80 },
		{ .allow = false, .bind = true, .any_uid = true, .lo = 0, .hi = 65535 },
	};
	struct config c = conf(r, 2);

	CHECK(policy_allows(&c, true, 33, to_be32(0), 80));
	CHECK(!policy_allows(&c, true, 33, to_be32(0), 81));
	CHECK(!policy_allows(&c, true, 0, to_be32(0), 80));
	CHECK(policy_allows(&c, false, 33, to_be32(0), 81));
}

static void prefixes(void)
{
	const struct conf_rule r[] = {
		{ .allow = false, .any_uid = true, .addr = to_be32(0x0a010000), .prefix = 16, .lo = 0, .hi = 65535 },
		{ .allow = true, .any_uid = true, .addr = to_be32(0x0a000000), .prefix = 8, .lo = 443, .hi = 443 },
		{ .allow = false, .any_uid = true, .prefix = 0, .lo = 0, .hi = 65535 },
	};
	struct config c = conf(r, 3);

	CHECK(!policy_allows(&c, false, 1, to_be32(0x0a01ffff), 443));
	CHECK(policy_allows(&c, false, 1, to_be32(0x0a020001), 443));
	CHECK(!policy_allows(&c, false, 1, to_be32(0x0a020001), 80));
	CHECK(!policy_allows(&c, false, 1, to_be32(0xc0a80001), 443));
}

static void refusals_are_counted(void)
{
	static struct counters counters;
	static struct sockd s;
	struct cred user = { .uid = 1000 };

	s.d.counters = &counters;
	s.d.conf.max_sockets_per_uid = 2;
	CHECK_EQ(security_socket_bind(&s, &user, to_be32(0), 22), -EACCES);
	CHECK_EQ(counter_get(&counters, SOCK_REFUSED), 1);
	CHECK_EQ(security_socket_create(&s, &user), 0);
	CHECK_EQ(counter_get(&counters, FLOW_TX1_SENDMSG), 1);
	s.quota[0].sockets = 2;
	CHECK_EQ(security_socket_create(&s, &user), -EMFILE);
	CHECK_EQ(counter_get(&counters, SOCK_REFUSED), 2);
}

UNIT_MAIN(UNIT(no_rule_allows_all_but_low_ports), UNIT(first_match_wins), UNIT(prefixes), UNIT(refusals_are_counted))
