/* pcap.c – what the client's interface would have seen, as a capture file: raw IPv4, nanoseconds.
 *
 * Its own segments when they leave, also those the wire loses; the server's when they arrive. ICMP errors are left out. */
#include "sim.h"

#include "common/csum.h"

static void put32(u8 *p, u32 v) { memcpy(p, &v, 4); }
static void put_be16(u8 *p, u32 v)
{
	p[0] = (u8)(v >> 8);
	p[1] = (u8)v;
}

FILE *pcap_open(const char *file)
{
	static const u32 head[] = { 0xa1b23c4d, 4u << 16 | 2, 0, 0, 65535, 101 /* LINKTYPE_RAW */ };
	FILE *f = fopen(file, "w");

	if (f && fwrite(head, sizeof(head), 1, f) != 1) {
		fclose(f);
		return NULL;
	}
	return f;
}

void pcap_packet(struct sim *s, const struct packet *p)
{
	u8 rec[16], ip[20] = { 0x45, p->cb.tos, 0, 0, 0, 0, 0x40, 0, p->cb.ttl, 6 };
	u32 len = p->len + 20;
	u16 sum;

	if (!s->pcap || p->type != SKB_PACKET)
		return;
	put32(rec, (u32)(s->now / NSEC_PER_SEC));
	put32(rec + 4, (u32)(s->now % NSEC_PER_SEC));
	put32(rec + 8, len);
	put32(rec + 12, len);
	put_be16(ip + 2, len);
	memcpy(ip + 12, &p->cb.saddr, 4);
	memcpy(ip + 16, &p->cb.daddr, 4);
	sum = csum_fold(csum_partial(ip, 20, 0));
	memcpy(ip + 10, &sum, 2);
	fwrite(rec, 16, 1, s->pcap);
	fwrite(ip, 20, 1, s->pcap);
	fwrite(p->data, p->len, 1, s->pcap);
}
