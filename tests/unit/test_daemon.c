/* test_daemon.c – mirrors common/daemon.c and attach.c: a real keepd, daemons that do nothing.
 * Needs $KEEPD, the path of strata-keepd. */
#include <sys/mman.h>

#include "common/daemon.h"
#include "common/region.h"
#include "manager.h"

static struct manager m;
static struct daemon d;
static struct keeper_reply given;

static void open_with_config(bool with_store)
{
	char path[128];
	FILE *f;

	manager_open(&m, with_store);
	snprintf(path, sizeof(path), "%s/unit.conf", m.dir);
	f = fopen(path, "w");
	REQUIRE(f != NULL);
	fputs("[link tap0]\ndriver = tap\n[ip]\naddress = 10.0.0.2/24 dev tap0\n[run]\ncpus = linkd=0 tcpd=0\n", f);
	fclose(f);
	REQUIRE(manager_start(&m));
}

static int init(const char *name, enum region_id role)
{
	char path[128];
	char *argv[] = { (char *)name, (char *)"--instance", (char *)"unit", (char *)"--config", path,
			 (char *)"--log", (char *)(getenv("TEST_LOG") ? "debug" : "err"), NULL };

	snprintf(path, sizeof(path), "%s/unit.conf", m.dir);
	optind = 1;
	return daemon_init(&d, name, role, 7, argv);
}

/* A daemon in a process of its own: fn's result is the exit status. */
static pid_t spawn(int (*fn)(void))
{
	pid_t pid = fork();

	if (pid == 0)
		_exit(fn());
	return pid;
}

