/* kernel.c – what Strata does not carry goes to the kernel, by configuration and never silently.
 *
 * Which stack serves a socket is known only when it is bound or connected. Until then it is a pair of ours; if the
 * kernel is to have it, a kernel socket takes its place under the same numbers, with the options set so far and with
 * the epoll registrations made so far. */
#include <fcntl.h>
#include <stdlib.h>
#include <sys/syscall.h>

#include "services/shim/shim.h"
#include "services/shim/stream.h"

static bool verbose;

void kernel_init(void)
{
	verbose = secure_getenv("STRATA_VERBOSE");
}

void kernel_note(int what)
{
	static const char *const text[BYPASS_KINDS] = {
		[BYPASS_DGRAM] = "strata: sockets other than TCP go to the kernel\n",
		[BYPASS_V6] = "strata: IPv6 goes to the kernel\n",
		[BYPASS_ADDR] = "strata: loopback and the networks of [shim] bypass go to the kernel\n",
		[BYPASS_OTHER] = "strata: this socket cannot be served by Strata and goes to the kernel\n",
	};
	static _Atomic u32 said;

	if (!verbose || (atomic_fetch_or(&said, 1u << what) & 1u << what))
		return;
	sys(SYS_write, 2, text[what], strlen(text[what]));
}

static void replay_options(const struct sock *s, int k, int fd)
{
	static const int times[] = { SO_RCVTIMEO, SO_SNDTIMEO };
	int one = 1;
	u8 value[16];

	for (u32 i = 0; i < s->nopts; i++)
		sys_setsockopt(k, s->opt[i].level, s->opt[i].name, s->opt[i].value, s->opt[i].len);
	for (u32 i = 0; i < ARRAY_SIZE(times); i++) {
		u32 len = sizeof(value);

		if (sys_getsockopt(fd, SOL_SOCKET, times[i], value, &len) == 0)
			sys_setsockopt(k, SOL_SOCKET, times[i], value, len);
	}
	if (s->v6 && s->v6only)
		sys_setsockopt(k, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one));
	if (s->words & SKC_NODELAY)
		sys_setsockopt(k, IPPROTO_TCP, 1 /* TCP_NODELAY */, &one, sizeof(one));
	if (s->words & SKC_CORK)
		sys_setsockopt(k, IPPROTO_TCP, 3 /* TCP_CORK */, &one, sizeof(one));
}

static int replay_bind(const struct sock *s, int k)
{
	struct sockaddr_storage a;
	socklen_t len = sizeof(a);

	if (!s->bound)
		return 0;
	sock_address(s, s->baddr, s->bport, (struct sockaddr *)&a, &len);
	return (int)sys(SYS_bind, k, &a, len);
}

int kernel_replace(struct sock *s, int fd)
{
	long fl = sys_fcntl(fd, F_GETFL, 0), k, r;

	if (load_acquire(&s->life) == SOCK_LIVE && load_acquire(&s->b.s->state) != SKS_FRESH &&
	    load_acquire(&s->b.s->state) != SKS_FAILED)
		return -EISCONN;
	k = sys(SYS_socket, s->v6 ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_CLOEXEC | (fl > 0 ? fl & O_NONBLOCK : 0), 0);
	if (k < 0)
		return (int)k;
	replay_options(s, (int)k, fd);
	r = replay_bind(s, (int)k);
	/* Every number that means this socket; the registrations follow, since they die with the last of the old file. */
	for (int at = table_next(s, 0); at >= 0 && r >= 0; at = table_next(s, at + 1)) {
		long fdflags = sys_fcntl(at, F_GETFD, 0);

		r = sys(SYS_dup3, k, at, fdflags > 0 && (fdflags & FD_CLOEXEC) ? O_CLOEXEC : 0);
		table_drop(at);
	}
	sys_close((int)k);
	for (u32 i = 0; i < s->nregs && r >= 0; i++)
		sys(SYS_epoll_ctl, s->reg[i].epfd, EPOLL_CTL_ADD, s->reg[i].fd, &s->reg[i].ev);
	return r < 0 ? (int)r : 0;
}
