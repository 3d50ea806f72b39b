/* test_keep.c – mirrors services/keep: the real program, a service manager played by manager.h.
 * Needs $KEEPD, the path of strata-keepd. */
#include <grp.h>
#include <sys/eventfd.h>
#include <sys/mman.h>

#include "common/region.h"
#include "manager.h"
#include "proto/keeper.pb-c.h"

static struct manager m;
static struct keeper_reply a, b;

static ino_t inode(int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 ? st.st_ino : 0;
}

static int access_of(const struct keeper_reply *r, const char *name)
{
	int fd = keeper_find(r, name);

	return fd < 0 ? -1 : fcntl(fd, F_GETFL) & O_ACCMODE;
}

static u32 count_named(const struct keeper_reply *r, const char *prefix)
{
	u32 n = 0;

	for (u32 i = 0; i < r->n; i++)
		n += strncmp(r->fd[i].name, prefix, strlen(prefix)) == 0;
	return n;
}

static void every_role_gets_its_own(void)
{
	static const char *const role[] = { "linkd", "ipd", "tcpd", "sockd" };

	manager_open(&m, true);
	REQUIRE(manager_start(&m));
	for (u32 i = 0; i < 4; i++) {
		REQUIRE_EQ(hello(role[i], &a), 0);
		for (enum region_id id = 0; id < REGION_IDS; id++) {
			char name[32];
			bool own = id == i || (i == REGION_TCP && id == REGION_PUB);

			snprintf(name, sizeof(name), "region:%s", region_name(id));
			CHECK_EQ(access_of(&a, name), own ? O_RDWR : O_RDONLY);
		}
		CHECK_EQ(count_named(&a, "bell:"), 4);
		CHECK_EQ(count_named(&a, "lot:tcp:"), i == REGION_TCP ? 64 : i == REGION_SOCK ? 32 : 0);
		CHECK_EQ(count_named(&a, "lot:sock:"), i == REGION_SOCK ? 8 : 0);
		CHECK_EQ(keeper_find(&a, "region:secret") >= 0, i == REGION_TCP);
		CHECK_EQ(keeper_find(&a, "lot:tcp:0:0") >= 0, i == REGION_TCP);
		keeper_close(&a);
	}
	REQUIRE_EQ(hello("cli", &a), 0);
	CHECK_EQ(a.n, REGION_IDS);
	for (u32 i = 0; i < a.n; i++)
		CHECK_EQ(access_of(&a, a.fd[i].name), O_RDONLY);
	keeper_close(&a);
	manager_close(&m);
}

/* Write, park, kill -9, start: the same memory, the same doorbells, what lies in a lot, what was parked. */
static void everything_survives_sigkill(void)
{
	int sock, ev = eventfd(7, EFD_NONBLOCK | EFD_CLOEXEC), ev2 = eventfd(9, EFD_NONBLOCK | EFD_CLOEXEC);
	char text[200], buf[16];
	u32 *word;
	u64 n;

	manager_open(&m, true);
	REQUIRE(manager_start(&m));
	REQUIRE_EQ(hello("tcpd", &a), 0);
	word = region_map(keeper_find(&a, "region:tcp"), PAGE, true);
	REQUIRE(word != NULL);
	*word = 0xfee1dead;
	CHECK_EQ(write(keeper_find(&a, "lot:tcp:5:1"), "parked", 6), 6);
	sock = keeper_connect("unit");
	CHECK_EQ(keeper_park(sock, "linkd", "dev:tap0", ev, text, sizeof(text)), 0);
	for (int round = 0; round < 5; round++) {
		manager_stop(&m, SIGKILL);
		CHECK(keeper_park(sock, "linkd", "dev:tap0", ev2, text, sizeof(text)) < 0);
		close(sock);
		REQUIRE(manager_start(&m));
		REQUIRE_EQ(hello("tcpd", &b), 0);
		for (u32 i = 0; i < a.n; i++) {
			bool bell = strncmp(a.fd[i].name, "bell:", 5) == 0;	/* anonymous inodes are all one */

			CHECK(bell || inode(keeper_find(&b, a.fd[i].name)) == inode(a.fd[i].fd));
		}
		n = 1;
		CHECK_EQ(write(keeper_find(&a, "bell:tcp"), &n, 8), 8);
		CHECK_EQ(read(keeper_find(&b, "bell:tcp"), &n, 8), 8);
		CHECK_EQ(recv(keeper_find(&b, "lot:tcp:5:0"), buf, sizeof(buf), MSG_PEEK), 6);
		keeper_close(&b);
		REQUIRE_EQ(hello("linkd", &b), 0);
		n = 0;
		CHECK_EQ(read(keeper_find(&b, "dev:tap0"), &n, 8), 8);
		CHECK_EQ(n, round == 0 ? 7 : 9);
		keeper_close(&b);
		sock = keeper_connect("unit");
		n = 9;
		CHECK(read(ev2, buf, 8) == 8 || errno == EAGAIN);
		CHECK_EQ(write(ev2, &n, 8), 8);
		CHECK_EQ(keeper_park(sock, "linkd", "dev:tap0", ev2, text, sizeof(text)), 0);	/* replaces */
	}
	CHECK_EQ(*word, 0xfee1dead);
	munmap(word, PAGE);
	keeper_close(&a);
	CHECK_EQ(manager_stop(&m, SIGTERM), 0);
	close(sock);
	close(ev);
	close(ev2);
	manager_close(&m);
}

