/* tcp_minisocks.c – passive opens (rx6): handshakes as compact entries, the connection's slot only when they complete.
 *
 *   SYN -> tcp_conn_request(): an entry, SYN+ACK.  ACK -> tcp_check_req(): ops->child() gives a slot, the connection is
 *   published and queued for accept. No slot or a full queue: the ACK is dropped, the SYN+ACK is repeated (as Linux). */
#include "services/tcp/path.h"

static u32 index_of(struct tcp_stack *t, const struct tcp_req *r) { return (u32)(r - t->t->req); }

struct tcp_req *tcp_req_lookup(struct tcp_stack *t, const struct tcp_tuple *k)
{
	u32 i = t->soft->rhash[tcp_hash_tuple(t, k, TCP_RHASH)];

	for (; i != NONE; i = t->soft->req[i].next)
		if (!memcmp(&t->t->req[i].tuple, k, sizeof(*k)))
			return &t->t->req[i];
	return NULL;
}

static struct tcp_conn *listener_of(struct tcp_stack *t, const struct tcp_req *r)
{
	if (r->listener >= SK_MAX || load_relaxed(&t->t->sk[r->listener].phase) != TCPP_LISTEN ||
	    t->t->sk[r->listener].gen != r->listener_gen)
		return NULL;
	return conn_of(t, r->listener);
}

static u16 first_window(struct tcp_stack *t, const struct tcp_conn *l, const struct tcp_req *r)
{
	return tcp_first_window(tcp_rcv_limit(l->h, t->arena[SK_ARENA(l->sk)].rx_size), tcp_advertise_mss(t, l->h, r->tuple.faddr));
}

static int send_synack(struct tcp_stack *t, struct tcp_req *r, bool give)
{
	struct tcp_conn *l = listener_of(t, r);
	const struct tcp_sock *h;
	struct tcp_raw raw;

	if (!l)
		return -ENOTCONN;
	h = l->h;
	raw = (struct tcp_raw){ .tuple = r->tuple, .seq = r->iss, .ack = r->irs + 1, .flags = TCP_SYN | TCP_ACK, .tos = h->tos,
				.ttl = h->ttl, .sk = NONE, .mark = h->mark, .may_fragment = !tcp_df(l) };
	if (r->negotiated & TCPN_ECN)
		raw.flags |= TCP_ECE;
	raw.wnd = first_window(t, l, r);
	raw.optlen = (u8)tcp_syn_options(raw.opts, tcp_advertise_mss(t, h, r->tuple.faddr), r->negotiated, r->rcv_wscale,
					 tcp_ts(t, r->ts_offset), r->ts_recent);
	if (give)		/* the Fast Open cookie that was asked for: once, as Linux */
		raw.optlen += (u8)tcp_fastopen_give(t, &r->tuple, raw.opts + raw.optlen);
	return tcp_send_raw(t, &raw);
}

/* Linux: the SYN+ACK five times again, 1, 2, 4 ... seconds apart. */
static void req_timer(struct timer *tm, void *arg, u64 now)
{
	struct tcp_stack *t = arg;
	struct tcp_req_soft *s = container_of(tm, struct tcp_req_soft, timer);
	struct tcp_req *r = &t->t->req[s - t->soft->req];

	if (r->retries >= TCP_SYNACK_RETRIES || !listener_of(t, r)) {
		count(t->counters, TCP_ATTEMPT_FAILS);
		tcp_req_free(t, r);
		return;
	}
	if (!send_synack(t, r, false)) {
		r->retries++;
		count(t->counters, TCP_RETRANS_SEGS);
	}
	r->deadline = t->now + (TCP_TIMEOUT_INIT << r->retries);
	timer_arm(&t->soft->wheel, tm, r->deadline);
}

static void req_insert(struct tcp_stack *t, u32 i)
{
	struct tcp_req *r = &t->t->req[i];
	struct tcp_req_soft *s = &t->soft->req[i];
	u32 *head = &t->soft->rhash[tcp_hash_tuple(t, &r->tuple, TCP_RHASH)];
	struct tcp_conn *l = listener_of(t, r);

	s->next = *head;
	*head = i;
	s->timer.fn = req_timer;
	timer_arm(&t->soft->wheel, &s->timer, r->deadline);
	if (l) {
		l->req_count++;
		l->req_waiting += r->acked == REQ_WAITS_ROOM;
	}
}

