/* sk_plain.c – rx7, tx2: holders without the shim. A static program, or one that was started without LD_PRELOAD, inherits a
 * connection: it must read the stream and not tokens, and what it writes is the stream.
 *
 * How it is known. Nobody can see from outside whether a process has the shim, and a token that lies in the pair cannot be
 * taken back: so it must be known before such a process reads. Whoever gives a socket to a program by exec has the shim
 * himself, and knows whether the program will (services/shim/hand.c). If that is not certain he asks for the socket to
 * be plain, and execs when it is:
 *   1. sk_client.plain = ASK      -> tcpd sends no tokens from now on: sk_stack.plain = QUIET, with the request's number
 *   2. he waits for those who are reading (sk_client.readers; others do not begin), drains what lies there, says DRAINED with that number -> nothing but tokens was there and none can follow: RX
 * A QUIET that nobody ends (he was killed) is taken back after QUIET_MAX and tokens are sent again; a DRAINED with its
 * number is void from then on. A mistake in favour of plain is harmless: holders with the shim see sk_stack.plain and
 * use the descriptor as well, so both kinds may hold it at once, and programs that take turns find what the last left.
 * Bytes from a holder who did not announce himself (he got the descriptor in a message) are stream data, too: TX; RX
 * follows as soon as no token lies there. What such a holder reads before he writes may be tokens.
 *
 * When the peer's FIN has come before, the pair is shut down for writing and cannot carry the rest: then the giver makes a
 * new pair and sends its far end through the old one, which we let go (swap()). Others that hold the old one are at the end.
 *
 * Order. Bytes in the application's ring were written before its holder gave it away, and are taken over first; a writer
 * who had not seen the switch may publish some later, which are taken over when they are seen. A plug is no data: it is
 * known by its nonce, wherever in the bytes it lies.
 *
 * Ends. FIN: shutdown(far, WR) once everything is delivered, without an anchor, which would be read. Over: writes fail at
 * once, and when the rest is delivered tcpd lets go, whoever still holds a descriptor: his reads and writes end in the
 * kernel. The last holder gone: what he wrote is taken first.
 * Called by sk_far.c, sk_loop.c. */
#include "tcpd.h"
#include "common/log.h"

#include <linux/sockios.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define QUIET_MAX NSEC_PER_SEC
#define SCRATCH 65536u

/* ---- becoming plain ---- */

static bool no_token(const struct far *f)
{
	int n = 1;

	return !ioctl(f->r.far, SIOCOUTQ, &n) && n == 0;
}

static void quiet_end(struct tcpd *x, u32 sk)
{
	for (u32 i = 0; i < x->nquiet; i++)
		if (x->quiet[i].sk == sk)
			x->quiet[i--] = x->quiet[--x->nquiet];
}

static bool serve(struct tcpd *x, u32 sk)
{
	quiet_end(x, sk);
	if (tcp_plain_begin(&x->t, sk) || tcp_plain_serve(&x->t, sk))
		return false;
	x->far[sk].r.plugged = false;
	far_rewatch(x, sk);
	count(x->d.counters, TCP_PLAIN);
	return true;
}

static void take_back(struct tcpd *x, u32 sk)
{
	struct sockbuf b = view(x, sk);

	quiet_end(x, sk);
	if (!(load_relaxed(&b.s->plain) & PLAIN_QUIET))
		return;
	store_release(&b.s->plain, load_relaxed(&b.s->plain) & ~(u32)PLAIN_QUIET);
	ready_kick(&x->far[sk].r, &b);
}

/* What a holder with the shim asks for. */
static void answer(struct tcpd *x, u32 sk, const struct sockbuf *b)
{
	u32 want = load_acquire(&b->c->plain), have = load_relaxed(&b->s->plain);	/* pairs with the release in hand.c */
	bool same = PLAIN_NUMBER(want) == PLAIN_NUMBER(have);

	if (have & PLAIN_QUIET && !(want & 3))
		take_back(x, sk);	/* he has thought better of it */
	if (have & PLAIN_RX || load_relaxed(&b->s->state) != SKS_CONNECTED || x->far[sk].r.shut)
		return;		/* shut: he sees that the stream has ended, and makes another pair */
	if ((want & 3) == PLAIN_DRAINED && have & PLAIN_QUIET && same) {
		serve(x, sk);
	} else if ((want & 3) == PLAIN_ASK && !(have & PLAIN_QUIET) && !same) {
		x->quiet[x->nquiet++] = (struct quiet){ sk, x->t.now + QUIET_MAX };
		store_release(&b->s->plain, (have & PLAIN_TX) | PLAIN_QUIET | (want & ~0xffu));
	}
}

