/* lwip_peer.c – the clients of traffic.c on lwIP's raw API, over a TAP: a userspace stack for bench.py to compare with.
 *
 *   lwip_peer DEVICE send|recv|rr|conn HOST PORT [--seconds S] [--bytes N] [--size N]
 *
 * lwIP is Debian's liblwip as it comes: a 64 KB window, one frame per segment out, checksums in software. Everything runs in one
 * thread: poll the TAP, ethernet_input(), callbacks of the raw API, the timers. The library's own TAP driver makes the interface
 * itself and reads into pbufs of one MTU; this one takes a TAP that exists, 10.9.0.2 on it, and reads frames as large as the
 * kernel's TSO hands them over (virtio-net header), straight into one pbuf. The kernel leaves their checksum to the device, so
 * for these lwIP's check is answered without looking (ip_chksum_pseudo below). As the raw API has it, `recv` counts the data where it
 * arrived and copies nothing to a buffer of its own. The peer is `traffic serve` and `traffic one`. */
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <linux/virtio_net.h>
#include <net/if.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include <lwip/etharp.h>
#include <lwip/inet_chksum.h>
#include <lwip/init.h>
#include <lwip/netif.h>
#include <lwip/tcp.h>
#include <lwip/timeouts.h>
#include <netif/ethernet.h>

#define FRAME_MAX 65535		/* a pbuf counts in 16 bits; the window keeps segments below that */
#define BURST 64		/* frames before the timers are looked at */

enum mode { MODE_SINK = 1, MODE_SOURCE, MODE_ECHO };

struct header {			/* as in traffic.c */
	uint32_t mode, size;
	uint64_t bytes, seed;
};

struct run {
	const char *verb;
	ip_addr_t host;
	u16_t port;
	double seconds, start;
	uint64_t bytes;
	uint32_t size;

	struct tcp_pcb *pcb;
	bool done, again;	/* over; conn: the next connection is due */
	uint64_t moved, count, answer;
	uint32_t got;		/* bytes of the answer that is coming in */
	double asked;
	float *us;
	uint8_t *buf;
};

static int tap = -1;
static struct pbuf *vouched;	/* the frame that is being taken in, when the kernel vouches for its checksum */
static const size_t max_rtts = 4u << 20;

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void die(const char *what)
{
	fprintf(stderr, "lwip_peer: %s: %s\n", what, strerror(errno));
	exit(1);
}

static void check(err_t e, const char *what)
{
	if (e == ERR_OK)
		return;
	fprintf(stderr, "lwip_peer: %s: lwIP's error %d\n", what, e);
	exit(1);
}

/* Takes the place of the library's function of this name, which tcp_input() and tcp_output() call. */
u16_t ip_chksum_pseudo(struct pbuf *p, u8_t proto, u16_t len, const ip_addr_t *src, const ip_addr_t *dst)
{
	if (p == vouched)
		return 0;
	return inet_chksum_pseudo(p, proto, len, ip_2_ip4(src), ip_2_ip4(dst));
}

/* ---- the device ---- */

static void tap_open(const char *name)
{
	struct ifreq r = { .ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR };

	snprintf(r.ifr_name, sizeof(r.ifr_name), "%s", name);
	tap = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
	if (tap < 0 || ioctl(tap, TUNSETIFF, &r) < 0 || ioctl(tap, TUNSETOFFLOAD, TUN_F_CSUM | TUN_F_TSO4) < 0)
		die(name);
}

static err_t tap_linkoutput(struct netif *n, struct pbuf *p)
{
	struct virtio_net_hdr h = { 0 };
	struct iovec iov[8] = { { &h, sizeof(h) } };
	int k = 1;

	for (; p && k < 8; p = p->next)
		iov[k++] = (struct iovec){ p->payload, p->len };
	if (p || writev(tap, iov, k) < 0)
		return ERR_IF;
	return ERR_OK;
}

static err_t tap_init(struct netif *n)
{
	static const u8_t mac[6] = { 2, 0x6c, 0x77, 0x69, 0x70, 1 };

	n->name[0] = 'l';
	n->name[1] = 'w';
	n->mtu = 1500;
	n->hwaddr_len = sizeof(mac);
	memcpy(n->hwaddr, mac, sizeof(mac));
	n->flags = NETIF_FLAG_BROADCAST | NETIF_FLAG_ETHARP | NETIF_FLAG_ETHERNET | NETIF_FLAG_LINK_UP;
	n->output = etharp_output;
	n->linkoutput = tap_linkoutput;
	return ERR_OK;
}

