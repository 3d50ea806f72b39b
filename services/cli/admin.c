/* admin.c – requests that change something: strata -> sockd (checks who asks) -> mailbox -> ipd.
 * Called by addr, route, neigh, link, ping. */
#include "strata.h"

#include <poll.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/keeper.h"
#include "proto/sock.pb-c.h"

#define BUSY_TRIES 50
#define BUSY_WAIT_MS 20

static int dial(struct cli *c)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	int fd, r;

	r = snprintf(sa.sun_path, sizeof(sa.sun_path), "%s/%s/sock", strata_rundir(), c->instance);
	if (r >= (int)sizeof(sa.sun_path))
		return -ENAMETOOLONG;
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	if (connect(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0) {
		r = -errno;
		close(fd);
		return r;
	}
	return fd;
}

static void take_admin(const Strata__Sock__Reply *a, struct admin_reply *ret)
{
	Strata__Control__Reply *p;

	if (a->text)
		snprintf(ret->text, sizeof(ret->text), "%s", a->text);
	if (!a->has_admin)
		return;
	p = strata__control__reply__unpack(NULL, a->admin.len, a->admin.data);
	if (!p)
		return;
	if (p->text)
		snprintf(ret->text, sizeof(ret->text), "%s", p->text);
	ret->rtt_ns = p->has_rtt_ns ? p->rtt_ns : 0;
	ret->ttl = p->has_ttl ? p->ttl : 0;
	strata__control__reply__free_unpacked(p, NULL);
}

static int receive(int fd, u64 id, u32 timeout_ms, struct admin_reply *ret)
{
	static u8 buf[16384];
	struct pollfd p = { .fd = fd, .events = POLLIN };
	Strata__Sock__Reply *a;
	ssize_t n;
	int r;

	if (poll(&p, 1, (int)timeout_ms) == 0)
		return -ETIMEDOUT;
	n = recv(fd, buf, sizeof(buf), 0);
	if (n <= 0)
		return n < 0 ? -errno : -ECONNRESET;
	a = strata__sock__reply__unpack(NULL, (size_t)n, buf);
	if (!a)
		return -EPROTO;
	r = a->id == id ? a->error : -EPROTO;
	take_admin(a, ret);
	strata__sock__reply__free_unpacked(a, NULL);
	return r > 0 ? -EPROTO : r;
}

static int attempt(struct cli *c, const admin_request *q, u32 timeout_ms, struct admin_reply *ret)
{
	Strata__Sock__Request s = STRATA__SOCK__REQUEST__INIT;
	u8 inner[1024], outer[2048];
	int fd, r;

	if (strata__control__request__get_packed_size(q) > sizeof(inner))
		return -E2BIG;
	s.op = STRATA__SOCK__REQUEST__OP__ADMIN;
	if (getrandom(&s.id, sizeof(s.id), 0) != (ssize_t)sizeof(s.id))
		return -errno;
	s.has_admin = true;
	s.admin = (ProtobufCBinaryData){ .len = strata__control__request__pack(q, inner), .data = inner };
	fd = dial(c);
	if (fd < 0)
		return fd;
	r = keeper_msg_send(fd, outer, strata__sock__request__pack(&s, outer), NULL, 0, 0);
	if (r == 0)
		r = receive(fd, s.id, timeout_ms, ret);
	close(fd);
	return r;
}

int admin(struct cli *c, const admin_request *q, u32 timeout_ms, struct admin_reply *ret)
{
	int r = -EBUSY;

	for (u32 i = 0; i < BUSY_TRIES; i++) {
		*ret = (struct admin_reply){ 0 };
		r = attempt(c, q, timeout_ms, ret);
		if (r != -EBUSY)
			break;
		poll(NULL, 0, BUSY_WAIT_MS);	/* somebody else's is being served: one at a time */
	}
	ret->error = r;
	return r;
}

int admin_run(struct cli *c, const admin_request *q)
{
	static struct admin_reply a;
	int r = admin(c, q, 10000, &a);

	if ((r == -EPERM || r == -EACCES) && under_sudo(c))
		return EXIT_FAILURE;
	if (r < 0) {
		fprintf(stderr, "strata: %s%s\n", *a.text ? a.text : strerror(-r),
			r == -ENOENT || r == -ECONNREFUSED ? " (is the instance running?)" : "");
		return EXIT_FAILURE;
	}
	if (*a.text)
		puts(a.text);
	return EXIT_SUCCESS;
}
