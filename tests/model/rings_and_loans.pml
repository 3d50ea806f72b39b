/* rings_and_loans.pml – crash rules 1 and 2: descriptors, loans and SIGKILL along one path of the stack.
 *
 *	tcpd --ti--> ipd --il--> linkd --lc--> tcpd        completions of what was sent
 *	              |  hold                               one place: ARP queue
 *	              +--------ic---------------> tcpd        completions of what ipd dropped
 *
 * Rings wrap (CAP slots), buffers are reused, and any process may be killed between any two stores, KILLS times in
 * all. Checked: ipd answers each input exactly once; the bytes on the wire are those of the packet; every packet
 * was transmitted or dropped (twice only if linkd was killed: a device write is the one thing that may happen
 * twice); every loan ends. A leak or a stall is an invalid end state.
 *
 * Mutants, each of which must fail:
 *   NO_CAUSE        a successor trusts its tail instead of the newest cause in its outputs
 *   WHOLE_RING      ... or looks for causes also in slots it had filled but not published
 *   PRIVATE_LOANS   loans die with tcpd
 *   NO_RECONCILE    tcpd's successor does not take back loans that are nowhere
 *   AGAINST_FLOW    ... or looks for them from the last ring to the first
 *   NO_GENERATION   a completion ends whatever loan the buffer is in
 *   HOLD_LATE       ipd moves its tail before the hold table has the descriptor
 */
#ifndef KILLS
#define KILLS 1
#endif
#ifndef NP
#define NP 3			/* packets */
#endif
#define NB 2			/* buffers */
#define CAP 2			/* slots of a packet ring */
#define DCAP 4			/* slots of a completion ring: more than buffers */
#define HELD 8			/* causes from here on: the hold table's sequence numbers */

/* A descriptor in one word; a cause is the input's index. 0 is no descriptor (packets count from 1). */
#define DESC(b, g, p, c) ((c) * 128 + (p) * 16 + (g) * 2 + (b))
#define BUF(d) ((d) & 1)
#define GEN(d) (((d) >> 1) & 7)
#define PKT(d) (((d) >> 4) & 7)
#define CAUSE(d) ((d) >> 7)
#define CAUSED(d, c) (((d) & 127) | ((c) << 7))

short ti[CAP], il[CAP], lc[DCAP], ic[DCAP], hold;
byte ti_h, ti_t, il_h, il_t, lc_h, lc_t, ic_h, ic_t;
bool hold_used; byte hold_seq;		/* of the newest that was ever held */
byte gen[NB]; bool loan[NB];		/* one word each */
byte h1[NB], h2[NB];			/* the buffers' bytes: two stores */
byte source;				/* tcpd's input: packets emitted */

byte kills = KILLS, linkd_kills;
bool done;
byte answered[NP + 1], wired[NP + 1], dropped[NP + 1];	/* what has happened: seen by assertions only */

#define KILL if :: atomic { kills > 0 -> kills-- }; goto killed :: true fi

/* The newest cause in an output ring. @held: of the hold table's causes, or of others'. The slots before the head may
 * already hold what the predecessor was about to publish: only half the ring is looked at. */
#ifdef WHOLE_RING
#define BACK(cap) (cap)
#else
#define BACK(cap) ((cap) / 2)
#endif
#define NEWEST(ring, cap, head, held, tail) \
	k = 0; \
	do \
	:: k < BACK(cap) && k < head -> \
		k++; \
		d = ring[(head - k) % cap]; \
		if \
		:: (CAUSE(d) >= HELD) == held && (CAUSE(d) & 7) + 1 > tail -> tail = (CAUSE(d) & 7) + 1 \
		:: else \
		fi \
	:: else -> break \
	od

inline give_back(d) {
#ifdef NO_GENERATION
	d_step { loan[BUF(d)] = 0 }
#else
	d_step { if :: loan[BUF(d)] && gen[BUF(d)] == GEN(d) -> loan[BUF(d)] = 0 :: else fi }
#endif
}

inline see(d) {
	d_step { if :: d && GEN(d) == gen[BUF(d)] -> seen = seen | (1 << BUF(d)) :: else fi }
}

/* Mark what is unconsumed: the tail is read before the head, the slots after both; others run in between. */
#define MARK(ring, cap, head, tail) \
	k = tail; \
	e = head; \
	do \
	:: k != e -> d = ring[k % cap]; see(d); k++ \
	:: else -> break \
	od

