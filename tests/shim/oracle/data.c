/* data.c – reading and writing: flags, vectors, messages, ends. */
#include "tests/shim/oracle/oracle.h"

#include <sys/sendfile.h>

static void reading(void)
{
	int c = ask("slow 6 50\n"), n = -1;
	char buf[100];

	result("dontwait", recv(c, buf, 10, MSG_DONTWAIT | MSG_PEEK) <= 1 ? 0 : 1);
	result("peek all", recv(c, buf, 3, MSG_PEEK | MSG_WAITALL));
	result("waitall", recv(c, buf, 3, MSG_WAITALL));
	result("waitall", recv(c, buf, 2, MSG_WAITALL));
	wait_for(c, POLLIN);
	result("peek", recv(c, buf, 10, MSG_PEEK));
	ioctl(c, FIONREAD, &n);
	say("n=%d", n);
	result("zero", recv(c, buf, 0, 0));
	result("read zero", read(c, buf, 0));
	result("trunc", recv(c, buf, 10, MSG_TRUNC));
	result("empty", recv(c, buf, 10, MSG_DONTWAIT));
	result("empty zero", recv(c, buf, 0, MSG_DONTWAIT));
	result("errqueue", recv(c, buf, 10, MSG_ERRQUEUE | MSG_DONTWAIT));
	result("oob", recv(c, buf, 10, MSG_OOB));
	shutdown(c, SHUT_WR);
	result("waitall end", recv(c, buf, 10, MSG_WAITALL));
}

static void messages(void)
{
	char a[4] = "", b[10] = "", control[100];
	struct iovec v[2] = { { a, 3 }, { b, 9 } };
	struct sockaddr_in from;
	struct msghdr m = { .msg_name = &from, .msg_namelen = sizeof(from), .msg_iov = v, .msg_iovlen = 2, .msg_control = control,
			    .msg_controllen = sizeof(control), .msg_flags = 99 };
	struct mmsghdr mm[2] = { { .msg_hdr = { .msg_iov = v, .msg_iovlen = 1 } }, { .msg_hdr = { .msg_iov = v + 1, .msg_iovlen = 1 } } };
	socklen_t len = sizeof(from);
	volatile int less = -1, more = 2000;
	int c = ask("echo\n");

	result("sendmsg", sendmsg(c, &(struct msghdr){ .msg_iov = (struct iovec[]){ { (char *)"hello", 5 }, { (char *)"world", 5 } },
						       .msg_iovlen = 2 }, 0));
	usleep(50000);
	result("recvmsg", recvmsg(c, &m, 0));
	say("%.3s %.9s namelen=%u control=%zu flags=%d", a, b, m.msg_namelen, m.msg_controllen, m.msg_flags);
	result("sendmmsg", sendmmsg(c, mm, 2, 0));
	say("%u %u", mm[0].msg_len, mm[1].msg_len);
	usleep(50000);
	result("recvmmsg", recvmmsg(c, mm, 2, MSG_WAITFORONE, NULL));
	say("%u %u", mm[0].msg_len, mm[1].msg_len);
	result("sendto", sendto(c, "abc", 3, 0, (struct sockaddr *)&o.peer, sizeof(o.peer)));
	usleep(50000);
	result("recvfrom", recvfrom(c, b, 10, 0, (struct sockaddr *)&from, &len));
	say("len=%u", len);
	result("writev", writev(c, v, 2));
	usleep(50000);
	result("readv", readv(c, v, 2));
	result("readv none", readv(c, v, 0));
	result("readv -1", readv(c, v, less));
	result("writev 2000", writev(c, v, more));
	result("send 0", send(c, a, 0, 0));
	result("pread", pread(c, a, 1, 0));
	result("lseek", lseek(c, 0, SEEK_CUR));
	result("oob", send(c, "!", 1, MSG_OOB));
}

static void files(void)
{
	int c = ask("echo\n"), f = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	off_t off = 100;
	char buf[5000], b2[5000];

	result("sendfile", sendfile(c, f, &off, 5000));
	say("off=%ld pos=%ld", (long)off, (long)lseek(f, 0, SEEK_CUR));
	result("recv", recv(c, buf, 5000, MSG_WAITALL));
	say("same=%d", pread(f, b2, 5000, 100) == 5000 && !memcmp(buf, b2, 5000));
	result("sendfile", sendfile(c, f, NULL, 10));
	say("pos=%ld", (long)lseek(f, 0, SEEK_CUR));
	result("recv", recv(c, buf, 10, MSG_WAITALL));
}

static void streams(void)
{
	int c = ask("echo\n");
	FILE *f = fdopen(c, "r+");
	char line[100] = "";

	setvbuf(f, NULL, _IONBF, 0);
	result("print", fprintf(f, "hello %d\n", 5));
	say("line=%s", fgets(line, sizeof(line), f) ? strtok(line, "\n") : "none");
	say("fileno=%d", fileno(f) == c);
	result("dprintf", dprintf(c, "again %s\n", "x"));
	say("line=%s", fgets(line, sizeof(line), f) ? strtok(line, "\n") : "none");
	result("close", fclose(f));
	result("closed", send(c, "x", 1, 0));
}

static void report(const char *what)
{
	char text[4] = "";
	int c = ask("report\n");

	recv(c, text, 3, MSG_WAITALL);
	say("%s: %s", what, text);
	close(c);
}

/* What the peer sees of our end. */
static void ends(void)
{
	struct linger now = { 1, 0 }, soon = { 1, 2 };
	int c = ask("echo\n");

	usleep(20000);
	close(c);
	report("close");
	c = ask("send 100\n");
	wait_for(c, POLLIN);
	usleep(20000);
	close(c);
	report("close with unread bytes");
	c = ask("echo\n");
	setsockopt(c, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
	usleep(20000);
	close(c);
	report("linger 0");
	c = ask("echo\n");
	setsockopt(c, SOL_SOCKET, SO_LINGER, &soon, sizeof(soon));
	usleep(20000);
	close(c);
	report("linger 2");
	c = ask("echo\n");
	shutdown(c, SHUT_WR);
	wait_for(c, POLLIN);
	close(c);
	report("shutdown, close");
	if (fork() == 0) {
		c = ask("echo\n");
		usleep(20000);
		raise(SIGKILL);
	}
	wait(NULL);
	report("killed");
}

static void halves(void)
{
	int c = ask("echo\n");
	char buf[100] = "";

	result("send", send(c, "last words", 10, 0));
	result("shutdown", shutdown(c, SHUT_WR));
	result("send", send(c, "x", 1, MSG_NOSIGNAL));
	result("recv", recv(c, buf, 10, MSG_WAITALL));
	say("%s", buf);
	result("end", recv(c, buf, 10, 0));
	result("end", recv(c, buf, 10, 0));
	result("shutdown", shutdown(c, SHUT_WR));
	result("shutdown", shutdown(c, SHUT_RD));
	c = ask("sendfin 1000000\n");
	for (long n = 0, r;; n += r) {
		static char big[65536];

		r = recv(c, big, sizeof(big), 0);
		if (r <= 0) {
			result("end", r);
			say("bytes=%ld", n);
			break;
		}
	}
}

const struct test cases_data[] = {
	{ "data: flags of recv", reading }, { "data: vectors and messages", messages }, { "data: files", files },
	{ "data: stdio", streams }, { "data: what the peer sees of our end", ends }, { "data: half closed", halves }, { NULL, NULL },
};
