/* test_sock_fixture.h – sockd against a tcpd of straw, for the tests of its files.
 *
 * The real client.c, call.c, hello.c, slot.c, arena.c, mailbox.c; regions in private memory. straw() answers mailboxes.
 * restart() is a SIGKILL of sockd: its private state is forgotten, the regions, the lots and the clients' ends stay. */
#ifndef TEST_SOCK_FIXTURE_H
#define TEST_SOCK_FIXTURE_H

#include "services/sock/sockd.h"
#include "unit.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define OP(name) STRATA__SOCK__REQUEST__OP__##name

static struct sockd *s;
static struct sock_shm *sock_shm;
static struct tcp_shm *tcp_shm;
static struct ip_shm *ip_shm;
static struct counters counters;
static _Atomic u32 awake;
static int lot_pair[2][2];
static u32 done_ops[16];	/* by enum sk_op: how often straw carried it out */
static int straw_result;
static u32 address_no;

static inline void *zeroed(size_t n)
{
	void *p = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	REQUIRE(p != MAP_FAILED);
	return p;
}

static inline void address(struct sockaddr_un *a, socklen_t *len)
{
	*a = (struct sockaddr_un){ .sun_family = AF_UNIX };
	*len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 +
			   (size_t)snprintf(a->sun_path + 1, 60, "strata-test-%d-%u", getpid(), address_no));
}

static inline void begin(void)
{
	struct sockaddr_un a;
	socklen_t len;

	s = calloc(1, sizeof(*s));
	REQUIRE(s != NULL);
	s->d.sock = sock_shm;
	s->d.tcp = tcp_shm;
	s->d.ip = ip_shm;
	s->d.counters = &counters;
	s->d.conf = (struct config){ .rcvbuf = 65536, .sndbuf = 65536, .max_sockets_per_uid = 300, .max_arenas_per_uid = 8, .max_clients = 64 };
	for (u32 i = 0; i < REGION_IDS; i++)
		s->d.sleeps[i] = &awake;
	s->tcp_lots = (struct lots){ .n = 1, .lot[0] = { .r = -1, .w = lot_pair[0][1] } };
	s->sock_lots = (struct lots){ .n = 1, .lot[0] = { .r = lot_pair[1][0], .w = lot_pair[1][1] } };
	s->pub_fd = 0;
	address_no++;
	address(&a, &len);
	s->listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0);
	REQUIRE_EQ(bind(s->listener, (struct sockaddr *)&a, len), 0);
	REQUIRE_EQ(listen(s->listener, 100), 0);
	REQUIRE_EQ(loop_init(&s->d.loop, NULL, 0), 0);
	REQUIRE(mailbox_open(s) >= 0);
	REQUIRE_EQ(arenas_attach(s), 0);
	REQUIRE_EQ(clients_open(s), 0);
}

static inline void end(void)
{
	while (s->clients) {
		memset(s->clients->arenas, 0, sizeof(s->clients->arenas));	/* we die, they do not */
		client_cut(s, s->clients);
	}
	close(s->listener);
	close(s->epfd);
	for (u32 i = 0; i < ARENA_MAX; i++) {
		if (!s->arena[i].stack)
			continue;
		munmap((void *)s->arena[i].stack, ARENA_STACK_RINGS);
		close(s->arena[i].stack_ro);
		close(s->arena[i].client_rw);
		close(s->arena[i].bell);
	}
	loop_fini(&s->d.loop);
	free(s);
}

static inline void restart(void)
{
	end();
	begin();
}

static inline void open_world(void)
{
	sock_shm = zeroed(sizeof(*sock_shm));
	tcp_shm = zeroed(sizeof(*tcp_shm));
	ip_shm = zeroed(sizeof(*ip_shm));
	memset(&counters, 0, sizeof(counters));
	memset(done_ops, 0, sizeof(done_ops));
	straw_result = 0;
	for (u32 i = 0; i < ARENA_SLOTS * 8; i++)
		if (SK_SLOT(i) < 4)	/* sequence numbers near the wrap */
			sock_shm->ctl[i].op_seq = tcp_shm->ans[i].done_seq = 0xffffffff;
	for (u32 i = 0; i < 2; i++)
		REQUIRE_EQ(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, lot_pair[i]), 0);
	begin();
}

static inline void close_world(void)
{
	end();
	for (u32 i = 0; i < 4; i++)
		close(lot_pair[i / 2][i % 2]);
	munmap(sock_shm, sizeof(*sock_shm));
	munmap(tcp_shm, sizeof(*tcp_shm));
	munmap(ip_shm, sizeof(*ip_shm));
}

/* tcpd, as far as sockd can tell. */
static inline void straw(void)
{
	for (u32 sk = 0; sk < SK_MAX; sk++) {
		if (!arena_live(s, SK_ARENA(sk))) {
			sk = SK(SK_ARENA(sk) + 1, 0) - 1;
			continue;
		}
		struct sk_ctl *c = &sock_shm->ctl[sk];

		if (load_relaxed(&c->op_seq) == load_relaxed(&tcp_shm->ans[sk].done_seq))
			continue;
		done_ops[c->op]++;
		tcp_shm->ans[sk].result = straw_result;
		store_release(&tcp_shm->ans[sk].done_seq, load_relaxed(&c->op_seq));
		u32 head = load_relaxed(&tcp_shm->tcp_sock.head);
		tcp_shm->tcp_sock_slots[head % SOCK_HINTS] = sk;
		store_release(&tcp_shm->tcp_sock.head, head + 1);
	}
}

