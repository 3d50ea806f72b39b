/* ip_host.c – see ip_host.h. Linked into test_ip_*.c and tests/fuzz/ip_*.c. */
#include "ip_host.h"

#include <stdlib.h>
#include <sys/mman.h>

#include "common/csum.h"

const u8 host_mac[6] = { 2, 0, 0, 0, 0, 1 }, peer_mac[6] = { 2, 0xaa, 10, 0, 0, 2 };

u32 host_rand(struct host *h)
{
	h->seed ^= h->seed << 13;
	h->seed ^= h->seed >> 7;
	h->seed ^= h->seed << 17;
	return (u32)(h->seed >> 16);
}

static void op_random(void *ctx, void *buf, size_t n)
{
	for (size_t i = 0; i < n; i++)
		((u8 *)buf)[i] = (u8)host_rand(ctx);
}
static void op_notice(void *ctx, const char *text) { ((struct host *)ctx)->notices++; }
static const struct ip_ops ops = { op_random, op_notice };

static void open_rings(struct host *h)
{
	struct link_shm *l = h->link;
	struct ip_shm *i = h->ip;
	struct host_tcp *t = h->tcp;
	struct ip_rings *r = &h->st->r;

#define OUT(ring, prod, cons, name, cap, slot) \
	ring_attach_producer(&(ring), &prod->name, &cons->name, prod->name##_slots, cap, sizeof(struct slot))
#define IN(ring, prod, cons, name, cap, slot) \
	ring_attach_consumer(&(ring), &prod->name, &cons->name, prod->name##_slots, cap, sizeof(struct slot))
	IN(r->link_ip, l, i, link_ip, RX_RING, sk_buff);
	IN(r->tcp_ip, t, i, tcp_ip, TX_RING, sk_buff);
	IN(r->link_ip_done, l, i, link_ip_done, LINK_DONE_RING, skb_done);
	IN(r->tcp_ip_done, t, i, tcp_ip_done, IP_DONE_RING, skb_done);
	OUT(r->ip_link, i, l, ip_link, TX_RING, sk_buff);
	OUT(r->ip_tcp, i, t, ip_tcp, RX_RING, sk_buff);
	OUT(r->ip_link_done, i, l, ip_link_done, LINK_DONE_RING, skb_done);
	OUT(r->ip_tcp_done, i, t, ip_tcp_done, IP_DONE_RING, skb_done);
	if (h->link_ip.slots)
		return;
	OUT(h->link_ip, l, i, link_ip, RX_RING, sk_buff);
	OUT(h->tcp_ip, t, i, tcp_ip, TX_RING, sk_buff);
	OUT(h->link_ip_done, l, i, link_ip_done, LINK_DONE_RING, skb_done);
	OUT(h->tcp_ip_done, t, i, tcp_ip_done, IP_DONE_RING, skb_done);
	IN(h->ip_link, i, l, ip_link, TX_RING, sk_buff);
	IN(h->ip_tcp, i, t, ip_tcp, RX_RING, sk_buff);
	IN(h->ip_link_done, i, l, ip_link_done, LINK_DONE_RING, skb_done);
	IN(h->ip_tcp_done, i, t, ip_tcp_done, IP_DONE_RING, skb_done);
#undef OUT
#undef IN
}

static void start(struct host *h)
{
	struct ip_stack *st = h->st;

	memset(st, 0, sizeof(*st));
	st->shm = h->ip;
	st->link = h->link;
	st->link_hold = h->link->hold;
	st->admin = &h->admin;
	st->notes = &h->notes;
	st->conf = &h->conf;
	st->counters = &h->ip->counters;
	st->pools = &h->pools;
	st->ops = &ops;
	st->ctx = h;
	st->now = h->now;
	open_rings(h);
	if (ip_attach(st) < 0)
		abort();
}

/* Indexes begin near their wrap. */
static void near_wrap(struct ring_prod *p, struct ring_cons *c)
{
	store_relaxed(&p->head, 0xffffffe0u);
	store_relaxed(&c->tail, 0xffffffe0u);
}

/* Untouched pages cost nothing: the regions are tens of megabytes, and the crash tests make thousands of hosts. */
static void *zalloc(size_t n)
{
	void *p = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		abort();
	return p;
}

struct host *host_new(void)
{
	struct host *h = zalloc(sizeof(*h));

	h->seed = 0x9e3779b97f4a7c15ull;
	h->now = 1000 * NSEC_PER_SEC;
	h->link = zalloc(sizeof(*h->link));
	h->ip = zalloc(sizeof(*h->ip));
	h->tcp = zalloc(sizeof(*h->tcp));
	h->st = zalloc(sizeof(*h->st));
	h->tcp_bytes = zalloc(pool_bytes_size(HOST_TCP_SMALL, HOST_TCP_LARGE));
	near_wrap(&h->link->link_ip, &h->ip->link_ip);
	near_wrap(&h->ip->ip_link, &h->link->ip_link);
	near_wrap(&h->ip->ip_link_done, &h->link->ip_link_done);
	near_wrap(&h->tcp->tcp_ip, &h->ip->tcp_ip);
	near_wrap(&h->ip->ip_tcp, &h->tcp->ip_tcp);
	store_relaxed(&h->link->hdr.starts, 1);
	memcpy(h->link->dev[0].name, "tap0", 5);
	memcpy(h->link->dev[0].mac, host_mac, 6);
	h->link->dev[0].mtu = 1500;
	store_relaxed(&h->link->dev[0].up, 1);
	h->conf.ttl = 64;
	h->conf.ndevs = h->conf.naddrs = h->conf.nroutes = 1;
	memcpy(h->conf.dev[0].name, "tap0", 5);
	h->conf.addr[0] = (struct conf_addr){ .addr = A(10, 0, 0, 1), .prefix = 24, .dev = "tap0" };
	h->conf.route[0] = (struct conf_route){ .gateway = A(10, 0, 0, 254), .dev = "tap0" };
	if (pool_attach_owner(&h->link_pool, POOL_LINK, h->link->words, h->link->bytes, LINK_NSMALL, LINK_NLARGE) < 0 ||
	    pool_attach_owner(&h->tcp_pool, POOL_TCP, h->tcp_words, h->tcp_bytes, HOST_TCP_SMALL, HOST_TCP_LARGE) < 0)
		abort();
	pool_attach_reader(&h->pools.p[POOL_LINK], POOL_LINK, h->link->words, h->link->bytes, LINK_NSMALL, LINK_NLARGE);
	pool_attach_reader(&h->pools.p[POOL_TCP], POOL_TCP, h->tcp_words, h->tcp_bytes, HOST_TCP_SMALL, HOST_TCP_LARGE);
	start(h);
	host_run(h);
	return h;
}

void host_free(struct host *h)
{
	ip_detach(h->st);
	pool_detach(&h->link_pool);
	pool_detach(&h->tcp_pool);
	munmap(h->link, sizeof(*h->link));
	munmap(h->ip, sizeof(*h->ip));
	munmap(h->tcp, sizeof(*h->tcp));
	munmap(h->st, sizeof(*h->st));
	munmap(h->tcp_bytes, pool_bytes_size(HOST_TCP_SMALL, HOST_TCP_LARGE));
	munmap(h, sizeof(*h));
}

void host_restart(struct host *h)
{
	ip_detach(h->st);
	start(h);
}

void host_done(struct host *h)
{
	const struct skb_done *d;

	while ((d = ring_peek(&h->ip_link_done))) {
		h->twice += !pool_give_back(&h->link_pool, d->buf, d->gen, NULL);
		ring_next(&h->ip_link_done);
	}
	ring_release(&h->ip_link_done);
	while ((d = ring_peek(&h->ip_tcp_done))) {
		if (!pool_give_back(&h->tcp_pool, d->buf, d->gen, NULL)) {
			h->twice++;
		} else if (d->error) {
			h->last_error = d->error;
			h->errors++;
		}
		ring_next(&h->ip_tcp_done);
	}
	ring_release(&h->ip_tcp_done);
}

void host_run(struct host *h)
{
	h->st->now = h->now;
	do {
		(void)ip_run_timers(h->st);
	} while (ip_poll(h->st, 64));
	host_done(h);
}

void host_wait(struct host *h, u64 ns)
{
	for (u64 end = h->now + ns; h->now < end;) {
		h->now = MIN(end, h->now + 50 * NSEC_PER_MSEC);
		host_run(h);
	}
}

bool host_frame_in(struct host *h, u16 proto, const void *data, u32 len, u8 pkt_type)
{
	struct sk_buff skb, *slot;
	u8 *b = pool_take(&h->link_pool, len + ETH_HLEN, 0, &skb);

	if (!b)
		return false;
	memset(b, 0, ETH_HLEN);
	memcpy(b + ETH_HLEN, data, len);
	skb.off = ETH_HLEN;
	skb.len = len;
	skb.protocol = to_be16(proto);
	skb.pkt_type = pkt_type;
	slot = ring_reserve(&h->link_ip);
	if (!slot) {
		pool_give_back(&h->link_pool, skb.buf, skb.gen, NULL);
		return false;
	}
	*slot = skb;
	ring_publish(&h->link_ip);
	return true;
}

bool host_send(struct host *h, be32 daddr, const void *data, u32 len, bool df, u16 gso)
{
	struct sk_buff skb, *slot;
	u8 *b = pool_take(&h->tcp_pool, len, 0, &skb);

	if (!b)
		return false;
	memcpy(b, data, len);
	skb.len = len;
	skb.gso_size = gso;
	skb.gso_type = gso ? GSO_TCPV4 : GSO_NONE;
	*skb_tx_cb(&skb) = (struct tx_cb){ .saddr = A(10, 0, 0, 1), .daddr = daddr, .protocol = IPPROTO_TCP_, .ttl = 64, .tos = h->tos, .df = df };
	slot = ring_reserve(&h->tcp_ip);
	if (!slot) {
		pool_give_back(&h->tcp_pool, skb.buf, skb.gen, NULL);
		return false;
	}
	*slot = skb;
	ring_publish(&h->tcp_ip);
	return true;
}

/* A buffer of whatever pool ends its journey. */
static void give_home(struct host *h, const struct sk_buff *skb, struct ring *done)
{
	struct skb_done *slot;

	if (SKB_BUF_POOL(skb->buf) == POOL_TCP) {
		h->twice += !pool_give_back(&h->tcp_pool, skb->buf, skb->gen, NULL);
	} else if (SKB_BUF_POOL(skb->buf) == POOL_LINK) {
		h->twice += !pool_give_back(&h->link_pool, skb->buf, skb->gen, NULL);
	} else if ((slot = ring_reserve(done))) {
		*slot = (struct skb_done){ .buf = skb->buf, .gen = skb->gen };
		ring_publish(done);
	}
}

bool host_frame(struct host *h, struct frame *f)
{
	const struct sk_buff *slot = ring_peek(&h->ip_link);
	const u8 *d;
	u8 all[66100];
	u32 n;

	if (!slot)
		return false;
	f->skb = *slot;
	ring_next(&h->ip_link);
	ring_release(&h->ip_link);
	d = skb_data(&h->pools, &f->skb);
	if (!d || f->skb.hdr_off > SKB_HDR_ROOM) {
		f->len = 0;
		return true;
	}
	n = skb_hdr_len(&f->skb);
	memcpy(all, skb_hdr(&f->skb), n);
	memcpy(all + n, d, f->skb.len);
	f->len = n + f->skb.len - ETH_HLEN;
	memcpy(&f->eth, all, ETH_HLEN);
	memcpy(f->data, all + ETH_HLEN, f->len);
	give_home(h, &f->skb, &h->link_ip_done);
	return true;
}

u32 host_drain(struct host *h)
{
	static struct frame f;
	u32 n = 0;

	while (host_frame(h, &f))
		n++;
	return n;
}

bool host_segment(struct host *h, struct sk_buff *skb, u8 *data)
{
	const struct sk_buff *slot = ring_peek(&h->ip_tcp);
	const u8 *d;

	if (!slot)
		return false;
	*skb = *slot;
	ring_next(&h->ip_tcp);
	ring_release(&h->ip_tcp);
	d = skb_data(&h->pools, skb);
	if (d && data)
		memcpy(data, d, skb->len);
	if (!d)
		skb->len = 0;
	give_home(h, skb, &h->tcp_ip_done);
	return true;
}

u32 host_loans(const struct host *h)
{
	return pool_loans(&h->link_pool) + pool_loans(&h->tcp_pool) + pool_loans(&h->pools.p[POOL_IP]);
}

u64 host_count(const struct host *h, enum counter_id id) { return counter_get(&h->ip->counters, id); }

u32 host_arp(u8 *buf, u16 op, const u8 *sha, be32 spa, const u8 *tha, be32 tpa)
{
	struct arp_hdr a = { .htype = to_be16(1), .ptype = to_be16(ETH_P_IP), .hlen = 6, .plen = 4, .op = to_be16(op) };

	memcpy(a.sha, sha, 6);
	memcpy(a.spa, &spa, 4);
	memcpy(a.tha, tha, 6);
	memcpy(a.tpa, &tpa, 4);
	memcpy(buf, &a, sizeof(a));
	return sizeof(a);
}

u32 host_ip(u8 *buf, be32 saddr, be32 daddr, u8 proto, u16 id, u16 frag, const void *payload, u32 len)
{
	struct ip_hdr h = { .ver_ihl = 0x45, .tot_len = to_be16((u16)(len + 20)), .id = to_be16(id), .frag_off = to_be16(frag),
			    .ttl = 64, .protocol = proto, .saddr = saddr, .daddr = daddr };

	h.check = csum_fold(csum_partial(&h, 20, 0));
	memcpy(buf, &h, 20);
	if (len)
		memmove(buf + 20, payload, len);
	return len + 20;
}

u32 host_icmp(u8 *buf, u8 type, u8 code, u16 a, u16 b, const void *payload, u32 len)
{
	struct icmp_hdr h = { .type = type, .code = code, .id = to_be16(a), .seq = to_be16(b) };

	if (len)
		memmove(buf + 8, payload, len);
	memcpy(buf, &h, 8);
	h.check = csum_fold(csum_partial(buf, len + 8, 0));
	memcpy(buf, &h, 8);
	return len + 8;
}

void host_resolve(struct host *h, be32 addr)
{
	u8 mac[6] = { 2, 0xaa }, buf[64];

	memcpy(mac + 2, &addr, 4);
	host_frame_in(h, ETH_P_ARP, buf, host_arp(buf, ARP_REPLY, mac, addr, host_mac, A(10, 0, 0, 1)), PACKET_HOST);
	host_run(h);
}
