/* libclient.c – a program that uses libstrata.so by name: echo ADDR PORT BYTES. Prints "ok" or what went wrong. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "services/shim/strata.h"

static void need(int good, const char *what)
{
	if (good)
		return;
	printf("%s: %s\n", what, strerror(errno));
	exit(1);
}

/* As much as may be written and read without blocking, until all has come back. */
static void echo(int fd, long bytes)
{
	static unsigned char out[10000], in[10000];
	long sent = 0, got = 0;

	while (got < bytes) {
		struct pollfd p = { fd, (short)(POLLIN | (sent < bytes ? POLLOUT : 0)), 0 };
		ssize_t r;

		need(poll(&p, 1, 5000) == 1, "poll");
		if (p.revents & POLLOUT) {
			size_t n = bytes - sent < (long)sizeof(out) ? (size_t)(bytes - sent) : sizeof(out);

			for (size_t i = 0; i < n; i++)
				out[i] = (unsigned char)((sent + (long)i) % 251);
			r = strata_send(fd, out, n, MSG_NOSIGNAL);
			need(r > 0 || errno == EAGAIN, "send");
			sent += r > 0 ? r : 0;
		}
		if ((p.revents & POLLIN) && !strata_poll_again(fd)) {
			r = strata_recv(fd, in, sizeof(in), 0);
			need(r > 0, "recv");
			for (ssize_t i = 0; i < r; i++)
				need(in[i] == (unsigned char)((got + i) % 251), "bytes");
			got += r;
		}
	}
}

int main(int argc, char **argv)
{
	struct sockaddr_in a = { .sin_family = AF_INET }, b;
	socklen_t len = sizeof(b);
	int fd, copy, one = 1;
	char c;

	if (argc != 4)
		return 2;
	a.sin_addr.s_addr = inet_addr(argv[1]);
	a.sin_port = htons((unsigned short)atoi(argv[2]));
	fd = strata_socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC);
	need(fd >= 0 && strata_owns(fd) && !strata_owns(0), "socket");
	need(!strata_setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)), "setsockopt");
	need(!strata_connect(fd, (struct sockaddr *)&a, sizeof(a)), "connect");
	need(!strata_getpeername(fd, (struct sockaddr *)&b, &len) && b.sin_port == a.sin_port, "getpeername");
	need(strata_send(fd, "echo\n", 5, 0) == 5, "command");
	need(fcntl(fd, F_SETFL, O_NONBLOCK) == 0, "fcntl");
	echo(fd, atol(argv[3]));
	copy = strata_dup(fd);
	need(copy >= 0 && !strata_close(fd), "dup");
	need(!strata_shutdown(copy, SHUT_WR), "shutdown");
	need(fcntl(copy, F_SETFL, 0) == 0, "fcntl");
	need(strata_recv(copy, &c, 1, 0) == 0, "the end");
	need(!strata_close(copy), "close");
	printf("ok\n");
	return 0;
}
