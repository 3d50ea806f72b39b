/* init.c – the first moments of a process, and of a child.
 *
 * Nothing is asked of sockd here: it is reached when the first socket needs it. */
#include <pthread.h>

#include "services/shim/shim.h"
#include "services/shim/stream.h"

bool shim_forked;

static void parent(void)
{
	shim_forked = true;
}

static void child(void)
{
	shim_forked = true;
	table_init();
	wlock_forked();
	rpc_forked();
}

__attribute__((constructor)) void shim_init(void)
{
	static _Atomic u32 done;

	if (atomic_exchange(&done, 1))
		return;
	real_init();
	table_init();
	rpc_init();
	kernel_init();
	pthread_atfork(NULL, parent, child);
}
