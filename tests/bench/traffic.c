/* traffic.c – a plain sockets program that makes and checks TCP traffic: the same binary runs on Strata (strata run) and on the
 * kernel, as client and as server, for tests/live, tests/systemd and tests/bench.
 *
 *   traffic serve PORT                          a thread per connection does what the client's header asks
 *   traffic one PORT                            accept, 1 byte in, 1 byte out, close; one after the other
 *   traffic send HOST PORT [options]            bulk to the server
 *   traffic recv HOST PORT [options]            bulk from the server
 *   traffic rr   HOST PORT [options]            requests and answers of --size bytes, one at a time
 *   traffic conn HOST PORT [options]            connect, 1 byte each way, close, over and over
 *   traffic hold HOST PORT [options]            make --connections N (1), print "connected", sleep until killed
 *     --bytes N | --seconds S   how much; --size N; --check: every byte is verified; --seed N;
 *     --progress FILE           an 8-byte count of bytes, for a test to watch
 *
 * With --check the stream is a fixed function of seed and offset, so a byte that is lost, doubled or moved is found at its
 * offset. Clients print one line of JSON; exit status 1 and a message when anything is not as it should be. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define CHUNK (256u << 10)

enum mode { MODE_SINK = 1, MODE_SOURCE, MODE_ECHO };

struct header {			/* first bytes of a connection, from the client; host order, both ends are this program */
	uint32_t mode, size;
	uint64_t bytes;		/* 0: until the client closes */
	uint64_t seed;		/* 0: contents do not matter */
};

struct options {
	uint64_t bytes, seed;
	double seconds;
	uint32_t size, connections;
	bool check;
	_Atomic uint64_t *progress;
};

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static int fail(const char *what)
{
	fprintf(stderr, "traffic: %s: %s\n", what, strerror(errno));
	return 1;
}

/* The eight bytes at stream offset 8 * word. */
static uint64_t pattern(uint64_t seed, uint64_t word)
{
	uint64_t x = (word + seed) * 0x9e3779b97f4a7c15ull;

	return x ^ x >> 29;
}

static void fill(uint8_t *p, size_t n, uint64_t seed, uint64_t offset)
{
	for (size_t i = 0; i < n; i += 8) {
		uint64_t w = pattern(seed, (offset + i) / 8);

		memcpy(p + i, &w, 8);
	}
}

/* Returns the stream offset of the first wrong byte, or UINT64_MAX. `offset` may be anywhere in a word. */
static uint64_t verify(const uint8_t *p, size_t n, uint64_t seed, uint64_t offset)
{
	size_t i = 0;

	for (; i < n && (offset + i) % 8; i++)
		if (p[i] != (uint8_t)(pattern(seed, (offset + i) / 8) >> 8 * ((offset + i) % 8)))
			return offset + i;
	for (; i + 8 <= n; i += 8) {
		uint64_t w;

		memcpy(&w, p + i, 8);
		if (w != pattern(seed, (offset + i) / 8))
			return offset + i;
	}
	for (; i < n; i++)
		if (p[i] != (uint8_t)(pattern(seed, (offset + i) / 8) >> 8 * ((offset + i) % 8)))
			return offset + i;
	return UINT64_MAX;
}

static int read_all(int fd, void *buf, size_t n)
{
	for (size_t done = 0; done < n;) {
		ssize_t r = read(fd, (char *)buf + done, n - done);

		if (r < 0 && errno == EINTR)
			continue;
		if (r <= 0) {
			if (!r)
				errno = ENODATA;
			return -1;
		}
		done += (size_t)r;
	}
	return 0;
}

static int write_all(int fd, const void *buf, size_t n)
{
	for (size_t done = 0; done < n;) {
		ssize_t r = write(fd, (const char *)buf + done, n - done);

		if (r < 0 && errno == EINTR)
			continue;
		if (r < 0)
			return -1;
		done += (size_t)r;
	}
	return 0;
}

/* Send `bytes` (0: until `end` on the clock); returns how many, or UINT64_MAX with errno. */
static uint64_t pump_out(int fd, uint64_t bytes, uint64_t seed, double end, _Atomic uint64_t *progress)
{
	uint8_t *buf = calloc(1, CHUNK);
	uint64_t sent = 0;

	if (!buf)
		return UINT64_MAX;
	while (bytes ? sent < bytes : now() < end) {
		size_t n = bytes && bytes - sent < CHUNK ? (size_t)(bytes - sent) : CHUNK;

		if (seed)
			fill(buf, (n + 7) & ~(size_t)7, seed, sent);
		if (write_all(fd, buf, n) < 0) {
			sent = UINT64_MAX;
			break;
		}
		sent += n;
		if (progress)
			*progress = sent;
	}
	free(buf);
	return sent;
}

