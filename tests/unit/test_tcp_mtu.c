/* test_tcp_mtu.c – services/tcp/tcp_mtu.c: path MTU learnt and raised again, its modes, black holes and probing. */
#include "tcp_peer.h"

#include <netinet/in.h>
#include <netinet/tcp.h>

static u8 bytes[RIG_RING];

struct test { struct rig *r; struct peer p; u32 sk; };

/* A connection with timestamps off, MSS 1460 both ways. */
static struct test begin(u8 probing)
{
	struct test t = { .r = rig_new(US, 7) };

	t.r->conf.mtu_probing = probing;
	t.r->conf.timestamps = t.r->conf.sack = false;
	t.p = peer_of(t.r);
	memcpy(t.p.opts, (u8[]){ 2, 4, 1460 >> 8, 1460 & 255 }, 4);
	t.p.nopts = 4;
	listen_on_80(t.r, 8);
	inject(&t.p, TCP_SYN, t.p.seq, 0, NULL, 0);
	t.p.nopts = 0;
	t.p.seq++;
	t.p.ack = from_be32(sent(t.r)->seq) + 1;
	inject(&t.p, TCP_ACK, t.p.seq, t.p.ack, NULL, 0);
	t.sk = accepted(t.r);
	sent(t.r);
	return t;
}

static void write_bytes(struct test *t, u32 n)
{
	CHECK_EQ(rig_write(t->r, t->sk, bytes, n), n);
	tcp_flush(&t->r->t);
}

/* The peer has everything up to here. */
static void acked(struct test *t, u32 n)
{
	t->p.ack += n;
	inject(&t->p, TCP_ACK, t->p.seq, t->p.ack, NULL, 0);
}

static u32 longest(struct rig *r)
{
	u32 n = 0;

	for (u32 i = 0; i < r->nout; i++)
		n = MAX(n, r->out[i % RIG_OUT].len - hdr_len(&r->out[i % RIG_OUT]));
	r->nout = 0;
	return n;
}

static int opt_of(struct test *t, int level, int name)
{
	int v = -1;
	u32 len = sizeof(v);

	return tcp_getsockopt(&t->r->t, t->sk, level, name, &v, &len) ? -1 : v;
}

static void set_opt(struct test *t, int level, int name, int v)
{
	CHECK_EQ(tcp_setsockopt(&t->r->t, t->sk, level, name, &v, sizeof(v)), 0);
}

static void sent_again_in_smaller_pieces(void)
{
	struct test t = begin(0);
	struct tcp_conn *c = rig_conn(t.r, t.sk);
	u32 cwnd = c->cwnd;

	write_bytes(&t, 5 * 1460);
	CHECK_EQ(t.r->nout, 5);
	CHECK(t.r->out[0].df);
	t.r->nout = 0;
	icmp(&t.p, 3, 4, 1000, t.p.ack);
	CHECK_EQ(t.r->nout, 8);			/* all 7300 bytes, no timeout */
	CHECK_EQ(longest(t.r), 960);
	CHECK_EQ(c->cwnd, cwnd);		/* no congestion */
	CHECK_EQ(t.r->learnt, 1000);
	CHECK_EQ(opt_of(&t, IPPROTO_IP, IP_MTU), 1000);
	CHECK_EQ(opt_of(&t, IPPROTO_TCP, TCP_MAXSEG), 960);
	icmp(&t.p, 3, 4, 1000, t.p.ack);	/* the messages about the other segments */
	CHECK_EQ(t.r->nout, 0);
	acked(&t, 7300);
	write_bytes(&t, 1);
	acked(&t, 1);				/* RFC 6582 4: without SACK recovery ends above its high mark */
	CHECK_EQ(c->ca_state, CA_OPEN);
	CHECK_EQ(c->packets_out + c->lost_out + c->retrans_out, 0);
	peer_end(&t.p);
}

