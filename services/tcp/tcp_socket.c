/* tcp_socket.c – socket calls and the application's words (tx2 begins here), the life of a slot.
 *
 * Called by tcpd from sockd's mailbox and from kicks. Rules of who may do what are sockd's; here is what TCP allows. */
#include "services/tcp/path.h"

/* Make the socket's view; false while its arena is not mapped. */
bool tcp_conn_open(struct tcp_stack *t, u32 sk)
{
	struct tcp_conn *c = conn_of(t, sk);

	if (sk >= SK_MAX || !t->arena[SK_ARENA(sk)].used)
		return false;
	c->t = t;
	c->sk = sk;
	c->h = &t->t->sk[sk];
	if (!(c->cf & CF_OPEN)) {
		sockbuf_open(&c->b, &t->arena[SK_ARENA(sk)], SK_SLOT(sk));
		tcp_plain_view(c);
		c->cf |= CF_OPEN;
	}
	c->rtx.fn = tcp_timer_rtx;
	c->ack.fn = tcp_timer_ack;
	c->keep.fn = tcp_timer_keep;
	c->trim.fn = tcp_timer_trim;
	c->pace.fn = tcp_timer_pace;
	return true;
}

/* The conn of an existing socket, or NULL. */
static struct tcp_conn *socket_of(struct tcp_stack *t, u32 sk)
{
	struct tcp_conn *c;

	if (sk >= SK_MAX)
		return NULL;
	c = conn_of(t, sk);
	return c->cf & CF_OPEN && phase(c) != TCPP_FREE ? c : NULL;
}

void tcp_store_state(struct tcp_conn *c, u32 sks, int err)
{
	if (err)
		store_release(&c->b.s->err, (u32)err);
	store_release(&c->b.s->state, sks);
}

static void block_defaults(struct tcp_stack *t, struct tcp_sock *h, u32 gen, u32 uid)
{
	int cong = tcp_cong_find(t->conf->congestion, strlen(t->conf->congestion));

	store_release(&h->phase, TCPP_FREE);
	memset(h, 0, sizeof(*h));
	h->gen = gen;
	h->uid = uid;
	h->parent = TCP_NONE;
	h->keep_idle_s = 7200;
	h->keep_intvl_s = 75;
	h->keep_cnt = 9;
	h->syn_cnt = TCP_SYN_RETRIES;
	h->cong = (u8)(cong < 0 ? 0 : cong);
	h->mtu_disc = 1;
	h->rcvlowat = 1;
	h->rcvbuf = 131072;
	h->sndbuf = 16384;
	h->max_pacing_rate = UINT64_MAX;
}

static void note_used(struct tcp_tables *t, u32 sk)
{
	u32 accepted = SK_SLOT(sk) >= ARENA_ACTIVE, n = SK_SLOT(sk) - accepted * ARENA_ACTIVE + 1;
	_Atomic u16 *high = &t->high[SK_ARENA(sk)][accepted];

	if (load_relaxed(high) < n)
		store_release(high, (u16)n);
}

/* A slot becomes a fresh socket. */
int tcp_socket(struct tcp_stack *t, u32 sk, u32 gen, u32 uid)
{
	struct tcp_conn *c;

	if (!tcp_conn_open(t, sk))
		return -EINVAL;
	c = conn_of(t, sk);
	if (phase(c) != TCPP_FREE) {
		if (c->h->gen == gen)
			return 0;	/* repeated by a successor */
		return -EBUSY;
	}
	sockbuf_open(&c->b, &t->arena[SK_ARENA(sk)], SK_SLOT(sk));	/* who lived here may have been plain */
	block_defaults(t, c->h, gen, uid);
	note_used(t->t, sk);
	store_relaxed(&c->b.s->err, 0);
	tcp_note(&c->b.s->soft_err, 0);
	tcp_note(&c->b.s->report, 0);
	store_relaxed(&c->b.s->errq_head, load_relaxed(&c->b.c->errq_tail));	/* whoever lived here before has left none */
	store_relaxed(&c->b.s->fin, 0);
	store_relaxed(&c->b.s->urg, 0);
	c->b.s->laddr = c->b.s->faddr = (be32){ 0 };
	c->b.s->lport = c->b.s->fport = (be16){ 0 };
	store_relaxed(&c->b.s->gen, gen);
	store_release(&c->b.s->plain, 0);	/* pairs with the acquire in the shim's stream_plain() */
	store_release(&c->b.s->state, SKS_FRESH);
	store_release(&c->h->phase, TCPP_CLOSED);
	return 0;
}

