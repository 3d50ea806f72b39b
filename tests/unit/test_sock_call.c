/* test_sock_call.c – sockd's calls against a tcpd of straw: what is done once, what is answered again, what is refused.
 *
 * The real client.c, call.c, hello.c, slot.c, arena.c, mailbox.c; regions in private memory. straw() answers mailboxes.
 * restart() is a SIGKILL of sockd: its private state is forgotten, the regions, the lots and the clients' ends stay. */
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

static void *zeroed(size_t n)
{
	void *p = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	REQUIRE(p != MAP_FAILED);
	return p;
}

static void address(struct sockaddr_un *a, socklen_t *len)
{
	*a = (struct sockaddr_un){ .sun_family = AF_UNIX };
	*len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 +
			   (size_t)snprintf(a->sun_path + 1, 60, "strata-test-%d-%u", getpid(), address_no));
}

static void begin(void)
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

static void end(void)
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

static void restart(void)
{
	end();
	begin();
}

static void open_world(void)
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

static void close_world(void)
{
	end();
	for (u32 i = 0; i < 4; i++)
		close(lot_pair[i / 2][i % 2]);
	munmap(sock_shm, sizeof(*sock_shm));
	munmap(tcp_shm, sizeof(*tcp_shm));
	munmap(ip_shm, sizeof(*ip_shm));
}

