/* want.pml – full rings: the wanted-space flag (common/ring.h), in both directions at once.
 *
 *	source --ab--> relay --ba--> source		one daemon has both ends, the other sends back what it gets
 *
 * A full output stops only the input that feeds it: the relay then takes nothing, the source goes on taking. Who
 * finds its output full sets `want`, fences, and sleeps if there is still no space; who releases slots fences, and
 * rings if `want` is set and the other sleeps. Memory is x86's (tso.h). A stall is an invalid end state.
 *
 * Mutants, each of which must fail:
 *   NO_RELEASE_FENCE   the tail is released and `want` looked at without a fence between
 *   NO_WANT            nobody asks for space
 *   NO_PENDING         before sleeping the rings are not looked at again
 *   BLIND              before sleeping, input that came meanwhile but has no space to go to is left, though
 *                      nobody has asked for that space yet
 *   FULL_STOPS_ALL     the source takes nothing while its own output is full
 */
#define WORDS 10
#include "tso.h"
#define ITEMS 4
#define CAP 1
#define AB_H 0		/* the source's words: even; the relay's: odd */
#define AB_T 1
#define BA_T 2
#define BA_H 3
#define AB_WANT 4
#define BA_WANT 5
#define SOURCE_SLEEPS 6
#define RELAY_SLEEPS 7
chan fs = [3] of { byte, byte }	/* the source's stores */
chan fr = [3] of { byte, byte }	/* the relay's */
bool source_bell, relay_bell;

#define RING(fifo, sleeps, bell) FENCE(fifo); if :: m[sleeps] -> bell = 1 :: else fi

/* ring_release_wants_bell(), then daemon_ring() */
#ifdef NO_RELEASE_FENCE
#define RELEASE(fifo, tail, value, want, sleeps, bell) \
	STORE(fifo, tail, value); if :: m[want] -> RING(fifo, sleeps, bell) :: else fi
#else
#define RELEASE(fifo, tail, value, want, sleeps, bell) \
	STORE(fifo, tail, value); FENCE(fifo); if :: m[want] -> RING(fifo, sleeps, bell) :: else fi
#endif

/* ring_want_space() */
#ifdef NO_WANT
#define ASK(fifo, want) wanted = 1
#else
#define ASK(fifo, want) wanted = 1; STORE(fifo, want, 1); FENCE(fifo)
#endif

/* Input without space: a reason to sleep only when the space has been asked for. */
#ifdef BLIND
#define UNASKED false
#else
#define UNASKED (!wanted)
#endif

#ifdef NO_PENDING
#define SLEEP(fifo, sleeps, bell, pending) \
	STORE(fifo, sleeps, 1); FENCE(fifo); bell; bell = 0; STORE(fifo, sleeps, 0)
#else
#define SLEEP(fifo, sleeps, bell, pending) \
	STORE(fifo, sleeps, 1); FENCE(fifo); if :: pending :: else -> bell; bell = 0 fi; STORE(fifo, sleeps, 0)
#endif

active proctype memory() {
	byte w, v;
end:	do
	:: d_step { fs?w, v -> m[w] = v; w = 0; v = 0 }
	:: d_step { fr?w, v -> m[w] = v; w = 0; v = 0 }
	od
}

active proctype source() {
	byte sent, got;
	bool work, wanted, stuck;

	do
	:: got == ITEMS -> break
	:: got < ITEMS ->
		work = 0;
#ifdef FULL_STOPS_ALL
		stuck = sent - m[AB_T] >= CAP;
#endif
		if
		:: !stuck && m[BA_H] != got ->
			got++;
			work = 1;
			RELEASE(fs, BA_T, got, BA_WANT, RELAY_SLEEPS, relay_bell)
		:: else
		fi;
		if
		:: sent < ITEMS && sent - m[AB_T] < CAP ->
			if :: wanted -> wanted = 0; STORE(fs, AB_WANT, 0) :: else fi;
			sent++;
			work = 1;
			STORE(fs, AB_H, sent);
			RING(fs, RELAY_SLEEPS, relay_bell)
		:: sent < ITEMS && sent - m[AB_T] >= CAP && !wanted -> ASK(fs, AB_WANT)
		:: else
		fi;
		stuck = 0;
		if
		:: work || got == ITEMS
		:: else ->
#ifdef FULL_STOPS_ALL
			SLEEP(fs, SOURCE_SLEEPS, source_bell, sent < ITEMS && (sent - m[AB_T] < CAP || UNASKED))
#else
			SLEEP(fs, SOURCE_SLEEPS, source_bell, (m[BA_H] != got || (sent < ITEMS && (sent - m[AB_T] < CAP || UNASKED))))
#endif
		fi
	od
}

active proctype relay() {
	byte n;			/* taken and sent on */
	bool wanted;

	do
	:: n == ITEMS -> break
	:: n < ITEMS ->
		if
		:: m[AB_H] != n && n - m[BA_T] < CAP ->
			if :: wanted -> wanted = 0; STORE(fr, BA_WANT, 0) :: else fi;
			n++;
			STORE(fr, BA_H, n);		/* the output before the input's tail */
			RELEASE(fr, AB_T, n, AB_WANT, SOURCE_SLEEPS, source_bell);
			RING(fr, SOURCE_SLEEPS, source_bell)
		:: else ->
			if
			:: m[AB_H] != n && n - m[BA_T] >= CAP && !wanted -> ASK(fr, BA_WANT)
			:: else
			fi;
			SLEEP(fr, RELAY_SLEEPS, relay_bell, (m[AB_H] != n && (n - m[BA_T] < CAP || UNASKED)))
		fi
	od
}
