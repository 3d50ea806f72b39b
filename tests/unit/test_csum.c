/* test_csum.c – common/csum.h against the definition in RFC 1071, for every length, alignment and split. */
#include "common/csum.h"
#include "unit.h"

#include <stdlib.h>
#include <time.h>

#define MAX_LEN 4096

static u8 data[MAX_LEN + 64];

static void fill(void)
{
	u32 x = 0x12345678;

	for (size_t i = 0; i < sizeof(data); i++) {
		x = x * 1664525 + 1013904223;
		data[i] = (u8)(x >> 24);
	}
}

/* RFC 1071 4.1, word by word in network order. Returns the field's value in host order. */
static u16 slow(const u8 *p, size_t len)
{
	u64 sum = 0;

	for (size_t i = 0; i + 1 < len; i += 2)
		sum += (u64)p[i] << 8 | p[i + 1];
	if (len & 1)
		sum += (u64)p[len - 1] << 8;
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (u16)~sum;
}

/* 0 and 0xffff are the same number in one's complement. */
static bool same(u16 memory_order, u16 host_order)
{
	u16 a = from_be16((be16){ memory_order });

	return a == host_order || (a == 0xffff && !host_order) || (!a && host_order == 0xffff);
}

static void the_example_of_rfc_1071(void)
{
	static const u8 bytes[] = { 0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7 };

	CHECK_EQ(from_be16((be16){ csum_fold(csum_partial(bytes, sizeof(bytes), 0)) }), (u16)~0xddf2);
}

static void every_length_and_alignment(void)
{
	u32 wrong = 0;

	fill();
	for (size_t len = 0; len <= 300; len++)
		for (size_t at = 0; at < 17; at++)
			wrong += !same(csum_fold(csum_partial(data + at, len, 0)), slow(data + at, len));
	for (size_t len = 301; len <= MAX_LEN; len += 37)
		wrong += !same(csum_fold(csum_partial(data + 3, len, 0)), slow(data + 3, len));
	CHECK_EQ(wrong, 0);
}

static void all_ones_do_not_overflow(void)
{
	size_t len = 1 << 20;
	u8 *ones = malloc(len);

	REQUIRE(ones);
	memset(ones, 0xff, len);
	CHECK_EQ(csum_fold(csum_partial(ones, len, 0xffffffffu)), 0);
	CHECK_EQ(csum_fold(csum_partial(ones, len - 1, 0)), to_be16(0x00ff).v);
	free(ones);
}

static void copy_copies_and_sums(void)
{
	u8 out[400];
	u32 wrong = 0;

	fill();
	for (size_t len = 0; len <= 300; len++) {
		memset(out, 0xaa, sizeof(out));
		wrong += csum_copy(out + 5, data + 3, len, 7) != csum_partial(data + 3, len, 7);
		wrong += memcmp(out + 5, data + 3, len) != 0;
		wrong += out[4] != 0xaa || out[5 + len] != 0xaa;
	}
	CHECK_EQ(wrong, 0);
}

static void parts_add_up_at_any_split(void)
{
	u16 whole;
	u32 wrong = 0;

	fill();
	whole = slow(data, 201);
	for (size_t cut = 0; cut <= 201; cut++) {
		u32 a = csum_partial(data, cut, 0), b = csum_partial(data + cut, 201 - cut, 0);

		wrong += !same(csum_fold(csum_block_add(a, b, cut)), whole);
	}
	CHECK_EQ(wrong, 0);
}

static void pseudo_header(void)
{
	static const u8 header[] = { 10, 0, 0, 1, 10, 0, 0, 2, 0, 6, 0x12, 0x34 };
	be32 src = to_be32(0x0a000001), dst = to_be32(0x0a000002);

	CHECK(same(csum_fold(csum_pseudo(src, dst, 6, 0x1234)), slow(header, sizeof(header))));
	/* A GSO packet's length does not fit 16 bits: it is summed in 32, as two words. */
	CHECK_EQ(csum_fold(csum_pseudo(src, dst, 6, 0x11234)),
		 csum_fold(csum_add(csum_pseudo(src, dst, 6, 0x1234), to_be32(0x10000).v)));
}

static void update_equals_recomputing(void)
{
	u32 wrong = 0;

	fill();
	for (u32 i = 0; i < 2000; i++) {
		u8 h[20];
		u16 check, old16, new16 = (u16)(i * 40503u);
		be32 old32, new32 = { i * 2654435761u };

		memcpy(h, data + i, sizeof(h));
		memset(h + 10, 0, 2);
		check = csum_fold(csum_partial(h, 20, 0));

		memcpy(&old16, h + 8, 2);
		memcpy(h + 8, &new16, 2);
		check = csum_update16(check, old16, new16);
		wrong += !same(check, slow(h, 20));

		memcpy(&old32, h + 12, 4);
		memcpy(h + 12, &new32, 4);
		check = csum_update32(check, old32, new32);
		wrong += !same(check, slow(h, 20));
	}
	CHECK_EQ(wrong, 0);
}

/* RFC 1624 3: the incremental update must not turn a right checksum into one that verifies wrong. */
static void updated_header_still_verifies(void)
{
	u8 h[20] = { 0x45, 0, 0, 0x28, 0, 0, 0x40, 0, 64, 6 };
	u16 check, old, new_;

	for (u32 ttl = 255; ttl > 1; ttl--) {
		h[8] = (u8)ttl;
		memset(h + 10, 0, 2);
		check = csum_fold(csum_partial(h, 20, 0));
		memcpy(&old, h + 8, 2);
		h[8]--;
		memcpy(&new_, h + 8, 2);
		check = csum_update16(check, old, new_);
		memcpy(h + 10, &check, 2);
		if (csum_fold(csum_partial(h, 20, 0)) != 0)
			CHECK_EQ(ttl, 0);
	}
	CHECK(true);
}

static double seconds(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

/* Says the figures; does not judge them: under a sanitizer or in a debug build they mean nothing. */
static void speed(void)
{
	enum { LEN = 64 * 1024, ROUNDS = 4000 };
	u8 *src = aligned_alloc(64, LEN), *dst = aligned_alloc(64, LEN);
	volatile u32 sink;
	double t[3];

	REQUIRE(src && dst);
	memset(src, 0x5a, LEN);
	memset(dst, 0, LEN);
	t[0] = seconds();
	for (u32 i = 0; i < ROUNDS; i++)
		sink = csum_partial(src, LEN, i);
	t[1] = seconds();
	for (u32 i = 0; i < ROUNDS; i++)
		sink = csum_copy(dst, src, LEN, i);
	t[2] = seconds();
	(void)sink;
	printf("# csum_partial %.1f GB/s, csum_copy %.1f GB/s (64 KB blocks)\n", (double)LEN * ROUNDS / (t[1] - t[0]) / 1e9,
	       (double)LEN * ROUNDS / (t[2] - t[1]) / 1e9);
	CHECK(t[2] > t[0]);
	free(src);
	free(dst);
}

UNIT_MAIN(UNIT(the_example_of_rfc_1071), UNIT(every_length_and_alignment), UNIT(all_ones_do_not_overflow),
	  UNIT(copy_copies_and_sums), UNIT(parts_add_up_at_any_split), UNIT(pseudo_header),
	  UNIT(update_equals_recomputing), UNIT(updated_header_still_verifies), UNIT(speed))
