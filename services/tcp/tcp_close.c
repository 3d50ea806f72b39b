/* tcp_close.c – words of the application (tx2), accept queues, and every way a connection ends.
 *
 * Ends: in good order (both FINs acknowledged: tcp_time_wait or tcp_done), reset by the peer, by us, by time-out, or
 * because the client's words make no sense. A slot is given back (ops->freed) once the connection is over and no
 * descriptor is left. */
#include "services/tcp/path.h"

/* ---- tx2: what the application wrote and read; hostile, so each word is read once and compared with a private copy ---- */

static bool nonsense(struct tcp_conn *c)
{
	conn_count(c, TCP_CLIENT_NONSENSE);
	tcp_abort(c->t, c->sk, ECONNRESET);
	return false;
}

/* Bytes and shutdowns of a connection nobody has accepted yet are leftovers of the slot's former life. */
static bool claimed(const struct tcp_conn *c) { return load_relaxed(&c->h->accept) == TCPA_NONE; }

static bool take_shutdown(struct tcp_conn *c, u64 tx_head)
{
	u64 at;

	if (fin_snd(c) || !claimed(c) || !(load_acquire(&c->b.c->shut) & SKC_SHUT_WR))
		return true;
	at = load_acquire(&c->b.c->fin_at);
	if (at != tx_head + 1) {
		/* Not all words have arrived, or a writer raced: the end is where the shutdown says, once it is written. */
		if (!at || before(tx_head + 1, at) || before(at, load_relaxed(&c->b.s->tx_tail) + 1))
			return true;
	}
	c->write_seq = at - 1;
	store_relaxed(&c->h->valid_tx_head, at - 1);
	tcp_fin_decided(c);
	return true;
}

bool tcp_take_words(struct tcp_conn *c)
{
	u64 tx_head = load_acquire(&c->b.c->tx_head), rx_tail = load_acquire(&c->b.c->rx_tail);
	u64 was_tail = load_relaxed(&c->h->valid_rx_tail), end = rcv_data_end(c);

	if (is_orphan(c))
		return true;
	if (rx_tail != was_tail) {
		if (before(rx_tail, was_tail) || after(rx_tail, end))
			return nonsense(c);
		count_n(c->t->counters, FLOW_RX8_RECVMSG, rx_tail - was_tail);
		store_relaxed(&c->h->valid_rx_tail, rx_tail);
		c->cf |= CF_WINDOW;
		tcp_rcv_space_adjust(c);
	}
	if (fin_snd(c))
		return true;
	if (tx_head != c->write_seq) {
		tcp_rate_check_app_limited(c);
		if (before(tx_head, c->write_seq) || tx_head - load_relaxed(&c->b.s->tx_tail) > c->b.tx_size)
			return nonsense(c);
		count_n(c->t->counters, FLOW_TX2_TCP_SENDMSG, tx_head - c->write_seq);
		c->write_seq = tx_head;
		store_relaxed(&c->h->valid_tx_head, tx_head);
		if (unlikely(load_relaxed(&c->b.c->opts) & SKC_URG))
			tcp_take_urg(c);
	}
	return take_shutdown(c, tx_head);
}

/* tcp_sendmsg(), tcp_recvmsg() as the stack sees them: something in the client's page moved. */
void tcp_kick(struct tcp_stack *t, u32 sk)
{
	struct tcp_conn *c;

	if (sk >= SK_MAX)
		return;
	c = conn_of(t, sk);
	if (c->cf & CF_OPEN && (phase(c) == TCPP_SYNC || phase(c) == TCPP_SYN_SENT))
		tcp_mark_dirty(c, CF_XMIT);
}

/* The application's end of the stream is known: fin_snd is stored before snd_nxt can pass it (crash rule 3). */
void tcp_fin_decided(struct tcp_conn *c)
{
	if (fin_snd(c))
		return;
	c->h->passive_close = fin_rcv(c) != 0;
	store_release(&c->h->fin_snd, c->write_seq + 1);
	tcp_mark_dirty(c, CF_XMIT);
}

/* ---- accept ---- */

void tcp_accept_queue(struct tcp_conn *l, struct tcp_conn *c)
{
	struct tcp_conn **p = &l->accept_head;

	/* In order of completion; after a restart the order comes from accept_seq. Nearly always the end. */
	if (l->accept_tail && load_relaxed(&l->accept_tail->h->accept_seq) < load_relaxed(&c->h->accept_seq))
		p = &l->accept_tail->accept_next;
	while (*p && load_relaxed(&(*p)->h->accept_seq) < load_relaxed(&c->h->accept_seq))
		p = &(*p)->accept_next;
	c->accept_next = *p;
	*p = c;
	if (!c->accept_next)
		l->accept_tail = c;
	l->accept_count++;
	store_relaxed(&l->h->shown_rxq, l->accept_count);
	l->t->ops->accept_ready(l->t->ctx, l->sk, c->sk);
}

struct tcp_conn *tcp_parent_of(struct tcp_conn *c)
{
	u32 p = c->h->parent;

