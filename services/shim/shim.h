/* shim.h – the application's side of a socket: what the files of services/shim share.
 *
 *   calls_*.c  interposed libc functions      one `return f(...)` each, by group    (libstrata-preload.so)
 *   strata.c   strata_*() functions           the same, under names of their own    (libstrata.so)
 *   socket.c   socket, bind, connect, listen, shutdown, names                tx1: security is sockd's answer
 *   accept.c   accept                                                        claim by compare-and-swap
 *   proto.c    sock_sendmsg(), sock_recvmsg() and proto_ops                  tx1, rx8
 *   stream.c   reading and writing the byte rings                            tx2 tcp_sendmsg(), rx8 tcp_recvmsg()
 *   fastopen.c sendto with MSG_FASTOPEN                                      tx1
 *   urgent.c   urgent data
 *   errqueue.c recvmsg with MSG_ERRQUEUE
 *   options.c  getsockopt, setsockopt, the table of options
 *   attach.c   descriptors that came by exec or SCM_RIGHTS
 *   plain.c    sockets that holders without the shim have, too
 *   hand.c     becoming so before an exec
 *   kernel.c   what Strata does not carry: in-place replacement by a kernel socket
 *   epoll.c    registrations by what their events carry; events that mean nothing
 *   table.c    descriptor -> struct sock
 *   arena.c    mapping arenas, doorbells
 *   rpc.c      requests to sockd
 *   real.c     the C library's own functions
 *
 * Functions here return 0 or a count, or -errno; only the outermost layer sets errno. */
#ifndef STRATA_SHIM_H
#define STRATA_SHIM_H

#include <netinet/in.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "common/sockbuf.h"
#include "services/shim/real.h"
#include "services/shim/sys.h"

#define SHIM_HIDDEN __attribute__((visibility("hidden")))
#pragma GCC visibility push(hidden)

#define SHIM_HIGH_FD 800	/* the shim's own descriptors live from here up, out of the application's way */
#define OPTS_MAX 44		/* options remembered before a socket is materialised */
#define OPT_LEN 32
#define REGS_MAX 4		/* epoll registrations remembered before that */

enum sock_life {
	SOCK_LOCAL,		/* a pair and remembered options; sockd has not heard of it */
	SOCK_LIVE,		/* has a slot */
};

struct sock_opt { int level, name; u32 len; bool here; u8 value[OPT_LEN]; };	/* here: not tcpd's business */
struct sock_reg { int epfd, fd; struct epoll_event ev; };

/* A socket as this process sees it. Memory is type-stable: a struct sock is never unmapped, only reused. */
struct sock {
	_Atomic u32 refs;	/* table entries, and calls in progress */
	_Atomic u32 life;
	_Atomic u32 lock;	/* of the fields below while LOCAL */
	struct sockbuf b;	/* LIVE */
	u64 cookie;		/* SO_COOKIE of the descriptor; 0: not known */
	u64 id;			/* unlike that of any other sock of this process, ever */
	u32 sk, gen;
	int far;		/* LOCAL: the stack's end, parked high; -1 */
	int pid;		/* LOCAL: the process that made it */
	bool v6, v6only, bound;
	bool in_progress;	/* connect() said EINPROGRESS and has not said yet how it went */
	bool timeouts;		/* SO_RCVTIMEO or SO_SNDTIMEO was set: accepted connections get them too */
	be32 baddr; be16 bport;	/* bound to, as asked */
	u64 tx_trimmed;		/* LIVE: tx_head when the ring's memory was last given back, or first seen; under the write lock */
	s64 tx_trim_s;		/* in which second that was */
	u32 lowat;		/* SO_RCVLOWAT, 0: not set */
	u32 words;		/* LOCAL: SKC_* bits set before there was a word for them */
	u32 nopts, nregs;
	struct sock_opt opt[OPTS_MAX];
	struct sock_reg reg[REGS_MAX];
	struct sock *next_free;
};

/* table.c */
struct sock *sock_get(int fd);			/* NULL: not ours. Else pinned until sock_put() */
void sock_put(struct sock *s);
struct sock *sock_new(void);			/* refs 1; NULL: out of memory */
int table_set(int fd, struct sock *s);		/* fd becomes s (takes a reference); whatever was there is dropped */
void table_drop(int fd);
void table_dup(int from, int to);		/* after a dup: `to` is what `from` is */
void table_drop_range(u32 lo, u32 hi);
int table_next(const struct sock *s, int from);	/* the first descriptor of s from `from` on, or -1 */
struct sock *sock_by_cookie(u64 cookie);	/* pinned as by sock_get(); whatever descriptor it has in this table */
int own_next(int from);				/* the shim's own descriptors, the same way */
bool table_mine(void);				/* false in a vfork child: the table is the parent's */
extern bool shim_forked;			/* this process has, or is, a child: descriptors may be shared */
void table_init(void);				/* also in the child of a fork */
void lock_take(_Atomic u32 *l);
void lock_drop(_Atomic u32 *l);
u64 signals_block(void);
void signals_restore(u64 old);
int fd_park(int fd);				/* move fd out of the way (close-on-exec); the new number or -errno */
bool fd_private(int fd);			/* one of the shim's own? */
void fd_own(int fd, bool own);

