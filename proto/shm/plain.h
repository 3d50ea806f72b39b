/* plain.h – sockets with holders that do not have the shim: what tcpd keeps about them (services/tcp/sk_plain.c).
 *
 * Plain is for ever: once a socket has become so, every holder reads and writes the pair's descriptor itself, those with
 * the shim too, and tcpd is the application of its own TCP: it moves bytes between the rings and the pair. So it needs
 * an application's words and a transmit ring that it may write: `c` and arena_plain().
 *
 * Exactly once under SIGKILL: bytes go through sendmmsg() and recvmmsg() whose header lies here. The kernel moves the
 * bytes and stores msg_len in the same system call, and a process that is killed leaves a system call at its end, not in
 * it. So off + msg_len is at every instant how far the stream has got; the record for the next call is filled beside it
 * and then published by `which`. Pointers in the headers mean nothing to a successor. */
#ifndef STRATA_SHM_PLAIN_H
#define STRATA_SHM_PLAIN_H

#include "proto/shm/arena.h"

#include <sys/socket.h>

struct plain_rec {
	u64 off;		/* stream offset at which the call below begins */
	u64 client;		/* tx: how far the application's own ring has been taken over */
	struct mmsghdr m;	/* msg_len: bytes moved; 0 until they are */
};

struct tcp_plain {
	struct sk_client c;	/* what TCP sees as the application's words */
	struct plain_rec tx[2], rx[2];
	_Atomic u32 tx_which, rx_which;
};

#endif
