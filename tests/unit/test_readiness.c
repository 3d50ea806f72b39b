/* test_readiness.c – tokens, plugs, shutdowns and offers over a real pair, one step at a time. */
#include <sys/socket.h>
#include <poll.h>
#include <unistd.h>

#include "common/readiness.h"
#include "tests/unit/unit.h"

#define RING 4096u

static struct sk_stack sw;
static struct sk_client cw;
static u8 rx_ring[RING], tx_ring[RING];
static struct sk_errq eq;
static struct sockbuf b = { &sw, &cw, &eq, rx_ring, tx_ring, RING, RING };
static struct ready r;
static int near;

static void fresh(void)
{
	int pair[2], small = 0;

	memset(&sw, 0, sizeof(sw));
	memset(&cw, 0, sizeof(cw));
	/* offsets begin shortly before 32 bits are full */
	sw.rx_head = cw.rx_tail = sw.tx_tail = cw.tx_head = 0xfffffff0ull;
	sw.state = SKS_CONNECTED;
	sw.nonce = 77;
	cw.arm = 1;
	REQUIRE(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
	near = pair[0];
	setsockopt(near, SOL_SOCKET, SO_SNDBUF, &small, sizeof(small));
	ready_attach(&r, &b, pair[1]);
}

static void done(void)
{
	close(near);
	close(r.far);
}

static short shown(void)
{
	struct pollfd p = { near, POLLIN | POLLOUT | POLLRDHUP, 0 };

	return poll(&p, 1, 0) < 0 ? -1 : p.revents;
}

static int tokens(void)
{
	char junk[64];
	ssize_t n = recv(near, junk, sizeof(junk), MSG_DONTWAIT | MSG_PEEK);

	return n < 0 ? 0 : (int)n;
}

static void plug(u64 nonce)
{
	u8 buf[PLUG_BYTES] = { 0 };
	struct plug p = { PLUG_MAGIC, nonce };

	memcpy(buf, &p, sizeof(p));
	CHECK_EQ(send(near, buf, sizeof(buf), MSG_DONTWAIT), PLUG_BYTES);
}

static void one_token_per_arm(void)
{
	fresh();
	CHECK_EQ(shown(), POLLOUT);
	sw.rx_head += 10;
	ready_data(&r, &b);
	CHECK_EQ(tokens(), 1);
	sw.rx_head += 10;
	ready_data(&r, &b);		/* not armed again: no second one */
	CHECK_EQ(tokens(), 1);
	cw.arm++;
	ready_data(&r, &b);		/* a reader stopped short: the next bytes are told */
	CHECK_EQ(tokens(), 2);
	CHECK_EQ(sw.sent, 2);
	CHECK_EQ(sw.tok, cw.arm);
	done();
}

static void kick_looks_again(void)
{
	char junk[8];

	fresh();
	ready_kick(&r, &b);
	CHECK_EQ(tokens(), 0);	/* nothing to tell */
	sw.rx_head += 10;
	ready_data(&r, &b);
	CHECK_EQ(recv(near, junk, 8, 0), 1);	/* a reader drained it and died before it armed */
	ready_kick(&r, &b);
	CHECK_EQ(tokens(), 1);
	ready_kick(&r, &b);
	CHECK_EQ(tokens(), 1);	/* one is in flight */
	done();
}

static void plug_until_a_third_is_free(void)
{
	fresh();
	cw.tx_head += RING;
	plug(77);
	CHECK_EQ(shown() & POLLOUT, 0);
	CHECK_EQ(ready_input(&r, &b), READY_PLUG);
	sw.tx_tail += RING / 4;
	ready_space(&r, &b);
	CHECK_EQ(shown() & POLLOUT, 0);
	sw.tx_tail += RING / 8;
	ready_space(&r, &b);
	CHECK_EQ(shown() & POLLOUT, POLLOUT);
	CHECK(!r.plugged);
	CHECK_EQ(ready_input(&r, &b), READY_NOTHING);
	done();
}

static void foreign_bytes(void)
{
	fresh();
	CHECK_EQ(send(near, "GET / HTTP/1.0\r\n\r\n", 18, 0), 18);
	CHECK_EQ(ready_input(&r, &b), READY_FOREIGN);
	done();
	fresh();
	plug(78);			/* of another socket */
	CHECK_EQ(ready_input(&r, &b), READY_FOREIGN);
	done();
}

static void hostile_words(void)
{
	fresh();
	plug(77);
	cw.tx_head = 1;			/* far behind tx_tail */
	cw.rx_tail = ~0ull;
	CHECK_EQ(ready_input(&r, &b), READY_PLUG);
	ready_kick(&r, &b);
	ready_data(&r, &b);
	CHECK(r.plugged);	/* no opinion: tcpd resets it */
	done();
}

static void connect_is_out(void)
{
	fresh();
	sw.state = SKS_CONNECTING;
	plug(0);
	CHECK_EQ(ready_input(&r, &b), READY_PLUG);
	CHECK_EQ(shown() & POLLOUT, 0);
	sw.state = SKS_CONNECTED;
	ready_state(&r, &b);
	CHECK_EQ(shown(), POLLOUT);
	done();
	fresh();
	sw.state = SKS_CONNECTING;
	plug(0);
	ready_input(&r, &b);
	sw.err = ECONNREFUSED;
	sw.state = SKS_FAILED;
	ready_state(&r, &b);
	CHECK_EQ(shown(), POLLIN | POLLOUT);	/* and no HUP, which could not be taken back */
	done();
}

/* Fast Open: there is OUT until the first bytes are written, and again when it is connected. */
static void deferred_is_out_until_bytes_come(void)
{
	fresh();
	sw.state = SKS_DEFERRED;
	plug(0);				/* of the connect() that said yes */
	CHECK_EQ(ready_input(&r, &b), READY_PLUG);
	ready_state(&r, &b);
	CHECK_EQ(shown(), POLLOUT);
	cw.tx_head = sw.tx_tail + 10;
	plug(0);
	CHECK_EQ(ready_input(&r, &b), READY_PLUG);
	ready_kick(&r, &b);
	CHECK_EQ(shown() & POLLOUT, 0);
	ready_attach(&r, &b, r.far);		/* a successor finds it so */
	CHECK_EQ(shown() & POLLOUT, 0);
	sw.state = SKS_CONNECTING;
	ready_kick(&r, &b);
	CHECK_EQ(shown() & POLLOUT, 0);
	sw.state = SKS_CONNECTED;
	ready_state(&r, &b);
	CHECK_EQ(shown() & POLLOUT, POLLOUT);
	done();
}

static void ends(void)
{
	fresh();
	sw.fin = sw.rx_head + 10 + 1;
	ready_data(&r, &b);
	CHECK_EQ(shown() & POLLRDHUP, 0);	/* bytes before it are still to come */
	sw.rx_head += 11;
	ready_data(&r, &b);
	CHECK_EQ(shown() & (POLLRDHUP | POLLHUP), POLLRDHUP);
	CHECK(tokens() > 1);		/* and the anchor */
	sw.err = ECONNRESET;
	sw.state = SKS_CLOSED;
	ready_state(&r, &b);
	CHECK_EQ(shown() & POLLHUP, POLLHUP);
	done();
}

/* HUP on the far end of a connection that is over: our own shutdown, or the last copy of the descriptor? */
static void anchored(void)
{
	struct pollfd p = { .events = POLLRDHUP };
	int copy;

	fresh();
	sw.err = ECONNRESET;
	sw.state = SKS_CLOSED;
	ready_state(&r, &b);
	p.fd = r.far;
	REQUIRE_EQ(poll(&p, 1, 0), 1);
	CHECK(p.revents & POLLHUP);
	CHECK(!ready_gone(&r));
	ready_attach(&r, &b, r.far);	/* a successor sees the same */
	CHECK(!ready_gone(&r));
	CHECK_EQ(ready_input(&r, &b), READY_NOTHING);
	copy = dup(near);
	close(near);
	CHECK(!ready_gone(&r));
	close(copy);
	CHECK(ready_gone(&r));
	ready_attach(&r, &b, r.far);	/* also one that was not there when it happened */
	CHECK(ready_gone(&r));
	close(r.far);
	fresh();			/* the other way: it hangs up before the connection is over */
	close(near);
	CHECK(ready_gone(&r));
	sw.state = SKS_CLOSED;
	ready_state(&r, &b);
	CHECK(ready_gone(&r));
	close(r.far);
}

/* A successor knows nothing but the words and the pair. */
static void successor(void)
{
	struct ready old;

	fresh();
	cw.tx_head += RING;
	plug(77);
	sw.rx_head += 5;
	sw.tok = cw.arm;		/* died after storing it, or before sending: who knows */
	old = r;
	ready_attach(&r, &b, old.far);
	CHECK(r.plugged);
	CHECK_EQ(tokens(), 1);
	sw.fin = sw.rx_head + 1;
	sw.rx_head++;
	ready_attach(&r, &b, old.far);
	ready_attach(&r, &b, old.far);	/* as often as it likes */
	CHECK_EQ(shown() & POLLRDHUP, POLLRDHUP);
	done();
}

static void offers(void)
{
	struct accept_offer o = { .sk = 300, .gen = 3, .nonce = 9 }, got;
	u32 n = 0;

	fresh();
	sw.state = SKS_LISTEN;
	while (ready_offer_room(&r)) {
		REQUIRE_EQ(ready_offer(&r, &o, near), 0);
		n++;
	}
	CHECK(n >= 64 && n <= READY_OFFERS);
	CHECK_EQ(recv(near, &got, sizeof(got), 0), (ssize_t)sizeof(got));
	CHECK_EQ(memcmp(&got, &o, sizeof(o)), 0);
	CHECK(ready_offer_room(&r));
	shutdown(near, SHUT_RDWR);
	CHECK_EQ(ready_offer(&r, &o, near), -EPIPE);
	done();
}

/* While a holder takes the tokens away, and once the pair carries the stream: no token, no anchor, nothing thrown away. */
static void quiet_and_plain(void)
{
	char got[8];

	fresh();
	sw.plain = PLAIN_QUIET | 1 << 8;
	sw.rx_head += 10;
	ready_data(&r, &b);
	ready_kick(&r, &b);
	CHECK_EQ(tokens(), 0);
	sw.fin = sw.rx_head + 1;
	ready_data(&r, &b);
	CHECK_EQ(tokens(), 0);
	CHECK_EQ(shown() & POLLRDHUP, 0);	/* or nothing could follow */
	sw.plain = 1 << 8;		/* taken back */
	ready_kick(&r, &b);
	CHECK(tokens() > 1);		/* the token and the anchor */
	CHECK(shown() & POLLRDHUP);
	done();
	fresh();
	sw.plain = PLAIN_TX | PLAIN_RX;
	sw.rx_head += 10;
	CHECK_EQ(send(near, "bytes", 5, 0), 5);
	ready_attach(&r, &b, r.far);
	ready_data(&r, &b);
	CHECK_EQ(tokens(), 0);
	CHECK_EQ(recv(r.far, got, sizeof(got), MSG_DONTWAIT), 5);
	done();
}

UNIT_MAIN(UNIT(one_token_per_arm), UNIT(kick_looks_again), UNIT(plug_until_a_third_is_free), UNIT(foreign_bytes),
	  UNIT(hostile_words), UNIT(connect_is_out), UNIT(deferred_is_out_until_bytes_come), UNIT(ends), UNIT(anchored), UNIT(successor), UNIT(offers),
	  UNIT(quiet_and_plain))
