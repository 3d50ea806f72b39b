/* doorbell.pml – the sleep flag and the doorbell (common/loop.c, daemon_ring()): no wake-up is lost.
 *
 *	producer: publish head; fence; asleep, in another      consumer: poll; nothing: sleeping = ++epoch; fence;
 *	          sleep than the one rung for last? ring                  look again; block until the bell
 *
 * On x86's memory (tso.h), with either process killed KILLS times anywhere. A lost wake-up is an invalid end state.
 *
 * Mutants, each of which must fail:
 *   NO_PRODUCER_FENCE, NO_CONSUMER_FENCE   the two fences, one at a time
 *   OLD_EPOCH                              a consumer's successor numbers its sleeps anew
 *   NO_RECHECK                             the consumer does not look again
 *   NO_START_BELL                          a producer's successor does not ring at its start
 *   ASLEEP                                 a consumer's successor starts asleep
 */
#include "tso.h"
#ifndef KILLS
#define KILLS 1
#endif
#define ITEMS 3
#define HEAD 0		/* producer's */
#define TAIL 1		/* consumer's */
#define SLEEPING 2
#define EPOCH 3		/* consumer's, in its region */
chan out = [2] of { byte, byte }	/* producer's stores */
chan in = [3] of { byte, byte }		/* consumer's */
byte bell;				/* the eventfd: the kernel's, ordered by itself */
byte kills = KILLS;
#define KILL if :: atomic { kills > 0 -> kills-- }; goto killed :: true fi

active proctype memory() {
	byte w, v;
end:	do
	:: d_step { out?w, v -> m[w] = v; w = 0; v = 0 }
	:: d_step { in?w, v -> m[w] = v; w = 0; v = 0 }
	od
}

active proctype producer() {
	byte n, asleep, rung;

	do
	:: n < ITEMS ->
		n++;
		STORE(out, HEAD, n);
		KILL;
#ifndef NO_PRODUCER_FENCE
		FENCE(out);
#endif
		asleep = m[SLEEPING];
		if
		:: asleep && asleep != rung -> KILL; bell = 1; rung = asleep
		:: else
		fi;
		asleep = 0
	:: n == ITEMS -> break
	:: false ->
killed:		FENCE(out);
		n = m[HEAD];
		rung = 0;
		asleep = 0;
#ifndef NO_START_BELL
		bell = 1
#endif
	od
}

active proctype consumer() {
	byte n, seen, epoch;

	do
	:: n == ITEMS -> break
	:: n < ITEMS ->
		seen = m[HEAD];
		if
		:: seen != n ->
			n = seen;
			STORE(in, TAIL, n);
			KILL
		:: else ->
			epoch++;
			STORE(in, EPOCH, epoch);
			STORE(in, SLEEPING, epoch);
			KILL;
#ifndef NO_CONSUMER_FENCE
			FENCE(in);
#endif
#ifndef NO_RECHECK
			seen = m[HEAD];
#endif
			if
			:: seen != n
			:: else -> bell > 0; bell = 0
			fi;
			STORE(in, SLEEPING, 0);
			KILL
		fi
	:: false ->
killed:		FENCE(in);
		n = m[TAIL];
#ifdef OLD_EPOCH
		epoch = 0;
#else
		epoch = m[EPOCH];
#endif
#ifdef ASLEEP
		bell > 0; bell = 0
#else
		STORE(in, SLEEPING, 0)
#endif
	od
}
