/* test_ip_basic.c – services/ip: transmit and receive of one packet, fragmentation, echo, errors, hooks, administration. */
#include "ip_host.h"
#include "unit.h"

#include "common/csum.h"
#include "proto/control.pb-c.h"

static struct frame f;
static u8 buf[66000], out[66000];

static void fill(u8 *b, u32 n)
{
	for (u32 i = 0; i < n; i++)
		b[i] = (u8)(i * 7 + (i >> 8));
}

static struct host *quiet(void)	/* announcements over, 10.0.0.2 known */
{
	struct host *h = host_new();
	u8 b[20] = { [12] = 0x50 };

	host_wait(h, 5 * NSEC_PER_SEC);
	host_drain(h);
	host_send(h, A(10, 0, 0, 2), b, sizeof(b), true, 0);
	host_run(h);
	host_resolve(h, A(10, 0, 0, 2));
	host_drain(h);
	host_run(h);
	return h;
}

static void end(struct host *h)
{
	while (host_segment(h, &f.skb, NULL) || host_drain(h))
		host_run(h);
	host_run(h);
	CHECK_EQ(host_loans(h), 0);
	host_free(h);
}

static void announces_at_start(void)
{
	struct host *h = host_new();
	struct arp_hdr a;

	host_wait(h, 100 * NSEC_PER_MSEC);
	REQUIRE(host_frame(h, &f));
	memcpy(&a, f.data, sizeof(a));
	CHECK_EQ(from_be16(a.op), ARP_REQUEST);
	CHECK_MEM(a.spa, a.tpa, 4);
	CHECK_EQ(f.eth.dst[0], 0xff);
	CHECK_MEM(f.eth.src, host_mac, 6);
	CHECK(!host_frame(h, &f));
	host_wait(h, 3 * NSEC_PER_SEC);
	CHECK_EQ(host_drain(h), 1);
	host_wait(h, 10 * NSEC_PER_SEC);
	CHECK_EQ(host_drain(h), 0);
	store_relaxed(&h->link->hdr.starts, 2);	/* linkd restarted */
	host_wait(h, 10 * NSEC_PER_SEC);
	CHECK_EQ(host_drain(h), 2);
	end(h);
}

static void segment_goes_out(void)
{
	struct host *h = quiet();
	struct ip_hdr ip;
	u16 id;

	fill(buf, 100);
	REQUIRE(host_send(h, A(10, 0, 0, 2), buf, 100, true, 0));
	REQUIRE(host_send(h, A(10, 0, 0, 2), buf, 100, true, 0));
	host_run(h);
	REQUIRE(host_frame(h, &f));
	memcpy(&ip, f.data, 20);
	CHECK_EQ(f.len, 120);
	CHECK_EQ(from_be16(ip.tot_len), 120);
	CHECK_EQ(ip.ver_ihl, 0x45);
	CHECK_EQ(from_be16(ip.frag_off), IP_DF);
	CHECK_EQ(csum_fold(csum_partial(f.data, 20, 0)), 0);
	CHECK_MEM(f.data + 20, buf, 100);
	CHECK_MEM(f.eth.dst, peer_mac, 6);
	CHECK_EQ(from_be16(f.eth.proto), ETH_P_IP);
	id = from_be16(ip.id);
	REQUIRE(host_frame(h, &f));
	memcpy(&ip, f.data, 20);
	CHECK_EQ(from_be16(ip.id), (u16)(id + 1));
	CHECK(!host_frame(h, &f));
	end(h);
}

/* TOS is tcpd's, both ways, ECN bits and all; a flow keeps its band when only those differ. */
static void tos_passes_through(void)
{
	static const struct { u8 tos, priority; } want[] = { { 0, 0 }, { 2, 0 }, { 3, 0 }, { 0x10, 6 }, { 0x12, 6 }, { 0x08, 2 },
							      { 0x0a, 2 }, { 0xba, 4 } };
	struct host *h = quiet();
	u32 n;

	for (u32 i = 0; i < ARRAY_SIZE(want); i++) {
		h->tos = want[i].tos;
		REQUIRE(host_send(h, A(10, 0, 0, 2), buf, 100, true, 0));
		host_run(h);
		REQUIRE(host_frame(h, &f));
		CHECK_EQ(((const struct ip_hdr *)f.data)->tos, want[i].tos);
		CHECK_EQ(f.skb.priority, want[i].priority);
		n = host_ip(out, A(10, 0, 0, 2), A(10, 0, 0, 1), IPPROTO_TCP_, 1, 0, buf, 40);
		out[1] = want[i].tos;
		((struct ip_hdr *)out)->check = 0;
		((struct ip_hdr *)out)->check = csum_fold(csum_partial(out, 20, 0));
		host_frame_in(h, ETH_P_IP, out, n, PACKET_HOST);
		host_run(h);
		REQUIRE(host_segment(h, &f.skb, NULL));
		CHECK_EQ(skb_ip_cb(&f.skb)->tos, want[i].tos);
	}
	end(h);
}

