/* process.c – sockets and processes: dup, fork, vfork, exec, SCM_RIGHTS; sockets that turn out to be the kernel's. */
#include "tests/shim/oracle/oracle.h"

#include <spawn.h>

extern char **environ;

static void talk(const char *what, int fd)
{
	char buf[4] = "";

	if (send(fd, "abc", 3, MSG_NOSIGNAL) != 3 || recv(fd, buf, 3, MSG_WAITALL) != 3)
		result(what, -1);
	else
		say("%s=%s", what, buf);
}

static void dups(void)
{
	int c = ask("echo\n"), d = dup(c), e;

	result("dup2", dup2(c, 200));
	e = fcntl(c, F_DUPFD_CLOEXEC, 100);
	say("dupfd=%d cloexec=%d", e, fcntl(e, F_GETFD));
	result("dup3", dup3(c, 201, O_CLOEXEC));
	result("dup3 same", dup3(c, c, 0));
	result("dup2 same", dup2(c, c));
	close(c);
	result("closed", recv(c, &e, 1, 0));
	talk("dup", d);
	talk("dup2", 200);
	close(d);
	result("close_range", close_range(100, 300, 0));
	result("closed", send(200, "x", 1, 0));
	c = ask("echo\n");
	result("over", dup2(open("/dev/null", O_RDWR | O_CLOEXEC), c));
	result("null", write(c, "x", 1));
}

static void forks(void)
{
	int c = ask("echo\n"), status, port, l = listener(&port);

	fflush(stdout);
	if (fork() == 0) {
		talk("child", c);
		close(c);
		fflush(stdout);
		_exit(0);
	}
	wait(&status);
	talk("parent", c);
	fflush(stdout);
	if (fork() == 0) {	/* a worker accepts, and makes sockets of its own */
		int a = accept_from_peer(l, port, "echo");

		talk("accepted by the child", a);
		talk("made by the child", ask("echo\n"));
		fflush(stdout);
		_exit(0);
	}
	wait(&status);
	c = tcp();		/* made here, connected there */
	fflush(stdout);
	if (fork() == 0) {
		result("connect", connect(c, (struct sockaddr *)&o.peer, sizeof(o.peer)));
		result("send", send(c, "echo\n", 5, 0));
		fflush(stdout);
		_exit(0);
	}
	wait(&status);
	talk("connected by the child", c);
}

static void run_with(int fd, bool use_vfork, const char *shell)
{
	char *argv[] = { (char *)"sh", (char *)"-c", (char *)shell, NULL };
	int status;
	pid_t pid = use_vfork ? vfork() : fork();

	if (pid == 0) {
		dup2(fd, 0);
		dup2(fd, 1);
		execve("/bin/sh", argv, environ);
		_exit(127);
	}
	waitpid(pid, &status, 0);
	say("status=%d", WEXITSTATUS(status));
}

static void execs(void)
{
	int port, l = listener(&port), c;
	posix_spawn_file_actions_t fa;
	char *argv[] = { (char *)"cat", NULL };
	pid_t pid;

	c = accept_from_peer(l, port, "half 30");
	fflush(stdout);
	run_with(c, false, "read x; echo got");		/* the shell's own read and write */
	c = accept_from_peer(l, port, "half 30");
	run_with(c, true, "cat >/dev/null && echo done");
	c = accept_from_peer(l, port, "half 30");
	posix_spawn_file_actions_init(&fa);
	posix_spawn_file_actions_adddup2(&fa, c, 0);
	posix_spawn_file_actions_addopen(&fa, 1, "/dev/null", O_WRONLY, 0);
	result("spawn", posix_spawnp(&pid, "cat", &fa, NULL, argv, environ));
	waitpid(pid, &port, 0);
	say("status=%d", port);
	talk("parent", ask("echo\n"));
	result("still here", send(c, "x", 1, MSG_NOSIGNAL));
}

/* The program itself, started again with the socket as descriptor 9. */
static void exec_self(void)
{
	int c = ask("echo\n"), status;
	char script[300];

	snprintf(script, sizeof(script), "exec 3<&0; printf abc >&3; head -c 3 <&3 >/dev/null && printf def >&3");
	fflush(stdout);
	run_with(c, true, script);
	status = (int)recv(c, script, 3, MSG_WAITALL);
	say("left for us: %d %.3s", status, script);
}

