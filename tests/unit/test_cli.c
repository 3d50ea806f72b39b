/* test_cli.c – mirrors services/cli: the real command against a real keepd and an sockd played here.
 * Needs $KEEPD and $STRATA, the paths of strata-keepd and strata. */
#include "manager.h"
#include "proto/control.pb-c.h"
#include "proto/sock.pb-c.h"

static struct manager m;
static char out[65536];

/* Exit status of "strata WORDS"; what it printed is in `out`. */
static int strata(const char *words)
{
	char cmd[512];
	FILE *f;
	size_t n;
	int status;

	snprintf(cmd, sizeof(cmd), "\"$STRATA\" %s 2>&1", words);
	f = popen(cmd, "r");
	if (!f)
		return -1;
	n = fread(out, 1, sizeof(out) - 1, f);
	out[n] = '\0';
	status = pclose(f);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 1000;
}

static void looks_while_every_daemon_is_down(void)
{
	static const char *const words[] = { "ss", "ss -a -p -i", "-i unit ss -ln", "ss -i unit", "stat", "stat -z", "stat -z all",
					     "flow", "addr", "addr show", "route", "neigh ls", "link list", "stat --json" };

	manager_open(&m, false);
	REQUIRE(manager_start(&m));
	unsetenv("STRATA_INSTANCE");
	for (u32 i = 0; i < ARRAY_SIZE(words); i++) {
		CHECK_EQ(strata(words[i]), 0);
		CHECK(strstr(out, "Sanitizer") == NULL);
	}
	CHECK(strncmp(out, "{\"instance\": \"unit\", \"daemons\"", 30) == 0 && strstr(out, "\"tcp_ip_done\""));
	CHECK_EQ(strata("flow"), 0);
	CHECK(strstr(out, "tx1 ") && strstr(out, "rx8 "));
	CHECK_EQ(strata("-i other ss"), 1);
	CHECK(strstr(out, "/other/keep.sock") != NULL);
	manager_stop(&m, SIGTERM);
	CHECK_EQ(strata("ss"), 1);
	manager_close(&m);
}

static void explains_itself(void)
{
	static const char *const bad[] = { "", "nonsense", "addr add", "addr add 10.0.0.1/33 dev x", "addr add 10.0.0.1/24",
					   "addr frob", "route add 10.0.0.0/8", "route add default via here", "neigh add 10.0.0.1",
					   "neigh add 10.0.0.1 lladdr 1:2:3 dev x", "link set", "link set tap0", "link set tap0 mtu",
					   "ss -x", "ss what", "stat -y", "flow on", "ping", "ping -c x 10.0.0.1", "ping a b", "run" };
	static const char *const names[] = { "run", "addr", "route", "neigh", "link", "ss", "stat", "flow", "ping" };
	char words[64];

	manager_open(&m, false);
	for (u32 i = 0; i < ARRAY_SIZE(bad); i++) {
		CHECK_EQ(strata(bad[i]), 64);
		CHECK(*out != '\0');
	}
	for (u32 i = 0; i < ARRAY_SIZE(names); i++) {
		snprintf(words, sizeof(words), "%s --help", names[i]);
		CHECK_EQ(strata(words), 0);
		CHECK(strncmp(out, "usage: strata ", 14) == 0);
	}
	CHECK_EQ(strata("--help"), 0);
	manager_close(&m);
}

