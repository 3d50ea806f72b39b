/* test_sock_hello.c – what a process may use, and attach to (services/sock/hello.c). */
#include "test_sock_fixture.h"

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

UNIT_MAIN(UNIT(what_is_not_yours_is_refused), UNIT(attach_by_descriptor))
