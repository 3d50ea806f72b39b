/* options.c – getsockopt, setsockopt, ioctl: which option lives where.
 *
 * What programs touch for every request is a word in shared memory. The timeouts of blocking calls are the kernel's
 * own, on our pair. What concerns TCP is tcpd's, through sockd; before the socket exists there, it is remembered and
 * goes along with the request that makes it. The application's buffer sizes never reach the pair: see plugs. */
#include <linux/sockios.h>
#include <netinet/tcp.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>

#include "proto/sock.pb-c.h"
#include "services/shim/shim.h"
#include "services/shim/stream.h"
#include "common/seq.h"

#define SOCK_OPT_MAX 264u	/* proto/shm/sock.h, which is the daemons' */
#define OP(name) STRATA__SOCK__REQUEST__OP__##name

enum opt_kind {
	OPT_WORD,	/* a bit of sk_client.opts */
	OPT_PAIR,	/* of our pair, the kernel keeps it */
	OPT_TCPD,	/* asked of tcpd; remembered before */
	OPT_HERE,	/* accepted and remembered, without effect on Strata */
	OPT_READ,	/* answered here, cannot be set */
};

struct opt_def { int level, name; enum opt_kind kind; u32 len; u32 word; int def; };

#define S SOL_SOCKET
#define T IPPROTO_TCP
#define I IPPROTO_IP
#define I6 IPPROTO_IPV6
static const struct opt_def defs[] = {
	{ T, TCP_NODELAY, OPT_WORD, 4, SKC_NODELAY, 0 }, { T, TCP_CORK, OPT_WORD, 4, SKC_CORK, 0 },
	{ T, TCP_QUICKACK, OPT_WORD, 4, SKC_QUICKACK, 1 },
	{ S, SO_RCVTIMEO, OPT_PAIR, 16, 0, 0 }, { S, SO_SNDTIMEO, OPT_PAIR, 16, 0, 0 },
	{ S, SO_PEERCRED, OPT_READ, 12, 0, 0 }, { S, SO_PRIORITY, OPT_HERE, 4, 0, 0 },
	{ S, SO_REUSEADDR, OPT_TCPD, 4, 0, 0 }, { S, SO_REUSEPORT, OPT_TCPD, 4, 0, 0 },
	{ S, SO_KEEPALIVE, OPT_TCPD, 4, 0, 0 }, { S, SO_LINGER, OPT_TCPD, 8, 0, 0 },
	{ S, SO_SNDBUF, OPT_TCPD, 4, 0, 16384 }, { S, SO_RCVBUF, OPT_TCPD, 4, 0, 131072 },
	{ S, SO_OOBINLINE, OPT_WORD, 4, SKC_OOBINLINE, 0 }, { S, SO_MAX_PACING_RATE, OPT_TCPD, 0, 0, 0 },
	{ S, SO_BROADCAST, OPT_HERE, 4, 0, 0 }, { S, SO_DONTROUTE, OPT_HERE, 4, 0, 0 },
	{ S, SO_INCOMING_CPU, OPT_HERE, 4, 0, -1 }, { S, SO_BUSY_POLL, OPT_HERE, 4, 0, 0 },
	{ S, SO_TIMESTAMP, OPT_HERE, 4, 0, 0 }, { S, SO_RCVLOWAT, OPT_HERE, 4, 0, 1 },
	{ S, SO_ZEROCOPY, OPT_HERE, 4, 0, 0 }, { S, SO_MARK, OPT_HERE, 4, 0, 0 },
	{ S, SO_TYPE, OPT_READ, 4, 0, SOCK_STREAM }, { S, SO_PROTOCOL, OPT_READ, 4, 0, IPPROTO_TCP },
	{ S, SO_DOMAIN, OPT_READ, 4, 0, 0 }, { S, SO_ERROR, OPT_READ, 4, 0, 0 }, { S, SO_ACCEPTCONN, OPT_READ, 4, 0, 0 },
	{ S, SO_SNDLOWAT, OPT_READ, 4, 0, 1 }, { S, SO_COOKIE, OPT_PAIR, 8, 0, 0 },
	{ T, TCP_MAXSEG, OPT_TCPD, 4, 0, 536 }, { T, TCP_KEEPIDLE, OPT_TCPD, 4, 0, 7200 },
	{ T, TCP_KEEPINTVL, OPT_TCPD, 4, 0, 75 }, { T, TCP_KEEPCNT, OPT_TCPD, 4, 0, 9 },
	{ T, TCP_SYNCNT, OPT_TCPD, 4, 0, 6 }, { T, TCP_LINGER2, OPT_TCPD, 4, 0, 60 },
	{ T, TCP_DEFER_ACCEPT, OPT_TCPD, 4, 0, 0 }, { T, TCP_WINDOW_CLAMP, OPT_TCPD, 4, 0, 0 },
	{ T, TCP_INFO, OPT_TCPD, 0, 0, 0 }, { T, TCP_CONGESTION, OPT_TCPD, 0, 0, 0 }, { T, TCP_CC_INFO, OPT_TCPD, 0, 0, 0 },
	{ T, TCP_USER_TIMEOUT, OPT_TCPD, 4, 0, 0 }, { T, TCP_FASTOPEN, OPT_TCPD, 4, 0, 0 },
	{ T, TCP_NOTSENT_LOWAT, OPT_TCPD, 4, 0, 0 }, { T, TCP_FASTOPEN_CONNECT, OPT_TCPD, 4, 0, 0 },
	{ I, IP_TOS, OPT_TCPD, 4, 0, 0 }, { I, IP_TTL, OPT_TCPD, 4, 0, 64 },
	{ I, IP_MTU_DISCOVER, OPT_TCPD, 4, 0, 1 }, { I, IP_MTU, OPT_TCPD, 4, 0, 0 },
	{ I, IP_RECVERR, OPT_TCPD, 4, 0, 0 }, { I, IP_FREEBIND, OPT_HERE, 4, 0, 0 },
	{ I, IP_BIND_ADDRESS_NO_PORT, OPT_HERE, 4, 0, 0 }, { I, IP_MINTTL, OPT_TCPD, 4, 0, 0 },
	{ I6, IPV6_UNICAST_HOPS, OPT_HERE, 4, 0, 64 }, { I6, IPV6_TCLASS, OPT_HERE, 4, 0, 0 },
	{ I6, IPV6_RECVERR, OPT_HERE, 4, 0, 0 }, { I6, IPV6_MTU_DISCOVER, OPT_HERE, 4, 0, 1 },
	{ I6, IPV6_V6ONLY, OPT_HERE, 4, 0, 0 },
};
#undef S
#undef T
#undef I
#undef I6

