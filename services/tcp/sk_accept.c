/* sk_accept.c – connections handed to applications: a pair, an offer on the listener's pair, a claim.
 *
 * Pairs are made ahead, many at a time, and their far ends parked in one message (a descriptor parked alone costs ten
 * times as much). Which connection a pair belongs to stands in tcp_shm.near_cookie, stored before the offer. The
 * application claims with the offer's nonce in its own words; an offer whose pair hangs up unclaimed is made again.
 * At most READY_OFFERS lie ahead on a listener; the rest waits in TCP's accept queue. Called by sk_loop.c, sk_far.c. */
#include "tcpd.h"
#include "common/log.h"

#include <sys/socket.h>
#include <unistd.h>

#define RETRY (10 * NSEC_PER_MSEC)

/* ---- pairs made ahead ---- */

static int pair_make(const struct tcpd *x, struct spare *p)
{
	int sv[2], least = 0;
	socklen_t len = sizeof(p->cookie);

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv) < 0)
		return -errno;
	/* SO_SNDBUF 0: the kernel's minimum, so that one plug takes OUT away */
	if (setsockopt(sv[1], SOL_SOCKET, SO_SNDBUF, &least, sizeof(least)) < 0 ||
	    getsockopt(sv[1], SOL_SOCKET, SO_COOKIE, &p->cookie, &len) < 0) {
		int r = -errno;

		close(sv[0]);
		close(sv[1]);
		return r;
	}
	p->far = sv[0];
	p->near = sv[1];
	if (sv[1] < x->fd_max)
		return 0;
	close(sv[0]);
	close(sv[1]);
	return -EMFILE;
}

static int spares_refill(struct tcpd *x)
{
	struct lot_msg m = { .hdr = { LOT_MAGIC, LOT_FAR, 0 } };
	int fd[SPARES], r = 0;
	u32 n = 0;

	while (n < SPARES && !(r = pair_make(x, &x->spare[n]))) {
		m.far[n] = (struct lot_far){ .sk = LOT_SPARE, .cookie = x->spare[n].cookie };
		fd[n] = x->spare[n].far;
		n++;
	}
	if (!n)
		return r;
	m.hdr.count = (u16)n;
	r = lots_put(&x->lots, &m, fd, n, LOTS_MAX);
	for (u32 i = 0; i < n; i++) {
		if (r >= 0) {
			x->spare[i].lot = (u16)r;
			continue;
		}
		close(x->spare[i].far);
		close(x->spare[i].near);
	}
	if (r < 0)
		return r;
	x->nspare = n;
	return 0;
}

/* ---- claims ---- */

void offer_forget(struct tcpd *x, u32 sk)
{
	x->far[sk].offered = false;
	for (u32 i = 0; i < x->noffered; i++)
		if (x->offered[i] == sk)
			x->offered[i--] = x->offered[--x->noffered];
	for (u32 i = 0; i < x->nagain; i++)
		if (x->again[i] == sk)
			x->again[i--] = x->again[--x->nagain];
}

bool offer_claimed(struct tcpd *x, u32 sk)
{
	struct sockbuf b = view(x, sk);

	if (load_acquire(&b.c->claim) != load_relaxed(&b.s->nonce))
		return false;
	offer_forget(x, sk);
	tcp_claimed(&x->t, sk);
	u32 listener = x->d.tcp->t.sk[sk].parent;
	if (listener < SK_MAX)
		listener_ready(x, listener);
	return true;
}

void offers_look_for_claims(struct tcpd *x, u32 max)
{
	u32 n = MIN(x->noffered, max), start = x->noffered ? x->pass % x->noffered : 0;

	for (u32 i = 0; i < n && x->noffered; i++)
		offer_claimed(x, x->offered[(start + i) % x->noffered]);
}

/* ---- offers ---- */

void listener_ready(struct tcpd *x, u32 sk)
{
	if (x->is_ready[sk])
		return;
	x->is_ready[sk] = true;
	x->ready[x->nready++] = sk;
}

void op_accept_ready(void *ctx, u32 listener, u32 sk) { listener_ready(ctx, listener); }

static int give_pair(struct tcpd *x, u32 sk)
{
	const struct tcp_sock *c = &x->d.tcp->t.sk[sk];
	int r;

	if (!x->nspare && (r = spares_refill(x)) < 0)
		return r;
	struct spare *p = &x->spare[--x->nspare];
	store_release(&x->d.tcp->near_cookie[sk], p->cookie);
	r = far_adopt(x, sk, c->gen, FAR_ACCEPTED, p->far, p->cookie, p->lot);
	if (r) {
		x->nspare++;
		return r;
	}
	x->far[sk].near = p->near;
	return 0;
}

