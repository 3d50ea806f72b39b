/* socket.c – tx1: making a socket, naming it, connecting it, ending it.
 *
 * A socket begins as a socketpair of this process alone. What only Strata can answer (bind, connect, listen) first
 * materialises it: sockd gives it a slot and hands the far end to tcpd. security_socket_*() is asked there. */
#include <fcntl.h>
#include <sys/syscall.h>

#include "proto/sock.pb-c.h"
#include "services/shim/shim.h"
#include "services/shim/stream.h"

#define OP(name) STRATA__SOCK__REQUEST__OP__##name

#define CONNECT_FASTOPEN 1	/* proto/shm/sock.h: SKOP_CONNECT_FASTOPEN */
#define SIN6_SHORTEST 24u	/* RFC 2133, 3.3: without sin6_scope_id */

static const u8 mapped_prefix[12] = { [10] = 0xff, [11] = 0xff };

int sock_create(int domain, int type)
{
	struct sock *s;
	int pair[2], small = 0;
	long r;

	/* The first of a pair gets the lowest free descriptor, as socket() would. */
	r = sys(SYS_socketpair, AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | (type & SOCK_NONBLOCK), 0, pair);
	if (r < 0)
		return (int)r;
	s = sock_new();
	if (!s) {
		sys_close(pair[0]);
		sys_close(pair[1]);
		return -ENOMEM;
	}
	r = fd_park(pair[1]);
	s->far = r < 0 ? pair[1] : (int)r;
	fd_own(s->far, true);
	if (!(type & SOCK_CLOEXEC))
		sys_fcntl(pair[0], F_SETFD, 0);
	sys_setsockopt(pair[0], SOL_SOCKET, SO_SNDBUF, &small, sizeof(small));	/* the kernel's minimum: one plug fills it */
	s->pid = sys_getpid();
	s->v6 = domain == AF_INET6;
	r = table_set(pair[0], s);
	sock_put(s);
	if (r < 0) {
		sys_close(pair[0]);
		return (int)r;
	}
	return pair[0];
}

/* An address as Strata uses it. 0; -EAFNOSUPPORT, -EINVAL; 1: this one is the kernel's to serve. */
static int address_in(const struct sock *s, const struct sockaddr *a, socklen_t len, bool binding, be32 *addr, be16 *port)
{
	if (len < (socklen_t)sizeof(sa_family_t) || (s->v6 && len < SIN6_SHORTEST))
		return -EINVAL;
	if (bad_pointer(a))
		return -EFAULT;
	if (a->sa_family == AF_INET && (!s->v6 || !binding)) {
		const struct sockaddr_in *in = (const void *)a;

		if (len < sizeof(*in))
			return -EINVAL;
		*addr = (be32){ in->sin_addr.s_addr };
		*port = (be16){ in->sin_port };
		return s->v6 && s->v6only;
	}
	if (a->sa_family == AF_INET6 && s->v6) {
		const struct sockaddr_in6 *in6 = (const void *)a;
		static const u8 any[16];

		*port = (be16){ in6->sin6_port };
		*addr = (be32){ 0 };
		if (s->v6only)
			return 1;
		if (!memcmp(&in6->sin6_addr, any, 16))
			return !binding;	/* connect to :: is ::1 */
		if (memcmp(&in6->sin6_addr, mapped_prefix, 12))
			return 1;
		memcpy(&addr->v, (const u8 *)&in6->sin6_addr + 12, 4);
		return 0;
	}
	return -EAFNOSUPPORT;
}

void sock_address(const struct sock *s, be32 addr, be16 port, struct sockaddr *a, socklen_t *len)
{
	struct sockaddr_in in = { .sin_family = AF_INET, .sin_port = port.v, .sin_addr.s_addr = addr.v };
	struct sockaddr_in6 in6 = { .sin6_family = AF_INET6, .sin6_port = port.v };
	const void *from = &in;
	socklen_t n = sizeof(in);

	if (s->v6) {
		if (addr.v) {
			memcpy(&in6.sin6_addr, mapped_prefix, 12);
			memcpy((u8 *)&in6.sin6_addr + 12, &addr.v, 4);
		}
		from = &in6;
		n = sizeof(in6);
	}
	memcpy(a, from, MIN(*len, n));
	*len = n;
}

