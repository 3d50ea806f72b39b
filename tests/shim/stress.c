/* stress.c – readiness under SIGKILL: no wake-up is lost and no byte is wrong, whoever dies.
 *
 *   stress [--seconds N] [--kills N] [--must-fail]
 *
 * A lone reader that was woken finds something to read: spurious wake-ups are swallowed by the interposed waits.
 * Every scenario kills, restarts, and then demands progress before it kills again: none within STALL is a lost
 * wake-up. --must-fail (for the mutants of readiness.c and stream.c): the test passes if some scenario fails.
 * Killing an application is followed by a kick, as sockd sees its connection end. */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "services/shim/epoll.h"
#include "services/shim/shim.h"
#include "tests/shim/stress.h"

#define STALL (2 * NSEC_PER_SEC)
#define GATE 3000u		/* bytes of progress between two kills */

const char *mode_name(enum mode m)
{
	static const char *const names[MODES] = { "edge", "level", "poll", "oneshot", "exclusive", "blocking" };

	return names[m];
}

static int memfd(size_t bytes)
{
	int fd = memfd_create("stress", MFD_CLOEXEC);

	if (fd < 0 || ftruncate(fd, (off_t)bytes))
		abort();
	return fd;
}

static void *map(int fd, size_t bytes)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, 0);

	if (p == MAP_FAILED)
		abort();
	return p;
}

