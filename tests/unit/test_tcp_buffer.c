/* test_tcp_buffer.c – tcp_buffer.c: windows that follow the reader, send buffers that follow the window, idle rings.
 *
 *      client 10.0.0.1  -- one way takes 5 ms -->  server 10.0.0.2:80, rings as large as the default */
#define RIG_RING (8u << 20)
#define RIG_OUT 8192u
#include "tcp_rig.h"

#include <sys/socket.h>

#define L SK(0, 1)
#define A SK(0, 2)

struct pair { struct rig *c, *s; u32 sk, read; bool write; };	/* read: bytes a round trip */

static u8 bytes[1 << 20];

static u32 cross(struct rig *from, struct rig *to)
{
	u32 n = from->nout;

	REQUIRE(n <= RIG_OUT);
	from->nout = 0;
	for (u32 i = 0; i < n; i++)
		rig_deliver(to, from->out[i].data, from->out[i].len, from->out[i].saddr, from->out[i].daddr, false);
	tcp_flush(&to->t);
	return n;
}

static void both(struct pair *p, u64 ns)
{
	rig_advance(p->c, ns);
	rig_advance(p->s, ns);
}

static void round_trip(struct pair *p)
{
	while (p->write && rig_write(p->c, A, bytes, sizeof(bytes)))
		;
	tcp_flush(&p->c->t);
	both(p, 5 * MSEC);
	cross(p->c, p->s);
	for (u32 n, left = p->read; left && p->sk != NONE; left -= n)
		if (!(n = rig_read(p->s, p->sk, bytes, MIN(left, (u32)sizeof(bytes)))))
			break;
	tcp_flush(&p->s->t);
	both(p, 5 * MSEC);
	cross(p->s, p->c);
}

static void prepare(struct pair *p)
{
	*p = (struct pair){ rig_new(0x0a000001, 1), rig_new(0x0a000002, 2), NONE, UINT32_MAX, false };
	REQUIRE_EQ(tcp_socket(&p->s->t, L, 1, 0), 0);
	REQUIRE_EQ(tcp_bind(&p->s->t, L, (be32){ 0 }, to_be16(80)), 0);
	REQUIRE_EQ(tcp_listen(&p->s->t, L, 8), 0);
	REQUIRE_EQ(tcp_socket(&p->c->t, A, 1, 0), 0);
}

static void open_pair(struct pair *p)
{
	REQUIRE_EQ(tcp_connect(&p->c->t, A, to_be32(0x0a000002), to_be16(80), 1), 0);
	round_trip(p);
	round_trip(p);
	p->sk = (u32)tcp_accept_next(&p->s->t, L);
	REQUIRE(p->sk < SK_MAX);
	tcp_offered(&p->s->t, p->sk);
	tcp_claimed(&p->s->t, p->sk);
}

static void close_pair(struct pair *p)
{
	tcp_abort(&p->c->t, A, ECONNRESET);
	tcp_abort(&p->s->t, p->sk, ECONNRESET);
	tcp_flush(&p->c->t);
	tcp_flush(&p->s->t);
	rig_free(p->c);
	rig_free(p->s);
}

static void set(struct rig *r, u32 sk, int name, int value)
{
	REQUIRE_EQ(tcp_setsockopt(&r->t, sk, SOL_SOCKET, name, &value, sizeof(value)), 0);
}

static u32 get(struct rig *r, u32 sk, int name)
{
	u32 value = 0, len = sizeof(value);

	REQUIRE_EQ(tcp_getsockopt(&r->t, sk, SOL_SOCKET, name, &value, &len), 0);
	return value;
}

static const struct tcp_hdr *first_out(const struct rig *r)
{
	REQUIRE(r->nout > 0);
	return (const struct tcp_hdr *)r->out[0].data;
}

static u32 window(const struct pair *p) { return rig_conn(p->s, p->sk)->rcv_space; }

static void begins_like_linux(void)
{
	struct pair p;

	prepare(&p);
	REQUIRE_EQ(tcp_connect(&p.c->t, A, to_be32(0x0a000002), to_be16(80), 1), 0);
	CHECK_EQ(from_be16(first_out(p.c)->window), 64240);	/* 44 segments of 1460 */
	CHECK_EQ(rig_conn(p.c, A)->h->rcv_wscale, 7);
	tcp_abort(&p.c->t, A, ECONNRESET);
	rig_free(p.c);
	rig_free(p.s);
}

static void the_window_follows_a_reader_that_keeps_up(void)
{
	struct pair p;
	u32 seen = 0;

	prepare(&p);
	open_pair(&p);
	CHECK(window(&p) <= 65535);
	p.write = true;
	for (int i = 0; i < 40; i++) {
		round_trip(&p);
		CHECK(window(&p) >= seen);
		seen = window(&p);
	}
	CHECK_EQ(seen, RIG_RING);
	/* the sender has it, too: no window scale hides it */
	CHECK(load_relaxed(&rig_conn(p.c, A)->h->snd_wnd) > RIG_RING - (1u << 20));
	close_pair(&p);
}

static void a_slow_reader_gets_no_large_window(void)
{
	struct pair p;

	prepare(&p);
	open_pair(&p);
	p.write = true;
	p.read = 10000;
	for (int i = 0; i < 60; i++)
		round_trip(&p);
	CHECK(window(&p) <= 65535);
	CHECK(rcv_unread(rig_conn(p.s, p.sk)) <= 65535);
	close_pair(&p);
}