static void gso_counts_ids(void)
{
	struct host *h = quiet();
	struct ip_hdr ip;
	u16 id;

	fill(buf, 20 + 14480);
	buf[12] = 0x50;
	host_send(h, A(10, 0, 0, 2), buf, 20 + 14480, true, 1448);
	host_send(h, A(10, 0, 0, 2), buf, 100, true, 0);
	host_run(h);
	REQUIRE(host_frame(h, &f));
	memcpy(&ip, f.data, 20);
	CHECK_EQ(f.len, 14520);
	id = from_be16(ip.id);
	REQUIRE(host_frame(h, &f));
	memcpy(&ip, f.data, 20);
	CHECK_EQ(from_be16(ip.id), (u16)(id + 11));
	/* segments of 1461 + 40 do not fit 1500: tcpd is told */
	host_send(h, A(10, 0, 0, 2), buf, 20 + 14480, true, 1461);
	host_run(h);
	CHECK_EQ(h->last_error, EMSGSIZE);
	REQUIRE(host_segment(h, &f.skb, out));
	CHECK_EQ(f.skb.type, SKB_ICMP_ERROR);
	CHECK_EQ(skb_ip_cb(&f.skb)->icmp_mtu, 1500);
	end(h);
}

static void too_big_with_df(void)
{
	struct host *h = quiet();

	fill(buf, 3000);
	host_send(h, A(10, 0, 0, 2), buf, 3000, true, 0);
	host_run(h);
	CHECK_EQ(host_drain(h), 0);
	CHECK_EQ(h->last_error, EMSGSIZE);
	REQUIRE(host_segment(h, &f.skb, out));
	CHECK_EQ(skb_ip_cb(&f.skb)->icmp_code, ICMP_FRAG_NEEDED);
	CHECK(be32_eq(skb_ip_cb(&f.skb)->saddr, A(10, 0, 0, 1)));
	CHECK_MEM(out, buf, 8);
	end(h);
}

/* What fragmentation cut, reassembly joins: frames sent by one host are fed to another as if from 10.0.0.2. */
static void fragments_round_trip(void)
{
	struct host *h = quiet(), *peer = quiet();
	u8 frames[50][1600];
	u32 len[50], n = 0;

	for (u32 size = 1481; size < 65000; size += 9973) {
		fill(buf, size);
		REQUIRE(host_send(h, A(10, 0, 0, 2), buf, size, false, 0));
		host_run(h);
		for (n = 0; host_frame(h, &f) && n < 50; n++) {
			struct ip_hdr ip;

			CHECK(f.len <= 1500);
			memcpy(&ip, f.data, 20);
			ip.saddr = A(10, 0, 0, 2);
			ip.daddr = A(10, 0, 0, 1);
			ip.check = 0;
			ip.check = csum_fold(csum_partial(&ip, 20, 0));
			memcpy(f.data, &ip, 20);
			memcpy(frames[n], f.data, f.len);
			len[n] = f.len;
		}
		host_run(h);
		CHECK_EQ(n, (size + 1479) / 1480);
		for (u32 i = 0; i < n; i++)	/* last first */
			host_frame_in(peer, ETH_P_IP, frames[n - 1 - i], len[n - 1 - i], PACKET_HOST);
		host_run(peer);
		REQUIRE(host_segment(peer, &f.skb, out));
		CHECK_EQ(f.skb.len, size);
		CHECK_EQ(f.skb.ip_summed, CHECKSUM_NONE);
		CHECK(be32_eq(skb_ip_cb(&f.skb)->saddr, A(10, 0, 0, 2)));
		CHECK_MEM(out, buf, size);
		host_run(peer);
	}
	CHECK_EQ(host_count(peer, IP_REASM_OK), 7);
	end(h);
	end(peer);
}

