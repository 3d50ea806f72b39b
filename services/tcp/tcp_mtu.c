/* tcp_mtu.c – path MTU: what the route says (RFC 1191), what an ICMP message says, and what probing finds when nobody says
 * anything (RFC 4821, as Linux's tcp_mtu_probing). It decides the size of segments, of GSO packets, and Don't Fragment.
 *
 *   learnt    A message passed tcp_v4_err()'s checks: this connection obeys at once, and ipd is told, who keeps it for all
 *             connections to that destination, across restarts, for ten minutes (services/ip/pmtu.c). Then larger segments are
 *             tried again.
 *   probing   Some timeouts in a row may be a router that drops what is too big and says nothing: the size falls to `mtup_low`,
 *             and a larger segment is sent now and then, between that and what the route says, by halves. If it arrives,
 *             mtup_low is raised; if it alone is lost, the upper bound falls. mtup_low is hard state: a successor need
 *             not find out again. The rest is soft: the search begins anew.
 *   IP_MTU_DISCOVER   DONT, INTERFACE and OMIT take no message and set no DF; WANT and DO take it; so does PROBE, without DF for
 *             TCP, as measured on Linux. WANT gives DF up where a message asks for less than any network has.
 * Called by tcp_v4_err(), the retransmission timer, tcp_write_xmit() and tcp_ack(). */
#include "services/tcp/path.h"
#include "common/iproute.h"

#include <netinet/in.h>

#define HEADERS 40u		/* IPv4 and TCP, options aside */
#define LEARNT (600 * SEC)	/* RFC 1191 6.3, as ipd keeps it */
#define BASE_MSS 1024u		/* RFC 4821 7.2 */
#define SEARCH_END 8u		/* bytes between the bounds that are not worth a probe */
#define SEARCH_AGAIN (600 * SEC)

static bool learnt(const struct tcp_conn *c) { return c->pmtu && c->t->now < c->pmtu_until; }

bool tcp_df(const struct tcp_conn *c)
{
	bool locked = c->mtu_locked || (learnt(c) && c->pmtu_locked);

	return c->h->mtu_disc == IP_PMTUDISC_DO || (c->h->mtu_disc == IP_PMTUDISC_WANT && !locked);
}

static bool accepts(const struct tcp_conn *c) { return c->h->mtu_disc != IP_PMTUDISC_DONT && c->h->mtu_disc < IP_PMTUDISC_INTERFACE; }

u32 tcp_path_mtu(const struct tcp_conn *c)
{
	return learnt(c) ? MIN(c->mtu, c->pmtu) : c->mtu;
}

/* Payload of a full segment in a packet of this size: RFC 9293 3.7.1, TCP_MAXSEG. */
static u32 mss_for(const struct tcp_conn *c, u32 mtu)
{
	u32 mss = mtu > HEADERS ? mtu - HEADERS : 0;

	mss = MIN(mss, (u32)(c->h->mss_peer ? c->h->mss_peer : TCP_DEFAULT_MSS));
	if (c->h->maxseg)
		mss = MIN(mss, (u32)c->h->maxseg);
	return MAX(mss, 48u) - tcp_options_size(c);
}

static u32 mtu_for(const struct tcp_conn *c, u32 mss) { return mss + tcp_options_size(c) + HEADERS; }

/* tcp_sync_mss(): half of a small peer's largest window is the last bound. */
static u32 sync_mss(struct tcp_conn *c)
{
	u32 half = c->max_wnd > TCP_DEFAULT_MSS ? c->max_wnd / 2 : c->max_wnd, mtu = tcp_path_mtu(c), mss = mss_for(c, mtu);

	if (c->h->mtup_low) {
		c->mtup_high = (u16)MIN(c->mtup_high, mtu);
		mss = MIN(mss, mss_for(c, c->h->mtup_low));
	}
	if (half && mss > half)
		mss = MAX(half, 36u);
	c->mss = mss;
	return mss;
}

int tcp_route_conn(struct tcp_conn *c)
{
	struct tcp_route rt = { 0 };
	int r;

	/* Before the look: what changes meanwhile is looked at again */
	c->route_gen = c->t->ops->route_gen ? c->t->ops->route_gen(c->t->ctx) : 0;
	r = c->t->ops->route(c->t->ctx, c->h->tuple.faddr, c->h->tuple.laddr, &rt);
	if (r) {
		if (!c->mtu)
			c->mtu = IP_MTU_DEFAULT;
		return r;
	}
	c->mtu = MAX(rt.mtu, 128u);
	c->mtu_locked = rt.mtu_locked;
	c->gso = rt.gso;
	c->csum = rt.csum;
	sync_mss(c);
	return 0;
}

