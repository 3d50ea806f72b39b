/* calls_exec.c – exec, from both sides.
 *
 * After: sockets that came with the process are found again. The scan costs one look at /proc/self/fd; sockd is asked only if
 * there is a nameless unix stream among them.
 * Before: a program that will not have the shim is given the stream itself (hand.c). posix_spawn() execs below us, so it is
 * done before it: for what the child inherits, and for what its file actions name. */
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdlib.h>
#include <unistd.h>

#include "services/shim/calls.h"
#include "services/shim/epoll.h"
#include "services/shim/hand.h"

#define ARGS_MAX 4096
#define NAMED_MAX 64

__attribute__((constructor)) static void after_exec(void)
{
	int saved = errno;

	shim_init();
	pthread_atfork(NULL, NULL, epoll_forked);
	attach_scan();
	errno = saved;
}

/* As execvp() will find it. False: not at all. */
static bool find_program(const char *file, char *ret, size_t size)
{
	const char *dir = getenv("PATH");

	if (strchr(file, '/') || !*file)
		return (size_t)snprintf(ret, size, "%s", file) < size;
	for (dir = dir ? dir : "/bin:/usr/bin"; dir; dir = strchr(dir, ':') ? strchr(dir, ':') + 1 : NULL) {
		int n = (int)strcspn(dir, ":");

		if ((size_t)snprintf(ret, size, "%.*s%s%s", n, dir, n ? "/" : "", file) < size &&
		    sys(SYS_faccessat, AT_FDCWD, ret, X_OK) == 0)
			return true;
	}
	return false;
}

/* Is the stream itself to be handed over? */
static bool without_shim(const char *file, bool search, char *const *envp)
{
	char path[4096];

	real_need();
	if (!arena_any() || bad_pointer(file))
		return false;
	if (search && !find_program(file, path, sizeof(path)))
		return false;
	return !program_has_shim(AT_FDCWD, search ? path : file, envp);
}

static void before_exec(const char *file, bool search, char *const *envp)
{
	int saved = errno;

	if (without_shim(file, search, envp))
		hand_over_inherited();
	errno = saved;
}

EXPORT int execve(const char *path, char *const *argv, char *const *envp)
{
	before_exec(path, false, envp);
	return real.execve(path, argv, envp);
}

EXPORT int execv(const char *path, char *const *argv) { return execve(path, argv, environ); }

EXPORT int execvpe(const char *file, char *const *argv, char *const *envp)
{
	before_exec(file, true, envp);
	return real.execvpe(file, argv, envp);
}

EXPORT int execvp(const char *file, char *const *argv) { return execvpe(file, argv, environ); }

EXPORT int fexecve(int fd, char *const *argv, char *const *envp)
{
	char path[40];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	before_exec(path, false, envp);
	return real.fexecve(fd, argv, envp);
}

/* The arguments up to NULL; behind it execle() has the environment. */
#define COLLECT(argv, first, ap) do {					\
		size_t n_ = 0;						\
									\
		(argv)[n_++] = (char *)(first);				\
		while ((argv)[n_ - 1] && n_ < ARGS_MAX - 1)		\
			(argv)[n_++] = va_arg(ap, char *);		\
		(argv)[n_] = NULL;					\
	} while (0)

EXPORT int execl(const char *path, const char *arg, ...)
{
	char *argv[ARGS_MAX];
	va_list ap;

	va_start(ap, arg);
	COLLECT(argv, arg, ap);
	va_end(ap);
	return execve(path, argv, environ);
}

EXPORT int execlp(const char *file, const char *arg, ...)
{
	char *argv[ARGS_MAX];
	va_list ap;

	va_start(ap, arg);
	COLLECT(argv, arg, ap);
	va_end(ap);
	return execvpe(file, argv, environ);
}

EXPORT int execle(const char *path, const char *arg, ...)
{
	char *argv[ARGS_MAX], *const *envp;
	va_list ap;

	va_start(ap, arg);
	COLLECT(argv, arg, ap);
	envp = va_arg(ap, char *const *);
	va_end(ap);
	return execve(path, argv, envp);
}

/* ---- posix_spawn: which sockets do file actions name? ---- */

static struct { const void *actions; int fd; } named[NAMED_MAX];
static u32 next_named;
static _Atomic u32 named_lock;

EXPORT int posix_spawn_file_actions_adddup2(posix_spawn_file_actions_t *fa, int fd, int to)
{
	real_need();
	if (ours(fd)) {
		lock_take(&named_lock);
		named[next_named].actions = fa;
		named[next_named].fd = fd;
		next_named = (next_named + 1) % NAMED_MAX;
		lock_drop(&named_lock);
	}
	return real.posix_spawn_file_actions_adddup2(fa, fd, to);
}

static void before_spawn(const char *file, bool search, const posix_spawn_file_actions_t *fa, char *const *envp)
{
	int saved = errno;

	if (without_shim(file, search, envp)) {
		hand_over_inherited();
		for (u32 i = 0; fa && i < NAMED_MAX; i++)
			if (named[i].actions == fa)
				hand_over_fd(named[i].fd, true);
	}
	errno = saved;
}

EXPORT int posix_spawn(pid_t *pid, const char *path, const posix_spawn_file_actions_t *fa, const posix_spawnattr_t *attr,
		       char *const *argv, char *const *envp)
{
	before_spawn(path, false, fa, envp);
	return real.posix_spawn(pid, path, fa, attr, argv, envp);
}

EXPORT int posix_spawnp(pid_t *pid, const char *file, const posix_spawn_file_actions_t *fa, const posix_spawnattr_t *attr,
			char *const *argv, char *const *envp)
{
	before_spawn(file, true, fa, envp);
	return real.posix_spawnp(pid, file, fa, attr, argv, envp);
}
