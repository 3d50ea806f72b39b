/* tcb.h – the hard state of every TCP connection (crash rules 3 and 4): what a successor of tcpd must find.
 *
 * Written by tcpd alone (services/tcp), read by `strata ss`. What is here is hard unless it says soft. What is
 * elsewhere on purpose: rcv_nxt is sk_stack.rx_head, snd_una is sk_stack.tx_tail (+ fin_acked), the peer's FIN is
 * sk_stack.fin; there is no second copy. Connection state is derived from these words: tcp_state() in services/tcp.
 *
 * All sequence numbers are 64-bit stream offsets:
 *   send:    wire = iss + 1 + (u32)(off - tx_base)     SYN at tx_base - 1, FIN at fin_snd - 1
 *   receive: wire = irs + 1 + (u32)(off - rx_base)     FIN at sk_stack.fin - 1
 *
 * Order of the single stores: received bytes -> ooo word or rx_head -> the ACK may leave. snd_nxt -> the segment may
 * leave. rcv_adv -> the ACK that shows it may leave. fin_snd before snd_nxt passes it. Constants of a handshake
 * first, then `phase`, which publishes them. Times are CLOCK_MONOTONIC ns. */
#ifndef STRATA_SHM_TCB_H
#define STRATA_SHM_TCB_H

#include "proto/shm/arena.h"

#define TCB_VERSION 3u
#define TCB_MAGIC 0x5443422053545241ull
#define TCP_REQ_MAX 4096u	/* handshakes in progress, all listeners together */
#define TCP_TW_MAX 32768u
#define TCP_OOO 32u		/* out-of-order intervals per connection */
#define TCP_NONE 0xffffffffu

/* What is stored; the eleven states of RFC 9293 follow from it and the FIN words. */
enum tcp_phase {
	TCPP_FREE,		/* block not in use */
	TCPP_CLOSED,		/* a socket without a connection: fresh, bound, or its connection is over */
	TCPP_LISTEN,
	TCPP_SYN_SENT,
	TCPP_SYN_RECV,		/* simultaneous open only: passive opens are struct tcp_req until complete */
	TCPP_SYNC,		/* synchronised: ESTABLISHED and everything after it */
};

/* As RFC 9293 names them and Linux numbers them. Derived, never stored (but see tcp_sock.shown). */
enum tcp_state { TCPS_ESTABLISHED = 1, TCPS_SYN_SENT, TCPS_SYN_RECV, TCPS_FIN_WAIT1, TCPS_FIN_WAIT2, TCPS_TIME_WAIT,
		 TCPS_CLOSE, TCPS_CLOSE_WAIT, TCPS_LAST_ACK, TCPS_LISTEN, TCPS_CLOSING };

/* Negotiated (tcp_sock.negotiated, tcp_req.negotiated, tcp_tw.negotiated) */
enum { TCPN_TS = 1, TCPN_SACK = 2, TCPN_WS = 4, TCPN_ECN = 8 };

/* Socket options that are yes or no (tcp_sock.so) */
enum { TSO_KEEPALIVE = 1, TSO_REUSEADDR = 2, TSO_REUSEPORT = 4, TSO_LINGER = 8, TSO_OOBINLINE = 16, TSO_BROADCAST = 32,
       TSO_DONTROUTE = 64, TSO_RECVERR = 128, TSO_BOUND_ADDR = 256, TSO_BOUND_PORT = 512, TSO_TIMESTAMP = 1024,
       TSO_NODELAY = 2048, TSO_CORK = 4096, TSO_FASTOPEN_CONNECT = 8192, TSO_SAVE_SYN = 16384,
       TSO_RCVBUF = 32768, TSO_SNDBUF = 65536 /* fixed by the application */ };

enum { TCPA_NONE, TCPA_QUEUED, TCPA_OFFERED };	/* tcp_sock.accept */

struct tcp_tuple { be32 laddr, faddr; be16 lport, fport; };

