/* make.c – what keepd keeps from the first start on: regions, doorbells, parking lots.
 *
 * Called by main.c at every start: what systemd's store gave back stays, only what is missing is made.
 * Regions and doorbells are one set: a ring has a half in two regions, so an empty region beside an old one would
 * make old slots look new. If one of the set is missing all are made anew, and the daemons, who notice that their
 * regions are not the keeper's any more, start afresh too (common/daemon.c). */
#include "keepd.h"

#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/log.h"
#include "common/region.h"

#define LOT_SNDBUF (64 << 20)

struct item *item_find(struct keepd *k, const char *name)
{
	for (u32 i = 0; i < k->nitems; i++)
		if (strcmp(k->item[i].name, name) == 0)
			return &k->item[i];
	return NULL;
}

struct item *item_add(struct keepd *k, const char *name, int fd)
{
	struct item *i;

	if (k->nitems == ITEMS_MAX) {
		log_err("no room for %s: %u descriptors are kept already", name, ITEMS_MAX);
		close(fd);
		return NULL;
	}
	i = &k->item[k->nitems++];
	*i = (struct item){ .fd = fd };
	snprintf(i->name, sizeof(i->name), "%s", name);
	return i;
}

void item_drop(struct keepd *k, struct item *i)
{
	close(i->fd);
	*i = k->item[--k->nitems];
}

static int forget(struct keepd *k, const char *prefix)
{
	u32 i = 0;

	while (i < k->nitems) {
		int r;

		if (strncmp(k->item[i].name, prefix, strlen(prefix))) {
			i++;
			continue;
		}
		r = store_remove(k, &k->item[i]);
		if (r < 0)
			return r;
		item_drop(k, &k->item[i]);
	}
	return 0;
}

/* Into the table and the store; takes fd. */
static int keep(struct keepd *k, const char *name, int fd)
{
	struct item *i;

	if (fd < 0) {
		log_err("cannot make %s: %s", name, strerror(-fd));
		return fd;
	}
	i = item_add(k, name, fd);
	return i ? store_put(k, i) : -ENOSPC;
}

static bool region_usable(const struct item *i, size_t size)
{
	struct stat st;

	return i && fstat(i->fd, &st) == 0 && (size_t)st.st_size == size;
}

/* The set that belongs together: how many there are, and the first that is not. */
static u32 count_set(struct keepd *k, u32 *ret_all, char *missing, size_t size)
{
	u32 have = 0, all = 0;
	char name[ITEM_NAME];

	*missing = '\0';
	for (enum region_id id = 0; id < REGION_IDS; id++) {
		snprintf(name, sizeof(name), "region:%s", region_name(id));
		bool ok = region_usable(item_find(k, name), region_size(id));
		if (!ok && !*missing)
			snprintf(missing, size, "%s", name);
		have += ok;
		all++;
		if (id == REGION_PUB)
			continue;
		snprintf(name, sizeof(name), "bell:%s", region_name(id));
		ok = item_find(k, name) != NULL;
		if (!ok && !*missing)
			snprintf(missing, size, "%s", name);
		have += ok;
		all++;
	}
	*ret_all = all;
	return have;
}

static int make_set(struct keepd *k)
{
	char name[ITEM_NAME], memfd[ITEM_NAME + 64];

	for (enum region_id id = 0; id < REGION_IDS; id++) {
		int r;

		snprintf(name, sizeof(name), "region:%s", region_name(id));
		snprintf(memfd, sizeof(memfd), "strata-%s-%s", k->instance, region_name(id));
		r = keep(k, name, region_create(memfd, region_size(id)));
		if (r == 0 && id != REGION_PUB) {
			int bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

			snprintf(name, sizeof(name), "bell:%s", region_name(id));
			r = keep(k, name, bell < 0 ? -errno : bell);
		}
		if (r < 0)
			return r;
	}
	return 0;
}

/* A lot holds what is sent and never read, so its room is the sender's send buffer. */
static void widen(int fd)
{
	int size = LOT_SNDBUF;

	if (setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size)) < 0 &&
	    setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size)) < 0)	/* up to net.core.wmem_max */
		log_warn("SO_SNDBUF of a lot: %m");
}

static int make_lot(struct keepd *k, const char *owner, u32 n)
{
	char name[2][ITEM_NAME];
	bool have[2];
	int pair[2], r;

	for (int end = 0; end < 2; end++) {
		snprintf(name[end], sizeof(name[end]), "lot:%s:%u:%d", owner, n, end);
		have[end] = item_find(k, name[end]) != NULL;
	}
	if (have[0] && have[1])
		return 0;
	if (have[0] || have[1]) {
		log_err("one end of lot:%s:%u is gone: the connections parked in it are lost", owner, n);
		r = forget(k, have[0] ? name[0] : name[1]);
		if (r < 0)
			return r;
	}
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0) {
		r = -errno;
		log_err("socketpair: %m");
		return r;
	}
	widen(pair[1]);
	r = keep(k, name[0], pair[0]);
	if (r < 0) {
		close(pair[1]);
		return r;
	}
	return keep(k, name[1], pair[1]);
}

static int make_lots(struct keepd *k)
{
	int r = 0;

	for (u32 n = 0; r == 0 && n < TCP_LOTS; n++)
		r = make_lot(k, "tcp", n);
	for (u32 n = 0; r == 0 && n < SOCK_LOTS; n++)
		r = make_lot(k, "sock", n);
	return r;
}

/* Keys of initial sequence numbers, cookies, ports: one page that tcpd alone maps. */
static int make_secret(struct keepd *k)
{
	char memfd[ITEM_NAME + 64];

	if (item_find(k, "region:secret"))
		return 0;
	snprintf(memfd, sizeof(memfd), "strata-%s-secret", k->instance);
	return keep(k, "region:secret", region_create(memfd, PAGE));
}

int make_missing(struct keepd *k)
{
	char missing[ITEM_NAME];
	u32 all, have = count_set(k, &all, missing, sizeof(missing));
	int r = 0;

	if (have == all) {
		log_info("carrying on with %u descriptors from systemd's store", k->nitems);
	} else {
		if (have)
			log_err("%s and %u more of %u regions and doorbells are missing or of another size: "
				"the rest is of no use, starting afresh; connections are lost",
				missing, all - have - 1, all);
		else
			log_info("first start%s", k->store ? "" : "; without systemd's store: nothing outlives this process");
		r = forget(k, "region:");
		if (r == 0)
			r = forget(k, "bell:");
		if (r == 0)
			r = forget(k, "lot:");	/* connections of the lost regions */
		if (r == 0)
			r = make_set(k);
	}
	if (r == 0)
		r = make_secret(k);
	if (r == 0)
		r = make_lots(k);
	return r < 0 ? r : store_barrier(k);
}
