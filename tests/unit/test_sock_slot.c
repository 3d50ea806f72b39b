/* test_sock_slot.c – sockets of an application: reuse, quotas, a second arena (services/sock/slot.c). */
#include "test_sock_fixture.h"

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
		tcp_lot_read();
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

UNIT_MAIN(UNIT(a_slot_is_reused_when_tcpd_let_go_of_it), UNIT(quota_and_a_second_arena))