proctype tcpd() {
	byte b, k, e, seen;
	short d;

	do
	:: lc_t != lc_h ->
		d = lc[lc_t % DCAP];
		give_back(d);
		KILL;
		lc_t++
	:: ic_t != ic_h ->
		d = ic[ic_t % DCAP];
		give_back(d);
		KILL;
		ic_t++
	:: source < NP && ti_h - ti_t < CAP && !(loan[0] && loan[1]) ->
		if :: !loan[0] -> b = 0 :: !loan[1] -> b = 1 fi;
		d_step { gen[b]++; loan[b] = 1 }
		KILL;
		h1[b] = source + 1;
		h2[b] = source + 1;
		d_step { ti[ti_h % CAP] = DESC(b, gen[b], source + 1, source); d = 0 }
		KILL;
		ti_h++;
		KILL;
		source++
	:: source == NP && !loan[0] && !loan[1] && ti_t == ti_h && il_t == il_h && lc_t == lc_h && ic_t == ic_h && !hold_used ->
		done = 1;
		break
	:: false ->
killed:		skip;
		d_step {
#ifndef NO_CAUSE
			NEWEST(ti, CAP, ti_h, false, source);
#endif
#ifdef PRIVATE_LOANS
			loan[0] = 0; loan[1] = 0;
#endif
			seen = 0; k = 0; e = 0; d = 0
		}
#ifndef NO_RECONCILE
#ifdef AGAINST_FLOW
		MARK(lc, DCAP, lc_h, lc_t);
		MARK(ic, DCAP, ic_h, ic_t);
		MARK(il, CAP, il_h, il_t);
		if :: hold_used -> see(hold) :: else fi;
		MARK(ti, CAP, ti_h, ti_t);
#else
		MARK(ti, CAP, ti_h, ti_t);
		if :: hold_used -> see(hold) :: else fi;
		MARK(il, CAP, il_h, il_t);
		MARK(lc, DCAP, lc_h, lc_t);
		MARK(ic, DCAP, ic_h, ic_t);
#endif
		skip;
		d_step {
			if :: !(seen & 1) -> loan[0] = 0 :: else fi;
			if :: !(seen & 2) -> loan[1] = 0 :: else fi;
			seen = 0; k = 0; e = 0
		}
#endif
	od;
	skip;
	/* Everything that was taken over arrived somewhere. */
	d_step {
		b = 1;
		do
		:: b <= NP ->
			assert(wired[b] + dropped[b] >= 1);
			assert(dropped[b] == 0 || wired[b] == 0);
			assert(wired[b] <= 1 + linkd_kills);
			b++
		:: else -> break
		od
	}
}

inline answer(d) { answered[PKT(d)]++; assert(answered[PKT(d)] == 1) }

proctype ipd() {
	byte k, drops = 1, freed;
	short d;

	do
	:: ti_t != ti_h && il_h - il_t < CAP ->
		d = ti[ti_t % CAP];
		if
		:: true ->			/* the neighbour is known */
			il[il_h % CAP] = CAUSED(d, ti_t);
			KILL;
			d_step { il_h++; answer(d); d = 0 }
			KILL;
			ti_t++
		:: drops > 0 && ic_h - ic_t < DCAP ->	/* netfilter says drop: the buffer's completion */
			ic[ic_h % DCAP] = CAUSED(d, ti_t);
			KILL;
			d_step { ic_h++; drops--; dropped[PKT(d)]++; answer(d); d = 0 }
			KILL;
			ti_t++
		:: !hold_used && hold_seq < 2 ->	/* the neighbour is not known */
#ifdef HOLD_LATE
			ti_t++;
			KILL;
			d_step { hold = CAUSED(d, ti_t - 1); hold_seq++ }
			d_step { hold_used = 1; answer(d); d = 0 }
#else
			d_step { hold = CAUSED(d, ti_t); hold_seq++ }
			KILL;
			d_step { hold_used = 1; answer(d); d = 0 }
			KILL;
			ti_t++
#endif
		fi
	:: hold_used && il_h - il_t < CAP ->		/* the neighbour has answered */
		il[il_h % CAP] = CAUSED(hold, HELD + hold_seq);
		KILL;
		il_h++;
		KILL;
		hold_used = 0
	:: done -> break
	:: false ->
killed:		skip;
		d_step {
#ifndef NO_CAUSE
			NEWEST(il, CAP, il_h, false, ti_t);
			NEWEST(ic, DCAP, ic_h, false, ti_t);
			if :: hold_used && CAUSE(hold) + 1 > ti_t -> ti_t = CAUSE(hold) + 1 :: else fi;
			freed = 0;
			NEWEST(il, CAP, il_h, true, freed);
			if :: hold_used && freed == hold_seq + 1 -> hold_used = 0 :: else fi;
#endif
			freed = 0; k = 0; d = 0
		}
	od
}

proctype linkd() {
	byte k, x, y;
	short d;

	do
	:: il_t != il_h && lc_h - lc_t < DCAP ->
		d = il[il_t % CAP];
		if
		:: loan[BUF(d)] && gen[BUF(d)] == GEN(d) ->
			x = h1[BUF(d)];
			y = h2[BUF(d)];
			d_step { assert(x == PKT(d) && y == PKT(d)); wired[PKT(d)]++; x = 0; y = 0 }
		:: else		/* a stale loan is not read */
		fi;
		lc[lc_h % DCAP] = CAUSED(d, il_t);
		KILL;
		d_step { lc_h++; d = 0 }
		KILL;
		il_t++
	:: done -> break
	:: false ->
killed:		skip;
		d_step {
			linkd_kills++;
#ifndef NO_CAUSE
			NEWEST(lc, DCAP, lc_h, false, il_t);
#endif
			k = 0; d = 0
		}
	od
}

init { atomic { run tcpd(); run ipd(); run linkd() } }
