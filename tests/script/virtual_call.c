/* virtual_call.c – socket calls of the host of virtual time: what the preloaded library does with a socket's words, without it.
 *
 * The library's own code (services/shim) is tried where it matters, by the same scripts on a real instance. */
#include "virtual.h"

#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>

static struct sockbuf view(struct virtual *v, u32 sk)
{
	struct sockbuf b;

	sockbuf_open(&b, &v->t.arena[SK_ARENA(sk)], SK_SLOT(sk));
	return b;
}

static void words_reset(const struct sockbuf *b, u32 opts)
{
	store_relaxed(&b->c->shut, 0);
	store_relaxed(&b->c->fin_at, 0);
	store_relaxed(&b->c->err_taken, 0);
	store_relaxed(&b->c->opts, opts);
}

static s64 do_socket(struct virtual *v, s8 as)
{
	u32 sk = SK(0, v->next++);
	struct sockbuf b = view(v, sk);
	int r = tcp_socket(&v->t, sk, ++v->gen, 0);

	words_reset(&b, 0);
	v->edge[SK_SLOT(sk)] = true;
	v->sk[as] = sk;
	return r;
}

static s64 do_accept(struct virtual *v, u32 listener, s8 as)
{
	struct sockbuf l = view(v, listener), b;
	s64 sk;

	if (load_relaxed(&l.s->state) != SKS_LISTEN)
		return -EINVAL;
	sk = tcp_accept_next(&v->t, listener);
	if (sk < 0)
		return sk;
	b = view(v, (u32)sk);
	v->edge[SK_SLOT((u32)sk)] = true;
	tcp_offered(&v->t, (u32)sk);
	words_reset(&b, load_relaxed(&l.c->opts) & (SKC_NODELAY | SKC_CORK));
	store_release(&b.c->claim, load_relaxed(&b.s->nonce));
	tcp_claimed(&v->t, (u32)sk);
	if (as >= 0)
		v->sk[as] = (u32)sk;
	return 0;
}

/* err belongs to one connect attempt and is told once. */
static int pending_error(const struct sockbuf *b, bool take)
{
	u32 err = load_relaxed(&b->s->err), name = (u32)load_relaxed(&b->s->attempt) + 1, note = load_relaxed(&b->s->report);

	if (!err && sk_note_errno(note) && load_relaxed(&b->c->report_taken) != note) {	/* IP_RECVERR: an error that ends nothing */
		if (take)
			store_relaxed(&b->c->report_taken, note);
		return (int)sk_note_errno(note);
	}
	if (!err || load_relaxed(&b->c->err_taken) == name)
		return 0;
	if (take)
		store_relaxed(&b->c->err_taken, name);
	return (int)err;
}

static s64 do_connect(struct virtual *v, u32 sk, u16 port)
{
	struct sockbuf b = view(v, sk);
	bool *in_progress = &v->in_progress[SK_SLOT(sk)];
	int e;

	switch (load_relaxed(&b.s->state)) {
	case SKS_DEFERRED:
	case SKS_CONNECTED:
	case SKS_CLOSED:
	case SKS_LISTEN:
		e = *in_progress && load_relaxed(&b.s->state) == SKS_CONNECTED ? 0 : -EISCONN;
		*in_progress = false;
		return e;
	case SKS_CONNECTING:
		return -EALREADY;
	case SKS_FAILED:
		e = pending_error(&b, true);
		if (!e && *in_progress)
			e = ECONNABORTED;
		*in_progress = false;
		if (e)
			return -e;
	}
	e = tcp_connect(&v->t, sk, v->h->peer, to_be16(port), ++v->op_seq);
	if (!e && load_relaxed(&b.s->state) == SKS_DEFERRED)
		return 0;
	*in_progress = !e;
	return e ? e : -EINPROGRESS;
}

static s64 do_send(struct virtual *v, s8 as, const struct call *c)
{
	struct sockbuf b = view(v, v->sk[as]);
	u32 state = load_relaxed(&b.s->state), n, *off = &v->h->tx_off[as];
	u64 head = load_relaxed(&b.c->tx_head), used, limit;
	int e = pending_error(&b, true);

	if (e)
		return -e;
	if (load_relaxed(&b.c->shut) & SKC_SHUT_WR || (state != SKS_CONNECTED && state != SKS_CONNECTING && state != SKS_DEFERRED))
		return -EPIPE;
	if (c->flags & MSG_OOB)
		return -EOPNOTSUPP;
	if (c->flags & MSG_MORE)
		store_relaxed(&b.c->opts, load_relaxed(&b.c->opts) | SKC_MORE);
	else
		store_relaxed(&b.c->opts, load_relaxed(&b.c->opts) & ~(u32)SKC_MORE);
	used = head - load_relaxed(&b.s->tx_tail);
	limit = sockbuf_tx_limit(&b);
	n = (state == SKS_CONNECTED || state == SKS_DEFERRED) && used < limit ? (u32)MIN((u64)c->n, limit - used) : 0;
	for (u32 i = 0; i < n; i++)
		b.tx[(head + i) & (b.tx_size - 1)] = stream_byte(*off + i);
	*off += n;
	store_release(&b.c->tx_head, head + n);
	tcp_kick(&v->t, v->sk[as]);
	return n || !c->n ? (s64)n : -EAGAIN;
}

