/* wire.c – the seeded wire: cuts GSO packets as a device would, then loses, delays, reorders, repeats and damages;
 * a narrower place on the way answers what does not fit with an ICMP error (RFC 1191). */
#include "sim.h"

#include <stdio.h>
#include <stdlib.h>

#include "common/csum.h"
#include "proto/wire/tcp.h"

#define BURST_NS (100 * NSEC_PER_MSEC)	/* a burst is a bad time of the wire, not a fate of the packets that follow */

static bool earlier(const struct packet *a, const struct packet *b)
{
	return a->at != b->at ? a->at < b->at : a->order < b->order;
}

static void heap_push(struct sim *s, struct packet *p)
{
	u32 i;

	if (s->nheap == s->heapcap) {
		s->heapcap = s->heapcap ? s->heapcap * 2 : 256;
		s->heap = realloc(s->heap, s->heapcap * sizeof(*s->heap));
		assert(s->heap);
	}
	for (i = s->nheap++; i && earlier(p, s->heap[(i - 1) / 2]); i = (i - 1) / 2)
		s->heap[i] = s->heap[(i - 1) / 2];
	s->heap[i] = p;
}

struct packet *wire_next(struct sim *s)
{
	return s->nheap ? s->heap[0] : NULL;
}

void wire_pop(struct sim *s)
{
	struct packet *last = s->heap[--s->nheap];
	u32 i = 0, c;

	while ((c = 2 * i + 1) < s->nheap) {
		if (c + 1 < s->nheap && earlier(s->heap[c + 1], s->heap[c]))
			c++;
		if (!earlier(s->heap[c], last))
			break;
		s->heap[i] = s->heap[c];
		i = c;
	}
	if (s->nheap)
		s->heap[i] = last;
}

void wire_trace(struct sim *s, const char *what, u8 to, const u8 *tcp, u32 len)
{
	const struct tcp_hdr *h = (const struct tcp_hdr *)tcp;
	u32 hl = (u32)(h->doff_res >> 4) * 4;
	const char *names = "FSRPAUEC";
	char flags[9];
	int n = 0;

	if (!s->trace)
		return;
	for (int i = 0; i < 8; i++)
		if (h->flags & 1 << i)
			flags[n++] = names[i];
	flags[n] = 0;
	printf("# %12.6f %-9s %s %-4s seq %u len %u ack %u win %u opt %u\n", (double)s->now / 1e9, what,
	       to ? "->" : "<-", flags, from_be32(h->seq), len - hl, from_be32(h->ack_seq), from_be16(h->window), hl - 20);
}

/* An exact copy, so that AddressSanitizer sees a read beyond its end. */
struct packet *wire_inject(struct sim *s, u8 to, const struct packet *src, u64 at)
{
	struct packet *p = malloc(sizeof(*p) + src->len);

	assert(p);
	memcpy(p, src, sizeof(*p) + src->len);
	p->at = at;
	p->order = s->order++;
	p->to = to;
	heap_push(s, p);
	return p;
}

static void put_on_wire(struct sim *s, u8 to, const struct packet *src, u64 at)
{
	struct packet *p = wire_inject(s, to, src, at);

	if (sim_chance(s, s->wire[!to].corrupt)) {
		sim_excuse(s);
		p->damaged = true;
		p->data[sim_below(s, p->len)] ^= (u8)(1 << sim_below(s, 8));
		wire_trace(s, "DAMAGED", to, p->data, p->len);
	}
}

/* A router that would rather mark than drop. */
static void mark(struct sim *s, u8 to, struct packet *p)
{
	if (!(p->cb.tos & 3) || !sim_chance(s, s->wire[!to].mark))
		return;
	p->cb.tos |= 3;
	s->marked++;
	wire_trace(s, "MARKED", to, p->data, p->len);
}

static bool in_burst(struct sim *s, u8 to)
{
	struct wire_conf *w = &s->wire[!to];

	if (s->now > s->wire_burst_end[!to])
		s->wire_burst[!to] = 0;
	if (s->wire_burst[!to]) {
		s->wire_burst[!to]--;
		return true;
	}
	if (!sim_chance(s, w->loss))
		return false;
	if (w->burst) {
		s->wire_burst[!to] = (u32)sim_below(s, w->burst);
		s->wire_burst_end[!to] = s->now + BURST_NS;
	}
	return true;
}

/* A token bucket of a second's worth: what comes faster for longer is dropped, not queued. */
static bool policed(struct sim *s, u8 to, const struct packet *p)
{
	u64 rate = s->wire[!to].police, *at = &s->wire_tokens_at[!to], cost;

	if (!rate)
		return false;
	cost = (p->len + 34) * NSEC_PER_SEC / rate;
	*at = MAX(*at, s->now - NSEC_PER_SEC);
	if (*at + cost > s->now)
		return true;
	*at += cost;
	return false;
}

