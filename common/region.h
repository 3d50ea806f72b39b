/* region.h – mapping of shared regions. Errors: -errno; a region that is too small, unsealed or of another
 * version is -EPROTO. Source: memfd_create(2), F_ADD_SEALS. */
#ifndef STRATA_REGION_MAP_H
#define STRATA_REGION_MAP_H

#include "proto/shm/region.h"

int region_create(const char *name, size_t size);		/* keepd, sockd: sealed against resizing, mode 0600; fd or -errno */
int region_reopen_ro(int fd);					/* a descriptor of the same memfd that can only be read; fd or -errno */
void *region_map(int fd, size_t size, bool writable);		/* NULL with errno */
size_t region_size(enum region_id id);
u32 region_version(enum region_id id);
const char *region_name(enum region_id id);			/* "link", ... */
/* Header check of a mapped region: 0, -ENODATA (never initialised), -EPROTO (other version or id). */
int region_check(const struct region_hdr *h, enum region_id id);
void region_init(struct region_hdr *h, enum region_id id);	/* stores magic last */

#endif