static u64 readable(const struct sockbuf *b)
{
	u64 head = load_relaxed(&b->s->rx_head), fin = load_relaxed(&b->s->fin);

	return (fin ? MIN(head, fin - 1) : head) - load_relaxed(&b->c->rx_tail);
}

static bool at_end(const struct sockbuf *b)
{
	u64 fin = load_relaxed(&b->s->fin);

	return fin && load_relaxed(&b->s->rx_head) >= fin - 1;
}

static s64 nothing_to_read(const struct sockbuf *b)
{
	int e = pending_error(b, true);

	if (e)
		return -e;
	if (at_end(b) || load_relaxed(&b->c->shut) & SKC_SHUT_RD)
		return 0;
	switch (load_relaxed(&b->s->state)) {
	case SKS_CONNECTED:
	case SKS_DEFERRED:
	case SKS_CONNECTING: return -EAGAIN;
	case SKS_CLOSED: return 0;
	default: return -ENOTCONN;
	}
}

static s64 do_recv(struct virtual *v, s8 as, const struct call *c)
{
	struct sockbuf b = view(v, v->sk[as]);
	u32 n = (u32)MIN((u64)c->n, readable(&b)), *off = &v->h->rx_off[as];
	u64 tail = load_relaxed(&b.c->rx_tail);

	if (!n)
		return nothing_to_read(&b);
	for (u32 i = 0; i < n; i++)
		if (b.rx[(tail + i) & (b.rx_size - 1)] != stream_byte(*off + i))
			return -EPROTO;		/* a byte that is not the one at this place of the stream */
	if (c->flags & MSG_PEEK)
		return n;
	*off += n;
	store_release(&b.c->rx_tail, tail + n);
	tcp_kick(&v->t, v->sk[as]);
	return n;
}

static s64 do_shutdown(struct virtual *v, u32 sk, int how)
{
	struct sockbuf b = view(v, sk);
	u32 state = load_relaxed(&b.s->state);

	if (state == SKS_CONNECTING || state == SKS_LISTEN)
		return tcp_shutdown(&v->t, sk, how);
	if (state != SKS_CONNECTED)
		return -ENOTCONN;
	if (how != SHUT_WR)
		store_relaxed(&b.c->shut, load_relaxed(&b.c->shut) | SKC_SHUT_RD);
	if (how != SHUT_RD) {
		if (!load_relaxed(&b.c->fin_at))
			store_release(&b.c->fin_at, load_relaxed(&b.c->tx_head) + 1);
		store_release(&b.c->shut, load_relaxed(&b.c->shut) | SKC_SHUT_WR);
	}
	tcp_kick(&v->t, sk);
	return 0;
}

static s64 do_setsockopt(struct virtual *v, u32 sk, const struct call *c)
{
	struct sockbuf b = view(v, sk);
	struct timeval tv = { c->val[0] / 1000, c->val[0] % 1000 * 1000 };
	u32 word = c->name == TCP_NODELAY ? SKC_NODELAY : c->name == TCP_CORK ? SKC_CORK : c->name == TCP_QUICKACK ? SKC_QUICKACK : 0;

	if (c->level == IPPROTO_TCP && c->name == TCP_CONGESTION)
		return tcp_setsockopt(&v->t, sk, c->level, c->name, c->text, (u32)strlen(c->text));
	if (c->level == SOL_SOCKET && (c->name == SO_RCVTIMEO || c->name == SO_SNDTIMEO))
		return tcp_setsockopt(&v->t, sk, c->level, c->name, &tv, sizeof(tv));
	if (c->level != IPPROTO_TCP || !word)
		return tcp_setsockopt(&v->t, sk, c->level, c->name, c->val, c->nval * 4);
	if (c->val[0])
		store_relaxed(&b.c->opts, load_relaxed(&b.c->opts) | word);
	else
		store_relaxed(&b.c->opts, load_relaxed(&b.c->opts) & ~word);
	tcp_kick(&v->t, sk);
	return 0;
}

static s64 do_getsockopt(struct virtual *v, u32 sk, const struct call *c, struct answer *a)
{
	struct sockbuf b = view(v, sk);
	s32 value = 0;
	int r;

	if (c->level == SOL_SOCKET && c->name == SO_ERROR)
		return pending_error(&b, true);
	a->len = sizeof(a->data);
	r = tcp_getsockopt(&v->t, sk, c->level, c->name, a->data, &a->len);
	memcpy(&value, a->data, sizeof(value));
	return r ? r : c->text[0] ? 0 : value;
}

