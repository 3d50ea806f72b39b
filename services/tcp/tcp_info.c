/* tcp_info.c – TCP_INFO, the fields an operator reads, in the layout of <linux/tcp.h>. From tcp_getsockopt(). */
#include "services/tcp/path.h"

#include <linux/tcp.h>

u32 tcp_fill_info(struct tcp_conn *c, void *out, u32 len)
{
	struct tcp_info i = { .tcpi_state = (u8)tcp_state(c), .tcpi_ca_state = c->ca_state };
	const struct tcp_sock *h = c->h;
	u64 now = c->t->now;
	u32 syn = phase(c) == TCPP_SYNC && h->parent == TCP_NONE;	/* ours, acknowledged */

	if (phase(c) == TCPP_LISTEN) {
		i.tcpi_unacked = c->accept_count;
		i.tcpi_sacked = h->backlog;
	} else if (phase(c) >= TCPP_SYN_SENT) {
		i.tcpi_retransmits = (u8)MIN(c->retransmits, 255u);
		i.tcpi_probes = c->cf & CF_PROBE0 ? c->probes : h->keep_probes;
		i.tcpi_backoff = (u8)c->backoff;
		i.tcpi_options = (h->negotiated & TCPN_TS ? TCPI_OPT_TIMESTAMPS : 0) | (h->negotiated & TCPN_SACK ? TCPI_OPT_SACK : 0) |
				 (h->negotiated & TCPN_WS ? TCPI_OPT_WSCALE : 0) |
				 (h->negotiated & TCPN_ECN ? TCPI_OPT_ECN : 0) | (c->ecn & ECN_SEEN ? TCPI_OPT_ECN_SEEN : 0) |
				 (c->fo & FO_SYN_DATA ? TCPI_OPT_SYN_DATA : 0);
		i.tcpi_fastopen_client_fail = c->fo_fail & 3;
		i.tcpi_snd_wscale = h->snd_wscale & 15;
		i.tcpi_rcv_wscale = h->rcv_wscale & 15;
		i.tcpi_rto = (u32)(c->rto / 1000);
		i.tcpi_ato = (u32)(TCP_DELACK / 1000);
		i.tcpi_snd_mss = c->mss;
		i.tcpi_rcv_mss = c->rcv_mss;
		i.tcpi_unacked = c->packets_out;
		i.tcpi_sacked = c->sacked_out;
		i.tcpi_lost = c->lost_out;
		i.tcpi_retrans = c->retrans_out;
		i.tcpi_last_data_sent = c->last_send ? (u32)((now - c->last_send) / MSEC) : 0;
		i.tcpi_last_data_recv = i.tcpi_last_ack_recv = (u32)((now - c->last_recv) / MSEC);
		i.tcpi_pmtu = tcp_path_mtu(c);
		i.tcpi_rcv_ssthresh = c->rcv_space;
		i.tcpi_rtt = c->srtt8_us >> 3;
		i.tcpi_rttvar = c->mdev4_us >> 2;
		i.tcpi_snd_ssthresh = c->ssthresh;
		i.tcpi_snd_cwnd = c->cwnd;
		i.tcpi_advmss = c->mtu > 40 ? c->mtu - 40 - tcp_options_size(c) : 0;
		i.tcpi_reordering = 3;
		i.tcpi_rcv_space = MAX(c->rcvq_space, TCP_INIT_CWND * c->rcv_mss);
		i.tcpi_rcv_rtt = c->rcv_rtt_us;
		i.tcpi_total_retrans = c->total_retrans;
		i.tcpi_max_pacing_rate = h->max_pacing_rate;
		i.tcpi_pacing_rate = c->srtt8_us || c->paced ? tcp_pacing_rate(c) : UINT64_MAX;
		if (c->rate_interval_us)
			i.tcpi_delivery_rate = (u64)c->rate_delivered * c->mss * 1000000 / c->rate_interval_us;
		i.tcpi_delivery_rate_app_limited = c->rate_app_limited;
		i.tcpi_bytes_acked = snd_una(c) - h->tx_base + syn;	/* Linux counts SYN and FIN */
		i.tcpi_bytes_received = c->bytes_in;
		i.tcpi_bytes_sent = c->bytes_out;
		i.tcpi_segs_out = c->segs_out;
		i.tcpi_segs_in = c->segs_in;
		i.tcpi_data_segs_out = c->data_segs_out;
		i.tcpi_data_segs_in = c->data_segs_in;
		i.tcpi_busy_time = (c->busy_ns + (c->busy_since ? now - c->busy_since : 0)) / 1000;
		i.tcpi_notsent_bytes = phase(c) == TCPP_SYNC && after(c->write_seq, snd_nxt(c)) ? (u32)(c->write_seq - snd_nxt(c)) : 0;
		i.tcpi_min_rtt = c->min_rtt_us;
		i.tcpi_delivered = c->delivered + syn;
		i.tcpi_delivered_ce = c->delivered_ce;
		i.tcpi_snd_wnd = load_relaxed(&h->snd_wnd);
	}
	len = MIN(len, (u32)sizeof(i));
	memcpy(out, &i, len);
	return len;
}
