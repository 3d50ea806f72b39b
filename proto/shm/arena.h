/* arena.h – the memory an application shares with the stack: control words and byte rings of its sockets.
 *
 * An arena is two memfds made by sockd, sealed against shrinking:
 *   stack half   written by tcpd only; clients map it read-only: words, receive bytes
 *   client half  written by the application; tcpd maps it read-only: words, transmit bytes. Hostile.
 * A socket is a slot: sk = arena * ARENA_SLOTS + slot, for every table of every daemon. sockd hands out slots
 * below ARENA_ACTIVE (socket()), tcpd those from ARENA_ACTIVE on (accepted connections): no one shares a free list.
 *
 * Offsets are 64-bit, free-running, never reset when a slot is reused: a connection begins at the offsets the
 * client's words hold at that time (its base). Byte `off` is at ring[off % size].
 * "Sequence numbers are ring indexes" (crash rule 3): rx_head is rcv_nxt, tx_tail is snd_una.
 * DESIGN.md, "A client's socket", is the protocol; every rule in it was found by a stress test. */
#ifndef STRATA_SHM_ARENA_H
#define STRATA_SHM_ARENA_H

#include "common/base.h"

#define ARENA_VERSION 2u
#define ARENA_MAGIC 0x415245e1415245e1ull
#define ARENA_SLOTS 512u
#define ARENA_ACTIVE 256u	/* slots below: allocated by sockd; from here: by tcpd */
#define ARENA_MAX 1024u		/* tables of this size are never walked: see common/bitmap.h, tcp_slot_next(), services/sock/apps.h */
#define SK_MAX (ARENA_SLOTS * ARENA_MAX)
#define SK(arena, slot) ((arena) * ARENA_SLOTS + (slot))
#define SK_ARENA(sk) ((sk) / ARENA_SLOTS)
#define SK_SLOT(sk) ((sk) % ARENA_SLOTS)

enum sk_state {			/* the public state a client sees: sk_stack.state */
	SKS_FREE,		/* slot not in use */
	SKS_FRESH,		/* a socket, neither connected nor listening */
	SKS_CONNECTING,
	SKS_CONNECTED,		/* any synchronised state: streams may be read and written, ends are told by fin and err */
	SKS_FAILED,		/* connect failed: err says why; connect may be tried again */
	SKS_LISTEN,
	SKS_CLOSED,		/* connection over (reset, both FINs done, or timed out) */
	SKS_DEFERRED,		/* connect() said yes, the SYN leaves with the first bytes written (Fast Open): then CONNECTING */
};

/* Stack's words of a slot; written by tcpd. */
struct sk_stack {
	_Alignas(128) _Atomic u64 rx_head;	/* bytes received in order: readable up to MIN(rx_head, fin if set) */
	_Atomic u64 tx_tail;			/* acknowledged by the peer: may be overwritten */
	_Atomic u32 tok;			/* value of arm for which the last token was sent */
	_Atomic u32 sent;			/* tokens ever sent on this slot */
	_Atomic u64 fin;			/* offset of the peer's FIN + 1; 0: none. Stored before rx_head passes it */
	_Atomic u32 err;			/* terminal error (positive errno), write-once per attempt */
	_Atomic u32 state;			/* enum sk_state */
	_Atomic u32 gen;			/* of the slot: changes with each socket that lives here */
	_Atomic u32 plain;			/* PLAIN_*: holders without the shim; gen is stored before this is cleared */
	be32 laddr, faddr;			/* written before state says CONNECTED/LISTEN */
	be16 lport, fport;
	u32 mss;
	_Atomic u64 urg;			/* offset of the urgent byte + 1; 0: none */
	_Atomic u64 nonce;			/* of the connection: in the plug, and of the accept offer */
	_Atomic u64 attempt;			/* connect attempts decided: err/state belong to this one */
	_Atomic u32 report;			/* note: an error of a live connection, told by the next call (IP_RECVERR) */
	_Atomic u32 errq_head;			/* errors ever put into the slot's struct sk_errq */
	_Atomic u32 rx_limit;			/* window as large as it is now: reading a quarter of it is worth a kick */
	_Atomic u32 tx_limit;			/* bytes that may be unacknowledged in the transmit ring; 0: all of it */
	_Atomic u32 soft_err;			/* note: an ICMP error that ends nothing; told by SO_ERROR alone, or when we give up */
	u8 pad[20];
};
static_assert(sizeof(struct sk_stack) == 128, "two lines");

