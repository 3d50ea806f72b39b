/* sys.h – system calls as the shim makes them: straight into the kernel, errno untouched, never interposed.
 *
 * Everything that does not block is called this way (return: result or -errno). What may block for long goes through
 * the C library (real.h), so that thread cancellation works as it did. */
#ifndef STRATA_SHIM_SYS_H
#define STRATA_SHIM_SYS_H

#include <sys/syscall.h>
#include "common/base.h"

#if defined(__x86_64__)
static inline long sys6(long n, long a, long b, long c, long d, long e, long f)
{
	register long r10 __asm__("r10") = d, r8 __asm__("r8") = e, r9 __asm__("r9") = f;
	long ret;

	__asm__ volatile("syscall" : "=a"(ret) : "a"(n), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return ret;
}
#elif defined(__aarch64__)
static inline long sys6(long n, long a, long b, long c, long d, long e, long f)
{
	register long x8 __asm__("x8") = n, x0 __asm__("x0") = a, x1 __asm__("x1") = b, x2 __asm__("x2") = c,
		      x3 __asm__("x3") = d, x4 __asm__("x4") = e, x5 __asm__("x5") = f;

	__asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5) : "memory");
	return x0;
}
#else
#error "sys.h is the place to teach the shim another machine's system calls"
#endif
#define SYS_ARGS_(n, a, b, c, d, e, f, ...) \
	sys6(n, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), (long)(f))
#define sys(...) SYS_ARGS_(__VA_ARGS__, 0, 0, 0, 0, 0, 0)

static inline int sys_getpid(void) { return (int)sys(SYS_getpid); }
static inline int sys_gettid(void) { return (int)sys(SYS_gettid); }
static inline long sys_close(int fd) { return sys(SYS_close, fd); }
static inline long sys_fcntl(int fd, int cmd, long arg) { return sys(SYS_fcntl, fd, cmd, arg); }
static inline long sys_recv(int fd, void *p, size_t n, int flags) { return sys(SYS_recvfrom, fd, p, n, flags); }
static inline long sys_send(int fd, const void *p, size_t n, int flags) { return sys(SYS_sendto, fd, p, n, flags); }
static inline long sys_getsockopt(int fd, int level, int name, void *val, u32 *len)
{
	return sys(SYS_getsockopt, fd, level, name, val, len);
}
static inline long sys_setsockopt(int fd, int level, int name, const void *val, u32 len)
{
	return sys(SYS_setsockopt, fd, level, name, val, len);
}

#endif
