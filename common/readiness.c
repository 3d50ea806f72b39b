/* readiness.c – rx7, the stack's side of a socket's descriptor: tokens, plugs, shutdowns, offers (readiness.h).
 *
 * The mutants are here for tests/shim alone: a stress test that cannot fail proves nothing. READINESS_MUTANT
 *   1  a token only when none is in flight: the edge that hung nginx (a short read is not the last)
 *   2  tok is published before the token is sent, and a successor trusts it: a death between the two is silence.
 * READINESS_STRESS calls stress_point() where a death hurts most. */
#include "readiness.h"

#include <linux/sockios.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#ifndef READINESS_MUTANT
#define READINESS_MUTANT 0
#endif
#ifdef READINESS_STRESS
void stress_point(void);	/* tests/shim/stress_procs.c */
#else
#define stress_point() do { } while (0)
#endif
#define OFFER_TRUESIZE 768	/* what the kernel charges the sender for one offer */
#define ANCHOR_BYTES 2048u	/* more than all readers that are draining just now take: at most DRAIN_BYTES each */

/* One byte that makes the near end readable. tok says for which arm it was, after it is certain to be there:
 * a death in between makes one token too many, which a reader drains. Pairs with arm++; fence in stream.c. */
static void token(struct ready *r, const struct sockbuf *b, bool force)
{
	u32 arm = atomic_load(&b->c->arm);

	if (arm == load_relaxed(&b->s->tok) && !force)
		return;
	if (load_relaxed(&b->s->plain) & (PLAIN_QUIET | PLAIN_RX))
		return;	/* nobody must read it as data; when a QUIET ends, ready_kick() comes */
	if (READINESS_MUTANT == 1 && load_relaxed(&b->s->sent) != atomic_load(&b->c->eaten))
		return;
	if (READINESS_MUTANT == 2)
		store_release(&b->s->tok, arm);
	stress_point();
	if (send(r->far, "T", 1, MSG_DONTWAIT | MSG_NOSIGNAL) != 1)
		return;	/* buffer full of tokens: IN is shown already. Shut down: so is the end */
	stress_point();
	store_release(&b->s->tok, arm);
	store_release(&b->s->sent, load_relaxed(&b->s->sent) + 1);
}

static bool in_flight(const struct ready *r)
{
	int n = 0;

	return !ioctl(r->far, SIOCOUTQ, &n) && n > 0;
}

/* Is there something a reader would be told by reading? */
static bool readable(const struct sockbuf *b)
{
	u32 told = atomic_load(&b->c->err_taken), report = load_relaxed(&b->s->report);

	if (sk_note_errno(report) && report != atomic_load(&b->c->report_taken))
		return true;
	return load_relaxed(&b->s->rx_head) != atomic_load(&b->c->rx_tail) || load_relaxed(&b->s->fin) ||
	       (load_relaxed(&b->s->err) && told != (u32)load_relaxed(&b->s->attempt) + 1);
}

static void unplug(struct ready *r)
{
	char junk[4096];

	r->plugged = false;	/* a plug that comes after the last recv() is an event of its own */
	while (recv(r->far, junk, sizeof(junk), MSG_DONTWAIT) == sizeof(junk))
		;
}

/* fin or state was stored before: who begins to drain from now on sees it, and does not. EAGAIN: the buffer is full of
 * tokens, which will do. EPIPE: it was shut down by a predecessor, or nobody is there any more. */
static void anchor(const struct ready *r)
{
	static const u8 bytes[ANCHOR_BYTES];

	fence_seq_cst();	/* pairs with the application's look at stream_ended() before each recv() of a drain */
	send(r->far, bytes, sizeof(bytes), MSG_DONTWAIT | MSG_NOSIGNAL);
}

static void shut(struct ready *r, u8 what)
{
	if (r->shut & what)
		return;
	if (!r->shut)
		anchor(r);
	r->shut |= what;
	shutdown(r->far, what == READY_SHUT_WR ? SHUT_WR : SHUT_RDWR);	/* ENOTCONN: done by a predecessor */
}

/* FIN: RDHUP, once everything before it is readable. */
static void tell_fin(struct ready *r, const struct sockbuf *b)
{
	u64 fin = load_relaxed(&b->s->fin);

	if (load_relaxed(&b->s->plain) & PLAIN_QUIET)
		return;		/* nothing could be sent after it */
	if (fin && load_relaxed(&b->s->rx_head) + 1 >= fin)
		shut(r, READY_SHUT_WR);
}

/* The urgent byte has arrived, nobody has read it or gone past it. A kernel without urgent bytes on Unix sockets shows none. */
static void tell_urgent(struct ready *r, const struct sockbuf *b)
{
	u64 urg = load_relaxed(&b->s->urg);

	if (likely(!urg) || urg == r->urg_told || r->shut || load_relaxed(&b->s->rx_head) < urg || atomic_load(&b->c->rx_tail) >= urg ||
	    atomic_load(&b->c->urg_read) == urg || load_relaxed(&b->s->plain) & (PLAIN_QUIET | PLAIN_RX))
		return;
	if (send(r->far, "U", 1, MSG_OOB | MSG_DONTWAIT | MSG_NOSIGNAL) != 1 && errno == EAGAIN)
		return;		/* full of tokens: the next look tries again */
	r->urg_told = urg;
	r->urgent = true;
}

void ready_data(struct ready *r, const struct sockbuf *b)
{
	fence_seq_cst();	/* rx_head before arm; pairs with arm++; fence; load rx_head in stream.c */
	if (!(r->shut & READY_SHUT_WR))
		token(r, b, false);
	tell_urgent(r, b);
	tell_fin(r, b);
}

