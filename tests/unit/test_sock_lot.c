/* test_sock_lot.c – services/sock/lot.c: parked descriptors survive their reader, twice is once, nothing is lost. */
#include "services/sock/lot.h"
#include "unit.h"

#include <dirent.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static struct lots lots;
static struct lot_seen seen;

static void open_lots(u32 n)
{
	lots = (struct lots){ .n = n };
	for (u32 i = 0; i < n; i++) {
		int sv[2];

		REQUIRE_EQ(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sv), 0);
		lots.lot[i] = (struct lot){ .r = sv[0], .w = sv[1] };
		REQUIRE_EQ(lot_rewind(&lots.lot[i]), 0);
	}
}

static void close_lots(void)
{
	for (u32 i = 0; i < lots.n; i++) {
		close(lots.lot[i].r);
		close(lots.lot[i].w);
	}
}

static u32 open_fds(void)
{
	DIR *d = opendir("/proc/self/fd");
	u32 n = 0;

	while (d && readdir(d))
		n++;
	if (d)
		closedir(d);
	return n;
}

/* Park n far ends numbered from `first` in one message; the near ends stay with us. */
static int park(u32 first, u32 n, int *near, u32 except)
{
	static struct lot_msg m;
	int far[LOT_FDS], r;

	m.hdr = (struct lot_hdr){ LOT_MAGIC, LOT_FAR, (u16)n };
	for (u32 i = 0; i < n; i++) {
		int sv[2];

		REQUIRE_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, sv), 0);
		far[i] = sv[0];
		near[i] = sv[1];
		m.far[i] = (struct lot_far){ .sk = first + i, .gen = 1, .cookie = first + i };
	}
	r = lots_put(&lots, &m, far, n, except);
	for (u32 i = 0; i < n; i++)
		close(far[i]);
	return r;
}

static u32 walk(struct lot *l, bool *alive)
{
	u32 n = 0;

	while (lot_peek(l, &seen) > 0) {
		for (u32 i = 0; i < seen.nfds; i++) {
			if (alive)
				*alive &= write(seen.fd[i], "x", 1) == 1;
			close(seen.fd[i]);
			n++;
		}
	}
	return n;
}

static void parked_is_found_again_and_again(void)
{
	int near[100];
	u32 before = open_fds();
	bool alive = true;
	char c;

	open_lots(2);
	for (u32 i = 0; i < 100; i += 10)
		REQUIRE(park(i, 10, near + i, LOTS_MAX) >= 0);
	for (u32 round = 0; round < 3; round++) {	/* three lives of the reader */
		REQUIRE_EQ(lot_rewind(&lots.lot[0]), 0);
		CHECK_EQ(walk(&lots.lot[0], &alive), 100);
		CHECK(alive);
	}
	CHECK_EQ(walk(&lots.lot[0], NULL), 0);
	CHECK_EQ(read(near[99], &c, 1), 1);
	for (u32 i = 0; i < 100; i++)
		close(near[i]);
	close_lots();
	CHECK_EQ(open_fds(), before);
}

static void later_messages_are_walked_from_where_it_stood(void)
{
	int near[6];

	open_lots(1);
	park(0, 3, near, LOTS_MAX);
	CHECK_EQ(walk(&lots.lot[0], NULL), 3);
	park(3, 2, near + 3, LOTS_MAX);
	park(5, 1, near + 5, LOTS_MAX);
	CHECK_EQ(walk(&lots.lot[0], NULL), 3);
	CHECK_EQ(lots.lot[0].walked, 3);
	for (u32 i = 0; i < 6; i++)
		close(near[i]);
	close_lots();
}

