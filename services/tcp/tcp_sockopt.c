/* tcp_sockopt.c – setsockopt and getsockopt of a TCP socket, with Linux's ranges and errors.
 *
 * Called from sockd's mailbox. Options programs change per request are shared words too (SKC_*, arena.h). */
#include "services/tcp/path.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

static struct tcp_conn *socket_of(struct tcp_stack *t, u32 sk)
{
	struct tcp_conn *c = sk < SK_MAX ? conn_of(t, sk) : NULL;

	return c && c->cf & CF_OPEN && phase(c) != TCPP_FREE ? c : NULL;
}

static int get_int(const void *val, u32 len, int *ret)
{
	if (len >= sizeof(int)) {
		memcpy(ret, val, sizeof(int));
		return 0;
	}
	if (len >= 1) {
		*ret = *(const u8 *)val;
		return 0;
	}
	return -EINVAL;
}

static void flag(struct tcp_conn *c, u32 bit, int on)
{
	if (on)
		c->h->so |= bit;
	else
		c->h->so &= ~bit;
}

/* struct timeval to milliseconds, 0: for ever */
static int get_timeo(const void *val, u32 len, u32 *ret)
{
	struct timeval tv;

	if (len < sizeof(tv))
		return -EINVAL;
	memcpy(&tv, val, sizeof(tv));
	if (tv.tv_usec < 0 || tv.tv_usec >= 1000000)
		return -EDOM;
	if (tv.tv_sec < 0)
		*ret = 1;
	else
		*ret = (u32)MIN((u64)tv.tv_sec * 1000 + ((u64)tv.tv_usec + 999) / 1000, (u64)UINT32_MAX);
	return 0;
}

static int set_linger(struct tcp_conn *c, const void *val, u32 len)
{
	struct linger l;

	if (len < sizeof(l))
		return -EINVAL;
	memcpy(&l, val, sizeof(l));
	flag(c, TSO_LINGER, l.l_onoff);
	c->h->linger_s = l.l_onoff ? MAX(l.l_linger, 0) : 0;
	return 0;
}

static int set_bound_dev(struct tcp_conn *c, const void *val, u32 len)
{
	u32 n = MIN(len, (u32)sizeof(c->h->bound_dev) - 1);

	memset(c->h->bound_dev, 0, sizeof(c->h->bound_dev));
	memcpy(c->h->bound_dev, val, n);
	return 0;
}

/* Bytes a second, in 32 bits or 64; all ones: no limit. */
static int set_max_pacing_rate(struct tcp_conn *c, const void *val, u32 len)
{
	u64 rate = UINT64_MAX;
	u32 v;

	if (len >= sizeof(rate)) {
		memcpy(&rate, val, sizeof(rate));
	} else if (len >= sizeof(v)) {
		memcpy(&v, val, sizeof(v));
		rate = v == UINT32_MAX ? UINT64_MAX : v;
	} else {
		return -EINVAL;
	}
	c->h->max_pacing_rate = rate;
	if (c->ca)
		tcp_pacing_update(c);
	if (phase(c) == TCPP_SYNC)
		tcp_mark_dirty(c, CF_XMIT);
	return 0;
}

static int set_socket(struct tcp_conn *c, int name, const void *val, u32 len)
{
	struct tcp_sock *h = c->h;
	int v = 0, r;

	switch (name) {
	case SO_LINGER:
		return set_linger(c, val, len);
	case SO_RCVTIMEO:
		return get_timeo(val, len, &h->rcvtimeo_ms);
	case SO_SNDTIMEO:
		return get_timeo(val, len, &h->sndtimeo_ms);
	case SO_BINDTODEVICE:
		return set_bound_dev(c, val, len);
	case SO_MAX_PACING_RATE:
		return set_max_pacing_rate(c, val, len);
	}
	r = get_int(val, len, &v);
	if (r)
		return r;
	switch (name) {
	case SO_REUSEADDR: flag(c, TSO_REUSEADDR, v); return 0;
	case SO_REUSEPORT: flag(c, TSO_REUSEPORT, v); return 0;
	case SO_BROADCAST: flag(c, TSO_BROADCAST, v); return 0;
	case SO_DONTROUTE: flag(c, TSO_DONTROUTE, v); return 0;
	case SO_OOBINLINE: flag(c, TSO_OOBINLINE, v); return 0;
	case SO_TIMESTAMP: flag(c, TSO_TIMESTAMP, v); return 0;
	case SO_KEEPALIVE:
		flag(c, TSO_KEEPALIVE, v);
		tcp_arm_keepalive(c);
		return 0;
	case SO_RCVBUF: case SO_RCVBUFFORCE:
		h->rcvbuf = MAX((u32)MIN(MAX(v, 0), 1 << 29) * 2, TCP_MIN_RCVBUF);
		flag(c, TSO_RCVBUF, 1);
		tcp_rcvbuf_set(c, 0);
		return 0;
	case SO_SNDBUF: case SO_SNDBUFFORCE:
		h->sndbuf = MAX((u32)MIN(MAX(v, 0), 1 << 29) * 2, TCP_MIN_SNDBUF);
		flag(c, TSO_SNDBUF, 1);
		tcp_sndbuf_set(c, 0);
		return 0;
	case SO_RCVLOWAT: h->rcvlowat = v < 0 ? INT32_MAX : (u32)MAX(v, 1); return 0;
	case SO_PRIORITY: h->priority = (u32)v; return 0;
	case SO_MARK: h->mark = (u32)v; return 0;
	case SO_ERROR: case SO_TYPE: case SO_PROTOCOL: case SO_DOMAIN: case SO_ACCEPTCONN: case SO_SNDLOWAT: return -ENOPROTOOPT;
	case SO_BUSY_POLL: case SO_INCOMING_CPU: case SO_ZEROCOPY: case SO_LOCK_FILTER: return 0;
	}
	return -ENOPROTOOPT;
}

