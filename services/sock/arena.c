/* arena.c – the memory of applications: two sealed memfds and a doorbell each, parked for tcpd and for our successor.
 *
 * Order (crash rule 8): the number is taken (`use` counted up), then both messages are parked, then `used` says live;
 * a death in between leaves messages of a use that never lived.
 *
 * Arenas are given up when their application has hung up its last connection to us and no socket is left in any of
 * them: at once, told by the hang-up or by the last socket's end, whichever is later. The number counts up again, both
 * daemons unmap and punch the memory out, the messages are dead. A process that missed it (a child that had not said
 * hello, one that did not call since our predecessor) has no socket either: its secret is not known any more, and its
 * next socket brings a new arena. By application, not by arena: tcpd may be putting a connection of a listener in one
 * into another that looks empty.
 * Called by client.c, hello.c, slot.c, mailbox.c. */
#include "sockd.h"
#include "common/log.h"
#include "common/region.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#define GRACE (30 * NSEC_PER_SEC)	/* after a start: clients come back with their next call */
#define DEAD_MAX 32u			/* dead messages: then they are thrown away */
#define ASK_AFTER (60 * NSEC_PER_SEC)	/* longer than a client repeats a request */

/* The bytes go at once, whoever still has them mapped and whatever messages lie in lots. tcpd does the other half. */
static void punch(int client_rw)
{
	struct stat st;

	if (fstat(client_rw, &st) < 0 || fallocate(client_rw, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, st.st_size) < 0)
		log_warn("the memory of a dead arena is not freed yet: %s", strerror(errno));
}

/* ---- attach: a start is a restart ---- */

static int map_words(struct arena_own *a, int stack_ro, int client_rw)
{
	void *p = mmap(NULL, ARENA_STACK_RINGS, PROT_READ, MAP_SHARED, stack_ro, 0);
	void *c = mmap(NULL, ARENA_CLIENT_RINGS, PROT_READ | PROT_WRITE, MAP_SHARED, client_rw, 0);

	if (p != MAP_FAILED && c != MAP_FAILED) {
		a->stack = p;
		a->client = c;
		return 0;
	}
	int r = -errno;
	if (p != MAP_FAILED)
		munmap(p, ARENA_STACK_RINGS);
	if (c != MAP_FAILED)
		munmap(c, ARENA_CLIENT_RINGS);
	return r;
}

static int adopt(struct sockd *s, const struct lot_arena *m, const int *fd)
{
	struct arena_own *a = &s->arena[m->id];
	struct sock_arena *o = &s->d.sock->arena[m->id];

	if (load_relaxed(&o->used) != (m->use << 1 | 1)) {
		punch(fd[1]);		/* given up, perhaps just before our predecessor died */
		return -ESTALE;
	}
	if (a->stack)
		return -ESTALE;
	int r = map_words(a, fd[0], fd[1]);
	if (r)
		return r;
	*a = (struct arena_own){ .stack = a->stack, .client = a->client, .stack_ro = fd[0], .client_rw = fd[1], .bell = fd[2],
				 .stays_until = s->d.loop.now + GRACE };
	struct quota *q = quota_of(s, o->uid);
	if (q)
		q->arenas++;
	memset(a->free, 0xff, sizeof(a->free));
	a->nfree = ARENA_ACTIVE;
	for (u32 i = 0; i < MIN(load_relaxed(&o->high), ARENA_ACTIVE); i++) {
		const struct sk_ctl *ctl = &s->d.sock->ctl[SK(m->id, i)];

		if (!(load_relaxed(&ctl->gen) & 1))
			continue;
		bit_clear(a->free, i);
		a->nfree--;
		if ((q = quota_of(s, ctl->uid)))
			q->sockets++;
	}
	bit_set(s->live, m->id);
	apps_add(&s->apps, o->app, m->id);
	return 0;
}

static int walk_lot(struct sockd *s, struct lot *l)
{
	struct lot_seen seen;
	int r = lot_rewind(l);

	if (r)
		return r;
	while ((r = lot_peek(l, &seen)) > 0) {
		r = seen.msg.hdr.type == LOT_ARENA ? adopt(s, &seen.msg.arena, seen.fd) : -EPROTO;
		if (!r) {
			l->live++;
			continue;
		}
		l->dead++;
		for (u32 i = 0; i < seen.nfds; i++)
			close(seen.fd[i]);
	}
	return r;
}

