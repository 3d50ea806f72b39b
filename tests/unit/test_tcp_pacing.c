/* test_tcp_pacing.c – tcp_pacing.c, tcp_rate.c and the choice of bbr: rates asked for, kept, measured and told.
 *
 *      client 10.0.0.1  <-- wire, crossed each way every `every` ms -->  server 10.0.0.2:80 */
#include "tcp_rig.h"

#include <linux/inet_diag.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <sys/socket.h>

#define L SK(0, 1)
#define A SK(0, 2)

struct pair { struct rig *c, *s; u32 sk, every, ms; u64 rate; };

static void cross(struct rig *from, struct rig *to)
{
	u32 n = from->nout;

	REQUIRE(n <= RIG_OUT);
	from->nout = 0;
	for (u32 i = 0; i < n; i++) {
		struct rig_pkt *p = &from->out[i % RIG_OUT];

		rig_deliver(to, p->data, p->len, p->saddr, p->daddr, true);
	}
	tcp_flush(&to->t);
}

static void millisecond(struct pair *p)
{
	u8 b[8192];

	if (p->ms % p->every == 0)
		cross(p->c, p->s);
	if (p->ms++ % p->every == p->every / 2)
		cross(p->s, p->c);
	rig_advance(p->c, MSEC);
	rig_advance(p->s, MSEC);
	while (p->sk != NONE && rig_read(p->s, p->sk, b, sizeof(b)))
		;
	tcp_flush(&p->s->t);
}

static void open_pair(struct pair *p, const char *cong, const char *listener_cong)
{
	s64 sk;

	*p = (struct pair){ rig_new(0x0a000001, 1), rig_new(0x0a000002, 2), NONE, 1, 0, 0 };
	REQUIRE_EQ(tcp_socket(&p->s->t, L, 1, 0), 0);
	REQUIRE_EQ(tcp_setsockopt(&p->s->t, L, IPPROTO_TCP, TCP_CONGESTION, listener_cong, (u32)strlen(listener_cong)), 0);
	REQUIRE_EQ(tcp_bind(&p->s->t, L, (be32){ 0 }, to_be16(80)), 0);
	REQUIRE_EQ(tcp_listen(&p->s->t, L, 8), 0);
	REQUIRE_EQ(tcp_socket(&p->c->t, A, 1, 0), 0);
	REQUIRE_EQ(tcp_setsockopt(&p->c->t, A, IPPROTO_TCP, TCP_CONGESTION, cong, (u32)strlen(cong)), 0);
	REQUIRE_EQ(tcp_connect(&p->c->t, A, to_be32(0x0a000002), to_be16(80), 1), 0);
	for (int i = 0; i < 5; i++)
		millisecond(p);
	sk = tcp_accept_next(&p->s->t, L);
	REQUIRE(sk >= 0);
	p->sk = (u32)sk;
	tcp_offered(&p->s->t, p->sk);
	tcp_claimed(&p->s->t, p->sk);
}

static void close_pair(struct pair *p)
{
	tcp_orphan(&p->c->t, A);
	tcp_orphan(&p->s->t, p->sk);
	for (int i = 0; i < 100; i++)
		millisecond(p);
	rig_free(p->c);
	rig_free(p->s);
}

static struct tcp_info info(struct pair *p)
{
	struct tcp_info i = { 0 };
	u32 len = sizeof(i);

	CHECK_EQ(tcp_getsockopt(&p->c->t, A, IPPROTO_TCP, TCP_INFO, &i, &len), 0);
	return i;
}

/* Milliseconds until `bytes` are acknowledged; *ret_most: the most bytes that left in one of them. p->rate: delivery rate on the way. */
static u32 push(struct pair *p, u64 bytes, u64 *ret_most)
{
	static const u8 data[4096];
	struct tcp_conn *c = rig_conn(p->c, A);
	u64 end = c->write_seq + bytes, wrote = c->write_seq, was = c->bytes_out;
	u32 ms = 0;

	*ret_most = 0;
	for (; before(snd_una(c), end) && ms < 20000; ms++) {
		while (before(wrote, end)) {
			u32 n = rig_write(p->c, A, data, (u32)MIN(end - wrote, sizeof(data)));

			if (!n)
				break;
			wrote += n;
		}
		tcp_flush(&p->c->t);
		millisecond(p);
		*ret_most = MAX(*ret_most, c->bytes_out - was);
		was = c->bytes_out;
		if (before(snd_una(c), end - bytes / 4))
			p->rate = info(p).tcpi_delivery_rate;
	}
	return ms;
}

