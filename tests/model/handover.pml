/* handover.pml – a socket becomes plain (services/tcp/sk_plain.c, the shim's hand.c and reading_begin()): a program without the
 * shim reads every byte once and no token, and nobody with the shim takes a byte of it by mistake.
 *
 *	giver: ASK n+1		tcpd: QUIET n: no tokens from now on	readers: count themselves, look; QUIET: wait; plain: the
 *	       no reader: drain	      DRAINED n: from the tail on,	         pair's bytes; else take from the ring, drain
 *	       DRAINED n	      bytes go through the pair; plain
 *				      or takes QUIET back, sends tokens
 *
 * The pair's queue holds tokens and, behind them, bytes. The giver may be killed anywhere; QUIET may be taken back at any
 * time. Words of 32 bits are written at once; memory is taken as sequentially consistent (a reader's count is a locked
 * operation, the giver's look is behind a fence). Asserted: who drains or reads finds what he expects; at the end every
 * byte was read once.
 *
 * Mutants, each of which must fail:
 *   TOKENS_IN_QUIET   tcpd sends tokens while it is quiet
 *   BLIND_READER      readers do not look for QUIET
 *   NO_WAIT           the giver does not wait for readers
 *   DRAIN_FIRST       the giver drains before tcpd is quiet, and not after
 *   NO_NOTICE         the end of a giver is not noticed: he may have taken a token that was sent after QUIET had ended
 */
#define BYTES 3
#define READS 3
mtype = { NOTHING, ASK, DRAINED };
mtype want = NOTHING;
byte want_no, no;		/* of the request; of the one tcpd took up last */
bool quiet, plain;
byte head, tail;		/* of the receive ring: arrived; read by those with the shim */
byte tokens, bytes;		/* in the pair */
byte readers, read_plain, from;
bool gone;			/* the giver was killed */
bool all;			/* everything has arrived */
byte kills = 1, backs = 1;
#define KILL if :: atomic { kills > 0 -> kills--; gone = true }; goto killed :: true fi

active proctype tcpd() {
	byte left = BYTES;

end:	do
	:: atomic { left > 0 ->
		left--;
		head++;
		all = left == 0;
		if
		:: plain -> bytes++
#ifdef TOKENS_IN_QUIET
		:: !plain -> tokens = 1
#else
		:: !plain && !quiet -> tokens = 1
		:: !plain && quiet
#endif
		fi }
	:: atomic { want == ASK && want_no != no && !quiet && !plain -> no = want_no; quiet = true }
	:: atomic { want == DRAINED && want_no == no && quiet -> from = tail };
		atomic { plain = true; quiet = false; bytes = head - from }
	:: atomic { quiet && (backs > 0 || gone) ->
		if
		:: backs > 0 -> backs--
		:: else
		fi;
		quiet = false;
		if
		:: head != tail -> tokens = 1
		:: else
		fi }
#ifndef NO_NOTICE
	:: atomic { gone && !quiet && !plain && tokens == 0 && head != tail -> tokens = 1 }	/* sockd's hint: a kick */
#endif
	od
}

/* With the shim: woken by what lies in the pair. */
active proctype reader() {
	byte turns = READS, t;

	do
	:: plain || (all && head == tail && !quiet) -> break
	:: atomic { turns > 0 && !plain && tokens > 0 -> turns-- };
		readers++;
		if
#ifdef BLIND_READER
		:: plain -> readers--
#else
		:: quiet || plain -> readers--; turns++; (!quiet)
#endif
		:: else ->
			t = head;
			assert(!plain);
			tail = t;
			if
			:: tokens + bytes > 0 -> assert(bytes == 0); tokens = 0
			:: else
			fi;
			if
			:: head != t && !plain -> tokens = 1	/* it kicks, tcpd looks again */
			:: else
			fi;
			readers--
		fi
	:: turns == 0 -> break
	od
}

active proctype giver() {
	byte n;

#ifdef DRAIN_FIRST
	tokens = 0;
#endif
	do
	:: plain -> break
	:: !plain && !quiet && (want != ASK || want_no == no) -> atomic { want_no = no + 1; want = ASK }; KILL
	:: !plain && quiet && !(want == DRAINED && want_no == no) ->
		n = no;
		KILL;
#ifndef NO_WAIT
		(readers == 0 || !quiet);
#endif
#ifndef DRAIN_FIRST
		atomic { assert(bytes == 0); tokens = 0 };
#endif
		KILL;
		atomic { want = DRAINED; want_no = n };
		KILL
	od;
	do		/* the program that was started */
	:: atomic { read_plain < BYTES - from -> bytes > 0 -> assert(tokens == 0); bytes--; read_plain++ }
	:: read_plain == BYTES - from -> break
	od;
	assert(from + read_plain == BYTES && bytes == 0);
	goto done;
killed:	skip;
done:	skip
}
