/* rpc.c – requests to sockd: one at a time per process, repeated by id until answered.
 *
 * sockd may die at any moment; systemd holds its socket, so connecting works and waits. After a reconnect HELLO
 * says who we are and which arenas we hold, then the request in flight is sent again with its id and its descriptors:
 * sockd answers from memory if it had been carried out (crash rule 7). Waiting ends after RPC_PATIENCE. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <time.h>

#include "proto/sock.pb-c.h"
#include "services/shim/shim.h"

#define RPC_PATIENCE 30		/* seconds */
#define RPC_BYTES 8192
#define RPC_FDS 8
#define BYPASS_MAX 64
#define PROOFS 64u		/* a HELLO; RPC_BYTES has room for it */

static int ctl = -1;		/* the connection, parked high */
static struct sockaddr_un sockd;	/* from the environment at the start: programs overwrite theirs (nginx) */
static u64 client, next_id = 1;
static _Atomic u32 rpc_lock, greeted;
static struct { u32 net, mask; } bypass[BYPASS_MAX];
static u32 nbypass;

/* protobuf-c's allocator over a buffer on the stack: replies are unpacked without malloc. */
struct bump { u8 *at, *end; };
static void *bump_alloc(void *data, size_t n)
{
	struct bump *b = data;
	u8 *p = b->at;

	n = ALIGN_UP(n, 16);
	if ((size_t)(b->end - b->at) < n)
		return NULL;
	b->at += n;
	return p;
}
static void bump_free(void *data, void *p) { (void)data; (void)p; }

static u64 now_ms(void)
{
	struct timespec t;

	sys(SYS_clock_gettime, CLOCK_MONOTONIC, &t);
	return (u64)t.tv_sec * 1000 + (u64)t.tv_nsec / 1000000;
}

static void hang_up(void)
{
	if (ctl < 0)
		return;
	fd_own(ctl, false);
	sys_close(ctl);
	ctl = -1;
}

void rpc_forked(void)
{
	hang_up();		/* the parent's conversation */
	client = 0;
	next_id = 1;
	lock_drop(&rpc_lock);
}

/* False: the names do not fit. */
static bool socket_path(struct sockaddr_un *a, const char *dir, const char *name)
{
	int n = snprintf(a->sun_path, sizeof(a->sun_path), "%s/%s/sock", dir ? dir : "/run/strata", name ? name : "default");

	return n >= 0 && n < (int)sizeof(a->sun_path);
}

void rpc_init(void)
{
	bool fits = socket_path(&sockd, secure_getenv("STRATA_RUNDIR"), secure_getenv("STRATA_INSTANCE"));

	sockd.sun_family = fits ? AF_UNIX : AF_UNSPEC;
}

bool rpc_same_instance(const char *dir, const char *name)
{
	struct sockaddr_un a;

	return socket_path(&a, dir, name) && !strcmp(a.sun_path, sockd.sun_path);
}

static int dial(void)
{
	struct timeval patience = { RPC_PATIENCE, 0 };
	long s, r;

	if (sockd.sun_family != AF_UNIX)
		return -ENOENT;		/* the names do not fit into a socket's address */
	s = sys(SYS_socket, AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (s < 0)
		return (int)s;
	r = sys(SYS_connect, s, &sockd, sizeof(sockd));
	if (r < 0) {
		sys_close((int)s);
		return (int)r;
	}
	sys_setsockopt((int)s, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	r = fd_park((int)s);
	ctl = r < 0 ? (int)s : (int)r;
	fd_own(ctl, true);
	return 0;
}

static int transmit(const u8 *bytes, size_t n, const int *fds, int nfds)
{
	union { struct cmsghdr h; char space[CMSG_SPACE(2 * sizeof(int))]; } control = { 0 };
	struct iovec v = { (void *)bytes, n };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1 };
	long r;

	if (nfds) {
		m.msg_control = &control;
		m.msg_controllen = CMSG_SPACE((size_t)nfds * sizeof(int));
		control.h = (struct cmsghdr){ .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS,
					      .cmsg_len = CMSG_LEN((size_t)nfds * sizeof(int)) };
		memcpy(CMSG_DATA(&control.h), fds, (size_t)nfds * sizeof(int));
	}
	do
		r = sys(SYS_sendmsg, ctl, &m, MSG_NOSIGNAL);
	while (r == -EINTR);
	return r < 0 ? (int)r : 0;
}

/* The next message, or -errno. Descriptors that came with it are in fds. */
static ssize_t receive(u8 *bytes, size_t n, int *fds, int *nfds)
{
	union { struct cmsghdr h; char space[CMSG_SPACE(RPC_FDS * sizeof(int))]; } control = { 0 };
	struct iovec v = { bytes, n };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control) };
	struct cmsghdr *c;
	long r;

	do		/* as long as dial() said: RPC_PATIENCE */
		r = sys(SYS_recvmsg, ctl, &m, MSG_CMSG_CLOEXEC);
	while (r == -EINTR);
	*nfds = 0;
	if (r <= 0)
		return r == -EAGAIN ? -ETIMEDOUT : r ? r : -ECONNRESET;
	c = CMSG_FIRSTHDR(&m);
	if (c && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS) {
		*nfds = (int)((c->cmsg_len - CMSG_LEN(0)) / sizeof(int));
		memcpy(fds, CMSG_DATA(c), (size_t)*nfds * sizeof(int));
	}
	return r;
}

