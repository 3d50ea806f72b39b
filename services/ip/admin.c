/* admin.c – requests of the `strata` command (addr, route, neigh, ping), from sockd's mailbox.
 *
 * The mailbox is state, not a queue (proto/shm/sock.h): sock_shm.ip_admin.seq != ip_shm.admin_ans.done means an open
 * request, whoever died meanwhile. Adding what is there and deleting what is not answer so, hence a request done twice
 * by a successor harms nothing. Called by ip_poll(); not on the packet path: messages are unpacked with malloc. */
#include "path.h"

#include <stdio.h>

#include "proto/control.pb-c.h"

static u32 open_seq(const struct ip_stack *st) { return load_acquire((_Atomic u32 *)&st->admin->seq); }

/* A ping in progress is an open request that waits for its reply, not for us; so is one to linkd. */
bool admin_pending(const struct ip_stack *st)
{
	u32 seq;

	if (!st->admin)
		return false;
	seq = open_seq(st);
	if (st->link_set_for == seq && seq)
		return link_set_answered(st);
	return seq != load_relaxed(&st->shm->admin_ans.done) && !(st->ping.active && st->ping.admin_seq == seq);
}

void admin_answer(struct ip_stack *st, int result, const char *text)
{
	struct ip_admin_ans *a = &st->shm->admin_ans;

	snprintf(a->text, sizeof(a->text), "%s", text);
	a->result = result;
	ip_crash_point("before admin answer");
	store_release(&a->done, open_seq(st));
	st->bell_sock = true;
}

static const char *explain(int r)
{
	switch (r) {
	case 0: return "";
	case -EEXIST: return "it is there already";
	case -ENOSPC: return "the table is full";
	case -EINVAL: return "impossible address, prefix, MAC, metric or mtu";
	case -ENODEV: return "no such device; `strata link` lists them";
	case -ESRCH: return "no such entry";
	case -EADDRNOTAVAIL: return "no such address";
	case -ERANGE: return "mtu must be 576 to 65521";
	case -ENETDOWN: return "the device is not open; is strata-linkd running?";
	case -ENETUNREACH: return "no route to that address, and no device named";
	default: return strerror(-r);
	}
}

/* The device of a request: named, or the one that leads to `towards`. */
static int device(const struct ip_stack *st, const Strata__Control__Request *rq, be32 towards)
{
	struct ip_path path;
	int r;

	if (rq->dev)
		return dev_by_name(st, rq->dev);
	r = route_find(st->shm, st->link, towards, (be32){ 0 }, &path);
	return r < 0 ? r : path.dev;
}

static int addr_op(struct ip_stack *st, const Strata__Control__Request *rq, be32 addr)
{
	int dev = rq->dev ? dev_by_name(st, rq->dev) : -1;

	if (rq->dev && dev < 0)
		return dev;
	if (!rq->has_addr || (rq->has_prefix && rq->prefix > 32))
		return -EINVAL;
	if (rq->op == STRATA__CONTROL__REQUEST__OP__ADDR_DEL)
		return addr_del(st, addr, (u8)rq->prefix, dev);
	if (dev < 0)
		return -ENODEV;
	return addr_add(st, addr, rq->has_prefix ? (u8)rq->prefix : 32, (u8)dev, IP_ROW_RUNTIME);
}

static int route_op(struct ip_stack *st, const Strata__Control__Request *rq, be32 addr)
{
	be32 gateway = { rq->gateway };
	struct ip_route row;
	int dev;

	if (rq->prefix > 32)
		return -EINVAL;
	if (rq->op == STRATA__CONTROL__REQUEST__OP__ROUTE_DEL) {
		dev = rq->dev ? dev_by_name(st, rq->dev) : -1;
		return rq->dev && dev < 0 ? dev : route_del(st, addr, (u8)rq->prefix, gateway, dev);
	}
	if (!rq->dev && !gateway.v)
		return -ENODEV;
	dev = device(st, rq, gateway);
	if (dev < 0)
		return dev;
	row = (struct ip_route){ .dst = addr, .gateway = gateway, .prefix = (u8)rq->prefix, .dev = (u8)dev,
				 .metric = rq->metric, .mtu = rq->mtu };
	return route_add(st, &row, IP_ROW_RUNTIME);
}