static void echo_is_answered(void)
{
	static const u32 sizes[] = { 0, 1, 56, 1472, 4000, 60000 };
	struct host *h = quiet();
	u8 icmp[65000];

	for (u32 i = 0; i < ARRAY_SIZE(sizes); i++) {
		u32 n, got = 0;

		fill(out, sizes[i]);
		n = host_icmp(icmp, ICMP_ECHO, 0, 7, (u16)i, out, sizes[i]);
		host_frame_in(h, ETH_P_IP, buf, host_ip(buf, A(10, 0, 0, 2), A(10, 0, 0, 1), IPPROTO_ICMP_, 1, 0, icmp, n), PACKET_HOST);
		host_run(h);
		while (host_frame(h, &f)) {
			if (!got)
				CHECK_EQ(f.data[20], ICMP_ECHOREPLY);
			got += f.len - 20;
		}
		CHECK_EQ(got, n);
	}
	CHECK_EQ(host_count(h, ICMP_ECHO_REPLIES), 6);
	/* to a broadcast address, with a wrong checksum: silence */
	u32 n = host_icmp(icmp, ICMP_ECHO, 0, 7, 1, out, 8);
	host_frame_in(h, ETH_P_IP, buf, host_ip(buf, A(10, 0, 0, 2), A(10, 0, 0, 255), IPPROTO_ICMP_, 1, 0, icmp, n), PACKET_BROADCAST);
	icmp[9] ^= 1;
	host_frame_in(h, ETH_P_IP, buf, host_ip(buf, A(10, 0, 0, 2), A(10, 0, 0, 1), IPPROTO_ICMP_, 1, 0, icmp, n), PACKET_HOST);
	host_run(h);
	CHECK_EQ(host_drain(h), 0);
	CHECK_EQ(host_count(h, DROP_ICMP_INVALID), 1);
	end(h);
}

static void unknown_protocol(void)
{
	struct host *h = quiet();
	u32 sent = 0;

	fill(out, 1000);
	for (u32 i = 0; i < 20; i++) {
		host_frame_in(h, ETH_P_IP, buf, host_ip(buf, A(10, 0, 0, 2), A(10, 0, 0, 1), 99, 1, 0, out, 1000), PACKET_HOST);
		host_run(h);
		while (host_frame(h, &f)) {
			CHECK_EQ(f.data[20], ICMP_DEST_UNREACH);
			CHECK_EQ(f.data[21], ICMP_PROT_UNREACH);
			CHECK_EQ(f.len, 576);
			CHECK_EQ(csum_fold(csum_partial(f.data + 20, f.len - 20, 0)), 0);
			CHECK_MEM(f.data + 28, buf, 20);
			sent++;
		}
	}
	CHECK_EQ(sent, 6);		/* then the rate limit */
	CHECK_EQ(host_count(h, DROP_ICMP_RATE), 14);
	/* no error about a fragment's follower, a broadcast, an error */
	host_wait(h, 10 * NSEC_PER_SEC);
	host_drain(h);
	host_frame_in(h, ETH_P_IP, buf, host_ip(buf, A(10, 0, 0, 2), A(10, 0, 0, 255), 99, 1, 0, out, 100), PACKET_BROADCAST);
	host_frame_in(h, ETH_P_IP, buf, host_ip(buf, A(10, 0, 0, 2), A(10, 0, 0, 1), 99, 1, 0, out, 100), PACKET_BROADCAST);
	host_run(h);
	CHECK_EQ(host_drain(h), 0);
	end(h);
}

