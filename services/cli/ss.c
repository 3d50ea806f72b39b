/* ss.c – strata ss: connections, from tcpd's blocks (proto/shm/tcb.h) and sockd's slots (who made them).
 *
 * The blocks are read while tcpd writes them: a row is copied, and left out when its slot changed meanwhile. */
#include "strata.h"

#include <getopt.h>

static const char help[] =
	"usage: strata ss [-l] [-a] [-n] [-p] [-i]\n\n"
	"Without options: listening sockets and connections.\n"
	"  -l  only listening sockets        -a  also TIME-WAIT, half-open and unconnected ones\n"
	"  -p  whose they are                -i  what TCP knows about them (at the end, or --info)\n"
	"  -n  numbers; always so\n"
	"  -t, -4  TCP over IPv4; always so  -H  no header line\n";

struct show { bool listening, all, people, info, header; };

static const char *const states[] = {
	[TCPS_ESTABLISHED] = "ESTAB", [TCPS_SYN_SENT] = "SYN-SENT",   [TCPS_SYN_RECV] = "SYN-RECV",
	[TCPS_FIN_WAIT1] = "FIN-WAIT-1", [TCPS_FIN_WAIT2] = "FIN-WAIT-2", [TCPS_TIME_WAIT] = "TIME-WAIT",
	[TCPS_CLOSE] = "UNCONN",      [TCPS_CLOSE_WAIT] = "CLOSE-WAIT", [TCPS_LAST_ACK] = "LAST-ACK",
	[TCPS_LISTEN] = "LISTEN",     [TCPS_CLOSING] = "CLOSING",
};

static void show_row(const char *state, u32 rxq, u32 txq, const struct tcp_tuple *t)
{
	char local[32], peer[32];

	snprintf(local, sizeof(local), "%s:%u", ip_text(t->laddr), from_be16(t->lport));
	snprintf(peer, sizeof(peer), "%s:%u", ip_text(t->faddr), from_be16(t->fport));
	if (!t->fport.v)
		snprintf(peer, sizeof(peer), "%s:*", ip_text(t->faddr));
	printf("%-10s %9u %9u %22s %22s", state, rxq, txq, local, peer);
}

static void show_people(const struct cli *c, u32 sk, u32 uid)
{
	const struct sock_arena *a = &c->sock->arena[SK_ARENA(sk)];

	printf("  uid:%u", uid);
	if (load_relaxed((_Atomic u32 *)&a->used) & 1)
		printf(" users:((\"%.16s\",pid=%u))", a->comm, a->pid);
}

static void show_info(const struct tcp_sock *s)
{
	u32 n = s->negotiated;

	printf("\n\t %s%s%s%s", n & TCPN_TS ? " ts" : "", n & TCPN_SACK ? " sack" : "", n & TCPN_WS ? " wscale" : "",
	       n & TCPN_ECN ? " ecn" : "");
	if (n & TCPN_WS)
		printf(":%u,%u", s->snd_wscale, s->rcv_wscale);
	printf(" mss:%u", s->mss_peer);
	if (s->mtup_low)
		printf(" mtup:%u", s->mtup_low);
	if (s->hint_srtt_us)
		printf(" rtt:%.3f", s->hint_srtt_us / 1000.0);
	if (s->hint_cwnd)
		printf(" cwnd:%u", s->hint_cwnd);
	if (s->hint_ssthresh && s->hint_ssthresh < 0x7fffffff)
		printf(" ssthresh:%u", s->hint_ssthresh);
	printf(" snd_wnd:%u sent:%llu", s->snd_wnd, (unsigned long long)(s->snd_nxt - s->tx_base));
	if (s->giveup_start)
		printf(" unanswered:%llums", (unsigned long long)((now_ns() - s->giveup_start) / NSEC_PER_MSEC));
	if (s->orphan)
		printf(" orphan");
	if (s->accept)
		printf(" %s", s->accept == TCPA_QUEUED ? "accept-queue" : "offered");
}