static void scenario_open(struct scenario *s, u32 id)
{
	size_t sb = arena_stack_bytes(RING), cb = arena_client_bytes(RING);
	int stack = memfd(sb), client = memfd(cb), pair[2], small = 0;
	struct arena_map m = { .stack = map(stack, sb), .client = map(client, cb), .rx_size = RING, .tx_size = RING };

	m.stack->hdr = (struct arena_hdr){ .magic = ARENA_MAGIC, .version = ARENA_VERSION, .id = id, .nslots = ARENA_SLOTS,
					   .rx_size = RING, .tx_size = RING };
	sockbuf_open(&s->stack, &m, SLOT);
	store_relaxed(&s->stack.s->state, SKS_CONNECTED);
	store_relaxed(&s->stack.s->nonce, 0x5a5a);
	store_relaxed(&s->stack.c->arm, 1);
	if (arena_adopt(id, stack, client, eventfd(0, EFD_NONBLOCK)) || socketpair(AF_UNIX, SOCK_STREAM, 0, pair))
		abort();
	s->near = pair[0];
	s->far = pair[1];
	setsockopt(s->near, SOL_SOCKET, SO_SNDBUF, &small, sizeof(small));
	if (s->mode != MODE_BLOCKING)
		fcntl(s->near, F_SETFL, O_NONBLOCK);
	s->sock = sock_new();
	sock_live(s->sock, SK(id, SLOT), 1);
	table_set(s->near, s->sock);
	s->board = mmap(NULL, sizeof(*s->board), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (s->board == MAP_FAILED)
		abort();
}

static pid_t start(struct scenario *s, int who)
{
	pid_t pid = fork();

	if (pid)
		return pid;
	table_init();
	wlock_forked();
	epoll_forked();
	if (who >= 0) {
		close(s->far);
		if (s->tx)
			app_write(s, who);
		app_read(s, who);
	}
	close(s->near);
	if (s->tx)
		stack_tx(s);
	stack_rx(s);
}

static void stop(pid_t pid)
{
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

static u64 progress(const struct scenario *s)
{
	return s->tx ? atomic_load(&s->stack.c->tx_head) : atomic_load(&s->stack.c->rx_tail);
}

/* Until GATE bytes have moved. false: they do not. */
static bool moves(const struct scenario *s)
{
	u64 from = progress(s), last = from, since = now_ns();

	while (progress(s) - from < GATE) {
		if (progress(s) != last) {
			last = progress(s);
			since = now_ns();
		} else if (now_ns() - since > STALL) {
			return false;
		}
		usleep(100);
	}
	return true;
}

static void tell(const struct scenario *s, int n, bool ok, int kills)
{
	const struct sk_stack *w = s->stack.s;
	struct sk_client *c = s->stack.c;
	u32 bad = atomic_load(&s->board->corrupt), idle = atomic_load(&s->board->idle);

	printf("%s %d - %s %s, %d process%s, killing %s: %d kills, %.1f MB, %lu EAGAIN%s\n", ok && !bad && !idle ? "ok" : "not ok", n,
	       s->tx ? "write" : "read", mode_name(s->mode), s->apps, s->apps > 1 ? "es" : "",
	       (const char *const[]){ "nobody", "the stack", "applications", "both" }[s->kill], kills,
	       (double)progress(s) / 1e6, (unsigned long)atomic_load(&s->board->spurious), bad ? " WRONG BYTES" : "");
	if (idle)
		printf("# %u wake-ups without anything to read\n", idle);
	if (!ok)
		printf("# lost wake-up: rx %lu tx %lu, arm %u tok %u sent %u eaten %u\n",
		       (unsigned long)(((struct sk_stack *)w)->rx_head - c->rx_tail),
		       (unsigned long)(c->tx_head - ((struct sk_stack *)w)->tx_tail), c->arm, ((struct sk_stack *)w)->tok,
		       ((struct sk_stack *)w)->sent, c->eaten);
	fflush(stdout);
}

/* Returns the number of kills, -1 if it failed. */
static int run(struct scenario *s, int n, int want_kills, u64 budget)
{
	u64 end = now_ns() + budget;
	pid_t stack = start(s, -1), app[APPS_MAX];
	int kills = 0;
	bool ok = true;

	for (int i = 0; i < s->apps; i++)
		app[i] = start(s, i);
	while (ok && kills < want_kills && now_ns() < end) {
		if (s->kill == KILL_NONE)
			kills++;
		usleep(rnd(1500));
		if (s->kill & KILL_APPS) {
			int i = (int)rnd((u32)s->apps);

			stop(app[i]);
			atomic_fetch_add(&s->board->restarts[i], 1);
			arena_kick(s->sock->sk);
			app[i] = start(s, i);
			kills++;
		}
		if (s->kill & KILL_STACK) {
			stop(stack);
			stack = start(s, -1);
			kills++;
		}
		ok = moves(s);
	}
	tell(s, n, ok, s->kill == KILL_NONE ? 0 : kills);
	stop(stack);
	for (int i = 0; i < s->apps; i++)
		stop(app[i]);
	ok = ok && !atomic_load(&s->board->corrupt) && !atomic_load(&s->board->idle);
	table_drop(s->near);
	close(s->near);
	close(s->far);
	return ok ? (s->kill == KILL_NONE ? 0 : kills) : -1;
}

int main(int argc, char **argv)
{
	static const int kinds[] = { KILL_STACK, KILL_APPS, KILL_BOTH, KILL_NONE };
	int want = 180, n = 0, failed = 0, total = 0;
	u64 budget = 3 * NSEC_PER_SEC;
	bool must_fail = false;

	for (int i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "--must-fail"))
			must_fail = true;
		else if (!strcmp(argv[i], "--kills") && i + 1 < argc)
			want = atoi(argv[++i]);
		else if (!strcmp(argv[i], "--seconds") && i + 1 < argc)
			budget = (u64)atoi(argv[++i]) * NSEC_PER_SEC;
	}
	real_init();
	table_init();
	rnd_seed((u32)now_ns());
	for (u32 k = 0; k < ARRAY_SIZE(kinds) && !(must_fail && failed); k++) {
		for (u32 v = 0; v < 2 * MODES && !(must_fail && failed); v++) {
			struct scenario s = { .tx = v >= MODES, .mode = (enum mode)(v % MODES), .kill = kinds[k],
					      .apps = k == 1 ? 3 : k == 3 || (k == 0) != (v >= MODES) ? 1 : 2 };
			int r;

			scenario_open(&s, (u32)n % ARENA_MAX);
			r = run(&s, ++n, kinds[k] == KILL_NONE ? want / 4 : want, budget);
			failed += r < 0;
			total += MAX(r, 0);
		}
	}
	printf("# %d scenarios, %d kills, %d failed\n1..%d\n", n, total, failed, n);
	if (must_fail)
		return failed ? 0 : 1;
	return failed ? 1 : 0;
}
