/* ip_mutate.c – seeded mutation of ARP, IPv4, ICMP and fragments against the pure ipd; then it must be alive and leak nothing.
 *
 *	ip_mutate [--count N] [--seed S]
 *
 * Each frame is a good one of some kind with 0 to 8 mutations; half of them get their checksums mended, or nothing would pass the first
 * gate. Now and then the daemon dies and a successor attaches. Prints TAP; a failure names the seed to run again. */
#include <stdio.h>
#include <stdlib.h>

#include "common/csum.h"
#include "ip_feed.h"

static u8 frame[2048], body[2048];

static u32 good(struct host *h, u8 *how)
{
	be32 peer = A(10, 0, 0, host_rand(h) % 8), me = A(10, 0, 0, 1);
	u8 seg[64] = { 0x12, 0x34, 0, 80, [12] = 0x50 };
	u32 n = host_rand(h) % 600, frag = host_rand(h) % 16;

	*how = 0;
	for (u32 i = 0; i < 600; i += 4) {
		u32 r = host_rand(h);

		memcpy(body + i, &r, 4);
	}
	switch (host_rand(h) % 7) {
	case 0:
		*how = 2;
		return host_arp(frame, 1 + host_rand(h) % 2, (u8[6]){ 2, 0xaa, 10, 0, 0, (u8)host_rand(h) }, peer,
				host_rand(h) & 1 ? host_mac : (u8[6]){ 0 }, me);
	case 1:
		return host_ip(frame, peer, me, IPPROTO_TCP_, 1, IP_DF, body, n);
	case 2:
		return host_ip(frame, peer, me, IPPROTO_ICMP_, 1, 0, body, host_icmp(body, ICMP_ECHO, 0, 1, 1, body, n));
	case 3: {	/* an error, quoting a segment of ours */
		static const u8 type[] = { ICMP_DEST_UNREACH, ICMP_TIME_EXCEEDED, ICMP_PARAMETERPROB, ICMP_REDIRECT };
		u8 quote[100];
		u32 q = host_ip(quote, me, peer, host_rand(h) & 1 ? IPPROTO_TCP_ : IPPROTO_ICMP_, 1, IP_DF, seg, sizeof(seg));

		q = host_icmp(body, type[host_rand(h) % 4], (u8)(host_rand(h) % 6), 0, (u16)host_rand(h), quote, q);
		return host_ip(frame, peer, me, IPPROTO_ICMP_, 1, 0, body, q);
	}
	case 4:		/* fragments of few datagrams, so that they meet */
		frag %= 4;
		return host_ip(frame, A(10, 0, 0, 2), me, host_rand(h) & 1 ? IPPROTO_TCP_ : IPPROTO_ICMP_, (u16)(host_rand(h) % 4),
			       (u16)(frag * 8 | (frag < 3 ? IP_MF : 0)), body, 64);
	case 5:
		return host_ip(frame, peer, me, host_rand(h) & 1 ? IPPROTO_TCP_ : IPPROTO_ICMP_, (u16)(host_rand(h) % 4),
			       (u16)(frag * 8 | (host_rand(h) % 3 ? IP_MF : 0)), body, host_rand(h) % 3 ? 64 : n);
	default:
		return host_ip(frame, peer, me, (u8)host_rand(h), 1, 0, body, n);
	}
}

static void mend(u8 *b, u32 n)
{
	u32 ihl = (b[0] & 15u) * 4u;
	u16 c;

	if (n < 20 || ihl < 20 || ihl > n)
		return;
	if (b[9] == IPPROTO_ICMP_ && n >= ihl + 8) {
		b[ihl + 2] = b[ihl + 3] = 0;
		c = csum_fold(csum_partial(b + ihl, n - ihl, 0));
		memcpy(b + ihl + 2, &c, 2);
	}
	b[10] = b[11] = 0;
	c = csum_fold(csum_partial(b, ihl, 0));
	memcpy(b + 10, &c, 2);
}

static u32 mutate(struct host *h, u32 n)
{
	static const u8 magic[] = { 0, 1, 0x7f, 0x80, 0xff, 0x40, 0x45, 0x46, 0x4f, 131, 7, 68 };

	for (u32 k = host_rand(h) % 9; k && n; k--) {
		u32 at = host_rand(h) % (host_rand(h) % 3 ? MIN(n, 60u) : n);

		switch (host_rand(h) % 4) {
		case 0: frame[at] ^= (u8)(1 << host_rand(h) % 8); break;
		case 1: frame[at] = (u8)host_rand(h); break;
		case 2: frame[at] = magic[host_rand(h) % sizeof(magic)]; break;
		default:
			if (host_rand(h) % 4 == 0)
				n = host_rand(h) % (n + 1);
		}
	}
	return n;
}

int main(int argc, char **argv)
{
	u64 seed = 1, total = 100000;
	const char *wrong = NULL;
	struct host *h;

	for (int i = 1; i + 1 < argc; i += 2) {
		if (strcmp(argv[i], "--seed") == 0)
			seed = strtoull(argv[i + 1], NULL, 0);
		else if (strcmp(argv[i], "--count") == 0)
			total = strtoull(argv[i + 1], NULL, 0);
	}
	h = host_new();
	h->seed = seed * 0x9e3779b97f4a7c15ull | 1;
	puts("1..1");
	for (u64 i = 0; i < total && !wrong; i++) {
		u8 how, seg[40] = { [12] = 0x50 };
		u32 n = mutate(h, good(h, &how));

		if (how != 2 && host_rand(h) % 2)
			mend(frame, n);
		if (host_rand(h) % 16 == 0)
			how = (u8)host_rand(h);
		h->now += host_rand(h) % (20 * NSEC_PER_MSEC);
		if (host_rand(h) % 8 == 0)
			host_send(h, A(10, 0, 0, host_rand(h) % 16), seg, sizeof(seg), host_rand(h) & 1, 0);
		feed_frame(h, frame, n, how);
		if (host_rand(h) % 5000 == 0)
			host_restart(h);
		if (i % 20000 == 19999)
			wrong = feed_alive(h);
	}
	if (!wrong)
		wrong = feed_alive(h);
	printf("%s 1 - %llu mutated frames\n", wrong ? "not ok" : "ok", (unsigned long long)total);
	if (wrong)
		printf("# %s; again: ip_mutate --count %llu --seed %llu\n", wrong, (unsigned long long)total, (unsigned long long)seed);
	printf("# reassembled %llu, echo replies %llu, dropped: header %llu csum %llu martian %llu "
	       "options %llu fragments %llu\n", (unsigned long long)host_count(h, IP_REASM_OK),
	       (unsigned long long)host_count(h, ICMP_ECHO_REPLIES), (unsigned long long)host_count(h, DROP_IP_HEADER),
	       (unsigned long long)host_count(h, DROP_IP_CSUM), (unsigned long long)host_count(h, DROP_IP_MARTIAN),
	       (unsigned long long)host_count(h, DROP_IP_OPTIONS), (unsigned long long)host_count(h, DROP_FRAG_INVALID));
	host_free(h);
	return wrong != NULL;
}
