/* parse_call.c – "c = accept(s) blocks .1", "send(c, 1000, MSG_MORE) = EPIPE", "info(c): cwnd = 10, unacked < 4".
 *
 * Called by parse.c for every line without an arrow. */
#include "script.h"

#include <linux/errqueue.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>

static const struct { const char *name; enum op op; } calls[] = {
	{ "socket", OP_SOCKET }, { "bind", OP_BIND }, { "listen", OP_LISTEN }, { "accept", OP_ACCEPT }, { "connect", OP_CONNECT },
	{ "disconnect", OP_DISCONNECT }, { "send", OP_SEND }, { "recv", OP_RECV }, { "shutdown", OP_SHUTDOWN }, { "close", OP_CLOSE },
	{ "setsockopt", OP_SETSOCKOPT }, { "getsockopt", OP_GETSOCKOPT }, { "poll", OP_POLL }, { "edge", OP_EDGE }, { "info", OP_INFO },
	{ "inq", OP_INQ }, { "outq", OP_OUTQ },
};

#define E(name) { #name, name }
static const struct { const char *name; int value; } errnos[] = {
	E(EAGAIN), E(EINTR), E(EINPROGRESS), E(EALREADY), E(EISCONN), E(ENOTCONN), E(ECONNREFUSED), E(ECONNRESET), E(ECONNABORTED), E(EPIPE),
	E(ETIMEDOUT), E(EHOSTUNREACH), E(ENETUNREACH), E(EADDRINUSE), E(EADDRNOTAVAIL), E(EINVAL), E(EFAULT), E(EBADF), E(EMSGSIZE),
	E(ENOPROTOOPT), E(EOPNOTSUPP), E(EDESTADDRREQ), E(EPROTO), E(ENOBUFS), E(EACCES), E(EPERM), E(ENOENT), E(EAFNOSUPPORT), E(EDOM),
};

static const struct { const char *name; int level, value; } options[] = {
	{ "SO_ERROR", SOL_SOCKET, SO_ERROR }, { "SO_REUSEADDR", SOL_SOCKET, SO_REUSEADDR }, { "SO_KEEPALIVE", SOL_SOCKET, SO_KEEPALIVE },
	{ "SO_LINGER", SOL_SOCKET, SO_LINGER }, { "SO_RCVBUF", SOL_SOCKET, SO_RCVBUF }, { "SO_SNDBUF", SOL_SOCKET, SO_SNDBUF },
	{ "SO_RCVLOWAT", SOL_SOCKET, SO_RCVLOWAT }, { "SO_OOBINLINE", SOL_SOCKET, SO_OOBINLINE }, { "SO_ACCEPTCONN", SOL_SOCKET, SO_ACCEPTCONN },
	{ "SO_RCVTIMEO", SOL_SOCKET, SO_RCVTIMEO }, { "SO_SNDTIMEO", SOL_SOCKET, SO_SNDTIMEO }, { "SO_TYPE", SOL_SOCKET, SO_TYPE },
	{ "SO_MAX_PACING_RATE", SOL_SOCKET, SO_MAX_PACING_RATE },
	{ "TCP_NODELAY", IPPROTO_TCP, TCP_NODELAY }, { "TCP_CORK", IPPROTO_TCP, TCP_CORK }, { "TCP_MAXSEG", IPPROTO_TCP, TCP_MAXSEG },
	{ "TCP_QUICKACK", IPPROTO_TCP, TCP_QUICKACK }, { "TCP_KEEPIDLE", IPPROTO_TCP, TCP_KEEPIDLE }, { "TCP_KEEPINTVL", IPPROTO_TCP, TCP_KEEPINTVL },
	{ "TCP_KEEPCNT", IPPROTO_TCP, TCP_KEEPCNT }, { "TCP_SYNCNT", IPPROTO_TCP, TCP_SYNCNT }, { "TCP_LINGER2", IPPROTO_TCP, TCP_LINGER2 },
	{ "TCP_DEFER_ACCEPT", IPPROTO_TCP, TCP_DEFER_ACCEPT }, { "TCP_WINDOW_CLAMP", IPPROTO_TCP, TCP_WINDOW_CLAMP },
	{ "TCP_USER_TIMEOUT", IPPROTO_TCP, TCP_USER_TIMEOUT }, { "TCP_NOTSENT_LOWAT", IPPROTO_TCP, TCP_NOTSENT_LOWAT },
	{ "TCP_CONGESTION", IPPROTO_TCP, TCP_CONGESTION }, { "TCP_FASTOPEN", IPPROTO_TCP, TCP_FASTOPEN },
	{ "TCP_FASTOPEN_CONNECT", IPPROTO_TCP, TCP_FASTOPEN_CONNECT }, { "TCP_FASTOPEN_NO_COOKIE", IPPROTO_TCP, TCP_FASTOPEN_NO_COOKIE },
	{ "IP_TOS", IPPROTO_IP, IP_TOS }, { "IP_TTL", IPPROTO_IP, IP_TTL }, { "IP_MTU", IPPROTO_IP, IP_MTU }, { "IP_MINTTL", IPPROTO_IP, IP_MINTTL },
	{ "IP_MTU_DISCOVER", IPPROTO_IP, IP_MTU_DISCOVER }, { "IP_RECVERR", IPPROTO_IP, IP_RECVERR },
};

