/* attach.c – sockets this process did not make: inherited over exec, or received as SCM_RIGHTS.
 *
 * A socket is recognised by its SO_COOKIE, which cannot be forged; whoever holds the descriptor may attach to it. */
#include <fcntl.h>
#include <sys/syscall.h>

#include "proto/sock.pb-c.h"
#include "services/shim/shim.h"
#include "services/shim/stream.h"

#define OP(name) STRATA__SOCK__REQUEST__OP__##name
#define SCAN_MAX 64

u64 fd_cookie(int fd)
{
	u32 domain = 0, type = 0, len = sizeof(domain);
	u64 cookie = 0;

	if (sys_getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &len) < 0 || domain != AF_UNIX)
		return 0;
	len = sizeof(type);
	if (sys_getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) < 0 || type != SOCK_STREAM)
		return 0;
	len = sizeof(cookie);
	return sys_getsockopt(fd, SOL_SOCKET, SO_COOKIE, &cookie, &len) < 0 ? 0 : cookie;
}

int arena_ensure(u32 id, int fd, bool anew)
{
	struct rpc r = { .op = OP(ATTACH), .fds = { fd }, .nfds = 1 };
	int e;

	if (arena_find(id) && !anew)
		return 0;
	e = rpc_call(&r);
	if (e)
		return e;
	return arena_find(id) ? 0 : -ENOMEM;
}

/* fd is Strata's, sockd said so. */
static void attach_fd(int fd)
{
	struct rpc r = { .op = OP(ATTACH), .fds = { fd }, .nfds = 1 };
	struct sock *s;

	if (rpc_call(&r) || !r.ret_has_sk || !arena_find(SK_ARENA(r.ret_sk)))
		return;
	s = sock_new();
	if (!s)
		return;
	sock_live(s, r.ret_sk, r.ret_gen);
	s->v6 = load_relaxed(&s->b.c->opts) & SKC_V6;
	table_set(fd, s);
	sock_put(s);
}

static void attach_some(const int *fds, const u64 *cookies, u32 n)
{
	struct rpc r = { .op = OP(WHOSE), .cookies = cookies, .ncookies = n };

	if (!n || rpc_call(&r))
		return;
	for (u32 i = 0; i < r.nmine; i++)
		for (u32 k = 0; k < n; k++)
			if (cookies[k] == r.mine[i])
				attach_fd(fds[k]);
}

void attach_received(const int *fds, int n)
{
	u64 cookies[SCAN_MAX];
	int mine[SCAN_MAX];
	u32 found = 0;

	for (int i = 0; i < n && found < SCAN_MAX; i++) {
		table_drop(fds[i]);	/* whatever had the number before is gone */
		cookies[found] = fd_cookie(fds[i]);
		mine[found] = fds[i];
		found += cookies[found] != 0;
	}
	attach_some(mine, cookies, found);
}

struct dirent64_ { u64 ino; s64 off; u16 reclen; u8 type; char name[]; };

/* From /proc/self/fd: the lowest may be anywhere after a long-lived parent. No /proc: none. */
void fd_each(void (*fn)(int fd, void *arg), void *arg)
{
	long dir = sys(SYS_openat, AT_FDCWD, "/proc/self/fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0), n;
	_Alignas(8) char buf[4096];

	if (dir < 0)
		return;
	while ((n = sys(SYS_getdents64, dir, buf, sizeof(buf))) > 0) {
		for (long at = 0; at < n; at += ((struct dirent64_ *)(buf + at))->reclen) {
			const char *p = ((struct dirent64_ *)(buf + at))->name;
			int fd = 0;

			if (*p < '0' || *p > '9')
				continue;
			for (; *p; p++)
				fd = fd * 10 + (*p - '0');
			if (fd != dir)
				fn(fd, arg);
		}
	}
	sys_close((int)dir);
}

struct found { u64 cookies[SCAN_MAX]; int fds[SCAN_MAX]; u32 n; };

static void look_at(int fd, void *arg)
{
	struct found *f = arg;

	f->cookies[f->n] = fd_cookie(fd);
	f->fds[f->n] = fd;
	f->n += f->cookies[f->n] != 0;
	if (f->n == SCAN_MAX) {
		attach_some(f->fds, f->cookies, f->n);
		f->n = 0;
	}
}

void attach_scan(void)
{
	struct found f = { .n = 0 };

	fd_each(look_at, &f);
	attach_some(f.fds, f.cookies, f.n);
}
