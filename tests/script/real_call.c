/* real_call.c – a script's calls as libc's. Those that must not block are made so one by one, the descriptors stay blocking:
 * a call that blocks has a thread of its own. */
#include "real.h"

#include <fcntl.h>
#include <linux/sockios.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#define BAD ((void *)8)
#define BUF_MAX (4u << 20)

static struct real *real_of(struct host *h) { return h->priv; }
static s64 outcome(s64 r) { return r < 0 ? -errno : r; }

static void set_nonblocking(int fd, bool on)
{
	int fl = fcntl(fd, F_GETFL);

	fcntl(fd, F_SETFL, on ? fl | O_NONBLOCK : fl & ~O_NONBLOCK);
}

static s64 do_connect(struct host *h, int fd, const struct call *c, bool block)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = h->peer.v, .sin_port = to_be16((u16)(PEER_PORT + c->n)).v };
	s64 r;

	if (c->op == OP_DISCONNECT)
		a.sin_family = AF_UNSPEC;
	if (!block)
		set_nonblocking(fd, true);
	r = outcome(connect(fd, c->bad_pointer ? BAD : (void *)&a, sizeof(a)));
	if (!block)
		set_nonblocking(fd, false);
	return r;
}

static s64 do_bind(struct host *h, int fd, const struct call *c)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = to_be16((u16)(h->port + c->n)).v };

	return outcome(bind(fd, c->bad_pointer ? BAD : (void *)&a, sizeof(a)));
}

static s64 do_accept(struct host *h, int fd, const struct call *c, bool block)
{
	int n;
	s64 r;

	if (!block)
		set_nonblocking(fd, true);
	n = accept(fd, c->bad_pointer ? BAD : NULL, c->bad_pointer ? BAD : NULL);
	r = outcome(n);
	if (!block)
		set_nonblocking(fd, false);
	if (n >= 0 && c->ret >= 0)
		real_of(h)->fd[c->ret] = n;
	return r < 0 ? r : 0;
}

static s64 do_send(struct host *h, int fd, const struct call *c, bool block)
{
	u32 *off = &h->tx_off[c->s];
	u8 *buf = malloc(MIN(c->n, BUF_MAX) + 1);
	s64 r;

	for (u32 i = 0; i < c->n && i < BUF_MAX; i++)
		buf[i] = stream_byte(*off + i);
	r = outcome(send(fd, c->bad_pointer ? BAD : buf, c->n, c->flags | MSG_NOSIGNAL | (block ? 0 : MSG_DONTWAIT)));
	free(buf);
	if (r > 0)
		*off += (u32)r;
	return r;
}

static s64 do_recv(struct host *h, int fd, const struct call *c, bool block)
{
	u32 *off = &h->rx_off[c->s];
	u8 *buf = malloc(c->n + 1);
	s64 r = outcome(recv(fd, c->bad_pointer ? BAD : buf, c->n, c->flags | (block ? 0 : MSG_DONTWAIT)));

	for (s64 i = 0; i < r && !(c->flags & MSG_TRUNC); i++)
		if (buf[i] != stream_byte(*off + (u32)i))
			r = -EPROTO;	/* a byte that is not the one at this place of the stream */
	free(buf);
	if (r > 0 && !(c->flags & MSG_PEEK))
		*off += (u32)r;
	return r;
}

static s64 do_setsockopt(int fd, const struct call *c)
{
	struct timeval tv = { c->val[0] / 1000, c->val[0] % 1000 * 1000 };

	if (c->bad_pointer)
		return outcome(setsockopt(fd, c->level, c->name, BAD, 4));
	if (c->text[0])
		return outcome(setsockopt(fd, c->level, c->name, c->text, (socklen_t)strlen(c->text)));
	if (c->level == SOL_SOCKET && (c->name == SO_RCVTIMEO || c->name == SO_SNDTIMEO))
		return outcome(setsockopt(fd, c->level, c->name, &tv, sizeof(tv)));
	return outcome(setsockopt(fd, c->level, c->name, c->val, c->nval * 4u));
}