/* One frame; false when there is none. */
static bool tap_input(struct netif *n)
{
	struct pbuf *p = pbuf_alloc(PBUF_RAW, FRAME_MAX, PBUF_RAM);
	struct virtio_net_hdr h;
	ssize_t r;

	if (!p)
		die("pbuf_alloc");
	r = readv(tap, (struct iovec[]){ { &h, sizeof(h) }, { p->payload, FRAME_MAX } }, 2);
	if (r <= (ssize_t)sizeof(h)) {
		if (r < 0 && errno != EAGAIN)
			die("reading the TAP");
		pbuf_free(p);
		return false;
	}
	pbuf_realloc(p, (u16_t)(r - (ssize_t)sizeof(h)));
	vouched = h.flags & VIRTIO_NET_HDR_F_NEEDS_CSUM ? p : NULL;
	if (n->input(p, n) != ERR_OK)
		pbuf_free(p);
	vouched = NULL;
	return true;
}

/* ---- the program: callbacks of the raw API ---- */

static err_t on_connected(void *arg, struct tcp_pcb *pcb, err_t e);

static void put(struct run *r, const void *p, u16_t n)
{
	check(tcp_write(r->pcb, p, n, TCP_WRITE_FLAG_COPY), "tcp_write");
	check(tcp_output(r->pcb), "tcp_output");
}

static bool over(const struct run *r, uint64_t n)
{
	return r->bytes ? n >= r->bytes : now() >= r->start + r->seconds;
}

/* send: as much as the send buffer takes; at the end FIN, and the server's count is waited for. */
static void pump(struct run *r)
{
	u16_t n;

	while ((n = tcp_sndbuf(r->pcb)) >= 8 * TCP_MSS && tcp_sndqueuelen(r->pcb) < TCP_SND_QUEUELEN - 16) {
		if (over(r, r->moved)) {
			check(tcp_shutdown(r->pcb, 0, 1), "tcp_shutdown");
			r->again = true;
			return;
		}
		if (r->bytes && r->bytes - r->moved < n)
			n = (u16_t)(r->bytes - r->moved);
		put(r, r->buf, n);
		r->moved += n;
	}
}

static err_t on_sent(void *arg, struct tcp_pcb *pcb, u16_t n)
{
	struct run *r = arg;

	if (!strcmp(r->verb, "send") && !r->again)
		pump(r);
	return ERR_OK;
}

static void ask(struct run *r)
{
	memset(r->buf, (int)r->count, r->size);
	r->got = 0;
	r->asked = now();
	put(r, r->buf, (u16_t)r->size);
}

static void on_answer(struct run *r, const struct pbuf *p)
{
	for (; p; p = p->next) {
		if (r->got + p->len > r->size || memcmp(p->payload, r->buf + r->got, p->len)) {
			errno = EBADMSG;
			die("answer");
		}
		r->got += p->len;
	}
	if (r->got < r->size)
		return;
	r->us[r->count++] = (float)((now() - r->asked) * 1e6);
	if (over(r, r->count) || r->count == max_rtts)
		r->done = true;
	else
		ask(r);
}

static err_t on_end(struct run *r, struct tcp_pcb *pcb)
{
	if (!strcmp(r->verb, "conn")) {
		if (r->got != 1) {
			errno = ENODATA;
			die("byte");
		}
		r->count++;
		r->pcb = NULL;
		r->again = !over(r, r->count);
		r->done = !r->again;
	} else if (!strcmp(r->verb, "send") && r->got == sizeof(r->answer)) {
		r->done = true;
	} else if (!r->done) {
		errno = ENODATA;
		die("end of stream");
	}
	return tcp_close(pcb);
}

static err_t on_recv(void *arg, struct tcp_pcb *pcb, struct pbuf *p, err_t e)
{
	struct run *r = arg;

	if (!p)
		return on_end(r, pcb);
	tcp_recved(pcb, p->tot_len);
	if (!strcmp(r->verb, "recv")) {
		r->moved += p->tot_len;
		r->done = over(r, r->moved);
	} else if (!strcmp(r->verb, "rr")) {
		on_answer(r, p);
	} else if (!strcmp(r->verb, "send") && r->got + p->tot_len <= sizeof(r->answer)) {
		r->got += pbuf_copy_partial(p, (uint8_t *)&r->answer + r->got, p->tot_len, 0);
	} else {
		r->got += p->tot_len;	/* conn: one byte, looked at in on_end() */
	}
	pbuf_free(p);
	return ERR_OK;
}

static void on_error(void *arg, err_t e)
{
	check(e, "connection");
}

static void begin(struct run *r)
{
	r->again = false;
	r->got = 0;
	r->pcb = tcp_new();
	if (!r->pcb)
		die("tcp_new");
	tcp_nagle_disable(r->pcb);
	tcp_arg(r->pcb, r);
	tcp_recv(r->pcb, on_recv);
	tcp_sent(r->pcb, on_sent);
	tcp_err(r->pcb, on_error);
	check(tcp_connect(r->pcb, &r->host, r->port, on_connected), "tcp_connect");
}

