/* client.c – tx1: the connections of processes to sockd: accept, one message in, one message out.
 *
 * SOCK_SEQPACKET on /run/strata/NAME/sock. A client that sends what is no request, or floods, is cut off and counted;
 * its sockets do not depend on this connection, and no other client notices. Every client's descriptor is in one
 * epoll set; while a call waits for tcpd its connection is not read. */
#include "sockd.h"
#include "common/log.h"

#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define EVENTS 64
#define ROUNDS 16		/* then tcpd's answers have their turn */
#define RATE_MAX 200000u	/* requests a second of one client */

void client_cut(struct sockd *s, struct client *c)
{
	if (s->admin == c)
		s->admin = NULL;
	call_end(c);
	close(c->fd);		/* leaves the epoll set with it */
	*c->pprev = c->next;
	if (c->next)
		c->next->pprev = c->pprev;
	s->nclients--;
	BIT_EACH(a, c->arenas, ARENA_MAX)
		if (arena_live(s, a))
			mailbox_hint(s, SOCK_HINT_KICK | a);
	arenas_let_go(s, c);
	free(c);
}

static void bad(struct sockd *s, struct client *c, const char *why)
{
	log_notice("pid %u (uid %u) cut off: %s", c->cred.pid, c->cred.uid, why);
	count(s->d.counters, SOCK_BAD_MESSAGES);
	shutdown(c->fd, SHUT_RDWR);	/* freed when its HUP arrives: nobody holds a pointer to it by then */
	call_end(c);
}

static void accept_clients(struct sockd *s)
{
	for (;;) {
		int fd = accept4(s->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
		struct ucred u;
		socklen_t len = sizeof(u);

		if (fd < 0) {
			if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED)
				log_warn("accept: %s", strerror(errno));
			return;
		}
		struct client *c = s->nclients < s->d.conf.max_clients ? calloc(1, sizeof(*c)) : NULL;
		if (!c || getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &u, &len) < 0) {
			count(s->d.counters, SOCK_REFUSED);
			free(c);
			close(fd);
			continue;
		}
		*c = (struct client){ .fd = fd, .cred = { (u32)u.pid, u.uid, u.gid } };
		struct epoll_event e = { .events = EPOLLIN, .data.ptr = c };
		if (epoll_ctl(s->epfd, EPOLL_CTL_ADD, fd, &e) < 0) {
			log_warn("epoll_ctl: %s", strerror(errno));
			free(c);
			close(fd);
			continue;
		}
		c->next = s->clients;
		c->pprev = &s->clients;
		if (c->next)
			c->next->pprev = &c->next;
		s->clients = c;
		s->nclients++;
	}
}

static void keep_fds(struct call *call, struct msghdr *h)
{
	for (struct cmsghdr *m = CMSG_FIRSTHDR(h); m; m = CMSG_NXTHDR(h, m)) {
		if (m->cmsg_level != SOL_SOCKET || m->cmsg_type != SCM_RIGHTS)
			continue;
		u32 n = (u32)((m->cmsg_len - CMSG_LEN(0)) / sizeof(int));
		for (u32 i = 0; i < n; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(m) + i * sizeof(int), sizeof(fd));
			if (call->nfds < CALL_FDS)
				call->fd[call->nfds++] = fd;
			else
				close(fd);
		}
	}
}

static bool too_fast(struct sockd *s, struct client *c)
{
	if (s->d.loop.now - c->rate_since > NSEC_PER_SEC) {
		c->rate_since = s->d.loop.now;
		c->rate = 0;
	}
	return ++c->rate > RATE_MAX;
}

/* While a call is in flight its connection is not read, and not watched once something is there; EPOLLHUP is told all
 * the same. */
static void listen_to(struct sockd *s, struct client *c, bool yes)
{
	struct epoll_event e = { .events = yes ? EPOLLIN : 0, .data.ptr = c };

	if (c->quiet == !yes)
		return;
	c->quiet = !yes;
	if (epoll_ctl(s->epfd, EPOLL_CTL_MOD, c->fd, &e) < 0)
		log_warn("epoll_ctl: %s", strerror(errno));
}

