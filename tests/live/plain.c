/* plain.c – a program that cannot have the shim: linked statically. For plain.py, on its standard input and output.
 *
 *   plain echo          what it reads, until the end
 *   plain take N        reads N bytes, writes them to standard error
 *   plain say TEXT      writes TEXT
 *   plain count         reads until the end, writes how many bytes there were and their sum */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int put(int fd, const char *p, size_t n)
{
	while (n) {
		ssize_t w = write(fd, p, n);

		if (w < 0)
			return -1;
		p += w;
		n -= (size_t)w;
	}
	return 0;
}

int main(int argc, char **argv)
{
	static char buf[65536];
	unsigned long total = 0, sum = 0, most = argc > 2 ? strtoul(argv[2], NULL, 10) : 0;
	ssize_t n;

	if (argc < 2)
		return 2;
	if (!strcmp(argv[1], "say"))
		return argc < 3 || put(1, argv[2], strlen(argv[2])) ? 1 : 0;
	for (;;) {
		size_t want = !strcmp(argv[1], "take") ? most - total : sizeof(buf);

		n = want ? read(0, buf, want < sizeof(buf) ? want : sizeof(buf)) : 0;
		if (n <= 0)
			break;
		total += (unsigned long)n;
		for (ssize_t i = 0; i < n; i++)
			sum += (unsigned char)buf[i];
		if (!strcmp(argv[1], "echo") && put(1, buf, (size_t)n))
			return 1;
		if (!strcmp(argv[1], "take") && put(2, buf, (size_t)n))
			return 1;
	}
	if (n < 0)
		return 1;
	if (!strcmp(argv[1], "count")) {
		int l = snprintf(buf, sizeof(buf), "%lu %lu\n", total, sum);

		return put(1, buf, (size_t)l) ? 1 : 0;
	}
	return 0;
}
