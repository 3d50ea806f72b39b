/* sk_arena.c – applications' memory: mapping, kicks (tx2 begins here), slots for accepted connections.
 *
 * Kick counters are compared with a private copy in cache lines; nobody clears anything. tcpd looks at arenas that were
 * active lately (hot) in every pass, and once more before it sleeps. The others are cold, which they are told: whoever
 * kicks there rings the arena's doorbell, and it is hot. So a pass costs what is active, not what exists; a program that
 * was quiet for a while pays a system call for its first kick. Client words are hostile; only counters are read here.
 * Called by sk_loop.c, sk_lot.c (mapping) and TCP (op_child). */
#include "tcpd.h"
#include "common/log.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define HOT (100 * NSEC_PER_MSEC)
#define HOT_MANY (5 * NSEC_PER_MSEC)	/* when the list is longer than ... */
#define MANY 32u
#define FEW_SLOTS 16u

static bool sane(const struct lot_arena *m, const int *fd)
{
	struct stat st, cl;

	return m->rx_size && m->tx_size && !(m->rx_size & (m->rx_size - 1)) && !(m->tx_size & (m->tx_size - 1)) &&
	       m->stack_bytes == arena_stack_all(m->rx_size, m->tx_size) && m->client_bytes == arena_client_bytes(m->tx_size) &&
	       !fstat(fd[0], &st) && !fstat(fd[1], &cl) && (u64)st.st_size >= m->stack_bytes &&
	       (u64)cl.st_size >= m->client_bytes;
}

/* The bytes go at once, whoever still has them mapped and whatever messages lie in lots. sockd does the other half. */
static void punch(int stack, u64 bytes)
{
	if (fallocate(stack, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, (off_t)bytes) < 0)
		log_warn("the memory of a dead arena is not freed yet: %s", strerror(errno));
}

static void free_ring(struct tcpd *x, u32 sk, const u8 *ring, u32 size)
{
	off_t at = ring - (u8 *)x->t.arena[SK_ARENA(sk)].stack;

	if (fallocate(x->arena[SK_ARENA(sk)].stack, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, at, size) < 0)
		log_warn("the memory of an idle connection is not freed: %s", strerror(errno));
}

/* The bytes of one receive ring, which TCP says nobody wants. */
void op_trim(void *ctx, u32 sk)
{
	struct tcpd *x = ctx;
	const struct arena_map *m = &x->t.arena[SK_ARENA(sk)];

	free_ring(x, sk, arena_rx(m->stack, SK_SLOT(sk), m->rx_size), m->rx_size);
}

/* The ring of a plain socket that is gone. */
void arena_plain_free(struct tcpd *x, u32 sk)
{
	const struct arena_map *m = &x->t.arena[SK_ARENA(sk)];

	free_ring(x, sk, arena_plain(m->stack, SK_SLOT(sk), m->rx_size, m->tx_size), m->tx_size);
}

/* ---- hot and cold ---- */

static void heat(struct tcpd *x, u32 id)
{
	struct app_arena *a = &x->arena[id];

	a->last_kick = clock_ns();
	if (a->hot)
		return;
	a->hot = true;
	x->hot[x->nhot++] = (u16)id;
	store_relaxed(&x->t.arena[id].stack->hdr.cold, 0);	/* who sees it late rings once too often */
}

/* Out of the list. The caller has stored `cold`, or unmaps it. */
static void cool(struct tcpd *x, u32 id)
{
	for (u32 i = 0; x->arena[id].hot && i < x->nhot; i++) {
		if (x->hot[i] != id)
			continue;
		x->hot[i] = x->hot[--x->nhot];
		x->arena[id].hot = false;
	}
}

/* An application's doorbell wakes the loop and is not read: each write is an edge. Its kicks are looked at in this pass. */
static void on_bell(void *arg, u32 events)
{
	struct app_arena *a = arg;

	heat(a->x, (u32)(a - a->x->arena));
}