static void errors_reach_tcpd(void)
{
	struct host *h = quiet();
	u8 quote[64], icmp[128], seg[20] = { 0x12, 0x34, 0, 80, 1, 2, 3, 4 };
	u32 n = host_ip(quote, A(10, 0, 0, 1), A(8, 8, 8, 8), IPPROTO_TCP_, 5, IP_DF, seg, 20);
	struct ip_path path;

	n = host_icmp(icmp, ICMP_DEST_UNREACH, ICMP_FRAG_NEEDED, 0, 1400, quote, n);
	host_frame_in(h, ETH_P_IP, buf, host_ip(buf, A(10, 0, 0, 254), A(10, 0, 0, 1), IPPROTO_ICMP_, 1, 0, icmp, n), PACKET_HOST);
	host_run(h);
	REQUIRE(host_segment(h, &f.skb, out));
	CHECK_EQ(f.skb.type, SKB_ICMP_ERROR);
	CHECK_EQ(f.skb.len, 20);
	CHECK_MEM(out, seg, 20);
	CHECK_EQ(skb_ip_cb(&f.skb)->icmp_mtu, 1400);
	CHECK(be32_eq(skb_ip_cb(&f.skb)->saddr, A(10, 0, 0, 1)));
	CHECK(be32_eq(skb_ip_cb(&f.skb)->daddr, A(8, 8, 8, 8)));
	CHECK(be32_eq(skb_ip_cb(&f.skb)->icmp_from, A(10, 0, 0, 254)));
	REQUIRE_EQ(route_lookup(h->ip, h->link, A(8, 8, 8, 8), A(0, 0, 0, 0), &path), 0);
	CHECK_EQ(path.mtu, 1500);		/* nobody has said that it quotes a segment of ours */
	/* quoting somebody else's packet */
	n = host_ip(quote, A(10, 0, 0, 9), A(8, 8, 8, 8), IPPROTO_TCP_, 5, IP_DF, seg, 20);
	n = host_icmp(icmp, ICMP_DEST_UNREACH, ICMP_HOST_UNREACH, 0, 0, quote, n);
	host_frame_in(h, ETH_P_IP, buf, host_ip(buf, A(10, 0, 0, 254), A(10, 0, 0, 1), IPPROTO_ICMP_, 1, 0, icmp, n), PACKET_HOST);
	host_run(h);
	CHECK(!host_segment(h, &f.skb, out));
	CHECK_EQ(icmp_plateau(1500), 1492);
	CHECK_EQ(icmp_plateau(68), 68);
	end(h);
}

static enum nf_verdict deny(void *priv, struct ip_stack *st, const struct ip_hdr *iph, const struct sk_buff *skb)
{
	(*(u32 *)priv)++;
	return NF_DROP;
}
static enum nf_verdict pass(void *priv, struct ip_stack *st, const struct ip_hdr *iph, const struct sk_buff *skb)
{
	*(u32 *)priv = *(u32 *)priv * 10 + 1;
	return NF_ACCEPT;
}

static void hooks_and_policy(void)
{
	struct host *h = quiet();
	u32 seen = 0, denied = 0;
	struct nf_hook_ops first = { .hook = pass, .priv = &seen, .priority = -1 };
	struct nf_hook_ops second = { .hook = deny, .priv = &denied, .priority = 5 };
	struct xfrm_policy block = { .daddr = A(10, 0, 0, 0), .dprefix = 24, .action = XFRM_POLICY_BLOCK };

	fill(out, 40);
	for (u32 hook = NF_INET_PRE_ROUTING; hook < NF_INET_NUMHOOKS; hook++) {
		first.hooknum = second.hooknum = hook;
		nf_register_hook(&h->st->nf, &second);
		nf_register_hook(&h->st->nf, &first);
		host_send(h, A(10, 0, 0, 2), out, 40, true, 0);
		host_frame_in(h, ETH_P_IP, buf, host_ip(buf, A(10, 0, 0, 2), A(10, 0, 0, 1), IPPROTO_TCP_, 1, 0, out, 40), PACKET_HOST);
		host_run(h);
		CHECK_EQ(host_drain(h) + host_segment(h, &f.skb, NULL), hook == NF_INET_FORWARD ? 2 : 1);
		nf_unregister_hook(&h->st->nf, &first);
		nf_unregister_hook(&h->st->nf, &second);
	}
	CHECK_EQ(seen, 1111);
	CHECK_EQ(denied, 4);
	REQUIRE_EQ(xfrm_policy_add(&h->st->xfrm, XFRM_POLICY_OUT, &block), 0);
	REQUIRE_EQ(xfrm_policy_add(&h->st->xfrm, XFRM_POLICY_IN, &block), 0);
	host_send(h, A(10, 0, 0, 2), out, 40, true, 0);
	host_frame_in(h, ETH_P_IP, buf, host_ip(buf, A(10, 0, 0, 2), A(10, 0, 0, 1), IPPROTO_TCP_, 1, 0, out, 40), PACKET_HOST);
	host_run(h);
	CHECK_EQ(host_drain(h) + host_segment(h, &f.skb, NULL), 0);
	CHECK_EQ(h->last_error, EPERM);
	CHECK_EQ(host_count(h, DROP_XFRM), 2);
	end(h);
}

