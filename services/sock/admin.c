/* admin.c – requests of the `strata` command, passed to ipd in a mailbox (sock_shm.ip_admin, ip_shm.admin_ans).
 *
 * One at a time; who comes while another waits is answered -EBUSY and may repeat. Allowed: uid 0 and members of
 * group strata. Called by call.c and mailbox.c's poll. */
#include "sockd.h"
#include "proto/control.pb-c.h"

#include <sys/socket.h>

bool admin_allowed(const struct sockd *s, const struct client *c)
{
	gid_t groups[256];
	socklen_t len = sizeof(groups);

	if (c->cred.uid == 0 || (s->admin_gid && c->cred.gid == s->admin_gid))
		return true;
	if (!s->admin_gid || getsockopt(c->fd, SOL_SOCKET, SO_PEERGROUPS, groups, &len) < 0)
		return false;
	for (u32 i = 0; i < len / sizeof(gid_t); i++)
		if (groups[i] == s->admin_gid)
			return true;
	return false;
}

static void answer(struct sockd *s, struct client *c, int error, const char *text, const void *data, size_t len)
{
	Strata__Sock__Reply re = STRATA__SOCK__REPLY__INIT;

	re.id = c->call.rq->id;
	re.error = error;
	re.text = (char *)text;
	if (data) {
		re.has_admin = 1;
		re.admin.data = (u8 *)data;
		re.admin.len = len;
	}
	client_reply(s, c, &re, NULL, 0);
}

void admin_call(struct sockd *s, struct client *c)
{
	struct ip_admin *m = &s->d.sock->ip_admin;
	const ProtobufCBinaryData *rq = &c->call.rq->admin;

	if (!admin_allowed(s, c)) {
		count(s->d.counters, SOCK_REFUSED);
		answer(s, c, -EPERM, "only root and members of group strata may do that", NULL, 0);
	} else if (!c->call.rq->has_admin || rq->len > sizeof(m->request)) {
		answer(s, c, -EINVAL, "no request inside, or too long", NULL, 0);
	} else if (s->admin || load_acquire(&s->d.ip->admin_ans.done) != load_relaxed(&m->seq)) {
		answer(s, c, -EBUSY, "another request is being served; try again", NULL, 0);
	} else {
		m->len = (u32)rq->len;
		if (rq->len)
			memcpy(m->request, rq->data, rq->len);
		store_release(&m->seq, load_relaxed(&m->seq) + 1);
		s->admin = c;
		c->call.admin = true;
		daemon_ring(&s->d, REGION_IP);
	}
}

void admin_poll(struct sockd *s)
{
	const struct ip_admin_ans *a = &s->d.ip->admin_ans;
	struct client *c = s->admin;
	char text[sizeof(a->text) + 1];
	u8 packed[sizeof(a->text) + 64];

	if (load_acquire(&((struct ip_admin_ans *)a)->done) != load_relaxed(&s->d.sock->ip_admin.seq))
		return;
	memcpy(text, a->text, sizeof(a->text));
	text[sizeof(a->text)] = 0;
	Strata__Control__Reply re = STRATA__CONTROL__REPLY__INIT;
	re.error = a->result;
	re.text = text;
	s->admin = NULL;
	answer(s, c, a->result, text, packed, strata__control__reply__pack(&re, packed));
}
