/* manager.h – a service manager for tests of keepd: starts it, keeps its descriptors, answers its barriers.
 *
 * Speaks the same protocols as systemd: READY=1, FDSTORE=1, FDSTOREREMOVE=1, FDNAME=, BARRIER=1 on NOTIFY_SOCKET,
 * LISTEN_FDS and LISTEN_FDNAMES on the way back. A thread answers, so the test may wait for keepd meanwhile. */
#ifndef STRATA_TEST_MANAGER_H
#define STRATA_TEST_MANAGER_H

#include <fcntl.h>
#include <linux/kcmp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/keeper.h"
#include "unit.h"

#define STORED_MAX 600

struct stored { char name[128]; int fd; };
struct manager {
	char dir[32], notify_path[64];
	int notify, listener;
	pid_t pid;
	pthread_t thread;
	pthread_mutex_t lock;
	_Atomic bool ready, seen, quit;
	bool with_store;
	u32 n;
	struct stored fd[STORED_MAX];
};

static inline void manager_unstore(struct manager *m, const char *name)
{
	for (u32 i = 0; i < m->n;) {
		if (strcmp(m->fd[i].name, name)) {
			i++;
			continue;
		}
		close(m->fd[i].fd);
		m->fd[i] = m->fd[--m->n];
	}
}

/* systemd throws away what it has already: the same open file, whatever its name. */
static inline bool manager_has(const struct manager *m, int fd)
{
	for (u32 i = 0; i < m->n; i++)
		if (syscall(SYS_kcmp, getpid(), getpid(), KCMP_FILE, m->fd[i].fd, fd) == 0)
			return true;
	return false;
}

static inline void manager_take(struct manager *m, char *state, int *fds, u32 nfds)
{
	const char *name = "stored";
	bool store = false, forget = false;

	for (char *save = NULL, *w = strtok_r(state, "\n", &save); w; w = strtok_r(NULL, "\n", &save)) {
		store |= strcmp(w, "FDSTORE=1") == 0;
		forget |= strcmp(w, "FDSTOREREMOVE=1") == 0;
		if (strcmp(w, "READY=1") == 0)
			m->ready = true;
		if (strcmp(w, "SEEN=1") == 0)
			m->seen = true;
		if (strncmp(w, "FDNAME=", 7) == 0)
			name = w + 7;
	}
	pthread_mutex_lock(&m->lock);
	if (forget)
		manager_unstore(m, name);
	for (u32 i = 0; i < nfds; i++) {
		if (!store || m->n == STORED_MAX || strchr(name, ':') || manager_has(m, fds[i])) {	/* a barrier: closing it is the answer */
			close(fds[i]);
			continue;
		}
		snprintf(m->fd[m->n].name, sizeof(m->fd[0].name), "%s", name);
		m->fd[m->n++].fd = fds[i];
	}
	pthread_mutex_unlock(&m->lock);
}

static inline void *manager_thread(void *arg)
{
	struct manager *m = arg;
	static char buf[4096];
	int fds[KEEPER_BATCH];

	while (!m->quit) {
		struct pollfd p = { .fd = m->notify, .events = POLLIN };
		u32 nfds = KEEPER_BATCH;
		ssize_t n;

		if (poll(&p, 1, 50) <= 0)
			continue;
		n = keeper_msg_recv(m->notify, buf, sizeof(buf) - 1, fds, &nfds, MSG_DONTWAIT);
		if (n < 0)
			continue;
		buf[n] = '\0';
		manager_take(m, buf, fds, nfds);
	}
	return NULL;
}

static inline int manager_bind(const char *path, int type)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);

	snprintf(sa.sun_path, sizeof(sa.sun_path), "%.100s", path);
	return fd >= 0 && bind(fd, (struct sockaddr *)&sa, sizeof(sa)) == 0 ? fd : -1;
}

