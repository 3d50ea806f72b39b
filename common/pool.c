/* pool.c – buffer pools: see pool.h. Called by every daemon that owns buffers. */
#include "pool.h"

#include <stdlib.h>

void pool_attach_reader(struct pool *p, u8 id, _Atomic u64 *words, u8 *bytes, u32 nsmall, u32 nlarge)
{
	*p = (struct pool){ .words = words, .bytes = bytes, .nsmall = nsmall, .nlarge = nlarge, .id = id };
}

static void rebuild_free_lists(struct pool *p)
{
	p->nfree_small = p->nfree_large = 0;
	/* Downwards, so that low indexes (warm caches) are taken first. */
	for (u32 i = p->nsmall + p->nlarge; i-- > 0;) {
		if (POOL_WORD_LOAN(load_relaxed(&p->words[i])))
			continue;
		if (i < p->nsmall)
			p->free_small[p->nfree_small++] = i;
		else
			p->free_large[p->nfree_large++] = i;
	}
}

int pool_attach_owner(struct pool *p, u8 id, _Atomic u64 *words, u8 *bytes, u32 nsmall, u32 nlarge)
{
	pool_attach_reader(p, id, words, bytes, nsmall, nlarge);
	p->free_small = calloc(nsmall ? nsmall : 1, sizeof(u32));
	p->free_large = calloc(nlarge ? nlarge : 1, sizeof(u32));
	if (!p->free_small || !p->free_large) {
		pool_detach(p);
		return -ENOMEM;
	}
	rebuild_free_lists(p);
	return 0;
}

void pool_detach(struct pool *p)
{
	free(p->free_small);
	free(p->free_large);
	p->free_small = p->free_large = NULL;
	p->words = NULL;
}

u8 *pool_take(struct pool *p, u32 size, u32 tag, struct sk_buff *skb)
{
	u32 i;
	u64 w;

	if (size <= POOL_SMALL && p->nfree_small)
		i = p->free_small[--p->nfree_small];
	else if (size <= POOL_LARGE && p->nfree_large)
		i = p->free_large[--p->nfree_large];
	else
		return NULL;
	w = load_relaxed(&p->words[i]);
	w = POOL_WORD(POOL_WORD_GEN(w) + 1, tag, 1);
	store_release(&p->words[i], w);
	*skb = (struct sk_buff){ .buf = SKB_BUF(p->id, i), .gen = POOL_WORD_GEN(w), .hdr_off = SKB_HDR_ROOM };
	return pool_addr(p, i);
}

bool pool_give_back(struct pool *p, u32 buf, u32 gen, u32 *ret_tag)
{
	u32 i = SKB_BUF_INDEX(buf);
	u64 w;

	if (SKB_BUF_POOL(buf) != p->id || i >= p->nsmall + p->nlarge)
		return false;
	w = load_relaxed(&p->words[i]);
	if (!POOL_WORD_LOAN(w) || POOL_WORD_GEN(w) != gen)
		return false;
	if (ret_tag)
		*ret_tag = POOL_WORD_TAG(w);
	store_release(&p->words[i], POOL_WORD(gen, 0, 0));
	if (i < p->nsmall)
		p->free_small[p->nfree_small++] = i;
	else
		p->free_large[p->nfree_large++] = i;
	return true;
}

u32 pool_loans(const struct pool *p)
{
	return p->nsmall + p->nlarge - p->nfree_small - p->nfree_large;
}

int pool_scan_begin(struct pool_scan *s, struct pool *p)
{
	s->p = p;
	s->seen = calloc(p->nsmall + p->nlarge, 1);
	return s->seen ? 0 : -ENOMEM;
}

void pool_scan_mark(struct pool_scan *s, u32 buf, u32 gen)
{
	u32 i = SKB_BUF_INDEX(buf);

	if (SKB_BUF_POOL(buf) == s->p->id && i < s->p->nsmall + s->p->nlarge &&
	    POOL_WORD_GEN(load_relaxed(&s->p->words[i])) == gen)
		s->seen[i] = 1;
}

u32 pool_scan_end(struct pool_scan *s)
{
	u32 taken = 0;

	for (u32 i = 0; i < s->p->nsmall + s->p->nlarge; i++) {
		u64 w = load_relaxed(&s->p->words[i]);

		if (!POOL_WORD_LOAN(w) || s->seen[i])
			continue;
		store_release(&s->p->words[i], POOL_WORD(POOL_WORD_GEN(w), 0, 0));
		taken++;
	}
	free(s->seen);
	s->seen = NULL;
	if (taken)
		rebuild_free_lists(s->p);
	return taken;
}