static err_t on_connected(void *arg, struct tcp_pcb *pcb, err_t e)
{
	struct run *r = arg;
	struct header h = { .size = r->size };

	if (!r->count)
		r->start = now();	/* not counting ARP, which may wait a second for the TAP's carrier */
	if (!strcmp(r->verb, "conn")) {
		put(r, "x", 1);
		return ERR_OK;
	}
	if (!strcmp(r->verb, "send"))
		h.mode = MODE_SINK;
	else
		h.mode = !strcmp(r->verb, "recv") ? MODE_SOURCE : MODE_ECHO;
	h.bytes = h.mode == MODE_ECHO ? 0 : r->bytes;
	put(r, &h, sizeof(h));
	if (h.mode == MODE_SINK)
		pump(r);
	else if (h.mode == MODE_ECHO)
		ask(r);
	return ERR_OK;
}

/* ---- main ---- */

static int compare(const void *a, const void *b)
{
	float x = *(const float *)a, y = *(const float *)b;

	return (x > y) - (x < y);
}

/* The same lines as traffic.c. */
static int report(struct run *r)
{
	double took = now() - r->start;

	if (!strcmp(r->verb, "conn")) {
		printf("{\"connections\": %llu, \"seconds\": %.6f}\n", (unsigned long long)r->count, took);
	} else if (!strcmp(r->verb, "rr")) {
		qsort(r->us, r->count, sizeof(*r->us), compare);
		printf("{\"requests\": %llu, \"seconds\": %.6f, \"p50_us\": %.2f, \"p99_us\": %.2f, \"max_us\": %.1f}\n",
			(unsigned long long)r->count, took, (double)r->us[r->count / 2], (double)r->us[r->count * 99 / 100],
			(double)r->us[r->count - 1]);
	} else {
		if (!strcmp(r->verb, "send") && r->answer != r->moved) {
			fprintf(stderr, "lwip_peer: sent %llu bytes, the server has %llu\n", (unsigned long long)r->moved,
				(unsigned long long)r->answer);
			return 1;
		}
		printf("{\"bytes\": %llu, \"seconds\": %.6f}\n", (unsigned long long)r->moved, took);
	}
	return 0;
}

static int parse(int argc, char **argv, struct run *r)
{
	if (argc < 5 || argc % 2 == 0)
		return -1;
	r->verb = argv[2];
	if (strcmp(r->verb, "send") && strcmp(r->verb, "recv") && strcmp(r->verb, "rr") && strcmp(r->verb, "conn"))
		return -1;
	if (!ipaddr_aton(argv[3], &r->host))
		return -1;
	r->port = (u16_t)atoi(argv[4]);
	for (int i = 5; i < argc; i += 2) {
		if (!strcmp(argv[i], "--seconds"))
			r->seconds = strtod(argv[i + 1], NULL);
		else if (!strcmp(argv[i], "--bytes"))
			r->bytes = strtoull(argv[i + 1], NULL, 0);
		else if (!strcmp(argv[i], "--size"))
			r->size = (uint32_t)strtoul(argv[i + 1], NULL, 0);
		else
			return -1;
	}
	return r->size && r->size <= TCP_MSS ? 0 : -1;
}

int main(int argc, char **argv)
{
	struct run r = { .seconds = 2, .size = 64 };
	struct netif n;
	ip4_addr_t addr, mask, gw;

	if (parse(argc, argv, &r) < 0) {
		fprintf(stderr, "usage: lwip_peer DEVICE send|recv|rr|conn HOST PORT [--seconds S] [--bytes N] [--size N]\n");
		return 2;
	}
	r.us = malloc(max_rtts * sizeof(*r.us));
	r.buf = calloc(1, TCP_SND_BUF);
	if (!r.us || !r.buf)
		die("memory");
	tap_open(argv[1]);
	srand((unsigned int)getpid());		/* lwIP's first local port */
	lwip_init();
	IP4_ADDR(&addr, 10, 9, 0, 2);
	IP4_ADDR(&mask, 255, 255, 255, 0);
	IP4_ADDR(&gw, 10, 9, 0, 1);
	if (!netif_add(&n, &addr, &mask, &gw, NULL, tap_init, ethernet_input))
		die("netif_add");
	netif_set_default(&n);
	netif_set_up(&n);
	r.start = now();
	begin(&r);
	while (!r.done) {
		u32_t ms = sys_timeouts_sleeptime();

		if (poll(&(struct pollfd){ .fd = tap, .events = POLLIN }, 1, ms > 100 ? 100 : (int)ms) < 0 && errno != EINTR)
			die("poll");
		for (int i = 0; i < BURST && !r.done && tap_input(&n); i++)
			if (r.again && !r.pcb)
				begin(&r);
		sys_check_timeouts();
		if (!r.done && now() > r.start + r.seconds + 20) {
			errno = ETIMEDOUT;
			die(r.verb);
		}
	}
	if (r.pcb && (!strcmp(r.verb, "recv") || !strcmp(r.verb, "rr"))) {
		tcp_err(r.pcb, NULL);
		tcp_abort(r.pcb);
	}
	return report(&r);
}
