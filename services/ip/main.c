/* main.c – strata-ipd: the thin shell around ip.h. Rings, doorbells, time, randomness, journal.
 *
 * The only file of ipd that makes system calls. Steps tx4 to tx6 and rx3 to rx5 are listed in path.h. */
#include <stdlib.h>
#include <sys/random.h>

#include "common/daemon.h"
#include "common/log.h"
#include "path.h"

static struct daemon daemon_;
static struct ip_stack stack;

static void shell_random(void *ctx, void *buf, size_t n)
{
	if (getrandom(buf, n, 0) != (ssize_t)n) {	/* of up to 256 bytes never short, once the pool is ready */
		log_err("getrandom: %m");
		abort();
	}
}

static void shell_notice(void *ctx, const char *text) { log_warn("%s", text); }

static const struct ip_ops ops = { .random = shell_random, .notice = shell_notice };

static void ring_neighbours(void)
{
	if (stack.bell_link)
		daemon_ring(&daemon_, REGION_LINK);
	if (stack.bell_tcp)
		daemon_ring(&daemon_, REGION_TCP);
	if (stack.bell_sock)
		daemon_ring(&daemon_, REGION_SOCK);
	stack.bell_link = stack.bell_tcp = stack.bell_sock = false;
}

static u32 poll_rings(void *arg, u32 budget)
{
	u32 n;

	stack.now = daemon_.loop.now;
	n = ip_poll(&stack, budget);
	if (stack.bulk)
		loop_bulk(&daemon_.loop);
	stack.bulk = false;
	loop_deadline(&daemon_.loop, ip_run_timers(&stack));
	ring_neighbours();
	return n;
}

static bool pending(void *arg) { return ip_pending(&stack); }

static void open_rings(void)
{
	struct ip_rings *r = &stack.r;

	ring_open(&daemon_, R_LINK_IP, &r->link_ip);
	ring_open(&daemon_, R_TCP_IP, &r->tcp_ip);
	ring_open(&daemon_, R_LINK_IP_DONE, &r->link_ip_done);
	ring_open(&daemon_, R_TCP_IP_DONE, &r->tcp_ip_done);
	ring_open(&daemon_, R_IP_LINK, &r->ip_link);
	ring_open(&daemon_, R_IP_TCP, &r->ip_tcp);
	ring_open(&daemon_, R_IP_LINK_DONE, &r->ip_link_done);
	ring_open(&daemon_, R_IP_TCP_DONE, &r->ip_tcp_done);
}

int main(int argc, char **argv)
{
	int r = daemon_init(&daemon_, "ipd", REGION_IP, argc, argv);

	if (r < 0) {
		log_give_up(r);
		return EXIT_FAILURE;
	}
	stack.shm = daemon_.ip;
	stack.link = daemon_.link;
	stack.link_hold = daemon_.link->hold;
	stack.admin = &daemon_.sock->ip_admin;
	stack.notes = &daemon_.tcp->pmtu;
	stack.conf = &daemon_.conf;
	stack.counters = daemon_.counters;
	stack.pools = &daemon_.pools;
	stack.ops = &ops;
	stack.now = clock_ns();
	open_rings();
	r = ip_attach(&stack);
	if (r < 0) {
		log_err("cannot attach: %s", strerror(-r));
		log_give_up(r);
		return EXIT_FAILURE;
	}
	if (!daemon_.fresh)
		log_info("carrying on: %u packets held, %llu buffers taken back", stack.nhold_neigh + stack.nhold_frag,
			 (unsigned long long)load_relaxed(&daemon_.hdr->reclaimed));
	r = loop_add_poller(&daemon_.loop, poll_rings, pending, NULL);
	if (r < 0) {
		log_err("event loop: %s", strerror(-r));
		log_give_up(r);
		return EXIT_FAILURE;
	}
	daemon_ring_always(&daemon_, REGION_LINK);	/* crash rule 6 */
	daemon_ring_always(&daemon_, REGION_TCP);
	daemon_ring_always(&daemon_, REGION_SOCK);
	r = daemon_run(&daemon_);
	ip_detach(&stack);
	return r;
}
