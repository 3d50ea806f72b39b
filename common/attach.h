/* attach.h – the inside of the daemon shell: getting and mapping the regions; the keeper. Used by daemon.c and daemon_keeper.c. */
#ifndef STRATA_ATTACH_H
#define STRATA_ATTACH_H

#include "daemon.h"

int daemon_attach(struct daemon *d);	/* keeper, regions, bells, pools; 0 or -errno, explained on the log */
/* Connect and say hello: socket or -errno. call: its answer is not waited for. wait: up to 30 s for a keepd that is being
 * restarted. */
int keeper_call(struct daemon *d);
int keeper_wait(struct daemon *d, struct keeper_reply *ret);
bool keeper_restarting(int r);		/* not there (yet), or killed between our request and its answer */
int keeper_watch(struct daemon *d, int sock);	/* to be told when it goes; 0 or -errno, the socket then the caller's */
void keeper_poll(struct daemon *d);		/* every pass: look for a keeper that was away */

#endif
