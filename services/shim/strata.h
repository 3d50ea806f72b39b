/* strata.h – sockets of a Strata instance for programs that ask for them by name.
 *
 * Unmodified programs do not need this: libstrata-preload.so gives them the same through libc's own names.
 *
 * A socket is a file descriptor: poll, select and epoll work on it, it may be duplicated, inherited and passed. Bytes
 * do not go through it but through memory shared with the stack, so it must be read and written with the functions
 * below. All of them behave as the call of the same name in section 2 of the manual: a count or 0, or -1 and errno;
 * thread safe; blocking as O_NONBLOCK and the timeouts say. Sizes are bytes, addresses and ports in network order.
 *
 * Which instance: STRATA_INSTANCE in the environment ("default"), whose socket is $STRATA_RUNDIR/NAME/sock
 * (/run/strata). Daemons of the stack may be restarted at any time; a call waits up to 30 s for them, then ENETDOWN.
 *
 * poll() may say POLLIN when another reader has been faster; on a blocking socket ask strata_poll_again() first.
 * Implemented in services/shim; libstrata.so. */
#ifndef STRATA_H
#define STRATA_H

#include <stdbool.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>

#ifdef __cplusplus
extern "C" {
#endif

/* domain AF_INET or AF_INET6 (v4-mapped); type SOCK_STREAM, | SOCK_NONBLOCK, | SOCK_CLOEXEC. The caller closes it. */
int strata_socket(int domain, int type);
int strata_bind(int fd, const struct sockaddr *addr, socklen_t len);	/* EACCES: the instance's rules forbid it */
int strata_connect(int fd, const struct sockaddr *addr, socklen_t len);
int strata_listen(int fd, int backlog);
int strata_accept(int fd, struct sockaddr *addr, socklen_t *len, int flags);	/* flags: SOCK_NONBLOCK, SOCK_CLOEXEC */
int strata_shutdown(int fd, int how);
int strata_close(int fd);
int strata_dup(int fd);

ssize_t strata_recv(int fd, void *buf, size_t n, int flags);	/* MSG_PEEK, MSG_WAITALL, MSG_DONTWAIT, MSG_TRUNC */
ssize_t strata_send(int fd, const void *buf, size_t n, int flags);	/* MSG_MORE, MSG_DONTWAIT, MSG_NOSIGNAL */
ssize_t strata_readv(int fd, const struct iovec *v, int n);
ssize_t strata_writev(int fd, const struct iovec *v, int n);

int strata_getsockname(int fd, struct sockaddr *addr, socklen_t *len);
int strata_getpeername(int fd, struct sockaddr *addr, socklen_t *len);
int strata_getsockopt(int fd, int level, int name, void *val, socklen_t *len);
int strata_setsockopt(int fd, int level, int name, const void *val, socklen_t len);

/* A descriptor that was inherited over exec or received in SCM_RIGHTS: make it usable here. ENOTSOCK: not Strata's. */
int strata_attach(int fd);
/* Was a POLLIN for nothing? true: wait again. */
bool strata_poll_again(int fd);
/* Is fd served by Strata in this process? */
bool strata_owns(int fd);

#ifdef __cplusplus
}
#endif
#endif