static int neigh_op(struct ip_stack *st, const Strata__Control__Request *rq, be32 addr)
{
	static const u8 zero[ETH_ALEN];
	struct neighbour *nb;
	int dev;

	if (!rq->has_addr || !addr.v)
		return -EINVAL;
	dev = device(st, rq, addr);
	if (dev < 0)
		return dev;
	if (rq->op == STRATA__CONTROL__REQUEST__OP__NEIGH_DEL) {
		nb = neigh_lookup(st, addr, (u8)dev, false);
		if (!nb)
			return -ESRCH;
		neigh_delete(st, nb);
		return 0;
	}
	if (!rq->has_mac || rq->mac.len != ETH_ALEN || (rq->mac.data[0] & 1) || !memcmp(rq->mac.data, zero, ETH_ALEN) ||
	    ip_is_multicast(addr) || ip_is_loopback(addr) || ip_is_classe(addr) || ip_is_local(st->shm, addr))
		return -EINVAL;
	nb = neigh_lookup(st, addr, (u8)dev, true);
	if (!nb)
		return -ENOSPC;
	neigh_update(st, nb, rq->mac.data, NUD_PERMANENT, true);
	return 0;
}

/* 1: the answer comes later. */
static int serve(struct ip_stack *st, const Strata__Control__Request *rq)
{
	be32 addr = { rq->addr };
	int r;

	switch (rq->op) {
	case STRATA__CONTROL__REQUEST__OP__ADDR_ADD:
	case STRATA__CONTROL__REQUEST__OP__ADDR_DEL:
		return addr_op(st, rq, addr);
	case STRATA__CONTROL__REQUEST__OP__ROUTE_ADD:
	case STRATA__CONTROL__REQUEST__OP__ROUTE_DEL:
		return route_op(st, rq, addr);
	case STRATA__CONTROL__REQUEST__OP__NEIGH_ADD:
	case STRATA__CONTROL__REQUEST__OP__NEIGH_DEL:
		return neigh_op(st, rq, addr);
	case STRATA__CONTROL__REQUEST__OP__PING:
		if (!rq->has_addr || rq->size > IP_MAX_LEN - 28)
			return -EINVAL;
		r = ping_start(st, addr, rq->seq, rq->has_size ? rq->size : 56, rq->has_timeout_ms ? rq->timeout_ms : 1000,
			       (u8)MIN(rq->ttl, 255u));
		return r < 0 ? r : 1;
	case STRATA__CONTROL__REQUEST__OP__LINK_SET:
		r = link_set_start(st, rq->dev, rq->has_mtu ? rq->mtu : 0);
		return r < 0 ? r : 1;
	default:
		return -EOPNOTSUPP;
	}
}

void admin_poll(struct ip_stack *st)
{
	u8 copy[sizeof(st->admin->request)];
	u32 len = st->admin->len;
	Strata__Control__Request *rq = NULL;
	int r = -EINVAL;

	if (!open_seq(st)) {	/* sockd's region was made anew: nothing is asked */
		store_release(&st->shm->admin_ans.done, 0);
		return;
	}
	if (st->link_set_for == open_seq(st)) {
		link_set_finish(st);
		return;
	}
	st->link_set_for = 0;
	if (len <= sizeof(copy)) {
		memcpy(copy, st->admin->request, len);
		rq = strata__control__request__unpack(NULL, len, copy);
	}
	if (rq) {
		r = serve(st, rq);
		strata__control__request__free_unpacked(rq, NULL);
	}
	if (r <= 0)
		admin_answer(st, r, rq ? explain(r) : "malformed request");
}