static void send_fd(int over, int fd)
{
	union { struct cmsghdr h; char space[CMSG_SPACE(sizeof(int))]; } u = { 0 };
	struct msghdr m = { .msg_iov = &(struct iovec){ (char *)"f", 1 }, .msg_iovlen = 1, .msg_control = &u, .msg_controllen = sizeof(u) };

	u.h = (struct cmsghdr){ .cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS };
	memcpy(CMSG_DATA(&u.h), &fd, sizeof(fd));
	sendmsg(over, &m, 0);
}

static int receive_fd(int over)
{
	union { struct cmsghdr h; char space[CMSG_SPACE(sizeof(int))]; } u;
	char b;
	struct msghdr m = { .msg_iov = &(struct iovec){ &b, 1 }, .msg_iovlen = 1, .msg_control = &u, .msg_controllen = sizeof(u) };
	int fd = -1;

	if (recvmsg(over, &m, 0) == 1 && CMSG_FIRSTHDR(&m))
		memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&m)), sizeof(fd));
	return fd;
}

static void rights(void)
{
	int pair[2], fd, status, port;

	if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) < 0)
		return;
	fflush(stdout);
	if (fork() == 0) {	/* forked before there was any socket: knows nothing of what comes */
		fd = receive_fd(pair[1]);
		talk("connection", fd);
		fd = receive_fd(pair[1]);
		wait_for(fd, POLLIN);
		result("listener", accept(fd, NULL, NULL) < 0 ? -1 : 0);
		fflush(stdout);
		_exit(0);
	}
	fd = ask("echo\n");
	send_fd(pair[0], fd);
	close(fd);
	fd = listener(&port);
	send_fd(pair[0], fd);
	ask("connect %d echo\n", port);
	wait(&status);
	send_fd(pair[0], ask("echo\n"));	/* to ourselves */
	fd = receive_fd(pair[1]);
	talk("back", fd);
}

/* A socket that turns out to be the kernel's: on the loopback. Registered with epoll and duplicated before. */
static void loopback(void)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) }, b;
	struct epoll_event e = { .events = EPOLLIN, .data.u32 = 5 }, got = { 0 };
	int l = tcp(), c = tcp(), d = dup(c), ep = epoll_create1(EPOLL_CLOEXEC), s, one = 1, v = 0;
	socklen_t len = sizeof(a);

	setsockopt(c, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	setsockopt(c, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof(one));
	result("add", epoll_ctl(ep, EPOLL_CTL_ADD, c, &e));
	e.data.u32 = 6;
	result("add", epoll_ctl(ep, EPOLL_CTL_ADD, l, &e));
	result("bind", bind(l, (struct sockaddr *)&a, len));
	result("listen", listen(l, 5));
	getsockname(l, (struct sockaddr *)&a, &len);
	result("connect", connect(c, (struct sockaddr *)&a, len));
	say("wait=%d", epoll_wait(ep, &got, 1, 1000));
	say("data=%u", got.data.u32);
	s = accept(l, (struct sockaddr *)&b, &len);
	say("from=%d", b.sin_addr.s_addr == a.sin_addr.s_addr);
	result("send", send(s, "xyz", 3, 0));
	say("wait=%d", epoll_wait(ep, &got, 1, 1000));
	say("data=%u", got.data.u32);
	result("dup", recv(d, &b, 3, 0));
	len = sizeof(v);
	getsockopt(c, IPPROTO_TCP, TCP_NODELAY, &v, &len);
	say("nodelay=%d", v);
	getsockopt(d, SOL_SOCKET, SO_KEEPALIVE, &v, &len);
	say("keepalive=%d", v);
	result("del", epoll_ctl(ep, EPOLL_CTL_DEL, c, NULL));
	result("peername", getpeername(c, (struct sockaddr *)&b, &(socklen_t){ sizeof(b) }));
}

const struct test cases_process[] = {
	{ "process: dup and close_range", dups }, { "process: fork", forks }, { "process: exec with the socket as standard input", execs },
	{ "process: exec of a script", exec_self }, { "process: SCM_RIGHTS", rights }, { "process: loopback", loopback }, { NULL, NULL },
};