int tcp_bind(struct tcp_stack *t, u32 sk, be32 addr, be16 port)
{
	struct tcp_conn *c = socket_of(t, sk);
	int p = from_be16(port);

	if (!c || phase(c) != TCPP_CLOSED || c->cf & CF_BOUND || load_relaxed(&c->b.s->state) != SKS_FRESH)
		return -EINVAL;
	if (addr.v && !t->ops->is_local(t->ctx, addr))
		return -EADDRNOTAVAIL;
	if (!p)
		p = tcp_pick_port(c, addr);
	else if (tcp_bind_conflict(c, addr, (u16)p, false))
		return -EADDRINUSE;
	if (p < 0)
		return p;
	c->h->tuple.laddr = c->b.s->laddr = addr;
	c->h->tuple.lport = c->b.s->lport = to_be16((u16)p);
	c->h->so |= (addr.v ? TSO_BOUND_ADDR : 0) | TSO_BOUND_PORT;
	tcp_bind_insert(c);
	return 0;
}

/* A connection begins at the offsets the client's words hold now (arena.h). */
void tcp_conn_base(struct tcp_conn *c)
{
	struct tcp_sock *h = c->h;

	h->rx_base = load_acquire(&c->b.c->rx_tail);
	h->tx_base = load_acquire(&c->b.c->tx_head);
	store_relaxed(&h->valid_rx_tail, h->rx_base);
	store_relaxed(&h->valid_tx_head, h->tx_base);
	store_relaxed(&h->snd_nxt, h->tx_base);
	store_relaxed(&h->rcv_adv, h->rx_base);
	store_relaxed(&h->fin_snd, 0);
	store_relaxed(&h->fin_acked, 0);
	store_relaxed(&h->giveup_start, 0);
	store_relaxed(&h->deadline, 0);
	store_relaxed(&h->snd_up, 0);
	h->passive_close = 0;
	store_relaxed(&h->ecn_echo, 0);
	tcp_ooo_reset(c);
	store_relaxed(&c->b.s->fin, 0);
	store_relaxed(&c->b.s->urg, 0);
	store_relaxed(&c->b.s->err, 0);
	store_relaxed(&c->b.s->sent, load_relaxed(&c->b.c->eaten));
	store_relaxed(&c->b.s->tok, load_relaxed(&c->b.c->arm) - 1);
	store_release(&c->b.s->rx_head, h->rx_base);
	store_release(&c->b.s->tx_tail, h->tx_base);
}

/* Soft state of a connection that begins or wakes up. The base is set, the route known or asked now. */
void tcp_conn_start(struct tcp_conn *c)
{
	tcp_recs_free(c);
	c->write_seq = load_relaxed(&c->h->valid_tx_head);
	c->snd_sml = c->high_seq = c->tlp_high = c->sacked_high = snd_una(c);
	c->packets_out = c->sacked_out = c->lost_out = c->retrans_out = 0;
	c->srtt8_us = c->mdev4_us = c->mdev_max4_us = c->rttvar4_us = c->min_rtt_us = 0;
	c->rtt_seq = c->retrans_stamp = c->last_send = c->undo_marker = 0;
	c->rack_xmit = c->rack_end = c->rack_rtt_us = 0;
	c->max_wnd = load_relaxed(&c->h->snd_wnd);
	c->rto = TCP_TIMEOUT_INIT;
	c->backoff = c->retransmits = c->probes = c->dupacks = c->reord_seen = 0;
	c->rack_steps = 1;
	c->bytes_in = c->bytes_out = c->busy_ns = c->busy_since = 0;
	c->segs_in = c->segs_out = c->data_segs_in = c->data_segs_out = c->total_retrans = 0;
	c->delivered = c->lost = c->app_limited = c->rate_delivered = c->rate_interval_us = 0;
	c->pace_next = 0;
	c->ca_state = CA_OPEN;
	c->ecn = c->fo = c->fo_fail = 0;
	c->delivered_ce = 0;
	c->rto_at = 0;
	c->undo_retrans = 0;
	c->ca_flags = c->cong_limited = 0;
	c->prior_cwnd = c->prior_ssthresh = c->cwnd_used = c->challenge_time = 0;
	c->last_ack = rcv_nxt(c);
	c->dsack_start = c->dsack_end = c->fin_early = 0;
	tcp_ooo_recount(c);
	c->quick = TCP_QUICKACKS;
	c->rcv_mss = TCP_DEFAULT_MSS;
	c->pingpong = 0;
	c->cf &= CF_OPEN | CF_HASHED | CF_BOUND | CF_LISTENING | CF_DIRTY | CF_WAIT;
	c->last_recv = c->last_heard = c->t->now;
	tcp_buffers_start(c);
	(void)tcp_route_conn(c);	/* no route now: each transmission asks again */
	tcp_mtup_init(c);
	tcp_cwnd_init(c);
}

