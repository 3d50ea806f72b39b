/* options.c – rx4: IPv4 options are parsed for their shape; source routing is refused (RFC 791 3.1, RFC 1122 3.2.1.8).
 *
 * Called by ip_rcv(). Record route and timestamps pass unfilled: a host that is the destination need not add to them. */
#include "path.h"

enum { IPOPT_EOL = 0, IPOPT_NOP = 1, IPOPT_RR = 7, IPOPT_TS = 68, IPOPT_LSRR = 131, IPOPT_SSRR = 137 };

/* 0; -EPERM source routing; -EINVAL malformed, with the offset of the offending byte in the IPv4 header. */
int ip_options_parse(const u8 *opt, u32 len, u8 *ret_pointer)
{
	for (u32 i = 0; i < len;) {
		u32 n;

		*ret_pointer = (u8)(sizeof(struct ip_hdr) + i);
		if (opt[i] == IPOPT_EOL)
			return 0;
		if (opt[i] == IPOPT_NOP) {
			i++;
			continue;
		}
		n = i + 1 < len ? opt[i + 1] : 0;
		if (n < 2 || n > len - i)
			return -EINVAL;
		if (opt[i] == IPOPT_LSRR || opt[i] == IPOPT_SSRR)
			return -EPERM;
		/* Both begin with a pointer into themselves that can be no smaller than 4 (5) */
		if ((opt[i] == IPOPT_RR && (n < 3 || opt[i + 2] < 4)) || (opt[i] == IPOPT_TS && (n < 4 || opt[i + 2] < 5))) {
			*ret_pointer = (u8)(*ret_pointer + (n > 2 ? 2 : 1));
			return -EINVAL;
		}
		i += n;
	}
	return 0;
}
