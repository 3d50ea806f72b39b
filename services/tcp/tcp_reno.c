/* tcp_reno.c – NewReno's window (RFC 5681) and what all congestion controls share; the list of them. */
#include "services/tcp/path.h"

/* RFC 5681 3.1: one segment for every segment acknowledged, up to ssthresh. Returns what is left of `acked`. */
u32 tcp_slow_start(struct tcp_conn *c, u32 acked)
{
	u32 cwnd = MIN(c->cwnd + acked, c->ssthresh);

	acked -= cwnd - c->cwnd;
	c->cwnd = cwnd;
	return acked;
}

/* One segment for every w acknowledged. */
void tcp_cong_avoid_ai(struct tcp_conn *c, u32 w, u32 acked)
{
	w = MAX(w, 1u);
	if (c->cwnd_cnt >= w) {
		c->cwnd_cnt = 0;
		c->cwnd++;
	}
	c->cwnd_cnt += acked;
	if (c->cwnd_cnt >= w) {
		c->cwnd += c->cwnd_cnt / w;
		c->cwnd_cnt %= w;
	}
}

u32 tcp_reno_undo_cwnd(struct tcp_conn *c) { return MAX(c->cwnd, c->prior_cwnd); }

/* Half the window; of an odd one the half segment is kept for when the repair is over: in small windows it is much. */
static u32 reno_ssthresh(struct tcp_conn *c)
{
	c->cong[0] = c->cwnd & 1;
	return MAX(c->cwnd / 2, 2u);
}

static void reno_cong_avoid(struct tcp_conn *c, u32 acked)
{
	if (c->cwnd < c->ssthresh) {
		acked = tcp_slow_start(c, acked);
		if (!acked)
			return;
	}
	if (c->cong[0]) {
		c->cong[0] = 0;
		c->cwnd_cnt = c->cwnd / 2;
	}
	tcp_cong_avoid_ai(c, c->cwnd, acked);
}

const struct tcp_congestion_ops tcp_reno = {
	.name = "reno", .ssthresh = reno_ssthresh, .cong_avoid = reno_cong_avoid, .undo_cwnd = tcp_reno_undo_cwnd,
};

const struct tcp_congestion_ops *const tcp_cong_list[] = { &tcp_cubic, &tcp_reno, &tcp_bbr, NULL };

int tcp_cong_find(const char *name, size_t len)
{
	for (int i = 0; tcp_cong_list[i]; i++)
		if (strlen(tcp_cong_list[i]->name) == len && !memcmp(tcp_cong_list[i]->name, name, len))
			return i;
	return -ENOENT;
}
