/* real_wire.c – the wire of a real host: a TAP in a new network namespace for the kernel's stack, a packet socket on
 * Strata's TAP for Strata. The peer's ARP is answered here. */
#include "real.h"
#include "common/csum.h"
#include "proto/wire/eth.h"
#include "proto/wire/ip.h"

#include <fcntl.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define PEERS 240u		/* addresses for scripts beside each other on one instance */

static struct real *real_of(struct host *h) { return h->priv; }

/* ---- the kernel's stack ---- */

static int sysctl_write(const char *name, const char *value)
{
	char path[128];
	int fd, r = 0;

	snprintf(path, sizeof(path), "/proc/sys/net/%s", name);
	fd = open(path, O_WRONLY);
	if (fd < 0 || write(fd, value, strlen(value)) < 0)
		r = -errno;
	if (fd >= 0)
		close(fd);
	return r;
}

static int sysctls(const struct script *s)
{
	char name[64];
	int r = 0;

	sysctl_write("ipv6/conf/all/disable_ipv6", "1");	/* there may be none */
	if (s->no_sack)
		r = r ? r : sysctl_write("ipv4/tcp_sack", "0");
	if (s->no_timestamps)
		r = r ? r : sysctl_write("ipv4/tcp_timestamps", "0");
	if (s->no_window_scaling)
		r = r ? r : sysctl_write("ipv4/tcp_window_scaling", "0");
	snprintf(name, sizeof(name), "%u", s->ecn);
	r = r ? r : sysctl_write("ipv4/tcp_ecn", name);
	snprintf(name, sizeof(name), "%u", s->syncookies);
	r = r ? r : sysctl_write("ipv4/tcp_syncookies", name);
	snprintf(name, sizeof(name), "%u", s->fastopen);
	r = r ? r : sysctl_write("ipv4/tcp_fastopen", name);
	for (u32 i = 0; i < s->nsysctls; i++) {
		snprintf(name, sizeof(name), "ipv4/%s", s->sysctl[i][0]);
		r = r ? r : sysctl_write(name, s->sysctl[i][1]);
	}
	return r;
}

static int interface_up(const char *dev, be32 addr, u32 mtu)
{
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), r = 0;
	struct ifreq i = { 0 };
	struct sockaddr_in *in = (struct sockaddr_in *)&i.ifr_addr;

	snprintf(i.ifr_name, sizeof(i.ifr_name), "%s", dev);
	in->sin_family = AF_INET;
	if (addr.v) {
		in->sin_addr.s_addr = addr.v;
		r = ioctl(fd, SIOCSIFADDR, &i);
		in->sin_addr.s_addr = to_be32(0xffffff00).v;
		r = r ? r : ioctl(fd, SIOCSIFNETMASK, &i);
		i.ifr_mtu = (int)mtu;
		r = r ? r : ioctl(fd, SIOCSIFMTU, &i);
	}
	i.ifr_flags = IFF_UP | IFF_RUNNING;
	r = r ? r : ioctl(fd, SIOCSIFFLAGS, &i);
	r = r ? -errno : 0;
	close(fd);
	return r;
}

static int kernel_open(struct host *h, const struct script *s)
{
	struct ifreq i = { .ifr_flags = IFF_TAP | IFF_NO_PI };
	struct real *r = real_of(h);
	int e;

	if (unshare(CLONE_NEWNET) < 0)
		return -errno;
	snprintf(i.ifr_name, sizeof(i.ifr_name), "%s", h->dev);
	r->wire = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
	if (r->wire < 0 || ioctl(r->wire, TUNSETIFF, &i) < 0)
		return -errno;
	e = sysctls(s);
	e = e ? e : interface_up("lo", (be32){ 0 }, 0);
	return e ? e : interface_up(h->dev, h->local, s->mtu ? s->mtu : 1500);
}

/* ---- Strata's ---- */

static int strata_open(struct host *h)
{
	struct sockaddr_ll a = { .sll_family = AF_PACKET, .sll_protocol = to_be16(ETH_P_ALL).v, .sll_ifindex = (int)if_nametoindex(h->dev) };
	struct real *r = real_of(h);
	int one = 1;

	r->wire = socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (r->wire < 0)
		return -errno;
	setsockopt(r->wire, SOL_PACKET, PACKET_IGNORE_OUTGOING, &one, sizeof(one));	/* what other scripts' players send */
	return bind(r->wire, (struct sockaddr *)&a, sizeof(a)) < 0 ? -errno : 0;
}

/* ---- frames ---- */

static void frame_out(struct host *h, const u8 *dst, u16 proto, const void *data, size_t n)
{
	struct real *r = real_of(h);
	u8 f[ETH_HLEN + 20 + PKT_MAX + 100];
	struct eth_hdr *e = (struct eth_hdr *)f;

	memcpy(e->dst, dst, 6);
	memcpy(e->src, r->mac, 6);
	e->proto = to_be16(proto);
	memcpy(f + ETH_HLEN, data, n);
	if (write(r->wire, f, ETH_HLEN + n) < 0)
		perror("the wire");
}

static void arp_out(struct host *h, u16 op, const u8 *to, be32 to_addr)
{
	static const u8 everybody[6] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff };
	struct arp_hdr a = { .htype = to_be16(1), .ptype = to_be16(ETH_P_IP), .hlen = 6, .plen = 4, .op = to_be16(op) };

	memcpy(a.sha, real_of(h)->mac, 6);
	memcpy(a.spa, &h->peer, 4);
	memcpy(a.tpa, &to_addr, 4);
	if (to)
		memcpy(a.tha, to, 6);
	frame_out(h, to ? to : everybody, ETH_P_ARP, &a, sizeof(a));
}

