/* main.c – strata-tcpd: TCP. Attach (a start is a restart), then serve. The flow is in path.h, a pass in sk_loop.c.
 *
 * Order of the start: own tables, arenas and far ends from the lots, offers, mailboxes, kicks; no segment is taken
 * before all of that is valid, or live connections would get RSTs (crash rule 6). */
#include "tcpd.h"
#include "common/iproute.h"
#include "common/log.h"
#include "common/region.h"

#include <stdlib.h>
#include <sys/mman.h>
#include <sys/random.h>

static int op_route(void *ctx, be32 daddr, be32 saddr_hint, struct tcp_route *ret)
{
	struct tcpd *x = ctx;
	struct ip_path p;
	int r = route_lookup(x->d.ip, x->d.link, daddr, saddr_hint, &p);

	if (r)
		return r;
	/* linkd cuts and sums in software what its device cannot, later and therefore cheaper than we could */
	*ret = (struct tcp_route){ .saddr = p.saddr, .mtu = p.mtu, .gso = true, .csum = true, .mtu_locked = p.mtu_locked };
	return 0;
}

/* What lookups say changes only under the tables' sequence lock. */
static u32 op_route_gen(void *ctx) { return load_acquire(&((struct tcpd *)ctx)->d.ip->conf_seq) & ~1u; }

static void op_pmtu_learnt(void *ctx, be32 daddr, u32 mtu)
{
	struct tcpd *x = ctx;
	struct tcp_pmtu_notes *n = &x->d.tcp->pmtu;
	u32 head = load_relaxed(&n->head);

	store_relaxed(&n->note[head % TCP_PMTU_NOTES], (u64)daddr.v << 32 | mtu);
	store_release(&n->head, head + 1);	/* pairs with the acquire in ipd's pmtu_poll() */
	daemon_ring(&x->d, REGION_IP);
}

static bool op_is_local(void *ctx, be32 addr) { return ip_is_local(((struct tcpd *)ctx)->d.ip, addr); }

static void op_random(void *ctx, void *buf, size_t n)
{
	struct tcpd *x = ctx;

	/* Many at a time: a system call for each port and nonce would be a good part of a short connection. */
	if (x->nrandom < n) {
		if (n > sizeof(x->random) || getrandom(x->random, sizeof(x->random), 0) != sizeof(x->random))
			abort();	/* a TCP without randomness would be worse than none */
		x->nrandom = sizeof(x->random);
	}
	x->nrandom -= (u32)n;
	memcpy(buf, x->random + x->nrandom, n);
	memset(x->random + x->nrandom, 0, n);
}

static void op_syn_flood(void *ctx, u16 port, bool cookies)
{
	log_warn("more connections are being opened to port %u than its listener's backlog holds: %s", port,
		 cookies ? "answering with SYN cookies" : "dropping SYNs");
}

static const struct tcp_ops ops = {
	.queue_xmit = op_queue_xmit, .alloc = op_alloc, .unalloc = op_unalloc, .loans = op_loans, .route = op_route,
	.route_gen = op_route_gen, .pmtu_learnt = op_pmtu_learnt,
	.is_local = op_is_local, .random = op_random, .data_ready = op_data_ready, .write_space = op_write_space,
	.state_change = op_state_change, .error_report = op_error_report, .trim = op_trim, .freed = op_freed, .child = op_child,
	.accept_ready = op_accept_ready, .syn_flood = op_syn_flood,
};

static int attach(struct tcpd *x)
{
	struct secret_shm *secret = region_map(daemon_fd(&x->d, "region:secret"), PAGE, true);
	int r;

	if (!secret)
		return -errno;
	x->t = (struct tcp_stack){ .ops = &ops, .ctx = x, .now = clock_ns(), .t = &x->d.tcp->t, .secret = secret, .counters = x->d.counters,
				   .conf = &x->d.conf, .plain = x->d.tcp->plain };
	x->cause = (struct cause){ .ring = R_NONE };
	x->dev_seq = load_acquire(&x->d.ip->dev_seq);	/* before any route is asked for */
	if ((r = rings_attach(x)) || (r = fars_open(x)) || (r = mbox_attach(x)) || (r = tcp_attach(&x->t)))
		return r;
	if ((r = tcp_lots_open(x)) || (r = tcp_lots_walk(x)))
		return r;
	accept_recover(x);
	mbox_scan(x);
	kicks_poll(x);		/* all are hot at a start */
	TCP_SLOT_EACH(sk, x->t.t, 0, SK_MAX)
		sk_kicked(x, sk);	/* words may have changed without a kick we remember */
	x->unsent = true;
	r = loop_add_fd(&x->d.loop, x->epfd, EPOLLIN, fars_event, x);
	if (r < 0)
		return r;
	r = loop_add_poller(&x->d.loop, tcpd_poll, tcpd_pending, x);
	return r < 0 ? r : 0;
}

int main(int argc, char **argv)
{
	struct tcpd *x = mmap(NULL, sizeof(*x), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int r;

	if (x == MAP_FAILED)
		return EXIT_FAILURE;
	r = daemon_init(&x->d, "tcpd", REGION_TCP, argc, argv);
	if (r == 0) {
		r = attach(x);
		if (r)
			log_err("cannot start: %s", strerror(-r));
	}
	if (r) {
		log_give_up(r);
		return EXIT_FAILURE;
	}
	store_relaxed(&x->d.pub->starts, load_relaxed(&x->d.pub->starts) + 1);
	daemon_ring_always(&x->d, REGION_LINK);
	daemon_ring_always(&x->d, REGION_IP);
	daemon_ring_always(&x->d, REGION_SOCK);
	r = daemon_run(&x->d);
	tcp_detach(&x->t);
	return r;
}
