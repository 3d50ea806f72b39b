/* base.h – the words everything else is written in.
 *
 * Integer names are the kernel's. Wire fields are be16/be32: structs, so that the compiler
 * refuses arithmetic on them before they have been converted. */
#ifndef STRATA_BASE_H
#define STRATA_BASE_H

#include <assert.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/types.h>

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;
typedef int8_t s8;
typedef int16_t s16;
typedef int32_t s32;
typedef int64_t s64;

typedef struct { u16 v; } be16;	/* network byte order, 16 bits */
typedef struct { u32 v; } be32;	/* network byte order, 32 bits */

static inline be16 to_be16(u16 x) { return (be16){ __builtin_bswap16(x) }; }
static inline be32 to_be32(u32 x) { return (be32){ __builtin_bswap32(x) }; }
static inline u16 from_be16(be16 x) { return __builtin_bswap16(x.v); }
static inline u32 from_be32(be32 x) { return __builtin_bswap32(x.v); }
static inline bool be16_eq(be16 a, be16 b) { return a.v == b.v; }
static inline bool be32_eq(be32 a, be32 b) { return a.v == b.v; }
#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "Strata is written for little-endian machines; base.h is the place to teach it others"
#endif

#define CACHELINE 64
#define PAGE 4096
#define ALIGN_UP(x, a) (((x) + ((a) - 1)) & ~((typeof(x))(a) - 1))
#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define container_of(p, type, member) ((type *)((char *)(p) - offsetof(type, member)))
#define MINMAX_(a, b, op, n) MINMAX__(a, b, op, n)
#define MINMAX__(a, b, op, n) \
	({ typeof(a) a_##n = (a); typeof(b) b_##n = (b); a_##n op b_##n ? a_##n : b_##n; })
#define MIN(a, b) MINMAX_(a, b, <, __COUNTER__)	/* each argument evaluated once; they nest */
#define MAX(a, b) MINMAX_(a, b, >, __COUNTER__)
#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

/* Shared-memory words are read and written with these and nothing else. */
#define load_acquire(p) atomic_load_explicit(p, memory_order_acquire)
#define load_relaxed(p) atomic_load_explicit(p, memory_order_relaxed)
#define store_release(p, v) atomic_store_explicit(p, v, memory_order_release)
#define store_relaxed(p, v) atomic_store_explicit(p, v, memory_order_relaxed)
#define fence_seq_cst() atomic_thread_fence(memory_order_seq_cst)
#if defined(__SANITIZE_THREAD__) && !defined(__clang__)
/* ThreadSanitizer does not model fences. Ours order sleep flags only; data is ordered by acquire and release. */
#pragma GCC diagnostic ignored "-Wtsan"
#endif

#define NSEC_PER_SEC 1000000000ull
#define NSEC_PER_MSEC 1000000ull
#define NSEC_PER_USEC 1000ull

#endif