void tcp_req_free(struct tcp_stack *t, struct tcp_req *r)
{
	u32 i = index_of(t, r), *p = &t->soft->rhash[tcp_hash_tuple(t, &r->tuple, TCP_RHASH)];
	struct tcp_conn *l = listener_of(t, r);

	while (*p != NONE && *p != i)
		p = &t->soft->req[*p].next;
	assert(*p == i);
	*p = t->soft->req[i].next;
	timer_cancel(&t->soft->wheel, &t->soft->req[i].timer);
	if (l && l->req_count)
		l->req_count--;
	if (l && l->req_waiting && r->acked == REQ_WAITS_ROOM)
		l->req_waiting--;
	t->soft->req[i].free_next = t->soft->req_free;
	t->soft->req_free = i + 1;
	store_release(&r->used, 0);
}

static struct tcp_req *req_take(struct tcp_stack *t)
{
	u32 i, high = load_relaxed(&t->t->req_high);

	if (t->soft->req_free) {
		i = t->soft->req_free - 1;
		t->soft->req_free = t->soft->req[i].free_next;
		return &t->t->req[i];
	}
	if (high >= TCP_REQ_MAX)
		return NULL;
	store_release(&t->t->req_high, high + 1);
	return &t->t->req[high];
}

void tcp_reqs_of_listener_gone(struct tcp_conn *l)
{
	struct tcp_stack *t = l->t;

	for (u32 i = 0, n = load_relaxed(&t->t->req_high); i < n; i++)
		if (load_relaxed(&t->t->req[i].used) && t->t->req[i].listener == l->sk && t->t->req[i].listener_gen == l->h->gen)
			tcp_req_free(t, &t->t->req[i]);
}

/* What the SYN says, taken down; whether in the table or not is the caller's. */
static void req_fill(struct tcp_conn *l, const struct tcp_seg *g, struct tcp_req *r)
{
	struct tcp_stack *t = l->t;

	r->listener = l->sk;
	r->listener_gen = l->h->gen;
	r->tuple = g->tuple;
	r->irs = g->seq;
	r->iss = tcp_isn(t, &g->tuple);
	if (g->tw_isn && !seq_after(r->iss, g->tw_isn))
		r->iss = g->tw_isn;
	r->mss_peer = g->mss ? MAX(g->mss, (u16)TCP_MIN_MSS) : TCP_DEFAULT_MSS;
	r->negotiated = (g->has_ts && t->conf->timestamps ? TCPN_TS : 0) | (g->has_sack_perm && t->conf->sack ? TCPN_SACK : 0) |
			(g->has_wscale && t->conf->window_scaling ? TCPN_WS : 0) | (tcp_ecn_asked(t, g) ? TCPN_ECN : 0);
	r->snd_wscale = r->negotiated & TCPN_WS ? g->wscale : 0;
	r->rcv_wscale = r->negotiated & TCPN_WS ? tcp_pick_wscale(tcp_rcv_limit(l->h, t->arena[SK_ARENA(l->sk)].rx_size)) : 0;
	r->ts_recent = g->tsval;
	r->ts_offset = tcp_ts_offset(t, &g->tuple);
	r->snd_wnd = g->wnd;
	r->retries = 0;
	r->acked = 0;
	r->born = t->now;
	r->deadline = t->now + TCP_TIMEOUT_INIT;
}

/* Fill the hard block of the new connection; tcp_established() publishes it. */
static struct tcp_conn *make_child(struct tcp_stack *t, struct tcp_conn *l, struct tcp_req *r, u32 sk)
{
	struct tcp_conn *c;
	struct tcp_sock *h;
	u32 gen;