static void survives_its_writer(void)
{
	u32 ids = 0;
	int near[50];

	open_lots(1);
	pid_t pid = fork();
	REQUIRE(pid >= 0);
	if (!pid) {
		for (u32 i = 0; i < 5; i++)
			if (park(i * 10, 10, near + i * 10, LOTS_MAX) < 0)
				_exit(1);
		kill(getpid(), SIGKILL);
	}
	waitpid(pid, NULL, 0);
	while (lot_peek(&lots.lot[0], &seen) > 0) {
		for (u32 i = 0; i < seen.nfds; i++) {
			char c;

			ids += seen.msg.far[i].sk;
			CHECK_EQ(recv(seen.fd[i], &c, 1, MSG_DONTWAIT), 0);	/* HUP: the near end died with the child */
			close(seen.fd[i]);
		}
	}
	CHECK_EQ(ids, 49 * 50 / 2);
	close_lots();
}

/* Kill the reader between copying the survivors and draining: both copies are there; the drain of a later life takes one. */
static void copy_then_drain_in_any_life(void)
{
	int near[20], extra[1];

	open_lots(2);
	lots.next = 0;
	park(0, 10, near, LOTS_MAX);
	CHECK_EQ(walk(&lots.lot[0], NULL), 10);
	CHECK_EQ(park(10, 10, near + 10, 0), 1);	/* the "copy": not into lot 0 */
	CHECK_EQ(lot_rewind(&lots.lot[0]), 0);		/* killed here; the next life walks both */
	CHECK_EQ(walk(&lots.lot[0], NULL), 10);
	CHECK_EQ(walk(&lots.lot[1], NULL), 10);
	lots.next = 0;
	CHECK_EQ(park(99, 1, extra, 1), 0);		/* a writer adds after the walk, before the drain */
	CHECK_EQ(lot_drain(&lots.lot[0]), 0);
	CHECK_EQ(lot_peek(&lots.lot[0], &seen), 1);	/* it is still there */
	CHECK_EQ(seen.msg.far[0].sk, 99);
	close(seen.fd[0]);
	CHECK_EQ(walk(&lots.lot[0], NULL), 0);
	for (u32 i = 0; i < 20; i++)
		close(near[i]);
	close(extra[0]);
	close_lots();
}

static void full_lots_say_so_and_spill_over(void)
{
	u32 n = 0, most = 0;
	int near, r;

	open_lots(2);
	while ((r = park(n, 1, &near, LOTS_MAX)) >= 0) {
		close(near);
		most = (u32)r;
		n++;
		REQUIRE(n < 100000);
	}
	close(near);
	CHECK_EQ(r, -EAGAIN);
	CHECK_EQ(most, 1);
	CHECK_EQ(walk(&lots.lot[0], NULL) + walk(&lots.lot[1], NULL), n);
	CHECK_EQ(lot_drain(&lots.lot[0]), 0);
	CHECK_EQ(park(0, 1, &near, LOTS_MAX), 0);
	close(near);
	close_lots();
}

static void garbage_is_skipped(void)
{
	int near[1], fd[3] = { 0, 1, 2 };
	u32 before = open_fds();
	static struct lot_msg m;

	open_lots(1);
	REQUIRE_EQ(send(lots.lot[0].w, "hello", 5, 0), 5);
	REQUIRE_EQ(send(lots.lot[0].w, &m, sizeof(m), 0), sizeof(m));
	m.hdr = (struct lot_hdr){ LOT_MAGIC, LOT_ARENA, 1 };
	m.arena.id = ARENA_MAX;
	REQUIRE(lots_put(&lots, &m, fd, 3, LOTS_MAX) >= 0);
	m.arena.id = 0;
	REQUIRE(lots_put(&lots, &m, fd, 2, LOTS_MAX) >= 0);	/* a descriptor too few */
	park(7, 1, near, LOTS_MAX);
	CHECK_EQ(lot_peek(&lots.lot[0], &seen), 1);
	CHECK_EQ(seen.msg.far[0].sk, 7);
	CHECK_EQ(lots.lot[0].dead, 4);
	close(seen.fd[0]);
	close(near[0]);
	close_lots();
	CHECK_EQ(open_fds(), before);
}

UNIT_MAIN(UNIT(parked_is_found_again_and_again), UNIT(later_messages_are_walked_from_where_it_stood),
	  UNIT(survives_its_writer), UNIT(copy_then_drain_in_any_life), UNIT(full_lots_say_so_and_spill_over), UNIT(garbage_is_skipped))