struct tcp_sock {
	_Alignas(CACHELINE) _Atomic u32 phase;	/* enum tcp_phase; stored last */
	u32 gen;			/* of the slot */
	struct tcp_tuple tuple;
	u32 iss, irs;
	u64 tx_base, rx_base;
	_Atomic u64 snd_nxt;
	_Atomic u64 rcv_adv;		/* right edge of the window advertised */
	/* -- 64 -- */
	_Atomic u64 fin_snd;		/* offset of our FIN + 1; 0: none. Write-once */
	_Atomic u32 fin_acked;		/* write-once */
	_Atomic u32 orphan;		/* no descriptor left; write-once */
	u8 negotiated, snd_wscale, rcv_wscale, passive_close;	/* passive_close: the peer's FIN came before fin_snd was set */
	u32 ts_offset;			/* ours, added to the clock (RFC 7323 5.4) */
	_Atomic u64 ts_recent;		/* peer's TSval << 32 | our seconds when it was stored: one word (RFC 7323 4.3) */
	u16 mss_peer;			/* from the peer's MSS option */
	u16 mtup_low;			/* a packet that fits, found by probing after a black hole; 0: none was met */
	_Atomic u32 snd_wnd;		/* soft: peer's window, scaled */
	u64 snd_wl1;			/* soft: rx offset of the segment last used for a window update */
	u64 snd_wl2;			/* soft: tx offset it acknowledged */
	/* -- 128 -- */
	_Atomic u64 snd_up;		/* urgent byte + 1 to send; 0: none */
	_Atomic u64 giveup_start;	/* since when retransmissions go unanswered; 0: not */
	_Atomic u64 deadline;		/* FIN_WAIT_2 of an orphan, linger; 0: none */
	_Atomic u64 keep_deadline;	/* next keep-alive probe; 0: none */
	_Atomic u64 valid_rx_tail, valid_tx_head;	/* last client words that made sense */
	_Atomic u64 accept_seq;		/* order in the accept queue */
	u32 parent, parent_gen;		/* listener this came from; TCP_NONE */
	/* -- 192 -- */
	_Atomic u32 accept;		/* TCPA_* */
	u32 backlog;
	_Atomic u32 op_seq;		/* last connect executed (idempotence) */
	u32 uid;
	u32 so;				/* TSO_* */
	s32 linger_s;
	u32 keep_idle_s, keep_intvl_s, keep_cnt;
	u32 user_timeout_ms;
	s32 linger2_s;			/* TCP_LINGER2; 0: default */
	u32 defer_accept_s, syn_cnt, notsent_lowat, mark, rcvbuf;
	/* -- 256 -- */
	u32 sndbuf, rcvlowat, window_clamp, priority;
	u64 max_pacing_rate;
	u16 maxseg;			/* TCP_MAXSEG of the user; 0: none */
	u8 tos, ttl;			/* ttl 0: the instance's */
	u8 cong, mtu_disc, min_ttl, keep_probes;	/* cong: index in tcp_cong_list[]; keep_probes: unanswered */
	u32 rcvtimeo_ms, sndtimeo_ms;
	u8 bound_dev[16];		/* SO_BINDTODEVICE: name */
	/* Soft, a hint for a successor: sequence-locked. */
	_Atomic u32 hint_seq;		/* odd: being written */
	u32 hint_srtt_us, hint_cwnd, hint_ssthresh;
	/* For people (`strata ss`), never read by TCP. */
	_Atomic u32 shown;		/* enum tcp_state */
	_Atomic u32 shown_rxq, shown_txq;
	_Atomic u32 ecn_echo;		/* a congestion mark was received, the peer's CWR was not (RFC 3168 6.1.3) */
	_Atomic u32 cookie_s;		/* listener: second of the last SYN cookie + 1; 0: none */
	_Atomic u32 syn_out;		/* Fast Open: our SYN+ACK is not acknowledged; data may flow all the same */
	u32 fastopen_max;		/* listener: TCP_FASTOPEN, how many of those there may be; 0: none */
	u32 pad;
};
static_assert(sizeof(struct tcp_sock) <= 384, "hard state stays small");

