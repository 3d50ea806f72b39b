/* tcp_timewait.c – TIME_WAIT (RFC 9293 3.6.1): compact buckets with a clock each; safe early reuse (RFC 6191). rx6. */
#include "services/tcp/path.h"

struct tcp_tw *tcp_tw_lookup(struct tcp_stack *t, const struct tcp_tuple *k)
{
	u32 i = t->soft->thash[tcp_hash_tuple(t, k, TCP_THASH)];

	for (; i != NONE; i = t->soft->tw[i].next)
		if (!memcmp(&t->t->tw[i].tuple, k, sizeof(*k)))
			return &t->t->tw[i];
	return NULL;
}

static u32 index_of(struct tcp_stack *t, const struct tcp_tw *w) { return (u32)(w - t->t->tw); }

static void tw_expired(struct timer *tm, void *arg, u64 now)
{
	struct tcp_stack *t = arg;
	struct tcp_tw_soft *s = container_of(tm, struct tcp_tw_soft, timer);

	tcp_tw_free(t, &t->t->tw[s - t->soft->tw]);
}

static void tw_insert(struct tcp_stack *t, u32 i)
{
	struct tcp_tw *w = &t->t->tw[i];
	u32 *head = &t->soft->thash[tcp_hash_tuple(t, &w->tuple, TCP_THASH)];
	struct tcp_tw_soft *s = &t->soft->tw[i];

	s->next = *head;
	*head = i;
	s->timer.fn = tw_expired;
	t->soft->tw_count++;
	t->soft->tw_port[from_be16(w->tuple.lport)]++;
	timer_arm(&t->soft->wheel, &s->timer, load_relaxed(&w->deadline));
}

void tcp_tw_free(struct tcp_stack *t, struct tcp_tw *w)
{
	u32 i = index_of(t, w), *p = &t->soft->thash[tcp_hash_tuple(t, &w->tuple, TCP_THASH)];

	while (*p != NONE && *p != i)
		p = &t->soft->tw[*p].next;
	assert(*p == i);
	*p = t->soft->tw[i].next;
	timer_cancel(&t->soft->wheel, &t->soft->tw[i].timer);
	t->soft->tw_count--;
	t->soft->tw_port[from_be16(w->tuple.lport)]--;
	t->soft->tw[i].free_next = t->soft->tw_free;
	t->soft->tw_free = i + 1;
	store_release(&w->deadline, 0);
}

/* A free bucket; when all are taken the oldest goes (the clock hand finds an old one). */
static struct tcp_tw *tw_take(struct tcp_stack *t)
{
	struct tcp_soft *s = t->soft;
	u32 i, high = load_relaxed(&t->t->tw_high);

	if (s->tw_count >= s->tw_limit) {
		do
			s->tw_clock = (s->tw_clock + 1) % high;
		while (!load_relaxed(&t->t->tw[s->tw_clock].deadline));
		tcp_tw_free(t, &t->t->tw[s->tw_clock]);
	}
	if (s->tw_free) {
		i = s->tw_free - 1;
		s->tw_free = s->tw[i].free_next;
		return &t->t->tw[i];
	}
	store_release(&t->t->tw_high, high + 1);
	return &t->t->tw[high];
}

/* Both FINs are through and ours was acknowledged last: the pair of ports rests for a minute, the socket is done. */
void tcp_time_wait(struct tcp_conn *c)
{
	struct tcp_stack *t = c->t;
	struct tcp_tw *w = tw_take(t);
	u64 recent = load_relaxed(&c->h->ts_recent);

	w->tuple = c->h->tuple;
	w->snd_nxt = snd_wire(c, snd_nxt(c));
	w->rcv_nxt = rcv_wire(c, rcv_nxt(c));
	w->rcv_wnd = 65535u;
	w->ts_recent = (u32)(recent >> 32);
	w->ts_stamp = (u32)recent;
	w->ts_offset = c->h->ts_offset;
	w->uid = c->h->uid;
	w->negotiated = c->h->negotiated;
	w->tos = c->h->tos;
	w->ttl = c->h->ttl;
	w->reuse = c->h->so & TSO_REUSEADDR ? 1 : 0;
	store_release(&w->deadline, t->now + TCP_TIMEWAIT_LEN);
	tw_insert(t, index_of(t, w));
	tcp_done(c, 0);
}