static void so_rcvbuf_fixes_the_window(void)
{
	struct pair p;

	prepare(&p);
	set(p.s, L, SO_RCVBUF, 40000);
	open_pair(&p);
	CHECK_EQ(get(p.s, p.sk, SO_RCVBUF), 80000);
	CHECK_EQ(rig_conn(p.s, p.sk)->h->rcv_wscale, 0);
	p.write = true;
	for (int i = 0; i < 20; i++) {
		round_trip(&p);
		CHECK(load_relaxed(&rig_conn(p.c, A)->h->snd_wnd) <= 40000);
	}
	CHECK_EQ(window(&p), 40000);
	close_pair(&p);
}

static void a_smaller_so_rcvbuf_takes_nothing_back(void)
{
	struct pair p;
	u64 edge;

	prepare(&p);
	open_pair(&p);
	p.write = true;
	for (int i = 0; i < 20; i++)
		round_trip(&p);
	edge = load_relaxed(&rig_conn(p.s, p.sk)->h->rcv_adv);
	set(p.s, p.sk, SO_RCVBUF, 4000);
	round_trip(&p);
	CHECK(load_relaxed(&rig_conn(p.s, p.sk)->h->rcv_adv) >= edge);
	for (int i = 0; i < 20; i++)
		round_trip(&p);
	CHECK(load_relaxed(&rig_conn(p.c, A)->h->snd_wnd) <= 8000);
	close_pair(&p);
}

static void a_restart_takes_nothing_back(void)
{
	struct pair p;
	u32 before;
	u64 edge;

	prepare(&p);
	open_pair(&p);
	p.write = true;
	for (int i = 0; i < 40; i++)
		round_trip(&p);
	before = window(&p);
	edge = load_relaxed(&rig_conn(p.s, p.sk)->h->rcv_adv);
	rig_restart(p.s);
	CHECK_EQ(window(&p), before);
	round_trip(&p);
	CHECK(load_relaxed(&rig_conn(p.s, p.sk)->h->rcv_adv) >= edge);
	close_pair(&p);
}

static void the_send_buffer_follows_the_window(void)
{
	struct pair p;
	struct tcp_conn *c;

	prepare(&p);
	open_pair(&p);
	c = rig_conn(p.c, A);
	CHECK_EQ(sockbuf_tx_limit(&c->b), 256 << 10);
	p.write = true;
	for (int i = 0; i < 40; i++)
		round_trip(&p);
	CHECK_EQ(sockbuf_tx_limit(&c->b), RIG_RING);
	CHECK(c->cwnd * c->mss > 4u << 20);
	close_pair(&p);
}

static void so_sndbuf_fixes_the_send_buffer(void)
{
	struct pair p;

	prepare(&p);
	set(p.c, A, SO_SNDBUF, 20000);
	open_pair(&p);
	CHECK_EQ(get(p.c, A, SO_SNDBUF), 40000);
	p.write = true;
	for (int i = 0; i < 20; i++)
		round_trip(&p);
	CHECK_EQ(sockbuf_tx_limit(&rig_conn(p.c, A)->b), 20000);
	set(p.c, A, SO_SNDBUF, 1);
	CHECK_EQ(get(p.c, A, SO_SNDBUF), 4608);
	close_pair(&p);
}

static void a_quiet_ring_gives_its_memory_back_once(void)
{
	struct pair p;

	prepare(&p);
	open_pair(&p);
	p.write = true;
	for (int i = 0; i < 300; i++)	/* three seconds, busy */
		round_trip(&p);
	CHECK_EQ(p.s->trimmed, 0);
	p.write = false;
	for (int i = 0; i < 20; i++)
		round_trip(&p);
	REQUIRE_EQ(rcv_unread(rig_conn(p.s, p.sk)), 0);
	both(&p, 10 * SEC);
	CHECK_EQ(p.s->trimmed, 1);
	both(&p, 100 * SEC);
	CHECK_EQ(p.s->trimmed, 1);
	close_pair(&p);
}

static void a_ring_with_unread_bytes_is_left_alone(void)
{
	struct pair p;

	prepare(&p);
	open_pair(&p);
	p.write = true;
	for (int i = 0; i < 40; i++)
		round_trip(&p);
	p.read = 0;
	p.write = false;
	for (int i = 0; i < 20; i++)
		round_trip(&p);
	REQUIRE(rcv_unread(rig_conn(p.s, p.sk)) > 0);
	both(&p, 10 * SEC);
	CHECK_EQ(p.s->trimmed, 0);
	close_pair(&p);
}

UNIT_MAIN(UNIT(begins_like_linux), UNIT(the_window_follows_a_reader_that_keeps_up),
	  UNIT(a_slow_reader_gets_no_large_window), UNIT(so_rcvbuf_fixes_the_window), UNIT(a_smaller_so_rcvbuf_takes_nothing_back),
	  UNIT(a_restart_takes_nothing_back), UNIT(the_send_buffer_follows_the_window), UNIT(so_sndbuf_fixes_the_send_buffer),
	  UNIT(a_quiet_ring_gives_its_memory_back_once), UNIT(a_ring_with_unread_bytes_is_left_alone))
