/* hand.h – giving sockets to programs by exec (hand.c). */
#ifndef STRATA_SHIM_HAND_H
#define STRATA_SHIM_HAND_H

#include "services/shim/shim.h"

#pragma GCC visibility push(hidden)

/* Will the shim be loaded into this program, for this instance? False when in doubt. */
bool program_has_shim(int dirfd, const char *path, char *const *envp);
/* Every connection that survives exec becomes plain. */
void hand_over_inherited(void);
void hand_over_fd(int fd, bool meant);	/* meant for the program, not merely inherited by it */

#pragma GCC visibility pop
#endif
