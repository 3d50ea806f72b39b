/* test_link_fixture.h – a linkd without a device: regions in private memory, one device that is a socketpair for
 * reading and a record for writing, a tcpd and an ipd played by the test.
 *
 *	test (ipd, tcpd) --R_IP_LINK--> linkd --fake_xmit()--> f.sent[]
 *	test (the wire) --socketpair--> linkd --R_LINK_IP--> test (ipd)
 *
 * A death is life_end() without any clean-up, or a longjmp() out of the device or the doorbell; life_begin() is the
 * successor on the same regions. */
#ifndef STRATA_TEST_LINK_FIXTURE_H
#define STRATA_TEST_LINK_FIXTURE_H

#include <setjmp.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "unit.h"
#include "common/csum.h"
#include "proto/wire/ip.h"
#include "proto/wire/tcp.h"
#include "services/link/path.h"

#define SENT_MAX 4096
struct sent { u32 len, mark; struct vnet_hdr vnet; u8 bytes[1600]; };

struct fixture {
	struct daemon d;
	struct linkd l;
	struct conf_dev conf;
	int wire[2];		/* [0] is the device's */
	struct ring ip_link, link_ip, tcp_done, ip_done, ip_back, tcp_back;	/* the other ends */
	struct pool tcp;	/* owner's end of tcpd's pool */
	struct sent sent[SENT_MAX];
	u32 nsent;
	int busy;		/* the device says -EAGAIN; > 0: after so many frames, < 0: never */
	int error;
	bool die_in_xmit, die_in_bell;
	jmp_buf death;
};
static struct fixture f;

static const u8 our_mac[6] = { 2, 0, 0, 0, 0, 1 }, peer_mac[6] = { 2, 0, 0, 0, 0, 2 };

static int fake_open(struct net_device *dev, int parked) { dev->fd = f.wire[0]; return 0; }
static void fake_stop(struct net_device *dev) { }

static int fake_xmit(struct net_device *dev, const struct frame *fr)
{
	struct sent *s = &f.sent[f.nsent % SENT_MAX];

	if (f.error)
		return f.error;
	if (f.busy == 0)
		return -EAGAIN;
	if (f.busy > 0)
		f.busy--;
	s->len = fr->hdr_len + fr->len;
	s->vnet = fr->vnet;
	memcpy(s->bytes, fr->hdr, fr->hdr_len);
	memcpy(s->bytes + fr->hdr_len, fr->data, MIN(fr->len, (u32)sizeof(s->bytes) - fr->hdr_len));
	if (fr->len >= 4)
		memcpy(&s->mark, fr->data, 4);
	f.nsent++;
	if (f.die_in_xmit)
		longjmp(f.death, 1);
	return 0;
}

static const struct net_device_ops fake_ops = { "fake", fake_open, fake_stop, fake_xmit, dev_fd_poll, NULL };

static inline void test_bell(void *ctx, enum region_id who)
{
	if (f.die_in_bell)
		longjmp(f.death, 2);
}