/* Receive until `bytes`, end of stream or `end`; returns how many, or UINT64_MAX with errno (EBADMSG: wrong contents). */
static uint64_t pump_in(int fd, uint64_t bytes, uint64_t seed, double end, _Atomic uint64_t *progress)
{
	uint8_t *buf = malloc(CHUNK);
	uint64_t got = 0, bad;

	if (!buf)
		return UINT64_MAX;
	while ((!bytes || got < bytes) && (!end || now() < end)) {
		ssize_t r = read(fd, buf, CHUNK);

		if (r < 0 && errno == EINTR)
			continue;
		if (r == 0)
			break;
		if (r > 0 && seed && (bad = verify(buf, (size_t)r, seed, got)) != UINT64_MAX) {
			fprintf(stderr, "traffic: wrong byte at offset %llu of the stream\n", (unsigned long long)bad);
			errno = EBADMSG;
			r = -1;
		}
		if (r < 0) {
			got = UINT64_MAX;
			break;
		}
		got += (uint64_t)r;
		if (progress)
			*progress = got;
	}
	free(buf);
	return got;
}

/* ---- server ---- */

static void serve_echo(int fd, const struct header *h)
{
	char *buf = malloc(h->size ? h->size : 1);

	while (buf && read_all(fd, buf, h->size) == 0 && write_all(fd, buf, h->size) == 0)
		;
	free(buf);
}

static void *serve_connection(void *arg)
{
	int fd = (int)(intptr_t)arg;
	struct header h;
	uint64_t n;

	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){ 1 }, sizeof(int));
	if (read_all(fd, &h, sizeof(h)) < 0)
		goto out;
	switch (h.mode) {
	case MODE_SINK:
		n = pump_in(fd, h.bytes, h.seed, 0, NULL);
		if (n == UINT64_MAX)
			fail("serve: receiving");
		else
			write_all(fd, &n, sizeof(n));
		break;
	case MODE_SOURCE:
		n = pump_out(fd, h.bytes, h.seed, 1e18, NULL);
		if (n == UINT64_MAX && h.bytes)
			fail("serve: sending");
		break;
	case MODE_ECHO:
		serve_echo(fd, &h);
		break;
	}
out:
	close(fd);
	return NULL;
}

static int listen_on(int port)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &(int){ 1 }, sizeof(int)) < 0 ||
	    bind(fd, (struct sockaddr *)&a, sizeof(a)) < 0 || listen(fd, 1024) < 0)
		return -1;
	return fd;
}

static int serve(int port, bool one)
{
	int fd = listen_on(port), c;
	pthread_attr_t attr;
	pthread_t t;
	char b;

	if (fd < 0)
		return fail("listen");
	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	for (;;) {
		c = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
		if (c < 0) {
			if (errno == EINTR || errno == ECONNABORTED)
				continue;
			return fail("accept");
		}
		if (one) {
			if (read(c, &b, 1) == 1 && write(c, &b, 1) != 1)
				fail("answer");
			close(c);
		} else if (pthread_create(&t, &attr, serve_connection, (void *)(intptr_t)c)) {
			close(c);
		}
	}
}

/* ---- client ---- */

static int connect_to(const char *host, int port)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (inet_pton(AF_INET, host, &a.sin_addr) != 1) {
		errno = EINVAL;
		return -1;
	}
	if (fd < 0 || connect(fd, (struct sockaddr *)&a, sizeof(a)) < 0)
		return -1;
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){ 1 }, sizeof(int));
	return fd;
}

static int client_send(int fd, const struct options *o)
{
	struct header h = { .mode = MODE_SINK, .bytes = o->bytes, .seed = o->check ? o->seed : 0 };
	double start = now();
	uint64_t sent, got;

	if (write_all(fd, &h, sizeof(h)) < 0)
		return fail("header");
	sent = pump_out(fd, o->bytes, h.seed, start + o->seconds, o->progress);
	if (sent == UINT64_MAX)
		return fail("send");
	if (shutdown(fd, SHUT_WR) < 0)
		return fail("shutdown");
	if (read_all(fd, &got, sizeof(got)) < 0)
		return fail("the server's count");
	if (got != sent) {
		fprintf(stderr, "traffic: sent %llu bytes, the server has %llu\n", (unsigned long long)sent, (unsigned long long)got);
		return 1;
	}
	printf("{\"bytes\": %llu, \"seconds\": %.6f}\n", (unsigned long long)sent, now() - start);
	return 0;
}

static int client_recv(int fd, const struct options *o)
{
	struct header h = { .mode = MODE_SOURCE, .bytes = o->bytes, .seed = o->check ? o->seed : 0 };
	double start = now();
	uint64_t got;
	char b;

	if (write_all(fd, &h, sizeof(h)) < 0)
		return fail("header");
	got = pump_in(fd, o->bytes, h.seed, o->bytes ? 0 : start + o->seconds, o->progress);
	if (got == UINT64_MAX)
		return fail("receive");
	if (o->bytes && got != o->bytes) {
		fprintf(stderr, "traffic: end of stream after %llu of %llu bytes\n", (unsigned long long)got, (unsigned long long)o->bytes);
		return 1;
	}
	printf("{\"bytes\": %llu, \"seconds\": %.6f}\n", (unsigned long long)got, now() - start);
	if (o->bytes && read(fd, &b, 1) != 0)
		return fail("a byte, or an error, where the stream ends");
	return 0;
}

