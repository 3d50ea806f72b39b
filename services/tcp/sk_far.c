/* sk_far.c – rx7: the far ends of the sockets' pairs. The protocol is common/readiness.c; here are their lives.
 *
 * One epoll set (EPOLLIN | EPOLLRDHUP | EPOLLET) that itself is in the loop: far ends, lots. A far
 * end is parked as well, so closing ours neither ends it nor takes it out of the set: far_drop() does that by name.
 * HUP: no copy of the application's descriptor is left, however it died; or we have shut the far end down: ready_gone(). */
#include "tcpd.h"
#include "common/log.h"

#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define EVENTS 128
#define EV_DATA(kind, gen, index) ((u64)(kind) << 56 | (u64)((gen) & 0xffffffu) << 32 | (index))

int far_watch(struct tcpd *x, int fd, u32 kind, u32 index, u32 gen, u32 events)
{
	struct epoll_event e = { .events = events, .data.u64 = EV_DATA(kind, gen, index) };

	if (epoll_ctl(x->epfd, EPOLL_CTL_ADD, fd, &e) < 0)
		return -errno;
	return 0;
}

int far_adopt(struct tcpd *x, u32 sk, u32 gen, enum far_kind kind, int fd, u64 cookie, u16 lot)
{
	struct far *f = &x->far[sk];
	struct sockbuf b = view(x, sk);
	u32 out = load_relaxed(&b.s->plain) & PLAIN_TX ? EPOLLOUT : 0;
	int r = far_watch(x, fd, EV_FAR, sk, gen, EPOLLIN | EPOLLRDHUP | EPOLLET | out);

	if (r)
		return r;
	*f = (struct far){ .kind = kind, .gen = gen, .near = -1, .lot = lot, .cookie = cookie };
	ready_attach(&f->r, &b, fd);
	plain_adopted(x, sk);
	return 0;
}

void far_drop(struct tcpd *x, u32 sk)
{
	struct far *f = &x->far[sk];

	if (!f->kind)
		return;
	if (epoll_ctl(x->epfd, EPOLL_CTL_DEL, f->r.far, NULL) < 0)
		log_warn("epoll_ctl: %s", strerror(errno));
	close(f->r.far);
	if (f->near >= 0)
		close(f->near);
	if (load_relaxed(&x->d.tcp->near_cookie[sk]))
		store_release(&x->d.tcp->near_cookie[sk], 0);
	if (f->kind == FAR_ACCEPTED)
		offer_forget(x, sk);
	plain_dropped(x, sk);
	lot_entry_died(x, f->lot);
	*f = (struct far){ 0 };
}

void far_rewatch(struct tcpd *x, u32 sk)
{
	struct far *f = &x->far[sk];
	struct epoll_event e = { .events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.u64 = EV_DATA(EV_FAR, f->gen, sk) };

	if (f->kind && epoll_ctl(x->epfd, EPOLL_CTL_MOD, f->r.far, &e) < 0)
		log_warn("epoll_ctl: %s", strerror(errno));
}

/* A listener is told when its application has taken an offer: OUT. */
void far_listens(struct tcpd *x, u32 sk)
{
	far_rewatch(x, sk);
	listener_ready(x, sk);
}

/* A connect() that was refused at once: its plug comes out again, no state will. */
void far_unplug(struct tcpd *x, u32 sk)
{
	struct far *f = &x->far[sk];
	char junk[4096];

	if (!f->kind)
		return;
	f->r.plugged = false;
	while (recv(f->r.far, junk, sizeof(junk), MSG_DONTWAIT) == sizeof(junk))
		;
}

/* ---- what TCP says ---- */

static bool has(struct tcpd *x, u32 sk) { return x->far[sk].kind != FAR_NONE; }

/* To be looked at when the pass ends. */
static void note(struct tcpd *x, u32 sk)
{
	if (x->far[sk].news)
		return;
	x->far[sk].news = true;
	if (x->nnews == SK_MAX)
		fars_tell(x);
	x->news[x->nnews++] = sk;
}

void op_data_ready(void *ctx, u32 sk)
{
	struct tcpd *x = ctx;

	if (!has(x, sk))
		return;
	count(x->d.counters, FLOW_RX7_DATA_READY);
	note(x, sk);
}

/* The end of a pass: readers are told once, of all that it brought. Told at the first segment, a reader on our CPU ran
 * at once, read that one and slept: a token for two of three segments of a bulk stream; now for one of several. */
void fars_tell(struct tcpd *x)
{
	for (u32 i = 0; i < x->nnews; i++) {
		u32 sk = x->news[i];

		if (!has(x, sk) || !x->far[sk].news)
			continue;
		struct sockbuf b = view(x, sk);
		u32 sent = load_relaxed(&b.s->sent);
		x->far[sk].news = false;
		if (!(load_relaxed(&b.s->plain) & PLAIN_RX))
			ready_data(&x->far[sk].r, &b);
		if (load_relaxed(&b.s->plain) & PLAIN_TX) {
			plain_pump(x, sk);
			continue;	/* it may be gone */
		}
		count_n(x->d.counters, TCP_TOKENS, load_relaxed(&b.s->sent) - sent);
	}
	x->nnews = 0;
}

