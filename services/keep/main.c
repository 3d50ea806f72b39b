/* main.c – strata-keepd: listening socket, poll loop, watchdog. See keepd.h.
 *
 * Started by systemd (socket and store come along) or by hand (makes its socket itself; nothing outlives it). */
#include "keepd.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sysexits.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "common/daemon.h"
#include "common/log.h"

static int make_dir(const char *path)
{
	if (mkdir(path, 0755) < 0 && errno != EEXIST) {
		log_err("mkdir %s: %m", path);
		return -errno;
	}
	return 0;
}

/* Without systemd: our own socket. A keepd that answers there is not pushed aside. */
static int make_listener(struct keepd *k)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	char dir[sizeof(sa.sun_path)];
	int other, fd, r;

	r = snprintf(dir, sizeof(dir), "%s/%s", strata_rundir(), k->instance);
	if (r >= (int)sizeof(dir) ||
	    snprintf(sa.sun_path, sizeof(sa.sun_path), "%s/keep.sock", dir) >= (int)sizeof(sa.sun_path)) {
		log_err("%s: too long for a socket's path", strata_rundir());
		return -ENAMETOOLONG;
	}
	r = make_dir(strata_rundir());
	if (r == 0)
		r = make_dir(dir);
	if (r < 0)
		return r;
	other = keeper_connect(k->instance);
	if (other >= 0) {
		close(other);
		log_err("another keepd serves %s", sa.sun_path);
		return -EADDRINUSE;
	}
	if (unlink(sa.sun_path) < 0 && errno != ENOENT)
		log_warn("unlink %s: %m", sa.sun_path);
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	/* Everybody may connect; who gets what is decided by uid (role.c). */
	if (fd < 0 || bind(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0 || chmod(sa.sun_path, 0666) < 0 ||
	    listen(fd, 32) < 0) {
		r = -errno;
		log_err("%s: %m", sa.sun_path);
		if (fd >= 0)
			close(fd);
		return r;
	}
	k->listener = fd;
	return 0;
}

static int open_signals(struct keepd *k)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	if (sigprocmask(SIG_BLOCK, &set, NULL) < 0)
		return -errno;
	k->signals = signalfd(-1, &set, SFD_CLOEXEC);
	return k->signals < 0 ? -errno : 0;
}

static int start(struct keepd *k)
{
	struct rlimit files;
	int r;

	if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
		files.rlim_cur = files.rlim_max;
		if (setrlimit(RLIMIT_NOFILE, &files) < 0)
			log_warn("RLIMIT_NOFILE: %m");
	}
	r = open_signals(k);
	if (r == 0)
		r = store_take_back(k);
	if (r == 0 && k->listener < 0)
		r = make_listener(k);
	if (r == 0)
		r = make_missing(k);
	if (r == 0)
		roles_load(k);
	return r;
}

static void serve(struct keepd *k, const struct pollfd *p, u32 n)
{
	/* Downwards: a client that goes is replaced by the last one. */
	for (u32 i = n; i-- > 0;) {
		if (!p[i].revents)
			continue;
		if (client_serve(k, &k->client[i]))
			continue;
		close(k->client[i].fd);
		k->client[i] = k->client[--k->nclients];
	}
}

static int run(struct keepd *k)
{
	u64 usec = 0;
	int timeout = sd_watchdog_enabled(0, &usec) > 0 ? (int)(usec / 2000) : -1;

	for (;;) {
		struct pollfd p[CLIENTS_MAX + 2];
		u32 n = k->nclients;

		for (u32 i = 0; i < n; i++)
			p[i] = (struct pollfd){ .fd = k->client[i].fd, .events = POLLIN };
		p[n] = (struct pollfd){ .fd = k->listener, .events = POLLIN };
		p[n + 1] = (struct pollfd){ .fd = k->signals, .events = POLLIN };
		if (poll(p, n + 2, timeout) < 0 && errno != EINTR) {
			log_err("poll: %m");
			return EXIT_FAILURE;
		}
		if (timeout > 0)
			sd_notify(0, "WATCHDOG=1");
		if (p[n + 1].revents)
			return EXIT_SUCCESS;
		serve(k, p, n);
		if (p[n].revents)
			client_accept(k);
	}
}

int main(int argc, char **argv)
{
	static struct keepd k = { .listener = -1, .signals = -1 };
	struct daemon_args a;
	int r;

	if (daemon_args("keepd", argc, argv, &a) < 0)
		return EX_CONFIG;
	log_open("keepd", a.instance);
	log_set_level(a.level);
	snprintf(k.instance, sizeof(k.instance), "%s", a.instance);
	r = start(&k);
	if (r < 0) {
		log_give_up(r);
		return EXIT_FAILURE;
	}
	sd_notifyf(0, "READY=1\nSTATUS=%u descriptors kept", k.nitems);
	log_info("ready: %u descriptors kept", k.nitems);
	r = run(&k);
	sd_notify(0, "STOPPING=1");
	return r;
}