static int set_ip(struct tcp_conn *c, int name, const void *val, u32 len)
{
	int v = 0, r = get_int(val, len, &v);

	if (r)
		return r;
	switch (name) {
	case IP_TOS: c->h->tos = (u8)v & 0xfc; return 0;	/* TCP keeps the two ECN bits */
	case IP_TTL:
		if (v != -1 && (v < 1 || v > 255))
			return -EINVAL;
		c->h->ttl = v == -1 ? 0 : (u8)v;
		return 0;
	case IP_MTU_DISCOVER:
		if (v < 0 || v > 5)
			return -EINVAL;
		c->h->mtu_disc = (u8)v;
		return 0;
	case IP_MINTTL:
		if (v < 0 || v > 255)
			return -EINVAL;
		c->h->min_ttl = (u8)v;
		return 0;
	case IP_RECVERR: flag(c, TSO_RECVERR, v); return 0;
	case IP_BIND_ADDRESS_NO_PORT: case IP_FREEBIND: case IP_RECVTOS: case IP_RECVTTL: case IP_PKTINFO: return 0;
	}
	return -ENOPROTOOPT;
}

static int set_congestion(struct tcp_conn *c, const char *name, u32 len)
{
	int i = tcp_cong_find(name, strnlen(name, len));

	if (i < 0)
		return i;
	c->h->cong = (u8)i;
	if (phase(c) == TCPP_SYNC && c->ca != tcp_cong_list[i]) {	/* the window stays, its law changes */
		c->ca = tcp_cong_list[i];
		memset(c->cong, 0, sizeof(c->cong));
		if (c->ca->init)
			c->ca->init(c);
		tcp_pacing_update(c);
	}
	return 0;
}

static int range(int v, int lo, int hi, u32 *ret)
{
	if (v < lo || v > hi)
		return -EINVAL;
	*ret = (u32)v;
	return 0;
}

static int set_keep(struct tcp_conn *c, int v, int hi, u32 *ret)
{
	int r = range(v, 1, hi, ret);

	if (!r)
		tcp_arm_keepalive(c);
	return r;
}

static int set_tcp(struct tcp_conn *c, int name, const void *val, u32 len)
{
	struct tcp_sock *h = c->h;
	int v = 0, r;

	if (name == TCP_CONGESTION)
		return len ? set_congestion(c, val, len) : -EINVAL;
	r = get_int(val, len, &v);
	if (r)
		return r;
	switch (name) {
	case TCP_NODELAY:
		flag(c, TSO_NODELAY, v);
		break;
	case TCP_CORK:
		flag(c, TSO_CORK, v);
		break;
	case TCP_MAXSEG:
		if (v && (v < (int)TCP_MIN_MSS || v > 32767))
			return -EINVAL;
		h->maxseg = (u16)v;
		return 0;
	case TCP_KEEPIDLE: return set_keep(c, v, 32767, &h->keep_idle_s);
	case TCP_KEEPINTVL: return set_keep(c, v, 32767, &h->keep_intvl_s);
	case TCP_KEEPCNT: return set_keep(c, v, 127, &h->keep_cnt);
	case TCP_SYNCNT: return range(v, 1, 127, &h->syn_cnt);
	case TCP_LINGER2: h->linger2_s = v < 0 ? -1 : MIN(v, 120); return 0;
	case TCP_DEFER_ACCEPT: h->defer_accept_s = backoff_seconds(v); return 0;
	case TCP_WINDOW_CLAMP: h->window_clamp = v ? (u32)MAX(v, 1152) : 0; return 0;
	case TCP_USER_TIMEOUT: return v < 0 ? -EINVAL : range(v, 0, INT32_MAX, &h->user_timeout_ms);
	case TCP_NOTSENT_LOWAT: h->notsent_lowat = (u32)v; return 0;
	case TCP_QUICKACK:
		c->pingpong = !v;
		if (v && c->cf & CF_ACK_SCHED)
			tcp_mark_dirty(c, CF_ACK_NOW);
		return 0;
	case TCP_FASTOPEN:
		if (v < 0 || (phase(c) != TCPP_CLOSED && phase(c) != TCPP_LISTEN))
			return -EINVAL;
		h->fastopen_max = MIN((u32)v, c->t->conf->backlog_max);
		return 0;
	case TCP_FASTOPEN_CONNECT:
		if (v < 0 || v > 1 || phase(c) != TCPP_CLOSED)
			return -EINVAL;
		flag(c, TSO_FASTOPEN_CONNECT, v);
		return 0;
	case TCP_REPAIR: case TCP_MD5SIG: case TCP_ULP: return -EOPNOTSUPP;
	case TCP_THIN_LINEAR_TIMEOUTS: case TCP_THIN_DUPACK: case TCP_SAVE_SYN: case TCP_TIMESTAMP: return 0;
	default: return -ENOPROTOOPT;
	}
	if (phase(c) == TCPP_SYNC)	/* TCP_NODELAY on, TCP_CORK off: what waited goes out */
		tcp_mark_dirty(c, CF_XMIT);
	return 0;
}

