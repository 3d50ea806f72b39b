/* daemon.c – the thin shell around a layer: arguments, the loop with doorbell, watchdog and signals.
 * Maps and regions are in attach.c, rings in rings.c, the keeper in daemon_keeper.c.
 *
 * No step of the flow. Called by every daemon's main.c; calls config.c, keeper.c, loop.c, libsystemd. */
#include "daemon.h"

#include <getopt.h>
#include <signal.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sysexits.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "attach.h"
#include "log.h"
#include "region.h"

#define POLL_NS_DEFAULT (50 * NSEC_PER_USEC)

static void usage(const char *name)
{
	printf("usage: strata-%s --instance NAME [--config FILE] [--log LEVEL]\n\n"
	       "  --instance NAME  which stack this daemon belongs to\n"
	       "  --config FILE    configuration; default /etc/strata/NAME.conf\n"
	       "  --log LEVEL      err, warning, notice, info (default) or debug, or 3 to 7\n"
	       "  --help           this text\n\n"
	       "Environment: STRATA_RUNDIR, base directory of the sockets (default /run/strata).\n"
	       "Normally started by systemd: systemctl start strata@NAME.target\n",
	       name);
}

static int parse_level(const char *s)
{
	static const char *const names[] = { [3] = "err", [4] = "warning", [5] = "notice", [6] = "info", [7] = "debug" };

	for (int i = 3; i <= 7; i++)
		if (strcmp(s, names[i]) == 0 || (s[0] == '0' + i && s[1] == '\0'))
			return i;
	return -EINVAL;
}

int daemon_args(const char *name, int argc, char **argv, struct daemon_args *a)
{
	static const struct option opts[] = { { "instance", required_argument, NULL, 'i' },
					      { "config", required_argument, NULL, 'c' },
					      { "log", required_argument, NULL, 'l' },
					      { "help", no_argument, NULL, 'h' },
					      { 0 } };
	int c;

	*a = (struct daemon_args){ .level = 6 };
	while ((c = getopt_long(argc, argv, "i:c:l:h", opts, NULL)) != -1) {
		switch (c) {
		case 'i': a->instance = optarg; break;
		case 'c': a->config = optarg; break;
		case 'l':
			a->level = parse_level(optarg);
			if (a->level < 0) {
				fprintf(stderr, "strata-%s: --log %s: say err, warning, notice, info or debug\n", name,
					optarg);
				return -EINVAL;
			}
			break;
		case 'h': usage(name); exit(EXIT_SUCCESS);
		default: fprintf(stderr, "strata-%s: see --help\n", name); return -EINVAL;
		}
	}
	if (!a->instance || optind != argc) {
		fprintf(stderr, "strata-%s: %s; see --help\n", name,
			a->instance ? "unexpected argument" : "--instance NAME is missing");
		return -EINVAL;
	}
	if (!*a->instance || strchr(a->instance, '/') || strlen(a->instance) >= sizeof(((struct config *)0)->instance)) {
		fprintf(stderr, "strata-%s: --instance '%s': a short name without '/'\n", name, a->instance);
		return -EINVAL;
	}
	return 0;
}

/* "linkd=0 ipd=0 tcpd=1": the word for this daemon. Nothing said about it ("auto"): the scheduler decides. */
static int place(const struct daemon *d)
{
	char words[sizeof(d->conf.cpus)], *save = NULL;
	size_t n = strlen(d->name);

	snprintf(words, sizeof(words), "%s", d->conf.cpus);
	for (char *w = strtok_r(words, " \t,", &save); w; w = strtok_r(NULL, " \t,", &save)) {
		cpu_set_t set;
		char *end;
		unsigned long cpu;

		if (strncmp(w, d->name, n) || w[n] != '=')
			continue;
		cpu = strtoul(w + n + 1, &end, 10);
		if (end == w + n + 1 || *end || cpu >= CPU_SETSIZE) {
			log_err("cpus = %s: '%s' names no CPU", d->conf.cpus, w);
			return -EINVAL;
		}
		CPU_ZERO(&set);
		CPU_SET(cpu, &set);
		if (sched_setaffinity(0, sizeof(set), &set) < 0)
			log_warn("cannot run on CPU %lu: %m; the scheduler places %s", cpu, d->name);
	}
	return 0;
}

/* Woken up, that is all: what it rang about is found by the pollers. Not read: each write is an edge to the loop's poll
 * request, and 2^64 of them will not come. */
static void on_bell(void *arg, u32 events) { }

static void on_signal(void *arg, u32 events)
{
	struct daemon *d = arg;
	struct signalfd_siginfo si;

	if (read(d->signals, &si, sizeof(si)) == (ssize_t)sizeof(si)) {
		log_info("%s: leaving", si.ssi_signo == SIGTERM ? "SIGTERM" : "SIGINT");
		d->loop.quit = true;
	}
}

/* Watchdog and keeper: no work of the stack's, so it does not keep the loop awake. */
static u32 housekeeping(void *arg, u32 budget)
{
	struct daemon *d = arg;

	if (d->watchdog_ns) {
		if (d->loop.now >= d->watchdog_next) {
			sd_notify(0, "WATCHDOG=1");
			d->watchdog_next = d->loop.now + d->watchdog_ns;
		}
		loop_deadline(&d->loop, d->watchdog_next);
	}
	keeper_poll(d);
	return 0;
}

