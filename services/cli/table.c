/* table.c – commands that show a table of ipd's and add to it or take from it: addr, route, neigh. */
#include "strata.h"

int table_command(struct cli *c, int argc, char **argv, const struct table *t)
{
	admin_request q = ADMIN_REQUEST(ADDR_ADD);
	const char *what;
	u8 mac[6];
	int r;

	if (wants_help(argc, argv, t->help))
		return EXIT_SUCCESS;
	if (is_show(argc, argv))
		return t->show(c);
	q.op = t->add;
	if (strcmp(argv[1], "del") == 0)
		q.op = t->del;
	else if (strcmp(argv[1], "add"))
		return misuse(t->name, "cannot", argv[1]);
	if (argc < 3 || !t->subject(argv[2], &q))
		return misuse(t->name, t->no_subject, argc < 3 ? "(nothing)" : argv[2]);
	r = parse_words(t->name, argc - 3, argv + 3, &q, t->has_mac ? mac : NULL);
	if (r)
		return r;
	what = q.op == t->add ? t->missing(&q) : NULL;
	return what ? misuse(t->name, what, NULL) : admin_run(c, &q);
}

bool subject_net(const char *word, admin_request *q)
{
	be32 addr;
	u32 prefix;

	if (!parse_net(word, &addr, &prefix))
		return false;
	q->has_addr = q->has_prefix = true;
	q->addr = addr.v;
	q->prefix = prefix;
	return true;
}