	if (!tcp_conn_open(t, sk))
		return NULL;
	c = conn_of(t, sk);
	h = c->h;
	gen = load_relaxed(&c->b.s->gen) + 1;
	if (phase(c) != TCPP_FREE || tcp_socket(t, sk, gen, l->h->uid))
		return NULL;
	/* Options are inherited, as Linux does */
	h->so = l->h->so & ~(u32)(TSO_BOUND_PORT | TSO_BOUND_ADDR);
	h->linger_s = l->h->linger_s;
	h->keep_idle_s = l->h->keep_idle_s;
	h->keep_intvl_s = l->h->keep_intvl_s;
	h->keep_cnt = l->h->keep_cnt;
	h->user_timeout_ms = l->h->user_timeout_ms;
	h->linger2_s = l->h->linger2_s;
	h->maxseg = l->h->maxseg;
	h->tos = l->h->tos;
	h->ttl = l->h->ttl;
	h->min_ttl = l->h->min_ttl;
	h->mark = l->h->mark;
	h->cong = l->h->cong;
	h->max_pacing_rate = l->h->max_pacing_rate;
	h->mtu_disc = l->h->mtu_disc;
	h->window_clamp = l->h->window_clamp;
	h->rcvbuf = l->h->rcvbuf;
	h->sndbuf = l->h->sndbuf;
	h->notsent_lowat = l->h->notsent_lowat;
	memcpy(h->bound_dev, l->h->bound_dev, sizeof(h->bound_dev));
	h->tuple = r->tuple;
	h->iss = r->iss;
	h->irs = r->irs;
	h->negotiated = r->negotiated;
	h->snd_wscale = r->snd_wscale;
	h->rcv_wscale = r->rcv_wscale;
	h->mss_peer = r->mss_peer;
	h->ts_offset = r->ts_offset;
	if (r->negotiated & TCPN_TS)
		store_relaxed(&h->ts_recent, (u64)r->ts_recent << 32 | (u32)(t->now / SEC));
	tcp_conn_base(c);
	h->snd_wl1 = h->rx_base;
	h->snd_wl2 = h->tx_base;
	store_relaxed(&h->rcv_adv, h->rx_base + first_window(t, l, r));
	c->b.s->laddr = h->tuple.laddr;
	c->b.s->faddr = h->tuple.faddr;
	c->b.s->lport = h->tuple.lport;
	c->b.s->fport = h->tuple.fport;
	store_relaxed(&c->b.s->nonce, tcp_random(t) | 1);
	return c;
}

static void child_ready(struct tcp_stack *t, struct tcp_conn *l, struct tcp_req *r, struct tcp_conn *c, const struct tcp_seg *g)
{
	u64 n = load_relaxed(&t->t->accept_seq) + 1;
	u32 rtt = r->retries ? 0 : (u32)MIN((t->now - r->born) / 1000, 10000000ull);

	store_relaxed(&t->t->accept_seq, n);
	c->h->parent = l->sk;
	c->h->parent_gen = l->h->gen;
	store_relaxed(&c->h->accept_seq, n);
	store_relaxed(&c->h->accept, TCPA_QUEUED);
	store_relaxed(&c->h->snd_wnd, (u32)g->wnd << (g->flags & TCP_SYN ? 0 : c->h->snd_wscale));
	store_relaxed(&c->h->syn_out, g->flags & TCP_SYN ? 1 : 0);	/* Fast Open: the ACK is to come */
	tcp_conn_start(c);
	c->max_wnd = MAX(load_relaxed(&c->h->snd_wnd), r->snd_wnd);
	c->retransmits = r->acked ? 0 : r->retries;	/* those after its ACK waited for data or room */
	tcp_established(c);		/* publishes: from here on it survives */
	if (rtt)
		tcp_rtt_estimator(c, rtt);
	else if (r->retries)
		c->rto = 3 * SEC;	/* RFC 6298 5.7 */
	tcp_hash_insert(c);
	tcp_bind_insert(c);
}

/* The handshake is done: a slot, the connection, the accept queue. false: no room, nothing happened. */
static bool open_child(struct tcp_conn *l, struct tcp_req *r, struct tcp_seg *g)
{
	struct tcp_stack *t = l->t;
	struct tcp_conn *c;
	s64 sk;

	if (l->accept_count > l->h->backlog) {
		count(t->counters, DROP_TCP_BACKLOG);
		l->req_waiting += load_relaxed(&r->used) && r->acked != REQ_WAITS_ROOM;
		r->acked = REQ_WAITS_ROOM;
		return false;
	}
	sk = t->ops->child(t->ctx, l->sk);
	if (sk < 0 || sk >= SK_MAX) {
		count(t->counters, DROP_TCP_MEMORY);
		return false;
	}
	c = make_child(t, l, r, (u32)sk);
	if (!c) {
		count(t->counters, DROP_TCP_MEMORY);
		t->ops->freed(t->ctx, (u32)sk);
		return false;
	}
	child_ready(t, l, r, c, g);
	if (load_relaxed(&r->used))
		tcp_req_free(t, r);
	count(t->counters, TCP_PASSIVE_OPENS);
	if (g->flags & TCP_SYN)
		tcp_fastopen_child(l, c, g);
	tcp_accept_queue(l, c);
	if (!(g->flags & TCP_SYN))
		tcp_rcv_state_process(c, g);	/* data may have come with the ACK */
	return true;
}

