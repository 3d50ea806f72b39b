/* keepd.h – the keeper: contents page of this folder.
 *
 * keepd is on no step of the flow: it parses no packet and no client message, and nothing waits for it but a daemon
 * that starts or parks a descriptor. What it keeps has three homes: its own table (`item`), systemd's store,
 * and every daemon that has it open. keepd itself may be killed at any instant.
 *
 *   main.c    arguments, listening socket, poll loop, watchdog
 *   store.c   systemd's descriptor store: take back at start, put, remove
 *   make.c    what is there from the first start on: regions, doorbells, lots
 *   role.c    who is asking, and what may he have
 *   client.c  requests: HELLO, PARK, UNPARK
 *
 * Names of items: "region:tcp", "region:secret", "bell:tcp", "lot:tcp:3:0" (0 is read, 1 written),
 * "park:linkd:dev:tap0". In systemd's store ':' is not allowed: '/' stands for it there. */
#ifndef STRATA_KEEPD_H
#define STRATA_KEEPD_H

#include "common/keeper.h"
#include "proto/shm/region.h"

#define ITEMS_MAX 448u		/* deploy/units: FileDescriptorStoreMax is larger */
#define PARKS_MAX 64u		/* per role */
#define CLIENTS_MAX 64u
#define ITEM_NAME 64u
#define TCP_LOTS 32u
#define SOCK_LOTS 4u

enum role { ROLE_LINKD, ROLE_IPD, ROLE_TCPD, ROLE_SOCKD, ROLE_CLI, ROLES };

struct item {
	char name[ITEM_NAME];
	int fd;
	u32 seq;		/* of a parked descriptor: replacing stores the new one under the next number first */
};

struct client { int fd; u32 uid; u32 pid; bool role[ROLES]; };

struct keepd {
	char instance[64];
	bool store;		/* systemd is there and keeps what we give it */
	bool unsettled;		/* something was put and not yet confirmed */
	int listener, signals;
	u32 nitems, nclients;
	struct item item[ITEMS_MAX];
	struct client client[CLIENTS_MAX];
	s64 uid[ROLES];		/* of each role's user; -1: no such user */
	s64 gid;		/* of group strata, which may look (ROLE_CLI); -1: no such group */
};

/* store.c */
int store_take_back(struct keepd *k);	/* listener and items from systemd; 0 or -errno */
int store_put(struct keepd *k, const struct item *i);
int store_remove(struct keepd *k, const struct item *i);
int store_barrier(struct keepd *k);	/* returns when systemd has all that was put */

/* items (make.c) */
struct item *item_find(struct keepd *k, const char *name);
struct item *item_add(struct keepd *k, const char *name, int fd);	/* takes fd; NULL: full */
void item_drop(struct keepd *k, struct item *i);			/* closes it; moves the last item into its place */
int make_missing(struct keepd *k);	/* regions, bells, lots: creates and stores what is not there */

/* role.c */
void roles_load(struct keepd *k);
void role_check(const struct keepd *k, int sock, struct client *c);	/* fills uid, pid, role[] */
int role_by_name(const char *name);	/* enum role or -ENOENT */
const char *role_name(enum role r);
/* May `r` have this item; if so, writable, and under which name does he know it? */
bool role_item(enum role r, const struct item *i, bool *writable, const char **name);

/* client.c */
void client_accept(struct keepd *k);
bool client_serve(struct keepd *k, struct client *c);	/* false: cut him off */

#endif
