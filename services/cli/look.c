/* look.c – the daemons' regions, read-only, from keepd: looking needs no other daemon alive.
 * Called by every subcommand that shows something; calls common/keeper.c and region.c. */
#include "strata.h"

#include <signal.h>
#include <time.h>
#include <unistd.h>

#include "common/keeper.h"
#include "common/region.h"

u64 now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (u64)ts.tv_sec * NSEC_PER_SEC + (u64)ts.tv_nsec;
}

/* sudo drops the environment, so what matters of it goes along as arguments of env. */
bool under_sudo(struct cli *c)
{
	static char exe[4096], dir[4096 + 16], instance[256];
	char *argv[64];
	int n = 0;

	if (geteuid() == 0 || readlink("/proc/self/exe", exe, sizeof(exe) - 1) < 0)
		return false;
	snprintf(dir, sizeof(dir), "STRATA_RUNDIR=%s", strata_rundir());
	snprintf(instance, sizeof(instance), "STRATA_INSTANCE=%s", c->instance);
	argv[n++] = (char *)"sudo";
	argv[n++] = (char *)"env";
	argv[n++] = dir;
	argv[n++] = instance;
	argv[n++] = exe;
	for (char **a = c->whole + 1; *a; a++) {
		if (n == (int)ARRAY_SIZE(argv) - 1)
			return false;
		argv[n++] = *a;
	}
	argv[n] = NULL;
	fflush(NULL);
	execvp(argv[0], argv);
	return false;
}

static void *map(struct cli *c, const struct keeper_reply *k, enum region_id id)
{
	char name[KEEPER_NAME];
	void *p;
	int fd;

	snprintf(name, sizeof(name), "region:%s", region_name(id));
	fd = keeper_find(k, name);
	p = fd < 0 ? NULL : region_map(fd, region_size(id), false);
	if (!p)
		fprintf(stderr, "strata: %s of instance %s: %s\n", name, c->instance,
			fd < 0 ? "keepd did not give it" : "another version's; is this the command of that version?");
	return p;
}

static int ask(struct cli *c, struct keeper_reply *k)
{
	int sock = keeper_connect(c->instance), r;

	k->text[0] = '\0';
	if (sock < 0)
		return sock;
	r = keeper_hello(sock, "cli", 0, k);
	close(sock);
	return r;
}

int look(struct cli *c)
{
	static struct keeper_reply k;
	int r = ask(c, &k);

	if ((r == -EACCES || r == -EPERM) && under_sudo(c))
		return r;
	if (r < 0) {
		fprintf(stderr, "strata: no keeper at %s/%s/keep.sock: %s%s%s%s\n", strata_rundir(), c->instance,
			strerror(-r), *k.text ? ": " : "", k.text,
			r == -ENOENT || r == -ECONNREFUSED ? " (is the instance running? systemctl start strata@NAME.target)"
							   : "");
		return r;
	}
	c->link = map(c, &k, REGION_LINK);
	c->ip = map(c, &k, REGION_IP);
	c->tcp = map(c, &k, REGION_TCP);
	c->sock = map(c, &k, REGION_SOCK);
	c->pub = map(c, &k, REGION_PUB);
	keeper_close(&k);
	return c->link && c->ip && c->tcp && c->sock && c->pub ? 0 : -EPROTO;
}

void layers(const struct cli *c, struct layer ret[LAYERS])
{
	ret[0] = (struct layer){ "linkd", &c->link->hdr, &c->link->counters };
	ret[1] = (struct layer){ "ipd", &c->ip->hdr, &c->ip->counters };
	ret[2] = (struct layer){ "tcpd", &c->tcp->hdr, &c->tcp->counters };
	ret[3] = (struct layer){ "sockd", &c->sock->hdr, &c->sock->counters };
	for (u32 i = 0; i < LAYERS; i++)
		ret[i].dead = ret[i].hdr->pid && kill((pid_t)ret[i].hdr->pid, 0) < 0 && errno == ESRCH;
	for (u32 i = 0; i < LAYERS; i++)
		ret[i].sleeping = load_relaxed(i == REGION_TCP ? &c->pub->sleeping : &ret[i].hdr->sleeping);
	for (u32 i = 0; i < LAYERS; i++)
		if (region_check(ret[i].hdr, (enum region_id)i) < 0)
			ret[i].counters = NULL;	/* its daemon has not started yet, or is of another version */
}
