/* sk_loop.c – one pass of tcpd: everything that may have happened, in the order that wastes least.
 *
 * Completions first (buffers for what follows), sockd's requests, applications' kicks (tx2), segments (rx6), offers,
 * timers, then everything is sent at once (tcp_flush), published, and the neighbours rung; last, readers are told (rx7).
 * Called by common/loop.c. */
#include "tcpd.h"

#define COMPACT_PASSES 64u	/* without an idle one between them */

static bool devices_changed(struct tcpd *x) { return load_relaxed(&x->d.ip->dev_seq) != x->dev_seq; }

u32 tcpd_poll(void *arg, u32 budget)
{
	struct tcpd *x = arg;
	u32 work, done;

	x->pass++;
	x->t.now = x->d.loop.now;
	if (unlikely(devices_changed(x))) {
		x->dev_seq = load_acquire(&x->d.ip->dev_seq);	/* pairs with the release in ipd's link_set_finish() */
		tcp_routes_changed(&x->t);
	}
	work = done = rings_completions(x);
	work += mbox_poll(x);
	work += kicks_poll(x);
	work += rings_receive(x, budget);
	if (x->noffered)
		offers_look_for_claims(x, 64);
	offers_run(x);
	plain_timers(x);
	if (done || (x->blocked && ring_space(&x->tcp_ip))) {
		x->blocked = false;
		ring_clear_want(&x->tcp_ip);
		tcp_resume(&x->t);
	}
	u64 next = tcp_run_timers(&x->t);
	tcp_flush(&x->t);
	rings_publish(x);
	if (ring_dirty(&x->hints_out) || x->hints_lost)
		work += mbox_poll(x);	/* requests that came meanwhile: another pass, before anybody sleeps */
	if (!work) {
		if (x->unsent)
			tcp_lots_compact(x, false);
		x->unsent = false;
	} else if (x->pass % COMPACT_PASSES == 0) {
		tcp_lots_compact(x, true);
	}
	fars_tell(x);
	loop_deadline(&x->d.loop, next);
	return work;
}

/* Sleep has been declared, in the page that daemons and applications see; the loop's fence pairs with the one between an
 * application's kick and its look at `sleeping`. Everybody's last words are looked at. */
bool tcpd_pending(void *arg)
{
	struct tcpd *x = arg;

	return x->unsent || x->nnews || devices_changed(x) || rings_pending(x) || mbox_pending(x) || kicks_pending(x);
}
