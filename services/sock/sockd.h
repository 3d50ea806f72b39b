/* sockd.h – what the files of strata-sockd share: clients, calls, arenas, quotas.
 *
 * One thread. A client is a connection of some process; it has at most one call in flight. A call is a list of
 * mailbox requests made one after the other: the options that came with a new socket, then the operation. */
#ifndef STRATA_SOCKD_H
#define STRATA_SOCKD_H

#include "apps.h"
#include "common/bitmap.h"
#include "common/daemon.h"
#include "lot.h"
#include "proto/sock.pb-c.h"

#define CALL_FDS 4u
#define MESSAGE_MAX 65536u
#define QUOTA_UIDS 1024u

struct cred { u32 pid, uid, gid; };

/* One request of a client on its way through the mailboxes. Soft: the client repeats it after a restart. */
struct call {
	bool active;
	bool posted;			/* a mailbox request of ours is open */
	Strata__Sock__Request *rq;
	u32 sk, gen;
	u32 step;			/* options done; n_options: the operation itself */
	u32 op;				/* enum sk_op of the operation, SKOP_NONE: none */
	u32 seq;			/* op_seq that was posted */
	bool made;			/* this call made the socket: the reply names it */
	bool new_arena;			/* ... and an arena: the reply carries it */
	bool admin;			/* waits for ip_shm.admin_ans */
	int fd[CALL_FDS];
	u32 nfds;
};

struct client {
	struct client *next, **pprev;
	int fd;
	struct cred cred;
	u64 id;				/* HELLO: who it is, across reconnects; 0: has not said hello */
	u64 arenas[ARENA_MAX / 64];	/* set of those it has proved or been given; see arena_hold() */
	bool quiet;			/* not read: its call waits */
	bool first;			/* nothing but HELLO has come: the next request may be a repeated one */
	u32 rate;			/* requests in this second, see client.c */
	u64 rate_since;
	struct call call;
	struct client *call_next, **call_pprev;	/* in sockd.calls: its call waits for tcpd */
};

struct arena_own {			/* an arena as its maker sees it */
	int stack_ro, client_rw, bell;
	const struct arena_stack *stack;	/* words only: ARENA_STACK_RINGS bytes */
	struct arena_client *client;	/* words only; ours to write in slots nobody has */
	u64 free[ARENA_ACTIVE / 64];	/* slots below ARENA_ACTIVE nobody has */
	u32 nfree;
	u32 clients;			/* who hold it */
	u64 stays_until;		/* after a start: clients come back with their next call */
};

struct quota { u32 uid, sockets, arenas; bool used; };

struct sockd {
	struct daemon d;
	int listener, epfd, pub_fd;
	struct lots tcp_lots, sock_lots;
	struct arena_own arena[ARENA_MAX];
	u64 live[ARENA_MAX / 64];	/* set of those that are */
	struct apps apps;		/* ... by application */
	struct quota quota[QUOTA_UIDS];
	struct client *clients, *calls;
	u32 nclients;
	struct ring to_tcp, from_tcp;	/* hints */
	bool more;			/* clients wait to be read */
	bool hints_lost;		/* SOCK_HINT_SCAN is owed to tcpd */
	u32 admin_gid;			/* group strata; 0: there is none */
	struct client *admin;		/* who waits for ipd */
	u64 ask_at;			/* when tcpd is asked about sockets of an earlier life; 0: done */
	u64 retire_at;			/* next look at idle arenas */
	u32 dead_parked;		/* arenas given up whose messages lie in our lots */
	u64 nonce[64];			/* random, for sockets to come */
	u32 nnonce;
	u8 message[MESSAGE_MAX];
};

/* client.c: connections */
int clients_open(struct sockd *s);
void clients_event(void *arg, u32 events);
void client_reply(struct sockd *s, struct client *c, Strata__Sock__Reply *re, const int *fd, u32 nfds);
void client_done(struct sockd *s, struct client *c);	/* the call in flight is answered: read the next */
void client_cut(struct sockd *s, struct client *c);

/* call.c: one request from its message to its reply (tx1) */
void call_begin(struct sockd *s, struct client *c);	/* c->call.rq and fds are set */
void call_advance(struct sockd *s, struct client *c);	/* something was answered: go on if it was ours */
void call_end(struct client *c);

/* hello.c: who a client is, what it holds: HELLO, ARENA, WHOSE, ATTACH */
void hello_call(struct sockd *s, struct client *c);
void arena_call(struct sockd *s, struct client *c);
void whose_call(struct sockd *s, struct client *c);
void attach_call(struct sockd *s, struct client *c);

/* admin.c: the `strata` command's requests, passed to ipd */
void admin_call(struct sockd *s, struct client *c);
void admin_poll(struct sockd *s);
bool admin_allowed(const struct sockd *s, const struct client *c);

/* mailbox.c: one request per socket towards tcpd */
int mailbox_open(struct sockd *s);
bool mailbox_busy(const struct sockd *s, u32 sk);
u32 mailbox_post(struct sockd *s, u32 sk);		/* ctl is filled: returns op_seq */
u32 mailbox_poll(void *arg, u32 budget);
bool mailbox_pending(void *arg);
void mailbox_hint(struct sockd *s, u32 what);

/* slot.c: sockets: slots below ARENA_ACTIVE, quotas */
int slot_alloc(struct sockd *s, struct client *c, u64 cookie, u32 *ret_sk, bool *ret_new_arena);
int slot_park(struct sockd *s, u32 sk, int far);	/* idempotent */
void slot_abandon(struct sockd *s, u32 sk);		/* could not be parked */
void slot_reap(struct sockd *s, u32 sk);		/* tcpd has let go of it? then it is free */
s64 slot_of_request(struct sockd *s, const struct client *c, u64 req, u64 cookie);
bool slot_may(const struct sockd *s, const struct client *c, u32 sk, u32 gen);
s64 slot_of_cookie(const struct sockd *s, u64 cookie);
u32 slot_used_next(const struct sockd *s, u32 arena, u32 slot);	/* from slot on, below ARENA_ACTIVE; that: none */
#define SLOT_USED_EACH(i, s, arena) \
	for (u32 i = slot_used_next((s), (arena), 0); i < ARENA_ACTIVE; i = slot_used_next((s), (arena), i + 1))
u32 slot_gen(const struct sockd *s, u32 sk);
struct quota *quota_of(struct sockd *s, u32 uid);

/* arena.c: memory of applications */
int arenas_attach(struct sockd *s);
int arena_new(struct sockd *s, const struct cred *who, s64 app);	/* id or -errno; app < 0: a new application */
void arena_hold(struct sockd *s, struct client *c, u32 id);	/* it has proved it, or been given it */
void arenas_let_go(struct sockd *s, struct client *c);	/* everything it held */
void arena_look(struct sockd *s, u32 id);	/* a socket in it is gone: was it the last? */
void arenas_retire(struct sockd *s);
static inline bool arena_live(const struct sockd *s, u32 id) { return bit_test(s->live, id); }
static inline u32 client_arena(const struct client *c) { return bit_next(c->arenas, 0, ARENA_MAX); }	/* ARENA_MAX: none */

/* security.c: the hook of tx1 */
bool policy_allows(const struct config *conf, bool bind, u32 uid, be32 addr, u16 port);
int security_socket_create(struct sockd *s, const struct cred *who);
int security_socket_bind(struct sockd *s, const struct cred *who, be32 addr, u16 port);
int security_socket_connect(struct sockd *s, const struct cred *who, be32 addr, u16 port);
int security_socket_listen(struct sockd *s, const struct cred *who);

#endif
