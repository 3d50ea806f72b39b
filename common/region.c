/* region.c – shared regions: making them (keepd, sockd), mapping and checking them (everybody).
 *
 * No step of the flow; every step's memory. Called by keepd (create, reopen), common/daemon.c and the
 * `strata` command (map, check). Calls nothing but the kernel. */
#include "region.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proto/shm/tcp.h"

static const struct { const char *name; size_t size; u32 version; } kinds[] = {
	[REGION_LINK] = { "link", sizeof(struct link_shm), LINK_VERSION },
	[REGION_IP] = { "ip", sizeof(struct ip_shm), IP_VERSION },
	[REGION_TCP] = { "tcp", sizeof(struct tcp_shm), TCP_VERSION },
	[REGION_SOCK] = { "sock", sizeof(struct sock_shm), SOCK_VERSION },
	[REGION_PUB] = { "pub", PAGE, ARENA_VERSION },
};
static_assert(ARRAY_SIZE(kinds) == REGION_IDS, "every region has a row");
static_assert(sizeof(struct pub_shm) <= PAGE, "REGION_PUB is one page");

size_t region_size(enum region_id id) { return ALIGN_UP(kinds[id].size, (size_t)PAGE); }
u32 region_version(enum region_id id) { return kinds[id].version; }
const char *region_name(enum region_id id) { return kinds[id].name; }

/* Mode 0600 before anybody else sees it: a memfd is born 0777, and then a read-only descriptor could be
 * opened again for writing through /proc/self/fd. Sealed: nobody's mapping can be cut away under him. */
int region_create(const char *name, size_t size)
{
	int fd, r;

	fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (fd < 0)
		return -errno;
	if (fchmod(fd, 0600) < 0 || ftruncate(fd, (off_t)ALIGN_UP(size, (size_t)PAGE)) < 0 ||
	    fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0) {
		r = -errno;
		close(fd);
		return r;
	}
	return fd;
}

int region_reopen_ro(int fd)
{
	char path[40];
	int ro;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	ro = open(path, O_RDONLY | O_CLOEXEC);
	return ro < 0 ? -errno : ro;
}

void *region_map(int fd, size_t size, bool writable)
{
	struct stat st;
	int seals;
	void *p;

	if (fstat(fd, &st) < 0)
		return NULL;
	seals = fcntl(fd, F_GET_SEALS);
	if (seals < 0 || !(seals & F_SEAL_SHRINK) || st.st_size < (off_t)size) {
		errno = EPROTO;	/* could be cut short later: SIGBUS */
		return NULL;
	}
	p = mmap(NULL, size, writable ? PROT_READ | PROT_WRITE : PROT_READ, MAP_SHARED, fd, 0);
	return p == MAP_FAILED ? NULL : p;
}

int region_check(const struct region_hdr *h, enum region_id id)
{
	u64 magic = __atomic_load_n(&h->magic, __ATOMIC_ACQUIRE);	/* pairs with the release in region_init() */

	if (magic == 0)
		return -ENODATA;
	if (magic != REGION_MAGIC || h->id != id || h->version != region_version(id) || h->size != region_size(id))
		return -EPROTO;
	return 0;
}

void region_init(struct region_hdr *h, enum region_id id)
{
	h->version = region_version(id);
	h->id = id;
	h->size = region_size(id);
	__atomic_store_n(&h->magic, REGION_MAGIC, __ATOMIC_RELEASE);	/* pairs with the acquire in region_check() */
}
