/* keeper.h – talking to keepd: the client's calls, and the framing both sides share.
 *
 * One SOCK_SEQPACKET message is one proto/keeper.proto message; descriptors travel beside it. Everything is
 * synchronous. Ownership: descriptors received are the caller's to close. Errors: -errno; keeper_reply.text
 * holds keepd's explanation. */
#ifndef STRATA_KEEPER_H
#define STRATA_KEEPER_H

#include "base.h"

#define KEEPER_MSG 16384u	/* bytes of one message */
#define KEEPER_BATCH 250u	/* descriptors of one message; the kernel's limit is 253 */
#define KEEPER_FDS 256u		/* descriptors one role can be given */
#define KEEPER_NAME 32u

struct keeper_fd { char name[KEEPER_NAME]; int fd; };
struct keeper_reply { u32 n; struct keeper_fd fd[KEEPER_FDS]; char text[200]; };

const char *strata_rundir(void);	/* $STRATA_RUNDIR or /run/strata */
int keeper_connect(const char *instance);	/* one attempt; socket or -errno */
/* HELLO: every descriptor `role` may have. 0 or -errno; on an error nothing is left open. */
int keeper_hello(int sock, const char *role, u32 version, struct keeper_reply *ret);
int keeper_ask(int sock, const char *role, u32 version);		/* HELLO in two steps: ask, ... */
int keeper_answer(int sock, struct keeper_reply *ret);		/* ... and the answer, when the socket is readable */
/* PARK `fd` under `name`, or UNPARK when fd < 0. 0 once it is safe. */
int keeper_park(int sock, const char *role, const char *name, int fd, char *text, size_t text_size);
int keeper_find(const struct keeper_reply *r, const char *name);	/* descriptor or -1 */
void keeper_close(struct keeper_reply *r);				/* close them all */

/* Framing. send: 0 or -errno, never raises SIGPIPE. recv: bytes (0: hung up) or -errno; descriptors beyond
 * `*nfds` or a truncated message are -EPROTO, with everything received closed again. */
int keeper_msg_send(int sock, const void *buf, size_t n, const int *fds, u32 nfds, int flags);
ssize_t keeper_msg_recv(int sock, void *buf, size_t size, int *fds, u32 *nfds, int flags);

#endif