static void arp_in(struct host *h, const struct arp_hdr *a)
{
	struct real *r = real_of(h);
	be32 sender;

	memcpy(&sender, a->spa, 4);
	if (be32_eq(sender, h->local)) {
		memcpy(r->host_mac, a->sha, 6);
		r->resolved = true;
	}
	if (from_be16(a->op) == ARP_REQUEST && !memcmp(a->tpa, &h->peer, 4))
		arp_out(h, ARP_REPLY, a->sha, sender);
}

static void ip_in(struct host *h, const u8 *d, size_t n)
{
	const struct ip_hdr *ip = (const struct ip_hdr *)d;
	u32 hl = (u32)(ip->ver_ihl & 15) * 4, len = from_be16(ip->tot_len);
	struct pkt *p;

	if (ip->protocol != IPPROTO_TCP_ || !be32_eq(ip->daddr, h->peer) || len > n || hl + 20 > len || len - hl > PKT_MAX)
		return;
	p = host_queue(h);
	if (!p)
		return;
	*p = (struct pkt){ .at = real_clock(), .saddr = ip->saddr, .daddr = ip->daddr, .tos = ip->tos, .ttl = ip->ttl,
			   .df = from_be16(ip->frag_off) & IP_DF, .len = len - hl };
	memcpy(p->tcp, d + hl, p->len);
	h->qtail++;
}

void real_wire_read(struct host *h)
{
	u8 f[4096];
	ssize_t n;

	while ((n = read(real_of(h)->wire, f, sizeof(f))) > 0) {
		const struct eth_hdr *e = (const struct eth_hdr *)f;

		if (n >= ETH_HLEN + 28 && from_be16(e->proto) == ETH_P_ARP)
			arp_in(h, (const struct arp_hdr *)(f + ETH_HLEN));
		else if (n >= ETH_HLEN + 40 && from_be16(e->proto) == ETH_P_IP)
			ip_in(h, f + ETH_HLEN, (size_t)n - ETH_HLEN);
	}
}

static void ip_out(struct host *h, be32 from, u8 protocol, u8 tos, u8 ttl, const void *data, u32 n)
{
	u8 d[20 + PKT_MAX + 100];
	struct ip_hdr *ip = (struct ip_hdr *)d;

	*ip = (struct ip_hdr){ .ver_ihl = 0x45, .tos = tos, .tot_len = to_be16((u16)(20 + n)), .frag_off = to_be16(IP_DF), .ttl = ttl,
			       .protocol = protocol, .saddr = from, .daddr = h->local };
	ip->check = csum_fold(csum_partial(ip, 20, 0));
	memcpy(d + 20, data, n);
	frame_out(h, real_of(h)->host_mac, ETH_P_IP, d, 20 + n);
}

void real_wire_inject(struct host *h, const struct pkt *p) { ip_out(h, p->saddr, IPPROTO_TCP_, p->tos, p->ttl, p->tcp, p->len); }

/* RFC 792: the header of the datagram and what fits of it; 28 bytes of TCP are plenty. */
void real_wire_icmp(struct host *h, const struct icmp_err *e, const struct pkt *q)
{
	u8 d[8 + 20 + 28] = { 0 };
	struct icmp_hdr *i = (struct icmp_hdr *)d;
	struct ip_hdr *ip = (struct ip_hdr *)(d + 8);
	u32 n = MIN(q->len, 28u);

	i->type = e->type;
	i->code = e->code;
	i->mtu = to_be16((u16)e->mtu);
	*ip = (struct ip_hdr){ .ver_ihl = 0x45, .tos = q->tos, .tot_len = to_be16((u16)(20 + q->len)), .frag_off = to_be16(IP_DF), .ttl = q->ttl,
			       .protocol = IPPROTO_TCP_, .saddr = q->saddr, .daddr = q->daddr };
	ip->check = csum_fold(csum_partial(ip, 20, 0));
	memcpy(d + 28, q->tcp, n);
	i->check = csum_fold(csum_partial(d, 28 + n, 0));
	ip_out(h, h->peer, IPPROTO_ICMP_, 0, 64, d, 28 + n);
}

/* ---- life ---- */

static int resolve(struct host *h)
{
	struct pollfd p = { .fd = real_of(h)->wire, .events = POLLIN };

	for (u32 i = 0; i < 50 && !real_of(h)->resolved; i++) {
		if (i % 10 == 0)
			arp_out(h, ARP_REQUEST, NULL, h->local);
		poll(&p, 1, 20);
		real_wire_read(h);
	}
	return real_of(h)->resolved ? 0 : -EHOSTUNREACH;
}

int real_wire_open(struct host *h, const struct script *s)
{
	struct real *r = real_of(h);
	u32 host = h->where == ON_STRATA ? 10 + h->index % PEERS : 1;
	int e;

	h->local = to_be32(0x0a090002);
	h->peer = to_be32(0x0a090000 + host);
	h->port = (u16)(8080 + (h->where == ON_STRATA ? h->index * 2 : 0));
	memcpy(r->mac, (u8[]){ 2, 0, 0, 9, 0, (u8)host }, 6);
	r->wire = -1;
	e = h->where == ON_STRATA ? strata_open(h) : kernel_open(h, s);
	return e ? e : resolve(h);
}

void real_wire_close(struct host *h)
{
	if (real_of(h)->wire >= 0)
		close(real_of(h)->wire);
}
