/* main.c – strata-linkd: the thin shell around rx1, rx2, tx7 and tx8.
 *
 * Opens the devices (their descriptors outlive us with keepd), takes over what a predecessor left, then runs the
 * loop: a device's event schedules it, pollers do the work. See path.h for the way of a packet. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "common/daemon.h"
#include "common/log.h"
#include "services/link/path.h"

static struct daemon daemon_;
static struct linkd linkd;

static void bell(void *ctx, enum region_id who) { daemon_ring(ctx, who); }

static void on_device(void *arg, u32 events) { netif_rx_schedule(arg); }

static bool device_gone(void)
{
	for (u32 i = 0; i < linkd.ndevs; i++)
		if (linkd.dev[i].gone)
			return true;
	return false;
}

static void note_bulk(void)
{
	if (linkd.bulk)
		loop_bulk(&daemon_.loop);
	linkd.bulk = false;
}

/* Buffers first, so that reception finds them. They are no work to stay awake for. */
static u32 poll_rx(void *arg, u32 budget)
{
	u32 n;

	linkd.now = daemon_.loop.now;
	rx_buffers_returned(&linkd, 4 * budget);
	n = net_rx_action(&linkd, budget);
	note_bulk();
	if (unlikely(device_gone()) && !daemon_.loop.quit) {
		log_err("an interface was deleted: starting anew to open it again");
		daemon_.loop.quit = true;
	}
	return n;
}

static bool pending_rx(void *arg)
{
	/* Nobody rings for a buffer unless we are out of them; when we are, see whether some came back meanwhile. */
	if (linkd.rx_blocked)
		rx_buffers_returned(&linkd, LINK_DONE_RING);
	return net_rx_pending(&linkd);
}

static u32 poll_tx(void *arg, u32 budget)
{
	u32 n;

	linkd.now = daemon_.loop.now;
	n = link_tx_poll(&linkd, budget) + link_admin_poll(&linkd);
	note_bulk();
	loop_deadline(&daemon_.loop, net_tx_deadline(&linkd));
	return n;
}

static bool pending_tx(void *arg) { return link_tx_pending(&linkd) || link_admin_pending(&linkd); }

static int open_device(struct daemon *d, const struct conf_dev *conf)
{
	char name[32];
	struct net_device *dev;
	int parked, r;

	snprintf(name, sizeof(name), "dev:%s", conf->name);
	parked = daemon_parked(d, name);
	r = dev_open(&linkd, conf, parked);
	if (r < 0)
		return r;
	dev = &linkd.dev[linkd.ndevs - 1];
	r = daemon_park(d, name, dev->fd);
	if (r < 0)
		return r;
	r = loop_add_fd(&d->loop, dev->fd, EPOLLIN, on_device, dev);
	return MIN(r, 0);
}

/* Devices that the configuration no longer has are kept open by nobody but keepd. */
static void forget_devices(struct daemon *d)
{
	for (u32 i = 0; i < d->given.n; i++) {
		const char *name = d->given.fd[i].name;
		bool wanted = strncmp(name, "dev:", 4) != 0;

		for (u32 k = 0; k < d->conf.ndevs && !wanted; k++)
			wanted = !strcmp(name + 4, d->conf.dev[k].name);
		if (wanted || daemon_unpark(d, name) < 0)
			continue;
		log_info("%s is no longer configured: closed", name + 4);
		close(d->given.fd[i].fd);
		d->given.fd[i].fd = -1;
	}
}

static int start(struct daemon *d)
{
	const char *pcap = getenv("STRATA_PCAP");
	int r;

	linkd.now = clock_ns();
	linkd.bell = bell;
	linkd.ctx = d;
	linkd.ip = d->ip;
	forget_devices(d);
	r = link_attach(&linkd, d);
	for (u32 i = 0; i < d->conf.ndevs && r == 0; i++)
		r = open_device(d, &d->conf.dev[i]);
	if (r == 0 && pcap && *pcap)
		r = tap_pcap_open(&linkd, pcap);
	if (r == 0)
		r = link_take_over(&linkd, d);
	if (r == 0)
		r = loop_add_poller(&d->loop, poll_rx, pending_rx, NULL);
	if (r == 0)
		r = loop_add_poller(&d->loop, poll_tx, pending_tx, NULL);
	return r;
}

int main(int argc, char **argv)
{
	int r = daemon_init(&daemon_, "linkd", REGION_LINK, argc, argv);

	if (r == 0)
		r = start(&daemon_);
	if (r < 0) {
		log_notice("not started: %s", strerror(-r));	/* why in particular has been said */
		dev_close_all(&linkd);
		log_give_up(r);
		return EXIT_FAILURE;
	}
	/* A successor rings everybody once, whatever their sleep flags say. */
	daemon_ring_always(&daemon_, REGION_IP);
	daemon_ring_always(&daemon_, REGION_TCP);
	r = daemon_run(&daemon_);
	if (device_gone())
		r = EXIT_FAILURE;
	dev_close_all(&linkd);
	return r;
}
