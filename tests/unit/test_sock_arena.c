/* test_sock_arena.c – when the memory of an application goes, and how many there may be (services/sock/arena.c). */
#include "test_sock_fixture.h"

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

#define MANY 150u	/* more than a word, or two, has bits */

static void as_many_programs_as_there_are(void)
{
	int pair[2], fd[MANY];
	u32 sk[MANY], gen[MANY], fds;

	open_world();
	s->d.conf.max_arenas_per_uid = s->d.conf.max_clients = ARENA_MAX;
	REQUIRE_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	for (u32 i = 0; i < MANY; i++) {
		fd[i] = hello(i + 1, ARENA_MAX);
		make(fd[i], 1, pair, &sk[i], &gen[i], &fds);
		CHECK_EQ(SK_ARENA(sk[i]), i);
		tcp_lot_read();
	}
	for (u32 i = 0; i < MANY; i++)
		close(fd[i]);
	restart();
	s->d.conf.max_arenas_per_uid = s->d.conf.max_clients = ARENA_MAX;
	CHECK_EQ(quota_of(s, getuid())->arenas, MANY);
	u32 last = MANY - 1;
	int back = hello(last + 1, last);		/* it has what it had, and nobody else's */
	send_bind(back, 2, sk[last], gen[last], 80);
	run(true);
	CHECK_EQ(expect(back, 2), 0);
	send_bind(back, 3, sk[last - 1], gen[last - 1], 80);
	run(true);
	CHECK_EQ(expect(back, 3), -EBADF);
	s->d.loop.now += 31 * NSEC_PER_SEC;
	for (u32 i = 0; i < MANY; i++)
		store_release(&tcp_shm->ans[sk[i]].freed_gen, gen[i]);
	tcpd_says(SOCK_HINT_SCAN);
	s->d.loop.now += 31 * NSEC_PER_SEC;
	arenas_retire(s);
	for (u32 i = 0; i < MANY; i++)
		CHECK_EQ(sock_shm->arena[i].used & 1, i == last);
	CHECK_EQ(quota_of(s, getuid())->arenas, 1);
	close(back);
	run(true);
	CHECK_EQ(sock_shm->arena[last].used & 1, 0);
	close(pair[0]);
	close(pair[1]);
	close_world();
}

UNIT_MAIN(UNIT(as_many_programs_as_there_are), UNIT(an_arena_goes_with_the_last_client_or_the_last_socket), UNIT(kill_sockd_and_idle_processes_keep_their_arenas_for_a_while), UNIT(arenas_of_an_application_go_together))
