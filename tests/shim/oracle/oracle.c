/* oracle.c – the frame of the oracle: runs each case in a process of its own and prints what it said. */
#include "tests/shim/oracle/oracle.h"

#include <stdarg.h>

#define PATIENCE 12	/* seconds a case may take */

struct oracle o;

void say(const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	printf(" ");
	vprintf(fmt, args);
	va_end(args);
	fflush(stdout);
}

const char *errno_name(int e)
{
	const char *name = strerrorname_np(e);

	return name ? name : "?";
}

void result(const char *what, long r)
{
	if (r < 0)
		say("%s=%s", what, errno_name(errno));
	else
		say("%s=%ld", what, r);
}

int tcp(void)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		result("socket", fd);
	return fd;
}

int ask(const char *fmt, ...)
{
	char line[200];
	va_list args;
	int fd = tcp(), n;

	va_start(args, fmt);
	n = vsnprintf(line, sizeof(line), fmt, args);
	va_end(args);
	if (connect(fd, (struct sockaddr *)&o.peer, sizeof(o.peer)) < 0 || send(fd, line, (size_t)n, MSG_NOSIGNAL) != n) {
		result("ask", -1);
		exit(0);
	}
	return fd;
}

static void bits(unsigned e)
{
	static const struct { unsigned bit; const char *name; } names[] = {
		{ POLLIN, "IN" }, { POLLOUT, "OUT" }, { POLLRDHUP, "RDHUP" }, { POLLHUP, "HUP" }, { POLLERR, "ERR" }, { POLLPRI, "PRI" },
	};
	const char *sep = "";

	for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (e & names[i].bit) {
			printf("%s%s", sep, names[i].name);
			sep = "|";
		}
	}
	printf("%s", *sep ? "" : "-");
}

void flags(const char *what, int fd)
{
	struct pollfd p = { fd, POLLIN | POLLOUT | POLLRDHUP | POLLPRI, 0 };
	struct epoll_event e = { .events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLPRI }, got = { 0 };
	int ep = epoll_create1(EPOLL_CLOEXEC);

	poll(&p, 1, 0);
	epoll_ctl(ep, EPOLL_CTL_ADD, fd, &e);
	epoll_wait(ep, &got, 1, 0);
	close(ep);
	printf(" %s:", what);
	bits((unsigned)p.revents);
	if ((unsigned)p.revents != got.events) {
		printf("/epoll:");
		bits(got.events);
	}
}

int wait_for(int fd, short events)
{
	struct pollfd p = { fd, events, 0 };

	return poll(&p, 1, 5000) == 1 ? p.revents : 0;
}

int listener(int *ret_port)
{
	struct sockaddr_in a = o.mine;
	socklen_t len = sizeof(a);
	int l = tcp();

	a.sin_port = 0;
	if (bind(l, (struct sockaddr *)&a, len) < 0 || listen(l, 8) < 0 || getsockname(l, (struct sockaddr *)&a, &len) < 0) {
		result("listener", -1);
		exit(0);
	}
	*ret_port = ntohs(a.sin_port);
	return l;
}

int accept_from_peer(int l, int port, const char *what)
{
	int c, via = ask("connect %d %s\n", port, what);

	wait_for(l, POLLIN);
	c = accept4(l, NULL, NULL, SOCK_CLOEXEC);
	if (c < 0)
		result("accept", c);
	close(via);
	return c;
}

static void run(const struct test *t)
{
	int status;
	pid_t pid;

	printf("%s\t", t->name);
	fflush(stdout);
	pid = fork();
	if (pid == 0) {
		setpgid(0, 0);
		alarm(PATIENCE);
		t->run();
		fflush(stdout);
		_exit(0);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		status = -1;
	kill(-pid, SIGKILL);	/* what it left */
	if (status)
		say("%s", WIFSIGNALED(status) ? WTERMSIG(status) == SIGALRM ? "HANGS" : sigabbrev_np(WTERMSIG(status)) : "exit");
	printf("\n");
	fflush(stdout);
}

int main(int argc, char **argv)
{
	static const struct test *const all[] = { cases_options, cases_state, cases_ready, cases_data, cases_name, cases_process, cases_errors, cases_urgent, cases_audit, cases_info, cases_fastopen };

	if (argc == 4 && !strcmp(argv[1], "peer"))
		serve_peer(argv[2], atoi(argv[3]));
	if (argc < 5 || strcmp(argv[1], "run")) {
		fprintf(stderr, "oracle peer ADDR PORT | oracle run ADDR PORT MINE [NAME]\n");
		return 2;
	}
	o = (struct oracle){ .self = argv[0], .peer_text = argv[2], .mine_text = argv[4], .port = atoi(argv[3]) };
	o.peer = (struct sockaddr_in){ .sin_family = AF_INET, .sin_port = htons((uint16_t)o.port), .sin_addr.s_addr = inet_addr(argv[2]) };
	o.mine = (struct sockaddr_in){ .sin_family = AF_INET, .sin_addr.s_addr = inet_addr(argv[4]) };
	setvbuf(stdout, NULL, _IOFBF, 65536);
	for (unsigned i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		for (const struct test *t = all[i]; t->name; t++)
			if (argc < 6 || strstr(t->name, argv[5]))
				run(t);
	return 0;
}