	if (p >= SK_MAX || load_relaxed(&c->t->t->sk[p].phase) != TCPP_LISTEN || c->t->t->sk[p].gen != c->h->parent_gen)
		return NULL;
	return conn_of(c->t, p);
}

/* Out of its listener's queue and count; the listener, NULL: it was in none. */
static struct tcp_conn *unqueue(struct tcp_conn *c)
{
	struct tcp_conn *l = tcp_parent_of(c), *prev = NULL;

	if (load_relaxed(&c->h->accept) == TCPA_NONE || !l)
		return NULL;
	for (struct tcp_conn *i = l->accept_head; i; prev = i, i = i->accept_next)
		if (i == c) {
			*(prev ? &prev->accept_next : &l->accept_head) = c->accept_next;
			if (l->accept_tail == c)
				l->accept_tail = prev;
			break;
		}
	c->accept_next = NULL;
	if (l->accept_count)
		l->accept_count--;
	store_relaxed(&l->h->shown_rxq, l->accept_count);
	return l;
}

void tcp_accept_unqueue(struct tcp_conn *c)
{
	struct tcp_conn *l = unqueue(c);

	if (l && l->accept_count <= l->h->backlog)
		tcp_req_room(l);
}

s64 tcp_accept_next(struct tcp_stack *t, u32 listener)
{
	struct tcp_conn *l;

	if (listener >= SK_MAX)
		return -EINVAL;
	l = conn_of(t, listener);
	if (!(l->cf & CF_OPEN) || phase(l) != TCPP_LISTEN)
		return -EINVAL;
	for (struct tcp_conn *c = l->accept_head; c; c = c->accept_next)
		if (load_relaxed(&c->h->accept) == TCPA_QUEUED)
			return c->sk;
	return -EAGAIN;
}

/* It leaves the queue of those to offer, but counts against the backlog until it is claimed. */
void tcp_offered(struct tcp_stack *t, u32 sk)
{
	struct tcp_conn *c = conn_of(t, sk), *l;

	if (sk >= SK_MAX || !(c->cf & CF_OPEN) || load_relaxed(&c->h->accept) != TCPA_QUEUED)
		return;
	l = unqueue(c);
	if (l)
		l->accept_count++;
	store_release(&c->h->accept, TCPA_OFFERED);
}

void tcp_claimed(struct tcp_stack *t, u32 sk)
{
	struct tcp_conn *c = conn_of(t, sk);

	if (sk >= SK_MAX || !(c->cf & CF_OPEN) || load_relaxed(&c->h->accept) == TCPA_NONE)
		return;
	tcp_accept_unqueue(c);
	store_release(&c->h->accept, TCPA_NONE);
	tcp_mark_dirty(c, CF_XMIT);
}

/* The listener is gone: connections nobody took are reset, handshakes forgotten. */
static void listener_gone(struct tcp_conn *l)
{
	struct tcp_stack *t = l->t;

	tcp_reqs_of_listener_gone(l);
	TCP_SLOT_EACH(sk, t->t, 0, SK_MAX) {
		struct tcp_conn *c = conn_of(t, sk);

		if (!(c->cf & CF_OPEN) || c->h->parent != l->sk || c->h->parent_gen != l->h->gen ||
		    load_relaxed(&c->h->accept) == TCPA_NONE || phase(c) == TCPP_FREE)
			continue;
		if (load_relaxed(&c->b.c->claim) == load_relaxed(&c->b.s->nonce) && load_relaxed(&c->b.s->nonce))
			continue;	/* claimed a moment ago */
		store_release(&c->h->orphan, 1);
		if (phase(c) == TCPP_SYNC)
			tcp_send_active_reset(c);
		tcp_done(c, ECONNRESET);
	}
	tcp_listen_remove(l);
}

/* ---- ends ---- */

/* Nothing refers to the slot any more: timers, tables, records, queues. Then its owner may use it again. */
void tcp_release_slot(struct tcp_conn *c)
{
	struct tcp_stack *t = c->t;
	u32 sk = c->sk;

	tcp_hash_remove(c);
	tcp_bind_remove(c);
	tcp_clear_timers(c);
	tcp_recs_free(c);
	tcp_trim_end(c);
	store_release(&c->b.s->state, SKS_FREE);
	store_relaxed(&c->h->shown, 0);
	store_release(&c->h->phase, TCPP_FREE);
	t->ops->freed(t->ctx, sk);
}