/* The words as a new socket finds them; whoever had the slot before left his. */
void sock_words_reset(struct sock *s, u32 opts)
{
	struct sk_client *c = s->b.c;

	store_relaxed(&c->shut, 0);
	store_relaxed(&c->fin_at, 0);
	store_relaxed(&c->err_taken, 0);
	store_relaxed(&c->urg_read, 0);
	store_relaxed(&c->rcvlowat, 0);
	store_relaxed(&c->wlock, 0);
	store_relaxed(&c->plain, 0);
	store_relaxed(&c->readers, 0);
	store_release(&c->opts, opts | (s->v6 ? SKC_V6 : 0));
}

static void far_gone(struct sock *s)
{
	if (s->far < 0)
		return;
	fd_own(s->far, false);
	sys_close(s->far);
	s->far = -1;
}

/* Another process that shares the descriptor may have materialised the socket: a fork before connect. */
static int known_elsewhere(struct sock *s, int fd)
{
	struct rpc r = { .op = OP(ATTACH), .fds = { fd }, .nfds = 1 };
	int e;

	if (!shim_forked)
		return -ENOENT;
	e = rpc_call(&r);
	if (e || !r.ret_has_sk)
		return e ? e : -ENOENT;
	if (!arena_find(SK_ARENA(r.ret_sk)))
		return -ENOMEM;
	sock_live(s, r.ret_sk, r.ret_gen);
	far_gone(s);
	return 0;
}

void sock_look_elsewhere(struct sock *s, int fd)
{
	if (!shim_forked || load_acquire(&s->life) == SOCK_LIVE)
		return;
	lock_take(&s->lock);
	if (load_acquire(&s->life) != SOCK_LIVE)
		known_elsewhere(s, fd);
	lock_drop(&s->lock);
}

/* LOCAL to LIVE, by request r itself: it carries the pair and the options. It may have failed and the socket lives.
 * sockd has reset the words that whoever had the slot before left behind. */
static int materialise(struct sock *s, int fd, struct rpc *r)
{
	int e;

	if (s->far < 0)
		return -ENOTCONN;
	r->options = s;
	r->fds[0] = s->far;
	r->fds[1] = fd;
	r->nfds = 2;
	e = rpc_call(r);
	if (!r->ret_has_sk)
		return e == -EBADMSG ? -ENOTCONN : e ? e : -ENOBUFS;	/* BADMSG: closed behind our back */
	if (!arena_find(SK_ARENA(r->ret_sk)))
		return -ENOBUFS;
	sock_live(s, r->ret_sk, r->ret_gen);
	atomic_fetch_or(&s->b.c->opts, s->words | (s->v6 ? SKC_V6 : 0));
	store_relaxed(&s->b.c->rcvlowat, s->lowat);
	far_gone(s);
	return e;
}

static int call(struct sock *s, int fd, struct rpc *r)
{
	int e;

	if (load_acquire(&s->life) != SOCK_LIVE) {
		lock_take(&s->lock);
		if (load_acquire(&s->life) != SOCK_LIVE && known_elsewhere(s, fd)) {
			e = materialise(s, fd, r);
			lock_drop(&s->lock);
			return e;
		}
		lock_drop(&s->lock);
	}
	r->sk = s->sk;
	r->gen = s->gen;
	r->has_sk = true;
	return rpc_call(r);
}

int sock_call(struct sock *s, int fd, struct rpc *r) { return call(s, fd, r); }

int sock_bind(struct sock *s, int fd, const struct sockaddr *a, socklen_t len)
{
	struct rpc r = { .op = OP(BIND), .has_addr = true };
	be16 port;
	int e;

	if (load_acquire(&s->life) == SOCK_LIVE && (s->bound || load_acquire(&s->b.s->state) != SKS_FRESH))
		return -EINVAL;
	e = address_in(s, a, len, true, &r.addr, &port);
	if (e < 0)
		return e;
	if (e == 0)
		e = rpc_ready();
	if (e < 0)
		return e;
	if (e == 1 || rpc_bypass(r.addr)) {
		kernel_note(e == 1 ? BYPASS_V6 : BYPASS_ADDR);
		e = kernel_replace(s, fd);
		return e ? e : sys(SYS_bind, fd, a, len);
	}
	r.port = from_be16(port);
	e = call(s, fd, &r);
	if (e)
		return e;
	s->bound = true;
	s->baddr = r.addr;
	s->bport = port;
	return 0;
}

