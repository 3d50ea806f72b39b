/* lossy.c – a bad wire in user space between TAPs of two network namespaces, for soak.py; the kernel here has no netem.
 *
 *      NS 1  TAP DEV ── this process ── TAP DEV  NS 2
 *
 * usage: lossy NS DEV NS DEV SEED LOSS DUP REORDER CORRUPT DELAY_US JITTER_US SECONDS      (probabilities per 100,000 frames)
 * Every frame is delayed; one that is reordered by up to four delays more. What happens to the n-th frame of a direction is
 * decided by the seed alone. Ends by itself after SECONDS. Says "up" when the devices are there; at the end, or on SIGTERM,
 * what it did. */
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#define FRAME 2048
#define QUEUE 65536	/* frames on their way; a power of two */

struct frame { uint64_t at, order; uint32_t to, len; uint8_t *data; };

static struct frame heap[QUEUE];
static uint32_t nheap;
static uint64_t order, rng[2], lost, doubled, late, bent, carried, overflowed;
static uint32_t loss, twice, reorder, corrupt;
static uint64_t delay_ns, jitter_ns;
static volatile sig_atomic_t ended;

static void end(int sig) { ended = 1; }

static uint64_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static uint64_t draw(int dir)	/* splitmix64 */
{
	uint64_t x = rng[dir] += 0x9e3779b97f4a7c15ull;

	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ull;
	x = (x ^ x >> 27) * 0x94d049bb133111ebull;
	return x ^ x >> 31;
}

static bool chance(int dir, uint32_t of_100000) { return draw(dir) % 100000 < of_100000; }

static int tap(const char *ns, const char *dev)
{
	char path[256];
	struct ifreq ifr = { .ifr_flags = IFF_TAP | IFF_NO_PI };
	int fd;

	snprintf(path, sizeof(path), "/run/netns/%s", ns);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || setns(fd, CLONE_NEWNET) < 0) {
		fprintf(stderr, "lossy: %s: %s\n", path, strerror(errno));
		exit(1);
	}
	close(fd);
	fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
	snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", dev);
	if (fd < 0 || ioctl(fd, TUNSETIFF, &ifr) < 0) {
		fprintf(stderr, "lossy: TAP %s: %s\n", dev, strerror(errno));
		exit(1);
	}
	return fd;
}

static bool earlier(const struct frame *a, const struct frame *b) { return a->at != b->at ? a->at < b->at : a->order < b->order; }

static void push(const struct frame *f)
{
	uint32_t i = nheap++;

	for (; i && earlier(f, &heap[(i - 1) / 2]); i = (i - 1) / 2)
		heap[i] = heap[(i - 1) / 2];
	heap[i] = *f;
}

static struct frame pop(void)
{
	struct frame top = heap[0], last = heap[--nheap];
	uint32_t i = 0, c;

	for (; (c = 2 * i + 1) < nheap; i = c) {
		if (c + 1 < nheap && earlier(&heap[c + 1], &heap[c]))
			c++;
		if (!earlier(&heap[c], &last))
			break;
		heap[i] = heap[c];
	}
	heap[i] = last;
	return top;
}

static void send_later(int dir, const uint8_t *data, uint32_t len, uint64_t at)
{
	struct frame f = { .at = at, .order = order++, .to = (uint32_t)!dir, .len = len, .data = malloc(len) };

	if (!f.data || nheap == QUEUE) {
		overflowed++;
		free(f.data);
		return;
	}
	memcpy(f.data, data, len);
	push(&f);
}

static void take(int dir, uint8_t *data, uint32_t len, uint64_t t)
{
	uint64_t at = t + delay_ns + (jitter_ns ? draw(dir) % jitter_ns : 0);
	bool arp = len > 13 && data[12] == 8 && data[13] == 6;

	if (!arp && chance(dir, loss)) {
		lost++;
		return;
	}
	if (chance(dir, reorder)) {
		at += draw(dir) % (4 * delay_ns + 1);
		late++;
	}
	if (!arp && len > 54 && chance(dir, corrupt)) {
		data[34 + draw(dir) % (len - 34)] ^= (uint8_t)(1u << draw(dir) % 8);
		bent++;
	}
	send_later(dir, data, len, at);
	if (chance(dir, twice)) {
		send_later(dir, data, len, at + draw(dir) % (delay_ns + 1));
		doubled++;
	}
}

static void carry(int fd[2], uint64_t until)
{
	uint8_t buf[FRAME];

	while (!ended && now() < until) {
		struct pollfd p[2] = { { fd[0], POLLIN, 0 }, { fd[1], POLLIN, 0 } };
		uint64_t t = now(), wait = nheap ? heap[0].at > t ? heap[0].at - t : 0 : 100000000;
		struct timespec ts = { 0, (long)(wait < 100000000 ? wait : 100000000) };

		ppoll(p, 2, &ts, NULL);
		t = now();
		for (int dir = 0; dir < 2; dir++)
			for (ssize_t n, i = 0; i < 256 && (n = read(fd[dir], buf, sizeof(buf))) > 0; i++)
				take(dir, buf, (uint32_t)n, t);
		while (nheap && heap[0].at <= t) {
			struct frame f = pop();

			if (write(fd[f.to], f.data, f.len) == (ssize_t)f.len)
				carried++;
			free(f.data);
		}
	}
}

int main(int argc, char **argv)
{
	uint64_t seed;
	int fd[2];

	if (argc != 13) {
		fprintf(stderr, "usage: lossy NS DEV NS DEV SEED LOSS DUP REORDER CORRUPT DELAY_US JITTER_US SECONDS\n");
		return 2;
	}
	seed = strtoull(argv[5], NULL, 0);
	rng[0] = seed;
	rng[1] = ~seed;
	loss = (uint32_t)atoi(argv[6]);
	twice = (uint32_t)atoi(argv[7]);
	reorder = (uint32_t)atoi(argv[8]);
	corrupt = (uint32_t)atoi(argv[9]);
	delay_ns = strtoull(argv[10], NULL, 0) * 1000;
	jitter_ns = strtoull(argv[11], NULL, 0) * 1000;
	signal(SIGTERM, end);
	fd[0] = tap(argv[1], argv[2]);
	fd[1] = tap(argv[3], argv[4]);
	printf("up\n");
	fflush(stdout);
	carry(fd, now() + strtoull(argv[12], NULL, 0) * 1000000000u);
	printf("carried %llu, lost %llu, doubled %llu, late %llu, bent %llu, overflowed %llu\n", (unsigned long long)carried,
	       (unsigned long long)lost, (unsigned long long)doubled, (unsigned long long)late, (unsigned long long)bent,
	       (unsigned long long)overflowed);
	return 0;
}
