/* path.h – strata-sockd's part of the flow, in the order a call takes it (tx1).
 *
 *   clients_event()               client.c     a message of a process arrives, with its credentials
 *   call_begin()                  call.c       HELLO, ATTACH, WHOSE, ARENA: hello.c; ADMIN: admin.c; else a socket call
 *   slot_alloc()                  slot.c       a socket is made: slot, quota, its pair's far end parked for tcpd
 *   security_socket_create() bind() connect() listen()
 *                                 security.c   the hook of tx1: may this process do that?
 *   mailbox_post()                mailbox.c    the request lies in sock_shm.ctl[sk]; a hint and tcpd's doorbell
 *     -> tcpd: services/tcp/sk_mbox.c, answer in tcp_shm.ans[sk]
 *   mailbox_poll()                mailbox.c    answered: the call goes on, at last client_reply()
 *
 * Reading and writing of a socket (the rest of tx1, and rx8) never come here: the application does both itself. */
#ifndef STRATA_SOCK_PATH_H
#define STRATA_SOCK_PATH_H

#include "sockd.h"

#endif