/* Killed between storing a replacement and removing what it replaces. */
static void the_newer_of_two_counts(void)
{
	int old = eventfd(1, EFD_NONBLOCK | EFD_CLOEXEC), new_ = eventfd(2, EFD_NONBLOCK | EFD_CLOEXEC);
	u64 n = 0;

	manager_open(&m, true);
	m.n = 2;
	m.fd[0] = (struct stored){ "park/linkd/dev/tap0/4294967295", old };
	m.fd[1] = (struct stored){ "park/linkd/dev/tap0/0", new_ };
	REQUIRE(manager_start(&m));
	REQUIRE_EQ(hello("linkd", &a), 0);
	CHECK_EQ(read(keeper_find(&a, "dev:tap0"), &n, 8), 8);
	CHECK_EQ(n, 2);
	keeper_close(&a);
	manager_close(&m);
}

/* systemd keeps an open file once: parking it again must neither throw it out nor count on a second copy. */
static void parked_again_stays_parked(void)
{
	int dev = eventfd(5, EFD_NONBLOCK | EFD_CLOEXEC), sock;
	char text[200];
	u64 n = 0;

	manager_open(&m, true);
	REQUIRE(manager_start(&m));
	sock = keeper_connect("unit");
	for (u32 i = 0; i < 4; i++)
		CHECK_EQ(keeper_park(sock, "linkd", "dev:tap0", dev, text, sizeof(text)), 0);
	CHECK_EQ(keeper_park(sock, "linkd", "dev:tap1", dev, text, sizeof(text)), -EEXIST);
	close(sock);
	close(dev);		/* its holder dies, and so does the keeper */
	manager_stop(&m, SIGKILL);
	REQUIRE(manager_start(&m));
	REQUIRE_EQ(hello("linkd", &a), 0);
	REQUIRE(keeper_find(&a, "dev:tap0") >= 0);
	CHECK_EQ(read(keeper_find(&a, "dev:tap0"), &n, 8), 8);
	CHECK_EQ(n, 5);
	keeper_close(&a);
	manager_close(&m);
}

