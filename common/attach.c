/* attach.c – a daemon gets its memory: descriptors from keepd, own region read-write, the others read-only.
 *
 * No step of the flow. A start is a restart: an own region that is empty or of an unknown version is initialised,
 * any other is taken as it is. Called by daemon.c; calls keeper.c, region.c, pool.c. */
#include "attach.h"

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "log.h"
#include "region.h"

#define WAIT_NS (30 * NSEC_PER_SEC)
#define WAIT_STEP_MS 50
#define HELLO_TIMEOUT_S 2

int keeper_call(struct daemon *d)
{
	struct timeval tv = { .tv_sec = HELLO_TIMEOUT_S };
	int sock, r;

	sock = keeper_connect(d->conf.instance);
	if (sock < 0)
		return sock;
	if (setsockopt(sock, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv)) < 0 ||
	    setsockopt(sock, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof(tv)) < 0)
		r = -errno;
	else
		r = keeper_ask(sock, d->name, region_version(d->role));
	if (r == 0)
		return sock;
	close(sock);
	return r;
}

static int keeper_open(struct daemon *d, struct keeper_reply *ret)
{
	int sock = keeper_call(d), r;

	if (sock < 0)
		return sock;
	r = keeper_answer(sock, ret);
	if (r == 0)
		return sock;
	close(sock);
	return r;
}

bool keeper_restarting(int r)
{
	return r == -ENOENT || r == -ECONNREFUSED || r == -ECONNRESET || r == -EPIPE || r == -EAGAIN;
}

int keeper_wait(struct daemon *d, struct keeper_reply *ret)
{
	struct pollfd leave = { .fd = d->signals, .events = POLLIN };
	u64 start = clock_ns();
	bool said = false;
	int r;

	for (;;) {
		r = keeper_open(d, ret);
		if (r >= 0 || !keeper_restarting(r) || clock_ns() - start > WAIT_NS)
			break;
		if (!said && clock_ns() - start > 500 * NSEC_PER_MSEC) {
			said = true;
			log_notice("waiting for keepd (%s/%s/keep.sock: %s)", strata_rundir(), d->conf.instance,
				   strerror(-r));
		}
		if (poll(&leave, 1, WAIT_STEP_MS) > 0)
			return -EINTR;	/* SIGTERM: not for keepd's sake */
	}
	if (r < 0)
		log_err("no regions from keepd (%s/%s/keep.sock): %s%s%s", strata_rundir(), d->conf.instance,
			strerror(-r), *ret->text ? ": " : "", ret->text);
	return r;
}

static int map_region(struct daemon *d, enum region_id id, bool writable, void *ret)
{
	char name[KEEPER_NAME];
	void *p;
	int fd;

	snprintf(name, sizeof(name), "region:%s", region_name(id));
	fd = keeper_find(&d->given, name);
	if (fd < 0) {
		log_err("keepd has not given %s", name);
		return -EPROTO;
	}
	p = region_map(fd, region_size(id), writable);
	if (!p) {
		int r = -errno;

		log_err("%s: %s%s", name, strerror(-r),
			r == -EPROTO ? " (made by another version: restart strata-keepd, then all daemons)" : "");
		return r;
	}
	memcpy(ret, &p, sizeof(p));
	return 0;
}

static int take_bells(struct daemon *d)
{
	for (enum region_id id = REGION_LINK; id <= REGION_SOCK; id++) {
		char name[KEEPER_NAME];

		snprintf(name, sizeof(name), "bell:%s", region_name(id));
		d->bell[id] = keeper_find(&d->given, name);
		if (d->bell[id] < 0) {
			log_err("keepd has not given %s", name);
			return -EPROTO;
		}
	}
	d->bell[REGION_PUB] = -1;
	return 0;
}

/* Make [from, to) present now: a page fault on the packet path costs more than a packet. */
static void populate(void *from, void *to)
{
	char *a = (char *)((uintptr_t)from & ~(uintptr_t)(PAGE - 1));

	if (madvise(a, ALIGN_UP((size_t)((char *)to - a), (size_t)PAGE), MADV_POPULATE_WRITE) < 0)
		log_debug("MADV_POPULATE_WRITE: %m");	/* before Linux 5.14: touched when used */
}

static void populate_own(struct daemon *d)
{
	switch (d->role) {
	case REGION_LINK: populate(d->link, d->link->bytes); break;
	case REGION_IP: populate(d->ip, d->ip->bytes); break;
	case REGION_TCP:
		populate(d->tcp, (void *)d->tcp->words + sizeof(d->tcp->words));
		populate(d->tcp->tcp_ip_slots, d->tcp->bytes);
		break;
	case REGION_SOCK: populate(d->sock, d->sock->ctl); break;
	default: break;
	}
}