/* No token lies there, and nobody is in the middle of a read: without being asked. */
static bool unasked(struct tcpd *x, u32 sk, const struct sockbuf *b)
{
	u32 have = load_relaxed(&b->s->plain);

	if (x->far[sk].r.shut || have & PLAIN_QUIET || !no_token(&x->far[sk]))
		return true;
	store_release(&b->s->plain, have | PLAIN_QUIET);
	fence_seq_cst();	/* pairs with the fence in reading_begin() */
	if (!load_acquire(&b->c->readers) && no_token(&x->far[sk]))
		return serve(x, sk);
	store_release(&b->s->plain, have);
	return true;
}

/* Of a predecessor: who asked must ask again. */
void plain_adopted(struct tcpd *x, u32 sk)
{
	struct sockbuf b = view(x, sk);

	if (load_relaxed(&b.s->plain) & PLAIN_QUIET)
		take_back(x, sk);
}

void plain_timers(struct tcpd *x)
{
	for (u32 i = 0; i < x->nquiet; i++) {
		if (x->quiet[i].until > x->t.now)
			loop_deadline(&x->d.loop, x->quiet[i].until);
		else
			take_back(x, x->quiet[i--].sk);
	}
}

void plain_dropped(struct tcpd *x, u32 sk)
{
	quiet_end(x, sk);
	if (is_plain(x, sk))
		arena_plain_free(x, sk);
}

/* ---- moving bytes ---- */

static u64 reached(const struct plain_rec *rec, const _Atomic u32 *which)
{
	const struct plain_rec *r = &rec[load_relaxed((_Atomic u32 *)which) & 1];

	return r->off + r->m.msg_len;
}

/* The record of what happens next takes the place of the last one, whose end it begins at. */
static struct plain_rec *next_rec(struct plain_rec *rec, _Atomic u32 *which, u64 off, u64 client)
{
	u32 w = 1 - (load_relaxed(which) & 1);

	rec[w] = (struct plain_rec){ .off = off, .client = client };
	store_release(which, w);
	return &rec[w];
}

static u32 pieces(struct iovec v[2], u8 *ring, u32 size, u64 off, size_t n)
{
	size_t at = off & (size - 1), first = MIN(n, (size_t)size - at);

	v[0] = (struct iovec){ ring + at, first };
	v[1] = (struct iovec){ ring, n - first };
	return n > first ? 2 : 1;
}

static void deliver(struct tcpd *x, u32 sk, struct sockbuf *b, struct tcp_plain *p)
{
	u64 head = load_relaxed(&b->s->rx_head), fin = load_relaxed(&b->s->fin), end = fin ? MIN(head, fin - 1) : head, at;

	while ((at = reached(p->rx, &p->rx_which)) < end) {
		struct plain_rec *r = next_rec(p->rx, &p->rx_which, at, 0);
		struct iovec v[2];

		r->m.msg_hdr = (struct msghdr){ .msg_iov = v, .msg_iovlen = pieces(v, b->rx, b->rx_size, at, end - at) };
		if (sendmmsg(x->far[sk].r.far, &r->m, 1, MSG_DONTWAIT | MSG_NOSIGNAL) != 1)
			break;		/* full: OUT comes. Nobody reads any more: HUP comes */
	}
	store_release(&p->c.rx_tail, at);
	if (fin && head + 1 >= fin && at + 1 == fin && !(x->far[sk].r.shut & READY_SHUT_WR)) {
		x->far[sk].r.shut |= READY_SHUT_WR;
		shutdown(x->far[sk].r.far, SHUT_WR);
	}
}

/* Where a plug (a swap) lies in n bytes; n: nowhere. One that begins in the last bytes of a full view is seen the next time. */
static size_t find_plug(const u8 *p, size_t n, u64 magic, u64 nonce)
{
	const struct plug plug = { magic, nonce };
	const u8 *at = memmem(p, n, &plug, sizeof(plug));

	if (at)
		return (size_t)(at - p);
	return n == SCRATCH ? n - sizeof(plug) : n;
}

/* What the message that lies first in the far end brings: a descriptor, or -1. It stays there. */
static int look_at_swap(int far, struct swap *ret)
{
	union { struct cmsghdr h; char room[CMSG_SPACE(sizeof(int))]; } cb;
	struct iovec v = { ret, sizeof(*ret) };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = &cb, .msg_controllen = sizeof(cb) };
	ssize_t n = recvmsg(far, &m, MSG_PEEK | MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	struct cmsghdr *c = n < 0 ? NULL : CMSG_FIRSTHDR(&m);
	int fd, domain = 0, type = 0;
	socklen_t len = sizeof(int);

	if (!c || c->cmsg_type != SCM_RIGHTS || c->cmsg_len != CMSG_LEN(sizeof(int)))
		return -1;
	memcpy(&fd, CMSG_DATA(c), sizeof(fd));
	if (n == sizeof(*ret) && !getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &len) && domain == AF_UNIX &&
	    !getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) && type == SOCK_STREAM)
		return fd;
	close(fd);
	return -1;
}