u32 tcp_current_mss(struct tcp_conn *c)
{
	if (c->t->ops->route_gen && c->t->ops->route_gen(c->t->ctx) != c->route_gen)
		(void)tcp_route_conn(c);
	return sync_mss(c);
}

/* ---- what is in flight and does not fit ---- */

static u32 current_ssthresh(const struct tcp_conn *c)
{
	return c->ca_state >= CA_CWR ? c->ssthresh : MAX(c->ssthresh, c->cwnd / 2 + c->cwnd / 4);
}

/* Segments of a record are counted anew: it will be cut by today's size. */
static void recount(struct tcp_conn *c, struct tcp_rec *r)
{
	s32 d = tcp_pcount(c, r->end - r->start - !!(r->flags & REC_FIN)) - r->pcount;

	r->pcount = (u16)(r->pcount + d);
	c->packets_out += (u32)d;
	if (r->flags & REC_SACKED)
		c->sacked_out += (u32)d;
	if (r->flags & REC_LOST)
		c->lost_out += (u32)d;
	if (r->flags & REC_RETRANS)
		c->retrans_out += (u32)d;
}

/* tcp_simple_retransmit(): what was cut larger than what fits is gone, for no fault of the window: it is sent again, in smaller
 * pieces, under the same window. all: whatever its size, it could not pass with DF. */
static void simple_retransmit(struct tcp_conn *c, bool all)
{
	u32 lost = c->lost_out, again = c->retrans_out;

	for (struct tcp_rec *r = c->head; r; r = r->next) {
		if (r->flags & REC_SACKED || (!all && r->end - r->start <= (u64)r->pcount * c->mss))
			continue;
		if (r->flags & REC_RETRANS) {
			c->retrans_out -= r->pcount;
			r->flags &= (u8)~REC_RETRANS;
		}
		recount(c, r);
		tcp_mark_lost(c, r);
	}
	if (!has_sack(c))
		c->sacked_out = MIN(c->sacked_out, c->packets_out - MIN(c->packets_out, c->lost_out));
	if (c->lost_out == lost && c->retrans_out == again)
		return;
	if (c->ca_state != CA_LOSS) {
		c->high_seq = snd_nxt(c);
		c->ssthresh = current_ssthresh(c);
		c->prior_ssthresh = 0;
		c->undo_marker = 0;
		c->cf &= ~(u32)CF_FRTO;
		c->ca_state = CA_LOSS;
	}
	tcp_mark_dirty(c, CF_XMIT);
}

/* ---- learnt ---- */

/* tcp_v4_mtu_reduced(). local: ipd says so, of a packet it could not send; it has looked at its own table. */
void tcp_mtu_reduced(struct tcp_conn *c, u32 mtu, bool local)
{
	bool df = tcp_df(c);

	if (!mtu)
		return;
	if (local) {
		(void)tcp_route_conn(c);
	} else if (!accepts(c)) {
		return;
	} else if (mtu < tcp_path_mtu(c)) {
		c->pmtu = MAX(mtu, IP_MTU_MIN);
		c->pmtu_locked = mtu < IP_MTU_MIN;
		c->pmtu_until = c->t->now + LEARNT;
		if (c->pmtu_locked && tcp_df(c))
			tcp_note(&c->b.s->soft_err, EMSGSIZE);
		conn_count(c, TCP_PMTU_REDUCED);
		if (c->t->ops->pmtu_learnt)
			c->t->ops->pmtu_learnt(c->t->ctx, c->h->tuple.faddr, mtu);
	}
	sync_mss(c);
	if (phase(c) == TCPP_SYNC)
		simple_retransmit(c, df && !tcp_df(c));
}

/* A device has another MTU. What the path was found to carry stands in the route (ipd forgets it in time); a limit that is
 * lower than the route's old MTU need not be ours any more when that has grown. */
void tcp_routes_changed(struct tcp_stack *t)
{
	TCP_SLOT_EACH(sk, t->t, 0, SK_MAX) {
		struct tcp_conn *c = conn_of(t, sk);
		u32 mtu = c->mtu;

		if (!(c->cf & CF_OPEN) || phase(c) < TCPP_SYN_SENT || tcp_route_conn(c))
			continue;
		if (c->mtu > mtu)
			c->pmtu = 0;
		sync_mss(c);
		if (phase(c) == TCPP_SYNC)
			simple_retransmit(c, false);
	}
}