static bool lost(struct sim *s, u8 to, const struct packet *p)
{
	u32 every = s->wire[!to].every, hl = (u32)(p->data[12] >> 4) * 4;

	if (every && p->len > hl && ++s->wire_data[!to] % every == 0)
		return true;
	return in_burst(s, to) || policed(s, to, p) || (s->drop && s->drop(s, to, p));
}

/* What does not fit is dropped, and the sender told, if the answer arrives. */
static bool too_big(struct sim *s, u8 to, const struct packet *p)
{
	struct packet *e;

	if (!s->path_mtu || p->len + 20 <= s->path_mtu || !p->df)
		return false;	/* without DF a router cuts it, and the host joins it again */
	sim_excuse(s);
	wire_trace(s, "TOOBIG", to, p->data, p->len);
	if (s->black_hole || sim_chance(s, s->wire[to].loss))
		return true;
	e = wire_inject(s, !to, p, s->now + s->wire[!to].delay);
	e->type = SKB_ICMP_ERROR;
	e->len = 8;
	e->cb.icmp_type = 3;
	e->cb.icmp_code = 4;
	e->cb.icmp_mtu = s->path_mtu;
	return true;
}

/* One segment as it is on the wire: when does it arrive, if at all? */
static void transmit(struct sim *s, u8 to, struct packet *p)
{
	struct wire_conf *w = &s->wire[!to];
	u64 start = MAX(s->now, s->wire_busy[!to]), tx = w->bytes_per_sec ? (p->len + 34) * NSEC_PER_SEC / w->bytes_per_sec : 0;
	u64 at;

	s->packets++;
	if (s->hook)
		s->hook(s, to, p);
	check_sent(s, !to, p);
	if (to)
		pcap_packet(s, p);
	if (w->queue && tx && start - s->now > w->queue * ((s->mtu + 14) * NSEC_PER_SEC / w->bytes_per_sec)) {
		sim_excuse(s);
		wire_trace(s, "QUEUEDROP", to, p->data, p->len);
		return;
	}
	s->wire_busy[!to] = start + tx;
	if (lost(s, to, p)) {
		sim_excuse(s);
		wire_trace(s, "LOST", to, p->data, p->len);
		return;
	}
	if (too_big(s, to, p))
		return;
	at = start + tx + w->delay + (w->jitter ? sim_below(s, w->jitter) : 0);
	if (sim_chance(s, w->reorder))
		at += sim_below(s, 4 * w->delay + 1000);
	if (w->bunch)
		at += w->bunch - at % w->bunch;
	mark(s, to, p);
	wire_trace(s, "sent", to, p->data, p->len);
	put_on_wire(s, to, p, at);
	if (sim_chance(s, w->dup))
		put_on_wire(s, to, p, at + sim_below(s, w->delay + 1));
}

/* What a device with TSO does: cut, number, fix flags, complete the checksum. */
void wire_send(struct sim *s, struct node *from, const struct sk_buff *skb, const u8 *data)
{
	const struct tx_cb *cb = (const struct tx_cb *)skb->hdr;
	const struct tcp_hdr *h = (const struct tcp_hdr *)data;
	u32 hl = (u32)(h->doff_res >> 4) * 4, payload, mss, done = 0;
	struct packet *p = malloc(sizeof(*p) + MIN(skb->len, 70000u));

	assert(p);
	if (skb->len < 20 || hl < 20 || hl > skb->len) {
		sim_fail(s, "segment of %u bytes with a header of %u", skb->len, hl);
		free(p);
		return;
	}
	payload = skb->len - hl;
	mss = skb->gso_size ? skb->gso_size : payload;
	if (mss + hl + 20 > s->mtu && payload)
		sim_fail(s, "segment of %u + %u bytes does not fit the MTU %u", mss, hl, s->mtu);
	p->type = SKB_PACKET;
	p->damaged = false;
	do {
		u32 n = MIN(mss, payload - done);
		struct tcp_hdr *o = (struct tcp_hdr *)p->data;

		p->cb = (struct ip_cb){ .saddr = cb->saddr, .daddr = cb->daddr, .protocol = 6, .ttl = 64, .tos = cb->tos };
		p->df = cb->df;
		memcpy(p->data, data, hl);
		memcpy(p->data + hl, data + hl + done, n);
		o->seq = to_be32(from_be32(h->seq) + done);
		if (done + n < payload)
			o->flags &= (u8)~(TCP_FIN | TCP_PSH);
		if (done)
			o->flags &= (u8)~TCP_CWR;
		p->len = hl + n;
		if (skb->ip_summed == CHECKSUM_PARTIAL) {
			o->check = 0;
			o->check = csum_fold(csum_partial(p->data, p->len, csum_pseudo(cb->saddr, cb->daddr, 6, p->len)));
		}
		transmit(s, !from->id, p);
		done += n;
	} while (done < payload);
	free(p);
}