static const struct opt_def *find(int level, int name)
{
	for (u32 i = 0; i < ARRAY_SIZE(defs); i++)
		if (defs[i].level == level && defs[i].name == name)
			return &defs[i];
	return NULL;
}

static struct sock_opt *remembered(struct sock *s, int level, int name)
{
	for (u32 i = 0; i < s->nopts; i++)
		if (s->opt[i].level == level && s->opt[i].name == name)
			return &s->opt[i];
	return NULL;
}

static int remember(struct sock *s, const struct opt_def *d, const void *val, u32 len)
{
	struct sock_opt *o = remembered(s, d->level, d->name);

	if (len > OPT_LEN)
		return -EINVAL;
	if (!o) {
		if (s->nopts == OPTS_MAX)
			return -ENOMEM;
		o = &s->opt[s->nopts++];
	}
	*o = (struct sock_opt){ .level = d->level, .name = d->name, .len = len, .here = d->kind == OPT_HERE };
	memcpy(o->value, val, len);
	return 0;
}

/* The words that programs change for every request. */
static int set_word(struct sock *s, const struct opt_def *d, bool on)
{
	_Atomic u32 *opts;

	if (load_acquire(&s->life) != SOCK_LIVE) {
		s->words = on ? s->words | d->word : s->words & ~d->word;
		return 0;
	}
	opts = &s->b.c->opts;
	if (on) {
		atomic_fetch_or(opts, d->word);
		if (d->word == SKC_NODELAY || d->word == SKC_QUICKACK)
			arena_kick(s->sk);	/* what Nagle or a delayed ACK holds back goes now */
		return 0;
	}
	if (atomic_fetch_and(opts, ~d->word) & d->word && d->word == SKC_CORK)
		arena_kick(s->sk);
	return 0;
}