static void unmap(struct tcpd *x, u32 id)
{
	struct app_arena *a = &x->arena[id];
	struct arena_map *m = &x->t.arena[id];

	TCP_SLOT_OF_ARENA(sk, x->t.t, id)
		if (x->far[sk].kind)
			far_drop(x, sk);
	tcp_arena_removed(&x->t, id);
	cool(x, id);
	bit_clear(x->mapped, id);
	apps_remove(&x->apps, a->app, id);
	x->lot_arenas[a->lot]--;
	munmap(m->stack, a->stack_bytes);
	munmap(m->client, a->client_bytes);
	*m = (struct arena_map){ 0 };
	punch(a->stack, a->stack_bytes);
	loop_del_fd(&x->d.loop, a->bell_id);
	close(a->stack);
	close(a->client);
	close(a->bell);
	lot_entry_died(x, a->lot);
	x->unsent = true;
	*a = (struct app_arena){ 0 };
}

/* Slots for accepted connections that nobody has. */
static void free_slots(struct tcpd *x, u32 id)
{
	struct app_arena *a = &x->arena[id];

	memset(a->free, 0xff, sizeof(a->free));
	a->nfree = ARENA_SLOTS - ARENA_ACTIVE;
	TCP_SLOT_EACH(sk, x->t.t, SK(id, ARENA_ACTIVE), SK(id + 1, 0)) {
		if (load_relaxed(&x->t.t->sk[sk].phase) == TCPP_FREE)
			continue;
		bit_clear(a->free, SK_SLOT(sk) - ARENA_ACTIVE);
		a->nfree--;
	}
}

int arena_map_in(struct tcpd *x, const struct lot_arena *m, const int *fd, u16 lot)
{
	struct app_arena *a = &x->arena[m->id];
	u32 now = load_acquire(&x->d.sock->arena[m->id].used);

	if (a->mapped && a->use == m->use)
		return -ESTALE;		/* the second copy of it, or sockd gave it up just now: arenas_scan() sees that */
	if (!sane(m, fd)) {
		log_err("arena %u makes no sense; ignored", m->id);
		return -EPROTO;
	}
	if (now >> 1 != m->use) {
		punch(fd[0], m->stack_bytes);	/* dead; perhaps since before our start */
		return -ESTALE;
	}
	if (a->mapped)
		unmap(x, m->id);
	void *s = mmap(NULL, m->stack_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd[0], 0);
	void *c = mmap(NULL, m->client_bytes, PROT_READ, MAP_SHARED | MAP_NORESERVE, fd[1], 0);
	if (s == MAP_FAILED || c == MAP_FAILED) {
		int r = -errno;

		if (s != MAP_FAILED)
			munmap(s, m->stack_bytes);
		return r;
	}
	*a = (struct app_arena){ .x = x, .mapped = true, .use = m->use, .app = m->app, .uid = m->uid, .stack = fd[0], .client = fd[1],
				 .bell = fd[2], .lot = lot, .stack_bytes = m->stack_bytes, .client_bytes = m->client_bytes };
	x->t.arena[m->id] = (struct arena_map){ s, c, m->rx_size, m->tx_size, m->id, true };
	bit_set(x->mapped, m->id);
	apps_add(&x->apps, a->app, m->id);
	x->lot_arenas[lot]++;
	heat(x, m->id);
	for (u32 i = apps_first(&x->apps, a->app); i < ARENA_MAX; i = apps_next(&x->apps, i))
		if (x->arena[i].app == a->app)
			x->arena[i].asked = false;
	free_slots(x, m->id);
	a->bell_id = loop_add_fd(&x->d.loop, a->bell, EPOLLIN, on_bell, a);
	if (a->bell_id < 0)
		log_err("arena %u: no doorbell: %s", m->id, strerror(-a->bell_id));
	tcp_arena_added(&x->t, m->id);
	return 0;
}

void arena_look(struct tcpd *x, u32 id)
{
	if (x->arena[id].mapped && load_acquire(&x->d.sock->arena[id].used) >> 1 != x->arena[id].use)
		unmap(x, id);
}

void arenas_scan(struct tcpd *x)
{
	BIT_EACH(id, x->mapped, ARENA_MAX)
		arena_look(x, id);
}

/* ---- kicks ---- */

#define PER_LINE (CACHELINE / sizeof(u16))

