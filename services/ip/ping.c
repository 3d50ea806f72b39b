/* ping.c – echo requests for `strata ping`: one at a time, answered through the mailbox when the reply comes or time is up.
 *
 * Called by admin.c (start) and icmp.c (reply, error). A successor finds the request still open and pings again. */
#include "path.h"

#include <stdio.h>

#include "common/csum.h"

#define PING_ID_BASE 0x5354u

static void text_of(be32 a, char *s, size_t n)
{
	u32 v = from_be32(a);

	snprintf(s, n, "%u.%u.%u.%u", v >> 24, v >> 16 & 255, v >> 8 & 255, v & 255);
}

static void finish(struct ip_stack *st, int result, const char *text)
{
	timer_cancel(&st->wheel, &st->ping.timer);
	st->ping.active = false;
	admin_answer(st, result, text);
}

static void timeout(struct timer *t, void *arg, u64 now)
{
	finish(arg, -ETIMEDOUT, "no answer");
}

int ping_start(struct ip_stack *st, be32 daddr, u32 seq, u32 size, u32 timeout_ms, u8 ttl)
{
	struct ip_ping *p = &st->ping;
	struct icmp_hdr h = { .type = ICMP_ECHO };
	struct sk_buff skb;
	u8 *b = ip_alloc(st, size + (u32)sizeof(h), &skb);
	int r;

	if (!b)
		return -ENOBUFS;
	*p = (struct ip_ping){ .active = true, .admin_seq = load_acquire((_Atomic u32 *)&st->admin->seq), .daddr = daddr,
			       .id = (u16)(PING_ID_BASE ^ st->id_key), .seq = (u16)seq, .size = size, .sent = st->now,
			       .timer = { .fn = timeout } };
	h.id = to_be16(p->id);
	h.seq = to_be16(p->seq);
	for (u32 i = 0; i < size; i++)
		b[sizeof(h) + i] = (u8)i;
	memcpy(b, &h, sizeof(h));
	skb.len = size + (u32)sizeof(h);
	h.check = csum_fold(csum_partial(b, skb.len, 0));
	memcpy(b, &h, sizeof(h));
	timer_arm(&st->wheel, &p->timer, st->now + MIN(timeout_ms, 60000u) * NSEC_PER_MSEC);
	r = ip_build_and_send(st, &skb, (be32){ 0 }, daddr, IPPROTO_ICMP_, 0, ttl);
	if (r < 0) {
		timer_cancel(&st->wheel, &p->timer);
		p->active = false;
	}
	return r;
}

void ping_reply(struct ip_stack *st, const struct sk_buff *skb, u16 id, u16 seq, u32 bytes)
{
	const struct ip_skb_cb *c = (const struct ip_skb_cb *)skb->hdr;
	struct ip_ping *p = &st->ping;
	char from[16], text[160];
	u64 us = (st->now - p->sent) / NSEC_PER_USEC;

	if (!p->active || id != p->id || seq != p->seq || !be32_eq(c->iph.saddr, p->daddr))
		return;
	text_of(c->iph.saddr, from, sizeof(from));
	snprintf(text, sizeof(text), "%u bytes from %s: icmp_seq=%u ttl=%u time=%llu.%03llu ms", bytes, from, seq, c->iph.ttl,
		 (unsigned long long)us / 1000, (unsigned long long)us % 1000);
	finish(st, 0, text);
}

bool ping_ours(const struct ip_stack *st, u16 id, be32 daddr)
{
	return st->ping.active && id == st->ping.id && be32_eq(daddr, st->ping.daddr);
}

void ping_error(struct ip_stack *st, u16 id, u8 type, u8 code, be32 from)
{
	char who[16], text[160];

	if (!st->ping.active || id != st->ping.id)
		return;
	text_of(from, who, sizeof(who));
	snprintf(text, sizeof(text), "from %s: %s (code %u)", who,
		 type == ICMP_TIME_EXCEEDED ? "time to live exceeded" : type == ICMP_DEST_UNREACH ? "unreachable" : "parameter problem",
		 code);
	finish(st, -EHOSTUNREACH, text);
}
