/* real.h – the C library's own functions, below the interposed ones. */
#ifndef STRATA_SHIM_REAL_H
#define STRATA_SHIM_REAL_H

#include <poll.h>
#include <spawn.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/uio.h>

/* ret, name, parameters */
#define REAL_FUNCTIONS(F) \
	F(int, socket, (int, int, int)) \
	F(int, connect, (int, const struct sockaddr *, socklen_t)) \
	F(int, accept4, (int, struct sockaddr *, socklen_t *, int)) \
	F(ssize_t, read, (int, void *, size_t)) \
	F(ssize_t, write, (int, const void *, size_t)) \
	F(ssize_t, readv, (int, const struct iovec *, int)) \
	F(ssize_t, writev, (int, const struct iovec *, int)) \
	F(ssize_t, preadv2, (int, const struct iovec *, int, off_t, int)) \
	F(ssize_t, pwritev2, (int, const struct iovec *, int, off_t, int)) \
	F(ssize_t, recv, (int, void *, size_t, int)) \
	F(ssize_t, recvfrom, (int, void *, size_t, int, struct sockaddr *, socklen_t *)) \
	F(ssize_t, recvmsg, (int, struct msghdr *, int)) \
	F(int, recvmmsg, (int, struct mmsghdr *, unsigned, int, struct timespec *)) \
	F(ssize_t, send, (int, const void *, size_t, int)) \
	F(ssize_t, sendto, (int, const void *, size_t, int, const struct sockaddr *, socklen_t)) \
	F(ssize_t, sendmsg, (int, const struct msghdr *, int)) \
	F(int, sendmmsg, (int, struct mmsghdr *, unsigned, int)) \
	F(int, close, (int)) \
	F(int, fclose, (FILE *)) \
	F(FILE *, fdopen, (int, const char *)) \
	F(int, poll, (struct pollfd *, nfds_t, int)) \
	F(int, ppoll, (struct pollfd *, nfds_t, const struct timespec *, const sigset_t *)) \
	F(int, epoll_pwait, (int, struct epoll_event *, int, int, const sigset_t *)) \
	F(int, epoll_pwait2, (int, struct epoll_event *, int, const struct timespec *, const sigset_t *)) \
	F(int, epoll_ctl, (int, int, int, struct epoll_event *)) \
	F(int, execve, (const char *, char *const *, char *const *)) \
	F(int, execvpe, (const char *, char *const *, char *const *)) \
	F(int, fexecve, (int, char *const *, char *const *)) \
	F(int, posix_spawn, (pid_t *, const char *, const posix_spawn_file_actions_t *, const posix_spawnattr_t *, \
			     char *const *, char *const *)) \
	F(int, posix_spawnp, (pid_t *, const char *, const posix_spawn_file_actions_t *, const posix_spawnattr_t *, \
			      char *const *, char *const *)) \
	F(int, posix_spawn_file_actions_adddup2, (posix_spawn_file_actions_t *, int, int)) \
	F(long, syscall, (long, ...))

#define REAL_MEMBER(ret, name, params) ret (*name) params;
struct real { REAL_FUNCTIONS(REAL_MEMBER) };
extern struct real real __attribute__((visibility("hidden")));

/* Called by the constructor, and by whatever is called before it. */
void real_init(void) __attribute__((visibility("hidden")));
static inline void real_need(void)
{
	if (__builtin_expect(!real.recv, 0))
		real_init();
}

#endif
