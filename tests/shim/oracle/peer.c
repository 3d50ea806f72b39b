/* peer.c – the other side of every case: does what the first line of a connection asks for.
 *
 *   echo            send back what comes, until it ends
 *   send N          N bytes, then wait for the end
 *   sendfin N       N bytes and the end at once
 *   half N          N bytes, our half's end; then read to the end
 *   rst MS          reset after MS milliseconds
 *   sendrst N MS    N bytes, reset after MS milliseconds
 *   hold MS         read nothing for MS milliseconds, then everything
 *   slow N MS       N bytes, one every MS milliseconds
 *   connect PORT .. connect to the asker's PORT, and do the rest there
 *   fast PORT WORD connect to the asker's PORT with WORD as data of the SYN, and hand back what comes
 *   urgent N M      N bytes, "!" as urgent data, M bytes, 50 ms apart
 *   tell            read to the mark, the urgent byte, the rest; then say what that was
 *   report          how the last connection before ended: fin or rst */
#include "tests/shim/oracle/oracle.h"

#include <sys/mman.h>

static struct { _Atomic int rst, begun, ended; } *last;

static void reset(int c)
{
	struct linger l = { 1, 0 };

	last->ended++;
	setsockopt(c, SOL_SOCKET, SO_LINGER, &l, sizeof(l));
	close(c);
	_exit(0);
}

static void fill(int c, long n)
{
	char buf[4096];

	for (unsigned i = 0; i < sizeof(buf); i++)
		buf[i] = (char)('a' + i % 26);
	while (n > 0) {
		ssize_t w = send(c, buf, n < (long)sizeof(buf) ? (size_t)n : sizeof(buf), MSG_NOSIGNAL);

		if (w < 0)
			return;
		n -= w;
	}
}

static void to_the_end(int c, bool echo)
{
	char buf[65536];
	ssize_t n;

	while ((n = recv(c, buf, sizeof(buf), 0)) > 0)
		if (echo && send(c, buf, (size_t)n, MSG_NOSIGNAL) < 0)
			break;
	last->rst = n < 0 && errno == ECONNRESET;
	last->ended++;
}

static void tell(int c)
{
	char before[100] = "", after[100] = "", oob[2] = "", text[300];
	ssize_t n;
	int mark = 0;

	usleep(300000);
	while (!(ioctl(c, SIOCATMARK, &mark), mark) && (n = recv(c, before + strlen(before), 1, 0)) == 1)
		;
	if (recv(c, oob, 1, MSG_OOB) < 0)
		snprintf(oob, sizeof(oob), "?");
	n = recv(c, after, sizeof(after) - 1, MSG_WAITALL);
	n = snprintf(text, sizeof(text), "%s/%s/%s", before, oob, after);
	send(c, text, (size_t)n, MSG_NOSIGNAL);
	last->ended++;
	close(c);
	_exit(0);
}

static void act(int c, const char *line)
{
	long a = 0, b = 0;

	if (sscanf(line, "send %ld", &a) == 1) {
		fill(c, a);
	} else if (sscanf(line, "sendfin %ld", &a) == 1) {
		fill(c, a);
		last->ended++;
		close(c);
		_exit(0);
	} else if (sscanf(line, "half %ld", &a) == 1) {
		fill(c, a);
		shutdown(c, SHUT_WR);
	} else if (sscanf(line, "sendrst %ld %ld", &a, &b) == 2) {
		fill(c, a);
		usleep((useconds_t)b * 1000);
		reset(c);
	} else if (sscanf(line, "rst %ld", &a) == 1) {
		usleep((useconds_t)a * 1000);
		reset(c);
	} else if (sscanf(line, "hold %ld", &a) == 1) {
		usleep((useconds_t)a * 1000);
	} else if (sscanf(line, "slow %ld %ld", &a, &b) == 2) {
		for (; a; a--) {
			fill(c, 1);
			usleep((useconds_t)b * 1000);
		}
	} else if (sscanf(line, "urgent %ld %ld", &a, &b) == 2) {
		usleep(50000);
		fill(c, a);
		usleep(50000);
		send(c, "!", 1, MSG_OOB | MSG_NOSIGNAL);
		usleep(50000);
		fill(c, b);
	} else if (!strncmp(line, "tell", 4)) {
		tell(c);
	} else if (!strncmp(line, "report", 6)) {
		last->begun--;
		for (int i = 0; i < 300 && last->begun != last->ended; i++)
			usleep(10000);
		send(c, last->rst ? "rst" : "fin", 3, MSG_NOSIGNAL);
		close(c);
		_exit(0);
	}
	to_the_end(c, !strncmp(line, "echo", 4));
	_exit(0);
}

static void serve(int c, const struct sockaddr_in *from)
{
	struct sockaddr_in a = *from;
	char line[200] = "", word[200] = "";
	size_t n = 0;
	long to = 0;
	int used = 0;

	while (n < sizeof(line) - 1 && recv(c, line + n, 1, 0) == 1 && line[n] != '\n')
		n++;
	line[n] = 0;
	if (sscanf(line, "fast %ld %199s", &to, word) == 2) {
		a.sin_port = htons((uint16_t)to);
		used = socket(AF_INET, SOCK_STREAM, 0);
		if (sendto(used, word, strlen(word), MSG_FASTOPEN, (struct sockaddr *)&a, sizeof(a)) < 0)
			_exit(1);
		send(c, word, recv(used, word, sizeof(word), 0) > 0 ? 4 : 0, MSG_NOSIGNAL);
		_exit(0);
	}
	if (sscanf(line, "connect %ld %n", &to, &used) == 1 && used) {
		a.sin_port = htons((uint16_t)to);
		c = socket(AF_INET, SOCK_STREAM, 0);
		if (connect(c, (struct sockaddr *)&a, sizeof(a)) < 0)
			_exit(1);
	}
	last->begun++;
	act(c, line + used);
}

void serve_peer(const char *addr, int port)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = inet_addr(addr) };
	int l = socket(AF_INET, SOCK_STREAM, 0), one = 1;
	socklen_t len = sizeof(a);

	signal(SIGCHLD, SIG_IGN);
	last = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	setsockopt(l, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (last == MAP_FAILED || bind(l, (struct sockaddr *)&a, sizeof(a)) < 0 || listen(l, 64) < 0) {
		perror("peer");
		exit(1);
	}
	for (;;) {
		int c = accept(l, (struct sockaddr *)&a, &len);

		if (c >= 0 && fork() == 0) {
			close(l);
			alarm(30);
			serve(c, &a);
			_exit(0);
		}
		if (c >= 0)
			close(c);
	}
}