/* The own region: as the predecessor left it, or empty, or unusable and then emptied. */
static int own_region(struct daemon *d)
{
	char name[KEEPER_NAME];
	int r = region_check(d->hdr, d->role);

	if (r == -EPROTO) {
		log_warn("region %s has layout %u, this daemon knows %u: reset, its connections are gone",
			 region_name(d->role), d->hdr->version, region_version(d->role));
		snprintf(name, sizeof(name), "region:%s", region_name(d->role));
		if (fallocate(keeper_find(&d->given, name), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0,
			      (off_t)region_size(d->role)) < 0) {
			r = -errno;
			log_err("cannot empty %s: %s", name, strerror(-r));
			return r;
		}
		r = -ENODATA;
	}
	if (r == -ENODATA) {
		d->fresh = true;
		region_init(d->hdr, d->role);
		d->hdr->epoch = (u32)clock_ns();	/* none of those in which neighbours, who live on, have rung us */
	}
	populate_own(d);
	store_relaxed(&d->hdr->harvested, 0);
	store_relaxed(&d->hdr->reclaimed, 0);
	d->hdr->pid = (u32)getpid();
	store_relaxed(&d->hdr->started, clock_ns());
	store_release(&d->hdr->starts, load_relaxed(&d->hdr->starts) + 1);
	if (d->role == REGION_TCP) {
		__atomic_store_n(&d->pub->magic, REGION_MAGIC, __ATOMIC_RELEASE);
		store_release(&d->pub->starts, load_relaxed(&d->pub->starts) + 1);
	}
	return 0;
}

/* A neighbour of another version: it is being upgraded and will reset its region when it starts. An empty one is
 * fine: it has not started yet, and rings of zeroes are empty rings. */
static int wait_for_versions(struct daemon *d)
{
	const struct region_hdr *const h[] = { &d->link->hdr, &d->ip->hdr, &d->tcp->hdr, &d->sock->hdr };
	u64 start = clock_ns();

	for (enum region_id id = REGION_LINK; id <= REGION_SOCK; id++) {
		while (region_check(h[id], id) == -EPROTO) {
			if (clock_ns() - start > WAIT_NS) {
				log_err("region %s has layout %u, this daemon knows %u: restart strata-%sd",
					region_name(id), h[id]->version, region_version(id), region_name(id));
				return -EPROTO;
			}
			log_notice("waiting for the new version of %sd", region_name(id));
			poll(NULL, 0, WAIT_STEP_MS);
		}
	}
	return 0;
}

static void attach_pools(struct daemon *d)
{
	struct pool *p = d->pools.p;

	pool_attach_reader(&p[POOL_LINK], POOL_LINK, d->link->words, d->link->bytes, LINK_NSMALL, LINK_NLARGE);
	pool_attach_reader(&p[POOL_IP], POOL_IP, d->ip->words, d->ip->bytes, IP_NSMALL, IP_NLARGE);
	pool_attach_reader(&p[POOL_TCP], POOL_TCP, d->tcp->words, d->tcp->bytes, TCP_NSMALL, TCP_NLARGE);
}

int daemon_attach(struct daemon *d)
{
	int r;

	d->keeper = keeper_wait(d, &d->given);
	if (d->keeper < 0)
		return d->keeper;
	r = map_region(d, REGION_LINK, d->role == REGION_LINK, &d->link);
	if (r == 0)
		r = map_region(d, REGION_IP, d->role == REGION_IP, &d->ip);
	if (r == 0)
		r = map_region(d, REGION_TCP, d->role == REGION_TCP, &d->tcp);
	if (r == 0)
		r = map_region(d, REGION_SOCK, d->role == REGION_SOCK, &d->sock);
	if (r == 0)
		r = map_region(d, REGION_PUB, d->role == REGION_TCP, &d->pub);
	if (r == 0)
		r = take_bells(d);
	if (r < 0)
		return r;
	d->sleeps[REGION_LINK] = &d->link->hdr.sleeping;
	d->sleeps[REGION_IP] = &d->ip->hdr.sleeping;
	d->sleeps[REGION_TCP] = &d->pub->sleeping;
	d->sleeps[REGION_SOCK] = &d->sock->hdr.sleeping;
	struct region_hdr *const hdr[] = { &d->link->hdr, &d->ip->hdr, &d->tcp->hdr, &d->sock->hdr };
	struct counters *const ctr[] = { &d->link->counters, &d->ip->counters, &d->tcp->counters, &d->sock->counters };
	d->hdr = hdr[d->role];
	d->counters = ctr[d->role];
	r = own_region(d);
	if (r == 0)
		r = wait_for_versions(d);
	if (r == 0)
		attach_pools(d);
	return r;
}
