/* client.c – requests of daemons and of the `strata` command: HELLO, PARK, UNPARK (proto/keeper.proto).
 *
 * Whoever sends what is no request, or does not read his replies, is cut off: a daemon connects again. A request
 * done twice does no harm (keepd may be killed between doing and answering). Called by main.c. */
#include "keepd.h"

#include <linux/kcmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common/log.h"
#include "common/region.h"
#include "proto/keeper.pb-c.h"

/* A HELLO's answer while it is put together. */
struct answer {
	int sock;
	u32 n;
	int fd[KEEPER_BATCH];
	bool close[KEEPER_BATCH];	/* made for this answer: a read-only descriptor */
	char *name[KEEPER_BATCH];
};

static int send_reply(int sock, int error, const char *text, struct answer *a, bool more)
{
	static u8 buf[KEEPER_MSG];
	Strata__Keeper__Reply p = STRATA__KEEPER__REPLY__INIT;

	p.error = error;
	p.text = (char *)text;
	p.has_more = more;
	p.more = more;
	if (a) {
		p.fds = a->name;
		p.n_fds = a->n;
	}
	if (strata__keeper__reply__get_packed_size(&p) > sizeof(buf))
		return -EMSGSIZE;
	return keeper_msg_send(sock, buf, strata__keeper__reply__pack(&p, buf), a ? a->fd : NULL, a ? a->n : 0,
			       MSG_DONTWAIT);
}

static int answer_flush(struct answer *a, bool more)
{
	int r = send_reply(a->sock, 0, NULL, a, more);

	for (u32 i = 0; i < a->n; i++)
		if (a->close[i])
			close(a->fd[i]);
	a->n = 0;
	return r;
}

static int answer_add(struct answer *a, const struct item *i, bool writable, const char *name)
{
	int fd = i->fd, r;

	if (a->n == KEEPER_BATCH) {
		r = answer_flush(a, true);
		if (r < 0)
			return r;
	}
	if (!writable) {
		fd = region_reopen_ro(i->fd);
		if (fd < 0) {
			log_err("%s cannot be opened read-only: %s", i->name, strerror(-fd));
			return fd;
		}
	}
	a->close[a->n] = !writable;
	a->name[a->n] = (char *)name;
	a->fd[a->n++] = fd;
	return 0;
}

static int hello(struct keepd *k, struct client *c, enum role role, u32 version)
{
	struct answer a = { .sock = c->fd };
	int r = 0;

	if (role != ROLE_CLI && version != region_version((enum region_id)role))
		log_notice("%s knows layout %u, keepd %u: restart keepd after an upgrade", role_name(role), version,
			   region_version((enum region_id)role));
	for (u32 i = 0; r == 0 && i < k->nitems; i++) {
		bool writable;
		const char *name;

		if (role_item(role, &k->item[i], &writable, &name))
			r = answer_add(&a, &k->item[i], writable, name);
	}
	if (r == 0)
		return answer_flush(&a, false);
	while (a.n--)
		if (a.close[a.n])
			close(a.fd[a.n]);
	return r;
}
static_assert((int)ROLE_LINKD == REGION_LINK && (int)ROLE_IPD == REGION_IP && (int)ROLE_TCPD == REGION_TCP &&
		      (int)ROLE_SOCKD == REGION_SOCK,
	      "a daemon's role is its region's number");

static bool name_ok(const char *name)
{
	size_t n = strlen(name);

	if (n == 0 || n >= KEEPER_NAME || strncmp(name, "region:", 7) == 0 || strncmp(name, "bell:", 5) == 0 ||
	    strncmp(name, "lot:", 4) == 0)
		return false;
	for (const char *c = name; *c; c++)	/* what systemd allows in a name; '/' is ':' there */
		if (*c <= ' ' || *c >= 127 || *c == '/')
			return false;
	return true;
}

static u32 parked_by(const struct keepd *k, enum role role)
{
	char prefix[32];
	u32 n = 0;

	snprintf(prefix, sizeof(prefix), "park:%s:", role_name(role));
	for (u32 i = 0; i < k->nitems; i++)
		n += strncmp(k->item[i].name, prefix, strlen(prefix)) == 0;
	return n;
}

/* As systemd tells whether it has a descriptor already: the same open file, or, where the kernel does not say, the
 * same inode that is no device. */
static bool same_file(int a, int b)
{
	struct stat sa, sb;
	long r = syscall(SYS_kcmp, getpid(), getpid(), KCMP_FILE, a, b);

	if (r >= 0)
		return r == 0;
	return fstat(a, &sa) == 0 && fstat(b, &sb) == 0 && sa.st_ino == sb.st_ino && sa.st_dev == sb.st_dev &&
	       (sa.st_mode & S_IFMT) == (sb.st_mode & S_IFMT) && !S_ISCHR(sa.st_mode) && !S_ISBLK(sa.st_mode);
}

/* The store keeps an open file once, under the first name it was given: a second copy is thrown away silently, and
 * removing the first name would then remove the only one. */
static const struct item *kept_as(const struct keepd *k, int fd)
{
	for (u32 i = 0; i < k->nitems; i++)
		if (same_file(k->item[i].fd, fd))
			return &k->item[i];
	return NULL;
}