static inline void *region_memory(size_t n)
{
	void *p = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

/* linkd starts, for the first time or again. */
static inline int life_begin(u32 features)
{
	struct net_device *dev = &f.l.dev[0];
	int r;

	memset(&f.l, 0, sizeof(f.l));
	f.die_in_xmit = f.die_in_bell = false;
	f.l.now = 1000 * NSEC_PER_SEC;
	f.l.bell = test_bell;
	r = link_attach(&f.l, &f.d);
	if (r < 0)
		return r;
	*dev = (struct net_device){ .l = &f.l, .ops = &fake_ops, .conf = &f.conf, .shm = &f.d.link->dev[0],
				    .features = features, .vnet_len = sizeof(struct vnet_hdr), .up = true };
	memcpy(dev->mac, our_mac, 6);
	napi_attach(dev, f.d.link->posted);
	fake_open(dev, -1);
	f.l.ndevs = 1;
	return link_take_over(&f.l, &f.d);
}

static inline void life_end(void) { pool_detach(f.l.pool); }

/* Rings start near the wrap of their indexes. */
static inline void start_rings(struct ring_prod *p, struct ring_cons *c)
{
	store_relaxed(&p->head, 0xfffffff0u);
	store_relaxed(&c->tail, 0xfffffff0u);
}

static inline void other_ends(void)
{
	f.d.role = REGION_IP;
	ring_open(&f.d, R_IP_LINK, &f.ip_link);
	ring_open(&f.d, R_LINK_IP, &f.link_ip);
	ring_open(&f.d, R_LINK_IP_DONE, &f.ip_done);
	ring_open(&f.d, R_IP_LINK_DONE, &f.ip_back);
	f.d.role = REGION_TCP;
	ring_open(&f.d, R_LINK_TCP_DONE, &f.tcp_done);
	ring_open(&f.d, R_TCP_LINK_DONE, &f.tcp_back);
	f.d.role = REGION_LINK;
}

static inline int world_begin(u32 features)
{
	struct link_shm *k;

	memset(&f, 0, sizeof(f));
	f.busy = -1;
	f.conf = (struct conf_dev){ .name = "fake0", .mtu = 1500, .txqueuelen = 100, .qdisc = "pfifo_fast" };
	f.d.link = k = region_memory(sizeof(struct link_shm));
	f.d.ip = region_memory(sizeof(struct ip_shm));
	f.d.tcp = region_memory(sizeof(struct tcp_shm));
	if (!f.d.link || !f.d.ip || !f.d.tcp)
		return -ENOMEM;
	f.d.role = REGION_LINK;
	f.d.counters = &f.d.link->counters;
	start_rings(&k->link_ip, &f.d.ip->link_ip);
	start_rings(&k->link_tcp_done, &f.d.tcp->link_tcp_done);
	start_rings(&k->link_ip_done, &f.d.ip->link_ip_done);
	start_rings(&f.d.ip->ip_link, &k->ip_link);
	start_rings(&f.d.ip->ip_link_done, &k->ip_link_done);
	start_rings(&f.d.tcp->tcp_link_done, &k->tcp_link_done);
	pool_attach_reader(&f.d.pools.p[POOL_IP], POOL_IP, f.d.ip->words, f.d.ip->bytes, IP_NSMALL, IP_NLARGE);
	pool_attach_reader(&f.d.pools.p[POOL_TCP], POOL_TCP, f.d.tcp->words, f.d.tcp->bytes, TCP_NSMALL, TCP_NLARGE);
	pool_attach_owner(&f.tcp, POOL_TCP, f.d.tcp->words, f.d.tcp->bytes, TCP_NSMALL, TCP_NLARGE);
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, f.wire) < 0)
		return -errno;
	other_ends();
	return life_begin(features);
}

static inline void world_end(void)
{
	life_end();
	pool_detach(&f.tcp);
	close(f.wire[0]);
	close(f.wire[1]);
	munmap(f.d.link, sizeof(struct link_shm));
	munmap(f.d.ip, sizeof(struct ip_shm));
	munmap(f.d.tcp, sizeof(struct tcp_shm));
}

/* A complete TCP/IPv4 packet, checksums right; returns its length. buf: IP header on. */
static inline u32 make_tcp(u8 *buf, u16 sport, u32 seq, u16 id, u8 flags, u32 payload, u32 fill)
{
	struct ip_hdr *ip = (struct ip_hdr *)buf;
	struct tcp_hdr *th = (struct tcp_hdr *)(ip + 1);
	u32 len = sizeof(*ip) + sizeof(*th) + payload, tl = len - sizeof(*ip);

	*ip = (struct ip_hdr){ .ver_ihl = 0x45, .tot_len = to_be16((u16)len), .id = to_be16(id),
			       .frag_off = to_be16(IP_DF), .ttl = 64, .protocol = 6, .saddr = to_be32(0x0a000001),
			       .daddr = to_be32(0x0a000002) };
	ip->check = csum_fold(csum_partial(ip, sizeof(*ip), 0));
	*th = (struct tcp_hdr){ .source = to_be16(sport), .dest = to_be16(80), .seq = to_be32(seq),
				.ack_seq = to_be32(77), .doff_res = 5 << 4, .flags = flags, .window = to_be16(500) };
	for (u32 i = 0; i < payload; i++)
		((u8 *)(th + 1))[i] = (u8)(fill + i * 7);
	th->check = csum_fold(csum_partial(th, tl, csum_pseudo(ip->saddr, ip->daddr, 6, tl)));
	return len;
}