/* Both ends of the tuple, and an ISN that suits it. 0 or -errno; then the socket is as it was. */
static int connect_tuple(struct tcp_conn *c, be32 addr, be16 port)
{
	struct tcp_stack *t = c->t;
	struct tcp_sock *h = c->h;
	struct tcp_route rt;
	struct tcp_tw *w;
	be32 bound;
	int r;

	h->tuple.faddr = addr;
	h->tuple.fport = port;
	r = t->ops->route(t->ctx, addr, h->tuple.laddr, &rt);
	if (r)
		return r;
	bound = h->tuple.laddr;
	if (!h->tuple.laddr.v)
		h->tuple.laddr = rt.saddr;
	r = tcp_pick_connect_port(c);
	if (r) {
		h->tuple.laddr = bound;
		return r;
	}
	h->iss = tcp_isn(t, &h->tuple);
	w = tcp_tw_lookup(t, &h->tuple);
	if (w) {			/* RFC 6191: above everything the old connection sent */
		if (!seq_after(h->iss, w->snd_nxt + 65535 + 2))
			h->iss = w->snd_nxt + 65535 + 2;
		tcp_tw_free(t, w);
		count(t->counters, TCP_TW_REUSED);
	}
	return 0;
}

/* What the SYN will offer, and where the streams begin. */
static void connect_constants(struct tcp_conn *c)
{
	const struct config *conf = c->t->conf;
	struct tcp_sock *h = c->h;

	h->ts_offset = tcp_ts_offset(c->t, &h->tuple);
	h->negotiated = (conf->timestamps ? TCPN_TS : 0) | (conf->sack ? TCPN_SACK : 0) | (conf->window_scaling ? TCPN_WS : 0) |
			(conf->ecn == ECN_ASK ? TCPN_ECN : 0);
	h->rcv_wscale = conf->window_scaling ? tcp_pick_wscale(tcp_rcv_limit(h, c->b.rx_size)) : 0;
	h->snd_wscale = 0;
	h->mss_peer = TCP_DEFAULT_MSS;
	h->mtup_low = 0;
	c->pmtu = 0;
	store_relaxed(&h->ts_recent, 0);
	store_relaxed(&h->snd_wnd, 0);
	tcp_conn_base(c);
	c->b.s->laddr = h->tuple.laddr;
	c->b.s->faddr = h->tuple.faddr;
	c->b.s->lport = h->tuple.lport;
	c->b.s->fport = h->tuple.fport;
}

static int do_connect(struct tcp_stack *t, u32 sk, be32 addr, be16 port, u32 op_seq, bool fast)
{
	struct tcp_conn *c = socket_of(t, sk);
	u32 state;
	bool had_port, deferred;
	int r;

	if (!c)
		return -EBADF;
	if (op_seq && load_relaxed(&c->h->op_seq) == op_seq)
		return 0;		/* executed before: the answer was lost, not the request */
	state = load_relaxed(&c->b.s->state);
	if (phase(c) == TCPP_SYN_SENT || phase(c) == TCPP_SYN_RECV)
		return -EALREADY;
	if (phase(c) != TCPP_CLOSED || state == SKS_CONNECTED || state == SKS_CLOSED)
		return -EISCONN;
	if (!port.v)
		return -ECONNREFUSED;
	/* RFC 9293 MUST-46; a network's own broadcast address IP knows, and refuses the SYN */
	if (!addr.v || from_be32(addr) >> 28 == 14 || from_be32(addr) == 0xffffffffu)
		return -ENETUNREACH;
	had_port = c->h->tuple.lport.v != 0;
	r = connect_tuple(c, addr, port);
	if (r)
		return r;
	connect_constants(c);
	if (!had_port)
		tcp_bind_insert(c);
	tcp_conn_start(c);
	c->retransmits = 0;
	deferred = fast && tcp_fastopen_defer(c);
	store_relaxed(&c->h->giveup_start, deferred ? 0 : t->now);
	store_relaxed(&c->b.s->err, 0);
	store_relaxed(&c->b.s->attempt, load_relaxed(&c->b.s->attempt) + 1);	/* an error from now on has not been told yet */
	store_release(&c->b.s->state, deferred ? SKS_DEFERRED : SKS_CONNECTING);
	store_release(&c->h->phase, TCPP_SYN_SENT);
	store_release(&c->h->op_seq, op_seq);
	tcp_hash_insert(c);
	conn_count(c, TCP_ACTIVE_OPENS);
	if (deferred) {
		t->ops->state_change(t->ctx, sk);	/* it can be written to */
		return 0;
	}
	if (tcp_send_syn(c))
		tcp_wait_for_room(c);
	timer_arm(&t->soft->wheel, &c->rtx, t->now + c->rto);
	return 0;
}

