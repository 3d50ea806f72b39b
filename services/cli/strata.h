/* strata.h – the `strata` command: contents page of this folder.
 *
 * No step of the flow: it looks at all of them and carries none.
 *
 *   main.c      which subcommand, which instance
 *   look.c      the daemons' regions, read-only, from keepd: looking works while any other daemon is down
 *   admin.c     requests that change something, by way of sockd to ipd (proto/control.proto)
 *   text.c      addresses in and out, words of a command
 *   table.c     what addr, route and neigh have in common
 *   run.c addr.c route.c neigh.c link.c ss.c stat.c flow.c ping.c    a subcommand each
 *
 * A subcommand gets argv[0] = its name, returns the exit status (EXIT_FAILURE: it failed, EX_USAGE: called wrongly)
 * and explains itself on stderr. */
#ifndef STRATA_CLI_H
#define STRATA_CLI_H

#include <stdio.h>
#include <stdlib.h>
#include <sysexits.h>

#include "proto/control.pb-c.h"
#include "proto/shm/tcp.h"

struct cli {
	const char *instance;
	char **whole;			/* the program's own argv: to start again as root */
	struct link_shm *link;		/* mapped read-only by look() */
	struct ip_shm *ip;
	struct tcp_shm *tcp;
	struct sock_shm *sock;
	struct pub_shm *pub;
};

struct command {
	const char *name, *summary;
	int (*run)(struct cli *c, int argc, char **argv);
};

int cmd_run(struct cli *c, int argc, char **argv);
int cmd_addr(struct cli *c, int argc, char **argv);
int cmd_route(struct cli *c, int argc, char **argv);
int cmd_neigh(struct cli *c, int argc, char **argv);
int cmd_link(struct cli *c, int argc, char **argv);
int cmd_ss(struct cli *c, int argc, char **argv);
int cmd_stat(struct cli *c, int argc, char **argv);
int cmd_flow(struct cli *c, int argc, char **argv);
int cmd_ping(struct cli *c, int argc, char **argv);

/* look.c */
int look(struct cli *c);		/* 0, or -errno explained; starts again under sudo when only that is missing */
struct layer { const char *name; struct region_hdr *hdr; const struct counters *counters; bool sleeping, dead; };
#define LAYERS 4
void layers(const struct cli *c, struct layer ret[LAYERS]);	/* after look(); counters NULL: region not usable */
bool under_sudo(struct cli *c);		/* exec; returns false when that cannot be (is root already, no sudo) */
u64 now_ns(void);			/* CLOCK_MONOTONIC, as in the regions */

/* admin.c */
typedef Strata__Control__Request admin_request;
#define ADMIN_REQUEST(name) { PROTOBUF_C_MESSAGE_INIT(&strata__control__request__descriptor), STRATA__CONTROL__REQUEST__OP__##name }
struct admin_reply { int error; char text[4096]; u64 rtt_ns; u32 ttl; };
/* Ask ipd; timeout_ms beyond the time of the request itself. 0, or -errno (also of the transport), text filled. */
int admin(struct cli *c, const admin_request *q, u32 timeout_ms, struct admin_reply *ret);
int admin_run(struct cli *c, const admin_request *q);	/* the same, explained; exit status */

/* text.c */
bool parse_ip(const char *s, be32 *ret);
bool parse_net(const char *s, be32 *addr, u32 *prefix);	/* "default", "10.0.0.0/8", "10.0.0.1" (/32) */
bool parse_mac(const char *s, u8 mac[6]);
bool parse_u32(const char *s, u32 *ret);
const char *ip_text(be32 a);			/* up to four at a time */
const char *mac_text(const u8 mac[6]);
const char *dev_name(const struct cli *c, u32 dev);
bool wants_help(int argc, char **argv, const char *text);	/* --help: prints text */
bool is_show(int argc, char **argv);		/* "", "show", "list", "ls" */
int misuse(const char *cmd, const char *what, const char *word);	/* EX_USAGE, explained */
/* "dev D via G ...": after the words each command has by itself. Returns 0 or EX_USAGE. */
int parse_words(const char *cmd, int argc, char **argv, admin_request *q, u8 mac[6]);

/* table.c: "show", "add SUBJECT dev D ...", "del SUBJECT ..." */
struct table {
	const char *name, *help;
	int (*show)(struct cli *c);
	Strata__Control__Request__Op add, del;
	bool (*subject)(const char *word, admin_request *q);	/* the word is one, and is in q now */
	const char *no_subject;					/* what to say of one that is none */
	const char *(*missing)(const admin_request *q);		/* what must be said besides, to add; NULL: nothing */
	bool has_mac;						/* "lladdr MAC" makes sense */
};
int table_command(struct cli *c, int argc, char **argv, const struct table *t);
bool subject_net(const char *word, admin_request *q);

#endif
