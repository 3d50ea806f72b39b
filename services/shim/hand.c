/* hand.c – sockets that are given to a program by exec: if it is not certain that the program will have the shim, they become
 * plain first. services/tcp/sk_plain.c says why and how; a mistake in favour of plain costs speed alone.
 *
 * Called by calls_exec.c, also in the child of a vfork: nothing of the parent's is changed here but the shared words. */
#include <elf.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "services/shim/hand.h"
#include "services/shim/stream.h"

#define PATIENCE (5 * NSEC_PER_SEC)	/* tcpd may be on its way back */
#define READERS (500 * NSEC_PER_MSEC)	/* how long one may be in the middle of a read before we take him for dead */
#define INTERPRETERS 4			/* scripts whose interpreter is a script */

static u64 now(void)
{
	struct timespec t;

	sys(SYS_clock_gettime, CLOCK_MONOTONIC, &t);
	return (u64)t.tv_sec * NSEC_PER_SEC + (u64)t.tv_nsec;
}

/* ---- the hand-over ---- */

static void say(struct sock *s, u32 word)
{
	if (load_relaxed(&s->b.c->plain) == word)
		return;
	store_release(&s->b.c->plain, word);	/* pairs with the acquire in tcpd's answer() */
	arena_kick(s->sk);
}

struct exchange { int near; u64 cookie; };	/* the new descriptor; of the old one */

static void replace(int fd, void *arg)
{
	const struct exchange *e = arg;

	if (fd != e->near && fd_cookie(fd) == e->cookie)
		sys(SYS_dup3, e->near, fd, sys_fcntl(fd, F_GETFD, 0) & FD_CLOEXEC ? O_CLOEXEC : 0);
}

/* far goes to tcpd through fd, the end of the old pair. */
static bool send_swap(struct sock *s, int fd, int far, u64 cookie, u64 until)
{
	union { struct cmsghdr h; char space[CMSG_SPACE(sizeof(int))]; } control = { 0 };
	union { struct swap s; u8 bytes[PLUG_BYTES]; } msg = { 0 };
	struct iovec v = { &msg, sizeof(msg) };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control) };
	struct timespec nap = { 0, 50000 };
	long r;

	msg.s = (struct swap){ { SWAP_MAGIC, load_relaxed(&s->b.s->nonce) }, cookie };
	control.h = (struct cmsghdr){ .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(sizeof(int)) };
	memcpy(CMSG_DATA(&control.h), &far, sizeof(far));
	while ((r = sys(SYS_sendmsg, fd, &m, MSG_NOSIGNAL | MSG_DONTWAIT)) == -EAGAIN && now() < until)
		sys(SYS_nanosleep, &nap, 0);
	return r == sizeof(msg);
}

/* The stream has ended: the pair is shut down, and what the stack left in it to see us by must not be read. Another pair
 * takes its place, under every number it has here. */
