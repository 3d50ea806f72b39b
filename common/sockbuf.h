/* sockbuf.h – one process's view of arenas: where a socket's words and byte rings are.
 *
 * The stack side (tcpd, simulator) maps the stack half read-write and the client half read-only; an application
 * the other way round. Offsets are 64-bit stream offsets; a range may wrap once. Nothing here trusts a client:
 * lengths are the caller's, already validated against its private copies. */
#ifndef STRATA_SOCKBUF_H
#define STRATA_SOCKBUF_H

#include "proto/shm/arena.h"
#include "csum.h"

struct arena_map {
	struct arena_stack *stack;
	struct arena_client *client;
	u32 rx_size, tx_size;	/* powers of two, checked at mapping, never read again from shared memory */
	u32 id;
	bool used;
};

struct sockbuf {		/* a socket's view, made once per socket */
	struct sk_stack *s;
	struct sk_client *c;
	struct sk_errq *errq;
	u8 *rx, *tx;
	u32 rx_size, tx_size;
};

static inline void sockbuf_open(struct sockbuf *b, const struct arena_map *m, u32 slot)
{
	*b = (struct sockbuf){ &m->stack->sk[slot], &m->client->sk[slot], &m->stack->errq[slot],
			       arena_rx(m->stack, slot, m->rx_size), arena_tx(m->client, slot, m->tx_size),
			       m->rx_size, m->tx_size };
}

/* What of the rings is in use now (tcpd decides: services/tcp/tcp_buffer.c). */
static inline u32 sockbuf_tx_limit(const struct sockbuf *b)
{
	u32 limit = load_relaxed(&b->s->tx_limit);

	return limit && limit < b->tx_size ? limit : b->tx_size;
}

static inline u32 sockbuf_rx_limit(const struct sockbuf *b)
{
	u32 limit = load_relaxed(&b->s->rx_limit);

	return limit && limit < b->rx_size ? limit : b->rx_size;
}

/* memcpy() for blocks. glibc before 2.40 uses `rep movsb` from 8 KB on, and that is slow on Zen 4 when dst is 1 to 15
 * bytes ahead of src modulo 4096: measured 3.5 GB/s, this 50; a program's large buffer and a ring are often so. */
static inline void bytes_copy(void *to, const void *from, size_t n)
{
	typedef u64 block __attribute__((vector_size(16)));	/* SSE2, NEON: every machine of ours has it */
	const u8 *src = from;
	u8 *dst = to;

	for (; n >= 64; n -= 64, src += 64, dst += 64) {
		block a, b, c, d;

		memcpy(&a, src, 16);
		memcpy(&b, src + 16, 16);
		memcpy(&c, src + 32, 16);
		memcpy(&d, src + 48, 16);
		memcpy(dst, &a, 16);
		memcpy(dst + 16, &b, 16);
		memcpy(dst + 32, &c, 16);
		memcpy(dst + 48, &d, 16);
	}
	memcpy(dst, src, n);
}

/* Copy n bytes at stream offset `off` out of / into a ring of power-of-two size. */
static inline void bytes_out(void *dst, const u8 *ring, u32 size, u64 off, size_t n)
{
	size_t at = off & (size - 1), first = MIN(n, (size_t)size - at);

	bytes_copy(dst, ring + at, first);
	if (n > first)
		bytes_copy((u8 *)dst + first, ring, n - first);
}

static inline void bytes_in(u8 *ring, u32 size, u64 off, const void *src, size_t n)
{
	size_t at = off & (size - 1), first = MIN(n, (size_t)size - at);

	bytes_copy(ring + at, src, first);
	if (n > first)
		bytes_copy(ring, (const u8 *)src + first, n - first);
}

/* bytes_out() and the checksum of what was copied. */
static inline u32 bytes_out_csum(void *dst, const u8 *ring, u32 size, u64 off, size_t n, u32 sum)
{
	size_t at = off & (size - 1), first = MIN(n, (size_t)size - at);

	sum = csum_copy(dst, ring + at, first, sum);
	if (n > first)
		sum = csum_block_add(sum, csum_copy((u8 *)dst + first, ring, n - first, 0), first);
	return sum;
}

#endif
