/* attach.h – the inside of the daemon shell: getting and mapping the regions. Used by daemon.c only. */
#ifndef STRATA_ATTACH_H
#define STRATA_ATTACH_H

#include "daemon.h"

int daemon_attach(struct daemon *d);	/* keeper, regions, bells, pools; 0 or -errno, explained on the log */
/* Connect and say hello: socket or -errno. wait: up to 30 s for a keepd that is being restarted. */
int keeper_open(struct daemon *d, struct keeper_reply *ret);
int keeper_wait(struct daemon *d, struct keeper_reply *ret);

#endif
