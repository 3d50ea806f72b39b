/* secret.h – "region:secret": the keys that tcpd alone maps, made once and kept over its restarts.
 *
 * Who knew them could forge sequence numbers (RFC 6528), guess ports (RFC 6056) and timestamps (RFC 7323 5.4), or make SYN cookies
 * (RFC 4987) and Fast Open cookies (RFC 7413) without having been asked; so they are
 * not in tcpd's region, which every daemon and the `strata` command can read. */
#ifndef STRATA_SHM_SECRET_H
#define STRATA_SHM_SECRET_H

#include "common/base.h"

struct secret_shm {
	_Atomic u32 made;			/* how many of the keys, in their order; stored last */
	u32 pad;
	u64 isn[2], port[2], timestamp[2], cookie[2], fastopen[2];	/* SipHash keys */
};
#define SECRET_KEYS 5u
static_assert(sizeof(struct secret_shm) <= PAGE, "the region is one page");

#endif
