/* tcp_hash.c – finding sockets (rx6): connection, listener and port tables, port selection, SipHash.
 *
 * The tables are private and built from the hard blocks at attach, entry by entry (crash rule 6: no input before).
 * Chains are socket indexes. Called by tcp_input.c, tcp_socket.c, tcp_minisocks.c. */
#include "services/tcp/path.h"

#define ROTL(x, b) ((x) << (b) | (x) >> (64 - (b)))
#define SIPROUND(v)                                                                                                   \
	do {                                                                                                          \
		v[0] += v[1]; v[1] = ROTL(v[1], 13); v[1] ^= v[0]; v[0] = ROTL(v[0], 32);                             \
		v[2] += v[3]; v[3] = ROTL(v[3], 16); v[3] ^= v[2];                                                    \
		v[0] += v[3]; v[3] = ROTL(v[3], 21); v[3] ^= v[0];                                                    \
		v[2] += v[1]; v[1] = ROTL(v[1], 17); v[1] ^= v[2]; v[2] = ROTL(v[2], 32);                             \
	} while (0)

/* SipHash-2-4 (Aumasson, Bernstein), 64 bits out. */
u64 tcp_siphash(const u64 key[2], const void *data, size_t len)
{
	u64 v[4] = { 0x736f6d6570736575ull ^ key[0], 0x646f72616e646f6dull ^ key[1], 0x6c7967656e657261ull ^ key[0],
		     0x7465646279746573ull ^ key[1] };
	u64 last = (u64)len << 56, m;
	const u8 *p = data;

	for (; len >= 8; p += 8, len -= 8) {
		memcpy(&m, p, 8);
		v[3] ^= m;
		SIPROUND(v);
		SIPROUND(v);
		v[0] ^= m;
	}
	for (size_t i = 0; i < len; i++)
		last |= (u64)p[i] << (8 * i);
	v[3] ^= last;
	SIPROUND(v);
	SIPROUND(v);
	v[0] ^= last;
	v[2] ^= 0xff;
	for (int i = 0; i < 4; i++)
		SIPROUND(v);
	return v[0] ^ v[1] ^ v[2] ^ v[3];
}

/* RFC 6528: ISN = M + F(tuple, secret), M ticks every 4 microseconds. */
u32 tcp_isn(struct tcp_stack *t, const struct tcp_tuple *k)
{
	return (u32)(t->now / 4000) + (u32)tcp_siphash(t->secret->isn, k, sizeof(*k));
}

/* RFC 7323 5.4 footnote and 7.1: an offset per pair of hosts, so that TIME_WAIT reuse still sees time advance. */
u32 tcp_ts_offset(struct tcp_stack *t, const struct tcp_tuple *k)
{
	be32 pair[2] = { k->laddr, k->faddr };

	return (u32)tcp_siphash(t->secret->timestamp, pair, sizeof(pair));
}

u64 tcp_random(struct tcp_stack *t)
{
	u64 x;

	t->ops->random(t->ctx, &x, sizeof(x));
	return x;
}

u32 tcp_hash_tuple(const struct tcp_stack *t, const struct tcp_tuple *k, u32 size)
{
	u64 x = ((u64)k->faddr.v << 32 | k->laddr.v) ^ t->soft->hash_seed;

	x *= 0x9e3779b97f4a7c15ull;
	x ^= x >> 32;
	x += (u64)k->fport.v << 16 | k->lport.v;
	x *= 0xd6e8feb86659fd93ull;
	return (u32)(x >> 32) & (size - 1);
}

static bool tuple_eq(const struct tcp_tuple *a, const struct tcp_tuple *b)
{
	return be32_eq(a->laddr, b->laddr) && be32_eq(a->faddr, b->faddr) && be16_eq(a->lport, b->lport) &&
	       be16_eq(a->fport, b->fport);
}

void tcp_hash_insert(struct tcp_conn *c)
{
	u32 *head = &c->t->soft->ehash[tcp_hash_tuple(c->t, &c->h->tuple, TCP_EHASH)];

	if (c->cf & CF_HASHED)
		return;
	c->ehash_next = *head;
	*head = c->sk;
	c->cf |= CF_HASHED;
}

