/* config_value.h – values of configuration keys, and the errors about them. Used by config.c only.
 *
 * Every function takes the text of a value and where it stands, fills its result completely or says on the log
 * what is wrong and what to write instead, and returns 0 or -EINVAL. Addresses are kept in network order. */
#ifndef STRATA_CONFIG_VALUE_H
#define STRATA_CONFIG_VALUE_H

#include "config.h"

struct conf_where {
	const char *file;
	u32 line;		/* 0: the file as a whole */
	u32 errors;		/* said so far */
};

/* "FILE:LINE: what; what to do" on the log. Returns -EINVAL. */
int conf_error(struct conf_where *at, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

int value_bool(const char *key, const char *value, bool *ret, struct conf_where *at);
/* A number from 0 to hi, as the kernel's sysctl of that name has it, or no (0), or yes (`yes`). */
int value_level(const char *key, const char *value, u32 yes, u32 hi, u32 *ret, struct conf_where *at);
int value_number(const char *key, const char *value, u32 lo, u32 hi, u32 *ret, struct conf_where *at);
/* A power of two, K or M may follow. */
int value_power(const char *key, const char *value, u32 lo, u32 hi, u32 *ret, struct conf_where *at);
/* One of `choices` (space-separated); "": anything that fits. */
int value_text(const char *key, const char *value, const char *choices, char *ret, size_t size, struct conf_where *at);
int value_mac(const char *value, u8 ret[6], struct conf_where *at);
/* Locally administered unicast, always the same for the same names. */
void value_default_mac(const char *instance, const char *dev, u8 ret[6]);
int value_ports(const char *value, u16 *ret_lo, u16 *ret_hi, struct conf_where *at);	/* LO HI */
int value_cpus(const char *value, char *ret, size_t size, struct conf_where *at);	/* auto | DAEMON=CPU ... */
int value_check_nets(const char *value, struct conf_where *at);				/* ADDR/PREFIX ... */
int value_address(const char *value, struct conf_addr *ret, struct conf_where *at);	/* ADDR/PREFIX dev NAME */
/* default|ADDR/PREFIX [via ADDR] dev NAME [metric N] [mtu N] */
int value_route(const char *value, struct conf_route *ret, struct conf_where *at);
/* bind|connect UID|* ADDR/PREFIX|* PORT|LO-HI|* */
int value_rule(const char *value, bool allow, struct conf_rule *ret, struct conf_where *at);

#endif