/* A note is an errno that is told once: a count that goes on for ever << 16 | errno. It was taken when the client's word
 * equals it; errno 0: it was withdrawn. */
static inline u32 sk_note(u32 was, u32 err) { return ((was >> 16) + 1) << 16 | err; }
static inline u32 sk_note_errno(u32 note) { return note & 0xffffu; }

/* Client's words of a slot; hostile to tcpd: read once, checked against a private copy. */
struct sk_client {
	_Alignas(128) _Atomic u64 rx_tail;	/* bytes read */
	_Atomic u64 tx_head;			/* bytes written */
	_Atomic u32 arm;			/* see DESIGN.md: a token is sent when arm != tok */
	_Atomic u32 eaten;			/* tokens drained */
	_Atomic u32 shut;			/* SKC_SHUT_* */
	_Atomic u32 opts;			/* SKC_* options programs change per request */
	_Atomic u64 wlock;			/* writer's lock: pid << 32 | tid, 0 free */
	_Atomic u64 claim;			/* accept: the nonce, by compare-and-swap */
	_Atomic u32 err_taken;			/* err has been reported for this attempt number */
	_Atomic u32 readers;			/* who take bytes or tokens just now; more than there are if some were killed */
	u32 pad0;
	_Atomic u32 rcvlowat;
	_Atomic u64 fin_at;			/* tx offset of shutdown(SHUT_WR) + 1; 0: none; write-once per connection */
	_Atomic u32 report_taken, soft_taken;	/* the notes that were told */
	_Atomic u32 errq_tail;			/* errors read from the queue, by compare-and-swap */
	_Atomic u32 plain;			/* a request about sk_stack.plain: number << 8 | PLAIN_ASK or PLAIN_DRAINED */
	_Atomic u64 urg_read;			/* sk_stack.urg whose byte was taken by MSG_OOB */
	_Atomic u64 urg_at;			/* end of the last bytes sent with MSG_OOB; stored before tx_head shows them. SKC_URG */
	u8 pad[16];
};
static_assert(sizeof(struct sk_client) == 128, "two lines");
enum { SKC_SHUT_RD = 1, SKC_SHUT_WR = 2 };

/* Holders without the shim (services/tcp/sk_plain.c). Never taken back: TX, from then on bytes come through the pair;
 * RX, from then on bytes go through the pair and there are no tokens. QUIET: there are no tokens just now, because a
 * holder asked (ASK), and nobody begins to read; he drains those that are there and says so (DRAINED). The number of the request last taken up
 * stands beside the flags, in both words. */
enum { PLAIN_TX = 1, PLAIN_RX = 2, PLAIN_QUIET = 4 };
enum { PLAIN_ASK = 1, PLAIN_DRAINED = 2 };
#define PLAIN_NUMBER(word) ((word) >> 8)
enum { SKC_NODELAY = 1, SKC_CORK = 2, SKC_QUICKACK = 4, SKC_MORE = 8, SKC_V6 = 16 /* AF_INET6 socket: for the client alone */,
       SKC_URG = 32 /* urg_at was set once */, SKC_OOBINLINE = 64 };

struct arena_hdr {
	u64 magic;
	u32 version, id;
	u32 nslots, rx_size, tx_size;	/* bytes per ring, powers of two */
	u32 uid;			/* of the application that made it */
	u64 secret[2];			/* proves access when a client reconnects; only mapped by who has the descriptors */
	u64 stack_bytes, client_bytes;	/* sizes of the two memfds */
	_Atomic u32 cold;		/* tcpd's alone: it does not look at the kicks of this arena, ring its eventfd after one */
	u8 pad[PAGE - 68];
};
static_assert(offsetof(struct arena_hdr, cold) == 64, "a line of its own: every kick reads it");