void op_write_space(void *ctx, u32 sk)
{
	struct tcpd *x = ctx;

	if (has(x, sk) && is_plain(x, sk))
		note(x, sk);
	if (!has(x, sk) || !x->far[sk].r.plugged)
		return;
	struct sockbuf b = view(x, sk);
	ready_space(&x->far[sk].r, &b);
	if (!x->far[sk].r.plugged)
		count(x->d.counters, TCP_PLUGS);
}

void op_state_change(void *ctx, u32 sk)
{
	struct tcpd *x = ctx;

	if (!has(x, sk))
		return;
	struct sockbuf b = view(x, sk);
	if (load_relaxed(&b.s->plain) & PLAIN_TX)
		note(x, sk);
	else
		ready_state(&x->far[sk].r, &b);
}

void op_error_report(void *ctx, u32 sk)
{
	struct tcpd *x = ctx;

	if (!has(x, sk))
		return;
	struct sockbuf b = view(x, sk);
	ready_error(&x->far[sk].r, &b);
}

void op_freed(void *ctx, u32 sk)
{
	struct tcpd *x = ctx;
	u32 gen = x->far[sk].gen;
	bool had = has(x, sk);

	/* Before the descriptor goes: whoever finds it parked must know that it is dead. */
	if (SK_SLOT(sk) < ARENA_ACTIVE && had)
		store_release(&x->d.tcp->ans[sk].freed_gen, gen);
	far_drop(x, sk);
	if (SK_SLOT(sk) < ARENA_ACTIVE || arena_slot_back(x, sk))
		mbox_hint(x, sk);
}

/* ---- what applications say ---- */

void sk_kicked(struct tcpd *x, u32 sk)
{
	if (!has(x, sk))
		return;
	if (x->far[sk].offered)
		offer_claimed(x, sk);
	tcp_kick(&x->t, sk);
	if (!has(x, sk))
		return;		/* what it wrote made no sense, or ended the connection */
	if (plain_kicked(x, sk))
		return;
	struct sockbuf b = view(x, sk);
	ready_kick(&x->far[sk].r, &b);
	if (load_relaxed(&b.s->state) == SKS_LISTEN)
		listener_ready(x, sk);
}

static void far_input(struct tcpd *x, u32 sk)
{
	struct sockbuf b = view(x, sk);

	if (load_relaxed(&b.s->state) == SKS_LISTEN)
		return;
	if (ready_input(&x->far[sk].r, &b) == READY_FOREIGN) {
		if (plain_foreign(x, sk))
			return;
		count(x->d.counters, TCP_CLIENT_NONSENSE);
		tcp_abort(&x->t, sk, ECONNRESET);
		return;
	}
	sk_kicked(x, sk);
}

static void far_event(struct tcpd *x, u32 sk, u32 gen, u32 events)
{
	struct far *f = &x->far[sk];

	if (!has(x, sk) || (f->gen & 0xffffffu) != gen)
		return;		/* an event of who lived here before */
	if (events & EPOLLIN && !is_plain(x, sk))
		far_input(x, sk);
	if (!has(x, sk))
		return;
	if (is_plain(x, sk)) {
		plain_pump(x, sk);	/* also when the last holder is gone: what he wrote comes first */
		return;
	}
	if (events & EPOLLOUT)
		listener_ready(x, sk);
	if (!(events & EPOLLHUP) || !ready_gone(&f->r))
		return;
	sk_kicked(x, sk);	/* bytes written last, whose kick did not come any more */
	if (!has(x, sk))
		return;
	if (f->offered && !offer_claimed(x, sk))
		offer_hung_up(x, sk);
	else
		tcp_orphan(&x->t, sk);
}

void fars_event(void *arg, u32 unused)
{
	struct tcpd *x = arg;
	struct epoll_event e[EVENTS];
	int n;

	x->t.now = clock_ns();
	do {
		n = epoll_wait(x->epfd, e, EVENTS, 0);
		for (int i = 0; i < n; i++) {
			u32 kind = (u32)(e[i].data.u64 >> 56), gen = (u32)(e[i].data.u64 >> 32) & 0xffffffu;
			u32 index = (u32)e[i].data.u64;

			if (kind == EV_FAR)
				far_event(x, index, gen, e[i].events);
			else
				tcp_lot_event(x, index);
		}
	} while (n == EVENTS);
	x->unsent = true;
}

int fars_open(struct tcpd *x)
{
	struct rlimit files;

	if (getrlimit(RLIMIT_NOFILE, &files) < 0)
		return -errno;
	x->fd_max = (int)MIN(files.rlim_cur, 1u << 30) - FD_RESERVE;
	x->epfd = epoll_create1(EPOLL_CLOEXEC);
	return x->epfd < 0 ? -errno : 0;
}
