/* info.c – TCP_INFO: the fields that `ss -i` shows, where they do not depend on the speed of the path. */
#define _NETINET_TCP_H 1	/* the C library's struct tcp_info ends before half of them: the kernel's is used */
#include "tests/shim/oracle/oracle.h"

#include <linux/tcp.h>

static struct tcp_info info_of(int fd)
{
	struct tcp_info i;
	socklen_t len = sizeof(i);

	memset(&i, 0, sizeof(i));
	if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &i, &len) < 0)
		result("info", -1);
	return i;
}

/* The fields `ss -i` shows, where they do not depend on the path's speed. */
static void info_fields(void)
{
	int fd = ask("echo\n");
	char buf[20000];
	struct tcp_info i;
	ssize_t n = 0;

	usleep(50000);
	for (int k = 0; k < 20; k++) {
		send(fd, buf, 1000, 0);
		for (n = 0; n < 1000;)
			n += recv(fd, buf, sizeof(buf), 0);
	}
	usleep(100000);
	i = info_of(fd);
	say("state=%d ca=%d retransmits=%d probes=%d backoff=%d options=%d", i.tcpi_state, i.tcpi_ca_state, i.tcpi_retransmits,
	    i.tcpi_probes, i.tcpi_backoff, i.tcpi_options & 7);
	say("scaled=%d/%d rto=%s ato=%s", i.tcpi_snd_wscale > 0, i.tcpi_rcv_wscale > 0, i.tcpi_rto >= 200000 && i.tcpi_rto < 400000 ? "floor" : "?",
	    i.tcpi_ato >= 20000 && i.tcpi_ato <= 200000 ? "some" : "none");
	say("mss=%u/%s pmtu=%u advmss=%u", i.tcpi_snd_mss, i.tcpi_rcv_mss >= 536 ? "ok" : "small", i.tcpi_pmtu, i.tcpi_advmss);
	say("unacked=%u sacked=%u lost=%u retrans=%u fackets=%u total=%u", i.tcpi_unacked, i.tcpi_sacked, i.tcpi_lost, i.tcpi_retrans,
	    i.tcpi_fackets, i.tcpi_total_retrans);
	say("times=%d/%d/%d", i.tcpi_last_data_sent < 5000, i.tcpi_last_data_recv < 5000, i.tcpi_last_ack_recv < 5000);
	say("rtt=%d rttvar=%d minrtt=%d", i.tcpi_rtt > 0, i.tcpi_rttvar > 0, i.tcpi_min_rtt > 0);
	say("ssthresh=%s cwnd=%d reordering=%u", i.tcpi_snd_ssthresh >= 0x7fffffff ? "infinite" : "known", i.tcpi_snd_cwnd >= 10, i.tcpi_reordering);
	say("acked=%llu received=%llu notsent=%u", (unsigned long long)i.tcpi_bytes_acked, (unsigned long long)i.tcpi_bytes_received,
	    i.tcpi_notsent_bytes);
	say("segs=%d/%d data segs=%u/%u", i.tcpi_segs_out > 20, i.tcpi_segs_in > 20, i.tcpi_data_segs_out, i.tcpi_data_segs_in);
	say("sent=%llu retrans=%llu dsacks=%u delivered=%u", (unsigned long long)i.tcpi_bytes_sent, (unsigned long long)i.tcpi_bytes_retrans,
	    i.tcpi_dsack_dups, i.tcpi_delivered);
	say("snd_wnd=%d", i.tcpi_snd_wnd > 10000);
	say("rwnd=%d sndbuf=%d", i.tcpi_rwnd_limited > 0, i.tcpi_sndbuf_limited > 0);
}

static void info_listener(void)
{
	int port, l = listener(&port);
	struct tcp_info i = info_of(l);

	say("state=%d unacked=%u sacked=%u", i.tcpi_state, i.tcpi_unacked, i.tcpi_sacked);
	close(ask("connect %d echo\n", port));
	wait_for(l, POLLIN);
	usleep(50000);
	i = info_of(l);
	say("waiting=%u backlog=%u", i.tcpi_unacked, i.tcpi_sacked);
}

const struct test cases_info[] = {
	{ "info: a connection", info_fields }, { "info: a listener", info_listener }, { NULL, NULL },
};
