/* calls_exec.c – after exec: sockets that came with the process are found again.
 *
 * The scan costs one look at /proc/self/fd; sockd is asked only if there is a nameless unix stream among them. */
#include <pthread.h>

#include "services/shim/calls.h"
#include "services/shim/epoll.h"

__attribute__((constructor)) static void after_exec(void)
{
	int saved = errno;

	shim_init();
	pthread_atfork(NULL, NULL, epoll_forked);
	attach_scan();
	errno = saved;
}