static int wait_for(pid_t pid)
{
	int status = -1;

	waitpid(pid, &status, 0);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

static struct tcp_shm *look_tcp(void)
{
	void *p;

	REQUIRE_EQ(hello("tcpd", &given), 0);
	p = region_map(keeper_find(&given, "region:tcp"), region_size(REGION_TCP), true);
	keeper_close(&given);
	REQUIRE(p != NULL);
	return p;
}

#define EXPECT(cond) do { if (!(cond)) { printf("# in the daemon: %s:%d: %s\n", __FILE__, __LINE__, #cond); return 1; } } while (0)

static int first_tcpd(void)
{
	EXPECT(init("tcpd", REGION_TCP) == 0);
	EXPECT(d.fresh && d.hdr == &d.tcp->hdr && d.counters == &d.tcp->counters);
	EXPECT(load_relaxed(&d.hdr->starts) == 1 && d.hdr->pid == (u32)getpid() && d.hdr->started);
	EXPECT(load_relaxed(&d.pub->starts) == 1 && d.pub->magic == REGION_MAGIC);
	EXPECT(d.loop.sleeping == &d.pub->sleeping);
	EXPECT(daemon_fd(&d, "region:secret") >= 0 && daemon_fd(&d, "lot:tcp:31:r") >= 0);
	EXPECT(daemon_fd(&d, "lot:tcp:31:w") == daemon_fd(&d, "lot:tcp:31:1"));
	EXPECT(daemon_fd(&d, "lot:sock:0:w") < 0 && daemon_parked(&d, "region:tcp") < 0);
	EXPECT(d.pools.p[POOL_LINK].words == d.link->words);
	d.tcp->words[7] = 42;
	return 0;
}

static int second_tcpd(void)
{
	EXPECT(init("tcpd", REGION_TCP) == 0);
	EXPECT(!d.fresh && load_relaxed(&d.hdr->starts) == 2 && d.tcp->words[7] == 42);
	return 0;
}

static int reset_tcpd(void)
{
	EXPECT(init("tcpd", REGION_TCP) == 0);
	EXPECT(d.fresh && load_relaxed(&d.hdr->starts) == 1 && d.tcp->words[7] == 0);
	EXPECT(region_check(d.hdr, REGION_TCP) == 0);
	return 0;
}

static void a_start_is_a_restart(void)
{
	struct tcp_shm *t;

	open_with_config(true);
	CHECK_EQ(wait_for(spawn(first_tcpd)), 0);
	CHECK_EQ(wait_for(spawn(second_tcpd)), 0);
	t = look_tcp();
	t->hdr.version = 99;	/* another version's */
	CHECK_EQ(wait_for(spawn(reset_tcpd)), 0);
	munmap(t, region_size(REGION_TCP));
	manager_close(&m);
}

static int runner(void)
{
	if (init("tcpd", REGION_TCP))
		return 99;
	return daemon_run(&d);
}

static bool up(struct tcp_shm *t, u32 starts)
{
	for (int i = 0; i < 300 && load_acquire(&t->hdr.starts) < starts; i++)
		usleep(10000);
	usleep(100000);
	return load_acquire(&t->hdr.starts) == starts;
}

static void leaves_on_sigterm(void)
{
	struct tcp_shm *t;
	pid_t pid;

	open_with_config(true);
	t = look_tcp();
	pid = spawn(runner);
	CHECK(up(t, 1));
	kill(pid, SIGTERM);
	CHECK_EQ(wait_for(pid), 0);
	munmap(t, region_size(REGION_TCP));
	manager_close(&m);
}

/* keepd dies and comes back with everything: nobody is disturbed. It loses everything: the daemon starts afresh. */
static void outlives_its_keeper_but_not_the_regions(void)
{
	struct tcp_shm *t;
	pid_t pid;

	open_with_config(true);
	t = look_tcp();
	pid = spawn(runner);
	CHECK(up(t, 1));
	for (int i = 0; i < 3; i++) {
		manager_stop(&m, SIGKILL);
		usleep(300000);
		REQUIRE(manager_start(&m));
		usleep(400000);
		CHECK_EQ(waitpid(pid, NULL, WNOHANG), 0);
	}
	manager_stop(&m, SIGKILL);
	while (m.n)
		manager_unstore(&m, m.fd[0].name);
	REQUIRE(manager_start(&m));
	CHECK_EQ(wait_for(pid), EXIT_FAILURE);
	munmap(t, region_size(REGION_TCP));
	manager_close(&m);
}

/* Connections to a keeper that is away succeed (its socket is the manager's) and are not answered: nobody waits for that. */
static void runs_without_its_keeper(void)
{
	struct tcp_shm *t;
	u64 start;
	pid_t pid;

	open_with_config(true);
	t = look_tcp();
	pid = spawn(runner);
	CHECK(up(t, 1));
	manager_stop(&m, SIGKILL);
	usleep(500000);		/* it has asked again by now */
	start = clock_ns();
	kill(pid, SIGTERM);
	CHECK_EQ(wait_for(pid), 0);
	CHECK(clock_ns() - start < 500 * NSEC_PER_MSEC);
	munmap(t, region_size(REGION_TCP));
	manager_close(&m);
}

/* Started before its keeper: waits for it. */
static void waits_for_its_keeper(void)
{
	pid_t pid;

	open_with_config(false);
	manager_stop(&m, SIGKILL);
	pid = spawn(first_tcpd);
	usleep(300000);
	CHECK_EQ(waitpid(pid, NULL, WNOHANG), 0);
	REQUIRE(manager_start(&m));
	CHECK_EQ(wait_for(pid), 0);
	manager_close(&m);
}

static int parker(void)
{
	int p[2];

	EXPECT(init("linkd", REGION_LINK) == 0 && pipe(p) == 0);
	EXPECT(daemon_parked(&d, "dev:tap0") < 0);
	EXPECT(daemon_park(&d, "dev:tap0", p[0]) == 0);
	EXPECT(daemon_park(&d, "bell:tcp", p[0]) == -EINVAL && daemon_park(&d, "x", -1) == -EBADF);
	EXPECT(write(p[1], "x", 1) == 1);
	return 0;
}

static int unparker(void)
{
	char c;

	EXPECT(init("linkd", REGION_LINK) == 0);
	EXPECT(daemon_parked(&d, "dev:tap0") >= 0);
	EXPECT(read(daemon_parked(&d, "dev:tap0"), &c, 1) == 1);
	kill(m.pid, SIGSTOP);	/* and while keepd is being replaced */
	kill(m.pid, SIGKILL);
	kill(m.pid, SIGCONT);
	EXPECT(daemon_unpark(&d, "dev:tap0") == 0);
	return 0;
}

static void parks_devices(void)
{
	pid_t pid;

	open_with_config(true);
	CHECK_EQ(wait_for(spawn(parker)), 0);
	pid = spawn(unparker);
	waitpid(m.pid, NULL, 0);
	REQUIRE(manager_start(&m));
	CHECK_EQ(wait_for(pid), 0);
	REQUIRE_EQ(hello("linkd", &given), 0);
	CHECK_EQ(keeper_find(&given, "dev:tap0"), -1);
	keeper_close(&given);
	manager_close(&m);
}

static int ringer(void)
{
	u64 n = 0;

	EXPECT(init("ipd", REGION_IP) == 0);
	daemon_ring(&d, REGION_TCP);	/* awake: not rung */
	EXPECT(read(d.bell[REGION_TCP], &n, 8) < 0 && errno == EAGAIN);
	EXPECT(counter_get(d.counters, DOORBELLS) == 0);
	return 0;
}

static int sleeper(void)
{
	u64 n = 0;

	EXPECT(init("ipd", REGION_IP) == 0);
	daemon_ring(&d, REGION_TCP);
	EXPECT(read(d.bell[REGION_TCP], &n, 8) == 8 && n == 1);
	daemon_ring_always(&d, REGION_LINK);
	EXPECT(read(d.bell[REGION_LINK], &n, 8) == 8 && counter_get(d.counters, DOORBELLS) == 2);
	return 0;
}

/* tcpd's flag is the one in its public page. */
static void rings_only_sleepers(void)
{
	struct pub_shm *p;
	pid_t pid;

	open_with_config(false);
	pid = spawn(ringer);
	CHECK_EQ(wait_for(pid), 0);
	REQUIRE_EQ(hello("tcpd", &given), 0);
	p = region_map(keeper_find(&given, "region:pub"), PAGE, true);
	keeper_close(&given);
	REQUIRE(p != NULL);
	store_release(&p->sleeping, 1);
	CHECK_EQ(wait_for(spawn(sleeper)), 0);
	munmap(p, PAGE);
	manager_close(&m);
}

UNIT_MAIN(UNIT(a_start_is_a_restart), UNIT(leaves_on_sigterm), UNIT(outlives_its_keeper_but_not_the_regions),
	  UNIT(runs_without_its_keeper), UNIT(waits_for_its_keeper), UNIT(parks_devices), UNIT(rings_only_sleepers))
