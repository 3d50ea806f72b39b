/* tcp_cookie.c – SYN cookies (RFC 4987 3.6): a handshake remembered by the peer when a listener has no room to. rx6.
 *
 * The SYN+ACK's sequence number is the cookie: when it was made, which of eight MSS values the peer gave, and a SipHash over
 * these, the tuple and the peer's ISN, all of it under a pad that is secret as well: a guess in the blind is right once in
 * 2^28. What else a SYN says fits only into the six low bits of our timestamp, which come back with the ACK (as Linux: scale,
 * SACK, ECN); a peer without timestamps gets none of that.
 *
 * Nothing is kept per SYN, so nothing of it can be lost by a death: the keys are in the secret region, the clock is the
 * machine's, and the one hard word is the listener's cookie_s, the second of the last cookie, stored before the SYN+ACK may
 * leave. Where none was sent lately no ACK is taken for one. Called by tcp_minisocks.c. */
#include "services/tcp/path.h"

#define COOKIE_MINUTE (60 * SEC)	/* a cookie is good in the minute it was made in and the next */
#define COOKIE_LIFE 120u		/* seconds */

static const u16 mss_table[8] = { TCP_MIN_MSS, TCP_DEFAULT_MSS, 1220, 1300, 1400, 1440, 1460, 8960 };

enum { OPT_WSCALE = 15, OPT_SACK = 16, OPT_ECN = 32, OPTS = 63 };	/* bits of the timestamp; a scale of 15: no scaling */

/* minute 5 bits, MSS 3 bits, hash 24 bits */
static u32 word(struct tcp_stack *t, const struct tcp_tuple *k, u32 irs, u32 minute, u32 mss)
{
	struct { struct tcp_tuple k; u32 irs, minute, mss, use; } in = { *k, irs, minute, mss, 0 };
	u32 hash = (u32)tcp_siphash(t->secret->cookie, &in, sizeof(in)) & 0xffffff;

	return (minute & 31) << 27 | mss << 24 | hash;
}

static u32 pad(struct tcp_stack *t, const struct tcp_tuple *k, u32 irs)
{
	struct { struct tcp_tuple k; u32 irs, minute, mss, use; } in = { *k, irs, 0, 0, 1 };

	return (u32)tcp_siphash(t->secret->cookie, &in, sizeof(in));
}

/* r holds what the SYN said; what cannot be remembered is taken out of it. */
void tcp_cookie_make(struct tcp_conn *l, struct tcp_req *r)
{
	struct tcp_stack *t = l->t;
	u32 i = ARRAY_SIZE(mss_table) - 1, now = tcp_ts(t, 0), opts;

	while (i && mss_table[i] > r->mss_peer)
		i--;
	r->iss = word(t, &r->tuple, r->irs, (u32)(t->now / COOKIE_MINUTE), i) ^ pad(t, &r->tuple, r->irs);
	if (r->negotiated & TCPN_TS) {
		opts = (r->negotiated & TCPN_WS ? r->snd_wscale : OPT_WSCALE) | (r->negotiated & TCPN_SACK ? OPT_SACK : 0) |
		       (r->negotiated & TCPN_ECN ? OPT_ECN : 0);
		/* The clock, its low bits replaced, and never ahead of itself: later timestamps must not look older */
		opts |= now & ~(u32)OPTS;
		r->ts_offset += (seq_after(opts, now) ? opts - (OPTS + 1) : opts) - now;
	} else {
		r->negotiated = 0;
		r->snd_wscale = r->rcv_wscale = 0;
	}
	store_release(&l->h->cookie_s, (u32)(t->now / SEC) + 1);
}

/* Were cookies sent that may still come back? */
bool tcp_cookie_recent(const struct tcp_conn *l)
{
	u32 at = load_relaxed(&l->h->cookie_s);

	return at && (u32)(l->t->now / SEC) + 1 - at <= COOKIE_LIFE;
}

/* An ACK for a listener: fill *r with the handshake it completes; false: no cookie of ours. */
bool tcp_cookie_check(struct tcp_conn *l, const struct tcp_seg *g, struct tcp_req *r)
{
	struct tcp_stack *t = l->t;
	u32 irs = g->seq - 1, w = (g->ack - 1) ^ pad(t, &g->tuple, irs), minute = (u32)(t->now / COOKIE_MINUTE), opts;

	if (w >> 27 == ((minute - 1) & 31))
		minute--;
	if (word(t, &g->tuple, irs, minute, w >> 24 & 7) != w)
		return false;
	*r = (struct tcp_req){ .listener = l->sk, .listener_gen = l->h->gen, .tuple = g->tuple, .irs = irs, .iss = g->ack - 1,
			       .mss_peer = mss_table[w >> 24 & 7], .born = t->now, .ts_offset = tcp_ts_offset(t, &g->tuple) };
	if (!g->has_ts || !t->conf->timestamps)
		return true;
	opts = g->tsecr - r->ts_offset;
	r->ts_recent = g->tsval;
	r->negotiated = TCPN_TS | (opts & OPT_SACK ? TCPN_SACK : 0) | (opts & OPT_ECN ? TCPN_ECN : 0);
	if ((opts & OPT_WSCALE) != OPT_WSCALE) {
		r->negotiated |= TCPN_WS;
		r->snd_wscale = (u8)(opts & OPT_WSCALE);
		r->rcv_wscale = tcp_pick_wscale(tcp_rcv_limit(l->h, t->arena[SK_ARENA(l->sk)].rx_size));
	}
	return true;
}
