/* store.c – systemd's descriptor store: what keepd keeps beyond its own death.
 *
 * FDPOLL=0, or systemd would throw out what hangs up. Nothing is handed out before store_barrier() has returned:
 * until then a SIGKILL of keepd would lose it. Called by main.c, make.c, client.c; calls libsystemd. */
#include "keepd.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "common/log.h"

#define BARRIER_US (5ull * 1000000)

static bool is_parked(const char *name) { return strncmp(name, "park:", 5) == 0; }

/* "park:linkd:dev:tap0", 3 -> "park/linkd/dev/tap0/3"; everything else without a number. */
static void store_name(const struct item *i, char *buf, size_t size)
{
	if (is_parked(i->name))
		snprintf(buf, size, "%s/%u", i->name, i->seq);
	else
		snprintf(buf, size, "%s", i->name);
	for (char *c = buf; *c; c++)
		if (*c == ':')
			*c = '/';
}

static bool from_store_name(const char *stored, struct item *ret)
{
	char *number;

	if (snprintf(ret->name, sizeof(ret->name), "%s", stored) >= (int)sizeof(ret->name))
		return false;
	ret->seq = 0;
	if (strncmp(ret->name, "park/", 5) == 0) {
		number = strrchr(ret->name, '/');
		ret->seq = (u32)strtoul(number + 1, NULL, 10);
		*number = '\0';
	}
	for (char *c = ret->name; *c; c++)
		if (*c == '/')
			*c = ':';
	return is_parked(ret->name) || strncmp(ret->name, "region:", 7) == 0 || strncmp(ret->name, "bell:", 5) == 0 ||
	       strncmp(ret->name, "lot:", 4) == 0;
}

static int notify(struct keepd *k, const struct item *i, const char *verb)
{
	char state[ITEM_NAME + 64], name[ITEM_NAME + 16];
	bool put = strcmp(verb, "FDSTORE=1\nFDPOLL=0") == 0;
	int r;

	if (!k->store)
		return 0;
	store_name(i, name, sizeof(name));
	snprintf(state, sizeof(state), "%s\nFDNAME=%s", verb, name);
	r = sd_pid_notify_with_fds(0, 0, state, put ? &i->fd : NULL, put);
	if (r <= 0) {
		r = r < 0 ? r : -ENOTCONN;
		log_err("systemd's store, %s: %s", name, strerror(-r));
		return r;
	}
	k->unsettled |= put;
	return 0;
}

int store_put(struct keepd *k, const struct item *i) { return notify(k, i, "FDSTORE=1\nFDPOLL=0"); }
int store_remove(struct keepd *k, const struct item *i) { return notify(k, i, "FDSTOREREMOVE=1"); }

int store_barrier(struct keepd *k)
{
	int r = k->unsettled ? sd_notify_barrier(0, BARRIER_US) : 1;

	if (r > 0) {
		k->unsettled = false;
		return 0;
	}
	r = r < 0 ? r : -ENOTCONN;
	log_err("systemd does not confirm what was stored: %s", strerror(-r));
	return r;
}

/* Killed between storing a replacement and removing what it replaces: the newer number counts. */
static void take_newer(struct keepd *k, struct item *have, struct item *got)
{
	struct item old = *got;

	if ((s32)(got->seq - have->seq) > 0) {
		old = *have;
		*have = *got;
	}
	if (old.seq != have->seq)
		store_remove(k, &old);
	close(old.fd);
}

static void take_item(struct keepd *k, const char *stored, int fd)
{
	struct item got = { .fd = fd }, *have;

	if (!from_store_name(stored, &got)) {
		log_warn("systemd gave '%s', which nobody stored; dropped", stored);
		close(fd);
		return;
	}
	have = item_find(k, got.name);
	if (have) {
		take_newer(k, have, &got);
		return;
	}
	have = item_add(k, got.name, fd);
	if (have)
		have->seq = got.seq;
}

int store_take_back(struct keepd *k)
{
	const char *max = getenv("FDSTORE");
	char **names = NULL;
	int n;

	k->store = getenv("NOTIFY_SOCKET") != NULL;
	if (max && strtoul(max, NULL, 10) < ITEMS_MAX)	/* said by systemd from 254 on */
		log_warn("FileDescriptorStoreMax=%s is too small; say %u", max, ITEMS_MAX + 64);
	n = sd_listen_fds_with_names(1, &names);
	if (n < 0) {
		log_err("descriptors from systemd: %s", strerror(-n));
		return n;
	}
	for (int i = 0; i < n; i++) {
		int fd = SD_LISTEN_FDS_START + i;

		if (sd_is_socket(fd, AF_UNIX, SOCK_SEQPACKET, 1) > 0) {
			if (k->listener >= 0)
				close(k->listener);
			k->listener = fd;
		} else {
			take_item(k, names[i], fd);
		}
		free(names[i]);
	}
	free(names);
	return 0;
}
