/* info.c – the fields of TCP_INFO, its words, and the bits of poll(), by name. Called by parse_call.c and play.c. */
#include "script.h"

#include <linux/tcp.h>
#include <poll.h>

#define F(name) { #name, offsetof(struct tcp_info, tcpi_##name), sizeof(((struct tcp_info *)0)->tcpi_##name) }
enum { SND_WSCALE = 1000, RCV_WSCALE, APP_LIMITED };
static const struct { const char *name; u16 at, size; } fields[] = {
	F(state), F(ca_state), F(retransmits), F(probes), F(backoff), F(options), F(rto), F(ato), F(snd_mss), F(rcv_mss), F(unacked), F(sacked),
	F(lost), F(retrans), F(last_data_sent), F(last_data_recv), F(last_ack_recv), F(pmtu), F(rcv_ssthresh), F(rtt), F(rttvar),
	F(snd_ssthresh), F(snd_cwnd), F(advmss), F(reordering), F(rcv_rtt), F(rcv_space), F(total_retrans), F(pacing_rate),
	F(max_pacing_rate), F(bytes_acked), F(bytes_received), F(segs_out), F(segs_in), F(notsent_bytes), F(min_rtt), F(data_segs_in),
	F(data_segs_out), F(delivery_rate), F(busy_time), F(rwnd_limited), F(delivered), F(delivered_ce), F(bytes_sent), F(bytes_retrans),
	F(dsack_dups), F(reord_seen), F(rcv_ooopack), F(snd_wnd),
	{ "snd_wscale", SND_WSCALE, 0 }, { "rcv_wscale", RCV_WSCALE, 0 }, { "app_limited", APP_LIMITED, 0 },
};

static const struct { const char *name; s64 value; } words[] = {
	{ "ESTABLISHED", 1 }, { "SYN_SENT", 2 }, { "SYN_RECV", 3 }, { "FIN_WAIT1", 4 }, { "FIN_WAIT2", 5 }, { "TIME_WAIT", 6 }, { "CLOSE", 7 },
	{ "CLOSE_WAIT", 8 }, { "LAST_ACK", 9 }, { "LISTEN", 10 }, { "CLOSING", 11 },
	{ "open", 0 }, { "disorder", 1 }, { "cwr", 2 }, { "recovery", 3 }, { "loss", 4 },
};

const struct ready_name ready_names[] = {
	{ "IN", POLLIN }, { "OUT", POLLOUT }, { "PRI", POLLPRI }, { "ERR", POLLERR }, { "HUP", POLLHUP }, { "RDHUP", POLLRDHUP }, { NULL, 0 },
};

int info_field(const char *name)
{
	for (u32 i = 0; i < ARRAY_SIZE(fields); i++)
		if (!strcmp(fields[i].name, name))
			return (int)i;
	return -1;
}

const char *info_name(u16 field) { return fields[field].name; }

s64 info_value(const u8 *data, u16 field)
{
	struct tcp_info i;
	u64 v = 0;

	memcpy(&i, data, sizeof(i));
	switch (fields[field].at) {
	case SND_WSCALE: return i.tcpi_snd_wscale;
	case RCV_WSCALE: return i.tcpi_rcv_wscale;
	case APP_LIMITED: return i.tcpi_delivery_rate_app_limited;
	}
	memcpy(&v, data + fields[field].at, fields[field].size);
	return (s64)v;
}

bool info_word(const char *word, s64 *ret)
{
	for (u32 i = 0; i < ARRAY_SIZE(words); i++)
		if (!strcmp(words[i].name, word)) {
			*ret = words[i].value;
			return true;
		}
	return false;
}