int tcp_setsockopt(struct tcp_stack *t, u32 sk, int level, int name, const void *val, u32 len)
{
	struct tcp_conn *c = socket_of(t, sk);

	if (!c)
		return -EBADF;
	switch (level) {
	case SOL_SOCKET: return set_socket(c, name, val, len);
	case IPPROTO_IP: return set_ip(c, name, val, len);
	case IPPROTO_TCP: return set_tcp(c, name, val, len);
	}
	return -ENOPROTOOPT;
}

/* ---- getsockopt ---- */

static int put(void *val, u32 *len, const void *src, u32 n)
{
	*len = MIN(*len, n);
	memcpy(val, src, *len);
	return 0;
}

static int put_int(void *val, u32 *len, int v) { return put(val, len, &v, sizeof(v)); }

static int put_timeo(void *val, u32 *len, u32 ms)
{
	struct timeval tv = { ms / 1000, (ms % 1000) * 1000 };

	return put(val, len, &tv, sizeof(tv));
}

static int get_error(struct tcp_conn *c, void *val, u32 *len)
{
	u32 e = load_relaxed(&c->b.s->err);

	if (!e) {
		e = tcp_soft_error(c);
		tcp_note(&c->b.s->soft_err, 0);
	}
	return put_int(val, len, (int)e);
}

static int get_socket(struct tcp_conn *c, int name, void *val, u32 *len)
{
	const struct tcp_sock *h = c->h;
	struct linger l = { h->so & TSO_LINGER ? 1 : 0, h->linger_s };

	switch (name) {
	case SO_LINGER: return put(val, len, &l, sizeof(l));
	case SO_RCVTIMEO: return put_timeo(val, len, h->rcvtimeo_ms);
	case SO_SNDTIMEO: return put_timeo(val, len, h->sndtimeo_ms);
	case SO_BINDTODEVICE: return put(val, len, h->bound_dev, (u32)strnlen((const char *)h->bound_dev, 15) + 1);
	case SO_ERROR: return get_error(c, val, len);
	case SO_TYPE: return put_int(val, len, SOCK_STREAM);
	case SO_PROTOCOL: return put_int(val, len, IPPROTO_TCP);
	case SO_DOMAIN: return put_int(val, len, AF_INET);
	case SO_ACCEPTCONN: return put_int(val, len, phase(c) == TCPP_LISTEN);
	case SO_REUSEADDR: return put_int(val, len, !!(h->so & TSO_REUSEADDR));
	case SO_REUSEPORT: return put_int(val, len, !!(h->so & TSO_REUSEPORT));
	case SO_KEEPALIVE: return put_int(val, len, !!(h->so & TSO_KEEPALIVE));
	case SO_BROADCAST: return put_int(val, len, !!(h->so & TSO_BROADCAST));
	case SO_DONTROUTE: return put_int(val, len, !!(h->so & TSO_DONTROUTE));
	case SO_OOBINLINE: return put_int(val, len, !!(h->so & TSO_OOBINLINE));
	case SO_TIMESTAMP: return put_int(val, len, !!(h->so & TSO_TIMESTAMP));
	case SO_RCVBUF: return put_int(val, len, (int)(h->so & TSO_RCVBUF ? h->rcvbuf : MAX(h->rcvbuf, 2 * c->rcv_space)));
	case SO_SNDBUF: return put_int(val, len, (int)(h->so & TSO_SNDBUF ? h->sndbuf : MAX(h->sndbuf, load_relaxed(&c->b.s->tx_limit))));
	case SO_RCVLOWAT: return put_int(val, len, (int)h->rcvlowat);
	case SO_SNDLOWAT: return put_int(val, len, 1);
	case SO_PRIORITY: return put_int(val, len, (int)h->priority);
	case SO_MARK: return put_int(val, len, (int)h->mark);
	case SO_MAX_PACING_RATE:
		if (*len >= sizeof(h->max_pacing_rate))
			return put(val, len, &h->max_pacing_rate, sizeof(h->max_pacing_rate));
		return put_int(val, len, (int)(u32)MIN(h->max_pacing_rate, (u64)UINT32_MAX));
	case SO_INCOMING_CPU: case SO_BUSY_POLL: case SO_ZEROCOPY: return put_int(val, len, 0);
	}
	return -ENOPROTOOPT;
}

