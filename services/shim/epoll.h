/* epoll.h – rx7: whose event is this? What was registered with epoll, found by what an event carries: (epfd, data).
 *
 * A hint, never a truth: an event nobody can say anything about goes to the application as it came. */
#ifndef STRATA_SHIM_EPOLL_H
#define STRATA_SHIM_EPOLL_H

#include "services/shim/shim.h"

#pragma GCC visibility push(hidden)

/* Before an ADD or a MOD. s: NULL if fd is not ours. */
void epoll_note(int epfd, int fd, const struct sock *s, const struct epoll_event *ev);
/* Events as TCP would show them, those without a meaning taken out: how many are left. */
int epoll_sift(int epfd, struct epoll_event *ev, int n);
void epoll_forked(void);

#pragma GCC visibility pop
#endif
