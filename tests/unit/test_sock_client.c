/* test_sock_client.c – connections that send nonsense (services/sock/client.c). */
#include "test_sock_fixture.h"

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

UNIT_MAIN(UNIT(garbage_cuts_only_its_sender))
