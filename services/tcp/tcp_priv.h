/* tcp_priv.h – soft state of TCP: everything a start rebuilds, in private memory, and the accessors of the hard state.
 *
 * Used by the files of the pure TCP only. struct tcp_conn is one socket's soft state; `h` is its hard block, `b` its
 * words and rings. Stream offsets are u64; before()/after() are their only comparison (a SYN may sit at "-1"). */
#ifndef STRATA_TCP_PRIV_H
#define STRATA_TCP_PRIV_H

#include "services/tcp/tcp.h"
#include "services/tcp/tcp_cong.h"
#include "proto/wire/tcp.h"
#include "common/seq.h"

#define MSEC NSEC_PER_MSEC
#define SEC NSEC_PER_SEC
#define TCP_RTO_MIN (200 * MSEC)
#define TCP_RTO_MAX (120 * SEC)
#define TCP_TIMEOUT_INIT (1 * SEC)
#define TCP_TIMEOUT_MIN (8 * MSEC)	/* Linux: two ticks */
#define TCP_DELACK (40 * MSEC)
#define TCP_TIMEWAIT_LEN (60 * SEC)
#define TCP_SYN_RETRIES 6
#define TCP_SYNACK_RETRIES 5
#define TCP_GIVEUP (924600 * MSEC)	/* what 15 retransmissions from 200 ms take (tcp_retries2) */
#define TCP_ORPHAN_GIVEUP (300 * SEC)	/* Linux: about 100 s; what was written before close() deserves more */
#define TCP_INIT_CWND 10u
#define TCP_MIN_MSS 88u
#define TCP_DEFAULT_MSS 536u
#define TCP_RECS 65536u			/* pieces in flight, all connections together */
#define TCP_QUICKACKS 16u
#define TCP_LOANS_MIN 4u		/* transmit buffers a connection may have below it at once: these, and ... */
#define TCP_LOANS_MAX 24u		/* ... up to so many where they are sent within a millisecond */
#define TCP_MIN_RCVBUF 2304u
#define TCP_MIN_SNDBUF 4608u
#define TCP_GSO_MAX 65000u
#define TCP_CHALLENGES 1000u		/* challenge ACKs a second, all connections (RFC 5961 7) */
#define TCP_EHASH 65536u
#define TCP_THASH 32768u
#define TCP_RHASH 4096u
#define TCP_LHASH 256u
#define TCP_FO_COOKIE 8u		/* bytes of those we give; 4 to 16 are taken (RFC 7413 4.1.1) */
#define TCP_FO_COOKIE_MAX 16u
#define TCP_FO_SETS 256u
#define TCP_FO_WAYS 4u

static inline bool before(u64 a, u64 b) { return (s64)(a - b) < 0; }
static inline bool after(u64 a, u64 b) { return (s64)(a - b) > 0; }

enum { REC_SACKED = 1, REC_LOST = 2, REC_RETRANS = 4, REC_EVER = 8, REC_FIN = 16, REC_APP = 32 /* see tcp_rate.c */ };

/* A piece of what is in flight: the kernel's skb in the retransmission queue, without the bytes. */
struct tcp_rec {
	u64 start, end;		/* stream offsets; a FIN counts one */
	u64 xmit;		/* when it was last handed down */
	struct tcp_rec *next, *prev;
	u32 txid;		/* number of the transmit buffer it left in */
	u16 pcount;		/* segments it makes */
	u8 flags;		/* REC_* */
	u8 pad;
	u32 delivered, delivered_us, first_us;	/* of the connection, when it was sent: tcp_rate.c */
};

/* A segment that arrived, taken apart (tcp_options.c). */
struct tcp_seg {
	const u8 *payload;
	u32 len, seq, ack, end;		/* end: seq + len + SYN + FIN */
	u32 nseg;			/* wire segments merged in it */
	u16 wnd, urg;
	u8 flags, hdrlen, tos, nsack;
	bool has_ts, has_sack_perm, has_wscale;
	u8 wscale, cookielen;
	const u8 *cookie;		/* Fast Open option of a SYN, cookielen 0: asks for one; NULL: none */
	u16 mss;			/* 0: no option */
	u32 tsval, tsecr;
	u32 sack[4][2];
	struct tcp_tuple tuple;		/* seen from here: laddr is the destination */
	const u8 *hdr;
	struct sk_buff *skb;
	bool (*still_ours)(void *ctx, const struct sk_buff *skb);
	void *ctx;
	bool csum_todo;			/* verify while copying */
	u32 tw_isn;			/* not 0: least ISN of the answer, the tuple was in TIME_WAIT */
};