static int set_here(struct sock *s, const struct opt_def *d, const void *val, u32 len)
{
	int value;

	memcpy(&value, val, sizeof(value));
	if (d->level == IPPROTO_IPV6 && d->name == IPV6_V6ONLY)
		s->v6only = value;
	if (d->level == SOL_SOCKET && d->name == SO_RCVLOWAT) {
		s->lowat = value < 0 ? (u32)INT32_MAX : value ? (u32)value : 1;
		if (load_acquire(&s->life) == SOCK_LIVE)
			store_relaxed(&s->b.c->rcvlowat, s->lowat);
	}
	return remember(s, d, val, len);
}

/* As tcp_cong_list in tcpd has them. */
static bool known_congestion(const char *name, u32 len)
{
	static const char *const names[] = { "cubic", "reno", "bbr" };

	for (u32 i = 0; i < ARRAY_SIZE(names); i++)
		if (strnlen(name, len) == strlen(names[i]) && !memcmp(name, names[i], strlen(names[i])))
			return true;
	return false;
}

/* What Linux would not take, whether the socket has reached tcpd yet or not. 0 or -errno. */
static int refuse(const struct sock *s, const struct opt_def *d, int value, const void *val, u32 len)
{
	static const struct { int level, name, least, most; } range[] = {
		{ IPPROTO_TCP, TCP_KEEPIDLE, 1, 32767 }, { IPPROTO_TCP, TCP_KEEPINTVL, 1, 32767 }, { IPPROTO_TCP, TCP_KEEPCNT, 1, 127 },
		{ IPPROTO_TCP, TCP_SYNCNT, 1, 127 }, { IPPROTO_TCP, TCP_USER_TIMEOUT, 0, INT32_MAX },
		{ IPPROTO_TCP, TCP_MAXSEG, 88, 32767 }, { IPPROTO_TCP, TCP_FASTOPEN_CONNECT, 0, 1 },
		{ IPPROTO_TCP, TCP_FASTOPEN, 0, INT32_MAX },
		{ IPPROTO_IP, IP_TTL, 1, 255 }, { IPPROTO_IP, IP_MINTTL, 0, 255 }, { IPPROTO_IP, IP_MTU_DISCOVER, 0, 5 },
	};
	bool fresh = load_relaxed(&((struct sock *)s)->life) != SOCK_LIVE || load_acquire(&s->b.s->state) == SKS_FRESH;

	for (u32 i = 0; i < ARRAY_SIZE(range); i++) {
		bool unset = d->level == IPPROTO_TCP ? d->name == TCP_MAXSEG && !value : d->name == IP_TTL && value == -1;

		if (range[i].level == d->level && range[i].name == d->name && !unset &&
		    (value < range[i].least || value > range[i].most))
			return -EINVAL;
	}
	if (d->level == IPPROTO_TCP && d->name == TCP_CONGESTION && !known_congestion(val, len))
		return -ENOENT;
	if (!fresh && d->level == IPPROTO_TCP && d->name == TCP_FASTOPEN_CONNECT)
		return -EINVAL;
	if ((!fresh || s->bound) && d->level == IPPROTO_IPV6 && d->name == IPV6_V6ONLY)
		return -EINVAL;
	return 0;
}

/* SO_MAX_PACING_RATE comes in 32 bits or 64, and is kept in 64. */
static int widen_rate(const void *val, u32 len, u64 *ret)
{
	u32 narrow;

	if (len < sizeof(narrow))
		return -EINVAL;
	if (len >= sizeof(*ret)) {
		memcpy(ret, val, sizeof(*ret));
		return 0;
	}
	memcpy(&narrow, val, sizeof(narrow));
	*ret = narrow == UINT32_MAX ? UINT64_MAX : narrow;
	return 0;
}

