/* main.c – strata-sockd: the socket front end. Attach (a start is a restart), then serve. The path is in path.h.
 *
 * The listening socket comes from systemd (it outlives us, crash rule 10) or is made here. */
#include "path.h"
#include "common/keeper.h"
#include "common/log.h"

#include <fcntl.h>
#include <grp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#define BACKLOG 4096

static int make_listener(const char *instance)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	int n = snprintf(a.sun_path, sizeof(a.sun_path), "%s/%s/sock", strata_rundir(), instance);

	if (n < 0 || (size_t)n >= sizeof(a.sun_path))
		return -ENAMETOOLONG;
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	if (unlink(a.sun_path) < 0 && errno != ENOENT)
		log_warn("%s: %s", a.sun_path, strerror(errno));
	if (bind(fd, (struct sockaddr *)&a, sizeof(a)) < 0 || chmod(a.sun_path, 0666) < 0 || listen(fd, BACKLOG) < 0) {
		int r = -errno;

		log_err("cannot listen on %s: %s", a.sun_path, strerror(errno));
		close(fd);
		return r;
	}
	return fd;
}

static int listener_open(const char *instance)
{
	int n = sd_listen_fds(0);

	for (int fd = SD_LISTEN_FDS_START; fd < SD_LISTEN_FDS_START + n; fd++)
		if (sd_is_socket(fd, AF_UNIX, SOCK_SEQPACKET, 1) > 0)
			return fcntl(fd, F_SETFL, O_RDWR | O_NONBLOCK) < 0 ? -errno : fd;	/* systemd's are blocking */
	return make_listener(instance);
}

static void lots_open(struct daemon *d, struct lots *l, const char *owner, bool read)
{
	char name[32];

	for (u32 i = 0; i < LOTS_MAX; i++) {
		snprintf(name, sizeof(name), "lot:%s:%u:1", owner, i);
		int w = daemon_fd(d, name);
		if (w < 0)
			break;
		snprintf(name, sizeof(name), "lot:%s:%u:0", owner, i);
		l->lot[l->n++] = (struct lot){ .w = w, .r = read ? daemon_fd(d, name) : -1 };
	}
}

static int attach(struct sockd *s)
{
	struct group *g = getgrnam("strata");
	int r;

	s->admin_gid = g ? g->gr_gid : 0;
	lots_open(&s->d, &s->tcp_lots, "tcp", false);
	lots_open(&s->d, &s->sock_lots, "sock", true);
	s->pub_fd = daemon_fd(&s->d, "region:pub");
	if (!s->tcp_lots.n || !s->sock_lots.n || s->pub_fd < 0) {
		log_err("keepd gave no lots or no public page; is it of this version?");
		return -EPROTO;
	}
	if ((r = mailbox_open(s)) < 0)
		return r;
	if ((r = arenas_attach(s)) < 0)
		return r;
	if ((s->listener = listener_open(s->d.conf.instance)) < 0)
		return s->listener;
	return clients_open(s);
}

int main(int argc, char **argv)
{
	struct sockd *s = calloc(1, sizeof(*s));
	int r;

	if (!s)
		return EXIT_FAILURE;
	r = daemon_init(&s->d, "sockd", REGION_SOCK, argc, argv);
	if (r == 0) {
		r = attach(s);
		if (r)
			log_err("cannot start: %s", strerror(-r));
	}
	if (r) {
		log_give_up(r);
		return EXIT_FAILURE;
	}
	daemon_ring_always(&s->d, REGION_TCP);
	daemon_ring_always(&s->d, REGION_IP);
	return daemon_run(&s->d);
}