static int compare(const void *a, const void *b)
{
	float x = *(const float *)a, y = *(const float *)b;

	return (x > y) - (x < y);
}

static int client_rr(int fd, const struct options *o)
{
	struct header h = { .mode = MODE_ECHO, .size = o->size };
	size_t max = 4u << 20, n = 0;
	float *us = malloc(max * sizeof(*us));
	uint8_t *out = malloc(o->size), *in = malloc(o->size);
	double start, t = 0;

	if (!us || !out || !in)
		return fail("memory");
	if (write_all(fd, &h, sizeof(h)) < 0)
		return fail("header");
	for (start = now(); (o->bytes ? n < o->bytes : t < start + o->seconds) && n < max; n++) {
		double before = now();

		memset(out, (int)n, o->size);
		if (write_all(fd, out, o->size) < 0 || read_all(fd, in, o->size) < 0)
			return fail("request");
		if (memcmp(in, out, o->size)) {
			errno = EBADMSG;
			return fail("answer");
		}
		t = now();
		us[n] = (float)((t - before) * 1e6);
		if (o->progress)
			*o->progress = n + 1;
	}
	if (!n)
		return fail("no request was made");
	qsort(us, n, sizeof(*us), compare);
	printf("{\"requests\": %zu, \"seconds\": %.6f, \"p50_us\": %.2f, \"p99_us\": %.2f, \"max_us\": %.1f}\n", n, t - start,
		(double)us[n / 2], (double)us[n * 99 / 100], (double)us[n - 1]);
	free(us);
	free(out);
	free(in);
	return 0;
}

static int client_conn(const char *host, int port, const struct options *o)
{
	double start = now();
	uint64_t n;

	for (n = 0; o->bytes ? n < o->bytes : now() < start + o->seconds; n++) {
		int fd = connect_to(host, port);
		char b = 'x';

		if (fd < 0)
			return fail("connect");
		if (write(fd, &b, 1) != 1 || read(fd, &b, 1) != 1)
			return fail("byte");
		if (read(fd, &b, 1) != 0)
			return fail("end of stream");
		close(fd);
	}
	printf("{\"connections\": %llu, \"seconds\": %.6f}\n", (unsigned long long)n, now() - start);
	return 0;
}

static int client_hold(const char *host, int port, const struct options *o)
{
	for (uint32_t i = 0; i < o->connections; i++)
		if (connect_to(host, port) < 0)
			return fail("connect");
	puts("connected");
	fflush(stdout);
	for (;;)
		pause();
}

static _Atomic uint64_t *progress_file(const char *path)
{
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
	void *p;

	if (fd < 0 || ftruncate(fd, 8) < 0)
		return NULL;
	p = mmap(NULL, 8, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	return p == MAP_FAILED ? NULL : p;
}

static int usage(void)
{
	fprintf(stderr, "usage: traffic serve|one PORT\n"
		"       traffic send|recv|rr|conn|hold HOST PORT [--bytes N] [--seconds S] [--size N] [--check] [--seed N] [--progress FILE]\n"
		"               [--connections N]\n");
	return 2;
}

static int parse(int argc, char **argv, struct options *o)
{
	for (int i = 0; i < argc; i++) {
		if (!strcmp(argv[i], "--check")) {
			o->check = true;
			continue;
		}
		if (i + 1 == argc)
			return -1;
		if (!strcmp(argv[i], "--bytes"))
			o->bytes = strtoull(argv[++i], NULL, 0);
		else if (!strcmp(argv[i], "--seconds"))
			o->seconds = strtod(argv[++i], NULL);
		else if (!strcmp(argv[i], "--size"))
			o->size = (uint32_t)strtoul(argv[++i], NULL, 0);
		else if (!strcmp(argv[i], "--seed"))
			o->seed = strtoull(argv[++i], NULL, 0);
		else if (!strcmp(argv[i], "--connections"))
			o->connections = (uint32_t)strtoul(argv[++i], NULL, 0);
		else if (!strcmp(argv[i], "--progress") && (o->progress = progress_file(argv[i + 1])))
			i++;
		else
			return -1;
	}
	return 0;
}

int main(int argc, char **argv)
{
	struct options o = { .seconds = 2, .size = 64, .seed = 1, .connections = 1 };
	int fd, port;

	signal(SIGPIPE, SIG_IGN);
	if (argc == 3 && (!strcmp(argv[1], "serve") || !strcmp(argv[1], "one")))
		return serve(atoi(argv[2]), argv[1][0] == 'o');
	if (argc < 4 || parse(argc - 4, argv + 4, &o) < 0)
		return usage();
	port = atoi(argv[3]);
	if (!strcmp(argv[1], "conn"))
		return client_conn(argv[2], port, &o);
	if (!strcmp(argv[1], "hold"))
		return client_hold(argv[2], port, &o);
	fd = connect_to(argv[2], port);
	if (fd < 0)
		return fail("connect");
	if (!strcmp(argv[1], "send"))
		return client_send(fd, &o);
	if (!strcmp(argv[1], "recv"))
		return client_recv(fd, &o);
	if (!strcmp(argv[1], "rr"))
		return client_rr(fd, &o);
	return usage();
}
