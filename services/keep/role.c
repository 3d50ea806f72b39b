/* role.c – who is asking, and what may he have.
 *
 * A role is a user: strata-linkd, strata-ipd, strata-tcpd, strata-sockd, told by the kernel (SO_PEERCRED). uid 0 may be
 * any of them, so may keepd's own uid where a role has no user (a stack run without installation). Looking
 * (the `strata` command) is for root and group strata. Called by client.c. */
#include "keepd.h"

#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/log.h"

static const struct { const char *name, *own; } roles[] = {
	[ROLE_LINKD] = { "linkd", "link" }, [ROLE_IPD] = { "ipd", "ip" },   [ROLE_TCPD] = { "tcpd", "tcp" },
	[ROLE_SOCKD] = { "sockd", "sock" }, [ROLE_CLI] = { "cli", "none" },
};
static_assert(ARRAY_SIZE(roles) == ROLES, "every role has a row");

const char *role_name(enum role r) { return roles[r].name; }

int role_by_name(const char *name)
{
	for (int r = 0; r < ROLES; r++)
		if (strcmp(name, roles[r].name) == 0)
			return r;
	return -ENOENT;
}

void roles_load(struct keepd *k)
{
	const struct group *g = getgrnam("strata");

	k->gid = g ? (s64)g->gr_gid : -1;
	for (int r = 0; r < ROLES; r++) {
		char user[32];
		const struct passwd *p;

		snprintf(user, sizeof(user), "strata-%s", roles[r].name);
		p = r == ROLE_CLI ? NULL : getpwnam(user);
		k->uid[r] = p ? (s64)p->pw_uid : -1;
	}
}

static bool in_group(int sock, const struct ucred *u, s64 gid)
{
	gid_t groups[1024];
	socklen_t len = sizeof(groups);

	if (gid < 0)
		return false;
	if ((s64)u->gid == gid)
		return true;
	if (getsockopt(sock, SOL_SOCKET, SO_PEERGROUPS, groups, &len) < 0)
		return false;
	for (u32 i = 0; i < len / sizeof(gid_t); i++)
		if ((s64)groups[i] == gid)
			return true;
	return false;
}

void role_check(const struct keepd *k, int sock, struct client *c)
{
	struct ucred u;
	socklen_t len = sizeof(u);

	memset(c->role, 0, sizeof(c->role));
	if (getsockopt(sock, SOL_SOCKET, SO_PEERCRED, &u, &len) < 0) {
		log_err("SO_PEERCRED: %m");
		return;
	}
	c->uid = u.uid;
	c->pid = (u32)u.pid;
	for (int r = 0; r < ROLE_CLI; r++)
		c->role[r] = u.uid == 0 || (k->uid[r] >= 0 ? (s64)u.uid == k->uid[r] : u.uid == geteuid());
	c->role[ROLE_CLI] = u.uid == 0 || u.uid == geteuid() || in_group(sock, &u, k->gid);
}

static bool lot_item(enum role r, const char *name)
{
	size_t n = strlen(name);

	if (strncmp(name, "lot:tcp:", 8) == 0)	/* sockd leaves new sockets there */
		return r == ROLE_TCPD || (r == ROLE_SOCKD && name[n - 1] == '1');
	return r == ROLE_SOCKD;
}

bool role_item(enum role r, const struct item *i, bool *writable, const char **name)
{
	const char *n = i->name;

	*writable = true;
	*name = n;
	if (strcmp(n, "region:secret") == 0)
		return r == ROLE_TCPD;
	if (strncmp(n, "region:", 7) == 0) {
		*writable = strcmp(n + 7, roles[r].own) == 0 || (r == ROLE_TCPD && strcmp(n + 7, "pub") == 0);
		return true;
	}
	if (r == ROLE_CLI)
		return false;
	if (strncmp(n, "bell:", 5) == 0)
		return true;
	if (strncmp(n, "lot:", 4) == 0)
		return lot_item(r, n);
	size_t own = strlen(roles[r].name);
	if (strncmp(n, "park:", 5) || strncmp(n + 5, roles[r].name, own) || n[5 + own] != ':')
		return false;
	*name = n + 5 + own + 1;
	return true;
}