static void parking_has_rules(void)
{
	static const char *const bad[] = { "", "region:tcp", "bell:tcp", "lot:tcp:0:0", "a/b", "a b",
					   "a-name-that-is-longer-than-31-char" };
	int ev = eventfd(0, EFD_CLOEXEC), sock;
	char text[200], name[32];
	int dev[65];

	manager_open(&m, true);
	REQUIRE(manager_start(&m));
	sock = keeper_connect("unit");
	for (u32 i = 0; i < ARRAY_SIZE(bad); i++)
		CHECK_EQ(keeper_park(sock, "linkd", bad[i], ev, text, sizeof(text)), -EINVAL);
	CHECK_EQ(keeper_park(sock, "cli", "x", ev, text, sizeof(text)), -EINVAL);
	for (u32 i = 0; i <= 64; i++) {
		dev[i] = eventfd(0, EFD_CLOEXEC);
		snprintf(name, sizeof(name), "dev:%u", i);
		CHECK_EQ(keeper_park(sock, "linkd", name, dev[i], text, sizeof(text)), i < 64 ? 0 : -ENOSPC);
	}
	CHECK_EQ(keeper_park(sock, "ipd", "dev:0", ev, text, sizeof(text)), 0);
	REQUIRE_EQ(hello("linkd", &a), 0);
	CHECK_EQ(count_named(&a, "dev:"), 64);
	keeper_close(&a);
	for (u32 i = 0; i < 64; i++) {
		snprintf(name, sizeof(name), "dev:%u", i);
		CHECK_EQ(keeper_park(sock, "linkd", name, -1, text, sizeof(text)), 0);
		CHECK_EQ(keeper_park(sock, "linkd", name, -1, text, sizeof(text)), 0);	/* asked twice */
	}
	for (u32 i = 0; i <= 64; i++)
		close(dev[i]);
	close(sock);
	manager_stop(&m, SIGKILL);
	REQUIRE(manager_start(&m));
	REQUIRE_EQ(hello("linkd", &a), 0);
	CHECK_EQ(count_named(&a, "dev:"), 0);
	keeper_close(&a);
	REQUIRE_EQ(hello("ipd", &a), 0);
	CHECK_EQ(count_named(&a, "dev:"), 1);
	keeper_close(&a);
	close(ev);
	manager_close(&m);
}

/* A ring has a half in two regions: one lost region makes the others worthless, and devices stay. */
static void a_lost_region_means_afresh(void)
{
	int ev = eventfd(3, EFD_NONBLOCK | EFD_CLOEXEC), sock;
	char text[200];

	manager_open(&m, true);
	REQUIRE(manager_start(&m));
	sock = keeper_connect("unit");
	CHECK_EQ(keeper_park(sock, "linkd", "dev:tap0", ev, text, sizeof(text)), 0);
	close(sock);
	REQUIRE_EQ(hello("linkd", &a), 0);
	manager_stop(&m, SIGKILL);
	manager_unstore(&m, "region/ip");
	manager_unstore(&m, "lot/tcp/3/0");
	REQUIRE(manager_start(&m));
	REQUIRE_EQ(hello("linkd", &b), 0);
	CHECK(inode(keeper_find(&a, "region:link")) != inode(keeper_find(&b, "region:link")));
	CHECK(inode(keeper_find(&a, "region:tcp")) != inode(keeper_find(&b, "region:tcp")));
	CHECK(keeper_find(&b, "dev:tap0") >= 0);
	keeper_close(&a);
	keeper_close(&b);
	/* A lost end of a lot costs that lot only. */
	REQUIRE_EQ(hello("tcpd", &a), 0);
	manager_stop(&m, SIGKILL);
	manager_unstore(&m, "lot/tcp/3/0");
	REQUIRE(manager_start(&m));
	REQUIRE_EQ(hello("tcpd", &b), 0);
	CHECK(inode(keeper_find(&a, "region:tcp")) == inode(keeper_find(&b, "region:tcp")));
	CHECK(inode(keeper_find(&a, "lot:tcp:3:1")) != inode(keeper_find(&b, "lot:tcp:3:1")));
	CHECK(inode(keeper_find(&a, "lot:tcp:4:1")) == inode(keeper_find(&b, "lot:tcp:4:1")));
	keeper_close(&a);
	keeper_close(&b);
	close(ev);
	manager_close(&m);
}

static bool cut_off(int sock)
{
	struct pollfd p = { .fd = sock, .events = POLLIN };
	char c;

	return poll(&p, 1, 2000) == 1 && recv(sock, &c, 1, 0) <= 0;
}

