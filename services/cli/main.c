/* main.c – the `strata` command: which subcommand, which instance. See strata.h. */
#include "strata.h"

#include <dirent.h>

#include "common/keeper.h"

static const struct command commands[] = {
	{ "run", "run a program on the stack: strata run [-v] -- CMD...", cmd_run },
	{ "addr", "addresses: show, add, del", cmd_addr },
	{ "route", "routes: show, add, del", cmd_route },
	{ "neigh", "neighbours (ARP): show, add, del", cmd_neigh },
	{ "link", "devices: show, set", cmd_link },
	{ "ss", "connections", cmd_ss },
	{ "stat", "counters, rings and pools of every daemon", cmd_stat },
	{ "flow", "the steps tx1..tx8, rx1..rx8, and what passed them", cmd_flow },
	{ "ping", "ICMP echo through the stack", cmd_ping },
};

static int usage(FILE *f)
{
	fputs("usage: strata [-i INSTANCE] COMMAND ...\n\n", f);
	for (u32 i = 0; i < ARRAY_SIZE(commands); i++)
		fprintf(f, "  %-6s  %s\n", commands[i].name, commands[i].summary);
	fputs("\nstrata COMMAND --help says more. -i INSTANCE may stand before or after the command; without it:\n"
	      "$STRATA_INSTANCE, else the only instance there is, else demo.\n", f);
	return f == stdout ? EXIT_SUCCESS : EX_USAGE;
}

/* The only directory in the run directory. */
static const char *only_instance(void)
{
	static char found[256];
	DIR *d = opendir(strata_rundir());
	struct dirent *e;
	u32 n = 0;

	if (!d)
		return NULL;
	while ((e = readdir(d))) {
		if (e->d_name[0] == '.' || (e->d_type != DT_DIR && e->d_type != DT_UNKNOWN))
			continue;
		snprintf(found, sizeof(found), "%s", e->d_name);
		n++;
	}
	closedir(d);
	return n == 1 ? found : NULL;
}

/* Take "-i NAME" and "--instance NAME" out of the words; of `run` only those before the program's name.
 * A lone -i ("strata ss -i", or followed by an option) stays where it is. */
static int take_instance(struct cli *c, int argc, char **argv)
{
	int out = 0, i = 0;
	bool run = false;

	while (i < argc) {
		bool it = strcmp(argv[i], "-i") == 0 || strcmp(argv[i], "--instance") == 0;

		if (it && i + 1 < argc && argv[i + 1][0] != '-') {
			c->instance = argv[i + 1];
			i += 2;
			continue;
		}
		if (argv[i][0] != '-' || strcmp(argv[i], "--") == 0) {
			if (run)
				break;
			run = out == 0 && strcmp(argv[i], "run") == 0;
		}
		argv[out++] = argv[i++];
	}
	while (i < argc)
		argv[out++] = argv[i++];
	argv[out] = NULL;
	return out;
}

static int dispatch(struct cli *c, int argc, char **argv)
{
	if (argc == 0)
		return usage(stderr);
	if (strcmp(argv[0], "--help") == 0 || strcmp(argv[0], "-h") == 0 || strcmp(argv[0], "help") == 0)
		return usage(stdout);
	for (u32 i = 0; i < ARRAY_SIZE(commands); i++)
		if (strcmp(argv[0], commands[i].name) == 0)
			return commands[i].run(c, argc, argv);
	fprintf(stderr, "strata: there is no command '%s'\n", argv[0]);
	return usage(stderr);
}

int main(int argc, char **argv)
{
	struct cli c = { .instance = getenv("STRATA_INSTANCE") };
	int n, r;

	c.whole = calloc((size_t)argc + 1, sizeof(*c.whole));
	if (!c.whole)
		return EXIT_FAILURE;
	memcpy(c.whole, argv, (size_t)argc * sizeof(*argv));
	n = take_instance(&c, argc - 1, argv + 1);
	if (!c.instance || !*c.instance)
		c.instance = only_instance();
	if (!c.instance)
		c.instance = "demo";
	r = dispatch(&c, n, argv + 1);
	free(c.whole);
	if (fflush(stdout) < 0 && r == EXIT_SUCCESS)
		r = EXIT_FAILURE;
	return r;
}
