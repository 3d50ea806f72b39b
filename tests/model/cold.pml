/* cold.pml – arenas that tcpd does not look at (services/tcp/sk_arena.c, the shim's arena_kick()): no kick is lost.
 *
 *	application: kick++; fence; cold? ring		tcpd: no kick for a while: cold = 1; fence; look again;
 *							      not looking until the bell; then cold = 0, look
 *
 * On x86's memory (tso.h), with either process killed KILLS times anywhere; an application that is killed before it rang is
 * rung for (sockd sees its connection end). What tcpd does between passes, sleeping as a whole, is doorbell.pml. A kick
 * that nobody looks at is an invalid end state.
 *
 * Mutants, each of which must fail:
 *   NO_KICK_FENCE, NO_COLD_FENCE   the two fences, one at a time
 *   NO_RECHECK                     tcpd does not look again
 *   STAYS_COLD                     a successor takes the arena for cold and does not look
 */
#include "tso.h"
#ifndef KILLS
#define KILLS 1
#endif
#define KICKS 3
#define KICK 0		/* the application's */
#define COLD 1		/* tcpd's, in the arena's header */
chan out = [2] of { byte, byte }	/* the application's stores */
chan in = [3] of { byte, byte }		/* tcpd's */
byte bell;				/* the eventfd */
byte kills = KILLS;
#define KILL if :: atomic { kills > 0 -> kills-- }; goto killed :: true fi

active proctype memory() {
	byte w, v;
end:	do
	:: d_step { out?w, v -> m[w] = v; w = 0; v = 0 }
	:: d_step { in?w, v -> m[w] = v; w = 0; v = 0 }
	od
}

active proctype application() {
	byte n;

	do
	:: n < KICKS ->
		n++;
		STORE(out, KICK, n);
		KILL;
#ifndef NO_KICK_FENCE
		FENCE(out);
#endif
		if
		:: m[COLD] -> KILL; bell = 1
		:: else
		fi
	:: n == KICKS -> break
	:: false ->
killed:		FENCE(out);
		n = m[KICK];
		bell = 1
	od
}

active proctype tcpd() {
	byte n, seen;

	do
	:: n == KICKS -> break
	:: n < KICKS ->			/* hot: a look in every pass */
		seen = m[KICK];
		if
		:: seen != n -> n = seen
		:: else ->
			STORE(in, COLD, 1);
			KILL;
#ifndef NO_COLD_FENCE
			FENCE(in);
#endif
#ifndef NO_RECHECK
			seen = m[KICK];
#endif
			if
			:: seen != n
			:: else -> bell > 0; bell = 0
			fi;
			STORE(in, COLD, 0);
			KILL
		fi
	:: false ->
killed:		FENCE(in);
		n = 0;			/* its private copy is gone */
#ifdef STAYS_COLD
		bell > 0; bell = 0;
#endif
		STORE(in, COLD, 0)
	od
}