int tcp_connect(struct tcp_stack *t, u32 sk, be32 addr, be16 port, u32 op_seq)
{
	struct tcp_conn *c = socket_of(t, sk);

	return do_connect(t, sk, addr, port, op_seq,
			  c && c->h->so & TSO_FASTOPEN_CONNECT && t->conf->fastopen & FASTOPEN_CLIENT);
}

/* sendto(MSG_FASTOPEN): as if TCP_FASTOPEN_CONNECT were set; what is to be sent is written next. */
int tcp_connect_fastopen(struct tcp_stack *t, u32 sk, be32 addr, be16 port, u32 op_seq)
{
	if (!(t->conf->fastopen & FASTOPEN_CLIENT))
		return -EOPNOTSUPP;
	return do_connect(t, sk, addr, port, op_seq, true);
}

int tcp_listen(struct tcp_stack *t, u32 sk, int backlog)
{
	struct tcp_conn *c = socket_of(t, sk);
	u32 max = t->conf->backlog_max ? t->conf->backlog_max : 4096;
	int r;

	if (!c || (phase(c) != TCPP_CLOSED && phase(c) != TCPP_LISTEN))
		return -EINVAL;
	if (phase(c) == TCPP_CLOSED && load_relaxed(&c->b.s->state) != SKS_FRESH)
		return -EINVAL;
	c->h->backlog = backlog < 0 || (u32)backlog > max ? max : (u32)backlog;
	if (phase(c) == TCPP_LISTEN)
		return 0;
	if (!(c->cf & CF_BOUND)) {
		r = tcp_bind(t, sk, (be32){ 0 }, (be16){ 0 });
		if (r)
			return r;
	} else if (tcp_bind_conflict(c, c->h->tuple.laddr, from_be16(c->h->tuple.lport), true)) {
		return -EADDRINUSE;
	}
	c->accept_head = c->accept_tail = NULL;
	c->accept_count = c->req_count = c->req_waiting = 0;
	store_release(&c->h->phase, TCPP_LISTEN);
	tcp_listen_insert(c);
	store_release(&c->b.s->state, SKS_LISTEN);
	store_relaxed(&c->h->shown, TCPS_LISTEN);
	return 0;
}

/* connect(AF_UNSPEC): back to a fresh socket; a live connection is reset, as Linux does. */
int tcp_disconnect(struct tcp_stack *t, u32 sk)
{
	struct tcp_conn *c = socket_of(t, sk);

	if (!c)
		return -EBADF;
	if (phase(c) == TCPP_LISTEN) {
		tcp_reqs_of_listener_gone(c);
		tcp_listen_remove(c);
	} else if (phase(c) >= TCPP_SYN_SENT) {
		if (phase(c) == TCPP_SYNC)
			tcp_send_active_reset(c);
		c->cf |= CF_QUIET;	/* nothing is told that could not be taken back */
		tcp_done(c, 0);
		c->cf &= ~(u32)CF_QUIET;
	}
	store_release(&c->h->phase, TCPP_CLOSED);
	if (!(c->h->so & TSO_BOUND_PORT)) {
		tcp_bind_remove(c);
		c->h->tuple.lport = (be16){ 0 };
	}
	if (!(c->h->so & TSO_BOUND_ADDR))
		c->h->tuple.laddr = (be32){ 0 };
	c->h->tuple.faddr = (be32){ 0 };
	c->h->tuple.fport = (be16){ 0 };
	c->b.s->faddr = (be32){ 0 };
	c->b.s->fport = (be16){ 0 };
	store_relaxed(&c->b.s->err, 0);
	store_release(&c->b.s->state, SKS_FRESH);
	return 0;
}

/* SHUT_RD is the shim's affair (data still arrives, as in TCP). */
int tcp_shutdown(struct tcp_stack *t, u32 sk, int how)
{
	struct tcp_conn *c = socket_of(t, sk);

	if (!c || how < 0 || how > 2)
		return -EINVAL;
	if (phase(c) == TCPP_LISTEN) {
		if (how != 1)
			return tcp_disconnect(t, sk);
		return 0;
	}
	if (phase(c) == TCPP_SYN_SENT || phase(c) == TCPP_SYN_RECV) {
		if (how == 0)
			return 0;
		tcp_done(c, ECONNRESET);
		return 0;
	}
	if (phase(c) != TCPP_SYNC)
		return -ENOTCONN;
	if (how == 0)
		return 0;
	if (!tcp_take_words(c))
		return 0;
	tcp_fin_decided(c);
	tcp_mark_dirty(c, CF_XMIT);
	return 0;
}
