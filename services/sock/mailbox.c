/* mailbox.c – tx1: requests to tcpd, one per socket at a time. proto/shm/sock.h describes the protocol.
 *
 * A request is state, not a message: op_seq != done_seq. Hints only say where to look first; when the hint ring is
 * full the other side is told to look everywhere. Called by call.c (post) and the loop (poll). */
#include "sockd.h"
#include "common/log.h"

int mailbox_open(struct sockd *s)
{
	struct sock_shm *o = s->d.sock;
	struct tcp_shm *t = s->d.tcp;

	ring_attach_producer(&s->to_tcp, &o->sock_tcp, &t->sock_tcp, o->sock_tcp_slots, SOCK_HINTS, sizeof(u32));
	ring_attach_consumer(&s->from_tcp, &t->tcp_sock, &o->tcp_sock, t->tcp_sock_slots, SOCK_HINTS, sizeof(u32));
	s->hints_lost = true;	/* a start is a restart: tcpd looks at every mailbox once */
	return loop_add_poller(&s->d.loop, mailbox_poll, mailbox_pending, s);
}

void mailbox_hint(struct sockd *s, u32 what)
{
	u32 *slot = s->hints_lost ? NULL : ring_reserve(&s->to_tcp);

	if (slot)
		*slot = what;
	else
		s->hints_lost = true;
	ring_publish(&s->to_tcp);
	daemon_ring(&s->d, REGION_TCP);
}

bool mailbox_busy(const struct sockd *s, u32 sk)
{
	return load_relaxed(&s->d.sock->ctl[sk].op_seq) != load_acquire(&s->d.tcp->ans[sk].done_seq);
}

u32 mailbox_post(struct sockd *s, u32 sk)
{
	struct sk_ctl *ctl = &s->d.sock->ctl[sk];
	u32 seq = load_relaxed(&ctl->op_seq) + 1;

	store_release(&ctl->op_seq, seq);	/* pairs with the acquire in tcpd's mbox_look() */
	mailbox_hint(s, sk);
	return seq;
}

static void calls_advance(struct sockd *s)
{
	struct client *next;

	for (struct client *c = s->calls; c; c = next) {
		next = c->call_next;
		call_advance(s, c);
	}
}

/* Everything tcpd may have let go of. */
static void reap_all(struct sockd *s)
{
	BIT_EACH(a, s->live, ARENA_MAX) {
		SLOT_USED_EACH(i, s, a)
			slot_reap(s, SK(a, i));
		arena_look(s, a);
	}
}

static void take_hint(struct sockd *s, u32 what)
{
	if (what == SOCK_HINT_SCAN) {
		reap_all(s);
	} else if (what & SOCK_HINT_ARENA) {
		u32 app = what & ~SOCK_HINT_ARENA;

		if (app >= ARENA_MAX || !arena_live(s, app))
			return;
		struct sock_arena *a = &s->d.sock->arena[app];
		struct cred who = { .uid = a->uid, .pid = a->pid };
		int r = arena_new(s, &who, a->app);
		if (r < 0)
			log_warn("no arena for more accepted connections of pid %u (%s): %s", a->pid, a->comm, strerror(-r));
	} else if (what < SK_MAX && arena_live(s, SK_ARENA(what))) {
		slot_reap(s, what);
		arena_look(s, SK_ARENA(what));
	}
}

u32 mailbox_poll(void *arg, u32 budget)
{
	struct sockd *s = arg;
	u32 n = ring_count(&s->from_tcp);

	for (u32 i = 0; i < n; i++) {
		u32 what = *(const u32 *)ring_peek(&s->from_tcp);
		ring_next(&s->from_tcp);
		take_hint(s, what);
	}
	ring_release(&s->from_tcp);
	if (n)
		calls_advance(s);
	if (s->admin)
		admin_poll(s);
	if (s->hints_lost && ring_space(&s->to_tcp)) {
		s->hints_lost = false;
		mailbox_hint(s, SOCK_HINT_SCAN);
	}
	if (s->more)
		clients_event(s, 0);
	if (s->d.loop.now >= s->retire_at) {
		s->retire_at = s->d.loop.now + NSEC_PER_SEC;
		arenas_retire(s);
	}
	loop_deadline(&s->d.loop, s->hints_lost || s->more ? s->d.loop.now + NSEC_PER_MSEC : s->retire_at);
	return n;
}

bool mailbox_pending(void *arg)
{
	struct sockd *s = arg;

	return ring_count(&s->from_tcp) ||
	       (s->admin && load_acquire(&s->d.ip->admin_ans.done) == load_relaxed(&s->d.sock->ip_admin.seq));
}