static s64 do_getsockopt(int fd, const struct call *c, struct answer *a, int level, int name)
{
	socklen_t len = sizeof(a->data);
	s32 value = 0;

	memset(a->data, 0, sizeof(a->data));
	if (getsockopt(fd, level, name, c->bad_pointer ? BAD : (void *)a->data, &len) < 0)
		return -errno;
	a->len = len;
	memcpy(&value, a->data, sizeof(value));
	return c->text[0] || name == TCP_INFO ? 0 : value;
}

static s64 do_poll(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN | POLLOUT | POLLPRI | POLLRDHUP };

	return poll(&p, 1, 0) < 0 ? -errno : p.revents;
}

static s64 do_edge(struct real *r, int s)
{
	struct epoll_event e = { .events = EPOLLIN | EPOLLOUT | EPOLLPRI | EPOLLRDHUP | EPOLLET };
	int n;

	if (r->epoll[s] < 0) {
		r->epoll[s] = epoll_create1(EPOLL_CLOEXEC);
		if (epoll_ctl(r->epoll[s], EPOLL_CTL_ADD, r->fd[s], &e) < 0)
			return -errno;
	}
	n = epoll_wait(r->epoll[s], &e, 1, 0);
	return n < 0 ? -errno : n ? (s64)e.events : 0;
}

static s64 do_socket(struct real *r, const struct call *c)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -errno;
	r->fd[c->ret] = fd;
	return outcome(setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, r->congestion, (socklen_t)strlen(r->congestion)));
}

static s64 do_close(struct real *r, int s)
{
	int fd = r->fd[s];

	if (r->epoll[s] >= 0)
		close(r->epoll[s]);
	r->fd[s] = r->epoll[s] = -1;
	return outcome(close(fd));
}

static s64 do_ioctl(int fd, unsigned long what)
{
	int n = 0;

	return ioctl(fd, what, &n) < 0 ? -errno : n;
}

static s64 dispatch(struct host *h, const struct call *c, struct answer *a, bool block)
{
	struct real *r = real_of(h);
	int fd = c->s >= 0 ? r->fd[c->s] : -1;

	switch (c->op) {
	case OP_SOCKET: return do_socket(r, c);
	case OP_BIND: return do_bind(h, fd, c);
	case OP_LISTEN: return outcome(listen(fd, (int)c->n));
	case OP_ACCEPT: return do_accept(h, fd, c, block);
	case OP_CONNECT:
	case OP_DISCONNECT: return do_connect(h, fd, c, block);
	case OP_SEND: return do_send(h, fd, c, block);
	case OP_RECV: return do_recv(h, fd, c, block);
	case OP_SHUTDOWN: return outcome(shutdown(fd, (int)c->n));
	case OP_CLOSE: return do_close(r, c->s);
	case OP_SETSOCKOPT: return do_setsockopt(fd, c);
	case OP_GETSOCKOPT: return do_getsockopt(fd, c, a, c->level, c->name);
	case OP_POLL: return do_poll(fd);
	case OP_EDGE: return do_edge(r, c->s);
	case OP_INFO: return do_getsockopt(fd, c, a, IPPROTO_TCP, TCP_INFO);
	case OP_INQ: return do_ioctl(fd, FIONREAD);
	case OP_OUTQ: return do_ioctl(fd, SIOCOUTQ);
	}
	return -EOPNOTSUPP;
}

void real_call(struct host *h, const struct call *c, struct answer *ret) { ret->result = dispatch(h, c, ret, false); }

static void *blocking(void *arg)
{
	struct blocked *b = arg;

	b->a.result = dispatch(b->h, &b->e->call, &b->a, true);
	b->end = real_clock();
	store_release(&b->done, true);
	return NULL;
}

void real_call_blocking(struct host *h, struct blocked *b)
{
	pthread_t t;

	if (pthread_create(&t, NULL, blocking, b)) {
		b->a.result = -errno;
		b->end = real_clock();
		store_release(&b->done, true);
		return;
	}
	pthread_detach(t);	/* a script that failed may leave it blocked; the process ends soon */
}

void real_calls_end(struct host *h)
{
	for (u32 i = 0; i < MAX_SOCKS; i++)
		if (real_of(h)->fd[i] >= 0)
			do_close(real_of(h), (int)i);
}
