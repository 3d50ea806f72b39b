/* tcp.c – beginning and end of a TCP, and the batch around every step: attach, detach, the dirty list, tcp_flush().
 *
 * A start is a restart (crash rules 6 and 10): tcp_attach() rebuilds the private tables from the hard blocks;
 * tcp_arena_added() wakes the connections of an arena, suspicious: only those with unfinished work act. */
#include "services/tcp/path.h"

#include <sys/mman.h>

static void *soft_alloc(size_t n)
{
	void *p = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

static u32 *heads(u32 n)
{
	u32 *p = soft_alloc(n * sizeof(u32));

	if (p)
		memset(p, 0xff, n * sizeof(u32));
	return p;
}

static void soft_free(struct tcp_soft *s)
{
	if (!s)
		return;
	const struct { void *p; size_t n; } parts[] = {
		{ s->conn, SK_MAX * sizeof(*s->conn) }, { s->ehash, TCP_EHASH * 4 }, { s->lhash, TCP_LHASH * 4 },
		{ s->bhash, 65536 * 4 }, { s->thash, TCP_THASH * 4 }, { s->rhash, TCP_RHASH * 4 },
		{ s->tw, TCP_TW_MAX * sizeof(*s->tw) }, { s->req, TCP_REQ_MAX * sizeof(*s->req) },
		{ s->recs, TCP_RECS * sizeof(*s->recs) }, { s, sizeof(*s) },
	};

	for (size_t i = 0; i < ARRAY_SIZE(parts); i++)
		if (parts[i].p)
			munmap(parts[i].p, parts[i].n);
}

static struct tcp_soft *soft_new(void)
{
	struct tcp_soft *s = soft_alloc(sizeof(*s));

	if (!s)
		return NULL;
	s->conn = soft_alloc(SK_MAX * sizeof(*s->conn));
	s->ehash = heads(TCP_EHASH);
	s->lhash = heads(TCP_LHASH);
	s->bhash = heads(65536);
	s->thash = heads(TCP_THASH);
	s->rhash = heads(TCP_RHASH);
	s->tw = soft_alloc(TCP_TW_MAX * sizeof(*s->tw));
	s->req = soft_alloc(TCP_REQ_MAX * sizeof(*s->req));
	s->recs = soft_alloc(TCP_RECS * sizeof(*s->recs));
	if (s->conn && s->ehash && s->lhash && s->bhash && s->thash && s->rhash && s->tw && s->req && s->recs)
		return s;
	soft_free(s);
	return NULL;
}

static void secrets_init(struct tcp_stack *t)
{
	struct secret_shm *s = t->secret;
	u64 *keys[SECRET_KEYS] = { s->isn, s->port, s->timestamp, s->cookie, s->fastopen };

	for (u32 i = load_acquire(&s->made); i < SECRET_KEYS; i++) {	/* an older tcpd may have made the first of them */
		t->ops->random(t->ctx, keys[i], 2 * sizeof(u64));
		store_release(&s->made, i + 1);
	}
}

/* A region of another layout, or a new one: begin with nothing. */
static void tables_init(struct tcp_stack *t)
{
	struct tcp_tables *tb = t->t;

	if (tb->magic == TCB_MAGIC && tb->version == TCB_VERSION)
		return;
	if (tb->magic) {	/* another layout: nothing in it can be used */
		tb->magic = 0;
		memset(tb, 0, sizeof(*tb));
	}
	tb->version = TCB_VERSION;
	atomic_thread_fence(memory_order_release);
	tb->magic = TCB_MAGIC;
}

/* A block whose words contradict each other is not a connection. */
static bool block_valid(const struct tcp_sock *h)
{
	u32 p = load_acquire(&h->phase);

	if (p == TCPP_FREE || p > TCPP_SYNC)
		return false;
	if (p >= TCPP_SYN_SENT)
		return h->tuple.faddr.v && h->tuple.fport.v && h->tuple.lport.v && h->snd_wscale <= 14 && h->rcv_wscale <= 14;
	return p != TCPP_LISTEN || h->tuple.lport.v;
}

static void attach_block(struct tcp_stack *t, u32 sk)
{
	struct tcp_sock *h = &t->t->sk[sk];
	struct tcp_conn *c = conn_of(t, sk);

	if (load_relaxed(&h->phase) == TCPP_FREE)
		return;
	if (!block_valid(h)) {
		store_release(&h->phase, TCPP_FREE);
		return;
	}
	c->t = t;
	c->h = h;
	c->sk = sk;
	if (load_relaxed(&h->phase) >= TCPP_SYN_SENT && tcp_lookup_established(t, &h->tuple)) {
		store_release(&h->phase, TCPP_CLOSED);	/* one tuple, one connection */
		return;
	}
	if (h->tuple.lport.v)
		tcp_bind_insert(c);
	if (load_relaxed(&h->phase) == TCPP_LISTEN)
		tcp_listen_insert(c);
	if (load_relaxed(&h->phase) >= TCPP_SYN_SENT)
		tcp_hash_insert(c);
}

int tcp_attach(struct tcp_stack *t)
{
	struct tcp_soft *s = t->soft = soft_new();

	if (!s)
		return -ENOMEM;
	secrets_init(t);
	tables_init(t);
	timer_wheel_init(&s->wheel, t->now, t);
	s->tw_limit = t->conf->tw_max && t->conf->tw_max < TCP_TW_MAX ? t->conf->tw_max : TCP_TW_MAX;
	s->hash_seed = tcp_random(t);
	s->port_counter = (u32)tcp_random(t);
	TCP_SLOT_EACH(sk, t->t, 0, SK_MAX)
		attach_block(t, sk);
	tcp_tw_attach(t);
	tcp_req_attach(t);
	return 0;
}

void tcp_detach(struct tcp_stack *t)
{
	soft_free(t->soft);
	t->soft = NULL;
}

/* ---- waking up ---- */

/* In flight when the predecessor died: one record of everything (there is always one at a start: the pool is new and
 * larger than the number of sockets), probed at its head and then ACK-clocked. */
static void wake_sender(struct tcp_conn *c)
{
	u64 una = snd_una(c), nxt = snd_nxt(c);
	struct tcp_rec *r = before(una, nxt) ? tcp_rec_new(c) : NULL;

	if (r) {
		*r = (struct tcp_rec){ .start = una, .end = nxt, .xmit = c->t->now, .txid = c->txid };
		/* When it was sent nobody knows any more: no round trip is measured on it (Karn), it counts as sent again */
		r->flags = REC_EVER | (fin_snd(c) == nxt ? REC_FIN : 0);
		r->pcount = tcp_pcount(c, nxt - una - (r->flags & REC_FIN ? 1 : 0));
		c->head = c->tail = r;
		c->packets_out = r->pcount;
		tcp_rate_sent(c, r, true);
	}
	if (c->head) {
		c->cf |= CF_RESTARTED;
		c->rto = TCP_TIMEOUT_INIT;
		timer_arm(&c->t->soft->wheel, &c->rtx, c->t->now + 20 * MSEC + tcp_random(c->t) % (20 * MSEC));
	}
}

static void wake_conn(struct tcp_conn *c)
{
	u64 deadline = load_relaxed(&c->h->deadline);

	tcp_conn_start(c);
	if (phase(c) == TCPP_SYNC) {
		if (c->h->hint_srtt_us && !(load_relaxed(&c->h->hint_seq) & 1)) {
			tcp_rtt_estimator(c, c->h->hint_srtt_us);
			c->ssthresh = MAX(c->h->hint_ssthresh, 2u);
		}
		wake_sender(c);
		c->last_recv = c->t->now;
		if (deadline)
			timer_arm(&c->t->soft->wheel, &c->keep, deadline);
		else
			tcp_arm_keepalive(c);
		if (load_relaxed(&c->h->syn_out))
			tcp_fastopen_wake(c);
		tcp_check_probe0(c);
	} else if (load_relaxed(&c->b.s->state) != SKS_DEFERRED) {
		wake_sender(c);		/* Fast Open: data that went with the SYN */
		timer_arm(&c->t->soft->wheel, &c->rtx, c->t->now + 100 * MSEC);
	}
	tcp_mark_dirty(c, CF_XMIT | CF_WINDOW);
}

static void requeue_child(struct tcp_stack *t, struct tcp_conn *c)
{
	struct tcp_sock *h = c->h;
	u32 a = load_relaxed(&h->accept);

	if (a == TCPA_NONE)
		return;
	if (h->parent >= SK_MAX || load_relaxed(&t->t->sk[h->parent].phase) != TCPP_LISTEN ||
	    t->t->sk[h->parent].gen != h->parent_gen) {
		tcp_abort(t, c->sk, ECONNRESET);
		return;
	}
	if (a == TCPA_QUEUED)
		tcp_accept_queue(conn_of(t, h->parent), c);
	else
		conn_of(t, h->parent)->accept_count++;
}

void tcp_arena_added(struct tcp_stack *t, u32 arena)
{
	TCP_SLOT_OF_ARENA(sk, t->t, arena) {
		struct tcp_conn *c = conn_of(t, sk);

		if (!c->h || phase(c) == TCPP_FREE || !tcp_conn_open(t, sk))
			continue;
		c->write_seq = load_relaxed(&c->h->valid_tx_head);
		if (load_relaxed(&c->b.s->gen) != c->h->gen) {	/* the arena is not the one this block was made for */
			tcp_hash_remove(c);
			tcp_listen_remove(c);
			tcp_bind_remove(c);
			store_release(&c->h->phase, TCPP_FREE);
			continue;
		}
		if (phase(c) >= TCPP_SYN_SENT)
			wake_conn(c);
		else if (phase(c) == TCPP_LISTEN)
			tcp_mark_dirty(c, 0);
		else if (is_orphan(c))
			tcp_release_slot(c);
	}
	/* Children last: their listener may be anywhere in the arena. Oldest first is restored by accept_seq. */
	TCP_SLOT_OF_ARENA(sk, t->t, arena)
		if (conn_of(t, sk)->h && load_relaxed(&t->t->sk[sk].phase) != TCPP_FREE && conn_of(t, sk)->cf & CF_OPEN)
			requeue_child(t, conn_of(t, sk));
}

void tcp_arena_removed(struct tcp_stack *t, u32 arena)
{
	TCP_SLOT_OF_ARENA(sk, t->t, arena) {
		struct tcp_conn *c = conn_of(t, sk);

		if (!(c->cf & CF_OPEN))
			continue;
		if (phase(c) != TCPP_FREE) {
			tcp_accept_unqueue(c);
			tcp_hash_remove(c);
			tcp_listen_remove(c);
			tcp_bind_remove(c);
			tcp_clear_timers(c);
			tcp_recs_free(c);
			store_release(&c->h->phase, TCPP_FREE);
		}
		c->cf &= CF_DIRTY | CF_WAIT;	/* it may stand in a list; the next arena of this number brings a new view */
	}
	store_relaxed(&t->t->high[arena][0], 0);
	store_relaxed(&t->t->high[arena][1], 0);
}

/* ---- batches ---- */

void tcp_mark_dirty(struct tcp_conn *c, u32 cf)
{
	c->cf |= cf;
	if (c->cf & CF_DIRTY)
		return;
	c->cf |= CF_DIRTY;
	c->dirty_next = c->t->soft->dirty;
	c->t->soft->dirty = c;
}

/* No ring space, no buffer, no record, or enough loans out: go on in tcp_resume(). */
void tcp_wait_for_room(struct tcp_conn *c)
{
	if (c->cf & CF_WAIT)
		return;
	c->cf |= CF_WAIT;
	c->wait_next = c->t->soft->waiting;
	c->t->soft->waiting = c;
}

static void show(struct tcp_conn *c)
{
	store_relaxed(&c->h->shown, (u32)tcp_state(c));
	if (phase(c) == TCPP_SYNC) {
		store_relaxed(&c->h->shown_rxq, (u32)rcv_unread(c));
		store_relaxed(&c->h->shown_txq, (u32)(c->write_seq - load_relaxed(&c->b.s->tx_tail)));
	}
}

/* What an ACK released, or the application wrote. */
static void tcp_data_snd_check(struct tcp_conn *c)
{
	bool new_first = c->cf & CF_NEW_FIRST;

	c->cf &= ~(u32)CF_NEW_FIRST;
	if (!new_first || !tcp_write_xmit(c, false)) {
		if (new_first)
			c->cf &= ~(u32)CF_FRTO;		/* RFC 5682 2.1 (2a): there is nothing to see it by */
		tcp_xmit_retransmit_queue(c);
		tcp_write_xmit(c, false);
	}
	tcp_check_probe0(c);
}

/* An ACK that is due and that no data has carried. Freed room is told when it is twice what the sender knows of
 * (RFC 9293 3.8.6.2.2). */
static void tcp_ack_snd_check(struct tcp_conn *c, bool window)
{
	u64 edge = rcv_nxt(c) + tcp_new_window(c), adv = load_relaxed(&c->h->rcv_adv);
	u64 now_open = after(adv, rcv_nxt(c)) ? adv - rcv_nxt(c) : 0;

	if (window && !fin_rcv(c) && after(edge, adv) && edge - rcv_nxt(c) >= 2 * now_open)
		c->cf |= CF_ACK_NOW;
	if (c->cf & CF_ACK_NOW)
		tcp_send_ack(c);
}

static void flush_conn(struct tcp_conn *c)
{
	u32 cf;

	if (!(c->cf & CF_OPEN) || phase(c) == TCPP_FREE)
		return;
	if (phase(c) == TCPP_SYNC) {
		if (!tcp_take_words(c))
			return;
		cf = c->cf;	/* CF_WINDOW: the application has read */
		c->cf &= ~(u32)(CF_XMIT | CF_WINDOW);
		if (cf & CF_XMIT)
			tcp_data_snd_check(c);
		tcp_after_ack(c);
		if (phase(c) != TCPP_SYNC)
			return;
		tcp_ack_snd_check(c, cf & CF_WINDOW);
	} else if (phase(c) == TCPP_SYN_SENT && load_relaxed(&c->b.s->state) == SKS_DEFERRED) {
		if (!tcp_take_words(c))
			return;
		tcp_fastopen_start(c);
	}
	show(c);
}

/* End of a batch: one ACK answers all merged segments, freed bytes are told once. */
void tcp_flush(struct tcp_stack *t)
{
	struct tcp_conn *c;

	while ((c = t->soft->dirty)) {
		t->soft->dirty = c->dirty_next;
		c->cf &= ~(u32)CF_DIRTY;
		flush_conn(c);
	}
}

void tcp_resume(struct tcp_stack *t)
{
	struct tcp_conn *c = t->soft->waiting, *next;

	t->soft->waiting = NULL;
	t->soft->full = false;
	for (; c; c = next) {
		next = c->wait_next;
		c->cf &= ~(u32)CF_WAIT;
		if (c->cf & CF_OPEN)
			tcp_mark_dirty(c, CF_XMIT);
	}
	tcp_flush(t);
}

u64 tcp_run_timers(struct tcp_stack *t)
{
	timer_wheel_run(&t->soft->wheel, t->now);
	tcp_flush(t);
	return timer_wheel_next(&t->soft->wheel);
}
