/* test_daemon.c – mirrors common/daemon.c, attach.c, rings.c: a real keepd, daemons that do nothing.
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

/* ---- rings, without a keeper ---- */

static void fake(enum region_id role)
{
	d = (struct daemon){ .role = role };
	d.link = mmap(NULL, sizeof(*d.link), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	d.ip = mmap(NULL, sizeof(*d.ip), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	d.tcp = mmap(NULL, sizeof(*d.tcp), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

static void unfake(void)
{
	munmap(d.link, sizeof(*d.link));
	munmap(d.ip, sizeof(*d.ip));
	munmap(d.tcp, sizeof(*d.tcp));
}

static void both_ends_meet(void)
{
	static const struct { enum ring_id id; enum region_id from, to; } all[] = {
		{ R_LINK_IP, REGION_LINK, REGION_IP },	    { R_IP_TCP, REGION_IP, REGION_TCP },
		{ R_TCP_IP, REGION_TCP, REGION_IP },	    { R_IP_LINK, REGION_IP, REGION_LINK },
		{ R_IP_LINK_DONE, REGION_IP, REGION_LINK }, { R_TCP_LINK_DONE, REGION_TCP, REGION_LINK },
		{ R_LINK_TCP_DONE, REGION_LINK, REGION_TCP }, { R_LINK_IP_DONE, REGION_LINK, REGION_IP },
		{ R_IP_TCP_DONE, REGION_IP, REGION_TCP },   { R_TCP_IP_DONE, REGION_TCP, REGION_IP },
	};
	static_assert(ARRAY_SIZE(all) == R_HOLD - 1, "every ring");

	fake(REGION_LINK);
	for (u32 i = 0; i < ARRAY_SIZE(all); i++) {
		struct ring p, c;
		u32 *slot;

		d.role = all[i].from;
		ring_open(&d, all[i].id, &p);
		d.role = all[i].to;
		ring_open(&d, all[i].id, &c);
		CHECK(p.prod == c.prod && p.cons == c.cons && p.slots == c.slots && p.mask == c.mask);
		for (u32 k = 0; k < ring_capacity(&p); k++) {
			slot = ring_reserve(&p);
			REQUIRE(slot != NULL);
			*slot = i << 16 | k;
		}
		CHECK(ring_reserve(&p) == NULL);
		ring_publish(&p);
	}
	for (u32 i = 0; i < ARRAY_SIZE(all); i++) {	/* and none lies on another */
		struct ring c;

		d.role = all[i].to;
		ring_open(&d, all[i].id, &c);
		for (u32 k = 0; k < ring_capacity(&c); k++, ring_next(&c)) {
			REQUIRE(ring_peek(&c) != NULL);
			REQUIRE_EQ(*(const u32 *)ring_peek(&c), i << 16 | k);
		}
		ring_release(&c);
		CHECK(ring_peek(&c) == NULL);
	}
	unfake();
}

static void put(struct ring *r, u8 ring, u32 index, u16 sub, u8 flags)
{
	struct sk_buff *s = ring_reserve(r);

	REQUIRE(s != NULL);
	*s = (struct sk_buff){ .cause = { .index = index, .sub = sub, .ring = ring, .flags = flags } };
}

static void newest_cause_is_published_and_complete(void)
{
	struct ring r, c;
	u32 i = 7;

	fake(REGION_IP);
	store_relaxed(&d.ip->ip_link.head, 0xfffffff0u);	/* near the wrap */
	store_relaxed(&d.link->ip_link.tail, 0xfffffff0u);
	ring_open(&d, R_IP_LINK, &r);
	CHECK(!ring_newest_cause(&r, false, R_TCP_IP, &i));
	put(&r, R_TCP_IP, 0xffffffffu, 0, CAUSE_LAST);
	put(&r, R_TCP_IP, 0, 0, CAUSE_LAST);
	put(&r, R_TCP_IP, 1, 0, 0);	/* a fragment, more to come */
	put(&r, R_HOLD, 900, 0, CAUSE_LAST);
	CHECK(!ring_newest_cause(&r, false, R_TCP_IP, &i));	/* nothing published yet */
	ring_publish(&r);
	CHECK(ring_newest_cause(&r, false, R_TCP_IP, &i));
	CHECK_EQ(i, 0);
	CHECK(ring_newest_cause(&r, false, R_HOLD, &i) && i == 900);
	CHECK(ring_has_cause(&r, false, R_TCP_IP, 1, 0) && !ring_has_cause(&r, false, R_TCP_IP, 1, 1));
	put(&r, R_TCP_IP, 1, 1, CAUSE_LAST);
	CHECK(ring_newest_cause(&r, false, R_TCP_IP, &i) && i == 0);
	ring_publish(&r);
	CHECK(ring_newest_cause(&r, false, R_TCP_IP, &i) && i == 1);
	/* Consumed, and our input's tail not moved: still counts. */
	d.role = REGION_LINK;
	ring_open(&d, R_IP_LINK, &c);
	while (ring_peek(&c))
		ring_next(&c);
	ring_release(&c);
	CHECK(ring_newest_cause(&r, false, R_TCP_IP, &i) && i == 1);
	/* Filled and not published: the slots where they lie once held nothing. */
	for (u32 k = 0; k < ring_capacity(&r) / 2; k++)
		put(&r, R_LINK_IP, k, 0, CAUSE_LAST);
	CHECK(!ring_newest_cause(&r, false, R_LINK_IP, &i));
	unfake();
}

static void mark_sees_what_is_unconsumed(void)
{
	struct pool pool;
	struct pool_scan s;
	struct sk_buff skb[3];
	struct ring p, c;

	fake(REGION_TCP);
	REQUIRE_EQ(pool_attach_owner(&pool, POOL_TCP, d.tcp->words, d.tcp->bytes, TCP_NSMALL, TCP_NLARGE), 0);
	ring_open(&d, R_TCP_IP, &p);
	for (u32 i = 0; i < 3; i++) {
		REQUIRE(pool_take(&pool, 100, i, &skb[i]) != NULL);
		if (i == 2)
			break;	/* taken, never queued: lost with its holder */
		*(struct sk_buff *)ring_reserve(&p) = skb[i];
	}
	ring_publish(&p);
	d.role = REGION_IP;
	ring_open(&d, R_TCP_IP, &c);
	ring_next(&c);
	ring_release(&c);	/* the first one moved on and was lost there */
	d.role = REGION_TCP;
	REQUIRE_EQ(pool_scan_begin(&s, &pool), 0);
	ring_mark(&d, R_TCP_IP, &s);
	CHECK_EQ(pool_scan_end(&s), 2);
	CHECK_EQ(pool_loans(&pool), 1);
	store_relaxed(&d.ip->tcp_ip.tail, 12345);	/* a neighbour's nonsense */
	REQUIRE_EQ(pool_scan_begin(&s, &pool), 0);
	ring_mark(&d, R_TCP_IP, &s);
	CHECK_EQ(pool_scan_end(&s), 0);
	pool_detach(&pool);
	unfake();
}

UNIT_MAIN(UNIT(both_ends_meet), UNIT(newest_cause_is_published_and_complete), UNIT(mark_sees_what_is_unconsumed),
	  UNIT(a_start_is_a_restart), UNIT(leaves_on_sigterm), UNIT(outlives_its_keeper_but_not_the_regions),
	  UNIT(waits_for_its_keeper), UNIT(parks_devices), UNIT(rings_only_sleepers))
