/* test_loop.c – common/loop.h: descriptors, pollers, deadlines, and the sleep protocol against a producer in
 * another thread that rings only when the loop says it sleeps. */
#include "common/loop.h"
#include "unit.h"

#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#define MS NSEC_PER_MSEC

static struct loop l;
static _Atomic u32 sleeping;

/* What a test is doing; the poller ends the loop. */
static struct {
	u32 events, seen, passes, budget;
	int fd, id;
	u64 until;		/* deadline the poller asks for */
	u32 max_passes;
} s;

static u32 stop_poll(void *arg, u32 budget)
{
	s.budget = budget;
	s.passes++;
	if (s.until)
		loop_deadline(&l, s.until);
	if (l.now >= s.until || (s.max_passes && s.passes >= s.max_passes))
		l.quit = true;
	(void)arg;
	return 0;
}

static void open_loop(u64 poll_ns, u64 run_ns)
{
	memset(&s, 0, sizeof(s));
	store_relaxed(&sleeping, 1);
	REQUIRE_EQ(loop_init(&l, &sleeping, poll_ns), 0);
	CHECK_EQ(load_relaxed(&sleeping), 0);		/* starts awake */
	s.until = clock_ns() + run_ns;
	REQUIRE_EQ(loop_add_poller(&l, stop_poll, NULL, NULL), 0);
}

static void close_loop(void)
{
	CHECK_EQ(load_relaxed(&sleeping), 0);
	loop_fini(&l);
}

static void on_bell(void *arg, u32 events)
{
	u64 n;

	s.events |= events;
	if (read(s.fd, &n, 8) == 8)
		s.seen++;
	if (s.seen < 100)
		CHECK_EQ(eventfd_write(s.fd, 1), 0);
	else
		l.quit = true;
	(void)arg;
}

static void events_keep_coming(void)
{
	open_loop(0, 5000 * MS);
	s.fd = eventfd(1, EFD_NONBLOCK | EFD_CLOEXEC);		/* ready before it is added */
	REQUIRE(loop_add_fd(&l, s.fd, EPOLLIN, on_bell, NULL) >= 0);
	CHECK_EQ(loop_run(&l), 0);
	CHECK_EQ(s.seen, 100);
	CHECK_EQ(s.events, EPOLLIN);
	close_loop();
	close(s.fd);
}

static void replacement(void *arg, u32 events)
{
	CHECK(arg == &s);
	CHECK(events & EPOLLIN);
	s.seen += 10;
	l.quit = true;
}

/* Deletes itself and puts another descriptor in its place. */
static void replace_me(void *arg, u32 events)
{
	s.seen++;
	loop_del_fd(&l, s.id);
	CHECK_EQ(loop_add_fd(&l, s.fd, EPOLLIN, replacement, &s), s.id);
	(void)arg;
	(void)events;
}

static void a_callback_may_replace_itself(void)
{
	open_loop(0, 2000 * MS);
	s.fd = eventfd(1, EFD_NONBLOCK | EFD_CLOEXEC);
	s.id = loop_add_fd(&l, s.fd, EPOLLIN, replace_me, NULL);
	REQUIRE(s.id >= 0);
	CHECK_EQ(loop_run(&l), 0);
	CHECK_EQ(s.seen, 11);
	close_loop();
	close(s.fd);
}

static void must_not_run(void *arg, u32 events)
{
	(void)arg;
	(void)events;
	CHECK(false);
}

/* An event that was already posted for a deleted descriptor reaches nobody. */
static void deleted_means_silent(void)
{
	int id;

	open_loop(0, 20 * MS);
	s.fd = eventfd(1, EFD_NONBLOCK | EFD_CLOEXEC);
	id = loop_add_fd(&l, s.fd, EPOLLIN, must_not_run, NULL);
	REQUIRE(id >= 0);
	CHECK(io_uring_submit_and_get_events(&l.uring) >= 0);
	loop_del_fd(&l, id);
	loop_del_fd(&l, id);
	loop_del_fd(&l, -1);
	loop_del_fd(&l, LOOP_FDS);
	CHECK_EQ(loop_run(&l), 0);
	close_loop();
	close(s.fd);
}