/* A SYN with a Fast Open cookie and data: the connection is made now. false: no room, an ordinary handshake will do. */
static bool open_early(struct tcp_conn *l, struct tcp_seg *g)
{
	struct tcp_req r = { 0 };

	req_fill(l, g, &r);
	return open_child(l, &r, g);
}

/* Handshakes this listener may have in progress are used up, or the table is. */
static bool queue_full(const struct tcp_conn *l)
{
	const struct tcp_stack *t = l->t;

	return l->req_count >= MAX(l->h->backlog, 8u) || (!t->soft->req_free && load_relaxed(&t->t->req_high) >= TCP_REQ_MAX);
}

/* No room to remember a SYN: the peer does (tcp_cookie.c). The SYN+ACK is sent once, the peer's next SYN brings another. */
static void answer_with_cookie(struct tcp_conn *l, const struct tcp_seg *g)
{
	struct tcp_req r = { 0 };

	req_fill(l, g, &r);
	tcp_cookie_make(l, &r);
	if (!send_synack(l->t, &r, false))
		conn_count(l, TCP_COOKIES_SENT);
}

/* A SYN for a listener (RFC 9293 3.10.7.2). A full accept queue drops it, as Linux: the ACK could not be taken either. */
void tcp_conn_request(struct tcp_conn *l, struct tcp_seg *g)
{
	struct tcp_stack *t = l->t;
	bool full = queue_full(l), cookies = t->conf->syncookies != COOKIES_OFF && !g->tw_isn;	/* a cookie obeys no least ISN */
	struct tcp_req *r;
	enum tcp_fo fo;

	if (!(l->cf & CF_OPEN))
		return;
	if (l->accept_count > l->h->backlog) {
		count(t->counters, DROP_TCP_BACKLOG);
		return;
	}
	if (full && t->ops->syn_flood)
		t->ops->syn_flood(t->ctx, from_be16(l->h->tuple.lport), cookies);
	if (cookies && (full || t->conf->syncookies == COOKIES_ALWAYS)) {
		answer_with_cookie(l, g);
		return;
	}
	fo = full ? FO_NOTHING : tcp_fastopen_syn(l, g);
	if (fo == FO_TAKE && open_early(l, g))
		return;
	if (full || !(r = req_take(t))) {
		count(t->counters, DROP_TCP_BACKLOG);
		return;
	}
	req_fill(l, g, r);
	store_release(&r->used, 1);
	req_insert(t, index_of(t, r));
	(void)send_synack(t, r, fo == FO_GIVE);	/* not sent: the timer sends it */
}

/* The ACK of our SYN+ACK. */
static void complete(struct tcp_conn *l, struct tcp_req *r, struct tcp_seg *g)
{
	if (l->h->defer_accept_s && !g->len && !(g->flags & TCP_FIN) && r->retries < TCP_SYNACK_RETRIES &&
	    l->t->now - r->born < l->h->defer_accept_s * SEC) {
		r->acked = REQ_WAITS_DATA;
		return;
	}
	(void)open_child(l, r, g);	/* no room: dropped, the SYN+ACK is repeated */
}

/* The cookie came back, but the accept queue is full. The peer believes it is connected and may never say another word, so
 * (unlike Linux) we remember from here on, as if there had been no cookie: the SYN+ACK is repeated until there is room. */
static void remember(struct tcp_conn *l, const struct tcp_req *cookie)
{
	struct tcp_stack *t = l->t;
	struct tcp_req *r = req_take(t);

	if (!r)
		return;
	*r = *cookie;
	r->acked = REQ_WAITS_ROOM;
	r->deadline = t->now + TCP_TIMEOUT_INIT;
	store_release(&r->used, 1);
	req_insert(t, index_of(t, r));
}

/* The accept queue of l has room again: who has waited longest is asked for its ACK once more, which will be taken. Without,
 * all would ask at the same time, a retransmission later, and most of them in vain. */
void tcp_req_room(struct tcp_conn *l)
{
	struct tcp_stack *t = l->t;
	struct tcp_req *oldest = NULL;

	if (!l->req_waiting)
		return;
	for (u32 i = 0, n = load_relaxed(&t->t->req_high); i < n; i++) {
		struct tcp_req *r = &t->t->req[i];

		if (load_relaxed(&r->used) && r->acked == REQ_WAITS_ROOM && listener_of(t, r) == l && (!oldest || r->born < oldest->born))
			oldest = r;
	}
	if (!oldest || send_synack(t, oldest, false))
		return;
	oldest->acked = REQ_OPEN;	/* the next one's turn, if this ACK does not come */
	l->req_waiting--;
}