/* ---- start and run ---- */

static int open_signals(struct daemon *d)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	if (sigprocmask(SIG_BLOCK, &set, NULL) < 0)
		return -errno;
	signal(SIGPIPE, SIG_IGN);
	d->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	return d->signals < 0 ? -errno : 0;
}

static int open_loop(struct daemon *d)
{
	/* Clients look at tcpd's flag too, so tcpd's is in the page they can see. */
	_Atomic u32 *sleeping = d->role == REGION_TCP ? &d->pub->sleeping : &d->hdr->sleeping;
	u64 usec = 0;
	int r;

	store_relaxed(sleeping, 0);	/* starts awake (crash rule 6) */
	r = loop_init(&d->loop, sleeping, d->conf.poll_us ? d->conf.poll_us * NSEC_PER_USEC : POLL_NS_DEFAULT);
	if (r < 0)
		return r;
	d->loop.poll_auto = !d->conf.poll_us;
	d->loop.epoch = &d->hdr->epoch;
	r = loop_add_fd(&d->loop, d->bell[d->role], EPOLLIN, on_bell, d);
	if (r >= 0)
		r = loop_add_fd(&d->loop, d->signals, EPOLLIN, on_signal, d);
	if (r >= 0)
		r = keeper_watch(d, d->keeper);
	if (r >= 0)
		r = loop_add_poller(&d->loop, housekeeping, NULL, d);
	if (r >= 0 && sd_watchdog_enabled(0, &usec) > 0)
		d->watchdog_ns = usec * NSEC_PER_USEC / 2;
	return MIN(r, 0);
}

int daemon_init(struct daemon *d, const char *name, enum region_id role, int argc, char **argv)
{
	struct rlimit files;
	char file[256];
	struct daemon_args a;
	int r;

	*d = (struct daemon){ .name = name, .role = role, .keeper = -1, .signals = -1 };
	if (daemon_args(name, argc, argv, &a) < 0)
		exit(EX_CONFIG);
	log_open(name, a.instance);
	log_set_level(a.level);
	if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur < files.rlim_max) {
		files.rlim_cur = files.rlim_max;	/* descriptors in flight are capped at the soft limit */
		if (setrlimit(RLIMIT_NOFILE, &files) < 0)
			log_warn("RLIMIT_NOFILE: %m");
	}
	snprintf(file, sizeof(file), "/etc/strata/%s.conf", a.instance);
	if (config_load(&d->conf, a.config ? a.config : file, a.instance) < 0)
		exit(EX_CONFIG);	/* units: not restarted, it would not mend it */
	r = open_signals(d);
	if (r == 0)
		r = place(d);
	if (r == 0)
		r = daemon_attach(d);
	if (r == 0) {
		r = open_loop(d);
		if (r < 0)
			log_err("event loop: %s", strerror(-r));
	}
	return r;
}

int daemon_run(struct daemon *d)
{
	int r;

	sd_notifyf(0, "READY=1\nSTATUS=start %u%s", load_relaxed(&d->hdr->starts),
		   d->fresh ? ", fresh" : ", carrying on");
	log_info("ready: start %u%s", load_relaxed(&d->hdr->starts), d->fresh ? " (fresh)" : "");
	r = loop_run(&d->loop);
	sd_notify(0, "STOPPING=1");
	if (r < 0)
		log_err("event loop: %s", strerror(-r));
	loop_fini(&d->loop);
	return r < 0 ? EXIT_FAILURE : d->status;
}

/* ---- what a daemon asks of others while it runs ---- */

void daemon_ring_always(struct daemon *d, enum region_id who)
{
	u64 one = 1;

	/* EAGAIN: it has been rung 2^64 - 1 times and not been read; it is as good as rung. */
	if (write(d->bell[who], &one, sizeof(one)) < 0 && errno != EAGAIN)
		log_err("doorbell of %s: %m", region_name(who));
	else
		count(d->counters, DOORBELLS);
}

void daemon_ring(struct daemon *d, enum region_id who)
{
	u32 sleep;

	/* Pairs with the fence in loop_sleep(), between declaring sleep and looking once more: either we see that it
	 * sleeps, or it sees what we have published. One ring in a sleep is enough: it looks again before the next. */
	fence_seq_cst();
	sleep = load_relaxed(d->sleeps[who]);
	if (!sleep || sleep == d->rung[who])
		return;
	daemon_ring_always(d, who);
	d->rung[who] = sleep;
}

int daemon_fd(struct daemon *d, const char *name)
{
	char lot[KEEPER_NAME];
	size_t n = strlen(name);

	if (strncmp(name, "lot:", 4) || n < 2 || n >= sizeof(lot) || name[n - 2] != ':')
		return keeper_find(&d->given, name);
	memcpy(lot, name, n + 1);	/* the ends of a lot: 0 or r is read, 1 or w is written */
	if (lot[n - 1] == 'r' || lot[n - 1] == 'w')
		lot[n - 1] = lot[n - 1] == 'r' ? '0' : '1';
	return keeper_find(&d->given, lot);
}

int daemon_parked(struct daemon *d, const char *name)
{
	/* What keepd made itself was not parked. */
	if (strncmp(name, "region:", 7) == 0 || strncmp(name, "bell:", 5) == 0 || strncmp(name, "lot:", 4) == 0)
		return -1;
	return keeper_find(&d->given, name);
}