static void deleting_lets_the_peer_see_the_end(void)
{
	struct pollfd p = { .events = POLLIN };
	int pair[2], id;

	open_loop(0, 10 * MS);
	REQUIRE_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	id = loop_add_fd(&l, pair[0], EPOLLIN, must_not_run, NULL);
	REQUIRE(id >= 0);
	CHECK_EQ(loop_run(&l), 0);
	loop_del_fd(&l, id);
	close(pair[0]);
	l.quit = false;
	s.until = clock_ns() + 10 * MS;
	CHECK_EQ(loop_run(&l), 0);
	p.fd = pair[1];
	CHECK_EQ(poll(&p, 1, 0), 1);
	CHECK(p.revents & POLLHUP);
	close_loop();
	close(pair[1]);
}

static void hang_up_is_an_event(void)
{
	int pair[2];

	open_loop(0, 2000 * MS);
	REQUIRE_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	s.fd = pair[0];
	s.seen = 1000;
	REQUIRE(loop_add_fd(&l, pair[0], EPOLLIN | EPOLLRDHUP, on_bell, NULL) >= 0);
	close(pair[1]);
	CHECK_EQ(loop_run(&l), 0);
	CHECK(s.events & EPOLLHUP);
	close_loop();
	close(pair[0]);
}

static void note_error(void *arg, u32 events)
{
	s.events |= events;
	s.seen++;
	l.quit = true;
	(void)arg;
}

static void a_bad_descriptor_is_an_error_once(void)
{
	open_loop(0, 2000 * MS);
	REQUIRE(loop_add_fd(&l, 1000000, EPOLLIN, note_error, NULL) >= 0);
	CHECK_EQ(loop_run(&l), 0);
	CHECK_EQ(s.events, EPOLLERR);
	l.quit = false;
	s.until = clock_ns() + 5 * MS;
	CHECK_EQ(loop_run(&l), 0);
	CHECK_EQ(s.seen, 1);
	close_loop();
}

static void count_event(void *arg, u32 events)
{
	s.seen++;
	(void)arg;
	(void)events;
}

static void as_many_as_there_is_room_for(void)
{
	int ids = 0;

	open_loop(0, 50 * MS);
	s.fd = eventfd(1, EFD_NONBLOCK | EFD_CLOEXEC);
	while (ids <= (int)LOOP_FDS && loop_add_fd(&l, s.fd, EPOLLIN, count_event, NULL) == ids)
		ids++;
	CHECK_EQ(ids, LOOP_FDS);
	CHECK_EQ(loop_add_fd(&l, s.fd, EPOLLIN, count_event, NULL), -ENOSPC);
	CHECK_EQ(loop_run(&l), 0);
	CHECK_EQ(s.seen, LOOP_FDS);
	for (int i = 0; i < ids; i++)
		loop_del_fd(&l, i);
	CHECK_EQ(eventfd_write(s.fd, 1), 0);
	l.quit = false;
	s.until = clock_ns() + 5 * MS;
	CHECK_EQ(loop_run(&l), 0);
	CHECK_EQ(s.seen, LOOP_FDS);
	close_loop();
	close(s.fd);
}

static void deadline_wakes_and_idle_costs_nothing(void)
{
	u64 start = clock_ns();

	open_loop(0, 100 * MS);
	CHECK_EQ(loop_run(&l), 0);
	CHECK(clock_ns() - start >= 100 * MS);
	CHECK(s.passes <= 4);
	CHECK(l.sleeps >= 1 && l.sleeps <= 3);
	CHECK_EQ(s.budget, LOOP_BUDGET);
	close_loop();
}

static void a_past_deadline_does_not_block(void)
{
	open_loop(0, 0);
	s.until = 1;
	s.max_passes = 5;
	CHECK_EQ(loop_run(&l), 0);
	CHECK_EQ(l.sleeps, 0);
	close_loop();
}

static u32 yields_in(u64 ns)
{
	u64 end = clock_ns() + ns;
	u32 n = 0;

	while (clock_ns() < end) {
		sched_yield();
		n++;
	}
	return n;
}

static void polls_for_a_while_before_it_sleeps(void)
{
	u32 possible = yields_in(20 * MS);	/* with what else runs on this machine now */

	open_loop(20 * MS, 60 * MS);
	CHECK_EQ(loop_run(&l), 0);
	possible = MIN(possible, yields_in(20 * MS));
	CHECK(s.passes > MIN(50u, possible / 20));	/* 20 ms of sched_yield */
	CHECK(l.sleeps >= 1 && l.sleeps <= 3);
	close_loop();
}