/* Wait for the end of a connection attempt that has begun. */
static int connect_wait(struct sock *s, int fd, int flags)
{
	u32 state;
	int e;

	while ((state = load_acquire(&s->b.s->state)) == SKS_CONNECTING) {
		if (stream_nonblocking(fd, flags))
			return -EINPROGRESS;
		e = stream_wait_out(s, fd);
		if (e == -EAGAIN)
			return -EINPROGRESS;	/* SO_SNDTIMEO */
		if (e && e != -EPIPE)
			return e;
	}
	if (state == SKS_CONNECTED || state == SKS_DEFERRED || (state == SKS_CLOSED && !stream_error(&s->b, false)))
		return 0;
	e = stream_error(&s->b, true);
	return e ? -e : -ECONNABORTED;
}

static int connect_busy(struct sock *s, int fd, int flags)
{
	int e;

	switch (load_acquire(&s->b.s->state)) {
	case SKS_DEFERRED:
	case SKS_CONNECTED:
	case SKS_CLOSED:
	case SKS_LISTEN:
		e = s->in_progress && load_acquire(&s->b.s->state) == SKS_CONNECTED ? 0 : -EISCONN;
		s->in_progress = false;
		return e;
	case SKS_CONNECTING:
		return stream_nonblocking(fd, flags) ? -EALREADY : connect_wait(s, fd, flags);
	case SKS_FAILED:
		e = stream_error(&s->b, true);
		stream_drain(s, fd);
		if (!e && s->in_progress)
			e = ECONNABORTED;	/* the error was told otherwise; the first call after it hears that there was one */
		s->in_progress = false;
		return e ? -e : 1;
	default:
		return 1;
	}
}

/* As new: what the connection left in the words and in the pair is no more. */
static void disconnected(struct sock *s, int fd)
{
	stream_drain(s, fd);
	store_relaxed(&s->b.c->shut, 0);
	store_relaxed(&s->b.c->fin_at, 0);
}

/* sockd would not have it, so the far end is still here, with the plug. */
static void unplug_own(struct sock *s)
{
	char junk[PLUG_DEEP];

	lock_take(&s->lock);
	if (s->far >= 0)
		sys_recv(s->far, junk, sizeof(junk), MSG_DONTWAIT);
	lock_drop(&s->lock);
}

/* The kernel serves this address. 0 or -errno. */
static int to_kernel(struct sock *s, int fd, int why)
{
	kernel_note(why == 1 ? BYPASS_V6 : BYPASS_ADDR);
	return kernel_replace(s, fd);
}

/* To r->addr. `flags` of the call that connects: connect() has none. 0: connected, or deferred (Fast Open). */
static int connect_strata(struct sock *s, int fd, struct rpc *r, int flags)
{
	bool live = load_acquire(&s->life) == SOCK_LIVE, nowait = stream_nonblocking(fd, flags);
	int e;

	if (live && (e = connect_busy(s, fd, flags)) != 1)
		return e;
	/* no OUT until it is decided; tcpd reads it away then */
	if (load_acquire(&s->life) == SOCK_LIVE || nowait)
		stream_plug(s, fd, 0);
	else
		stream_plug_deep(fd);
	e = call(s, fd, r);
	if (e && load_acquire(&s->life) != SOCK_LIVE)
		unplug_own(s);
	if (!e && nowait && load_acquire(&s->b.s->state) != SKS_DEFERRED) {	/* however fast it went: programs expect it so */
		s->in_progress = true;
		return -EINPROGRESS;
	}
	return e ? e : connect_wait(s, fd, flags);
}

int sock_connect(struct sock *s, int fd, const struct sockaddr *a, socklen_t len)
{
	struct rpc r = { .op = OP(CONNECT), .has_addr = true }, off = { .op = OP(DISCONNECT) };
	bool live = load_acquire(&s->life) == SOCK_LIVE;
	be16 port;
	int e;

	if (len >= (socklen_t)sizeof(sa_family_t) && bad_pointer(a))
		return -EFAULT;
	if (len >= (socklen_t)sizeof(sa_family_t) && a->sa_family == AF_UNSPEC) {
		e = live ? call(s, fd, &off) : 0;
		if (live && !e)
			disconnected(s, fd);
		return e;
	}
	e = address_in(s, a, len, false, &r.addr, &port);
	if (e < 0)
		return e;
	if (e == 0 && (e = rpc_ready()) < 0)
		return e;
	if (e == 1 || rpc_bypass(r.addr)) {
		e = to_kernel(s, fd, e);
		if (e)
			return e;
		return real.connect(fd, a, len) < 0 ? -errno : 0;
	}
	r.port = from_be16(port);
	return connect_strata(s, fd, &r, 0);
}