/* The last ACK has come, and it waits for data (TCP_DEFER_ACCEPT) or for room in the accept queue. */
enum tcp_req_acked { REQ_OPEN, REQ_WAITS_DATA, REQ_WAITS_ROOM };

/* A handshake in progress (SYN_RECV of a listener). Published by `used`. */
struct tcp_req {
	_Alignas(CACHELINE) _Atomic u32 used;
	u32 listener, listener_gen;
	struct tcp_tuple tuple;
	u32 iss, irs;
	u32 ts_recent, ts_offset;
	u16 mss_peer, retries;
	u8 negotiated, snd_wscale, rcv_wscale, acked;	/* acked: enum tcp_req_acked */
	u32 snd_wnd;
	u64 born, deadline;		/* next SYN+ACK */
};
static_assert(sizeof(struct tcp_req) <= 128, "two lines");

/* TIME_WAIT. Published by `deadline`. */
struct tcp_tw {
	_Alignas(CACHELINE) _Atomic u64 deadline;	/* 0: free */
	struct tcp_tuple tuple;
	u32 snd_nxt, rcv_nxt, rcv_wnd;	/* on the wire */
	u32 ts_recent, ts_offset, ts_stamp;	/* stamp: seconds */
	u32 uid;
	u8 negotiated, tos, ttl, reuse;	/* reuse: the socket had SO_REUSEADDR */
};
static_assert(sizeof(struct tcp_tw) == 64, "one line");

struct tcp_tables {
	u64 magic;			/* stored last when initialising; version in the same page */
	u32 version, pad;
	_Atomic u64 accept_seq;		/* next tcp_sock.accept_seq */
	_Atomic u32 tw_high, req_high;
	/* Slots that were ever used since their arena came: [0] from 0 on, [1] from ARENA_ACTIVE on. Stored before the
	 * phase. What a start looks at, and everybody who looks at all sockets: tcp_slot_next(). */
	_Atomic u16 high[ARENA_MAX][2];
	_Alignas(PAGE) struct tcp_sock sk[SK_MAX];
	/* Crash rule 5: bytes already at their final place in the receive ring, beyond rx_head. One word each:
	 * low 32 bits of the starting offset << 32 | length; 0: none. In no order; may overlap after a crash. */
	_Alignas(PAGE) _Atomic u64 ooo[SK_MAX][TCP_OOO];
	_Alignas(PAGE) struct tcp_req req[TCP_REQ_MAX];
	_Alignas(PAGE) struct tcp_tw tw[TCP_TW_MAX];
};

/* The first slot from sk on, below end, that was ever used; end: there is none. */
static inline u32 tcp_slot_next(const struct tcp_tables *t, u32 sk, u32 end)
{
	for (u32 a = SK_ARENA(sk); a < ARENA_MAX && sk < end; sk = SK(++a, 0)) {
		u32 low = load_acquire(&((struct tcp_tables *)t)->high[a][0]);
		u32 top = ARENA_ACTIVE + load_acquire(&((struct tcp_tables *)t)->high[a][1]);

		if (SK_SLOT(sk) < MIN(low, ARENA_ACTIVE))
			return MIN(sk, end);
		sk = MAX(sk, SK(a, ARENA_ACTIVE));
		if (SK_SLOT(sk) < MIN(top, ARENA_SLOTS))
			return MIN(sk, end);
	}
	return end;
}

#define TCP_SLOT_EACH(sk, t, from, end) \
	for (u32 sk = tcp_slot_next((t), (from), (end)); sk < (end); sk = tcp_slot_next((t), sk + 1, (end)))
#define TCP_SLOT_OF_ARENA(sk, t, arena) TCP_SLOT_EACH(sk, t, SK(arena, 0), SK((arena) + 1, 0))

#endif