static void does_not_poll_where_it_has_one_cpu(void)
{
	cpu_set_t all, one;

	REQUIRE_EQ(sched_getaffinity(0, sizeof(all), &all), 0);
	CPU_ZERO(&one);
	CPU_SET(sched_getcpu(), &one);
	REQUIRE_EQ(sched_setaffinity(0, sizeof(one), &one), 0);
	open_loop(20 * MS, 60 * MS);
	l.poll_auto = true;
	CHECK_EQ(loop_run(&l), 0);
	CHECK(s.passes < 10);
	CHECK(l.sleeps >= 1);
	close_loop();
	REQUIRE_EQ(sched_setaffinity(0, sizeof(all), &all), 0);
}

/* ---- the sleep protocol: no lost wake-up ---- */

#ifdef __SANITIZE_ADDRESS__
enum { ROUNDS = 50000 };
#else
enum { ROUNDS = 200000 };
#endif
static struct {
	_Alignas(CACHELINE) _Atomic u32 head;	/* published by the producer */
	_Alignas(CACHELINE) _Atomic u32 tail;	/* consumed by the loop */
	u32 rung, lost;
	int bell;
} race;

static u32 race_poll(void *arg, u32 budget)
{
	u32 head = load_acquire(&race.head), n = head - load_relaxed(&race.tail);

	if (n)
		store_release(&race.tail, head);
	if (head == ROUNDS)
		l.quit = true;
	(void)arg;
	(void)budget;
	return n;
}

static bool race_pending(void *arg)
{
	(void)arg;
	return load_acquire(&race.head) != load_relaxed(&race.tail);
}

static void race_bell(void *arg, u32 events)
{
	u64 n;

	CHECK(read(race.bell, &n, 8) == 8 || errno == EAGAIN);
	(void)arg;
	(void)events;
}

/* Publish, fence, look at the flag, ring: as daemon_ring() does. Then wait for the answer. */
static void *race_produce(void *arg)
{
	u32 x = 1;

	for (u32 i = 1; i <= ROUNDS; i++) {
		u64 since = 0;

		store_release(&race.head, i);
		fence_seq_cst();
		if (load_relaxed(&sleeping)) {
			race.rung++;
			(void)!write(race.bell, &(u64){ 1 }, 8);
		}
		while (load_acquire(&race.tail) != i) {
			sched_yield();
			if (!since)
				since = clock_ns();
			else if (clock_ns() - since > 5000 * MS) {	/* asleep with work before it */
				race.lost++;
				(void)!write(race.bell, &(u64){ 1 }, 8);
				since = clock_ns();
			}
		}
		x = x * 1664525 + 1013904223;
		for (volatile u32 k = x >> 24; k; k--)	/* meet the loop at every point of falling asleep */
			;
	}
	(void)arg;
	return NULL;
}

static void no_wake_up_is_lost(void)
{
	pthread_t thread;

	memset(&race, 0, sizeof(race));
	REQUIRE_EQ(loop_init(&l, &sleeping, 0), 0);
	race.bell = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	REQUIRE(loop_add_fd(&l, race.bell, EPOLLIN, race_bell, NULL) >= 0);
	REQUIRE_EQ(loop_add_poller(&l, race_poll, race_pending, NULL), 0);
	REQUIRE_EQ(pthread_create(&thread, NULL, race_produce, NULL), 0);
	CHECK_EQ(loop_run(&l), 0);
	pthread_join(thread, NULL);
	CHECK_EQ(race.lost, 0);
	CHECK_EQ(load_relaxed(&race.tail), ROUNDS);
	printf("# %d rounds, %llu sleeps, %u bells\n", ROUNDS, (unsigned long long)l.sleeps, race.rung);
	CHECK(l.sleeps > ROUNDS / 100);		/* else this tested nothing */
	close_loop();
	close(race.bell);
}

UNIT_MAIN(UNIT(events_keep_coming), UNIT(a_callback_may_replace_itself), UNIT(deleted_means_silent),
	  UNIT(deleting_lets_the_peer_see_the_end), UNIT(hang_up_is_an_event), UNIT(a_bad_descriptor_is_an_error_once),
	  UNIT(as_many_as_there_is_room_for), UNIT(deadline_wakes_and_idle_costs_nothing),
	  UNIT(a_past_deadline_does_not_block), UNIT(polls_for_a_while_before_it_sleeps),
	  UNIT(does_not_poll_where_it_has_one_cpu), UNIT(no_wake_up_is_lost))