/* ---- probing ---- */

static void search(struct tcp_conn *c, u32 low)
{
	c->h->mtup_low = (u16)low;
	c->mtup_high = (u16)MIN(tcp_path_mtu(c), c->h->mss_peer + HEADERS);
	c->mtup_size = 0;
	c->mtup_stamp = c->t->now;
}

/* A connection begins or wakes up: what a predecessor knew of a black hole holds. */
void tcp_mtup_init(struct tcp_conn *c)
{
	if (c->h->mtup_low)
		search(c, c->h->mtup_low);
	else if (c->t->conf->mtu_probing == MTU_PROBING_ALWAYS)
		search(c, BASE_MSS + HEADERS);
}

/* Three timeouts in a row, or three seconds of them. A dead path looks the same; what that costs is probed away again. Not below what any network carries:
 * Linux goes down to 48 bytes of payload by and by. */
void tcp_mtu_probing(struct tcp_conn *c)
{
	if (c->t->conf->mtu_probing == MTU_PROBING_OFF)
		return;
	if (!c->h->mtup_low) {
		conn_count(c, TCP_MTU_BLACKHOLES);
		search(c, MIN(BASE_MSS + HEADERS, tcp_path_mtu(c)));
	} else {
		u32 half = mtu_for(c, MIN(mss_for(c, c->h->mtup_low) / 2, BASE_MSS));

		c->h->mtup_low = (u16)MAX(half, IP_MTU_MIN);
	}
	sync_mss(c);
	for (struct tcp_rec *r = c->head; r; r = r->next)
		recount(c, r);
}

/* Larger segments may fit by now, or the route has changed. */
static void search_again(struct tcp_conn *c)
{
	if (c->t->now - c->mtup_stamp >= SEARCH_AGAIN)
		search(c, mtu_for(c, MIN(c->mss, mss_for(c, c->h->mtup_low))));
}

/* RFC 4821 7.3: one segment of the size in question, when its loss would be noticed and repaired at once: enough behind it to
 * raise duplicate ACKs, windows open, nothing else wrong. -1: not now; 0: wait for that; 1: sent. */
int tcp_mtu_probe(struct tcp_conn *c)
{
	u64 nxt = snd_nxt(c), end = fin_snd(c) ? fin_snd(c) - 1 : c->write_seq, need;
	u32 size, flight = in_flight(c), wnd = load_relaxed(&c->h->snd_wnd);

	if (likely(!c->h->mtup_low) || c->mtup_size || c->ca_state != CA_OPEN || c->cwnd < 11 || c->ooo_count)
		return -1;
	size = mss_for(c, (c->h->mtup_low + c->mtup_high) / 2);
	if (c->mtup_high < c->h->mtup_low + SEARCH_END || size <= c->mss) {
		search_again(c);
		return -1;
	}
	need = size + 4 * c->mss;
	if (end - nxt < need || wnd < need)
		return -1;
	if (after(nxt + need, snd_una(c) + wnd))
		return 0;
	if (flight + 2 > c->cwnd)
		return flight ? 0 : -1;
	if (tcp_send_probe(c, size))
		return -1;
	c->cwnd--;
	c->mtup_size = (u16)mtu_for(c, size);
	c->mtup_start = nxt;
	c->mtup_end = nxt + size;
	conn_count(c, TCP_MTU_PROBES);
	return 1;
}

/* An ACK reached this far. The window keeps its bytes, not its number of segments. */
void tcp_mtup_acked(struct tcp_conn *c, u64 una)
{
	if (likely(!c->mtup_size) || before(una, c->mtup_end))
		return;
	c->cwnd = (u32)MAX((u64)c->cwnd * c->mss / mss_for(c, c->mtup_size), 1ull);
	c->cwnd_cnt = 0;
	c->cwnd_stamp = c->t->now;
	c->ssthresh = current_ssthresh(c);
	c->h->mtup_low = c->mtup_size;
	c->mtup_size = 0;
	sync_mss(c);
}

/* Something is missing, and no recovery has begun. Is it the probe? Then its size was the reason, and no congestion. */
bool tcp_mtup_lost(struct tcp_conn *c)
{
	if (likely(!c->mtup_size) || c->ca_state >= CA_CWR || snd_una(c) != c->mtup_start)
		return false;
	c->mtup_high = c->mtup_size - 1;
	c->mtup_size = 0;
	c->cwnd++;		/* the probe took one */
	conn_count(c, TCP_MTU_PROBES_LOST);
	simple_retransmit(c, false);
	return true;
}