/* The error queue of a socket (recvmsg with MSG_ERRQUEUE): ICMP errors that ended a connect. Written by tcpd behind
 * errq_head, which is stored last; what finds the queue full is lost, as in Linux. It lives here, so it survives tcpd. */
#define SK_ERRQ 4u
#define SK_ERRQ_DATA 60u		/* of the segment that caused it: at most a TCP header */
struct sk_error {
	u32 err, info;			/* errno; next-hop MTU */
	be32 offender, daddr;		/* who says so, about a segment to whom */
	be16 dport;
	u8 type, code;			/* of the ICMP message */
	u32 len;
	u8 data[SK_ERRQ_DATA];
};
struct sk_errq { _Alignas(CACHELINE) struct sk_error e[SK_ERRQ]; };

/* Stack half: arena_hdr, words, then nslots receive rings of rx_size at ARENA_STACK_RINGS, then nslots rings of tx_size
 * for what holders without the shim send. Nothing but tcpd maps those. */
struct arena_stack {
	struct arena_hdr hdr;		/* written by sockd before anyone else maps it; from then on `cold` by tcpd */
	struct sk_stack sk[ARENA_SLOTS];
	struct sk_errq errq[ARENA_SLOTS];
};

/* Client half: kick counters (compact: tcpd compares them with a private copy, so nobody clears anything),
 * words, then nslots transmit rings of tx_size at ARENA_CLIENT_RINGS. */
struct arena_client {
	_Atomic u16 kick[ARENA_SLOTS];	/* incremented after something changed that tcpd must look at */
	u8 pad[PAGE - ARENA_SLOTS * 2];
	struct sk_client sk[ARENA_SLOTS];
};
static_assert(sizeof(struct arena_hdr) == PAGE, "one page");
static_assert(sizeof(struct arena_client) % PAGE == 0 && sizeof(struct arena_stack) % PAGE == 0, "whole pages");

#define ARENA_STACK_RINGS sizeof(struct arena_stack)
#define ARENA_CLIENT_RINGS sizeof(struct arena_client)
static inline size_t arena_stack_bytes(u32 rx) { return ARENA_STACK_RINGS + (size_t)ARENA_SLOTS * rx; }
static inline size_t arena_stack_all(u32 rx, u32 tx) { return arena_stack_bytes(rx) + (size_t)ARENA_SLOTS * tx; }
static inline size_t arena_client_bytes(u32 tx) { return ARENA_CLIENT_RINGS + (size_t)ARENA_SLOTS * tx; }
static inline u8 *arena_rx(struct arena_stack *a, u32 slot, u32 rx_size)
{
	return (u8 *)a + ARENA_STACK_RINGS + (size_t)slot * rx_size;
}
static inline u8 *arena_tx(struct arena_client *a, u32 slot, u32 tx_size)
{
	return (u8 *)a + ARENA_CLIENT_RINGS + (size_t)slot * tx_size;
}

static inline u8 *arena_plain(struct arena_stack *a, u32 slot, u32 rx_size, u32 tx_size)
{
	return (u8 *)a + arena_stack_bytes(rx_size) + (size_t)slot * tx_size;
}

/* REGION_PUB: one page, tcpd's, read by every client. */
struct pub_shm {
	u64 magic;
	_Atomic u32 sleeping;	/* tcpd sleeps: after a kick, ring the arena's eventfd (as when arena_hdr.cold says so) */
	_Atomic u32 starts;
};

/* The bytes of a plug: 512 bytes beginning with this. */
#define PLUG_BYTES 512u
struct plug { u64 magic; u64 nonce; };
#define PLUG_MAGIC 0x5354524154410bafull

/* A holder gives a new pair for the old one, whose far end goes along as SCM_RIGHTS: PLUG_BYTES beginning with this. */
struct swap { struct plug plug; u64 cookie; };	/* SO_COOKIE of the new near end */
#define SWAP_MAGIC 0x5354524154410bb0ull

/* What tcpd sends on a listener's descriptor for each connection, with SCM_RIGHTS { connection }. */
struct accept_offer {
	u32 sk, gen;
	u64 nonce;		/* put into sk_client.claim by compare-and-swap from the value `claim_was` */
	u64 claim_was;
	be32 faddr, laddr;
	be16 fport, lport;
};

#endif