/* The connection is over. err 0: in good order. The slot stays while the application holds a descriptor. */
void tcp_done(struct tcp_conn *c, int err)
{
	struct tcp_stack *t = c->t;
	u32 was = phase(c);

	tcp_fastopen_ended(c, false);
	tcp_accept_unqueue(c);
	store_relaxed(&c->h->accept, TCPA_NONE);
	tcp_hash_remove(c);
	tcp_clear_timers(c);
	tcp_recs_free(c);
	c->cf &= CF_OPEN | CF_BOUND | CF_DIRTY | CF_WAIT | CF_QUIET;
	if (was == TCPP_SYNC && err)
		count(t->counters, TCP_ESTAB_RESETS);
	else if (was != TCPP_SYNC && err)
		count(t->counters, TCP_ATTEMPT_FAILS);
	store_release(&c->h->phase, TCPP_CLOSED);
	store_relaxed(&c->h->shown, TCPS_CLOSE);
	if (is_orphan(c)) {
		tcp_release_slot(c);
		return;
	}
	if (was == TCPP_SYNC && !(c->h->so & TSO_BOUND_PORT))
		tcp_bind_remove(c);
	if (was != TCPP_SYNC) {		/* a connect that failed may be tried again, from a port of its own choice */
		if (!(c->h->so & TSO_BOUND_PORT)) {
			tcp_bind_remove(c);
			c->h->tuple.lport = (be16){ 0 };
		}
		if (!(c->h->so & TSO_BOUND_ADDR))
			c->h->tuple.laddr = (be32){ 0 };
	}
	tcp_store_state(c, was == TCPP_SYNC ? SKS_CLOSED : SKS_FAILED, err);
	if (!(c->cf & CF_QUIET))
		t->ops->state_change(t->ctx, c->sk);
}

/* RFC 9293 3.10.7.4: a valid RST. ECONNREFUSED for an open, EPIPE after the peer's FIN, else ECONNRESET, as Linux. */
void tcp_reset_received(struct tcp_conn *c)
{
	int err = ECONNRESET;

	if (phase(c) == TCPP_SYN_SENT || phase(c) == TCPP_SYN_RECV)
		err = ECONNREFUSED;
	else if (tcp_state(c) == TCPS_CLOSE_WAIT)
		err = EPIPE;
	tcp_fastopen_ended(c, true);
	tcp_done(c, err);
}

void tcp_abort(struct tcp_stack *t, u32 sk, int err)
{
	struct tcp_conn *c;

	if (sk >= SK_MAX)
		return;
	c = conn_of(t, sk);
	if (!(c->cf & CF_OPEN) || phase(c) < TCPP_SYN_SENT)
		return;
	if (phase(c) != TCPP_SYN_SENT)
		tcp_send_active_reset(c);
	tcp_done(c, err);
}

/* Linux's close(): RST for unread data or SO_LINGER with time 0, else whatever is written goes out with a FIN. */
static void orphan_connection(struct tcp_conn *c)
{
	struct tcp_stack *t = c->t;
	bool claim_open = load_relaxed(&c->h->accept) == TCPA_NONE;

	if (claim_open && !tcp_take_words(c))
		return;
	tcp_accept_unqueue(c);
	store_relaxed(&c->h->accept, TCPA_NONE);
	store_release(&c->h->orphan, 1);
	if (rcv_unread(c) || (c->h->so & TSO_LINGER && !c->h->linger_s)) {
		/* RFC 2525 2.17: unread data is lost data, the peer must know */
		tcp_send_active_reset(c);
		tcp_done(c, ECONNRESET);
		return;
	}
	tcp_fin_decided(c);
	if (tcp_state(c) == TCPS_FIN_WAIT2) {
		u64 wait = c->h->linger2_s > 0 ? (u64)c->h->linger2_s * SEC : (u64)MAX(t->conf->fin_timeout_s, 1u) * SEC;

		store_relaxed(&c->h->deadline, t->now + wait);
		timer_arm(&t->soft->wheel, &c->keep, t->now + wait);
	}
	tcp_mark_dirty(c, CF_XMIT);
}

void tcp_orphan(struct tcp_stack *t, u32 sk)
{
	struct tcp_conn *c;

	if (sk >= SK_MAX)
		return;
	c = conn_of(t, sk);
	if (!(c->cf & CF_OPEN) || phase(c) == TCPP_FREE || is_orphan(c))
		return;
	switch (phase(c)) {
	case TCPP_SYNC:
		orphan_connection(c);
		return;
	case TCPP_LISTEN:
		listener_gone(c);
		store_release(&c->h->orphan, 1);
		store_release(&c->h->phase, TCPP_CLOSED);
		break;
	case TCPP_SYN_RECV:
		store_release(&c->h->orphan, 1);
		tcp_send_active_reset(c);
		tcp_done(c, ECONNRESET);
		return;
	case TCPP_SYN_SENT:
		store_release(&c->h->orphan, 1);
		tcp_done(c, ECONNRESET);
		return;
	default:
		store_release(&c->h->orphan, 1);
		break;
	}
	tcp_release_slot(c);
}

/* ipd could not send a segment of this connection (RFC 1122 4.2.3.9: soft once synchronised). */
void tcp_xmit_failed(struct tcp_stack *t, u32 sk, int error)
{
	struct tcp_conn *c;

	if (sk >= SK_MAX)
		return;
	c = conn_of(t, sk);
	if (!(c->cf & CF_OPEN))
		return;
	if (phase(c) == TCPP_SYN_SENT && (error == EHOSTUNREACH || error == ENETUNREACH || error == EACCES || error == EPERM))
		tcp_done(c, error);
	else if (phase(c) >= TCPP_SYN_SENT && error != ENOBUFS)
		tcp_note(&c->b.s->soft_err, (u32)error);
}
