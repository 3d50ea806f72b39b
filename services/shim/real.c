/* real.c – finding the C library's own functions. */
#include <dlfcn.h>

#include "services/shim/real.h"

struct real real;

/* Into one struct of pointers; a function this C library does not have stays NULL. */
void real_init(void)
{
#define REAL_FIND(ret, name, params) real.name = (__typeof__(real.name))dlsym(RTLD_NEXT, #name);
	REAL_FUNCTIONS(REAL_FIND)
}
