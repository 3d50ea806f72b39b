/* call.c – tx1: a socket call, from the client's request to its reply.
 *
 * A call without `sk` makes its socket: the request carries the two ends { far, near } of a socketpair. near's cookie
 * names the socket, far is parked for tcpd. Then the options that came along, then the operation, each a request in
 * the socket's mailbox. Crash rule 7: (client, request) stand in sk_ctl, so that a repeated call finds its answer.
 * Called by client.c (call_begin) and mailbox.c (call_advance). */
#include "sockd.h"

#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

typedef Strata__Sock__Request Request;
#define OP(name) STRATA__SOCK__REQUEST__OP__##name

void call_end(struct client *c)
{
	struct call *call = &c->call;

	if (c->call_pprev) {
		*c->call_pprev = c->call_next;
		if (c->call_next)
			c->call_next->call_pprev = c->call_pprev;
		c->call_pprev = NULL;
	}
	for (u32 i = 0; i < call->nfds; i++)
		close(call->fd[i]);
	if (call->rq)
		strata__sock__request__free_unpacked(call->rq, NULL);
	*call = (struct call){ 0 };
}

static u32 sk_op(u32 op)
{
	switch (op) {
	case OP(BIND): return SKOP_BIND;
	case OP(CONNECT): return SKOP_CONNECT;
	case OP(LISTEN): return SKOP_LISTEN;
	case OP(SHUTDOWN): return SKOP_SHUTDOWN;
	case OP(SETSOCKOPT): return SKOP_SETSOCKOPT;
	case OP(GETSOCKOPT): return SKOP_GETSOCKOPT;
	case OP(DISCONNECT): return SKOP_DISCONNECT;
	default: return SKOP_NONE;
	}
}

/* ---- the reply ---- */

static void finish(struct sockd *s, struct client *c, int error, const struct sk_ans *ans)
{
	struct call *call = &c->call;
	Strata__Sock__Reply re = STRATA__SOCK__REPLY__INIT;
	int fd[3];
	u32 nfds = 0;

	re.id = call->rq->id;
	re.error = error;
	if (call->made) {
		re.has_sk = re.has_gen = re.has_nonce = 1;
		re.sk = call->sk;
		re.gen = call->gen;
		re.nonce = s->d.sock->ctl[call->sk].nonce;
	}
	if (call->made && call->new_arena) {
		const struct arena_own *a = &s->arena[SK_ARENA(call->sk)];

		re.has_arena = re.has_new_arena = 1;
		re.arena = SK_ARENA(call->sk);
		re.new_arena = 1;
		fd[nfds++] = a->stack_ro;
		fd[nfds++] = a->client_rw;
		fd[nfds++] = a->bell;
	}
	if (ans && call->op == SKOP_GETSOCKOPT && error >= 0) {
		re.has_value = 1;
		re.value.data = (u8 *)ans->data;
		re.value.len = MIN(ans->len, SOCK_OPT_MAX);
	}
	if (error == -EACCES)
		re.text = (char *)"not allowed by the rules of [sock] in this instance's configuration";
	client_reply(s, c, &re, fd, nfds);
}

/* ---- steps ---- */

static void fill_addr(struct sk_ctl *ctl, const Request *rq)
{
	ctl->addr = (be32){ rq->has_addr ? rq->addr : 0 };
	ctl->port = to_be16((u16)(rq->has_port ? rq->port : 0));
	ctl->arg = rq->has_arg ? rq->arg : 0;
}

static int fill_option(struct sk_ctl *ctl, s32 level, s32 name, const ProtobufCBinaryData *value)
{
	if (value->len > SOCK_OPT_MAX)
		return -EINVAL;
	ctl->level = level;
	ctl->optname = name;
	ctl->optlen = (u32)value->len;
	if (value->len)
		memcpy(ctl->optval, value->data, value->len);
	return 0;
}

/* Write the next step into the mailbox, which is free. */
static int fill_step(struct sockd *s, struct client *c)
{
	struct call *call = &c->call;
	const Request *rq = call->rq;
	struct sk_ctl *ctl = &s->d.sock->ctl[call->sk];
	bool last = call->step == rq->n_options;

	ctl->want_gen = call->gen;
	ctl->client = c->id;
	ctl->req = rq->id;
	ctl->req_seq = load_relaxed(&ctl->op_seq) + 1;
	ctl->op = last ? call->op : SKOP_SETSOCKOPT;
	if (!last) {
		const Strata__Sock__Option *o = rq->options[call->step];
		return fill_option(ctl, o->level, o->name, &o->value);
	}
	fill_addr(ctl, rq);
	if (call->op == SKOP_SETSOCKOPT || call->op == SKOP_GETSOCKOPT)
		return fill_option(ctl, rq->level, rq->name, &rq->value);
	return 0;
}

/* To be asked again after every answer of tcpd. */
static void call_wait(struct sockd *s, struct client *c)
{
	if (c->call_pprev)
		return;
	c->call_next = s->calls;
	c->call_pprev = &s->calls;
	if (c->call_next)
		c->call_next->call_pprev = &c->call_next;
	s->calls = c;
}

