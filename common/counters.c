/* counters.c – the names of counters.h's list. */
#include "counters.h"

const struct counter_name counter_names[COUNTERS] = {
#define X(name, where, text) { #name, where, text },
	COUNTER_LIST(X)
#undef X
};