static int get_ip(struct tcp_conn *c, int name, void *val, u32 *len)
{
	const struct tcp_sock *h = c->h;

	switch (name) {
	case IP_TOS: return put_int(val, len, h->tos);
	case IP_TTL: return put_int(val, len, h->ttl ? h->ttl : c->t->conf->ttl ? c->t->conf->ttl : 64);
	case IP_MTU_DISCOVER: return put_int(val, len, h->mtu_disc);
	case IP_MINTTL: return put_int(val, len, h->min_ttl);
	case IP_RECVERR: return put_int(val, len, !!(h->so & TSO_RECVERR));
	case IP_MTU: return phase(c) >= TCPP_SYN_SENT ? put_int(val, len, (int)tcp_path_mtu(c)) : -ENOTCONN;
	}
	return -ENOPROTOOPT;
}

static int get_tcp(struct tcp_conn *c, int name, void *val, u32 *len)
{
	const struct tcp_sock *h = c->h;
	u32 opts = load_relaxed(&c->b.c->opts);
	char cong[16] = { 0 };

	switch (name) {
	case TCP_INFO: *len = tcp_fill_info(c, val, *len); return 0;
	case TCP_CC_INFO: *len = phase(c) == TCPP_SYNC && c->ca->info ? c->ca->info(c, val, *len) : 0; return 0;
	case TCP_CONGESTION:
		strncpy(cong, tcp_cong_list[h->cong]->name, sizeof(cong) - 1);
		return put(val, len, cong, sizeof(cong));
	case TCP_NODELAY: return put_int(val, len, h->so & TSO_NODELAY || opts & SKC_NODELAY);
	case TCP_CORK: return put_int(val, len, h->so & TSO_CORK || opts & SKC_CORK);
	case TCP_MAXSEG: return put_int(val, len, phase(c) == TCPP_SYNC ? (int)c->mss : h->maxseg ? h->maxseg : 536);
	case TCP_KEEPIDLE: return put_int(val, len, (int)h->keep_idle_s);
	case TCP_KEEPINTVL: return put_int(val, len, (int)h->keep_intvl_s);
	case TCP_KEEPCNT: return put_int(val, len, (int)h->keep_cnt);
	case TCP_SYNCNT: return put_int(val, len, (int)h->syn_cnt);
	case TCP_LINGER2: return put_int(val, len, h->linger2_s ? h->linger2_s : (int)c->t->conf->fin_timeout_s);
	case TCP_DEFER_ACCEPT: return put_int(val, len, (int)h->defer_accept_s);
	case TCP_WINDOW_CLAMP: return put_int(val, len, (int)(h->window_clamp ? h->window_clamp : c->b.rx_size));
	case TCP_USER_TIMEOUT: return put_int(val, len, (int)h->user_timeout_ms);
	case TCP_NOTSENT_LOWAT: return put_int(val, len, (int)h->notsent_lowat);
	case TCP_QUICKACK: return put_int(val, len, !c->pingpong);
	case TCP_FASTOPEN: return put_int(val, len, (int)h->fastopen_max);
	case TCP_FASTOPEN_CONNECT: return put_int(val, len, !!(h->so & TSO_FASTOPEN_CONNECT));
	case TCP_SAVE_SYN: return put_int(val, len, 0);
	}
	return -ENOPROTOOPT;
}

int tcp_getsockopt(struct tcp_stack *t, u32 sk, int level, int name, void *val, u32 *len)
{
	struct tcp_conn *c = socket_of(t, sk);

	if (!c)
		return -EBADF;
	switch (level) {
	case SOL_SOCKET: return get_socket(c, name, val, len);
	case IPPROTO_IP: return get_ip(c, name, val, len);
	case IPPROTO_TCP: return get_tcp(c, name, val, len);
	}
	return -ENOPROTOOPT;
}
