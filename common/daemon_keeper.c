/* daemon_keeper.c – a daemon and its keeper: keepd goes and comes back, descriptors are parked with it.
 *
 * No step of the flow. A running daemon never waits for keepd: it asks, and looks at the answer when it is there. Only
 * a start waits (attach.c), and parking, which daemons do when they start.
 * Called by daemon.c and the daemons; calls keeper.c, loop.c. */
#include "daemon.h"

#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <unistd.h>

#include "attach.h"
#include "log.h"
#include "region.h"

#define KEEPER_RETRY_NS (200 * NSEC_PER_MSEC)
#define PARK_NS (30 * NSEC_PER_SEC)

/* ---- going and coming back ---- */

static void keeper_gone(struct daemon *d)
{
	if (d->keeper < 0)
		return;
	loop_del_fd(&d->loop, d->keeper_id);
	close(d->keeper);
	d->keeper = -1;
	d->keeper_asked = false;
	d->keeper_retry = clock_ns() + KEEPER_RETRY_NS;
}

/* A keeper that has lost the regions has made new ones, and neighbours that start from now on use those: start anew
 * too, or the stack stays cut in two. */
static bool same_regions(const struct daemon *d, const struct keeper_reply *now)
{
	for (u32 i = 0; i < now->n; i++) {
		struct stat a, b;
		int old = keeper_find(&d->given, now->fd[i].name);

		if (strncmp(now->fd[i].name, "region:", 7))
			continue;
		if (old < 0 || fstat(old, &a) < 0 || fstat(now->fd[i].fd, &b) < 0 || a.st_ino != b.st_ino ||
		    a.st_dev != b.st_dev)
			return false;
	}
	return true;
}

static void keeper_answered(struct daemon *d)
{
	static struct keeper_reply now;

	d->keeper_asked = false;
	if (keeper_answer(d->keeper, &now) < 0) {
		keeper_gone(d);
		return;
	}
	if (!same_regions(d, &now)) {
		log_err("keepd has lost the shared regions; starting afresh, connections are gone");
		d->status = EXIT_FAILURE;
		d->loop.quit = true;
	} else {
		log_info("keepd is back");
	}
	keeper_close(&now);
}

static void on_keeper(void *arg, u32 events)
{
	struct daemon *d = arg;

	if (events & (EPOLLHUP | EPOLLRDHUP | EPOLLERR))
		keeper_gone(d);
	else if (d->keeper_asked)
		keeper_answered(d);
}

int keeper_watch(struct daemon *d, int sock)
{
	d->keeper_id = loop_add_fd(&d->loop, sock, EPOLLIN | EPOLLRDHUP, on_keeper, d);
	if (d->keeper_id < 0)
		return d->keeper_id;
	d->keeper = sock;
	d->keeper_retry = 0;
	return 0;
}

static void keeper_look(struct daemon *d)
{
	int sock = keeper_call(d);

	d->keeper_retry = d->loop.now + KEEPER_RETRY_NS;
	if (sock < 0)
		return;
	if (keeper_watch(d, sock) < 0)
		close(sock);
	else
		d->keeper_asked = true;
}

void keeper_poll(struct daemon *d)
{
	if (d->keeper_retry && d->loop.now >= d->keeper_retry)
		keeper_look(d);
	if (d->keeper_retry)
		loop_deadline(&d->loop, d->keeper_retry);
}

/* ---- parking ---- */

/* A connection on which nothing is outstanding. */
static int keeper_ready(struct daemon *d)
{
	static struct keeper_reply unused;
	int sock, r;

	if (d->keeper_asked)
		keeper_gone(d);
	if (d->keeper >= 0)
		return 0;
	sock = keeper_wait(d, &unused);
	if (sock < 0)
		return sock;
	keeper_close(&unused);
	r = keeper_watch(d, sock);
	if (r < 0)
		close(sock);
	return r;
}

/* keepd may be restarted at any instant, and again: on a new connection then, parking is idempotent by name. */
static int park(struct daemon *d, const char *name, int fd)
{
	u64 start = clock_ns();
	char text[200] = "";
	int r;

	do {
		r = keeper_ready(d);
		if (r < 0)
			return r;
		r = keeper_park(d->keeper, d->name, name, fd, text, sizeof(text));
		if (!keeper_restarting(r))
			break;
		keeper_gone(d);
	} while (clock_ns() - start < PARK_NS);
	if (r < 0)
		log_err("keepd does not keep %s: %s%s%s", name, strerror(-r), *text ? ": " : "", text);
	return r;
}

int daemon_park(struct daemon *d, const char *name, int fd) { return fd < 0 ? -EBADF : park(d, name, fd); }
int daemon_unpark(struct daemon *d, const char *name) { return park(d, name, -1); }