/* RFC 5927: only lower, only in flight, and nothing a stranger could say makes it lower than the floor. */
static void disbelief(void)
{
	struct test t = begin(0);

	write_bytes(&t, 3000);
	icmp(&t.p, 3, 4, 1000, t.p.ack - 1);
	icmp(&t.p, 3, 4, 1000, t.p.ack + 3001);
	icmp(&t.p, 3, 4, 1600, t.p.ack);
	icmp(&t.p, 3, 4, 0, t.p.ack);
	CHECK_EQ(opt_of(&t, IPPROTO_IP, IP_MTU), 1500);
	icmp(&t.p, 3, 4, 68, t.p.ack);
	CHECK_EQ(opt_of(&t, IPPROTO_IP, IP_MTU), 552);
	CHECK(!t.r->out[(t.r->nout - 1) % RIG_OUT].df);	/* a router may cut it from here on */
	t.r->nout = 0;
	acked(&t, 3000);
	peer_end(&t.p);
}

static void tried_again_after_ten_minutes(void)
{
	struct test t = begin(0);

	write_bytes(&t, 3000);
	icmp(&t.p, 3, 4, 1000, t.p.ack);
	acked(&t, 3000);
	rig_advance(t.r, 590 * SEC);
	t.r->nout = 0;
	write_bytes(&t, 3000);
	CHECK_EQ(longest(t.r), 960);
	acked(&t, 3000);
	rig_advance(t.r, 20 * SEC);
	t.r->nout = 0;
	write_bytes(&t, 3000);
	CHECK_EQ(longest(t.r), 1460);
	acked(&t, 3000);
	peer_end(&t.p);
}

/* What ipd's tables say is followed, down and up. */
static void the_route_changes(void)
{
	struct test t = begin(0);

	t.r->mtu = 1200;
	write_bytes(&t, 3000);
	CHECK_EQ(longest(t.r), 1460);		/* nobody said so */
	acked(&t, 3000);
	t.r->route_gen++;
	write_bytes(&t, 3000);
	CHECK_EQ(longest(t.r), 1160);
	acked(&t, 3000);
	t.r->mtu = 1500;
	t.r->route_gen++;
	write_bytes(&t, 3000);
	CHECK_EQ(longest(t.r), 1460);
	acked(&t, 3000);
	peer_end(&t.p);
}

static void modes(void)
{
	static const struct { int mode; bool df, accepts; } modes[] = {
		{ IP_PMTUDISC_DONT, false, false }, { IP_PMTUDISC_WANT, true, true }, { IP_PMTUDISC_DO, true, true },
		{ IP_PMTUDISC_PROBE, false, true }, { IP_PMTUDISC_INTERFACE, false, false }, { IP_PMTUDISC_OMIT, false, false },
	};

	for (u32 i = 0; i < ARRAY_SIZE(modes); i++) {
		struct test t = begin(0);

		set_opt(&t, IPPROTO_IP, IP_MTU_DISCOVER, modes[i].mode);
		CHECK_EQ(opt_of(&t, IPPROTO_IP, IP_MTU_DISCOVER), modes[i].mode);
		write_bytes(&t, 1460);
		CHECK_EQ(t.r->out[0].df, modes[i].df);
		icmp(&t.p, 3, 4, 1000, t.p.ack);
		CHECK_EQ(opt_of(&t, IPPROTO_IP, IP_MTU), modes[i].accepts ? 1000 : 1500);
		t.r->nout = 0;
		acked(&t, 1460);
		peer_end(&t.p);
	}
}

/* DO never gives DF up, and says that it does not fit. */
static void do_below_the_floor(void)
{
	struct test t = begin(0);

	set_opt(&t, IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DO);
	write_bytes(&t, 1460);
	icmp(&t.p, 3, 4, 300, t.p.ack);
	CHECK(t.r->out[(t.r->nout - 1) % RIG_OUT].df);
	CHECK_EQ(tcp_soft_error(rig_conn(t.r, t.sk)), EMSGSIZE);
	acked(&t, 1460);
	peer_end(&t.p);
}

static void maxseg(void)
{
	struct test t = begin(0);

	set_opt(&t, IPPROTO_TCP, TCP_MAXSEG, 800);
	write_bytes(&t, 3000);
	CHECK_EQ(longest(t.r), 800);
	CHECK_EQ(opt_of(&t, IPPROTO_TCP, TCP_MAXSEG), 800);
	acked(&t, 3000);
	peer_end(&t.p);
}

