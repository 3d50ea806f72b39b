/* pool.h – buffer pools: loans, generations, two size classes.
 *
 * A pool's bytes and its words are in the owner's region; everybody else maps both read-only. One u64 word
 * per buffer says everything: generation, whether it is on loan, and a tag of the owner's choosing
 * (tcpd: the socket). "Loan and generation are one word" (crash rule 2): a single store takes a buffer,
 * a single store takes it back. Free lists are private and rebuilt from the words at start.
 *
 * Buffers 0 .. nsmall-1 are POOL_SMALL bytes, the rest POOL_LARGE. Large buffers are spaced so that their
 * starts do not fall on the same cache sets. Ownership: pool_take() by the owner only; a reader calls
 * pool_check() before it touches the bytes and again after it has copied them.
 * Errors: POOL_EMPTY when nothing is free; pool_check() false for any nonsense. */
#ifndef STRATA_POOL_H
#define STRATA_POOL_H

#include "base.h"
#include "skb.h"

#define POOL_SMALL 2048u
#define POOL_LARGE (70u * 1024u)	/* 64 KB of data, and room for headers and the small part of a split read */
#define POOL_LARGE_STRIDE (POOL_LARGE + 512u)
#define POOL_EMPTY 0xffffffffu

#define POOL_WORD(gen, tag, loan) ((u64)(gen) << 32 | (u64)((tag) & 0x7fffffffu) << 1 | (loan))
#define POOL_WORD_GEN(w) ((u32)((w) >> 32))
#define POOL_WORD_TAG(w) ((u32)((w) >> 1) & 0x7fffffffu)
#define POOL_WORD_LOAN(w) ((w) & 1u)

struct pool {
	_Atomic u64 *words;	/* one per buffer, in the owner's region */
	u8 *bytes;		/* the buffers */
	u32 nsmall, nlarge;
	u8 id;			/* enum pool_id */
	/* owner only, private: */
	u32 *free_small, *free_large;
	u32 nfree_small, nfree_large;
};

static inline size_t pool_bytes_size(u32 nsmall, u32 nlarge)
{
	return (size_t)nsmall * POOL_SMALL + (size_t)nlarge * POOL_LARGE_STRIDE;
}

static inline u32 pool_capacity(const struct pool *p, u32 index)
{
	return index < p->nsmall ? POOL_SMALL : POOL_LARGE;
}

static inline u8 *pool_addr(const struct pool *p, u32 index)
{
	return index < p->nsmall ? p->bytes + (size_t)index * POOL_SMALL
				 : p->bytes + (size_t)p->nsmall * POOL_SMALL +
					   (size_t)(index - p->nsmall) * POOL_LARGE_STRIDE;
}

/* Is (buf, gen) a live loan of this pool, and off+len inside the buffer? */
static inline bool pool_check(const struct pool *p, u32 buf, u32 gen, u32 off, u32 len)
{
	u32 i = SKB_BUF_INDEX(buf);
	u64 w;

	if (SKB_BUF_POOL(buf) != p->id || i >= p->nsmall + p->nlarge)
		return false;
	if (off > pool_capacity(p, i) || len > pool_capacity(p, i) - off)
		return false;
	w = load_acquire(&p->words[i]);
	return POOL_WORD_LOAN(w) && POOL_WORD_GEN(w) == gen;
}

/* Every reader's map of all pools, indexed by enum pool_id. */
struct pools { struct pool p[POOL_IDS]; };

/* The bytes of an sk_buff, or NULL when its descriptor is nonsense. */
static inline u8 *skb_data(const struct pools *ps, const struct sk_buff *skb)
{
	u32 id = SKB_BUF_POOL(skb->buf);

	if (id == POOL_NONE || id >= POOL_IDS || !ps->p[id].words ||
	    !pool_check(&ps->p[id], skb->buf, skb->gen, skb->off, skb->len))
		return NULL;
	return pool_addr(&ps->p[id], SKB_BUF_INDEX(skb->buf)) + skb->off;
}

/* n bytes at the front of data if there are as many, else NULL; skb_pull() also consumes them. */
static inline const u8 *skb_header(const struct pools *ps, const struct sk_buff *skb, u32 at, u32 n)
{
	if (at > skb->len || n > skb->len - at)
		return NULL;
	const u8 *d = skb_data(ps, skb);
	return d ? d + at : NULL;
}

static inline bool skb_pull(struct sk_buff *skb, u32 n)
{
	if (n > skb->len)
		return false;
	skb->off += n;
	skb->len -= n;
	return true;
}

/* ---- owner ---- */
/* Attach and rebuild the free lists from the words. 0 or -ENOMEM. */
int pool_attach_owner(struct pool *p, u8 id, _Atomic u64 *words, u8 *bytes, u32 nsmall, u32 nlarge);
void pool_attach_reader(struct pool *p, u8 id, _Atomic u64 *words, u8 *bytes, u32 nsmall, u32 nlarge);
void pool_detach(struct pool *p);
/* Take a buffer that holds `size` bytes; fills skb->buf, gen; off = 0, len = 0, no inline headers.
 * Returns its bytes, NULL when the class is empty. The loan is recorded before this returns. */
u8 *pool_take(struct pool *p, u32 size, u32 tag, struct sk_buff *skb);
/* End a loan. False (and nothing happens) when it is not that loan: completed twice, stale, nonsense. */
bool pool_give_back(struct pool *p, u32 buf, u32 gen, u32 *ret_tag);
u32 pool_loans(const struct pool *p);

/* Reconciliation after a death on the path (crash rule 2): begin, then mark every (buf, gen) seen in rings and
 * hold tables *in flow order*, then end: loans seen nowhere are taken back; returns how many. */
struct pool_scan { struct pool *p; u8 *seen; };
int pool_scan_begin(struct pool_scan *s, struct pool *p);
void pool_scan_mark(struct pool_scan *s, u32 buf, u32 gen);
u32 pool_scan_end(struct pool_scan *s);

#endif
