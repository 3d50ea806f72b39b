/* hello.c – who a client is and what it holds: HELLO, ARENA, WHOSE, ATTACH. Called by call.c.
 *
 * HELLO is answered with the public page alone: an arena is made with a process's first socket, because most processes
 * of a session never make one. Arenas a process brings with their secrets (it has them mapped) are its own. Possession
 * is the proof: secrets are in the stack half, which only those have who were given its descriptor. */
#include "sockd.h"
#include "common/log.h"

#include <sys/socket.h>

static void begin_reply(Strata__Sock__Reply *re, const struct call *call, int error)
{
	strata__sock__reply__init(re);
	re->id = call->rq->id;
	re->error = error;
}

static u32 add_arena(struct sockd *s, Strata__Sock__Reply *re, u32 id, int *fd)
{
	const struct arena_own *a = &s->arena[id];

	re->has_arena = 1;
	re->arena = id;
	fd[0] = a->stack_ro;
	fd[1] = a->client_rw;
	fd[2] = a->bell;
	return 3;
}

static bool proves(const struct sockd *s, const Strata__Sock__Arena *a)
{
	if (a->id >= ARENA_MAX || !arena_live(s, a->id))
		return false;
	const struct sock_arena *o = &s->d.sock->arena[a->id];
	return ((o->secret[0] ^ a->secret0) | (o->secret[1] ^ a->secret1)) == 0;
}

void hello_call(struct sockd *s, struct client *c)
{
	const Strata__Sock__Request *rq = c->call.rq;
	Strata__Sock__Reply re;

	c->id = rq->has_client && rq->client ? rq->client : ((u64)c->cred.pid << 32 | (u32)c->fd);
	c->first = true;
	for (size_t i = 0; i < rq->n_arenas; i++)
		if (proves(s, rq->arenas[i]))
			arena_hold(s, c, rq->arenas[i]->id);
	begin_reply(&re, &c->call, 0);
	re.bypass = s->d.conf.bypass;
	count(s->d.counters, SOCK_CLIENTS);
	client_reply(s, c, &re, &s->pub_fd, 1);
}

void arena_call(struct sockd *s, struct client *c)
{
	Strata__Sock__Reply re;
	int fd[CALL_FDS];
	u32 nfds = 0;
	s64 app = client_arena(c) < ARENA_MAX ? (s64)s->d.sock->arena[client_arena(c)].app : -1;
	int id = arena_new(s, &c->cred, app);

	begin_reply(&re, &c->call, id < 0 ? id : 0);
	if (id >= 0) {
		arena_hold(s, c, (u32)id);
		re.has_new_arena = 1;
		re.new_arena = 1;
		nfds = add_arena(s, &re, (u32)id, fd);
	}
	client_reply(s, c, &re, fd, nfds);
}

void whose_call(struct sockd *s, struct client *c)
{
	const Strata__Sock__Request *rq = c->call.rq;
	Strata__Sock__Reply re;
	u64 mine[4096];
	size_t n = 0;

	begin_reply(&re, &c->call, 0);
	for (size_t i = 0; i < rq->n_cookies && n < ARRAY_SIZE(mine); i++)
		if (slot_of_cookie(s, rq->cookies[i]) >= 0)
			mine[n++] = rq->cookies[i];
	re.n_mine = n;
	re.mine = mine;
	client_reply(s, c, &re, NULL, 0);
}

/* May this process have the memory the socket lives in? Whoever runs as its owner may, root may, and who has proved
 * another arena of the same application (a worker that gave up root, and is handed a connection). */
static bool may_map(const struct sockd *s, const struct client *c, u32 arena)
{
	const struct sock_arena *o = &s->d.sock->arena[arena];

	if (c->cred.uid == 0 || c->cred.uid == o->uid)
		return true;
	BIT_EACH(a, c->arenas, ARENA_MAX)
		if (s->d.sock->arena[a].app == o->app)
			return true;
	return false;
}

void attach_call(struct sockd *s, struct client *c)
{
	Strata__Sock__Reply re;
	int fd[CALL_FDS];
	u32 nfds = 0, sk;
	u64 cookie = 0;
	socklen_t len = sizeof(cookie);
	s64 found = -ENOTSOCK;

	if (c->call.nfds == 1 && getsockopt(c->call.fd[0], SOL_SOCKET, SO_COOKIE, &cookie, &len) == 0)
		found = slot_of_cookie(s, cookie);
	found = found == -ENOENT ? -ENOTSOCK : found;
	sk = found >= 0 ? (u32)found : 0;
	if (found >= 0 && !may_map(s, c, SK_ARENA(sk))) {
		count(s->d.counters, SOCK_REFUSED);
		found = -EACCES;
	}
	begin_reply(&re, &c->call, found < 0 ? (int)found : 0);
	if (found >= 0) {
		re.has_sk = re.has_gen = re.has_nonce = 1;
		re.sk = sk;
		re.gen = slot_gen(s, sk);
		re.nonce = SK_SLOT(sk) < ARENA_ACTIVE ? s->d.sock->ctl[sk].nonce
						       : load_relaxed(&((struct sk_stack *)&s->arena[SK_ARENA(sk)].stack->sk[SK_SLOT(sk)])->nonce);
		arena_hold(s, c, SK_ARENA(sk));
		nfds = add_arena(s, &re, SK_ARENA(sk), fd);
	}
	client_reply(s, c, &re, fd, nfds);
}
