/* keeper.c – the client's side of proto/keeper.proto: see keeper.h.
 * Called by common/daemon.c (every daemon) and the `strata` command; keepd uses the framing. */
#include "keeper.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "proto/keeper.pb-c.h"

const char *strata_rundir(void)
{
	const char *dir = getenv("STRATA_RUNDIR");

	return dir && *dir ? dir : "/run/strata";
}

int keeper_connect(const char *instance)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	int fd, r;

	r = snprintf(sa.sun_path, sizeof(sa.sun_path), "%s/%s/keep.sock", strata_rundir(), instance);
	if (r < 0 || (size_t)r >= sizeof(sa.sun_path))
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

int keeper_msg_send(int sock, const void *buf, size_t n, const int *fds, u32 nfds, int flags)
{
	union { struct cmsghdr align; char room[CMSG_SPACE(KEEPER_BATCH * sizeof(int))]; } ctl;
	struct iovec iov = { .iov_base = (void *)buf, .iov_len = n };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	ssize_t r;

	if (nfds > KEEPER_BATCH)
		return -E2BIG;
	if (nfds) {
		struct cmsghdr *c;

		memset(&ctl, 0, sizeof(ctl));
		msg.msg_control = ctl.room;
		msg.msg_controllen = CMSG_SPACE(nfds * sizeof(int));
		c = CMSG_FIRSTHDR(&msg);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(nfds * sizeof(int));
		memcpy(CMSG_DATA(c), fds, nfds * sizeof(int));
	}
	do {
		r = sendmsg(sock, &msg, flags | MSG_NOSIGNAL);
	} while (r < 0 && errno == EINTR);
	return r < 0 ? -errno : 0;
}

ssize_t keeper_msg_recv(int sock, void *buf, size_t size, int *fds, u32 *nfds, int flags)
{
	union { struct cmsghdr align; char room[CMSG_SPACE(KEEPER_BATCH * sizeof(int))]; } ctl;
	struct iovec iov = { .iov_base = buf, .iov_len = size };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = ctl.room,
			      .msg_controllen = sizeof(ctl.room) };
	u32 room = nfds ? *nfds : 0, got = 0;
	bool over = false;
	ssize_t r;

	do {
		r = recvmsg(sock, &msg, flags | MSG_CMSG_CLOEXEC);
	} while (r < 0 && errno == EINTR);
	if (r < 0)
		return -errno;
	for (struct cmsghdr *c = CMSG_FIRSTHDR(&msg); c; c = CMSG_NXTHDR(&msg, c)) {
		size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		for (size_t i = 0; i < n; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(int));
			if (got < room) {
				fds[got++] = fd;
			} else {
				close(fd);
				over = true;
			}
		}
	}
	if (over || msg.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) {
		while (got)
			close(fds[--got]);
		return -EPROTO;
	}
	if (nfds)
		*nfds = got;
	return r;
}

static int send_request(int sock, Strata__Keeper__Request__Op op, const char *role, u32 version, const char *name,
			int fd)
{
	Strata__Keeper__Request q = STRATA__KEEPER__REQUEST__INIT;
	u8 buf[512];

	q.op = op;
	q.role = (char *)role;
	q.has_version = true;
	q.version = version;
	q.name = (char *)name;
	if (strata__keeper__request__get_packed_size(&q) > sizeof(buf))
		return -ENAMETOOLONG;
	return keeper_msg_send(sock, buf, strata__keeper__request__pack(&q, buf), &fd, fd >= 0, 0);
}

/* Put the descriptors of one message under their names; takes ownership of all of them. */
static int take_fds(struct keeper_reply *ret, const Strata__Keeper__Reply *a, const int *fds, u32 nfds)
{
	if (a->n_fds != nfds || nfds > KEEPER_FDS - ret->n) {
		for (u32 i = 0; i < nfds; i++)
			close(fds[i]);
		return -EPROTO;
	}
	for (u32 i = 0; i < nfds; i++) {
		struct keeper_fd *f = &ret->fd[ret->n++];

		snprintf(f->name, sizeof(f->name), "%s", a->fds[i]);
		f->fd = fds[i];
	}
	return 0;
}

static int recv_reply(int sock, struct keeper_reply *ret)
{
	static u8 buf[KEEPER_MSG];
	int fds[KEEPER_BATCH], r;
	bool more = true;

	while (more) {
		Strata__Keeper__Reply *a;
		u32 nfds = KEEPER_BATCH;
		ssize_t n = keeper_msg_recv(sock, buf, sizeof(buf), fds, &nfds, 0);

		if (n <= 0)
			return n < 0 ? (int)n : -ECONNRESET;
		a = strata__keeper__reply__unpack(NULL, (size_t)n, buf);
		if (!a) {
			while (nfds)
				close(fds[--nfds]);
			return -EPROTO;
		}
		r = take_fds(ret, a, fds, nfds);
		if (r == 0)
			r = a->error > 0 ? -EPROTO : a->error;
		if (a->text)
			snprintf(ret->text, sizeof(ret->text), "%s", a->text);
		more = a->has_more && a->more;
		strata__keeper__reply__free_unpacked(a, NULL);
		if (r < 0)
			return r;
	}
	return 0;
}

int keeper_ask(int sock, const char *role, u32 version)
{
	return send_request(sock, STRATA__KEEPER__REQUEST__OP__HELLO, role, version, NULL, -1);
}

int keeper_answer(int sock, struct keeper_reply *ret)
{
	int r;

	ret->n = 0;
	ret->text[0] = '\0';
	r = recv_reply(sock, ret);
	if (r < 0)
		keeper_close(ret);
	return r;
}

int keeper_hello(int sock, const char *role, u32 version, struct keeper_reply *ret)
{
	int r = keeper_ask(sock, role, version);

	ret->n = 0;
	ret->text[0] = '\0';
	return r < 0 ? r : keeper_answer(sock, ret);
}

int keeper_park(int sock, const char *role, const char *name, int fd, char *text, size_t text_size)
{
	struct keeper_reply ret = { .n = 0 };
	int r;

	r = send_request(sock, fd >= 0 ? STRATA__KEEPER__REQUEST__OP__PARK : STRATA__KEEPER__REQUEST__OP__UNPARK, role,
			 0, name, fd);
	if (r == 0)
		r = recv_reply(sock, &ret);
	snprintf(text, text_size, "%s", ret.text);
	keeper_close(&ret);
	return r;
}

int keeper_find(const struct keeper_reply *r, const char *name)
{
	for (u32 i = 0; i < r->n; i++)
		if (r->fd[i].fd >= 0 && strcmp(r->fd[i].name, name) == 0)
			return r->fd[i].fd;
	return -1;
}

void keeper_close(struct keeper_reply *r)
{
	for (u32 i = 0; i < r->n; i++)
		if (r->fd[i].fd >= 0)
			close(r->fd[i].fd);
	r->n = 0;
}