static const struct { const char *name; int value; } numbers[] = {
	{ "MSG_MORE", MSG_MORE }, { "MSG_PEEK", MSG_PEEK }, { "MSG_OOB", MSG_OOB }, { "MSG_TRUNC", MSG_TRUNC }, { "MSG_WAITALL", MSG_WAITALL },
	{ "MSG_FASTOPEN", MSG_FASTOPEN }, { "MSG_ERRQUEUE", MSG_ERRQUEUE }, { "RD", SHUT_RD }, { "WR", SHUT_WR }, { "RDWR", SHUT_RDWR },
};

const char *errno_name(s64 result)
{
	for (u32 i = 0; i < ARRAY_SIZE(errnos); i++)
		if (result == -errnos[i].value)
			return errnos[i].name;
	return NULL;
}

static int socket_named(struct script *s, const char *name, bool make)
{
	for (u32 i = 0; i < s->nsocks; i++)
		if (!strcmp(s->sock[i], name))
			return (int)i;
	if (!make || s->nsocks == MAX_SOCKS || !name[0])
		return -1;
	snprintf(s->sock[s->nsocks], sizeof(s->sock[0]), "%s", name);
	return (int)s->nsocks++;
}

static bool take_number(struct words *w, s64 *ret)
{
	if (word_number(w, ret))
		return true;
	for (u32 i = 0; i < ARRAY_SIZE(numbers); i++)
		if (word_is(w, numbers[i].name)) {
			*ret = numbers[i].value;
			return true;
		}
	return false;
}

static bool take_option_name(struct words *w, struct call *c)
{
	const char *name = word_next(w);

	for (u32 i = 0; i < ARRAY_SIZE(options); i++)
		if (!strcmp(options[i].name, name)) {
			c->level = options[i].level;
			c->name = options[i].value;
			return true;
		}
	return false;
}

/* What stands between the brackets after the socket. */
static bool take_arguments(struct words *w, struct call *c)
{
	s64 n = 0;

	if (c->op == OP_SETSOCKOPT || c->op == OP_GETSOCKOPT)
		if (!word_is(w, ",") || !take_option_name(w, c))
			return false;
	if (word_is(w, ",") && word_is(w, "bad")) {
		c->bad_pointer = true;
	} else if (w->w[w->at - 1][0] == ',') {
		if (c->name == TCP_CONGESTION && c->level == IPPROTO_TCP) {
			snprintf(c->text, sizeof(c->text), "%s", word_next(w));
			return true;
		}
		if (!take_number(w, &n))
			return false;
		c->n = (u32)n;
		c->val[0] = (s32)n;
		c->nval = 1;
	}
	if (c->op == OP_SETSOCKOPT && take_number(w, &n)) {	/* SO_LINGER, 1 5 */
		c->val[1] = (s32)n;
		c->nval = 2;
	}
	while (word_is(w, ",") || word_is(w, "|")) {
		if (word_is(w, "bad"))
			c->bad_pointer = true;
		else if (take_number(w, &n))
			c->flags |= (int)n;
		else
			return false;
	}
	return true;
}

