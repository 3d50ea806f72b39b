/* calls.h – what the interposed functions share.
 *
 * Each io_*() returns true if fd is Strata's and *ret is the answer (errno set when it is -1), false if the
 * C library is to be called. errno is untouched by success. */
#ifndef STRATA_SHIM_CALLS_H
#define STRATA_SHIM_CALLS_H

#include "services/shim/shim.h"
#include "services/shim/stream.h"

#include <time.h>

#define EXPORT __attribute__((visibility("default")))

SHIM_HIDDEN bool io_read(int fd, const struct iovec *v, int n, int flags, ssize_t *ret);
/* sendto and sendmsg: the address matters with MSG_FASTOPEN only */
SHIM_HIDDEN bool io_send_to(int fd, const struct iovec *v, int n, int flags, const struct sockaddr *a, socklen_t len, ssize_t *ret);
SHIM_HIDDEN bool io_write(int fd, const struct iovec *v, int n, int flags, ssize_t *ret);

static inline bool ours(int fd)
{
	struct sock *s = sock_get(fd);

	if (!s)
		return false;
	sock_put(s);
	return true;
}

/* A number the kernel has just given out is certainly not what the table may still say. */
static inline int fresh_fd(int fd)
{
	if (fd >= 0 && table_mine())
		table_drop(fd);
	return fd;
}

/* Time for waits that go on: when they end, and what is left. */
static inline u64 shim_now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);	/* no system call */
	return (u64)t.tv_sec * NSEC_PER_SEC + (u64)t.tv_nsec;
}

static inline u64 shim_deadline(const struct timespec *t)
{
	return t ? shim_now() + (u64)t->tv_sec * NSEC_PER_SEC + (u64)t->tv_nsec : 0;
}

static inline struct timespec shim_left(u64 deadline)
{
	u64 now = shim_now(), ns = deadline > now ? deadline - now : 0;

	return (struct timespec){ (time_t)(ns / NSEC_PER_SEC), (long)(ns % NSEC_PER_SEC) };
}

#endif
