/* main.c – plays packet scripts: one TAP case for each file.
 *
 *   script [--on virtual|kernel|strata] [--index N] [--dev NAME] FILE|FOLDER ... */
#include "script.h"

#include <ftw.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>

#define MAX_FILES 1000
#define TRIES 4

static char *files[MAX_FILES];
static u32 nfiles;

static int found(const char *path, const struct stat *st, int type, struct FTW *at)
{
	size_t n = strlen(path);

	if (type == FTW_F && n > 7 && !strcmp(path + n - 7, ".script") && nfiles < MAX_FILES)
		files[nfiles++] = strdup(path);
	return 0;
}

static int by_name(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

/* "tcp/syn/options" of ".../tests/script/tcp/syn/options.script" */
static const char *name_of(const char *file)
{
	static char name[200];
	const char *p = strstr(file, "script/tcp/");

	snprintf(name, sizeof(name), "%s", p ? p + strlen("script/") : file);
	name[strlen(name) - strlen(".script")] = 0;
	return name;
}

static void print_comment(const char *text)
{
	for (const char *end; *text; text = *end ? end + 1 : end) {
		end = strchrnul(text, '\n');
		printf("# %.*s\n", (int)(end - text), text);
	}
}

/* On a real host this process may not run when it should. What it saw then says nothing: it looks again. */
static int play_fairly(const struct script *s, struct host *h, char *out, size_t len)
{
	int r = 0;

	for (u32 i = 0; i < TRIES; i++) {
		r = play(s, h, out, len);
		if (!r || h->late < s->tolerance + h->slack / 4)
			break;
		printf("# %s: played again: this machine was %.0f ms late\n", s->file, (double)h->late / 1e6);
	}
	return r;
}

static bool one(struct script *s, struct host *h, u32 number, const char *file, const char *on)
{
	static char out[16384];
	int r = script_read(s, file);

	if (r) {
		print_comment(s->error);
	} else if (!(s->where & h->where)) {
		printf("ok %u - %s # SKIP not for this host\n", number, name_of(file));
		script_free(s);
		return true;
	} else {
		r = play_fairly(s, h, out, sizeof(out));
		if (r)
			print_comment(out);
	}
	printf("%s %u - %s\n", r ? "not ok" : "ok", number, name_of(file));
	if (r)
		printf("# again: %s --on %s %s\n", program_invocation_name, on, file);
	fflush(stdout);
	script_free(s);
	return !r;
}

int main(int argc, char **argv)
{
	static const struct option longopts[] = { { "on", 1, 0, 'o' }, { "index", 1, 0, 'i' }, { "dev", 1, 0, 'd' }, { 0 } };
	struct script *s = calloc(1, sizeof(*s));
	struct host *h = calloc(1, sizeof(*h));
	const char *on = "virtual";
	bool good = true;
	int o;

	h->dev = "st0";
	while ((o = getopt_long(argc, argv, "", longopts, NULL)) != -1) {
		switch (o) {
		case 'o': on = optarg; break;
		case 'i': h->index = (u32)atoi(optarg); break;
		case 'd': h->dev = optarg; break;
		default: return 2;
		}
	}
	h->where = !strcmp(on, "kernel") ? ON_KERNEL : !strcmp(on, "strata") ? ON_STRATA : ON_VIRTUAL;
	h->ops = h->where == ON_VIRTUAL ? &virtual_host : &real_host;
	for (; optind < argc; optind++)
		nftw(argv[optind], found, 16, FTW_PHYS);
	qsort(files, nfiles, sizeof(*files), by_name);
	printf("1..%u\n", nfiles);
	for (u32 i = 0; i < nfiles; i++)
		good &= one(s, h, i + 1, files[i], on);
	return good && nfiles ? 0 : 1;
}