static bool take_ready(struct words *w, s64 *ret)
{
	*ret = 0;
	if (word_is(w, "none"))
		return true;
	do {
		const char *name = word_next(w);
		u32 i = 0;

		while (ready_names[i].name && strcmp(ready_names[i].name, name))
			i++;
		if (!ready_names[i].name)
			return false;
		*ret |= ready_names[i].bit;
	} while (word_is(w, "|"));
	return true;
}

static bool take_result(struct words *w, struct call *c)
{
	if (c->op == OP_POLL || c->op == OP_EDGE)
		return take_ready(w, &c->result);
	if (word_is(w, "any"))
		return c->any = true;
	for (u32 i = 0; i < ARRAY_SIZE(errnos); i++)
		if (word_is(w, errnos[i].name)) {
			c->result = c->name == SO_ERROR && c->level == SOL_SOCKET && !c->bad_pointer ? errnos[i].value : -errnos[i].value;
			return true;
		}
	if (c->op == OP_GETSOCKOPT && c->name == TCP_CONGESTION && c->level == IPPROTO_TCP) {
		snprintf(c->text, sizeof(c->text), "%s", word_next(w));
		return true;
	}
	return word_number(w, &c->result);
}

static bool take_check(struct words *w, struct check *k)
{
	int f = info_field(word_next(w));

	if (f < 0)
		return false;
	k->field = (u16)f;
	if (word_is(w, "<"))
		k->cmp = word_is(w, "=") ? C_LE : C_LT;
	else if (word_is(w, ">"))
		k->cmp = word_is(w, "=") ? C_GE : C_GT;
	else if (word_is(w, "!") && word_is(w, "="))
		k->cmp = C_NE;
	else if (word_is(w, "="))
		k->cmp = C_EQ;
	else
		return false;
	return word_number(w, &k->value) || info_word(word_next(w), &k->value);
}

static bool take_end(struct words *w, struct call *c)
{
	if (word_is(w, ":"))
		do {
			if (c->nchecks == MAX_CHECKS || !take_check(w, &c->checks[c->nchecks++]))
				return false;
		} while (word_is(w, ","));
	else if (word_is(w, "=") && !take_result(w, c))
		return false;
	if (word_is(w, "blocks")) {
		c->blocks = true;
		return parse_time(word_next(w), &c->lo, &c->hi);
	}
	return true;
}

/* [socket =] call(arguments) [= result, or : fields] [blocks time] */
bool parse_call(struct script *s, struct words *w, struct call *c)
{
	const char *name = word_next(w), *target = NULL;
	u32 i = 0;

	*c = (struct call){ .s = -1, .ret = -1 };
	if (word_is(w, "=")) {
		target = name;
		name = word_next(w);
	}
	while (i < ARRAY_SIZE(calls) && strcmp(calls[i].name, name))
		i++;
	if (i == ARRAY_SIZE(calls) || !word_is(w, "("))
		return false;
	c->op = calls[i].op;
	if (c->op != OP_SOCKET) {
		c->s = (s8)socket_named(s, word_next(w), false);
		if (c->s < 0 || !take_arguments(w, c))
			return false;
	}
	if (!word_is(w, ")"))
		return false;
	if (target && (c->op == OP_SOCKET || c->op == OP_ACCEPT))
		c->ret = (s8)socket_named(s, target, true);
	if ((c->op == OP_SOCKET && c->ret < 0) || (target && c->ret < 0))
		return false;
	c->result = c->op == OP_SEND || c->op == OP_RECV ? c->n : 0;
	return take_end(w, c);
}