/* The wire delivers an Ethernet frame with this vnet header. */
static inline void wire_send(const struct vnet_hdr *v, u16 proto, const void *ip, u32 len)
{
	static u8 b[72 * 1024];
	struct eth_hdr e = { .proto = to_be16(proto) };

	memcpy(e.dst, our_mac, 6);
	memcpy(e.src, peer_mac, 6);
	memset(b, 0, sizeof(*v));
	if (v)
		memcpy(b, v, sizeof(*v));
	memcpy(b + sizeof(*v), &e, sizeof(e));
	memcpy(b + sizeof(*v) + sizeof(e), ip, len);
	CHECK(send(f.wire[1], b, sizeof(*v) + sizeof(e) + len, 0) > 0);
}

static inline void link_rx(void)
{
	netif_rx_schedule(&f.l.dev[0]);
	while (net_rx_action(&f.l, 64))
		;
}

/* tcpd through ipd: one small packet whose first payload word is `mark`, header inline. */
static inline struct sk_buff give_packet(u32 mark, u8 priority)
{
	struct sk_buff skb, *slot;
	u8 *p = pool_take(&f.tcp, 100, 0, &skb);

	memcpy(p, &mark, 4);
	skb.len = 60;
	skb.priority = priority;
	memset(skb_push_hdr(&skb, 34), 0x11, 34);
	skb.cause = (struct cause){ .ring = R_TCP_IP, .flags = CAUSE_LAST };
	slot = ring_reserve(&f.ip_link);
	CHECK(slot != NULL);
	if (slot)
		*slot = skb;
	ring_publish(&f.ip_link);
	return skb;
}

/* tcpd takes its completions: returns how many ended a loan. */
static inline u32 take_completions(u16 *ret_error)
{
	const struct skb_done *d;
	u32 n = 0;

	while ((d = ring_peek(&f.tcp_done))) {
		n += pool_give_back(&f.tcp, d->buf, d->gen, NULL);
		if (ret_error && d->error)
			*ret_error = d->error;
		ring_next(&f.tcp_done);
	}
	ring_release(&f.tcp_done);
	return n;
}

/* ipd takes what was received and gives the buffers back; returns how many, the last in *ret. */
static inline u32 take_received(struct sk_buff *ret, u8 *bytes)
{
	const struct sk_buff *s;
	u32 n = 0;

	while ((s = ring_peek(&f.link_ip))) {
		struct sk_buff skb = *s;
		struct skb_done *d = ring_reserve(&f.ip_back);
		u8 *data = skb_data(&f.d.pools, &skb);

		CHECK(data != NULL);
		if (bytes && data)
			memcpy(bytes, data, skb.len);
		if (ret)
			*ret = skb;
		*d = (struct skb_done){ .buf = skb.buf, .gen = skb.gen, .ring = R_LINK_IP };
		ring_publish(&f.ip_back);
		ring_next(&f.link_ip);
		n++;
	}
	ring_release(&f.link_ip);
	rx_buffers_returned(&f.l, LINK_DONE_RING);
	return n;
}

/* Loans that a linkd at rest has: posted buffers and the spill. */
static inline u32 loans_at_rest(void)
{
	struct napi *n = &f.l.dev[0].napi;

	return n->post - n->fill + (n->spill != NULL);
}

#endif