/* "10.0.0.0/8 192.0.2.1 ..." into the table. Loopback is always there. */
static void learn_bypass(const char *text)
{
	u32 n = 0;

	bypass[n].net = 127u << 24;
	bypass[n++].mask = 0xff000000u;
	while (text && *text && n < BYPASS_MAX) {
		unsigned a, b, c, d, prefix = 32;
		int used = 0, more = 0;

		if (sscanf(text, " %u.%u.%u.%u%n", &a, &b, &c, &d, &used) != 4)
			break;
		text += used;
		if (sscanf(text, "/%u%n", &prefix, &more) == 1)
			text += more;
		prefix = MIN(prefix, 32u);
		bypass[n].mask = prefix ? ~0u << (32 - prefix) : 0;
		bypass[n].net = (a << 24 | b << 16 | c << 8 | d) & bypass[n].mask;
		n++;
		while (*text == ' ' || *text == ',')
			text++;
	}
	nbypass = n;
}

bool rpc_bypass(be32 addr)
{
	u32 a = from_be32(addr);

	if (a >> 24 == 127)
		return true;
	for (u32 i = 0; i < nbypass; i++)
		if ((a & bypass[i].mask) == bypass[i].net)
			return true;
	return false;
}

/* Descriptors of a reply: { stack half, client half, doorbell } of an arena, and REGION_PUB last in HELLO's. */
static void take_fds(const Strata__Sock__Reply *rep, bool hello, int *fds, int n)
{
	int at = 0;

	if (n - at >= 3 && rep->has_arena) {
		arena_adopt(rep->arena, fds[0], fds[1], fds[2]);
		at = 3;
	}
	if (hello && at < n)
		pub_adopt(fds[at++]);
	for (; at < n; at++)
		sys_close(fds[at]);
}

static void take_reply(struct rpc *r, const Strata__Sock__Reply *rep)
{
	r->ret_has_sk = rep->has_sk;
	r->ret_sk = rep->has_sk ? rep->sk : 0;
	r->ret_gen = rep->has_gen ? rep->gen : 0;
	r->ret_len = 0;
	if (rep->has_value) {
		r->ret_len = (u32)MIN(rep->value.len, sizeof(r->ret_value));
		memcpy(r->ret_value, rep->value.data, r->ret_len);
	}
	r->nmine = (u32)MIN(rep->n_mine, ARRAY_SIZE(r->mine));
	for (u32 i = 0; i < r->nmine; i++)
		r->mine[i] = rep->mine[i];
}

/* Send one packed request and wait for its reply. *ret_error: sockd's answer. 0, or -errno of the transport. */
static int converse(const u8 *bytes, size_t n, u64 id, struct rpc *r, bool hello, int *ret_error)
{
	u8 buf[RPC_BYTES], mem[RPC_BYTES];
	int e = transmit(bytes, n, r ? r->fds : NULL, r ? r->nfds : 0);

	while (e == 0) {
		struct bump b = { mem, mem + sizeof(mem) };
		ProtobufCAllocator alloc = { bump_alloc, bump_free, &b };
		Strata__Sock__Reply *rep;
		int fds[RPC_FDS], nfds = 0;
		ssize_t got = receive(buf, sizeof(buf), fds, &nfds);

		if (got < 0)
			return (int)got;
		rep = strata__sock__reply__unpack(&alloc, (size_t)got, buf);
		if (!rep)
			return -EPROTO;
		take_fds(rep, hello, fds, nfds);
		if (rep->id != id)
			continue;	/* the answer to an earlier attempt */
		*ret_error = rep->error;
		if (hello && !rep->error)
			learn_bypass(rep->bypass);
		if (r)
			take_reply(r, rep);
		return 0;
	}
	return e;
}