static int offer(struct tcpd *x, u32 listener, u32 sk)
{
	struct far *f = &x->far[sk];
	int r;

	if (!f->kind && (r = give_pair(x, sk)) < 0)
		return r;
	struct sockbuf b = view(x, sk);
	struct accept_offer o = { .sk = sk, .gen = f->gen, .nonce = load_relaxed(&b.s->nonce), .claim_was = load_acquire(&b.c->claim),
				  .faddr = b.s->faddr, .laddr = b.s->laddr, .fport = b.s->fport, .lport = b.s->lport };
	r = ready_offer(&x->far[listener].r, &o, f->near);
	if (r)
		return r;
	close(f->near);
	f->near = -1;
	f->offered = true;
	x->offered[x->noffered++] = sk;
	tcp_offered(&x->t, sk);
	return 0;
}

static s64 next_for(struct tcpd *x, u32 listener, u32 *ret_again)
{
	for (u32 i = 0; i < x->nagain; i++) {
		*ret_again = i;
		if (x->d.tcp->t.sk[x->again[i]].parent == listener)
			return x->again[i];
	}
	*ret_again = SK_MAX;
	return tcp_accept_next(&x->t, listener);
}

static int offer_all(struct tcpd *x, u32 listener)
{
	u32 at;
	s64 sk;

	while (x->far[listener].kind && ready_offer_room(&x->far[listener].r) && (sk = next_for(x, listener, &at)) >= 0) {
		int r = offer(x, listener, (u32)sk);

		if (r == -EPIPE || r == -EAGAIN)
			return 0;	/* gone: its HUP comes. Full: its OUT comes */
		if (r)
			return r;
		if (at < x->nagain)
			x->again[at] = x->again[--x->nagain];
	}
	return 0;
}

void offers_run(struct tcpd *x)
{
	u32 n = x->nready;

	if (!n || (x->offer_retry && x->t.now < x->offer_retry)) {
		if (n)
			loop_deadline(&x->d.loop, x->offer_retry);
		return;
	}
	x->offer_retry = 0;
	while (x->nready) {
		u32 listener = x->ready[x->nready - 1];
		int r = offer_all(x, listener);

		if (r) {	/* out of descriptors or lots: the connection waits in the accept queue */
			log_warn("an accepted connection waits: %s", strerror(-r));
			x->offer_retry = x->t.now + RETRY;
			loop_deadline(&x->d.loop, x->offer_retry);
			tcp_lots_compact(x, false);
			return;
		}
		x->is_ready[listener] = false;
		x->nready--;
	}
}

/* ---- ends ---- */

static bool listens(struct tcpd *x, u32 sk, u32 gen)
{
	return sk < SK_MAX && x->d.tcp->t.sk[sk].gen == gen && load_relaxed(&x->d.tcp->t.sk[sk].phase) == TCPP_LISTEN;
}

void offer_hung_up(struct tcpd *x, u32 sk)
{
	const struct tcp_sock *c = &x->d.tcp->t.sk[sk];
	u32 parent = c->parent;

	if (!listens(x, parent, c->parent_gen)) {
		tcp_orphan(&x->t, sk);
		return;
	}
	far_drop(x, sk);
	x->again[x->nagain++] = sk;
	listener_ready(x, parent);
}

/* A start is a restart: offers out are waited for, lost ones made again, connections without a descriptor ended. */
void accept_recover(struct tcpd *x)
{
	struct tcp_tables *t = x->t.t;

	TCP_SLOT_EACH(sk, t, 0, SK_MAX) {
		struct tcp_sock *c = &t->sk[sk];
		u32 phase = load_relaxed(&c->phase), accept = load_relaxed(&c->accept);

		if (phase == TCPP_FREE || !x->t.arena[SK_ARENA(sk)].used || load_relaxed(&c->orphan))
			continue;
		if (phase == TCPP_LISTEN && x->far[sk].kind)
			far_listens(x, sk);
		/* It has a pair: the offer was made, and we died before it was noted; or died before, then the pair hangs up. */
		if (accept == TCPA_QUEUED && x->far[sk].kind)
			tcp_offered(&x->t, sk);
		else if (accept == TCPA_QUEUED)
			continue;
		accept = load_relaxed(&c->accept);
		if (accept == TCPA_OFFERED && x->far[sk].kind) {
			x->far[sk].offered = true;
			x->offered[x->noffered++] = sk;
			offer_claimed(x, sk);
		} else if (accept == TCPA_OFFERED && listens(x, c->parent, c->parent_gen)) {
			x->again[x->nagain++] = sk;
			listener_ready(x, c->parent);
		} else if (!x->far[sk].kind) {
			tcp_orphan(&x->t, sk);
		}
	}
}