/* A path that drops everything above `carries` without a word, until all of n bytes are across. The bytes that arrive. */
static u32 black_hole(struct test *t, u32 carries, u32 n)
{
	u32 first = t->p.ack, seen = 0;

	write_bytes(t, n);
	for (u32 rounds = 0; t->p.ack - first < n && rounds < 3000; rounds++) {
		u32 next = t->p.ack, from = seen;

		for (; seen < t->r->nout; seen++) {
			const struct rig_pkt *p = &t->r->out[seen % RIG_OUT];
			u32 len = p->len - hdr_len(p), seq = from_be32(((const struct tcp_hdr *)p->data)->seq);

			if (p->len + 20 <= carries && seq == next)
				next += len;
			else if (len && from != seen)	/* a hole: a duplicate ACK, as a receiver would send */
				inject(&t->p, TCP_ACK, t->p.seq, next, NULL, 0);
			if (next != t->p.ack)
				acked(t, next - t->p.ack);
		}
		rig_advance(t->r, 100 * MSEC);
	}
	CHECK_EQ(t->p.ack - first, n);
	t->r->nout = 0;
	return t->p.ack - first;
}

static void off_means_off(void)
{
	struct test t = begin(0);

	write_bytes(&t, 1460);
	rig_advance(t.r, 100 * SEC);
	CHECK_EQ(longest(t.r), 1460);
	CHECK_EQ(rig_conn(t.r, t.sk)->h->mtup_low, 0);
	peer_end(&t.p);
}

static void falls_after_three_timeouts_and_climbs_back(void)
{
	struct test t = begin(1);
	struct tcp_conn *c = rig_conn(t.r, t.sk);

	black_hole(&t, 1300, 20000);
	CHECK_EQ(counter_get(&t.r->counters, TCP_MTU_BLACKHOLES), 1);
	CHECK_EQ(c->h->mtup_low, 1064);
	for (u32 i = 0; i < 20; i++)
		black_hole(&t, 1300, 40000);
	CHECK(counter_get(&t.r->counters, TCP_MTU_PROBES) >= 3);
	CHECK(counter_get(&t.r->counters, TCP_MTU_PROBES_LOST) >= 1);
	CHECK(c->h->mtup_low > 1300 - 8 && c->h->mtup_low <= 1300);
	CHECK_EQ(c->packets_out + c->lost_out + c->retrans_out, 0);
	/* A successor need not find out again */
	rig_restart(t.r);
	write_bytes(&t, 3000);
	CHECK(longest(t.r) <= 1260);
	acked(&t, 3000);
	/* The hole is mended: found out by and by */
	rig_advance(t.r, 601 * SEC);
	for (u32 i = 0; i < 20; i++)
		black_hole(&t, 1500, 40000);
	CHECK(rig_conn(t.r, t.sk)->h->mtup_low > 1500 - 8);
	peer_end(&t.p);
}

static void a_narrower_hole_than_the_base(void)
{
	struct test t = begin(1);

	black_hole(&t, 600, 5000);
	CHECK_EQ(rig_conn(t.r, t.sk)->h->mtup_low, 552);
	peer_end(&t.p);
}

/* 2: every connection begins with the base and climbs. */
static void always(void)
{
	struct test t = begin(2);

	write_bytes(&t, 3000);
	CHECK_EQ(longest(t.r), 1024);
	acked(&t, 3000);
	for (u32 i = 0; i < 20; i++)
		black_hole(&t, 1500, 40000);
	CHECK_EQ(counter_get(&t.r->counters, TCP_MTU_PROBES_LOST), 0);
	CHECK_EQ(counter_get(&t.r->counters, TCP_RETRANS_SEGS), 0);
	CHECK(rig_conn(t.r, t.sk)->h->mtup_low > 1500 - 8);
	peer_end(&t.p);
}

UNIT_MAIN(UNIT(sent_again_in_smaller_pieces), UNIT(disbelief), UNIT(tried_again_after_ten_minutes), UNIT(the_route_changes),
	  UNIT(modes), UNIT(do_below_the_floor), UNIT(maxseg), UNIT(off_means_off), UNIT(falls_after_three_timeouts_and_climbs_back),
	  UNIT(a_narrower_hole_than_the_base), UNIT(always))