/* Who we are, and arenas we hold from the from-th on. */
static int hello_some(u32 from, u32 *ret_n, int *ret_error)
{
	Strata__Sock__Request q = STRATA__SOCK__REQUEST__INIT;
	Strata__Sock__Arena arenas[PROOFS], *list[PROOFS];
	struct arena_proof proof[PROOFS];
	u8 buf[RPC_BYTES];
	u32 n = *ret_n = arena_proofs(proof, from, PROOFS);

	for (u32 i = 0; i < n; i++) {
		strata__sock__arena__init(&arenas[i]);
		arenas[i].id = proof[i].id;
		arenas[i].has_secret0 = arenas[i].has_secret1 = 1;
		arenas[i].secret0 = proof[i].secret[0];
		arenas[i].secret1 = proof[i].secret[1];
		list[i] = &arenas[i];
	}
	q.op = STRATA__SOCK__REQUEST__OP__HELLO;
	q.id = 0;
	q.has_client = 1;
	q.client = client;
	q.n_arenas = n;
	q.arenas = list;
	return converse(buf, strata__sock__request__pack(&q, buf), 0, NULL, true, ret_error);
}

static int hello(void)
{
	int r, error = 0;
	u32 from = 0, n;

	while (!client)
		sys(SYS_getrandom, &client, sizeof(client), 0);
	do {
		r = hello_some(from, &n, &error);
		from += n;
	} while (!r && !error && n == PROOFS);
	if (!r && !error)
		store_release(&greeted, 1);
	return r ? r : error;
}

static size_t pack(const struct rpc *r, u64 id, u8 *buf)
{
	Strata__Sock__Request q = STRATA__SOCK__REQUEST__INIT;
	Strata__Sock__Option opts[OPTS_MAX], *list[OPTS_MAX];

	q.op = (Strata__Sock__Request__Op)r->op;
	q.id = id;
	q.has_sk = q.has_gen = r->has_sk;
	q.sk = r->sk;
	q.gen = r->gen;
	q.has_addr = q.has_port = r->has_addr;
	q.addr = r->addr.v;
	q.port = r->port;
	q.has_arg = q.has_level = q.has_name = 1;
	q.arg = r->arg;
	q.level = r->level;
	q.name = r->name;
	q.has_value = r->value != NULL;
	q.value.data = (u8 *)r->value;
	q.value.len = r->len;
	q.n_cookies = r->ncookies;
	q.cookies = (u64 *)r->cookies;
	for (u32 i = 0; r->options && i < r->options->nopts; i++) {
		const struct sock_opt *o = &r->options->opt[i];
		size_t n = q.n_options;

		if (o->here)
			continue;
		strata__sock__option__init(&opts[n]);
		opts[n].level = o->level;
		opts[n].name = o->name;
		opts[n].value.data = (u8 *)o->value;
		opts[n].value.len = o->len;
		list[n] = &opts[n];
		q.n_options++;
	}
	q.options = list;
	return strata__sock__request__pack(&q, buf);
}

/* Connected and greeted. -ENOENT at the first attempt: there is no such instance; anything else may pass. */
static int reach(u64 deadline)
{
	struct timespec nap = { 0, 20 * 1000000 };
	int r;

	for (;;) {
		if (ctl >= 0)
			return 0;
		r = dial();
		if (!r) {
			r = hello();
			if (!r)
				return 0;
			hang_up();
			if (r == -EACCES || r == -EPERM || r == -ENOSPC || r == -EMFILE)
				return r;	/* sockd will not have us */
		}
		if ((r == -ENOENT && !load_relaxed(&greeted)) || now_ms() >= deadline)
			return -ENETDOWN;
		sys(SYS_nanosleep, &nap, 0);
	}
}

int rpc_call(struct rpc *r)
{
	u64 mask = signals_block(), deadline = now_ms() + RPC_PATIENCE * 1000, id;
	u8 buf[RPC_BYTES];
	int e, error = 0;
	size_t n;

	lock_take(&rpc_lock);
	id = next_id++;
	n = pack(r, id, buf);
	do {
		e = reach(deadline);
		if (e)
			break;
		e = converse(buf, n, id, r, false, &error);
		if (e) {
			hang_up();
			if (now_ms() >= deadline) {
				e = -ENETDOWN;
				break;
			}
		}
	} while (e);
	lock_drop(&rpc_lock);
	signals_restore(mask);
	return e ? e : error;
}

int rpc_ready(void)
{
	u64 mask;
	int r;

	if (load_acquire(&greeted))
		return 0;
	mask = signals_block();
	lock_take(&rpc_lock);
	r = reach(now_ms() + RPC_PATIENCE * 1000);
	lock_drop(&rpc_lock);
	signals_restore(mask);
	return r;
}