static s32 ask(struct host *h, Strata__Control__Request *rq)
{
	h->admin.len = (u32)strata__control__request__pack(rq, h->admin.request);
	store_release(&h->admin.seq, load_relaxed(&h->admin.seq) + 1);
	host_run(h);
	return load_acquire(&h->ip->admin_ans.done) == load_relaxed(&h->admin.seq) ? h->ip->admin_ans.result : -EINPROGRESS;
}

static void administration(void)
{
	struct host *h = quiet();
	Strata__Control__Request rq = STRATA__CONTROL__REQUEST__INIT;
	struct ip_path path;
	struct icmp_hdr icmp;

	rq.op = STRATA__CONTROL__REQUEST__OP__ADDR_ADD;
	rq.has_addr = rq.has_prefix = 1;
	rq.addr = A(172, 16, 0, 1).v;
	rq.prefix = 16;
	rq.dev = (char *)"tap0";
	CHECK_EQ(ask(h, &rq), 0);
	CHECK_EQ(ask(h, &rq), -EEXIST);
	CHECK(ip_is_local(h->ip, A(172, 16, 0, 1)));
	CHECK_EQ(route_lookup(h->ip, h->link, A(172, 16, 9, 9), A(0, 0, 0, 0), &path), 0);
	CHECK(be32_eq(path.saddr, A(172, 16, 0, 1)));
	host_restart(h);		/* run-time changes persist */
	CHECK(ip_is_local(h->ip, A(172, 16, 0, 1)));
	h->conf.addr[0].addr = A(10, 0, 0, 7);	/* ... and the configuration's replace the configuration's */
	host_restart(h);
	CHECK(ip_is_local(h->ip, A(172, 16, 0, 1)) && ip_is_local(h->ip, A(10, 0, 0, 7)) && !ip_is_local(h->ip, A(10, 0, 0, 1)));
	h->conf.addr[0].addr = A(10, 0, 0, 1);
	host_restart(h);
	rq.op = STRATA__CONTROL__REQUEST__OP__ADDR_DEL;
	CHECK_EQ(ask(h, &rq), 0);
	CHECK_EQ(ask(h, &rq), -EADDRNOTAVAIL);
	rq.dev = (char *)"nonsense0";
	CHECK_EQ(ask(h, &rq), -ENODEV);
	h->admin.request[0] = 0xff;
	store_release(&h->admin.seq, load_relaxed(&h->admin.seq) + 1);
	host_run(h);
	CHECK_EQ(h->ip->admin_ans.result, -EINVAL);
	host_wait(h, 5 * NSEC_PER_SEC);
	host_drain(h);
	rq.op = STRATA__CONTROL__REQUEST__OP__PING;
	rq.addr = A(10, 0, 0, 2).v;
	CHECK_EQ(ask(h, &rq), -EINPROGRESS);
	REQUIRE(host_frame(h, &f));
	memcpy(&icmp, f.data + 20, 8);
	CHECK_EQ(icmp.type, ICMP_ECHO);
	h->now += 1234567;
	u32 n = host_icmp(out, ICMP_ECHOREPLY, 0, from_be16(icmp.id), from_be16(icmp.seq), f.data + 28, f.len - 28);
	host_frame_in(h, ETH_P_IP, buf, host_ip(buf, A(10, 0, 0, 2), A(10, 0, 0, 1), IPPROTO_ICMP_, 1, 0, out, n), PACKET_HOST);
	host_run(h);
	CHECK_EQ(load_relaxed(&h->ip->admin_ans.done), load_relaxed(&h->admin.seq));
	CHECK_STR(h->ip->admin_ans.text, "64 bytes from 10.0.0.2: icmp_seq=0 ttl=64 time=1.234 ms");
	CHECK_EQ(ask(h, &rq), -EINPROGRESS);
	host_wait(h, 2 * NSEC_PER_SEC);
	CHECK_EQ(h->ip->admin_ans.result, -ETIMEDOUT);
	end(h);
}

UNIT_MAIN(UNIT(announces_at_start), UNIT(segment_goes_out), UNIT(tos_passes_through), UNIT(gso_counts_ids), UNIT(too_big_with_df), UNIT(fragments_round_trip),
	  UNIT(echo_is_answered), UNIT(unknown_protocol), UNIT(errors_reach_tcpd), UNIT(hooks_and_policy), UNIT(administration))