/* An ACK that belongs to no handshake we know of: perhaps the peer's memory of one. false: nobody's, answer with RST.
 * While cookies are out, what does not fit is dropped instead: data that overtook the ACK looks the same, and comes again. */
bool tcp_cookie_ack(struct tcp_conn *l, struct tcp_seg *g)
{
	struct tcp_req r;

	if (g->flags & (TCP_SYN | TCP_RST) || !(l->cf & CF_OPEN) || !tcp_cookie_recent(l))
		return false;
	if (!tcp_cookie_check(l, g, &r))
		conn_count(l, DROP_TCP_COOKIE);
	else if (open_child(l, &r, g))
		conn_count(l, TCP_COOKIES_RECV);
	else
		remember(l, &r);
	return true;
}

/* A segment for a handshake in progress: RFC 9293 3.10.7.4, SYN-RECEIVED. */
void tcp_check_req(struct tcp_stack *t, struct tcp_req *r, struct tcp_seg *g)
{
	struct tcp_conn *l = listener_of(t, r);
	u32 wnd = l ? first_window(t, l, r) : 0;
	/* RFC 7323 5.2: a RST is not judged by its timestamp */
	bool paws = r->negotiated & TCPN_TS && g->has_ts && !(g->flags & TCP_RST) && (s32)(r->ts_recent - g->tsval) > 0;

	if (!l || !(l->cf & CF_OPEN)) {
		if (!l)
			tcp_req_free(t, r);
		return;
	}
	if ((g->flags & (TCP_SYN | TCP_ACK | TCP_RST)) == TCP_SYN && g->seq == r->irs) {
		(void)send_synack(t, r, false);	/* its SYN again: ours was lost */
		return;
	}
	if (paws || !seq_between(g->seq, r->irs + 1, r->irs + 1 + wnd)) {
		count(t->counters, paws ? DROP_TCP_PAWS : DROP_TCP_SEQUENCE);
		if (!(g->flags & TCP_RST))
			(void)send_synack(t, r, false);
		return;
	}
	if (g->flags & TCP_RST) {
		if (g->seq == r->irs + 1) {	/* RFC 5961 3.2 */
			count(t->counters, TCP_ATTEMPT_FAILS);
			tcp_req_free(t, r);
		}
		return;
	}
	if (g->flags & TCP_SYN) {
		(void)send_synack(t, r, false);	/* RFC 5961 4.2 */
		return;
	}
	if (!(g->flags & TCP_ACK)) {
		count(t->counters, DROP_TCP_FLAGS);
		return;
	}
	if (g->ack != r->iss + 1) {
		count(t->counters, DROP_TCP_ACK);
		tcp_v4_send_reset(t, g);
		return;
	}
	complete(l, r, g);
}

/* tcp_req_err(): an ICMP error quotes our SYN+ACK. `abort`: the peer cannot be reached, nothing to wait for. false: no SYN+ACK
 * of ours has this number, or nobody knows the tuple (RFC 5927 4.1). */
bool tcp_req_err(struct tcp_stack *t, const struct tcp_tuple *k, u32 seq, bool abort)
{
	struct tcp_req *r = tcp_req_lookup(t, k);

	if (!r || seq != r->iss)
		return false;
	if (abort) {
		count(t->counters, TCP_ATTEMPT_FAILS);
		tcp_req_free(t, r);
	}
	return true;
}

/* Verified entry by entry; a handshake whose connection was published before a death is over. */
void tcp_req_attach(struct tcp_stack *t)
{
	u32 n = MIN(load_relaxed(&t->t->req_high), TCP_REQ_MAX);

	for (u32 i = n; i-- > 0;) {
		struct tcp_req *r = &t->t->req[i];

		if (load_relaxed(&r->used) && (!listener_of(t, r) || tcp_lookup_established(t, &r->tuple) ||
					       tcp_req_lookup(t, &r->tuple) || r->retries > TCP_SYNACK_RETRIES ||
					       r->snd_wscale > 14 || r->rcv_wscale > 14))
			store_release(&r->used, 0);
		if (load_relaxed(&r->used)) {
			req_insert(t, i);
			continue;
		}
		t->soft->req[i].free_next = t->soft->req_free;
		t->soft->req_free = i + 1;
	}
}
