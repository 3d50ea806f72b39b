/* arena.c – arenas mapped into this process, their doorbells, and REGION_PUB.
 *
 * Arenas are never unmapped: a reader in another thread may be in the middle of one. Children of fork inherit the
 * mappings (MAP_SHARED) and go on using them, also after setuid.
 *
 * sockd gives an arena up when it knows no process and no socket of it any more; one that was only waiting for its next
 * call (a child of fork, or sockd was restarted) is not known. Its proof fails then and its next socket brings a new
 * arena, which may have an old number: the secret tells, and the mapping is replaced. The old one is empty by then. */
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "services/shim/shim.h"

struct arena_here {
	struct arena_map map;
	int bell;		/* eventfd of this arena, parked high */
	_Atomic u32 ready;
};
static struct arena_here arenas[ARENA_MAX];
static u16 mapped[ARENA_MAX];	/* which of them, in the order they came */
static _Atomic u32 nmapped;
static _Atomic u32 adopting;
static _Atomic(struct pub_shm *) pub;

static void *map_fd(int fd, size_t bytes, bool writable)
{
	long p = sys(SYS_mmap, 0, bytes, writable ? PROT_READ | PROT_WRITE : PROT_READ, MAP_SHARED | MAP_NORESERVE, fd, 0);

	return p < 0 && p > -4096 ? NULL : (void *)p;
}

int pub_adopt(int fd)
{
	struct pub_shm *p = map_fd(fd, PAGE, false), *none = NULL;

	sys_close(fd);
	if (!p)
		return -ENOMEM;
	if (!atomic_compare_exchange_strong(&pub, &none, p))
		sys(SYS_munmap, p, PAGE);
	return 0;
}

static int check_header(const struct arena_hdr *h, u32 id, int stackfd, int clientfd)
{
	struct stat a, b;

	if (h->magic != ARENA_MAGIC || h->version != ARENA_VERSION || h->id != id)
		return -EPROTO;
	if (!h->rx_size || (h->rx_size & (h->rx_size - 1)) || !h->tx_size || (h->tx_size & (h->tx_size - 1)))
		return -EPROTO;
	if (sys(SYS_fstat, stackfd, &a) || sys(SYS_fstat, clientfd, &b) ||
	    (u64)a.st_size < arena_stack_bytes(h->rx_size) || (u64)b.st_size < arena_client_bytes(h->tx_size))
		return -EPROTO;
	return 0;
}

/* -EEXIST: it is mapped already. Else nothing changes unless all of it can be mapped. */
static int map_arena(struct arena_here *a, u32 id, int stackfd, int clientfd)
{
	struct arena_hdr *h = map_fd(stackfd, PAGE, false), copy;
	int r;

	if (!h)
		return -ENOMEM;
	copy = *h;
	sys(SYS_munmap, h, PAGE);
	r = check_header(&copy, id, stackfd, clientfd);
	if (r < 0)
		return r;
	if (load_relaxed(&a->ready) && !memcmp(a->map.stack->hdr.secret, copy.secret, sizeof(copy.secret)))
		return -EEXIST;
	struct arena_map m = { .rx_size = copy.rx_size, .tx_size = copy.tx_size, .id = id, .used = true };
	m.stack = map_fd(stackfd, arena_stack_bytes(m.rx_size), false);
	m.client = map_fd(clientfd, arena_client_bytes(m.tx_size), true);
	if (!m.stack || !m.client) {
		if (m.stack)
			sys(SYS_munmap, m.stack, arena_stack_bytes(m.rx_size));
		if (m.client)
			sys(SYS_munmap, m.client, arena_client_bytes(m.tx_size));
		return -ENOMEM;
	}
	a->map = m;
	return 0;
}

int arena_adopt(u32 id, int stackfd, int clientfd, int bell)
{
	struct arena_here *a = id < ARENA_MAX ? &arenas[id] : NULL;
	int r = a ? 0 : -EPROTO;

	lock_take(&adopting);
	if (a) {
		int old = load_relaxed(&a->ready) ? a->bell : -1;

		r = map_arena(a, id, stackfd, clientfd);
		if (!r) {
			if (old >= 0) {
				fd_own(old, false);
				sys_close(old);
			}
			r = fd_park(bell);
			a->bell = r < 0 ? bell : r;
			if (r >= 0)
				fd_own(a->bell, true);
			bell = -1;
			r = 0;
			if (!load_relaxed(&a->ready)) {
				mapped[load_relaxed(&nmapped)] = (u16)id;
				store_release(&nmapped, load_relaxed(&nmapped) + 1);
			}
			store_release(&a->ready, 1);
		}
	}
	lock_drop(&adopting);
	sys_close(stackfd);
	sys_close(clientfd);
	if (bell >= 0)
		sys_close(bell);
	return r == -EEXIST ? 0 : r;
}

bool arena_any(void) { return load_relaxed(&nmapped) != 0; }

const struct arena_map *arena_find(u32 id)
{
	return id < ARENA_MAX && load_acquire(&arenas[id].ready) ? &arenas[id].map : NULL;
}

u32 arena_proofs(struct arena_proof *p, u32 from, u32 max)
{
	u32 n = 0;

	for (u32 end = load_acquire(&nmapped); from < end && n < max; from++) {
		p[n].id = mapped[from];
		memcpy(p[n++].secret, arenas[mapped[from]].map.stack->hdr.secret, sizeof(p->secret));
	}
	return n;
}

/* Pairs with the fences between `sleeping` or `cold` and tcpd's last look at the kick counters. */
void arena_kick(u32 sk)
{
	struct arena_here *a = &arenas[SK_ARENA(sk)];
	struct pub_shm *p = load_relaxed(&pub);
	u64 one = 1;

	atomic_fetch_add(&a->map.client->kick[SK_SLOT(sk)], 1);
	fence_seq_cst();
	if (!p || load_relaxed(&p->sleeping) || load_relaxed(&a->map.stack->hdr.cold))
		sys(SYS_write, a->bell, &one, 8);
}

/* s lives in slot sk of an arena that is mapped. */
void sock_live(struct sock *s, u32 sk, u32 gen)
{
	const struct arena_map *m = arena_find(SK_ARENA(sk));

	sockbuf_open(&s->b, m, SK_SLOT(sk));
	s->tx_trimmed = load_relaxed(&s->b.c->tx_head);
	s->sk = sk;
	s->gen = gen;
	store_release(&s->life, SOCK_LIVE);
}
