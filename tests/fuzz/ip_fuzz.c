/* ip_fuzz.c – libFuzzer target of the pure ipd (clang, -Dfuzz=true): an input is a list of { how, length, bytes } frames. */
#include <stdlib.h>

#include "ip_feed.h"

int LLVMFuzzerTestOneInput(const u8 *data, size_t size);

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
	static struct host *h;

	if (!h)
		h = host_new();
	while (size >= 3) {
		u32 n = MIN((u32)(size - 3), (u32)data[1] | (data[2] & 7u) << 8);

		feed_frame(h, data + 3, n, data[0]);
		h->now += (u64)(data[0] >> 4) * 100 * NSEC_PER_MSEC;
		data += 3 + n;
		size -= 3 + n;
	}
	if (feed_alive(h))
		abort();
	return 0;
}