static void read_client(struct sockd *s, struct client *c)
{
	union { struct cmsghdr h; char room[CMSG_SPACE(sizeof(int) * CALL_FDS)]; } cb;
	struct iovec v = { s->message, sizeof(s->message) };
	struct msghdr h = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = &cb, .msg_controllen = sizeof(cb) };
	ssize_t n = recvmsg(c->fd, &h, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		client_cut(s, c);
		return;
	}
	c->call = (struct call){ .active = true };
	keep_fds(&c->call, &h);
	if (!(h.msg_flags & (MSG_TRUNC | MSG_CTRUNC)))
		c->call.rq = strata__sock__request__unpack(NULL, (size_t)n, s->message);
	if (!c->call.rq) {
		bad(s, c, "malformed message");
		return;
	}
	if (too_fast(s, c)) {
		bad(s, c, "too many requests");
		return;
	}
	if (!c->id && c->call.rq->op != STRATA__SOCK__REQUEST__OP__HELLO && c->call.rq->op != STRATA__SOCK__REQUEST__OP__ADMIN) {
		bad(s, c, "no hello");
		return;
	}
	call_begin(s, c);
}

void clients_event(void *arg, u32 events)
{
	struct sockd *s = arg;
	struct epoll_event e[EVENTS];
	int n = 0;

	for (u32 round = 0; round < ROUNDS; round++) {
		n = epoll_wait(s->epfd, e, EVENTS, 0);
		for (int i = 0; i < n; i++) {
			struct client *c = e[i].data.ptr;

			if (!c)
				accept_clients(s);
			else if (c->call.active && (e[i].events & (EPOLLHUP | EPOLLERR)))
				client_cut(s, c);
			else if (c->call.active)
				listen_to(s, c, false);	/* it does not wait for its reply */
			else
				read_client(s, c);
		}
		if (n <= 0)
			break;
	}
	s->more = n > 0;	/* the loop tells edges only; the rest is mailbox_poll()'s to ask for */
}

void client_reply(struct sockd *s, struct client *c, Strata__Sock__Reply *re, const int *fd, u32 nfds)
{
	union { struct cmsghdr h; char room[CMSG_SPACE(sizeof(int) * CALL_FDS)]; } cb = { 0 };
	size_t len = strata__sock__reply__get_packed_size(re);
	struct iovec v = { s->message, len };
	struct msghdr h = { .msg_iov = &v, .msg_iovlen = 1 };

	assert(len <= sizeof(s->message) && nfds <= CALL_FDS);
	strata__sock__reply__pack(re, s->message);
	if (nfds) {
		h.msg_control = &cb;
		h.msg_controllen = CMSG_SPACE(sizeof(int) * nfds);
		struct cmsghdr *m = CMSG_FIRSTHDR(&h);
		m->cmsg_level = SOL_SOCKET;
		m->cmsg_type = SCM_RIGHTS;
		m->cmsg_len = CMSG_LEN(sizeof(int) * nfds);
		memcpy(CMSG_DATA(m), fd, sizeof(int) * nfds);
	}
	if (sendmsg(c->fd, &h, MSG_DONTWAIT | MSG_NOSIGNAL) < 0) {
		/* It does not read its replies, or is gone: with the connection down it will repeat the request. */
		log_info("reply to pid %u: %s", c->cred.pid, strerror(errno));
		shutdown(c->fd, SHUT_RDWR);
	}
	client_done(s, c);
}

void client_done(struct sockd *s, struct client *c)
{
	call_end(c);
	listen_to(s, c, true);
}

int clients_open(struct sockd *s)
{
	struct epoll_event e = { .events = EPOLLIN };

	s->epfd = epoll_create1(EPOLL_CLOEXEC);
	if (s->epfd < 0)
		return -errno;
	if (epoll_ctl(s->epfd, EPOLL_CTL_ADD, s->listener, &e) < 0)
		return -errno;
	int r = loop_add_fd(&s->d.loop, s->epfd, EPOLLIN, clients_event, s);
	return r < 0 ? r : 0;
}