void tcp_hash_remove(struct tcp_conn *c)
{
	u32 *p = &c->t->soft->ehash[tcp_hash_tuple(c->t, &c->h->tuple, TCP_EHASH)];

	if (!(c->cf & CF_HASHED))
		return;
	while (*p != NONE && *p != c->sk)
		p = &conn_of(c->t, *p)->ehash_next;
	assert(*p == c->sk);
	*p = c->ehash_next;
	c->cf &= ~(u32)CF_HASHED;
}

struct tcp_conn *tcp_lookup_established(struct tcp_stack *t, const struct tcp_tuple *k)
{
	u32 i = t->soft->ehash[tcp_hash_tuple(t, k, TCP_EHASH)];

	for (; i != NONE; i = conn_of(t, i)->ehash_next)
		if (tuple_eq(&t->t->sk[i].tuple, k))
			return conn_of(t, i);
	return NULL;
}

/* An exact address beats a wildcard; among SO_REUSEPORT equals the tuple's hash decides, evenly. */
struct tcp_conn *tcp_lookup_listener(struct tcp_stack *t, const struct tcp_tuple *k)
{
	struct tcp_conn *best = NULL;
	u32 score = 0, equals = 0;

	for (u32 i = t->soft->lhash[from_be16(k->lport) % TCP_LHASH]; i != NONE; i = conn_of(t, i)->lhash_next) {
		const struct tcp_sock *h = &t->t->sk[i];
		u32 s = h->tuple.laddr.v ? 2 : 1;

		if (!be16_eq(h->tuple.lport, k->lport) || (h->tuple.laddr.v && !be32_eq(h->tuple.laddr, k->laddr)))
			continue;
		if (s > score) {
			score = s;
			equals = 1;
			best = conn_of(t, i);
		} else if (s == score && (tcp_hash_tuple(t, k, 1u << 30) * 0x9e3779b1u >> 8) % ++equals == 0) {
			best = conn_of(t, i);
		}
	}
	return best;
}

void tcp_listen_insert(struct tcp_conn *c)
{
	u32 *head = &c->t->soft->lhash[from_be16(c->h->tuple.lport) % TCP_LHASH];

	if (c->cf & CF_LISTENING)
		return;
	c->lhash_next = *head;
	*head = c->sk;
	c->cf |= CF_LISTENING;
}

void tcp_listen_remove(struct tcp_conn *c)
{
	u32 *p = &c->t->soft->lhash[from_be16(c->h->tuple.lport) % TCP_LHASH];

	if (!(c->cf & CF_LISTENING))
		return;
	while (*p != NONE && *p != c->sk)
		p = &conn_of(c->t, *p)->lhash_next;
	assert(*p == c->sk);
	*p = c->lhash_next;
	c->cf &= ~(u32)CF_LISTENING;
}

/* ---- ports ---- */

void tcp_bind_insert(struct tcp_conn *c)
{
	u32 *head = &c->t->soft->bhash[from_be16(c->h->tuple.lport)];

	if (c->cf & CF_BOUND)
		return;
	c->bhash_prev = NONE;
	c->bhash_next = *head;
	if (*head != NONE)
		conn_of(c->t, *head)->bhash_prev = c->sk;
	*head = c->sk;
	c->cf |= CF_BOUND;
}

void tcp_bind_remove(struct tcp_conn *c)
{
	if (!(c->cf & CF_BOUND))
		return;
	if (c->bhash_prev != NONE)
		conn_of(c->t, c->bhash_prev)->bhash_next = c->bhash_next;
	else
		c->t->soft->bhash[from_be16(c->h->tuple.lport)] = c->bhash_next;
	if (c->bhash_next != NONE)
		conn_of(c->t, c->bhash_next)->bhash_prev = c->bhash_prev;
	c->cf &= ~(u32)CF_BOUND;
}

static bool addr_overlap(be32 a, be32 b) { return !a.v || !b.v || be32_eq(a, b); }