/* The connect of sendto(MSG_FASTOPEN). data: something will be sent, so the SYN may wait for it. -ENOTSOCK: the kernel has it. */
int sock_connect_fastopen(struct sock *s, int fd, const struct sockaddr *a, socklen_t len, int flags, bool data)
{
	struct rpc r = { .op = OP(CONNECT), .has_addr = true, .arg = data ? CONNECT_FASTOPEN : 0 };
	be16 port;
	int e;

	if (!a && load_acquire(&s->life) == SOCK_LIVE && load_acquire(&s->b.s->state) == SKS_CONNECTED)
		return -EISCONN;
	if (!a)
		return -EINVAL;
	if (len >= (socklen_t)sizeof(sa_family_t) && !bad_pointer(a) && a->sa_family == AF_UNSPEC)
		return -EOPNOTSUPP;
	e = address_in(s, a, len, false, &r.addr, &port);
	if (e < 0)
		return e;
	if (e == 0 && (e = rpc_ready()) < 0)
		return e;
	if (e == 1 || rpc_bypass(r.addr)) {
		e = to_kernel(s, fd, e);
		return e ? e : -ENOTSOCK;
	}
	r.port = from_be16(port);
	return connect_strata(s, fd, &r, flags);
}

int sock_listen(struct sock *s, int fd, int backlog)
{
	struct rpc r = { .op = OP(LISTEN), .arg = backlog };
	int e;

	if (load_acquire(&s->life) == SOCK_LIVE && load_acquire(&s->b.s->state) == SKS_FRESH)
		stream_drain(s, fd);	/* left from an earlier life as a listener; offers must not be glued to it */
	e = call(s, fd, &r);
	if (!e)
		stream_plug(s, fd, 0);	/* a listener shows no OUT */
	return e;
}

/* RFC 9293 3.10.4 CLOSE, one direction: the FIN's offset is where the bytes written so far end. */
static int shutdown_write(struct sock *s)
{
	struct sk_client *c = s->b.c;
	u64 mask;

	wlock_take(s, &mask);
	if (!load_relaxed(&c->fin_at))
		store_release(&c->fin_at, load_relaxed(&c->tx_head) + 1);
	atomic_fetch_or(&c->shut, SKC_SHUT_WR);
	wlock_drop(s, mask);
	arena_kick(s->sk);
	return 0;
}

int sock_shutdown(struct sock *s, int fd, int how)
{
	struct rpc r = { .op = OP(SHUTDOWN), .arg = how };

	if (how < SHUT_RD || how > SHUT_RDWR)
		return -EINVAL;
	sock_look_elsewhere(s, fd);
	if (load_acquire(&s->life) != SOCK_LIVE)
		return -ENOTCONN;
	switch (load_acquire(&s->b.s->state)) {
	case SKS_CONNECTED:
		if (stream_plain(s, PLAIN_RX))
			return (int)sys(SYS_shutdown, fd, how);
		if (how != SHUT_WR) {	/* readers wake, poll says IN; data still arrives, as in TCP */
			atomic_fetch_or(&s->b.c->shut, SKC_SHUT_RD);
			arena_kick(s->sk);
		}
		if (how != SHUT_RD && stream_plain(s, PLAIN_TX))
			return (int)sys(SYS_shutdown, fd, SHUT_WR);
		return how == SHUT_RD ? 0 : shutdown_write(s);
	case SKS_CONNECTING:
	case SKS_DEFERRED:
	case SKS_LISTEN:
		return call(s, fd, &r);
	default:
		return -ENOTCONN;
	}
}

int sock_name(struct sock *s, int fd, struct sockaddr *a, socklen_t *len, bool peer)
{
	bool live;

	if (bad_pointer(a) || bad_pointer(len))
		return -EFAULT;
	if ((int)*len < 0)
		return -EINVAL;
	sock_look_elsewhere(s, fd);
	live = load_acquire(&s->life) == SOCK_LIVE;

	if (peer && (!live || load_acquire(&s->b.s->state) != SKS_CONNECTED))
		return -ENOTCONN;
	if (live && load_acquire(&s->b.s->state) == SKS_FRESH && !s->b.s->lport.v && s->bound)
		sock_address(s, s->baddr, s->bport, a, len);
	else if (live)
		sock_address(s, peer ? s->b.s->faddr : s->b.s->laddr, peer ? s->b.s->fport : s->b.s->lport, a, len);
	else
		sock_address(s, (be32){ 0 }, (be16){ 0 }, a, len);
	return 0;
}