/* RFC 6191, as tcp_tw_reuse: only when a timestamp tells old segments from new ones, after a second. */
bool tcp_tw_reusable(struct tcp_stack *t, const struct tcp_tw *w)
{
	return w->negotiated & TCPN_TS && t->conf->timestamps && (u32)(t->now / SEC) - w->ts_stamp > 1;
}

static void tw_ack(struct tcp_stack *t, const struct tcp_tw *w)
{
	struct tcp_raw r = { .tuple = w->tuple, .seq = w->snd_nxt, .ack = w->rcv_nxt, .wnd = (u16)MIN(w->rcv_wnd, 65535u),
			     .flags = TCP_ACK, .tos = w->tos, .ttl = w->ttl, .sk = NONE };
	u32 val = tcp_ts(t, w->ts_offset), ecr = w->ts_recent;

	if (w->negotiated & TCPN_TS) {
		u8 o[12] = { 1, 1, TCPOPT_TS, 10, (u8)(val >> 24), (u8)(val >> 16), (u8)(val >> 8), (u8)val,
			     (u8)(ecr >> 24), (u8)(ecr >> 16), (u8)(ecr >> 8), (u8)ecr };

		memcpy(r.opts, o, 12);
		r.optlen = 12;
	}
	(void)tcp_send_raw(t, &r);	/* lost like any segment: the peer repeats its FIN */
}

/* true: a SYN that may start a new connection (RFC 9293 3.10.7.4 TIME-WAIT, RFC 6191), ISN at least *ret_isn. */
bool tcp_timewait_state_process(struct tcp_stack *t, struct tcp_tw *w, struct tcp_seg *g, u32 *ret_isn)
{
	bool paws = w->negotiated & TCPN_TS && g->has_ts && (s32)(w->ts_recent - g->tsval) > 0;

	if (g->flags & TCP_RST)
		return false;		/* RFC 1337: TIME-WAIT assassination does not work here */
	if ((g->flags & (TCP_SYN | TCP_ACK)) == TCP_SYN && !paws &&
	    (seq_after(g->seq, w->rcv_nxt) || (w->negotiated & TCPN_TS && g->has_ts && (s32)(g->tsval - w->ts_recent) > 0))) {
		*ret_isn = w->snd_nxt + 65535 + 2;
		return true;
	}
	if (paws)
		count(t->counters, DROP_TCP_PAWS);
	if (g->flags & TCP_ACK || g->flags & TCP_SYN) {
		if (g->end != g->seq || seq_before(g->seq, w->rcv_nxt)) {
			if (!paws && g->flags & TCP_FIN) {	/* the peer missed our last ACK: the minute starts again */
				store_release(&w->deadline, t->now + TCP_TIMEWAIT_LEN);
				timer_arm(&t->soft->wheel, &t->soft->tw[index_of(t, w)].timer, load_relaxed(&w->deadline));
			}
			tw_ack(t, w);
		}
	}
	return false;
}

/* Verified entry by entry: a bucket whose connection still lives (a death between two stores) is not needed. */
void tcp_tw_attach(struct tcp_stack *t)
{
	u32 n = MIN(load_relaxed(&t->t->tw_high), TCP_TW_MAX);

	for (u32 i = n; i-- > 0;) {
		struct tcp_tw *w = &t->t->tw[i];

		if (load_relaxed(&w->deadline) > t->now + TCP_TIMEWAIT_LEN)
			store_relaxed(&w->deadline, t->now + TCP_TIMEWAIT_LEN);
		if (load_relaxed(&w->deadline) && (tcp_lookup_established(t, &w->tuple) || tcp_tw_lookup(t, &w->tuple)))
			store_release(&w->deadline, 0);
		if (load_relaxed(&w->deadline)) {
			tw_insert(t, i);
			continue;
		}
		t->soft->tw[i].free_next = t->soft->tw_free;
		t->soft->tw_free = i + 1;
	}
}
