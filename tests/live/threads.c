/* threads.c – short connections from many threads at once, each verified: for descriptor numbers, slots and parked ends that are
 * reused while others still look at them. The same binary runs on Strata and on the kernel, as client and as server.
 *
 *   threads serve PORT THREADS               threads accept on one listener; a connection's bytes are echoed until its end
 *   threads run HOST PORT THREADS COUNT      COUNT connections in all: connect, send, perhaps shutdown, receive, compare, close
 *
 * The client does what a program may do with its descriptors meanwhile: it copies them with dup and dup2 over others of its
 * own, closes the original, reads late when the connection is long over, or closes with the end unread. Prints one line of JSON. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define SIZE_MAX_ 6000u

static struct sockaddr_in server;
static atomic_int left, good, bad;
static int listener;

static uint32_t rnd(uint32_t *seed, uint32_t n)
{
	*seed = *seed * 1664525u + 1013904223u;
	return (*seed >> 8) % n;
}

static void nap(long us)
{
	struct timespec t = { 0, us * 1000 };

	nanosleep(&t, NULL);
}

static bool send_all(int fd, const uint8_t *p, size_t n)
{
	while (n) {
		ssize_t r = send(fd, p, n, MSG_NOSIGNAL);

		if (r < 0)
			return false;
		p += r;
		n -= (size_t)r;
	}
	return true;
}

/* n bytes, or fewer if the stream ends; -1: error. */
static ssize_t recv_all(int fd, uint8_t *p, size_t n)
{
	size_t got = 0;

	while (got < n) {
		ssize_t r = recv(fd, p + got, n - got, 0);

		if (r < 0)
			return -1;
		if (!r)
			break;
		got += (size_t)r;
	}
	return (ssize_t)got;
}

/* The same socket under another number; what had the number is closed by dup2(). */
static int shuffled(int fd, uint32_t *seed)
{
	int other;

	switch (rnd(seed, 4)) {
	case 0:
		other = dup(fd);
		break;
	case 1:
		other = socket(AF_INET, SOCK_STREAM, 0);
		if (other >= 0 && dup2(fd, other) != other)
			return -1;
		break;
	default:
		return fd;
	}
	if (other < 0 || close(fd) < 0)
		return -1;
	return other;
}

/* One connection. NULL, or what went wrong. */
static const char *connection(uint32_t *seed)
{
	uint8_t out[SIZE_MAX_], in[SIZE_MAX_];
	size_t n = 1 + rnd(seed, SIZE_MAX_);
	bool half = rnd(seed, 2);
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	uint8_t c;
	ssize_t r;

	for (size_t i = 0; i < n; i++)
		out[i] = (uint8_t)rnd(seed, 256);
	if (fd < 0)
		return "socket";
	if (connect(fd, (struct sockaddr *)&server, sizeof(server)) < 0)
		return "connect";
	fd = shuffled(fd, seed);
	if (fd < 0)
		return "dup";
	if (!send_all(fd, out, n))
		return "send";
	if (half && shutdown(fd, SHUT_WR) < 0)
		return "shutdown";
	if (!rnd(seed, 8))
		nap(3000);	/* half: both directions have ended when it is read */
	r = recv_all(fd, in, n);
	if (r < 0)
		return "recv";
	if ((size_t)r != n)
		return "early end";
	if (memcmp(in, out, n))
		return "other bytes";
	if (half && rnd(seed, 2)) {
		if (!rnd(seed, 4))
			nap(2000);
		r = recv(fd, &c, 1, 0);
		if (r)
			return r < 0 ? "recv at the end" : "bytes after the end";
	}
	return close(fd) < 0 ? "close" : NULL;
}

static void *client(void *arg)
{
	uint32_t seed = (uint32_t)(uintptr_t)arg * 7919u + 1u;

	while (atomic_fetch_sub(&left, 1) > 0) {
		const char *wrong = connection(&seed);

		if (!wrong) {
			good++;
			continue;
		}
		if (bad++ < 20)
			fprintf(stderr, "threads: %s: %s\n", wrong, strerror(errno));
	}
	return NULL;
}

static void *serve(void *unused)
{
	uint8_t buf[65536];

	(void)unused;
	for (;;) {
		int fd = accept(listener, NULL, NULL);
		ssize_t r;

		if (fd < 0) {
			fprintf(stderr, "threads: accept: %s\n", strerror(errno));
			exit(1);
		}
		while ((r = recv(fd, buf, sizeof(buf), 0)) > 0 && send_all(fd, buf, (size_t)r))
			;
		if (r < 0 && bad++ < 20)
			fprintf(stderr, "threads: server: %s\n", strerror(errno));
		close(fd);
	}
	return NULL;
}

static int run_threads(void *(*fn)(void *), int n)
{
	pthread_t t[256];

	if (n < 1 || n > 256)
		return 2;
	for (intptr_t i = 0; i < n; i++)
		if (pthread_create(&t[i], NULL, fn, (void *)i))
			return 2;
	for (int i = 0; i < n; i++)
		pthread_join(t[i], NULL);
	return 0;
}

static int listen_on(int port)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port) };
	int one = 1;

	listener = socket(AF_INET, SOCK_STREAM, 0);
	if (listener < 0 || setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) < 0 ||
	    bind(listener, (struct sockaddr *)&a, sizeof(a)) < 0 || listen(listener, 1024) < 0) {
		perror("threads: listen");
		return 1;
	}
	return 0;
}

int main(int argc, char **argv)
{
	int r;

	signal(SIGPIPE, SIG_IGN);
	if (argc == 4 && !strcmp(argv[1], "serve"))
		return listen_on(atoi(argv[2])) || run_threads(serve, atoi(argv[3]));
	if (argc != 6 || strcmp(argv[1], "run")) {
		fprintf(stderr, "usage: threads serve PORT THREADS | run HOST PORT THREADS COUNT\n");
		return 2;
	}
	server.sin_family = AF_INET;
	server.sin_port = htons((uint16_t)atoi(argv[3]));
	if (inet_pton(AF_INET, argv[2], &server.sin_addr) != 1)
		return 2;
	left = atoi(argv[5]);
	r = run_threads(client, atoi(argv[4]));
	printf("{\"connections\": %d, \"bad\": %d}\n", good, bad);
	return r ? r : bad != 0;
}
