/* lot.c – lots: descriptors parked as unread messages (crash rule 8). The format is in proto/shm/lot.h.
 *
 * Theory of operation: SO_PEEK_OFF makes each MSG_PEEK begin behind what the last one saw; the offset lives in the
 * socket, so a successor starts with lot_rewind(). Draining takes exactly the messages that were walked: a message a
 * writer adds meanwhile lies behind them and stays. recv() without room for control data closes the descriptors. */
#include "lot.h"

#include <sys/socket.h>
#include <unistd.h>

static int send_one(int w, const struct lot_msg *m, const int *fd, u32 nfds)
{
	union { struct cmsghdr h; char room[CMSG_SPACE(sizeof(int) * LOT_FDS)]; } cb = { 0 };
	struct iovec v = { (void *)m, lot_msg_size(m) };
	struct msghdr h = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = &cb,
			    .msg_controllen = CMSG_SPACE(sizeof(int) * nfds) };
	struct cmsghdr *c = CMSG_FIRSTHDR(&h);

	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(int) * nfds);
	memcpy(CMSG_DATA(c), fd, sizeof(int) * nfds);
	if (sendmsg(w, &h, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
		return -errno;
	return 0;
}

int lots_put(struct lots *l, const struct lot_msg *m, const int *fd, u32 nfds, u32 except)
{
	for (u32 i = 0; i < l->n; i++) {
		u32 k = (l->next + i) % l->n;

		if (k == except || l->lot[k].w < 0)
			continue;
		int r = send_one(l->lot[k].w, m, fd, nfds);
		if (r == -EAGAIN)
			continue;
		if (r)
			return r;
		l->next = k;
		return (int)k;
	}
	return -EAGAIN;
}

int lot_rewind(struct lot *l)
{
	int zero = 0;

	l->walked = l->live = l->dead = 0;
	l->urgent = false;
	if (setsockopt(l->r, SOL_SOCKET, SO_PEEK_OFF, &zero, sizeof(zero)) < 0)
		return -errno;
	return 0;
}

static void take_fds(struct msghdr *h, struct lot_seen *seen)
{
	seen->nfds = 0;
	for (struct cmsghdr *c = CMSG_FIRSTHDR(h); c; c = CMSG_NXTHDR(h, c)) {
		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		u32 n = (u32)((c->cmsg_len - CMSG_LEN(0)) / sizeof(int));
		memcpy(seen->fd, CMSG_DATA(c), n * sizeof(int));
		seen->nfds = n;
	}
}

static bool well_formed(const struct lot_seen *s, size_t n)
{
	const struct lot_hdr *h = &s->msg.hdr;

	if (n < sizeof(*h) || h->magic != LOT_MAGIC)
		return false;
	if (h->type == LOT_ARENA)
		return h->count == 1 && s->nfds == 3 && n == lot_msg_size(&s->msg) && s->msg.arena.id < ARENA_MAX;
	return h->type == LOT_FAR && h->count && h->count <= LOT_FDS && h->count == s->nfds && n == lot_msg_size(&s->msg);
}

int lot_peek(struct lot *l, struct lot_seen *seen)
{
	union { struct cmsghdr h; char room[CMSG_SPACE(sizeof(int) * LOT_FDS)]; } cb;

	for (;;) {
		struct iovec v = { &seen->msg, sizeof(seen->msg) };
		struct msghdr h = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = &cb, .msg_controllen = sizeof(cb) };
		ssize_t n = recvmsg(l->r, &h, MSG_PEEK | MSG_DONTWAIT | MSG_CMSG_CLOEXEC);

		if (n < 0)
			return errno == EAGAIN ? 0 : errno == EINTR ? 0 : -errno;
		if (n == 0)
			return 0;	/* every writer's end is closed */
		take_fds(&h, seen);
		l->walked++;
		if (!(h.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) && well_formed(seen, (size_t)n))
			return 1;
		/* CTRUNC: this process is out of descriptors. The message stays parked for a successor with more. */
		for (u32 i = 0; i < seen->nfds; i++)
			close(seen->fd[i]);
		if (h.msg_flags & MSG_CTRUNC)
			return -EMFILE;
		l->dead++;
	}
}

int lot_drain(struct lot *l)
{
	char b[sizeof(struct lot_hdr)];

	/* The walked messages were peeked, so they are there: recv() takes them without waiting. The peek offset
	 * would be drawn back by the kernel; it is set anew all the same. */
	while (l->walked) {
		if (recv(l->r, b, sizeof(b), MSG_DONTWAIT | MSG_TRUNC) < 0) {
			if (errno == EINTR)
				continue;
			return -errno;
		}
		l->walked--;
	}
	return lot_rewind(l);
}