/* A run directory of its own in $STRATA_RUNDIR; with_store: as under systemd, else as started by hand. */
static inline void manager_open(struct manager *m, bool with_store)
{
	char path[64];

	*m = (struct manager){ .listener = -1, .notify = -1, .lock = PTHREAD_MUTEX_INITIALIZER, .with_store = with_store };
	snprintf(m->dir, sizeof(m->dir), "/tmp/strata-test-XXXXXX");
	REQUIRE(mkdtemp(m->dir) != NULL);
	chmod(m->dir, 0755);
	setenv("STRATA_RUNDIR", m->dir, 1);
	if (!with_store)
		return;
	snprintf(path, sizeof(path), "%s/unit", m->dir);
	mkdir(path, 0755);
	snprintf(path, sizeof(path), "%s/unit/keep.sock", m->dir);
	m->listener = manager_bind(path, SOCK_SEQPACKET);
	REQUIRE(m->listener >= 0 && listen(m->listener, 16) == 0 && chmod(path, 0666) == 0);
	snprintf(m->notify_path, sizeof(m->notify_path), "%s/notify", m->dir);
	m->notify = manager_bind(m->notify_path, SOCK_DGRAM);
	REQUIRE(m->notify >= 0);
	pthread_create(&m->thread, NULL, manager_thread, m);
}

static inline void manager_child(struct manager *m)
{
	static char names[STORED_MAX * 32], num[16], pid[16];
	static int up[STORED_MAX + 1];
	u32 n = 0;

	setenv("NOTIFY_SOCKET", m->notify_path, 1);
	/* Out of the way first, then down to 3, 4, ... */
	up[n++] = fcntl(m->listener, F_DUPFD, 2000);
	snprintf(names, sizeof(names), "keep.sock");
	for (u32 i = 0; i < m->n; i++) {
		up[n++] = fcntl(m->fd[i].fd, F_DUPFD, 2000);
		snprintf(names + strlen(names), sizeof(names) - strlen(names), ":%s", m->fd[i].name);
	}
	for (u32 i = 0; i < n; i++) {
		dup2(up[i], 3 + (int)i);
		close(up[i]);
	}
	close_range(3 + n, ~0u, 0);
	snprintf(num, sizeof(num), "%u", n);
	snprintf(pid, sizeof(pid), "%d", getpid());
	setenv("LISTEN_FDS", num, 1);
	setenv("LISTEN_PID", pid, 1);
	setenv("LISTEN_FDNAMES", names, 1);
}

static inline bool manager_start(struct manager *m)
{
	const char *keepd = getenv("KEEPD");

	m->ready = false;
	pthread_mutex_lock(&m->lock);
	m->pid = fork();
	if (m->pid == 0) {
		unsetenv("NOTIFY_SOCKET");
		if (m->with_store)
			manager_child(m);
		execl(keepd, keepd, "--instance", "unit", "--log", getenv("TEST_LOG") ? "debug" : "err", NULL);
		_exit(127);
	}
	pthread_mutex_unlock(&m->lock);
	for (int i = 0; i < 500; i++) {
		int sock = m->with_store ? (m->ready ? 0 : -1) : keeper_connect("unit");

		if (sock > 0)
			close(sock);
		if (sock >= 0)
			return true;
		usleep(10000);
	}
	return false;
}

/* As systemd does, which looks at notifications before it looks at deaths: what a dead keepd has said is heard before another starts. */
static inline void manager_hear(struct manager *m)
{
	struct sockaddr_un to = { .sun_family = AF_UNIX };
	int sock = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	snprintf(to.sun_path, sizeof(to.sun_path), "%s", m->notify_path);
	m->seen = false;
	CHECK_EQ(sendto(sock, "SEEN=1", 6, 0, (struct sockaddr *)&to, sizeof(to)), 6);
	close(sock);
	for (int i = 0; i < 1000 && !m->seen; i++)
		usleep(5000);
	CHECK(m->seen);
}

static inline int manager_stop(struct manager *m, int sig)
{
	int status = 0;

	kill(m->pid, sig);
	waitpid(m->pid, &status, 0);
	m->pid = 0;
	if (m->with_store)
		manager_hear(m);
	return status;
}

static inline void manager_close(struct manager *m)
{
	char cmd[128];

	if (m->pid > 0)
		manager_stop(m, SIGKILL);
	m->quit = true;
	if (m->with_store)
		pthread_join(m->thread, NULL);
	for (u32 i = 0; i < m->n; i++)
		close(m->fd[i].fd);
	close(m->notify);
	close(m->listener);
	snprintf(cmd, sizeof(cmd), "rm -rf %s", m->dir);
	CHECK_EQ(system(cmd), 0);
}

/* HELLO on a connection of its own. */
static inline int hello(const char *role, struct keeper_reply *r)
{
	int sock = keeper_connect("unit"), e;

	if (sock < 0)
		return sock;
	e = keeper_hello(sock, role, 1, r);
	close(sock);
	return e;
}

#endif
