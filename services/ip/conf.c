/* conf.c – addresses and routes in the region (path MTUs: pmtu.c): the writer's side of the sequence lock conf_seq.
 *
 * Called at attach with the configuration, by admin.c at run time. A row is written unused first
 * and becomes used last, so that whoever dies half way leaves no half row; a successor finds conf_seq odd and evens it.
 * Rows of the configuration are replaced when its content changed; rows made at run time stay. */
#include "path.h"

#define SCOPE_LINK 253

void conf_write_begin(struct ip_stack *st)
{
	store_relaxed(&st->shm->conf_seq, load_relaxed(&st->shm->conf_seq) | 1);
	atomic_thread_fence(memory_order_release);	/* pairs with the acquire fence in route_lookup() */
	ip_crash_point("table lock taken");
}

void conf_write_end(struct ip_stack *st)
{
	ip_crash_point("table written");
	store_release(&st->shm->conf_seq, load_relaxed(&st->shm->conf_seq) + 1);	/* pairs with route_lookup()'s acquire */
	st->route_gen++;
}

int dev_by_name(const struct ip_stack *st, const char *name)
{
	for (u32 i = 0; i < st->conf->ndevs && i < LINK_DEVS; i++)	/* linkd numbers devices in this order */
		if (strncmp(st->conf->dev[i].name, name, sizeof(st->conf->dev[i].name)) == 0)
			return (int)i;
	for (u32 i = 0; i < LINK_DEVS; i++)
		if (st->link->dev[i].name[0] && strncmp(st->link->dev[i].name, name, sizeof(st->link->dev[i].name)) == 0)
			return (int)i;
	return -ENODEV;
}

static bool same_route(const struct ip_route *a, be32 dst, u8 prefix, be32 gateway, int dev)
{
	return a->used && a->prefix == prefix && be32_eq(a->dst, dst) && (!gateway.v || be32_eq(a->gateway, gateway)) &&
	       (dev < 0 || a->dev == dev);
}

int route_add(struct ip_stack *st, const struct ip_route *row, u8 origin)
{
	struct ip_route *free_row = NULL;

	if (row->prefix > 32 || row->dev >= LINK_DEVS || (from_be32(row->dst) & ~ip_mask(row->prefix)) ||
	    ip_is_multicast(row->dst) || (row->mtu && row->mtu < 68))
		return -EINVAL;
	for (u32 i = 0; i < IP_ROUTES; i++) {
		struct ip_route *r = &st->shm->route[i];

		if (same_route(r, row->dst, row->prefix, (be32){ 0 }, -1) && r->metric == row->metric)
			return -EEXIST;
		if (!r->used && !free_row)
			free_row = r;
	}
	if (!free_row)
		return -ENOSPC;
	conf_write_begin(st);
	*free_row = *row;
	free_row->used = IP_ROW_FREE;
	atomic_signal_fence(memory_order_seq_cst);
	free_row->used = origin;
	conf_write_end(st);
	return 0;
}

int route_del(struct ip_stack *st, be32 dst, u8 prefix, be32 gateway, int dev)
{
	for (u32 i = 0; i < IP_ROUTES; i++) {
		if (!same_route(&st->shm->route[i], dst, prefix, gateway, dev))
			continue;
		conf_write_begin(st);
		st->shm->route[i].used = IP_ROW_FREE;
		conf_write_end(st);
		return 0;
	}
	return -ESRCH;
}

int addr_add(struct ip_stack *st, be32 addr, u8 prefix, u8 dev, u8 origin)
{
	struct ip_route connected = { .dst = to_be32(from_be32(addr) & ip_mask(prefix)), .prefsrc = addr, .prefix = prefix,
				      .dev = dev, .scope = SCOPE_LINK };
	struct ip_addr *row = NULL;
	int r;

	if (!prefix || prefix > 32 || dev >= LINK_DEVS || ip_is_multicast(addr) || ip_is_loopback(addr) ||
	    ip_is_zeronet(addr) || ip_is_classe(addr))
		return -EINVAL;
	if (ip_is_local(st->shm, addr))
		return -EEXIST;
	for (u32 i = 0; i < IP_ADDRS && !row; i++)
		if (!st->shm->addr[i].used)
			row = &st->shm->addr[i];
	if (!row)
		return -ENOSPC;
	conf_write_begin(st);
	*row = (struct ip_addr){ .addr = addr, .prefix = prefix, .dev = dev };
	atomic_signal_fence(memory_order_seq_cst);
	row->used = origin;
	conf_write_end(st);
	r = prefix < 32 ? route_add(st, &connected, origin) : 0;
	st->announced[dev] = 0;		/* RFC 5227 2.3: tell the neighbourhood */
	return r == -EEXIST ? 0 : r;	/* a second address of the same network */
}

