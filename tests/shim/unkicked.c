/* unkicked.c – dies between publishing and kicking: ADDR PORT. A child keeps the socket and does nothing.
 *
 * The bytes are in the ring and tx_head says so, but tcpd was not told; it must be told by the end of our connection to
 * sockd. Called by tests/live/shim_paths.py, which looks whether they arrive. */
#include <arpa/inet.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include "services/shim/stream.h"

int main(int argc, char **argv)
{
	struct sockaddr_in a = { .sin_family = AF_INET };
	struct iovec v = { (char *)"hold 0\n", 7 };
	struct sock *s;
	int fd;

	if (argc != 3)
		return 2;
	a.sin_addr.s_addr = inet_addr(argv[1]);
	a.sin_port = htons((u16)strtoul(argv[2], NULL, 10));
	fd = sock_create(AF_INET, SOCK_STREAM);
	s = fd < 0 ? NULL : sock_get(fd);
	if (!s || sock_connect(s, fd, (struct sockaddr *)&a, sizeof(a)) || tcp_sendmsg(s, fd, &v, 1, MSG_NOSIGNAL) != 7)
		return 1;
	usleep(300000);		/* tcpd has seen that and sleeps */
	if (fork() == 0) {
		sleep(20);
		_exit(0);
	}
	usleep(100000);
	bytes_in(s->b.tx, s->b.tx_size, load_relaxed(&s->b.c->tx_head), "last", 4);
	store_release(&s->b.c->tx_head, load_relaxed(&s->b.c->tx_head) + 4);
	raise(SIGKILL);
	return 1;
}
