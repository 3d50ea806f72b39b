/* script.h – what a packet script is once it is read, and what it is played on.
 *
 * A script (README.md has the language) becomes an array of events. play.c carries them out on a host: TCP itself in
 * virtual time (virtual.c), or real sockets behind a wire whose other end is ours (real.c): the kernel's, or Strata's through
 * the preloaded library. Sequence numbers in a script are relative: 0 is the SYN, 1 the first byte.
 * Times are ns; on a real host CLOCK_MONOTONIC. Results of calls are as the kernel's: a count or -errno. */
#ifndef STRATA_SCRIPT_H
#define STRATA_SCRIPT_H

#include "common/base.h"
#include "proto/wire/tcp.h"

#include <netinet/in.h>

#define MSEC NSEC_PER_MSEC
#define SEC NSEC_PER_SEC
#define MAX_EVENTS 2000
#define MAX_SOCKS 16
#define MAX_FLOWS 8
#define MAX_CHECKS 12
#define MAX_OPTS 12
#define VARS 26
#define PKT_MAX 1600
#define QUEUE 1024u
#define PEER_PORT 5000u

enum where { ON_VIRTUAL = 1, ON_KERNEL = 2, ON_STRATA = 4, ON_ALL = 7 };

/* ---- segments ---- */

enum how { V_NUM, V_ANY, V_VAR, V_SET };	/* a number, anything, a variable (plus num), remember it there */
struct value { u8 how, var; u32 num; };
enum cmp { C_NONE, C_EQ, C_NE, C_LT, C_GT, C_LE, C_GE };

struct opt { u8 kind, n; struct value val[8]; u8 raw[36]; };	/* kind: TCPOPT_*; n: values, or bytes of an unknown option */

struct segment {
	u8 flags, flow;
	bool psh_any, has_ack, opts_given, nops_given, new_isn, bad_csum, differs, no_payload_check;
	s8 ecn;			/* bits of the IP header; -1: not looked at */
	u8 win_cmp;		/* enum cmp */
	s16 ttl;		/* -1: not looked at */
	s8 df;
	u8 nopts, res;		/* res: reserved bits of byte 12 */
	u32 seq, len, count, ack, win;
	u16 urg;
	bool has_urg;
	struct opt opts[MAX_OPTS];
};

struct pkt {			/* a TCP segment with what IP says of it */
	u64 at;
	be32 saddr, daddr;
	u8 tos, ttl;
	bool df;
	u32 len;
	u8 tcp[PKT_MAX];
};

struct icmp_err { u8 type, code, flow; u32 mtu, seq; bool has_seq; };

/* ---- calls ---- */

enum op { OP_SOCKET, OP_BIND, OP_LISTEN, OP_ACCEPT, OP_CONNECT, OP_DISCONNECT, OP_SEND, OP_RECV, OP_SHUTDOWN, OP_CLOSE, OP_SETSOCKOPT,
	  OP_GETSOCKOPT, OP_POLL, OP_EDGE, OP_INFO, OP_INQ, OP_OUTQ };

struct check { u16 field; u8 cmp; s64 value; };

struct call {
	enum op op;
	s8 s, ret;		/* socket; where a new one goes; -1: none */
	u32 n;			/* bytes, backlog, port, how */
	int flags, level, name;
	s32 val[2];
	char text[16];		/* of TCP_CONGESTION */
	u8 nval, nchecks, flow;
	bool bad_pointer, any;	/* any: whatever it says */
	bool blocks;
	u64 lo, hi;		/* of blocks */
	s64 result;
	struct check checks[MAX_CHECKS];
};

struct answer { s64 result; u32 len; u8 data[512]; };	/* data: TCP_INFO, an option's value */

/* ---- events ---- */

enum event_kind { EV_INJECT, EV_EXPECT, EV_MAYBE, EV_ICMP, EV_CALL, EV_QUIET };
struct event {
	enum event_kind kind;
	u32 line;
	const char *file, *text;
	bool absolute;
	u64 lo, hi;		/* after the event before; absolute: after the start */
	union { struct segment seg; struct icmp_err icmp; struct call call; };
};

struct script {
	const char *file;
	char *texts[4], begin[2][256];
	u32 ntexts, nbegins;
	u32 where, nevents, nsocks;
	u32 rcvbuf, sndbuf, mtu;	/* 0: the host's own */
	bool no_sack, no_timestamps, no_window_scaling;
	u8 ecn, syncookies, fastopen;		/* as Linux's sysctls */
	char congestion[16];
	char sysctl[4][2][40];		/* of the kernel alone */
	u32 nsysctls;
	u64 tolerance;
	char sock[MAX_SOCKS][16];
	struct event event[MAX_EVENTS];
	char error[512];	/* why it could not be read */
};