int addr_del(struct ip_stack *st, be32 addr, u8 prefix, int dev)
{
	for (u32 i = 0; i < IP_ADDRS; i++) {
		struct ip_addr *a = &st->shm->addr[i];

		if (!a->used || !be32_eq(a->addr, addr) || (prefix && a->prefix != prefix) || (dev >= 0 && a->dev != dev))
			continue;
		conf_write_begin(st);
		a->used = IP_ROW_FREE;
		for (u32 k = 0; k < IP_ROUTES; k++)
			if (st->shm->route[k].used && be32_eq(st->shm->route[k].prefsrc, addr))
				st->shm->route[k].used = IP_ROW_FREE;
		conf_write_end(st);
		return 0;
	}
	return -EADDRNOTAVAIL;
}

/* FNV-1a over what of the configuration is ours. */
static u64 conf_hash(const struct config *c)
{
	u64 h = 0xcbf29ce484222325ull;

	for (u32 i = 0; i < c->naddrs; i++) {
		u8 b[4 + 1 + sizeof(c->addr[i].dev)];

		memcpy(b, &c->addr[i].addr, 4);
		b[4] = c->addr[i].prefix;
		memcpy(b + 5, c->addr[i].dev, sizeof(c->addr[i].dev));
		for (u32 k = 0; k < sizeof(b); k++)
			h = (h ^ b[k]) * 0x100000001b3ull;
	}
	for (u32 i = 0; i < c->nroutes; i++) {
		const struct conf_route *r = &c->route[i];
		u32 w[] = { r->dst.v, r->gateway.v, r->prefix, r->metric, r->mtu };
		u8 b[sizeof(w) + sizeof(r->dev)];

		memcpy(b, w, sizeof(w));
		memcpy(b + sizeof(w), r->dev, sizeof(r->dev));
		for (u32 k = 0; k < sizeof(b); k++)
			h = (h ^ b[k]) * 0x100000001b3ull;
	}
	return h ? h : 1;
}

static void complain(struct ip_stack *st, const char *text)
{
	if (st->ops->notice)
		st->ops->notice(st->ctx, text);
}

/* A route's device: named, or the one whose network holds the gateway. */
static int conf_route_dev(struct ip_stack *st, const struct conf_route *r)
{
	struct ip_path path;

	if (r->dev[0])
		return dev_by_name(st, r->dev);
	return route_find(st->shm, st->link, r->gateway, (be32){ 0 }, &path) == 0 ? (int)path.dev : -ENODEV;
}

static void apply_config(struct ip_stack *st)
{
	const struct config *c = st->conf;

	conf_write_begin(st);
	for (u32 i = 0; i < IP_ADDRS; i++)
		if (st->shm->addr[i].used == IP_ROW_CONFIG)
			st->shm->addr[i].used = IP_ROW_FREE;
	for (u32 i = 0; i < IP_ROUTES; i++)
		if (st->shm->route[i].used == IP_ROW_CONFIG)
			st->shm->route[i].used = IP_ROW_FREE;
	conf_write_end(st);
	for (u32 i = 0; i < c->naddrs; i++) {
		int dev = dev_by_name(st, c->addr[i].dev);
		int r = dev < 0 ? dev : addr_add(st, c->addr[i].addr, c->addr[i].prefix, (u8)dev, IP_ROW_CONFIG);

		if (r < 0 && r != -EEXIST)
			complain(st, "an address of the configuration is impossible or its device unknown; it is left out");
	}
	for (u32 i = 0; i < c->nroutes; i++) {
		const struct conf_route *cr = &c->route[i];
		int dev = conf_route_dev(st, cr), r = dev;

		if (dev >= 0) {
			struct ip_route row = { .dst = to_be32(from_be32(cr->dst) & ip_mask(cr->prefix)), .gateway = cr->gateway,
						.prefix = cr->prefix, .dev = (u8)dev, .metric = cr->metric, .mtu = cr->mtu };
			r = route_add(st, &row, IP_ROW_CONFIG);
		}
		if (r < 0 && r != -EEXIST)
			complain(st, "a route of the configuration is impossible or its device unknown; it is left out");
	}
}

/* Applied at the first start, when the configuration's content changed, and when the predecessor died while writing: the hash
 * is stored last. */
void conf_attach(struct ip_stack *st)
{
	u64 h = conf_hash(st->conf);
	bool died = load_relaxed(&st->shm->conf_seq) & 1;

	if (died)
		conf_write_end(st);
	if (!died && st->shm->conf_hash == h)
		return;
	st->shm->conf_hash = 0;
	apply_config(st);
	st->shm->conf_hash = h;
}