static void max_rate_is_kept_and_measured(void)
{
	u64 rate = 1000000, back = 0, most;
	u32 len = sizeof(back), ms;
	struct tcp_info i;
	struct pair p;

	open_pair(&p, "reno", "reno");
	CHECK_EQ(tcp_setsockopt(&p.c->t, A, SOL_SOCKET, SO_MAX_PACING_RATE, &rate, sizeof(rate)), 0);
	CHECK_EQ(tcp_getsockopt(&p.c->t, A, SOL_SOCKET, SO_MAX_PACING_RATE, &back, &len), 0);
	CHECK_EQ(back, rate);
	p.every = 10;
	ms = push(&p, 500000, &most);
	CHECK(ms >= 490 && ms <= 560);
	CHECK(most <= 5 * 1448);		/* quanta, not windows */
	i = info(&p);
	CHECK(i.tcpi_pacing_rate == rate && i.tcpi_max_pacing_rate == rate);
	CHECK(p.rate > 850000 && p.rate < 1150000);
	/* 32 bits, and all ones: no limit any more */
	u32 none = UINT32_MAX;
	CHECK_EQ(tcp_setsockopt(&p.c->t, A, SOL_SOCKET, SO_MAX_PACING_RATE, &none, sizeof(none)), 0);
	CHECK(!rig_conn(p.c, A)->paced);
	p.every = 1;
	CHECK(push(&p, 500000, &most) < 100);
	close_pair(&p);
}

static void slow_rate_is_no_closed_window(void)
{
	u32 rate = 2000;	/* a segment takes longer than the persist timer */
	struct pair p;
	u64 most;

	open_pair(&p, "cubic", "cubic");
	CHECK_EQ(tcp_setsockopt(&p.c->t, A, SOL_SOCKET, SO_MAX_PACING_RATE, &rate, sizeof(rate)), 0);
	u32 ms = push(&p, 15000, &most);
	CHECK(ms >= 6000 && ms <= 8500);
	CHECK_EQ(counter_get(&p.c->counters, TCP_RETRANS_SEGS), 0);
	close_pair(&p);
}

static void nobody_else_has_a_timer(void)
{
	struct pair p;
	u64 most;

	open_pair(&p, "cubic", "cubic");
	CHECK(push(&p, 300000, &most) < 100);
	CHECK(!rig_conn(p.c, A)->paced && !rig_conn(p.c, A)->pace_next);
	CHECK(info(&p).tcpi_pacing_rate != UINT64_MAX);		/* told, not used */
	close_pair(&p);
}

/* Bytes that come slower than the path takes them measure the application, and are marked so. */
static void slow_application_is_no_slow_path(void)
{
	struct pair p;
	u64 most;

	open_pair(&p, "cubic", "cubic");
	push(&p, 300000, &most);
	u64 fast = info(&p).tcpi_delivery_rate;

	for (int i = 0; i < 20; i++)
		push(&p, 100, &most);
	CHECK_EQ(info(&p).tcpi_delivery_rate, fast);
	close_pair(&p);
}

static void bbr_is_chosen_and_told(void)
{
	struct tcp_bbr_info i = { 0 };
	u32 len = sizeof(i), n = 16;
	struct pair p;
	char name[16];
	u64 most;

	open_pair(&p, "reno", "bbr");
	CHECK_EQ(tcp_getsockopt(&p.s->t, p.sk, IPPROTO_TCP, TCP_CONGESTION, name, &n), 0);
	CHECK_STR(name, "bbr");		/* inherited from the listener */
	CHECK_EQ(tcp_getsockopt(&p.c->t, A, IPPROTO_TCP, TCP_CC_INFO, &i, &len), 0);
	CHECK_EQ(len, 0);		/* reno has nothing to say */
	CHECK_EQ(tcp_setsockopt(&p.c->t, A, IPPROTO_TCP, TCP_CONGESTION, "bbr", 3), 0);	/* in the middle of a connection */
	push(&p, 400000, &most);
	len = sizeof(i);
	CHECK_EQ(tcp_getsockopt(&p.c->t, A, IPPROTO_TCP, TCP_CC_INFO, &i, &len), 0);
	CHECK_EQ(len, sizeof(i));
	CHECK(i.bbr_min_rtt <= 2000 && i.bbr_bw_lo > 100000 && i.bbr_pacing_gain && i.bbr_cwnd_gain >= 256);
	CHECK(rig_conn(p.c, A)->paced);
	rig_restart(p.c);		/* all of it is soft: it finds its rate again */
	CHECK(push(&p, 400000, &most) < 3000);
	CHECK(rig_conn(p.c, A)->paced);
	close_pair(&p);
}

UNIT_MAIN(UNIT(max_rate_is_kept_and_measured), UNIT(slow_rate_is_no_closed_window), UNIT(nobody_else_has_a_timer),
	  UNIT(slow_application_is_no_slow_path), UNIT(bbr_is_chosen_and_told))