static void show_sk(const struct cli *c, const struct show *w, u32 sk)
{
	struct tcp_sock *from = &c->tcp->t.sk[sk], s;
	u32 phase = load_acquire(&from->phase), state;

	if (phase == TCPP_FREE)
		return;
	memcpy(&s, from, sizeof(s));
	if (load_acquire(&from->phase) != phase || from->gen != s.gen)
		return;
	state = s.shown < ARRAY_SIZE(states) && states[s.shown] ? s.shown : TCPS_CLOSE;
	if (phase == TCPP_LISTEN)
		state = TCPS_LISTEN;	/* derived as tcpd does: constants, whatever `shown` says */
	else if (phase == TCPP_CLOSED)
		state = TCPS_CLOSE;
	if (w->listening != (state == TCPS_LISTEN) && (w->listening || state == TCPS_CLOSE) && !w->all)
		return;
	show_row(states[state], s.shown_rxq, state == TCPS_LISTEN ? s.backlog : s.shown_txq, &s.tuple);
	if (w->people)
		show_people(c, sk, s.uid);
	if (w->info && state != TCPS_LISTEN)
		show_info(&s);
	putchar('\n');
}

static void show_half_open(const struct cli *c, const struct show *w)
{
	for (u32 i = 0; i < MIN(load_acquire(&c->tcp->t.req_high), TCP_REQ_MAX); i++) {
		struct tcp_req *r = &c->tcp->t.req[i];
		struct tcp_tuple t = r->tuple;

		if (!load_acquire(&r->used))
			continue;
		show_row(states[TCPS_SYN_RECV], 0, 0, &t);
		if (w->info)
			printf("\n\t  retries:%u%s", r->retries, r->acked ? " acknowledged" : "");
		putchar('\n');
	}
}

static void show_time_wait(const struct cli *c, const struct show *w)
{
	u64 now = now_ns();

	for (u32 i = 0; i < MIN(load_acquire(&c->tcp->t.tw_high), TCP_TW_MAX); i++) {
		struct tcp_tw *e = &c->tcp->t.tw[i];
		struct tcp_tuple t = e->tuple;
		u64 deadline = load_acquire(&e->deadline);

		if (!deadline)
			continue;
		show_row(states[TCPS_TIME_WAIT], 0, 0, &t);
		if (w->people)
			printf("  uid:%u", e->uid);
		if (w->info)
			printf("\n\t  timer:%llums",
			       (unsigned long long)(deadline > now ? (deadline - now) / NSEC_PER_MSEC : 0));
		putchar('\n');
	}
}

int cmd_ss(struct cli *c, int argc, char **argv)
{
	static const struct option opts[] = { { "listening", no_argument, NULL, 'l' },
					      { "all", no_argument, NULL, 'a' },
					      { "numeric", no_argument, NULL, 'n' },
					      { "processes", no_argument, NULL, 'p' },
					      { "info", no_argument, NULL, 'i' },
					      { "no-header", no_argument, NULL, 'H' },
					      { 0 } };
	struct show w = { .header = true };
	int o;

	if (wants_help(argc, argv, help))
		return EXIT_SUCCESS;
	while ((o = getopt_long(argc, argv, "lanpiHt4", opts, NULL)) != -1) {
		switch (o) {
		case 'l': w.listening = true; break;
		case 'a': w.all = true; break;
		case 'p': w.people = true; break;
		case 'i': w.info = true; break;
		case 'H': w.header = false; break;
		case 'n':
		case 't':
		case '4': break;
		default: return misuse("ss", "unknown option", NULL);
		}
	}
	if (optind < argc)
		return misuse("ss", "does not take", argv[optind]);
	if (look(c) < 0)
		return EXIT_FAILURE;
	if (w.header)
		printf("%-10s %9s %9s %22s %22s%s\n", "State", "Recv-Q", "Send-Q", "Local Address:Port",
		       "Peer Address:Port", w.people ? "  Process" : "");
	if (c->tcp->t.magic != TCB_MAGIC || c->tcp->t.version != TCB_VERSION)
		return EXIT_SUCCESS;	/* tcpd has not started yet: no connections */
	TCP_SLOT_EACH(sk, &c->tcp->t, 0, SK_MAX)
		show_sk(c, &w, sk);
	if (w.all) {
		show_half_open(c, &w);
		show_time_wait(c, &w);
	}
	return EXIT_SUCCESS;
}