/* Parked first; then served, so that a successor sends no token through it; then it is the one that counts (near_cookie);
 * then the message goes. A successor finds either the message or the new pair. */
static bool swap(struct tcpd *x, u32 sk)
{
	struct far *f = &x->far[sk];
	struct lot_msg m = { .hdr = { LOT_MAGIC, LOT_FAR, 1 } };
	struct sockbuf b = view(x, sk);
	struct swap s;
	int fd = look_at_swap(f->r.far, &s), old = f->r.far, lot;
	char junk[PLUG_BYTES];

	m.far[0] = (struct lot_far){ .sk = f->kind == FAR_ACTIVE ? sk : LOT_SPARE, .gen = f->gen, .cookie = s.cookie };
	if (f->kind == FAR_ACTIVE)
		m.far[0].nonce = x->d.sock->ctl[sk].nonce;
	if (fd < 0 || fd >= x->fd_max || (lot = lots_put(&x->lots, &m, &fd, 1, LOTS_MAX)) < 0) {
		if (fd >= 0)
			close(fd);
		return recv(old, junk, sizeof(junk), MSG_DONTWAIT) > 0;	/* who gave it sees the end */
	}
	if (!(load_relaxed(&b.s->plain) & PLAIN_RX) && tcp_plain_serve(&x->t, sk)) {
		close(fd);
		return false;
	}
	store_release(&x->d.tcp->near_cookie[sk], s.cookie);
	if (epoll_ctl(x->epfd, EPOLL_CTL_DEL, old, NULL) < 0 || recv(old, junk, sizeof(junk), MSG_DONTWAIT) < 0)
		log_warn("a pair that was replaced: %s", strerror(errno));
	shutdown(old, SHUT_RDWR);	/* a parked copy of it lives on for a while */
	close(old);
	lot_entry_died(x, f->lot);
	f->r = (struct ready){ .far = fd };
	f->cookie = s.cookie;
	f->lot = (u16)lot;
	f->unread = false;
	if (far_watch(x, fd, EV_FAR, sk, f->gen, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET))
		log_warn("a new pair cannot be watched: %s", strerror(errno));
	return true;
}

/* Bytes the application had published in its own ring before it saw the switch. */
static void take_over(struct sockbuf *b, struct tcp_plain *p, u8 *ring)
{
	u64 at = reached(p->tx, &p->tx_which), from = p->tx[load_relaxed(&p->tx_which) & 1].client;
	u64 n = load_acquire(&b->c->tx_head) - from, space = b->tx_size - (at - load_relaxed(&b->s->tx_tail));

	if (!n || n > b->tx_size)
		return;		/* none, or nonsense, which is nobody's loss but its own */
	n = MIN(n, space);
	for (u64 i = 0; i < n;) {
		size_t src = (from + i) & (b->tx_size - 1), l = MIN(n - i, (u64)b->tx_size - src);

		bytes_in(ring, b->tx_size, at + i, b->tx + src, l);
		i += l;
	}
	next_rec(p->tx, &p->tx_which, at + n, from + n);
}

/* True: there may be more. *ret_end: nobody will write any more. */
static bool take_some(struct tcpd *x, u32 sk, struct sockbuf *b, struct tcp_plain *p, u8 *ring, bool *ret_end)
{
	static u8 seen[SCRATCH];
	struct far *f = &x->far[sk];
	u64 at = reached(p->tx, &p->tx_which), used = at - load_relaxed(&b->s->tx_tail), limit = sockbuf_tx_limit(b);
	u64 space = used < limit ? limit - used : 0;
	ssize_t n = recv(f->r.far, seen, sizeof(seen), MSG_PEEK | MSG_DONTWAIT);
	struct iovec v[2];

	if (n <= 0) {
		f->unread |= n < 0 && errno == ECONNRESET;	/* it went without having read everything */
		*ret_end = n == 0 || errno == ECONNRESET;
		return false;
	}
	u64 nonce = load_relaxed(&b->s->nonce);
	size_t plug = find_plug(seen, (size_t)n, PLUG_MAGIC, nonce), other = find_plug(seen, (size_t)n, SWAP_MAGIC, nonce);
	if (plug == 0)
		return recv(f->r.far, seen, PLUG_BYTES, MSG_DONTWAIT) > 0;
	if (other == 0)
		return swap(x, sk);
	size_t to = MIN(MIN(plug, other), space);
	if (!to)
		return false;		/* the rest stays in the kernel, and stops who writes it */
	struct plain_rec *r = next_rec(p->tx, &p->tx_which, at, p->tx[load_relaxed(&p->tx_which) & 1].client);
	r->m.msg_hdr = (struct msghdr){ .msg_iov = v, .msg_iovlen = pieces(v, ring, b->tx_size, at, to) };
	if (recvmmsg(f->r.far, &r->m, 1, MSG_DONTWAIT, NULL) != 1) {
		f->unread |= errno == ECONNRESET;	/* told before the bytes, once: they are next */
		return errno == ECONNRESET;
	}
	return true;
}