static u32 kicks_of(struct tcpd *x, u32 id)
{
	struct app_arena *a = &x->arena[id];
	_Atomic u16 *kick = x->t.arena[id].client->kick;
	u32 n = 0;

	for (u32 line = 0; line < ARENA_SLOTS; line += PER_LINE) {
		if (!memcmp((const void *)&kick[line], &a->kick[line], CACHELINE))
			continue;
		for (u32 i = line; i < line + PER_LINE; i++) {
			u16 k = load_acquire(&kick[i]);	/* pairs with the release of the application's kick */

			if (k == a->kick[i])
				continue;
			a->kick[i] = k;
			sk_kicked(x, SK(id, i));
			n++;
		}
	}
	if (n)
		a->last_kick = x->t.now;
	return n;
}

static bool kicked(const struct tcpd *x, u32 id)
{
	const struct app_arena *a = &x->arena[id];

	return memcmp((const void *)x->t.arena[id].client->kick, a->kick, sizeof(a->kick)) != 0;
}

/* Either we see its kick, or who kicks sees `cold` and rings: pairs with the fence in the application's arena_kick(). */
static bool goes_cold(struct tcpd *x, u32 id)
{
	_Atomic u32 *cold = &x->t.arena[id].stack->hdr.cold;

	store_relaxed(cold, 1);
	fence_seq_cst();
	if (kicked(x, id)) {
		store_relaxed(cold, 0);
		return false;
	}
	cool(x, id);
	return true;
}

u32 kicks_poll(struct tcpd *x)
{
	u64 stays = x->nhot > MANY ? HOT_MANY : HOT;
	u32 n = 0;

	for (u32 i = 0; i < x->nhot;) {
		u32 id = x->hot[i], k = kicks_of(x, id);

		n += k;
		if (k || x->arena[id].last_kick + stays > x->t.now || !goes_cold(x, id))
			i++;	/* else another stands here now */
	}
	return n;
}

bool kicks_pending(struct tcpd *x)
{
	for (u32 i = 0; i < x->nhot; i++)
		if (kicked(x, x->hot[i]))
			return true;
	return false;
}

/* ---- slots for accepted connections ---- */

bool arena_slot_back(struct tcpd *x, u32 sk)
{
	struct app_arena *a = &x->arena[SK_ARENA(sk)];
	u32 i = SK_SLOT(sk) - ARENA_ACTIVE;
	u64 bit = 1ull << (i % 64);

	if (a->free[i / 64] & bit)
		return false;
	a->free[i / 64] |= bit;
	if (++a->nfree < ARENA_SLOTS - ARENA_ACTIVE)
		return false;
	/* After the last slot's state; pairs with the fence in sockd's app_over(). */
	fence_seq_cst();
	return load_relaxed(&x->d.sock->left[SK_ARENA(sk) / 64]) >> SK_ARENA(sk) % 64 & 1;
}

static s64 take(struct app_arena *a, u32 id)
{
	for (u32 w = 0; w < ARRAY_SIZE(a->free); w++) {
		if (!a->free[w])
			continue;
		u32 bit = (u32)__builtin_ctzll(a->free[w]);
		a->free[w] &= a->free[w] - 1;
		a->nfree--;
		return SK(id, ARENA_ACTIVE + w * 64 + bit);
	}
	return -ENOBUFS;
}

/* The listener's own arena first, then others of the same application. When few are left sockd makes another. */
s64 op_child(void *ctx, u32 listener)
{
	struct tcpd *x = ctx;
	u32 own = SK_ARENA(listener), left = 0;
	s64 sk = take(&x->arena[own], own);

	for (u32 i = apps_first(&x->apps, x->arena[own].app); i < ARENA_MAX; i = apps_next(&x->apps, i)) {
		struct app_arena *a = &x->arena[i];

		if (a->app != x->arena[own].app)
			continue;
		if (sk < 0)
			sk = take(a, i);
		left += a->nfree;
	}
	if (left < FEW_SLOTS && !x->arena[own].asked) {
		x->arena[own].asked = true;
		mbox_hint(x, SOCK_HINT_ARENA | own);
	}
	return sk;
}