void ready_space(struct ready *r, const struct sockbuf *b)
{
	u32 state = load_relaxed(&b->s->state), limit = sockbuf_tx_limit(b);
	u64 used;

	if (!r->plugged)
		return;
	if (state != SKS_CONNECTED && state != SKS_DEFERRED) {
		if (state == SKS_CLOSED)
			unplug(r);	/* OUT: a write fails at once */
		return;			/* connecting, or about to once more: the plug is the application's wait */
	}
	fence_seq_cst();	/* tx_tail before tx_head; pairs with the plug's send() after tx_head was published */
	used = atomic_load(&b->c->tx_head) - load_relaxed(&b->s->tx_tail);
	if (state == SKS_DEFERRED && used)
		return;			/* the first bytes are there: from now on it is connecting */
	if (used <= limit && limit - used >= limit / 3)
		unplug(r);
}

void ready_state(struct ready *r, const struct sockbuf *b)
{
	switch (load_relaxed(&b->s->state)) {
	case SKS_DEFERRED:
		ready_space(r, b);
		break;
	case SKS_CONNECTED:
		ready_space(r, b);
		if (readable(b))
			ready_data(r, b);	/* else: a token that nobody could make use of */
		break;
	case SKS_FAILED:	/* HUP could not be taken back, and connect() may be tried again */
		token(r, b, true);
		unplug(r);
		break;
	case SKS_CLOSED:
		if (r->shut & READY_SHUT_RDWR)
			break;
		if (!(r->shut & READY_SHUT_WR))
			token(r, b, false);
		unplug(r);
		shut(r, READY_SHUT_RDWR);
		break;
	default:
		break;
	}
}

/* An error that ends nothing. A death before the token: a reader finds it at his next look, as after any start
 * (readable()); who waits for space only, when there is some. */
void ready_error(struct ready *r, const struct sockbuf *b)
{
	token(r, b, true);
	if (r->plugged)
		unplug(r);	/* the writer takes the error, or plugs again */
}

/* Nobody may have been told: count the application as armed. A reader that died after draining and before arming
 * leaves arm == tok and no token, and whoever takes over waits without ever having read. */
static void assume_armed(const struct sockbuf *b)
{
	store_release(&b->s->tok, atomic_load(&b->c->arm) - 1);
}

void ready_kick(struct ready *r, const struct sockbuf *b)
{
	fence_seq_cst();	/* pairs with the fence before the application's kick */
	if (!(r->shut & READY_SHUT_WR)) {
		bool none = r->urgent || !in_flight(r);	/* an urgent token in flight tells no reader anything */

		if (atomic_load(&b->c->arm) == load_relaxed(&b->s->tok) && none)
			assume_armed(b);
		if (readable(b))
			token(r, b, false);
		else if ((load_relaxed(&b->c->shut) & SKC_SHUT_RD) && none)
			token(r, b, true);	/* reading gives the end from now on: IN, and who waits is woken */
	}
	tell_urgent(r, b);
	tell_fin(r, b);
	ready_space(r, b);
}

enum ready_in ready_input(struct ready *r, const struct sockbuf *b)
{
	struct plug p;
	ssize_t n = r->shut & READY_SHUT_RDWR ? 0 : recv(r->far, &p, sizeof(p), MSG_PEEK | MSG_DONTWAIT);

	if (n <= 0)
		return READY_NOTHING;
	/* A connect() plugs before it can know the nonce: zero will do until there is a connection. */
	if (n != sizeof(p) || p.magic != PLUG_MAGIC ||
	    (p.nonce != load_relaxed(&b->s->nonce) && p.nonce))
		return READY_FOREIGN;
	r->plugged = true;
	ready_space(r, b);
	return READY_PLUG;
}

/* The kernel notes ECONNRESET on our end before it wakes us, if the dying end had something unread, and throws that away
 * after it; so both are asked. No recv() or send() clears the error: none is made on a far end that is shut down. */
bool ready_gone(const struct ready *r)
{
	struct pollfd p = { .fd = r->far };

	if (!(r->shut & READY_SHUT_RDWR))
		return true;
	return (poll(&p, 1, 0) == 1 && (p.revents & POLLERR)) || !in_flight(r);
}

void ready_attach(struct ready *r, const struct sockbuf *b, int far)
{
	int n = 0;

	*r = (struct ready){ .far = far, .urgent = load_relaxed(&b->s->urg) != 0 };
	if (load_relaxed(&b->s->plain) & PLAIN_RX)
		return;		/* no tokens, no plugs: services/tcp/sk_plain.c */
	r->plugged = !(load_relaxed(&b->s->plain) & PLAIN_TX) && !ioctl(far, SIOCINQ, &n) && n > 0;
	fence_seq_cst();
	if (READINESS_MUTANT != 2)
		assume_armed(b);	/* a predecessor may have died anywhere: what tok says proves nothing */
	ready_state(r, b);
}

bool ready_offer_room(const struct ready *listener)
{
	int n = 0;

	return !ioctl(listener->far, SIOCOUTQ, &n) && n < (int)(READY_OFFERS * OFFER_TRUESIZE);
}

int ready_offer(const struct ready *listener, const struct accept_offer *o, int near)
{
	union { struct cmsghdr h; char space[CMSG_SPACE(sizeof(int))]; } control = { 0 };
	struct iovec v = { (void *)o, sizeof(*o) };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control) };

	control.h = (struct cmsghdr){ .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS,
				      .cmsg_len = CMSG_LEN(sizeof(int)) };
	memcpy(CMSG_DATA(&control.h), &near, sizeof(int));
	if (sendmsg(listener->far, &m, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
		return -errno;
	return 0;
}