/* ---- the pump ---- */

/* No holder is left (or both directions are shut down, which comes to the same). */
static bool hung_up(int far)
{
	struct pollfd p = { .fd = far };

	return poll(&p, 1, 0) == 1 && p.revents & POLLHUP;
}

/* After everything is over. True: the socket is gone. */
static bool over(struct tcpd *x, u32 sk, const struct sockbuf *b, const struct tcp_plain *p, bool end)
{
	struct far *f = &x->far[sk];
	bool closed = load_relaxed(&b->s->state) == SKS_CLOSED;

	if (f->offered && (end || closed))
		offer_claimed(x, sk);	/* or what was read of it would not count, and the end be a reset */
	if (end && hung_up(f->r.far)) {
		if (f->unread)
			tcp_abort(&x->t, sk, ECONNRESET);	/* RFC 2525 2.17 */
		tcp_orphan(&x->t, sk);
		return true;
	}
	if (!closed)
		return false;
	bool nobody = hung_up(f->r.far);
	shutdown(f->r.far, SHUT_RD);
	u64 head = load_relaxed(&b->s->rx_head), fin = load_relaxed(&b->s->fin);
	if (load_relaxed(&b->s->plain) & PLAIN_RX && reached(p->rx, &p->rx_which) < (fin ? MIN(head, fin - 1) : head) && !nobody)
		return false;
	shutdown(f->r.far, SHUT_RDWR);
	tcp_orphan(&x->t, sk);
	return true;
}

void plain_pump(struct tcpd *x, u32 sk)
{
	struct sockbuf b = view(x, sk);
	struct tcp_plain *p = &x->d.tcp->plain[sk];
	u8 *ring = arena_plain(x->t.arena[SK_ARENA(sk)].stack, SK_SLOT(sk), b.rx_size, b.tx_size);
	bool end = false;

	if (!(load_relaxed(&b.s->plain) & PLAIN_RX)) {
		store_relaxed(&p->c.rx_tail, load_acquire(&b.c->rx_tail));	/* who reads has the shim */
		if (!unasked(x, sk, &b))
			return;
	}
	take_over(&b, p, ring);
	while (take_some(x, sk, &b, p, ring, &end))
		;
	store_relaxed(&p->c.opts, load_relaxed(&b.c->opts));
	store_release(&p->c.tx_head, reached(p->tx, &p->tx_which));
	if ((end || load_relaxed(&b.c->fin_at)) && !load_relaxed(&p->c.fin_at)) {
		store_relaxed(&p->c.shut, load_relaxed(&p->c.shut) | SKC_SHUT_WR);
		store_release(&p->c.fin_at, load_relaxed(&p->c.tx_head) + 1);
	}
	if (load_relaxed(&b.s->plain) & PLAIN_RX)
		deliver(x, sk, &b, p);
	if (over(x, sk, &b, p, end))
		return;
	tcp_kick(&x->t, sk);
	x->unsent = true;
}

/* A kick. True: nothing else is to be done about it, there are no tokens or there is no socket any more. */
bool plain_kicked(struct tcpd *x, u32 sk)
{
	struct sockbuf b = view(x, sk);

	if (load_relaxed(&b.c->plain) & 3 || load_relaxed(&b.s->plain) & PLAIN_QUIET)
		answer(x, sk, &b);
	if (!x->far[sk].kind || !is_plain(x, sk))
		return false;
	plain_pump(x, sk);
	return !x->far[sk].kind || load_relaxed(&b.s->plain) & PLAIN_RX;
}

/* Bytes that are no plug, from a holder who did not announce himself. */
bool plain_foreign(struct tcpd *x, u32 sk)
{
	if (tcp_plain_begin(&x->t, sk))
		return false;
	x->far[sk].r.plugged = false;
	count(x->d.counters, TCP_PLAIN);
	plain_pump(x, sk);
	return true;
}
