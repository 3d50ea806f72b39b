/* config.h – /etc/strata/NAME.conf, read with libinih into one struct; every daemon reads the same file.
 *
 * Unknown section or key, bad value, missing section: an error "FILE:LINE: what; what to do" on the log and -EINVAL.
 * Nothing is half applied. deploy/strata.conf is the annotated default and the documentation of the keys. */
#ifndef STRATA_CONFIG_H
#define STRATA_CONFIG_H

#include "base.h"

#define CONF_DEVS 8
#define CONF_ADDRS 16
#define CONF_ROUTES 64
#define CONF_RULES 64

struct conf_dev {		/* [link NAME] */
	char name[16];		/* interface name */
	char driver[8];		/* tap | packet */
	u8 mac[6]; bool has_mac;	/* default: derived from instance and name, always the same */
	u16 mtu;		/* 1500 */
	u32 txqueuelen;		/* 1000 */
	char qdisc[16];		/* pfifo_fast */
	bool tso, csum, vnet;	/* offloads the device is asked for (true) */
	char netns[108];	/* packet, tap: network namespace the device is in ("" = own) */
	u32 line;
};
struct conf_addr { be32 addr; u8 prefix; char dev[16]; u32 line; };	/* [ip] address = 10.0.0.2/24 dev tap0 */
struct conf_route { be32 dst, gateway; u8 prefix; char dev[16]; u32 metric, mtu; u32 line; };	/* [ip] route = default via A dev D */
struct conf_rule {		/* [sock] allow|deny = bind|connect UID|* ADDR/PREFIX|* PORT|LO-HI|*  (first match wins) */
	bool allow, bind; bool any_uid; u32 uid; be32 addr; u8 prefix; u16 lo, hi; u32 line;
};

enum conf_syncookies { COOKIES_OFF, COOKIES_WHEN_FULL, COOKIES_ALWAYS };	/* Linux's tcp_syncookies */
enum { FASTOPEN_CLIENT = 1, FASTOPEN_SERVER = 2 };	/* Linux's tcp_fastopen */
enum conf_mtu_probing { MTU_PROBING_OFF, MTU_PROBING_BLACKHOLE, MTU_PROBING_ALWAYS };	/* Linux's tcp_mtu_probing */
enum conf_ecn { ECN_OFF, ECN_ASK, ECN_ANSWER };	/* Linux's tcp_ecn: ASK answers, too */

struct config {
	char file[256], instance[64];
	u32 ndevs, naddrs, nroutes, nrules;
	struct conf_dev dev[CONF_DEVS];
	struct conf_addr addr[CONF_ADDRS];
	struct conf_route route[CONF_ROUTES];
	struct conf_rule rule[CONF_RULES];
	/* [ip] */
	u8 ttl;				/* 64 */
	bool forwarding;		/* no */
	/* [tcp] */
	char congestion[16];		/* cubic */
	u32 rcvbuf, sndbuf;		/* bytes a socket's ring grows to, powers of two */
	u16 port_lo, port_hi;		/* 32768 60999 */
	u32 fin_timeout_s, tw_max, backlog_max;
	bool timestamps, sack, window_scaling;
	u8 mtu_probing;			/* enum conf_mtu_probing: 1 */
	u8 ecn;				/* enum conf_ecn: 2 */
	u8 syncookies;			/* enum conf_syncookies: 1 */
	u8 fastopen;			/* FASTOPEN_* bits: 1 */
	/* [sock] */
	u32 max_sockets_per_uid, max_arenas_per_uid, max_clients;
	/* [shim] */
	char bypass[512];		/* space-separated ADDR/PREFIX that go to the kernel; loopback is always there */
	/* [run] */
	u32 poll_us;			/* how long a daemon polls before it sleeps; 0: automatic */
	char cpus[64];			/* per-daemon placement "linkd=0 ipd=0 tcpd=0 sockd=1", or "auto" */
	bool chaos;			/* this instance may be broken on purpose */
};

int config_load(struct config *c, const char *file, const char *instance);	/* 0, -errno; explained on the log */

#endif