/* ---- hosts ---- */

struct host;
struct blocked {		/* a call that has not returned */
	const struct event *e;
	struct host *h;
	u64 start, end;
	_Atomic bool done;
	bool checked;
	struct answer a;
	void *thread;		/* real hosts */
};

struct host_ops {
	int (*start)(struct host *h, const struct script *s);
	void (*stop)(struct host *h);
	void (*run_until)(struct host *h, u64 t);		/* time passes, packets are queued */
	void (*run_to_packet)(struct host *h, u64 t);	/* ... until there is one */
	void (*inject)(struct host *h, const struct pkt *p);
	void (*icmp)(struct host *h, const struct icmp_err *e, const struct pkt *quoted);
	void (*call)(struct host *h, const struct call *c, struct answer *ret);
	void (*call_blocking)(struct host *h, struct blocked *b);
};

struct host {
	const struct host_ops *ops;
	enum where where;
	u64 now;
	u64 late;			/* the latest that this process ever was: a real host under load */
	u64 slack;			/* more tolerance: nothing happens at once on a real host */
	be32 local, peer;
	u16 port;			/* what a script's bind(s, 0) means */
	u32 qhead, qtail;
	struct pkt q[QUEUE];
	u32 tx_off[MAX_SOCKS], rx_off[MAX_SOCKS];	/* next byte a socket writes and reads, relative */
	u32 index;			/* of the script: addresses and ports of its own */
	const char *dev;
	void *priv;
};

static inline struct pkt *host_queue(struct host *h)	/* where the next packet goes */
{
	return h->qtail - h->qhead < QUEUE ? &h->q[h->qtail % QUEUE] : NULL;
}

extern const struct host_ops virtual_host, real_host;

/* Bytes of a stream, either way: known by their place. */
static inline u8 stream_byte(u32 seq) { return (u8)(seq * 7 + (seq >> 8) * 31 + (seq >> 16) * 3); }

/* parse.c, parse_segment.c, parse_call.c */
struct words { char *w[256]; u32 n, at; char *store; };
int script_read(struct script *s, const char *file);		/* 0, or -EINVAL with s->error */
void script_free(struct script *s);
bool word_is(struct words *w, const char *what);			/* and go on */
const char *word_next(struct words *w);
bool word_number(struct words *w, s64 *ret);
bool parse_segment(struct script *s, struct words *w, struct segment *g, bool inject);
bool parse_icmp(struct words *w, struct icmp_err *e);
bool parse_call(struct script *s, struct words *w, struct call *c);
bool parse_time(const char *p, u64 *lo, u64 *hi);
const char *errno_name(s64 result);
/* info.c: fields of TCP_INFO and readiness by name */
int info_field(const char *name);
s64 info_value(const u8 *info, u16 field);
const char *info_name(u16 field);
bool info_word(const char *word, s64 *ret);			/* ESTABLISHED, recovery, ... */
extern const struct ready_name { const char *name; u32 bit; } ready_names[];

/* segment.c */
struct flow {
	bool out_known, scaled_out, scaled_in;
	u32 isn_out, isn_in, ts_last, win_last, edge, last_seq;
	bool has_edge;
	u8 wscale_out;
	u16 lport;
	struct pkt last;		/* what the host sent last: quoted by ICMP errors */
	bool has_last;
	u8 cookie[16], ncookie;		/* the last Fast Open cookie that the host gave */
};
struct wire_state { struct flow flow[MAX_FLOWS]; u32 var[VARS]; };
void segment_build(struct wire_state *w, const struct segment *g, u32 k, const struct host *h, struct pkt *ret);
/* The k'th segment of g: "" when it is as expected, or why it is not. */
void segment_compare(struct wire_state *w, const struct segment *g, u32 k, const struct pkt *p, char *why, size_t len);
int segment_flow(const struct wire_state *w, const struct pkt *p);
void segment_note(struct wire_state *w, const struct pkt *p, char *why, size_t len);	/* what holds for every packet */
void segment_print(const struct wire_state *w, const struct pkt *p, bool from_host, char *out, size_t len);

/* play.c: 0, or a report in out of what was expected and what came */
int play(const struct script *s, struct host *h, char *out, size_t len);

#endif
