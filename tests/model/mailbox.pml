/* mailbox.pml – a socket call's way from sockd to tcpd and back (proto/shm/sock.h), with deaths of both sides.
 *
 *	client --call id--> sockd --{ op, req, op_seq }--> tcpd --{ answer, done_seq }--> sockd --> client
 *
 * The client repeats the call in flight, by its id, when sockd has died (crash rules 7 and 10). Checked: each call
 * takes effect exactly once and gets its own answer; nothing is forgotten (a stall is an invalid end state).
 * What this asks of the two sides: sockd names the op_seq a request is *going to have* before it names the request,
 * so that its successor knows a request that was written but never posted; tcpd's effect is one store that
 * names its request (or is such that the second time changes nothing).
 *
 * Mutants, each of which must fail:
 *   NO_RECOGNITION   sockd's successor posts the repeated call again without looking
 *   REQ_ONLY         ... or takes a written request for a posted one
 *   REQ_FIRST        the request is named before its op_seq
 *   DONE_FIRST       done_seq is stored before the answer
 *   NO_TAG           tcpd's successor does not know what has taken effect
 *   NO_SCAN          tcpd's successor waits for the bell before it looks
 *   NO_START_BELL    sockd's successor does not ring
 */
#ifndef KILLS
#define KILLS 2
#endif
#define CALLS 3
byte ctl_req, ctl_req_seq, op_seq;			/* sockd's words */
byte answer, done_seq, applied;				/* tcpd's */
byte effects[CALLS + 1];
byte asked, replied, reply;				/* the client's connection */
bool tcpd_bell, sockd_bell;
byte kills = KILLS;
#define KILL if :: atomic { kills > 0 -> kills-- }; goto killed :: true fi

active proctype client() {
	byte id;

	for (id : 1 .. CALLS) {
		asked = id;
		replied == id;
		assert(reply == id);
		assert(effects[id] == 1);
	}
}

active proctype sockd() {
	byte id;

	do
	:: replied == CALLS -> break
	:: asked != replied ->
		id = asked;
		if
#if !defined(NO_RECOGNITION) && !defined(REQ_ONLY)
		:: ctl_req == id && ctl_req_seq == op_seq	/* posted in an earlier life */
#endif
#ifdef REQ_ONLY
		:: ctl_req == id
#endif
		:: else ->
			/* The mailbox is free: one request at a time. */
			do
			:: op_seq == done_seq -> break
			:: op_seq != done_seq -> sockd_bell; sockd_bell = 0; KILL
			od;
#ifdef REQ_FIRST
			ctl_req = id;
			KILL;
			ctl_req_seq = op_seq + 1;
#else
			ctl_req_seq = op_seq + 1;
			KILL;
			ctl_req = id;
#endif
			KILL;
			op_seq++;
			KILL;
			tcpd_bell = 1
		fi;
		do
		:: op_seq == done_seq -> break
		:: op_seq != done_seq -> sockd_bell; sockd_bell = 0; KILL
		od;
		KILL;
		d_step { reply = answer; replied = id }		/* one message */
		KILL
	:: false ->
killed:		id = 0;
#ifndef NO_START_BELL
		tcpd_bell = 1;
#endif
		sockd_bell = 1
	od
}

active proctype tcpd() {
	byte seq;

end:	do
	:: tcpd_bell ->
		tcpd_bell = 0;
		KILL;
look:		if
		:: op_seq != done_seq ->
			seq = op_seq;
#ifdef NO_TAG
			d_step { applied = seq; effects[ctl_req]++ }
#else
			d_step { if :: applied != seq -> applied = seq; effects[ctl_req]++ :: else fi }
#endif
			KILL;
#ifdef DONE_FIRST
			done_seq = seq;
			KILL;
			answer = ctl_req;
#else
			answer = ctl_req;
			KILL;
			done_seq = seq;
#endif
			KILL;
			sockd_bell = 1
		:: else
		fi
	:: false ->
killed:		seq = 0;
		sockd_bell = 1;
#ifndef NO_SCAN
		goto look
#endif
	od
}