static void exchange(struct sock *s, int fd, u64 until)
{
	struct exchange e = { .cookie = fd_cookie(fd) };
	struct timespec nap = { 0, 50000 };
	int pair[2], small = 0;

	if (sys(SYS_socketpair, AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		return;
	sys_setsockopt(pair[0], SOL_SOCKET, SO_SNDBUF, &small, sizeof(small));
	sys_fcntl(pair[0], F_SETFL, sys_fcntl(fd, F_GETFL, 0));
	/* Over for both directions: nobody serves it any more, it is the end at once. */
	bool sent = load_acquire(&s->b.s->state) == SKS_CONNECTED && send_swap(s, fd, pair[1], fd_cookie(pair[0]), until);
	sys_close(pair[1]);
	while (sent && now() < until && load_acquire(&s->b.s->state) == SKS_CONNECTED && !(load_acquire(&s->b.s->plain) & PLAIN_RX))
		sys(SYS_nanosleep, &nap, 0);
	e.near = pair[0];
	fd_each(replace, &e);
	sys_close(pair[0]);
}

/* One holder at a time, under the writer's lock; a dead one's number is void when tcpd has taken its QUIET back. Not meant for
 * the program, only inherited by it: what is left of a stream that has ended stays with those who read it. */
static void hand_over(struct sock *s, int fd, bool meant)
{
	struct timespec nap = { 0, 50000 };
	u64 mask, until = now() + PATIENCE, quiet_since = 0;
	char junk[DRAIN_BYTES];

	if (!table_mine())
		wlock_forked();		/* this process is the owner, not its parent */
	wlock_take(s, &mask);
	while (now() < until && load_acquire(&s->b.s->state) == SKS_CONNECTED) {
		u32 have = load_acquire(&s->b.s->plain), mine = load_relaxed(&s->b.c->plain);

		/* Once it is quiet the end is not told either, and the pair will carry the rest: what was begun is gone through with. */
		if (have & PLAIN_RX || (!(have & PLAIN_QUIET) && stream_ended(&s->b)))
			break;
		if (!(have & PLAIN_QUIET)) {
			say(s, (PLAIN_NUMBER(have) + 1) << 8 | PLAIN_ASK);
		} else if (mine != (PLAIN_NUMBER(have) << 8 | PLAIN_DRAINED)) {
			quiet_since = quiet_since ? quiet_since : now();
			fence_seq_cst();	/* pairs with the fence in reading_begin() */
			if (load_acquire(&s->b.c->readers) && now() < quiet_since + READERS) {
				sys(SYS_sched_yield);
				continue;
			}
			while (sys_recv(fd, junk, sizeof(junk), MSG_DONTWAIT) > 0)
				;
			say(s, PLAIN_NUMBER(have) << 8 | PLAIN_DRAINED);
		}
		sys(SYS_nanosleep, &nap, 0);
	}
	bool ended = !(load_acquire(&s->b.s->plain) & (PLAIN_RX | PLAIN_QUIET));
	if (load_acquire(&s->b.s->plain) & PLAIN_RX)
		store_release(&s->b.c->plain, 0);
	else
		say(s, 0);
	if (meant && ended && stream_ended(&s->b))
		exchange(s, fd, until);
	wlock_drop(s, mask);
	if (!table_mine())
		wlock_forked();
}

void hand_over_fd(int fd, bool meant)
{
	u64 cookie = fd_cookie(fd);
	struct sock *s = cookie ? sock_by_cookie(cookie) : NULL;	/* in a child of vfork the table does not know fd */

	if (!s)
		return;
	if (load_acquire(&s->life) == SOCK_LIVE && !stream_plain(s, PLAIN_RX))
		hand_over(s, fd, meant);
	sock_put(s);
}

static void consider(int fd, void *unused)
{
	long flags = sys_fcntl(fd, F_GETFD, 0);

	if (flags >= 0 && !(flags & FD_CLOEXEC))
		hand_over_fd(fd, fd <= STDERR_FILENO);
}

/* Standard input and output are meant for the program; they come first, under whatever other number they are here, too. */
void hand_over_inherited(void)
{
	for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
		consider(fd, NULL);
	fd_each(consider, NULL);
}

/* ---- will the program have the shim? ---- */

static const char *env_get(char *const *envp, const char *name)
{
	size_t n = strlen(name);

	for (; envp && *envp; envp++)
		if (!strncmp(*envp, name, n) && (*envp)[n] == '=')
			return *envp + n + 1;
	return NULL;
}

/* Dynamically linked, of our own kind. */
static bool dynamic(int fd, const u8 *head, long n)
{
	const Elf64_Ehdr *e = (const void *)head;
	Elf64_Phdr p;

	if (n < (long)sizeof(*e) || memcmp(e->e_ident, ELFMAG, SELFMAG) || e->e_ident[EI_CLASS] != ELFCLASS64)
		return false;
	for (u32 i = 0; i < e->e_phnum; i++) {
		if (sys(SYS_pread64, fd, &p, sizeof(p), e->e_phoff + i * sizeof(p)) != sizeof(p))
			return false;
		if (p.p_type == PT_INTERP)
			return true;
	}
	return false;
}

/* "#! interpreter argument" */
static bool interpreter(const u8 *head, long n, char *ret, size_t size)
{
	long i = 2, k = 0;

	if (n < 3 || head[0] != '#' || head[1] != '!')
		return false;
	while (i < n && (head[i] == ' ' || head[i] == '\t'))
		i++;
	while (i < n && k < (long)size - 1 && head[i] != ' ' && head[i] != '\t' && head[i] != '\n')
		ret[k++] = (char)head[i++];
	ret[k] = '\0';
	return k > 0;
}

/* LD_PRELOAD is not obeyed by programs that gain privileges. */
static bool loads_preload(int fd, int depth)
{
	_Alignas(8) u8 head[256];
	char path[256], value[64];
	struct stat st;
	long n = sys(SYS_pread64, fd, head, sizeof(head), 0);

	if (interpreter(head, n, path, sizeof(path))) {
		long next = depth < INTERPRETERS ? sys(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0) : -1;
		bool yes = next >= 0 && loads_preload((int)next, depth + 1);

		if (next >= 0)
			sys_close((int)next);
		return yes;
	}
	return dynamic(fd, head, n) && !sys(SYS_fstat, fd, &st) && !(st.st_mode & (S_ISUID | S_ISGID)) &&
	       sys(SYS_fgetxattr, fd, "security.capability", value, sizeof(value)) < 0;
}

bool program_has_shim(int dirfd, const char *path, char *const *envp)
{
	const char *preload = env_get(envp, "LD_PRELOAD");
	long fd;
	bool yes;

	if (!preload || !strstr(preload, "libstrata-preload") || !rpc_same_instance(env_get(envp, "STRATA_RUNDIR"),
											env_get(envp, "STRATA_INSTANCE")))
		return false;
	fd = sys(SYS_openat, dirfd, path, O_RDONLY | O_CLOEXEC, 0);
	if (fd < 0)
		return fd == -ENOENT || fd == -ENOTDIR;	/* then exec will fail as well; else it may be executed and not read */
	yes = loads_preload((int)fd, 0);
	sys_close((int)fd);
	return yes;
}