static void garbage_is_cut_off(void)
{
	static u8 junk[KEEPER_MSG + 100];
	Strata__Keeper__Request q = STRATA__KEEPER__REQUEST__INIT;
	int ev = eventfd(0, EFD_CLOEXEC), many[3] = { ev, ev, ev }, sock;
	u32 seed = 1;
	size_t n;

	manager_open(&m, true);
	REQUIRE(manager_start(&m));
	for (u32 i = 0; i < 500; i++) {
		sock = keeper_connect("unit");
		REQUIRE(sock >= 0);
		n = 1 + (seed >> 8) % 200;
		for (size_t k = 0; k < n; k++)
			junk[k] = (u8)((seed = seed * 1664525 + 1013904223) >> 24);
		CHECK_EQ(keeper_msg_send(sock, junk, n, many, i % 4, 0), 0);
		if (i % 3)	/* and hang up before anything is answered */
			CHECK(cut_off(sock));
		close(sock);
	}
	sock = keeper_connect("unit");	/* too long */
	CHECK_EQ(keeper_msg_send(sock, junk, sizeof(junk), NULL, 0, 0), 0);
	CHECK(cut_off(sock));
	close(sock);
	q.op = STRATA__KEEPER__REQUEST__OP__HELLO;	/* a descriptor where none belongs */
	q.role = (char *)"linkd";
	n = strata__keeper__request__pack(&q, junk);
	sock = keeper_connect("unit");
	CHECK_EQ(keeper_msg_send(sock, junk, n, &ev, 1, 0), 0);
	CHECK(cut_off(sock));
	close(sock);
	CHECK_EQ(hello("nobody", &a), -EPERM);
	sock = keeper_connect("unit");	/* asks without ever reading */
	for (u32 i = 0; i < 5000 && keeper_msg_send(sock, junk, n, NULL, 0, MSG_DONTWAIT) == 0; i++)
		continue;
	REQUIRE_EQ(hello("linkd", &a), 0);	/* alive, and serves others */
	keeper_close(&a);
	close(sock);
	close(ev);
	manager_close(&m);
}

static void strangers_get_nothing(void)
{
	int status = 0;
	pid_t pid;

	if (geteuid())
		return;		/* needs a second user */
	manager_open(&m, false);
	REQUIRE(manager_start(&m));
	pid = fork();
	if (pid == 0) {
		if (setgroups(0, NULL) || setgid(65534) || setuid(65534))
			_exit(2);
		_exit(hello("tcpd", &a) != -EPERM || hello("cli", &a) != -EPERM);
	}
	waitpid(pid, &status, 0);
	CHECK_EQ(status, 0);
	manager_close(&m);
}

/* Many come, none leaves a descriptor behind. */
static void nothing_leaks(void)
{
	char path[64], cmd[128];

	manager_open(&m, true);
	REQUIRE(manager_start(&m));
	REQUIRE_EQ(hello("tcpd", &a), 0);
	keeper_close(&a);
	snprintf(path, sizeof(path), "%s/fds", m.dir);
	for (int i = 0; i < 200; i++) {
		if (i == 0 || i == 199) {
			usleep(20000);
			snprintf(cmd, sizeof(cmd), "ls /proc/%d/fd | wc -l >>%s", m.pid, path);
			CHECK_EQ(system(cmd), 0);
		}
		REQUIRE_EQ(hello(i % 2 ? "sockd" : "cli", &a), 0);
		keeper_close(&a);
	}
	snprintf(cmd, sizeof(cmd), "test $(uniq %s | wc -l) = 1", path);
	CHECK_EQ(system(cmd), 0);
	manager_close(&m);
}

UNIT_MAIN(UNIT(every_role_gets_its_own), UNIT(everything_survives_sigkill), UNIT(the_newer_of_two_counts),
	  UNIT(parked_again_stays_parked), UNIT(parking_has_rules), UNIT(a_lost_region_means_afresh), UNIT(garbage_is_cut_off),
	  UNIT(strangers_get_nothing), UNIT(nothing_leaks))