/* As poll() on the descriptor would say, by the rules of common/readiness.c. */
static s64 ready(struct virtual *v, u32 sk)
{
	struct sockbuf b = view(v, sk);
	bool err = pending_error(&b, false);

	switch (load_relaxed(&b.s->state)) {
	case SKS_LISTEN: return tcp_accept_next(&v->t, sk) >= 0 ? POLLIN : 0;
	case SKS_CONNECTING: return 0;
	case SKS_DEFERRED: return POLLOUT;
	case SKS_FAILED: return POLLIN | POLLOUT | POLLRDHUP | (err ? POLLERR : 0) | POLLHUP;
	case SKS_CLOSED: return POLLIN | POLLOUT | POLLRDHUP | POLLHUP | (err ? POLLERR : 0);
	case SKS_CONNECTED: break;
	default: return POLLOUT | POLLHUP;
	}
	bool shut = load_relaxed(&b.c->shut) & SKC_SHUT_RD;
	u64 used = load_relaxed(&b.c->tx_head) - load_relaxed(&b.s->tx_tail);

	return (readable(&b) || at_end(&b) || shut ? POLLIN : 0) | (used < sockbuf_tx_limit(&b) ? POLLOUT : 0) | (at_end(&b) || shut ? POLLRDHUP : 0);
}

static s64 do_close(struct virtual *v, u32 sk)
{
	tcp_kick(&v->t, sk);
	tcp_orphan(&v->t, sk);
	return 0;
}

static s64 dispatch(struct virtual *v, const struct call *c, struct answer *a)
{
	u32 sk = c->s >= 0 ? v->sk[c->s] : 0;
	struct sockbuf b = view(v, sk);
	s64 r;

	switch (c->op) {
	case OP_SOCKET: return do_socket(v, c->ret);
	case OP_BIND: return tcp_bind(&v->t, sk, (be32){ 0 }, to_be16((u16)(v->h->port + c->n)));
	case OP_LISTEN: return tcp_listen(&v->t, sk, (int)c->n);
	case OP_ACCEPT: return do_accept(v, sk, c->ret);
	case OP_CONNECT: return do_connect(v, sk, (u16)(PEER_PORT + c->n));
	case OP_DISCONNECT: return tcp_disconnect(&v->t, sk);
	case OP_SEND: return do_send(v, c->s, c);
	case OP_RECV: return do_recv(v, c->s, c);
	case OP_SHUTDOWN: return do_shutdown(v, sk, (int)c->n);
	case OP_CLOSE: return do_close(v, sk);
	case OP_SETSOCKOPT: return do_setsockopt(v, sk, c);
	case OP_GETSOCKOPT: return do_getsockopt(v, sk, c, a);
	case OP_POLL: return ready(v, sk);
	case OP_EDGE:
		r = v->edge[SK_SLOT(sk)] ? ready(v, sk) : 0;
		v->edge[SK_SLOT(sk)] = false;
		return r;
	case OP_INFO:
		a->len = sizeof(a->data);
		return tcp_getsockopt(&v->t, sk, IPPROTO_TCP, TCP_INFO, a->data, &a->len);
	case OP_INQ: return (s64)readable(&b);
	case OP_OUTQ: return (s64)(load_relaxed(&b.c->tx_head) - load_relaxed(&b.s->tx_tail));
	}
	return -EOPNOTSUPP;
}

void virtual_call(struct host *h, const struct call *c, struct answer *ret)
{
	struct virtual *v = h->priv;

	v->t.now = h->now;
	ret->result = c->bad_pointer ? -EFAULT : dispatch(v, c, ret);
}

/* ---- calls that block: tried again whenever something has happened ---- */

static bool may_return(struct virtual *v, u32 i)
{
	struct blocked *b = v->blocked[i];
	struct call c = b->e->call;
	struct sockbuf w = view(v, v->sk[c.s]);
	u32 state;

	if (c.op == OP_CONNECT && b->start != v->h->now) {
		state = load_relaxed(&w.s->state);
		b->a.result = state == SKS_FAILED ? -pending_error(&w, true) : state == SKS_CONNECTING ? -EAGAIN : 0;
		return state != SKS_CONNECTING;
	}
	c.n -= v->partial[i];
	virtual_call(v->h, &c, &b->a);
	if (c.op == OP_CONNECT)
		return b->a.result != -EINPROGRESS && b->a.result != -EALREADY;
	if (c.op == OP_SEND && b->a.result > 0) {
		v->partial[i] += (u32)b->a.result;
		b->a.result = v->partial[i] == b->e->call.n ? (s64)v->partial[i] : -EAGAIN;
	}
	return b->a.result != -EAGAIN;
}

void virtual_retry(struct virtual *v)
{
	for (u32 i = 0; i < v->nblocked; i++) {
		struct blocked *b = v->blocked[i];

		if (load_relaxed(&b->done) || !may_return(v, i))
			continue;
		b->end = v->h->now;
		store_release(&b->done, true);
	}
}

void virtual_call_blocking(struct host *h, struct blocked *b)
{
	struct virtual *v = h->priv;

	assert(v->nblocked < ARRAY_SIZE(v->blocked));
	v->blocked[v->nblocked++] = b;
	virtual_retry(v);
	tcp_flush(&v->t);
}