enum { CF_DIRTY = 1, CF_XMIT = 2, CF_ACK_NOW = 4, CF_ACK_SCHED = 8, CF_WINDOW = 16, CF_WAIT = 32, CF_HASHED = 64,
       CF_BOUND = 128, CF_LISTENING = 256, CF_OPEN = 512, CF_TLP = 1024, CF_FRTO = 2048, CF_PROBE0 = 4096,
       CF_RACK_TIMER = 8192, CF_RESTARTED = 16384,
       CF_QUIET = 32768 /* a disconnect: no state_change */, CF_NEW_FIRST = 65536 /* F-RTO: new data before what is marked lost */,
       CF_SYN_OUT = 131072 /* h->syn_out */ };
enum { FO_WANTED = 1, FO_SYN_DATA = 2 };	/* tcp_conn.fo: this connect may use Fast Open; data in a SYN was taken */
enum { ECN_QUEUE_CWR = 1, ECN_SEEN = 2 };	/* tcp_conn.ecn */
enum xmit_kind { XMIT_ACK, XMIT_NEW, XMIT_AGAIN };	/* SACK blocks go with the first, ECN marks with the second */
enum conn_ca_state { CA_OPEN, CA_DISORDER, CA_CWR, CA_RECOVERY, CA_LOSS };

struct tcp_conn {
	struct tcp_stack *t;
	struct tcp_sock *h;
	struct sockbuf b;
	u32 sk, cf;
	struct tcp_conn *dirty_next, *wait_next;
	u32 ehash_next, lhash_next, bhash_next, bhash_prev;
	struct timer rtx, ack, keep;	/* RTO, TLP, RACK or persist; delayed ACK; keep-alive, FIN_WAIT_2, linger */
	struct timer pace, trim;	/* trim: an idle ring gives its memory back */
	/* send */
	struct tcp_rec *head, *tail;	/* in flight, in order */
	u64 write_seq;			/* end of what the application wrote, validated */
	u64 snd_sml;			/* end of the last small segment (Minshall) */
	u64 high_seq, tlp_high, sacked_high;
	u64 undo_marker;		/* first offset of what may turn out to have been sent again for nothing, + 1; 0: nothing */
	u32 packets_out, sacked_out, lost_out, retrans_out;
	u32 cwnd, ssthresh, cwnd_cnt, prior_cwnd, prior_ssthresh;
	u32 prr_delivered, prr_out, txid, delivered, delivered_ce;
	s32 undo_retrans;
	u32 srtt8_us, mdev4_us, mdev_max4_us, rttvar4_us, min_rtt_us;	/* scaled as RFC 6298's appendix does */
	u64 rto_at;			/* when the timeout is, whatever the rtx timer is set for */
	u64 rtt_seq, rto, retrans_stamp, last_send, last_recv, cwnd_stamp;
	u64 rack_xmit, rack_end;
	u32 rack_rtt_us, max_wnd, cwnd_used;
	u32 backoff, retransmits, total_retrans, mss;	/* mss: payload per segment now, options taken off */
	u8 ca_state, dupacks, rack_steps, reord_seen, ca_flags, probes;
	u8 cong_limited, hdr_opts, ecn, fo, fo_fail;
	u32 lost;			/* segments ever taken for lost */
	u32 app_limited;		/* until this much is delivered, samples are the application's rate; 0: not */
	u32 delivered_us, first_us;	/* of the last delivery; when the first of its flight was sent */
	u32 rate_delivered, rate_interval_us;	/* the last sample worth telling */
	u64 pacing_rate, pace_next;	/* bytes/s, set by a congestion control with one; ns: when the next may leave */
	bool rate_app_limited, paced;
	u64 cong[24];			/* of the tcp_congestion_ops */
	const struct tcp_congestion_ops *ca;
	/* receive */
	u64 last_ack;			/* rcv_nxt in the last ACK sent */
	u64 dsack_start, dsack_end;	/* to report once (RFC 2883) */
	u64 fin_early;			/* offset + 1 of a FIN that came before all its data; 0: none. Forgotten by a successor: sent again */
	u64 ooo_recent[4];		/* start offsets of intervals to report first */
	u64 last_heard;			/* any segment: keep-alive counts from here */
	u32 rcv_mss, quick, ooo_count, challenge_time;
	u8 pingpong, nooo_hi;
	u32 rcv_space, rcvq_space;	/* the window now; bytes read in the best round trip so far (tcp_buffer.c) */
	u32 rcv_rtt_us, rcv_rtt_ref;
	u64 rcv_rtt_time, rcvq_seq, rcvq_time;
	u64 trimmed, trim_seq;
	be32 saddr;
	u32 mtu, route_gen;		/* what the way to the peer carries; of which tables */
	u32 pmtu;			/* less, learnt by this connection, until pmtu_until; 0: nothing */
	u64 pmtu_until;
	bool gso, csum, mtu_locked, pmtu_locked;	/* locked: the path carries less than we will make segments: no DF */
	u16 mtup_high, mtup_size;	/* probing: upper bound; size of the packet in flight that asks, 0: none */
	u64 mtup_start, mtup_end, mtup_stamp;	/* its bytes; when the search began */
	u32 next_child;
	u64 bytes_in, bytes_out;
	u32 segs_in, segs_out, data_segs_in, data_segs_out;
	u64 busy_ns, busy_since;	/* time with something unacknowledged; since when, 0: nothing is */
	u32 accept_count, req_count, req_waiting;	/* listener; waiting: of its handshakes, those for room */
	u32 fo_pending, fo_penalty;	/* listener: Fast Open connections without their ACK, and those that were reset */
	u64 fo_penalty_until;
	struct tcp_conn *accept_head, *accept_tail, *accept_next;
};

