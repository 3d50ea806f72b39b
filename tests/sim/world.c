/* world.c – the seed: every random decision of a simulation, and its verdict. */
#include "sim.h"

#include <stdarg.h>
#include <stdio.h>

u64 sim_rand(struct sim *s)
{
	u64 x = s->rng += 0x9e3779b97f4a7c15ull;	/* splitmix64 */

	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ull;
	x = (x ^ x >> 27) * 0x94d049bb133111ebull;
	return x ^ x >> 31;
}

u64 sim_below(struct sim *s, u64 n) { return n ? sim_rand(s) % n : 0; }
bool sim_chance(struct sim *s, double p) { return p > 0 && (double)(sim_rand(s) >> 11) < p * 9007199254740992.0; }

void sim_fail(struct sim *s, const char *fmt, ...)
{
	va_list ap;

	if (s->failed)
		return;
	va_start(ap, fmt);
	vsnprintf(s->why, sizeof(s->why), fmt, ap);
	va_end(ap);
	s->failed = s->why;
}