int sock_setsockopt(struct sock *s, int fd, int level, int name, const void *val, socklen_t len)
{
	struct rpc r = { .op = OP(SETSOCKOPT), .level = level, .name = name, .value = val, .len = len };
	const struct opt_def *d = find(level, name);
	int value = 0, e;
	u64 rate;

	if (!d || d->kind == OPT_READ)
		return -ENOPROTOOPT;
	if (bad_pointer(val))
		return -EFAULT;
	if (d->level == IPPROTO_IP && len && len < d->len) {	/* ip(7): a byte will do */
		value = *(const u8 *)val;
		return sock_setsockopt(s, fd, level, name, &value, sizeof(value));
	}
	if (len < d->len)
		return -EINVAL;
	if (len >= sizeof(value))
		memcpy(&value, val, sizeof(value));
	e = refuse(s, d, value, val, len);
	if (!e && level == SOL_SOCKET && name == SO_MAX_PACING_RATE) {
		e = widen_rate(val, len, &rate);
		r.value = val = &rate;
		r.len = len = sizeof(rate);
	}
	if (e)
		return e;
	if (d->level == IPPROTO_IP && d->name == IP_RECVERR && !value)
		sock_error_purge(s);
	switch (d->kind) {
	case OPT_WORD:
		return set_word(s, d, value);
	case OPT_PAIR:
		s->timeouts = true;
		return (int)sys_setsockopt(fd, level, name, val, len);
	case OPT_HERE:
		return set_here(s, d, val, len);
	default:
		if (load_acquire(&s->life) != SOCK_LIVE)
			return remember(s, d, val, d->len ? d->len : len);
		e = sock_call(s, fd, &r);
		if (!e && load_acquire(&s->b.s->state) == SKS_FRESH)
			remember(s, d, val, d->len ? d->len : len);	/* should the kernel take over */
		return e;
	}
}

static int copy_out(const void *from, u32 n, void *val, socklen_t *len)
{
	*len = MIN(*len, n);
	memcpy(val, from, *len);
	return 0;
}

static int read_only(struct sock *s, const struct opt_def *d, void *val, socklen_t *len)
{
	struct { int pid, uid, gid; } cred = { 0, -1, -1 };
	bool live = load_acquire(&s->life) == SOCK_LIVE;
	int value = d->def;

	switch (d->name) {
	case SO_PEERCRED:
		return copy_out(&cred, sizeof(cred), val, len);
	case SO_DOMAIN:
		value = s->v6 ? AF_INET6 : AF_INET;
		break;
	case SO_ACCEPTCONN:
		value = live && load_acquire(&s->b.s->state) == SKS_LISTEN;
		break;
	case SO_ERROR:
		value = live ? stream_error(&s->b, true) : 0;
		if (live && !value)	/* what the network said of a connection that goes on */
			value = stream_note(&s->b.s->soft_err, &s->b.c->soft_taken, true);
		break;
	default:
		break;
	}
	return copy_out(&value, sizeof(value), val, len);
}

static int pacing_from_memory(const struct sock_opt *o, void *val, socklen_t *len)
{
	u64 rate = UINT64_MAX;
	u32 narrow;

	if (o)
		memcpy(&rate, o->value, sizeof(rate));
	narrow = (u32)MIN(rate, (u64)UINT32_MAX);
	return *len >= sizeof(rate) ? copy_out(&rate, sizeof(rate), val, len) : copy_out(&narrow, sizeof(narrow), val, len);
}