static void run_sets_the_scene(void)
{
	char path[128];

	manager_open(&m, true);	/* makes DIR/unit */
	unsetenv("STRATA_INSTANCE");
	unsetenv("LD_PRELOAD");
	CHECK_EQ(strata("run -i unit -- true"), 1);
	CHECK(strstr(out, "instance unit is not there") != NULL);
	snprintf(path, sizeof(path), "%s/unit/sock", m.dir);
	close(open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
#ifdef __SANITIZE_ADDRESS__
	setenv("ASAN_OPTIONS", "verify_asan_link_order=0:detect_leaks=0", 1);	/* for what the instrumented shim is loaded into */
#endif
	CHECK_EQ(strata("run -v -i unit -- sh -c 'echo $STRATA_INSTANCE $STRATA_VERBOSE $LD_PRELOAD; exit 5'"), 5);
	CHECK(strncmp(out, "unit 1 /", 8) == 0 && strstr(out, "libstrata-preload.so") != NULL);
	CHECK_EQ(strata("-i unit run sh -c 'echo $0 $1' -i -v"), 0);	/* the program's own options */
	CHECK_STR(out, "-i -v\n");
	CHECK_EQ(strata("run no-such-program"), 127);
	setenv("LD_PRELOAD", "libc.so.6", 1);
	CHECK_EQ(strata("run -- sh -c 'echo $LD_PRELOAD'"), 0);
	CHECK(strstr(out, "libstrata-preload.so:libc.so.6") != NULL);
	unsetenv("LD_PRELOAD");
	manager_close(&m);
}

/* ---- an sockd that answers `answers` requests: busy at first, then as told ---- */

struct fake { int listener, error; const char *text; u32 busy; bool garbage; Strata__Control__Request__Op op; };

static void answer(struct fake *f, int fd, const Strata__Sock__Request *q)
{
	Strata__Sock__Reply a = STRATA__SOCK__REPLY__INIT;
	Strata__Control__Reply c = STRATA__CONTROL__REPLY__INIT;
	Strata__Control__Request *in = strata__control__request__unpack(NULL, q->admin.len, q->admin.data);
	u8 inner[256], buf[512];

	if (in)
		f->op = in->op;
	strata__control__request__free_unpacked(in, NULL);
	a.id = q->id;
	a.error = f->busy ? -EBUSY : f->error;
	f->busy -= f->busy > 0;
	c.error = f->error;
	c.text = (char *)f->text;
	a.has_admin = true;
	a.admin = (ProtobufCBinaryData){ .len = strata__control__reply__pack(&c, inner), .data = inner };
	if (f->garbage)
		CHECK_EQ(send(fd, "garbage", 7, MSG_NOSIGNAL), 7);
	else
		CHECK_EQ(keeper_msg_send(fd, buf, strata__sock__reply__pack(&a, buf), NULL, 0, 0), 0);
}

static void *fake_sockd(void *arg)
{
	struct fake *f = arg;
	u8 buf[4096];
	int fd;

	while ((fd = accept(f->listener, NULL, NULL)) >= 0) {
		ssize_t n = recv(fd, buf, sizeof(buf), 0);
		Strata__Sock__Request *q = n > 0 ? strata__sock__request__unpack(NULL, (size_t)n, buf) : NULL;

		if (q)
			answer(f, fd, q);
		strata__sock__request__free_unpacked(q, NULL);
		close(fd);
	}
	return NULL;
}

static void changes_go_through_sockd(void)
{
	struct fake f = { .busy = 3, .text = "" };
	char path[64];
	pthread_t t;

	manager_open(&m, true);
	snprintf(path, sizeof(path), "%s/unit/sock", m.dir);
	f.listener = manager_bind(path, SOCK_SEQPACKET);
	REQUIRE(f.listener >= 0 && listen(f.listener, 8) == 0);
	pthread_create(&t, NULL, fake_sockd, &f);
	CHECK_EQ(strata("addr add 10.0.0.1/24 dev tap0"), 0);
	CHECK_EQ(f.op, STRATA__CONTROL__REQUEST__OP__ADDR_ADD);
	CHECK_EQ(strata("route del default"), 0);
	CHECK_EQ(f.op, STRATA__CONTROL__REQUEST__OP__ROUTE_DEL);
	CHECK_EQ(strata("neigh add 10.0.0.1 lladdr 02:00:00:00:00:01 dev tap0"), 0);
	CHECK_EQ(f.op, STRATA__CONTROL__REQUEST__OP__NEIGH_ADD);
	CHECK_EQ(strata("ping -c 2 -I 0 10.0.0.1"), 0);
	CHECK(strstr(out, "2 sent, 2 received, 0% lost") != NULL);
	f.error = -ENODEV;
	f.text = "no such device here";
	CHECK_EQ(strata("addr add 10.0.0.1/24 dev nope"), 1);
	CHECK(strstr(out, "no such device here") != NULL);
	CHECK_EQ(strata("ping -c 1 10.0.0.1"), 1);
	f.garbage = true;
	CHECK_EQ(strata("link set tap0 mtu 1400"), 1);
	shutdown(f.listener, SHUT_RDWR);
	pthread_join(t, NULL);
	close(f.listener);
	CHECK_EQ(strata("addr add 10.0.0.1/24 dev tap0"), 1);
	manager_close(&m);
}

UNIT_MAIN(UNIT(looks_while_every_daemon_is_down), UNIT(explains_itself), UNIT(run_sets_the_scene), UNIT(changes_go_through_sockd))