/* A socket whose far end never reached tcpd (we died in between, and the client with us) would stay for ever: when
 * clients have had time to repeat their requests, tcpd is asked about each; it answers -EBADF for one it does not know,
 * and slot_reap() then finds it freed. */
static void ask_about_sockets(struct sockd *s)
{
	s->ask_at = 0;
	BIT_EACH(a, s->live, ARENA_MAX) {
		SLOT_USED_EACH(i, s, a) {
			struct sk_ctl *ctl = &s->d.sock->ctl[SK(a, i)];

			slot_reap(s, SK(a, i));
			if (!(load_relaxed(&ctl->gen) & 1) || mailbox_busy(s, SK(a, i)) || ctl->op != SKOP_NONE)
				continue;
			ctl->want_gen = load_relaxed(&ctl->gen);
			mailbox_post(s, SK(a, i));
		}
	}
}

int arenas_attach(struct sockd *s)
{
	for (u32 i = 0; i < s->sock_lots.n; i++) {
		int r = walk_lot(s, &s->sock_lots.lot[i]);
		if (r)
			return r;
	}
	for (u32 i = 0; i < ARENA_MAX; i++) {
		_Atomic u32 *used = &s->d.sock->arena[i].used;

		if ((load_relaxed(used) & 1) && !s->arena[i].stack) {
			log_err("arena %u is lost: its descriptors are not parked; its sockets are given up", i);
			store_release(used, ((load_relaxed(used) >> 1) + 1) << 1);
		}
	}
	s->ask_at = s->d.loop.now + ASK_AFTER;
	return 0;
}

/* ---- a new one ---- */

static void take_comm(struct sock_arena *o)
{
	char path[40];

	memset(o->comm, 0, sizeof(o->comm));
	snprintf(path, sizeof(path), "/proc/%u/comm", o->pid);
	FILE *f = fopen(path, "re");
	if (!f)
		return;		/* gone already, or hidden from us: it stays nameless in ss */
	if (fgets(o->comm, sizeof(o->comm), f))
		o->comm[strcspn(o->comm, "\n")] = 0;
	fclose(f);
}

struct halves { int stack_rw, stack_ro, client_rw, client_ro, bell; };

static void halves_close(struct halves *h)
{
	int *fd = &h->stack_rw;

	for (u32 i = 0; i < sizeof(*h) / sizeof(int); i++)
		if (fd[i] >= 0)
			close(fd[i]);
}

static int halves_make(struct halves *h, const struct arena_hdr *hdr)
{
	*h = (struct halves){ -1, -1, -1, -1, -1 };
	if ((h->stack_rw = region_create("strata-arena-stack", hdr->stack_bytes)) < 0)
		return h->stack_rw;
	if ((h->client_rw = region_create("strata-arena-client", hdr->client_bytes)) < 0)
		return h->client_rw;
	if (pwrite(h->stack_rw, hdr, sizeof(*hdr), 0) != sizeof(*hdr))
		return -EIO;
	if ((h->stack_ro = region_reopen_ro(h->stack_rw)) < 0)
		return h->stack_ro;
	if ((h->client_ro = region_reopen_ro(h->client_rw)) < 0)
		return h->client_ro;
	if ((h->bell = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)) < 0)
		return -errno;
	return 0;
}

static int park(struct sockd *s, const struct halves *h, const struct arena_hdr *hdr, u32 use, u32 app)
{
	struct lot_msg m = { .hdr = { LOT_MAGIC, LOT_ARENA, 1 } };
	int tcp[3] = { h->stack_rw, h->client_ro, h->bell }, own[3] = { h->stack_ro, h->client_rw, h->bell };

	m.arena = (struct lot_arena){ hdr->id, use, hdr->uid, app, hdr->rx_size, hdr->tx_size,
				      hdr->stack_bytes, hdr->client_bytes };
	int r = lots_error(lots_put(&s->sock_lots, &m, own, 3, LOTS_MAX));

	return r ? r : lots_error(lots_put(&s->tcp_lots, &m, tcp, 3, LOTS_MAX));
}

