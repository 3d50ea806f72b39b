/* sim.h – deterministic simulator: two real TCPs (services/tcp, pure code) over a seeded wire, in virtual time.
 *
 *   node 0 (client)  --- wire[0] -->  node 1 (server)
 *                    <-- wire[1] ---
 *
 * Everything that happens is decided by one seed: sizes, loss, reordering, duplication, corruption, delay, changes of
 * the path MTU, stalls of readers, restarts of a stack in mid-flight. A scenario that fails prints the command that
 * repeats it. world.c: seed, verdict, steps; wire.c; node.c: a host; app.c: its programs; check.c: what must hold. */
#ifndef STRATA_SIM_H
#define STRATA_SIM_H

#include <stdio.h>

#include "services/tcp/tcp.h"

#define SIM_CONNS 8
#define SIM_RING 65536u
#define SIM_MUTE UINT64_MAX	/* bytes of an end that never writes, and never ends */
#define SIM_HOUR (3600 * NSEC_PER_SEC)

struct wire_conf {
	double loss, dup, corrupt, reorder;	/* probabilities per packet */
	double mark;				/* congestion marks on packets that are ECN-capable */
	u32 burst;				/* packets lost in a row when one is lost */
	u32 every;				/* every so many data segments one is lost; 0: none. Besides `loss` */
	u64 delay, jitter;			/* ns; a reordered packet is late by up to 4 delays */
	u64 bytes_per_sec;			/* 0: unlimited */
	u64 police, bunch;			/* bytes/s that a policer lets through; ns: arrivals only at multiples of it */
	u32 queue;				/* full packets' worth of bytes that may wait for the link (0: unlimited) */
};

struct packet {
	u64 at;
	u64 order;		/* of insertion: ties are first in, first out */
	u32 len;
	u8 to;
	bool damaged, df;
	u8 type;		/* SKB_PACKET, or SKB_ICMP_ERROR: data is what the error quotes */
	struct ip_cb cb;
	u8 data[];
};

struct app {			/* one end of a connection */
	bool used, open, sent_fin, got_eof, closed, freed;
	bool later;		/* has not connected yet */
	u32 sk;
	u64 seed;		/* of the bytes it sends */
	u64 to_send, sent, got, expect;
	u64 tx_base, rx_base;
	u64 pause_until, next;	/* readers that stall; when to act next */
	u64 moved, wrote;	/* when a byte was last read (first: when it opened), and written */
	u32 heard, acked;	/* sim.excuses when bytes last came, and were acknowledged */
	u32 chunk;
	int err;
	struct app *peer;
};

struct node {
	struct sim *sim;
	u8 id;
	be32 addr;
	struct tcp_stack tcp;
	struct counters counters;
	struct secret_shm secret;
	u8 *stack_mem, *client_mem;
	u32 next_child, outstanding, restarts;
	struct app app[SIM_CONNS];
	u32 napp;
	u64 next_timer;
};

/* What the wire knows of a connection, [n] of node n: the right edge of the window it said, and has heard; the highest
 * sequence number it sent; whether its SYN had a window scale. */
struct flow { be16 port; bool said_any[2], heard_any[2], sent_any[2], wscale[2]; u32 said[2], heard[2], high[2]; };

struct sim {
	u64 seed, rng, now, order, last_progress, packets, steps;
	struct config conf;
	struct node node[2];
	struct wire_conf wire[2];
	u64 wire_busy[2], wire_burst_end[2];
	u32 wire_burst[2], wire_data[2];
	u64 wire_tokens_at[2];	/* the policer's bucket was empty then, or would have been */
	u64 marked;
	struct packet **heap;
	u32 nheap, heapcap;
	u16 mtu, path_mtu;	/* of the hosts; of the way between them (0: the same) */
	u32 ring;		/* bytes per socket and direction; 0: SIM_RING */
	bool trace, restarts, checksum, mtu_changes, fastopen;
	bool black_hole;	/* what does not fit the way is dropped without a word */
	bool steady;		/* programs never pause, and move as much as fits */
	bool hostile;		/* somebody injects segments: errors and wrong bytes end a connection, not the run */
	bool was_hostile;	/* windows were said and heard that nobody meant */
	void (*hook)(struct sim *s, u8 to, const struct packet *p);	/* sees every segment put on the wire */
	bool (*drop)(struct sim *s, u8 to, const struct packet *p);	/* a case's own losses */
	u32 excuses;		/* how often something happened that may rightly make a connection wait for a timer */
	struct flow flow[SIM_CONNS];
	u32 gave_up;		/* connects that rightly ended in ETIMEDOUT: every SYN or its answer was lost */
	FILE *pcap;
	const char *failed;
	char why[256];
};

/* world.c */
u64 sim_rand(struct sim *s);
u64 sim_below(struct sim *s, u64 n);
bool sim_chance(struct sim *s, double p);
void sim_fail(struct sim *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void sim_excuse(struct sim *s);
int sim_begin(struct sim *s);			/* both nodes, the server listening on port 80 */
void sim_step(struct sim *s);			/* the next thing that happens */
void sim_end(struct sim *s);			/* frees everything */
/* wire.c */
void wire_send(struct sim *s, struct node *from, const struct sk_buff *skb, const u8 *data);
struct packet *wire_inject(struct sim *s, u8 to, const struct packet *src, u64 at);
struct packet *wire_next(struct sim *s);	/* earliest packet, still in the heap; NULL: none */
void wire_pop(struct sim *s);
void wire_trace(struct sim *s, const char *what, u8 to, const u8 *tcp, u32 len);
/* node.c */
int node_init(struct sim *s, struct node *n, u8 id);
void node_fini(struct node *n);
int node_restart(struct node *n);
void node_deliver(struct node *n, struct packet *p);
/* app.c */
int node_listen(struct node *n, u16 port);
int node_connect(struct node *n, u16 port, u64 bytes, u64 peer_bytes);
void node_apps(struct node *n);			/* let every application act once */
u64 node_next(struct node *n);			/* when this node wants to act next */
/* check.c */
void check_sent(struct sim *s, u8 from, const struct packet *p);	/* as it leaves, before the wire does anything to it */
void check_heard(struct sim *s, u8 to, const struct packet *p);
void check_state(struct sim *s);
void check_stalls(struct sim *s);
void check_empty(struct sim *s);
/* pcap.c */
FILE *pcap_open(const char *file);
void pcap_packet(struct sim *s, const struct packet *p);

#endif