/* What was set, or Linux's default, while there is nobody to ask. */
static int from_memory(struct sock *s, const struct opt_def *d, void *val, socklen_t *len)
{
	struct sock_opt *o = remembered(s, d->level, d->name);
	u8 zero[SOCK_OPT_MAX] = { 0 };
	char name[16] = "cubic";
	int value = d->def;

	if (d->level == IPPROTO_TCP && d->name == TCP_CONGESTION) {
		if (o)
			memcpy(strncpy(name, "", sizeof(name)), o->value, MIN(o->len, 15u));
		return copy_out(name, sizeof(name), val, len);
	}
	if (d->level == IPPROTO_TCP && d->name == TCP_CC_INFO)
		return copy_out(zero, 0, val, len);
	if (d->level == SOL_SOCKET && d->name == SO_MAX_PACING_RATE)
		return pacing_from_memory(o, val, len);
	if (d->level == IPPROTO_TCP && d->name == TCP_INFO) {
		zero[0] = TCP_CLOSE;
		return copy_out(zero, sizeof(zero), val, len);
	}
	if (d->level == IPPROTO_IP && d->name == IP_MTU)
		return -ENOTCONN;
	if (d->len != 4)
		return copy_out(o ? o->value : zero, o ? o->len : d->len ? d->len : OPT_LEN, val, len);
	if (o)
		memcpy(&value, o->value, sizeof(value));
	if (d->level == SOL_SOCKET && o && (d->name == SO_SNDBUF || d->name == SO_RCVBUF))
		value = MAX(value * 2, d->name == SO_SNDBUF ? 4608 : 2304);	/* socket(7): doubled */
	if (d->level == IPPROTO_TCP && d->name == TCP_DEFER_ACCEPT)
		value = (int)backoff_seconds(value);
	if (d->level == SOL_SOCKET && (d->name == SO_REUSEADDR || d->name == SO_REUSEPORT || d->name == SO_KEEPALIVE))
		value = !!value;
	return copy_out(&value, sizeof(value), val, len);
}

int sock_getsockopt(struct sock *s, int fd, int level, int name, void *val, socklen_t *len)
{
	static const u8 room[SOCK_OPT_MAX];
	struct rpc r = { .op = OP(GETSOCKOPT), .level = level, .name = name, .value = room };	/* as long as the answer may be */
	const struct opt_def *d = find(level, name);
	int value, e;

	if (!d)
		return level == SOL_SOCKET || level == IPPROTO_TCP || level == IPPROTO_IP || level == IPPROTO_IPV6 ? -ENOPROTOOPT :
														     -EOPNOTSUPP;
	if (bad_pointer(val) || bad_pointer(len))
		return -EFAULT;
	if ((int)*len < 0)
		return -EINVAL;
	switch (d->kind) {
	case OPT_READ:
		return read_only(s, d, val, len);
	case OPT_PAIR:
		return (int)sys_getsockopt(fd, level, name, val, len);
	case OPT_WORD:
		value = load_acquire(&s->life) == SOCK_LIVE ? (int)load_relaxed(&s->b.c->opts) : (int)s->words;
		value = d->word == SKC_QUICKACK ? 1 : !!((u32)value & d->word);
		return copy_out(&value, sizeof(value), val, len);
	case OPT_HERE:
		return from_memory(s, d, val, len);
	default:
		if (load_acquire(&s->life) != SOCK_LIVE)
			return from_memory(s, d, val, len);
		r.len = MIN(*len, (u32)sizeof(room));
		e = sock_call(s, fd, &r);
		return e ? e : copy_out(r.ret_value, r.ret_len, val, len);
	}
}

int sock_ioctl(struct sock *s, int fd, unsigned long req, void *arg)
{
	bool live = load_acquire(&s->life) == SOCK_LIVE;

	if ((req == FIONREAD || req == SIOCOUTQ || req == SIOCATMARK) && bad_pointer(arg))
		return -EFAULT;
	if (live && stream_plain(s, req == FIONREAD ? PLAIN_RX : PLAIN_TX) && (req == FIONREAD || req == SIOCOUTQ))
		return -ENOTTY;		/* the pair's own */
	switch (req) {
	case FIONREAD:
		if (live && load_acquire(&s->b.s->state) == SKS_LISTEN)
			return -EINVAL;
		*(int *)arg = live ? (int)urgent_inq(&s->b, stream_arm(s)) : 0;
		return 0;
	case SIOCOUTQ:
		if (live && load_acquire(&s->b.s->state) == SKS_LISTEN)
			return -EINVAL;
		*(int *)arg = live ? (int)(load_relaxed(&s->b.c->tx_head) - load_acquire(&s->b.s->tx_tail)) : 0;
		return 0;
	case SIOCATMARK:
		*(int *)arg = live && urgent_at_mark(&s->b);
		return 0;
	default:
		return -ENOTTY;		/* FIONBIO, FIOASYNC, FIOCLEX: the pair's, the kernel does them right */
	}
}