/* arena.c */
int arena_adopt(u32 id, int stackfd, int clientfd, int bell);	/* maps; takes the descriptors */
bool arena_any(void);				/* is any mapped here? */
const struct arena_map *arena_find(u32 id);	/* NULL: not mapped here */
struct arena_proof { u32 id; u64 secret[2]; };
u32 arena_proofs(struct arena_proof *p, u32 from, u32 max);	/* of the arenas mapped here, by number from `from` on */
void arena_kick(u32 sk);			/* tell the stack that words of sk changed */
int pub_adopt(int fd);

/* rpc.c: one request, one reply; waits while sockd is away. */
struct rpc {
	int op;			/* STRATA__SOCK__REQUEST__OP__* */
	u32 sk, gen, port; be32 addr; int arg, level, name;
	bool has_sk, has_addr;
	const void *value; u32 len;
	const u64 *cookies; u32 ncookies;
	const struct sock *options;	/* send the remembered options along */
	int fds[2], nfds;		/* sent with it */
	/* the answer */
	u32 ret_sk, ret_gen, ret_arena;
	bool ret_has_sk;
	u8 ret_value[300]; u32 ret_len;
	u64 mine[64]; u32 nmine;
};
int rpc_call(struct rpc *r);		/* 0 or -errno, sockd's or the transport's */
int rpc_ready(void);			/* has said HELLO (does so): the bypass list is known; 0 or -errno */
void rpc_init(void);			/* which instance, from the environment */
void rpc_forked(void);
bool rpc_same_instance(const char *dir, const char *name);	/* would a process with this environment speak to our sockd? */
bool rpc_bypass(be32 addr);		/* does this address go to the kernel? */

/* socket.c */
int sock_create(int domain, int type);
int sock_bind(struct sock *s, int fd, const struct sockaddr *a, socklen_t len);
int sock_connect(struct sock *s, int fd, const struct sockaddr *a, socklen_t len);
int sock_connect_fastopen(struct sock *s, int fd, const struct sockaddr *a, socklen_t len, int flags, bool data);
int sock_listen(struct sock *s, int fd, int backlog);
int sock_shutdown(struct sock *s, int fd, int how);
int sock_name(struct sock *s, int fd, struct sockaddr *a, socklen_t *len, bool peer);
void sock_address(const struct sock *s, be32 addr, be16 port, struct sockaddr *a, socklen_t *len);
void sock_look_elsewhere(struct sock *s, int fd);	/* LOCAL here: has a process that shares the descriptor made it LIVE? */
int sock_call(struct sock *s, int fd, struct rpc *r);	/* a request about s, materialised if need be */
void sock_words_reset(struct sock *s, u32 opts);
void sock_live(struct sock *s, u32 sk, u32 gen);
/* accept.c */
int sock_accept(struct sock *s, int fd, struct sockaddr *a, socklen_t *len, int flags);
/* options.c */
int sock_setsockopt(struct sock *s, int fd, int level, int name, const void *val, socklen_t len);
int sock_getsockopt(struct sock *s, int fd, int level, int name, void *val, socklen_t *len);
int sock_ioctl(struct sock *s, int fd, unsigned long req, void *arg);	/* -ENOTTY: let the kernel have it */
/* attach.c */
int arena_ensure(u32 id, int fd, bool anew);	/* mapped here, by presenting a socket in it if need be; 0 or -errno */
void fd_each(void (*fn)(int fd, void *arg), void *arg);	/* every descriptor of this process */
void attach_scan(void);				/* after exec: look at every descriptor */
void attach_received(const int *fds, int n);	/* descriptors that came by SCM_RIGHTS */
u64 fd_cookie(int fd);				/* SO_COOKIE of a unix stream socket, else 0 */
/* kernel.c */
int kernel_replace(struct sock *s, int fd);	/* every descriptor of s becomes a kernel TCP socket; 0 or -errno */
void kernel_init(void);
void kernel_note(int what);			/* strata run -v: one line per kind of bypass */
enum { BYPASS_DGRAM, BYPASS_V6, BYPASS_ADDR, BYPASS_OTHER, BYPASS_KINDS };
void shim_init(void);

/* Pointers that are certainly none. Others that are wrong are the application's SIGSEGV, not its EFAULT. */
static inline bool bad_pointer(const void *p)
{
	return (uintptr_t)p < PAGE || (uintptr_t)p >> 56;
}

static inline int errno_of(long r)		/* -errno -> errno and -1 */
{
	if (r >= 0)
		return (int)r;
	errno = (int)-r;
	return -1;
}
static inline ssize_t errno_size(ssize_t r)
{
	if (r >= 0)
		return r;
	errno = (int)-r;
	return -1;
}

#pragma GCC visibility pop
#endif