void call_advance(struct sockd *s, struct client *c)
{
	struct call *call = &c->call;

	for (;;) {
		const struct sk_ans *ans = &s->d.tcp->ans[call->sk];

		if (mailbox_busy(s, call->sk)) {
			call_wait(s, c);	/* ours, or another process's on the same socket */
			return;
		}
		if (call->posted) {
			call->posted = false;
			if (call->step++ == call->rq->n_options) {
				finish(s, c, ans->result, ans);
				return;
			}
			/* An option given before the socket was made has been answered by the shim: no error any more. */
		}
		if (call->step == call->rq->n_options && call->op == SKOP_NONE) {
			finish(s, c, 0, NULL);
			return;
		}
		int r = fill_step(s, c);
		if (r) {
			finish(s, c, r, NULL);
			return;
		}
		call->seq = mailbox_post(s, call->sk);
		call->posted = true;
	}
}

/* ---- beginning ---- */

/* The pair a client brought. far is what tcpd will read and write: an AF_UNIX stream, nothing else. Of near only the
 * cookie counts, the socket's identity from now on; one that is not far's other end is the client's own loss. */
static int check_pair(const struct call *call, u64 *ret_cookie)
{
	socklen_t len = sizeof(*ret_cookie);

	if (call->nfds != 2)
		return -EBADMSG;
	int domain = 0, type = 0;
	socklen_t l1 = sizeof(domain), l2 = sizeof(type);
	if (getsockopt(call->fd[0], SOL_SOCKET, SO_DOMAIN, &domain, &l1) < 0 ||
	    getsockopt(call->fd[0], SOL_SOCKET, SO_TYPE, &type, &l2) < 0 || domain != AF_UNIX || type != SOCK_STREAM)
		return -EBADMSG;
	if (getsockopt(call->fd[1], SOL_SOCKET, SO_COOKIE, ret_cookie, &len) < 0)
		return -errno;
	return 0;
}

static int permitted(struct sockd *s, const struct client *c, const Request *rq)
{
	be32 addr = { rq->has_addr ? rq->addr : 0 };
	u16 port = (u16)(rq->has_port ? rq->port : 0);

	switch (rq->op) {
	case OP(BIND): return security_socket_bind(s, &c->cred, addr, port);
	case OP(CONNECT): return security_socket_connect(s, &c->cred, addr, port);
	case OP(LISTEN): return security_socket_listen(s, &c->cred);
	default: return 0;
	}
}

static int materialise(struct sockd *s, struct client *c)
{
	struct call *call = &c->call;
	u64 cookie;
	int r = check_pair(call, &cookie);

	if (r)
		return r;
	s64 known = c->first ? slot_of_request(s, c, call->rq->id, cookie) : -ENOENT;
	if (known >= 0) {
		call->sk = (u32)known;
		call->new_arena = !bit_test(c->arenas, SK_ARENA(call->sk));
		arena_hold(s, c, SK_ARENA(call->sk));
	} else {
		r = security_socket_create(s, &c->cred);
		if (!r)
			r = slot_alloc(s, c, cookie, &call->sk, &call->new_arena);
		if (r)
			return r;
	}
	call->made = true;
	call->gen = load_relaxed(&s->d.sock->ctl[call->sk].gen);
	r = slot_park(s, call->sk, call->fd[0]);
	if (r && known < 0)
		slot_abandon(s, call->sk);
	if (r)
		call->made = false;
	return r;
}

/* A repeated call whose last step is in the mailbox already: only its answer is waited for. */
static void recognise(struct sockd *s, const struct client *c, struct call *call)
{
	const struct sk_ctl *ctl = &s->d.sock->ctl[call->sk];

	if (c->first && call->op != SKOP_NONE && ctl->client == c->id && ctl->req == call->rq->id && ctl->op == call->op &&
	    ctl->want_gen == call->gen && ctl->req_seq == load_relaxed(&((struct sk_ctl *)ctl)->op_seq)) {
		call->step = (u32)call->rq->n_options;
		call->posted = true;
	}
}

static void socket_call(struct sockd *s, struct client *c)
{
	struct call *call = &c->call;
	const Request *rq = call->rq;
	int r;

	call->op = sk_op(rq->op);
	r = permitted(s, c, rq);
	if (!r && rq->has_sk) {
		call->sk = rq->sk;
		call->gen = rq->gen;
		r = slot_may(s, c, rq->sk, rq->gen) ? 0 : -EBADF;
	} else if (!r) {
		r = materialise(s, c);
	}
	if (r) {
		finish(s, c, r, NULL);
		return;
	}
	recognise(s, c, call);
	c->first = false;
	call_advance(s, c);
}

void call_begin(struct sockd *s, struct client *c)
{
	switch (c->call.rq->op) {
	case OP(HELLO): hello_call(s, c); break;
	case OP(ARENA): arena_call(s, c); break;
	case OP(WHOSE): whose_call(s, c); break;
	case OP(ATTACH): attach_call(s, c); break;
	case OP(ADMIN): admin_call(s, c); break;
	default: socket_call(s, c); break;
	}
}