struct tcp_tw_soft { struct timer timer; u32 next, free_next; };
struct tcp_req_soft { struct timer timer; u32 next, free_next; };

/* A server as clients of Fast Open know it. used: when last, 0: free. */
struct tcp_fo_server { be32 addr; u16 mss; u8 len, losses; u64 used, lost_at; u8 cookie[TCP_FO_COOKIE_MAX]; };

struct tcp_soft {
	struct tcp_fo_server fo[TCP_FO_SETS][TCP_FO_WAYS];
	struct timer_wheel wheel;
	struct tcp_conn *conn;		/* SK_MAX */
	u32 *ehash, *lhash, *bhash, *thash, *rhash;
	struct tcp_tw_soft *tw;
	struct tcp_req_soft *req;
	u32 tw_free, req_free, tw_count, tw_limit, tw_clock;
	struct tcp_rec *recs, *rec_free;
	u32 recs_used;			/* high-water mark: recs beyond were never touched */
	struct tcp_conn *dirty, *waiting;
	u16 tw_port[65536];		/* TIME_WAITs per local port */
	u64 hash_seed, rng;
	u64 challenge_second;
	u32 challenge_count, port_counter;
	bool full;			/* transmit ring or pool is full: wait for tcp_resume() */
};

#define NONE TCP_NONE

static inline struct tcp_conn *conn_of(struct tcp_stack *t, u32 sk) { return &t->soft->conn[sk]; }
static inline u32 phase(const struct tcp_conn *c) { return load_relaxed(&c->h->phase); }
static inline u64 rcv_nxt(const struct tcp_conn *c) { return load_relaxed(&c->b.s->rx_head); }
static inline u64 snd_una(const struct tcp_conn *c)
{
	return load_relaxed(&c->b.s->tx_tail) + load_relaxed(&c->h->fin_acked);
}
static inline u64 snd_nxt(const struct tcp_conn *c) { return load_relaxed(&c->h->snd_nxt); }
static inline u64 fin_snd(const struct tcp_conn *c) { return load_relaxed(&c->h->fin_snd); }
static inline u64 fin_rcv(const struct tcp_conn *c) { return load_relaxed(&c->b.s->fin); }
static inline u32 snd_wire(const struct tcp_conn *c, u64 off) { return c->h->iss + 1 + (u32)(off - c->h->tx_base); }
static inline u32 rcv_wire(const struct tcp_conn *c, u64 off) { return c->h->irs + 1 + (u32)(off - c->h->rx_base); }
static inline u64 snd_off(const struct tcp_conn *c, u32 wire)
{
	return snd_una(c) + (u64)(s64)(s32)(wire - snd_wire(c, snd_una(c)));
}
static inline u64 rcv_off(const struct tcp_conn *c, u32 wire)
{
	return rcv_nxt(c) + (u64)(s64)(s32)(wire - rcv_wire(c, rcv_nxt(c)));
}
/* The end of what may be sent: our FIN included once it is decided. */
static inline u64 snd_end(const struct tcp_conn *c) { return fin_snd(c) ? fin_snd(c) : c->write_seq; }
/* Bytes received and not read; a FIN is no byte. */
static inline u64 rcv_data_end(const struct tcp_conn *c)
{
	u64 fin = fin_rcv(c), head = rcv_nxt(c);

	return fin && !before(head, fin) ? fin - 1 : head;
}
static inline u64 rcv_unread(const struct tcp_conn *c) { return rcv_data_end(c) - load_relaxed(&c->h->valid_rx_tail); }
static inline u64 rcv_free(const struct tcp_conn *c) { return c->b.rx_size - rcv_unread(c); }
static inline bool has_ts(const struct tcp_conn *c) { return c->h->negotiated & TCPN_TS; }
static inline bool has_sack(const struct tcp_conn *c) { return c->h->negotiated & TCPN_SACK; }
static inline u32 tcp_ts(const struct tcp_stack *t, u32 offset) { return (u32)(t->now / MSEC) + offset; }
static inline u32 in_flight(const struct tcp_conn *c)
{
	u32 gone = c->sacked_out + c->lost_out, out = c->packets_out + c->retrans_out;

	return out > gone ? out - gone : 0;
}
static inline bool is_orphan(const struct tcp_conn *c) { return load_relaxed(&c->h->orphan) != 0; }
static inline void conn_count(struct tcp_conn *c, enum counter_id id) { count(c->t->counters, id); }

#endif
