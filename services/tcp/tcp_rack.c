/* tcp_rack.c – RACK (RFC 8985): what was sent well before something delivered, and is not delivered, is lost. rx6. */
#include "services/tcp/path.h"

/* A record was delivered: the most recently sent of those is the reference. */
void tcp_rack_advance(struct tcp_conn *c, const struct tcp_rec *r)
{
	u32 rtt = (u32)MIN((c->t->now - r->xmit) / 1000, UINT32_MAX);

	/* RFC 8985 6.2 step 2: the ACK may be of the original, not of the retransmission */
	if (r->flags & REC_EVER && rtt < c->min_rtt_us)
		return;
	if (r->xmit > c->rack_xmit || (r->xmit == c->rack_xmit && after(r->end, c->rack_end))) {
		c->rack_xmit = r->xmit;
		c->rack_end = r->end;
		c->rack_rtt_us = rtt;
	}
}

/* RFC 8985 6.2 step 4 */
static u64 reo_wnd(const struct tcp_conn *c)
{
	u64 w = (u64)c->min_rtt_us / 4 * c->rack_steps;

	if (!c->reord_seen && (c->ca_state >= CA_RECOVERY || c->sacked_out >= 3))
		return 0;
	return MIN(w, (u64)(c->srtt8_us >> 3)) * 1000;
}

void tcp_mark_lost(struct tcp_conn *c, struct tcp_rec *r)
{
	if (r->flags & REC_SACKED)
		return;
	if (r->flags & REC_RETRANS) {
		c->retrans_out -= r->pcount;
		r->flags &= (u8)~REC_RETRANS;
		c->lost += r->pcount;
	}
	if (!(r->flags & REC_LOST)) {
		r->flags |= REC_LOST;
		c->lost_out += r->pcount;
		c->lost += r->pcount;
	}
}

bool tcp_rack_detect_loss(struct tcp_conn *c)
{
	u64 reo = reo_wnd(c), wait = 0, now = c->t->now;
	bool lost = false;

	if (!c->rack_xmit)
		return false;
	for (struct tcp_rec *r = c->head; r; r = r->next) {
		u64 due;

		if (r->flags & REC_SACKED || (r->flags & (REC_LOST | REC_RETRANS)) == REC_LOST)
			continue;
		if (r->xmit > c->rack_xmit || (r->xmit == c->rack_xmit && !before(r->end, c->rack_end)))
			continue;
		due = r->xmit + (u64)c->rack_rtt_us * 1000 + reo;
		if (due <= now) {
			tcp_mark_lost(c, r);
			lost = true;
		} else {
			wait = MAX(wait, due - now);
		}
	}
	if (wait) {
		c->cf |= CF_RACK_TIMER;
		timer_arm(&c->t->soft->wheel, &c->rtx, now + wait + MSEC);
	} else if (c->cf & CF_RACK_TIMER) {
		c->cf &= ~(u32)CF_RACK_TIMER;
		tcp_rearm_rto(c);
	}
	return lost;
}