static int free_id(struct sockd *s)
{
	for (u32 i = 0; i < ARENA_MAX; i++)
		if (!(load_relaxed(&s->d.sock->arena[i].used) & 1))
			return (int)i;
	return -ENOBUFS;
}

static void retire(struct sockd *s, bool graceless);

int arena_new(struct sockd *s, const struct cred *who, s64 app)
{
	int id = free_id(s);
	struct quota *q = quota_of(s, who->uid);
	struct halves h;

	if (id < 0) {		/* none left: those that are merely kept for a while go first */
		retire(s, true);
		id = free_id(s);
	}
	if (id < 0 || !q || q->arenas >= s->d.conf.max_arenas_per_uid) {
		count(s->d.counters, SOCK_REFUSED);
		return -ENOSPC;
	}
	struct sock_arena *o = &s->d.sock->arena[id];
	u32 use = (load_relaxed(&o->used) >> 1) + 1;
	store_release(&o->used, use << 1);	/* taken: no other use has this number */
	*o = (struct sock_arena){ .used = use << 1, .uid = who->uid, .pid = who->pid,
				  .app = app < 0 ? use * ARENA_MAX + (u32)id : (u32)app };
	if (getrandom(o->secret, sizeof(o->secret), 0) != sizeof(o->secret))
		return -EIO;
	take_comm(o);
	struct arena_hdr hdr = {
		.magic = ARENA_MAGIC, .version = ARENA_VERSION, .id = (u32)id, .nslots = ARENA_SLOTS,
		.rx_size = s->d.conf.rcvbuf, .tx_size = s->d.conf.sndbuf, .uid = who->uid,
		.secret = { o->secret[0], o->secret[1] },
		.stack_bytes = arena_stack_all(s->d.conf.rcvbuf, s->d.conf.sndbuf), .client_bytes = arena_client_bytes(s->d.conf.sndbuf),
	};
	int r = halves_make(&h, &hdr);
	if (!r)
		r = park(s, &h, &hdr, use, o->app);
	struct arena_own *a = &s->arena[id];
	if (!r)
		r = map_words(a, h.stack_ro, h.client_rw);
	if (r) {
		log_err("cannot make an arena for pid %u: %s", who->pid, strerror(-r));
		halves_close(&h);
		return r;
	}
	close(h.stack_rw);
	close(h.client_ro);
	*a = (struct arena_own){ .stack = a->stack, .client = a->client, .stack_ro = h.stack_ro, .client_rw = h.client_rw,
				 .bell = h.bell, .free = { ~0ull, ~0ull, ~0ull, ~0ull }, .nfree = ARENA_ACTIVE };
	q->arenas++;
	bit_set(s->live, (u32)id);
	apps_add(&s->apps, o->app, (u32)id);
	store_release(&o->used, use << 1 | 1);
	mailbox_hint(s, SOCK_HINT_SCAN);
	return id;
}

/* ---- giving up ---- */

/* The arenas of an application, the given one among them if it lives. */
static u32 app_next(const struct sockd *s, u32 app, u32 i)
{
	while (i < ARENA_MAX && s->d.sock->arena[i].app != app)
		i = apps_next(&s->apps, i);
	return i;
}

static u32 app_first(const struct sockd *s, u32 app) { return app_next(s, app, apps_first(&s->apps, app)); }
#define APP_EACH(i, s, id) for (u32 app = (s)->d.sock->arena[id].app, i = app_first((s), app); i < ARENA_MAX; \
				i = app_next((s), app, apps_next(&(s)->apps, i)))

static bool has_client(const struct sockd *s, u32 id)
{
	APP_EACH(i, s, id)
		if (s->arena[i].clients)
			return true;
	return false;
}

/* Tell tcpd whose accepted sockets' ends we want to hear of. */
static void mark_left(struct sockd *s, u32 id, bool left)
{
	APP_EACH(i, s, id) {
		_Atomic u64 *word = &s->d.sock->left[i / 64];
		u64 was = load_relaxed(word), bit = 1ull << (i % 64);

		if (!(was & bit) == left)
			store_release(word, was ^ bit);
	}
}

static bool has_socket(const struct sockd *s, u32 id)
{
	if (s->arena[id].nfree != ARENA_ACTIVE)
		return true;
	TCP_SLOT_EACH(sk, &s->d.tcp->t, SK(id, ARENA_ACTIVE), SK(id + 1, 0))
		if (slot_gen(s, sk))
			return true;
	return false;
}

