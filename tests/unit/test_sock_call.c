/* test_sock_call.c – sockd's calls: what is done once, what is answered again (services/sock/call.c). */
#include "test_sock_fixture.h"

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

UNIT_MAIN(UNIT(kill_sockd_after_the_socket_is_made_before_the_reply_is_read), UNIT(kill_sockd_between_post_and_answer))