/* Takes fd. The new one is in the store before the old one leaves it. */
static int park(struct keepd *k, enum role role, const char *name, int fd)
{
	char full[ITEM_NAME];
	struct item *old, fresh = { .fd = fd };
	const struct item *same = kept_as(k, fd);
	int r;

	snprintf(full, sizeof(full), "park:%s:%s", role_name(role), name);
	snprintf(fresh.name, sizeof(fresh.name), "%s", full);
	old = item_find(k, full);
	if (same) {
		close(fd);
		return same == old ? 0 : -EEXIST;	/* a daemon's next life parks what it was given */
	}
	if (!old && (parked_by(k, role) == PARKS_MAX || k->nitems == ITEMS_MAX)) {
		close(fd);
		return -ENOSPC;
	}
	fresh.seq = old ? old->seq + 1 : 1;
	r = store_put(k, &fresh);
	if (r == 0)
		r = store_barrier(k);
	if (r < 0) {
		close(fd);
		return r;
	}
	if (old) {
		r = store_remove(k, old);	/* failed: the newer number counts at the next start */
		close(old->fd);
		*old = fresh;
		return 0;
	}
	old = item_add(k, full, fd);
	if (!old)
		return -ENOSPC;
	old->seq = fresh.seq;
	return 0;
}

static int unpark(struct keepd *k, enum role role, const char *name)
{
	char full[ITEM_NAME];
	struct item *i;
	int r;

	snprintf(full, sizeof(full), "park:%s:%s", role_name(role), name);
	i = item_find(k, full);
	if (!i)
		return 0;	/* done before, and asked again */
	r = store_remove(k, i);
	if (r == 0)
		item_drop(k, i);
	return r;
}

/* Takes fd (-1: none). False: cut him off. */
static bool request(struct keepd *k, struct client *c, const Strata__Keeper__Request *q, int fd)
{
	int role = role_by_name(q->role), r = -EPROTO;
	const char *text = NULL;

	if (role < 0 || !c->role[role]) {
		log_warn("pid %u, uid %u may not be %.16s", c->pid, c->uid, role < 0 ? "what it says" : q->role);
		r = -EPERM;
		text = role == ROLE_CLI ? "only root and members of group strata may look"
					: "run it as its own user (strata-linkd, ...) or as root";
	} else if (q->op == STRATA__KEEPER__REQUEST__OP__HELLO) {
		if (fd < 0)
			return hello(k, c, (enum role)role, q->has_version ? q->version : 0) == 0;
	} else if (role == ROLE_CLI || !q->name || !name_ok(q->name)) {
		r = -EINVAL;
		text = "parking is for daemons, under a name of at most 31 printable characters without '/'";
	} else if (q->op == STRATA__KEEPER__REQUEST__OP__PARK && fd >= 0) {
		r = park(k, (enum role)role, q->name, fd);
		fd = -1;
		text = r == -ENOSPC ? "too many descriptors are parked"
				    : r == -EEXIST ? "it is kept already, under another name" : NULL;
	} else if (q->op == STRATA__KEEPER__REQUEST__OP__UNPARK && fd < 0) {
		r = unpark(k, (enum role)role, q->name);
	}
	if (fd >= 0)
		close(fd);
	if (r == -EPROTO)
		return false;
	return send_reply(c->fd, r, text, NULL, false) == 0 && r != -EPERM;
}

bool client_serve(struct keepd *k, struct client *c)
{
	static u8 buf[KEEPER_MSG];
	Strata__Keeper__Request *q;
	int fd = -1;
	u32 nfds = 1;
	ssize_t n = keeper_msg_recv(c->fd, buf, sizeof(buf), &fd, &nfds, MSG_DONTWAIT);
	bool ok;

	if (n == -EAGAIN)
		return true;
	if (n == -ECONNRESET)
		return false;	/* killed with our answer unread */
	if (n == 0 && nfds)
		close(fd);
	if (n == 0)
		return false;
	q = n > 0 ? strata__keeper__request__unpack(NULL, (size_t)n, buf) : NULL;
	if (!q) {
		log_warn("pid %u, uid %u sends what is no request: cut off", c->pid, c->uid);
		if (n > 0 && nfds)
			close(fd);
		return false;
	}
	ok = request(k, c, q, nfds ? fd : -1);
	strata__keeper__request__free_unpacked(q, NULL);
	return ok;
}

void client_accept(struct keepd *k)
{
	struct client c = { .fd = accept4(k->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK) };
	bool may = false;

	if (c.fd < 0) {
		if (errno != EAGAIN && errno != ECONNABORTED && errno != EINTR)
			log_err("accept: %m");
		return;
	}
	role_check(k, c.fd, &c);
	for (int r = 0; r < ROLES; r++)
		may |= c.role[r];
	/* Who may nothing is told so (request()), but cannot fill the table. */
	if (k->nclients >= (may ? CLIENTS_MAX : CLIENTS_MAX / 2)) {
		log_warn("pid %u, uid %u: too many connections", c.pid, c.uid);
		close(c.fd);
		return;
	}
	k->client[k->nclients++] = c;
}