/* tcpd, as far as sockd can tell. */
static void straw(void)
{
	for (u32 sk = 0; sk < ARENA_SLOTS * 8; sk++) {
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

static void run(bool with_tcp)
{
	for (u32 i = 0; i < 12; i++) {
		s->d.loop.now = clock_ns();
		clients_event(s, 0);
		if (with_tcp)
			straw();
		mailbox_poll(s, 64);
	}
}

static int dial(void)
{
	struct sockaddr_un a;
	socklen_t len;
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	address(&a, &len);
	REQUIRE_EQ(connect(fd, (struct sockaddr *)&a, len), 0);
	return fd;
}

static void ask(int fd, Strata__Sock__Request *q, const int *fds, u32 n)
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
static Strata__Sock__Reply *hear(int fd, u32 *ret_fds)
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

static int hello(u64 id, u32 arena)
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

static void send_socket(int fd, u64 id, const int *pair)
{
	Strata__Sock__Request q = STRATA__SOCK__REQUEST__INIT;

	q.op = OP(SOCKET);
	q.id = id;
	ask(fd, &q, pair, 2);
}

static void send_bind(int fd, u64 id, u32 sk, u32 gen, u16 port)
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

static void make(int fd, u64 id, const int *pair, u32 *ret_sk, u32 *ret_gen, u32 *ret_fds)
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

static int expect(int fd, u64 id)
{
	Strata__Sock__Reply *r = hear(fd, NULL);
	int e;

	REQUIRE(r != NULL);
	CHECK_EQ(r->id, id);
	e = r->error;
	strata__sock__reply__free_unpacked(r, NULL);
	return e;
}

/* ---- tests ---- */

static void kill_sockd_after_the_socket_is_made_before_the_reply_is_read(void)
{
	int pair[2], fd;
	u32 sk, gen, fds, sk2, gen2, fds2;

	open_world();
	REQUIRE_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	fd = hello(77, ARENA_MAX);
	make(fd, 1, pair, &sk, &gen, &fds);
	CHECK_EQ(fds, 3);	/* the first socket brings the arena */
	CHECK_EQ(gen & 1, 1);
	close(fd);
	restart();
	fd = hello(77, ARENA_MAX);
	make(fd, 1, pair, &sk2, &gen2, &fds2);
	CHECK_EQ(sk2, sk);
	CHECK_EQ(gen2, gen);
	CHECK_EQ(fds2, 3);	/* its announcement was lost with the reply */
	CHECK_EQ(quota_of(s, getuid())->sockets, 1);
	close(fd);
	close(pair[0]);
	close(pair[1]);
	close_world();
}

static void kill_sockd_between_post_and_answer(void)
{
	int pair[2], fd;
	u32 sk, gen, fds;

	open_world();
	REQUIRE_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	fd = hello(5, ARENA_MAX);
	make(fd, 1, pair, &sk, &gen, &fds);
	send_bind(fd, 2, sk, gen, 8080);
	run(false);
	CHECK(hear(fd, NULL) == NULL);
	CHECK(mailbox_busy(s, sk));
	close(fd);
	restart();
	straw_result = -EADDRINUSE;
	fd = hello(5, SK_ARENA(sk));
	send_bind(fd, 2, sk, gen, 8080);
	run(true);
	CHECK_EQ(expect(fd, 2), -EADDRINUSE);
	CHECK_EQ(done_ops[SKOP_BIND], 1);
	/* The same number again, later, is not mistaken for the one before: only the first after a hello may be repeated. */
	straw_result = 0;
	send_bind(fd, 3, sk, gen, 8081);
	run(true);
	CHECK_EQ(expect(fd, 3), 0);
	CHECK_EQ(done_ops[SKOP_BIND], 2);
	close(fd);
	close(pair[0]);
	close(pair[1]);
	close_world();
}

static void a_slot_is_reused_when_tcpd_let_go_of_it(void)
{
	int pair[2], fd;
	u32 sk, gen, fds, sk2, gen2;

	open_world();
	fd = hello(5, ARENA_MAX);
	REQUIRE_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	make(fd, 1, pair, &sk, &gen, &fds);
	close(fd);		/* the client's connection is nobody's socket */
	run(true);
	CHECK_EQ(sock_shm->ctl[sk].gen, gen);
	fd = hello(6, SK_ARENA(sk));
	store_release(&tcp_shm->ans[sk].freed_gen, gen);
	slot_reap(s, sk);
	CHECK_EQ(sock_shm->ctl[sk].gen, gen + 1);
	CHECK_EQ(quota_of(s, getuid())->sockets, 0);
	slot_reap(s, sk);
	CHECK_EQ(sock_shm->ctl[sk].gen, gen + 1);
	make(fd, 9, pair, &sk2, &gen2, &fds);
	CHECK_EQ(sk2, sk);
	CHECK_EQ(gen2, gen + 2);
	CHECK_EQ(fds, 0);
	close(fd);
	close(pair[0]);
	close(pair[1]);
	close_world();
}

static void tcpd_says(u32 what)
{
	u32 head = load_relaxed(&tcp_shm->tcp_sock.head);

	tcp_shm->tcp_sock_slots[head % SOCK_HINTS] = what;
	store_release(&tcp_shm->tcp_sock.head, head + 1);
	run(true);
}

static u32 open_fds(void)
{
	u32 n = 0;

	for (int fd = 0; fd < 1024; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

static void an_arena_goes_with_the_last_client_or_the_last_socket(void)
{
	int pair[2], fd, child;
	u32 sk, gen, fds, before, use;
	struct stat st;

	open_world();
	REQUIRE_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	before = open_fds();
	fd = hello(5, ARENA_MAX);
	make(fd, 1, pair, &sk, &gen, &fds);
	use = sock_shm->arena[SK_ARENA(sk)].used;
	CHECK_EQ(use & 1, 1);
	int memory = dup(s->arena[SK_ARENA(sk)].client_rw);
	REQUIRE(pwrite(memory, "x", 1, PAGE) == 1);
	child = hello(6, SK_ARENA(sk));
	close(fd);
	tcpd_says(sk);
	CHECK_EQ(sock_shm->arena[SK_ARENA(sk)].used, use);	/* a child of fork has it */
	close(child);
	tcpd_says(sk);
	CHECK_EQ(sock_shm->arena[SK_ARENA(sk)].used, use);	/* the socket outlives its makers */
	CHECK_EQ(sock_shm->left[SK_ARENA(sk) / 64] >> SK_ARENA(sk) % 64 & 1, 1);
	store_release(&tcp_shm->ans[sk].freed_gen, gen);
	tcpd_says(sk);
	CHECK_EQ(sock_shm->arena[SK_ARENA(sk)].used, use + 1);	/* at once, with no wait */
	CHECK_EQ(sock_shm->left[SK_ARENA(sk) / 64], 0);
	CHECK_EQ(quota_of(s, getuid())->arenas, 0);
	REQUIRE_EQ(fstat(memory, &st), 0);
	CHECK_EQ(st.st_blocks, 0);	/* although this descriptor and a parked message still name it */
	close(memory);
	CHECK_EQ(open_fds(), before);
	/* The other order: the sockets first, then the process. And the number's next life has another secret. */
	fd = hello(7, ARENA_MAX);
	make(fd, 1, pair, &sk, &gen, &fds);
	CHECK_EQ(sock_shm->arena[SK_ARENA(sk)].used, use + 4);
	store_release(&tcp_shm->ans[sk].freed_gen, gen);
	tcpd_says(sk);
	CHECK_EQ(sock_shm->arena[SK_ARENA(sk)].used & 1, 1);
	close(fd);
	run(true);
	CHECK_EQ(sock_shm->arena[SK_ARENA(sk)].used & 1, 0);
	CHECK_EQ(open_fds(), before);
	close(pair[0]);
	close(pair[1]);
	close_world();
}

static void kill_sockd_and_idle_processes_keep_their_arenas_for_a_while(void)
{
	int pair[2], fd, again;
	u32 sk, gen, fds, sk2, gen2;

	open_world();
	REQUIRE_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	fd = hello(5, ARENA_MAX);
	make(fd, 1, pair, &sk, &gen, &fds);
	u64 secret = sock_shm->arena[SK_ARENA(sk)].secret[0];
	store_release(&tcp_shm->ans[sk].freed_gen, gen);
	tcpd_says(sk);
	close(fd);
	restart();
	tcpd_says(SOCK_HINT_SCAN);
	arenas_retire(s);
	CHECK_EQ(sock_shm->arena[SK_ARENA(sk)].used & 1, 1);
	again = hello(5, SK_ARENA(sk));		/* in time: its arena is its arena */
	make(again, 2, pair, &sk2, &gen2, &fds);
	CHECK_EQ(fds, 0);
	store_release(&tcp_shm->ans[sk2].freed_gen, gen2);
	close(again);
	restart();
	s->d.loop.now += 31 * NSEC_PER_SEC;
	arenas_retire(s);
	slot_reap(s, sk2);
	arenas_retire(s);
	CHECK_EQ(sock_shm->arena[SK_ARENA(sk)].used & 1, 0);
	/* Too late: the number is somebody else's, its proof fails, its next socket brings a new arena. */
	fd = hello(9, ARENA_MAX);
	make(fd, 1, pair, &sk, &gen, &fds);
	CHECK(sock_shm->arena[SK_ARENA(sk)].secret[0] != secret);
	CHECK_EQ(fds, 3);
	close(fd);
	close(pair[0]);
	close(pair[1]);
	close_world();
}

static void arenas_of_an_application_go_together(void)
{
	int pair[2], fd;
	u32 sk, gen, fds, more;

	open_world();
	REQUIRE_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	fd = hello(5, ARENA_MAX);
	make(fd, 1, pair, &sk, &gen, &fds);
	tcpd_says(SOCK_HINT_ARENA | SK_ARENA(sk));	/* slots for what its listener accepts */
	for (more = 0; more == SK_ARENA(sk) || !(sock_shm->arena[more].used & 1); more++)
		REQUIRE(more < ARENA_MAX - 1);
	CHECK_EQ(sock_shm->arena[more].app, sock_shm->arena[SK_ARENA(sk)].app);
	close(fd);
	tcpd_says(SOCK_HINT_SCAN);
	arenas_retire(s);
	CHECK_EQ(sock_shm->arena[more].used & 1, 1);	/* the listener may fill it at any time */
	store_release(&tcp_shm->ans[sk].freed_gen, gen);
	tcpd_says(SOCK_HINT_SCAN);
	CHECK_EQ(sock_shm->arena[more].used & 1, 0);
	CHECK_EQ(sock_shm->arena[SK_ARENA(sk)].used & 1, 0);
	close(pair[0]);
	close(pair[1]);
	close_world();
}

static void what_is_not_yours_is_refused(void)
{
	int pair[2], file[2], mine, other;
	u32 sk, gen, fds;

	open_world();
	REQUIRE_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	REQUIRE_EQ(pipe(file), 0);
	mine = hello(5, ARENA_MAX);
	other = hello(6, ARENA_MAX);
	make(mine, 1, pair, &sk, &gen, &fds);
	send_bind(other, 1, sk, gen, 8080);	/* has never shown that arena */
	run(true);
	CHECK_EQ(expect(other, 1), -EBADF);
	send_bind(mine, 2, sk, gen + 2, 8080);	/* a generation that is not */
	run(true);
	CHECK_EQ(expect(mine, 2), -EBADF);
	send_bind(mine, 3, 0xffffffff, gen, 8080);
	run(true);
	CHECK_EQ(expect(mine, 3), -EBADF);
	send_socket(other, 2, file);		/* no sockets */
	run(true);
	CHECK_EQ(expect(other, 2), -EBADMSG);
	CHECK_EQ(done_ops[SKOP_BIND], 0);
	close(mine);
	close(other);
	close(pair[0]);
	close(pair[1]);
	close(file[0]);
	close(file[1]);
	close_world();
}

static void attach_by_descriptor(void)
{
	Strata__Sock__Request q = STRATA__SOCK__REQUEST__INIT;
	int pair[2], strange[2], a, b;
	u32 sk, gen, fds;
	u64 cookie[2] = { 0 };
	socklen_t len = sizeof(u64);

	open_world();
	REQUIRE_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	REQUIRE_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, strange), 0);
	a = hello(5, ARENA_MAX);
	make(a, 1, pair, &sk, &gen, &fds);
	b = hello(6, ARENA_MAX);
	getsockopt(pair[1], SOL_SOCKET, SO_COOKIE, &cookie[0], &len);
	getsockopt(strange[0], SOL_SOCKET, SO_COOKIE, &cookie[1], &len);
	q.op = OP(WHOSE);
	q.id = 1;
	q.n_cookies = 2;
	q.cookies = cookie;
	ask(b, &q, NULL, 0);
	run(true);
	Strata__Sock__Reply *r = hear(b, NULL);
	REQUIRE(r != NULL);
	REQUIRE_EQ(r->n_mine, 1);
	CHECK_EQ(r->mine[0], cookie[0]);
	strata__sock__reply__free_unpacked(r, NULL);
	strata__sock__request__init(&q);
	q.op = OP(ATTACH);
	q.id = 2;
	ask(b, &q, &pair[1], 1);
	run(true);
	r = hear(b, &fds);
	REQUIRE(r != NULL);
	CHECK_EQ(r->error, 0);
	CHECK_EQ(r->sk, sk);
	CHECK_EQ(r->gen, gen);
	CHECK_EQ(fds, 3);
	strata__sock__reply__free_unpacked(r, NULL);
	q.id = 3;
	ask(b, &q, &strange[0], 1);
	run(true);
	CHECK_EQ(expect(b, 3), -ENOTSOCK);
	close(a);
	close(b);
	for (u32 i = 0; i < 2; i++) {
		close(pair[i]);
		close(strange[i]);
	}
	close_world();
}

static void garbage_cuts_only_its_sender(void)
{
	int pair[2], good;
	u32 sk, gen, fds;

	open_world();
	REQUIRE_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	good = hello(5, ARENA_MAX);
	make(good, 1, pair, &sk, &gen, &fds);
	srand(1);
	for (u32 i = 0; i < 2000; i++) {
		int fd = i & 1 ? hello(100 + i, ARENA_MAX) : dial();
		u8 junk[600];
		size_t n = 1 + (size_t)rand() % sizeof(junk);

		for (size_t k = 0; k < n; k++)
			junk[k] = (u8)(rand() & (i & 2 ? 0xff : 0x1f));
		CHECK_EQ(send(fd, junk, n, MSG_NOSIGNAL), (ssize_t)n);
		run(true);
		close(fd);
		run(true);
	}
	CHECK(counter_get(&counters, SOCK_BAD_MESSAGES) > 1000);
	CHECK_EQ(s->nclients, 1);
	send_bind(good, 2, sk, gen, 8080);
	run(true);
	CHECK_EQ(expect(good, 2), 0);
	close(good);
	close(pair[0]);
	close(pair[1]);
	close_world();
}

static void quota_and_a_second_arena(void)
{
	int pair[2], fd;
	u32 sk, gen, fds, arenas = 0;

	open_world();
	REQUIRE_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	fd = hello(5, ARENA_MAX);
	for (u32 i = 0; i < 300; i++) {
		make(fd, i + 1, pair, &sk, &gen, &fds);
		arenas += fds == 3;
		u8 skip[sizeof(struct lot_msg)];
		while (recv(lot_pair[0][0], skip, sizeof(skip), MSG_DONTWAIT) > 0)
			;	/* the lot is tcpd's to empty */
	}
	CHECK_EQ(arenas, 2);
	send_socket(fd, 1000, pair);
	run(true);
	CHECK_EQ(expect(fd, 1000), -EMFILE);
	close(fd);
	restart();		/* quotas are counted again from the region */
	CHECK_EQ(quota_of(s, getuid())->sockets, 300);
	CHECK_EQ(quota_of(s, getuid())->arenas, 2);
	close(pair[0]);
	close(pair[1]);
	close_world();
}

UNIT_MAIN(UNIT(kill_sockd_after_the_socket_is_made_before_the_reply_is_read), UNIT(kill_sockd_between_post_and_answer),
	  UNIT(a_slot_is_reused_when_tcpd_let_go_of_it), UNIT(an_arena_goes_with_the_last_client_or_the_last_socket),
	  UNIT(kill_sockd_and_idle_processes_keep_their_arenas_for_a_while), UNIT(arenas_of_an_application_go_together), UNIT(what_is_not_yours_is_refused), UNIT(attach_by_descriptor),
	  UNIT(garbage_cuts_only_its_sender), UNIT(quota_and_a_second_arena))
