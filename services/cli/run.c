/* run.c – strata run: a program with the shim preloaded. Sets the environment and executes; stays out of the way after. */
#include "strata.h"

#include <getopt.h>
#include <unistd.h>

#include "common/keeper.h"

#define SHIM "libstrata-preload.so"

static const char help[] =
	"usage: strata run [-v] [-i INSTANCE] [--] PROGRAM [ARGUMENT]...\n\n"
	"Run a program on the stack: its IPv4 TCP sockets are Strata's.\n\n"
	"  -v, --verbose  say on stderr what goes to the kernel instead\n"
	"  -i INSTANCE    which stack\n\n"
	"Programs it starts are on the stack too. Setuid and static programs are not.\n";

/* Beside the build tree's own command when that is what runs, else where it is installed. */
static bool find_shim(char *path, size_t size)
{
	char exe[4096];
	ssize_t n = readlink("/proc/self/exe", exe, sizeof(exe) - 1);
	char *slash;

	if (n > 0) {
		exe[n] = '\0';
		slash = strrchr(exe, '/');
		*slash = '\0';
		slash = strrchr(exe, '/');
		if (slash && snprintf(path, size, "%.*s/shim/" SHIM, (int)(slash - exe), exe) < (int)size &&
		    access(path, R_OK) == 0)
			return true;
	}
	return snprintf(path, size, "%s/" SHIM, LIBDIR) < (int)size && access(path, R_OK) == 0;
}

static int set_environment(struct cli *c, bool verbose)
{
	const char *before = getenv("LD_PRELOAD");
	char shim[4096 + 64];
	char *both = NULL;
	int r;

	if (!find_shim(shim, sizeof(shim))) {
		fprintf(stderr, "strata run: " SHIM " is neither beside this build nor in %s\n", LIBDIR);
		return -ENOENT;
	}
	if (before && strstr(before, SHIM)) {
		both = strdup(before);	/* run from a program that runs on a stack */
		if (!both)
			return -ENOMEM;
	} else if (before && *before) {
		if (asprintf(&both, "%s:%s", shim, before) < 0)
			return -ENOMEM;
	}
	r = setenv("LD_PRELOAD", both ? both : shim, 1) || setenv("STRATA_INSTANCE", c->instance, 1) ||
	    setenv("STRATA_RUNDIR", strata_rundir(), 1) || (verbose && setenv("STRATA_VERBOSE", "1", 1));
	free(both);
	return r ? -ENOMEM : 0;
}

int cmd_run(struct cli *c, int argc, char **argv)
{
	static const struct option opts[] = { { "verbose", no_argument, NULL, 'v' },
					      { "help", no_argument, NULL, 'h' },
					      { 0 } };
	char sock[4096];
	bool verbose = false;
	int o, r;

	while ((o = getopt_long(argc, argv, "+vh", opts, NULL)) != -1) {
		if (o == 'h') {
			fputs(help, stdout);
			return EXIT_SUCCESS;
		}
		if (o != 'v')
			return misuse("run", "unknown option", NULL);
		verbose = true;
	}
	if (optind == argc)
		return misuse("run", "no program given", NULL);
	snprintf(sock, sizeof(sock), "%s/%s/sock", strata_rundir(), c->instance);
	if (access(sock, F_OK) < 0) {
		fprintf(stderr, "strata run: instance %s is not there (%s: %s); systemctl start strata@%s.target\n",
			c->instance, sock, strerror(errno), c->instance);
		return EXIT_FAILURE;
	}
	r = set_environment(c, verbose);
	if (r < 0)
		return EXIT_FAILURE;
	execvp(argv[optind], argv + optind);
	r = errno;
	fprintf(stderr, "strata run: %s: %s\n", argv[optind], strerror(r));
	return r == ENOENT ? 127 : 126;	/* as a shell says it */
}