static bool tw_conflict(struct tcp_conn *c, be32 addr, u16 port)
{
	struct tcp_tables *t = c->t->t;

	if (!c->t->soft->tw_port[port])
		return false;
	for (u32 i = 0, n = load_relaxed(&t->tw_high); i < n; i++) {
		struct tcp_tw *w = &t->tw[i];

		if (load_relaxed(&w->deadline) && from_be16(w->tuple.lport) == port && addr_overlap(w->tuple.laddr, addr) &&
		    !(w->reuse && c->h->so & TSO_REUSEADDR))
			return true;
	}
	return false;
}

/* Linux's rule: two may share when both say SO_REUSEADDR and neither listens, or both say SO_REUSEPORT with one uid. */
bool tcp_bind_conflict(struct tcp_conn *c, be32 addr, u16 port, bool listening)
{
	struct tcp_stack *t = c->t;

	for (u32 i = t->soft->bhash[port]; i != NONE; i = conn_of(t, i)->bhash_next) {
		const struct tcp_sock *o = &t->t->sk[i];

		if (i == c->sk || !addr_overlap(o->tuple.laddr, addr))
			continue;
		if (c->h->so & o->so & TSO_REUSEADDR && load_relaxed(&o->phase) != TCPP_LISTEN && !listening)
			continue;
		if (c->h->so & o->so & TSO_REUSEPORT && c->h->uid == o->uid)
			continue;
		if (listening && load_relaxed(&o->phase) != TCPP_LISTEN && c->h->so & o->so & TSO_REUSEADDR)
			continue;
		return true;
	}
	return tw_conflict(c, addr, port);
}

/* bind to port 0: random start, odd ports first (connect prefers even ones), as Linux. */
int tcp_pick_port(struct tcp_conn *c, be32 addr)
{
	u32 lo = c->t->conf->port_lo, n = (u32)c->t->conf->port_hi - lo + 1, start = (u32)tcp_random(c->t) % n;

	for (u32 pass = 0; pass < 2; pass++)
		for (u32 i = 0; i < n; i++) {
			u32 port = lo + (start + i) % n;

			if ((port & 1) == pass)
				continue;
			if (c->t->soft->bhash[port] == NONE && !c->t->soft->tw_port[port])
				return (int)port;
			if (!tcp_bind_conflict(c, addr, (u16)port, false))
				return (int)port;
		}
	return -EADDRINUSE;
}

/* May this exact tuple be used for a new active connection? */
static bool tuple_free(struct tcp_conn *c)
{
	struct tcp_stack *t = c->t;
	struct tcp_tw *w = tcp_tw_lookup(t, &c->h->tuple);

	if (tcp_lookup_established(t, &c->h->tuple) || tcp_req_lookup(t, &c->h->tuple))
		return false;
	if (w && !tcp_tw_reusable(t, w))
		return false;
	return true;
}

/* A port some other socket bound explicitly is not for connect to share. */
static bool port_bound(struct tcp_stack *t, u16 port)
{
	for (u32 i = t->soft->bhash[port]; i != NONE; i = conn_of(t, i)->bhash_next)
		if (t->t->sk[i].so & TSO_BOUND_PORT || load_relaxed(&t->t->sk[i].phase) == TCPP_LISTEN)
			return true;
	return false;
}

/* RFC 6056 algorithm 3: an offset per destination, then a counter; even ports first. */
int tcp_pick_connect_port(struct tcp_conn *c)
{
	struct tcp_stack *t = c->t;
	struct tcp_tuple *k = &c->h->tuple;
	u32 lo = t->conf->port_lo, n = (u32)t->conf->port_hi - lo + 1;
	struct { be32 l, f; u32 port; } key = { k->laddr, k->faddr, k->fport.v };
	u32 offset = (u32)tcp_siphash(t->secret->port, &key, sizeof(key)) + t->soft->port_counter;

	if (k->lport.v)
		return tuple_free(c) ? 0 : -EADDRNOTAVAIL;
	for (u32 pass = 0; pass < 2; pass++)
		for (u32 i = 0; i < n; i++) {
			u32 port = lo + (offset + i) % n;

			if ((port & 1) != pass || port_bound(t, (u16)port))
				continue;
			k->lport = to_be16((u16)port);
			if (tuple_free(c)) {
				t->soft->port_counter += i + 1 + ((u32)tcp_random(t) & 7);
				return 0;
			}
		}
	k->lport = (be16){ 0 };
	return -EADDRNOTAVAIL;
}