static inline void run(bool with_tcp)
{
	for (u32 i = 0; i < 12; i++) {
		s->d.loop.now = clock_ns();
		clients_event(s, 0);
		if (with_tcp)
			straw();
		mailbox_poll(s, 64);
	}
}

static inline int dial(void)
{
	struct sockaddr_un a;
	socklen_t len;
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	address(&a, &len);
	REQUIRE_EQ(connect(fd, (struct sockaddr *)&a, len), 0);
	return fd;
}

static inline void ask(int fd, Strata__Sock__Request *q, const int *fds, u32 n)
{
	union { struct cmsghdr h; char room[CMSG_SPACE(8)]; } cb = { 0 };
	u8 buf[4096];
	struct iovec v = { buf, strata__sock__request__pack(q, buf) };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1 };

	if (n) {
		m.msg_control = &cb;
		m.msg_controllen = CMSG_SPACE(4 * n);
		cb.h = (struct cmsghdr){ .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(4 * n) };
		memcpy(CMSG_DATA(&cb.h), fds, 4 * n);
	}
	REQUIRE_EQ(sendmsg(fd, &m, 0), (ssize_t)v.iov_len);
}

/* The reply, or NULL when there is none (yet); descriptors that came along are counted and closed. */
static inline Strata__Sock__Reply *hear(int fd, u32 *ret_fds)
{
	union { struct cmsghdr h; char room[CMSG_SPACE(64)]; } cb;
	u8 buf[8192];
	struct iovec v = { buf, sizeof(buf) };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = &cb, .msg_controllen = sizeof(cb) };
	ssize_t n = recvmsg(fd, &m, MSG_DONTWAIT);
	u32 k = 0;

	if (n <= 0)
		return NULL;
	if (CMSG_FIRSTHDR(&m)) {
		k = (u32)((CMSG_FIRSTHDR(&m)->cmsg_len - CMSG_LEN(0)) / 4);
		for (u32 i = 0; i < k; i++)
			close(((int *)CMSG_DATA(CMSG_FIRSTHDR(&m)))[i]);
	}
	if (ret_fds)
		*ret_fds = k;
	return strata__sock__reply__unpack(NULL, (size_t)n, buf);
}

static inline int hello(u64 id, u32 arena)
{
	Strata__Sock__Request q = STRATA__SOCK__REQUEST__INIT;
	Strata__Sock__Arena a = STRATA__SOCK__ARENA__INIT, *list = &a;
	int fd = dial();

	q.op = OP(HELLO);
	q.has_client = 1;
	q.client = id;
	if (arena < ARENA_MAX) {
		a.id = arena;
		a.has_secret0 = a.has_secret1 = 1;
		a.secret0 = sock_shm->arena[arena].secret[0];
		a.secret1 = sock_shm->arena[arena].secret[1];
		q.n_arenas = 1;
		q.arenas = &list;
	}
	ask(fd, &q, NULL, 0);
	run(true);
	Strata__Sock__Reply *r = hear(fd, NULL);
	REQUIRE(r != NULL);
	CHECK_EQ(r->error, 0);
	strata__sock__reply__free_unpacked(r, NULL);
	return fd;
}

static inline void send_socket(int fd, u64 id, const int *pair)
{
	Strata__Sock__Request q = STRATA__SOCK__REQUEST__INIT;

	q.op = OP(SOCKET);
	q.id = id;
	ask(fd, &q, pair, 2);
}

static inline void send_bind(int fd, u64 id, u32 sk, u32 gen, u16 port)
{
	Strata__Sock__Request q = STRATA__SOCK__REQUEST__INIT;

	q.op = OP(BIND);
	q.id = id;
	q.has_sk = q.has_gen = q.has_port = 1;
	q.sk = sk;
	q.gen = gen;
	q.port = port;
	ask(fd, &q, NULL, 0);
}

static inline void make(int fd, u64 id, const int *pair, u32 *ret_sk, u32 *ret_gen, u32 *ret_fds)
{
	send_socket(fd, id, pair);
	run(true);
	Strata__Sock__Reply *r = hear(fd, ret_fds);
	REQUIRE(r != NULL);
	REQUIRE_EQ(r->error, 0);
	REQUIRE(r->has_sk && r->has_gen && r->has_nonce);
	*ret_sk = r->sk;
	*ret_gen = r->gen;
	strata__sock__reply__free_unpacked(r, NULL);
}

static inline int expect(int fd, u64 id)
{
	Strata__Sock__Reply *r = hear(fd, NULL);
	int e;

	REQUIRE(r != NULL);
	CHECK_EQ(r->id, id);
	e = r->error;
	strata__sock__reply__free_unpacked(r, NULL);
	return e;
}

static inline void tcpd_says(u32 what)
{
	u32 head = load_relaxed(&tcp_shm->tcp_sock.head);

	tcp_shm->tcp_sock_slots[head % SOCK_HINTS] = what;
	store_release(&tcp_shm->tcp_sock.head, head + 1);
	run(true);
}

static inline u32 open_fds(void)
{
	u32 n = 0;

	for (int fd = 0; fd < 1024; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

/* The lot is tcpd's to empty. */
static inline void tcp_lot_read(void)
{
	u8 skip[sizeof(struct lot_msg)];

	while (recv(lot_pair[0][0], skip, sizeof(skip), MSG_DONTWAIT) > 0)
		;
}

#endif