static void give_up(struct sockd *s, u32 id)
{
	struct arena_own *a = &s->arena[id];
	struct sock_arena *o = &s->d.sock->arena[id];
	struct quota *q = quota_of(s, o->uid);

	store_release(&o->used, ((load_relaxed(&o->used) >> 1) + 1) << 1);
	if (q && q->arenas)
		q->arenas--;
	munmap((void *)a->stack, ARENA_STACK_RINGS);
	munmap(a->client, ARENA_CLIENT_RINGS);
	punch(a->client_rw);
	close(a->stack_ro);
	close(a->client_rw);
	close(a->bell);
	*a = (struct arena_own){ 0 };
	store_relaxed(&s->d.sock->left[id / 64], load_relaxed(&s->d.sock->left[id / 64]) & ~(1ull << (id % 64)));
	bit_clear(s->live, id);
	apps_remove(&s->apps, o->app, id);
	s->dead_parked++;
	mailbox_hint(s, SOCK_HINT_GONE | id);
}

/* Dead messages fill the lots: copy the living elsewhere, then drain. */
static void compact(struct sockd *s)
{
	for (u32 i = 0; i < s->sock_lots.n; i++) {
		struct lot *l = &s->sock_lots.lot[i];
		struct lot_seen seen;
		bool moved = true;

		if (lot_rewind(l))
			return;
		while (lot_peek(l, &seen) > 0) {
			const struct lot_arena *m = &seen.msg.arena;
			bool live = seen.msg.hdr.type == LOT_ARENA && arena_live(s, m->id) &&
				    load_relaxed(&s->d.sock->arena[m->id].used) >> 1 == m->use;

			if (live && lots_put(&s->sock_lots, &seen.msg, seen.fd, seen.nfds, i) < 0)
				moved = false;
			for (u32 k = 0; k < seen.nfds; k++)
				close(seen.fd[k]);
		}
		if (moved && l->walked) {
			if (lot_drain(l))
				log_warn("a lot could not be emptied");
			s->dead_parked = 0;
			return;		/* the survivors lie in another one; that one is for next time */
		}
	}
}

/* All arenas of one application, or none. */
static bool app_over(struct sockd *s, u32 id, bool graceless)
{
	u64 stays = 0;

	if (has_client(s, id))
		return false;
	/* Before the last look at the slots; pairs with the fence in tcpd's op_freed(). */
	mark_left(s, id, true);
	fence_seq_cst();
	APP_EACH(i, s, id) {
		stays = MAX(stays, s->arena[i].stays_until);
		if (has_socket(s, i))
			return false;
	}
	return graceless || s->d.loop.now >= stays;
}

static bool app_retire(struct sockd *s, u32 id, bool graceless)
{
	u32 app = s->d.sock->arena[id].app, i;

	if (!arena_live(s, id) || !app_over(s, id, graceless))
		return false;
	while ((i = app_first(s, app)) < ARENA_MAX)
		give_up(s, i);
	if (s->dead_parked >= DEAD_MAX)
		compact(s);
	return true;
}

static void retire(struct sockd *s, bool graceless)
{
	BIT_EACH(i, s->live, ARENA_MAX)
		if (!s->arena[i].clients)
			app_retire(s, i, graceless);
}

void arena_hold(struct sockd *s, struct client *c, u32 id)
{
	if (bit_test(c->arenas, id))
		return;
	bit_set(c->arenas, id);
	s->arena[id].clients++;
	s->arena[id].stays_until = 0;
	mark_left(s, id, false);
}

void arenas_let_go(struct sockd *s, struct client *c)
{
	BIT_EACH(id, c->arenas, ARENA_MAX)
		s->arena[id].clients--;
	BIT_EACH(id, c->arenas, ARENA_MAX)
		app_retire(s, id, false);
	memset(c->arenas, 0, sizeof(c->arenas));
}

void arena_look(struct sockd *s, u32 id)
{
	if (load_relaxed(&s->d.sock->left[id / 64]) >> (id % 64) & 1)
		app_retire(s, id, false);
}

void arenas_retire(struct sockd *s)
{
	if (s->ask_at && s->d.loop.now >= s->ask_at)
		ask_about_sockets(s);
	retire(s, false);
}
