/* path.h – contents page of TCP, in packet order. Protocol code is pure; the daemon around it is main.c and sk_*.c.
 *
 *   rx6  tcp_v4_rcv (tcp_input.c) -> lookup (tcp_hash.c) -> tcp_rcv_established | tcp_rcv_state_process (tcp_state.c)
 *        -> tcp_ack (tcp_ack.c -> tcp_recovery.c -> tcp_congestion_ops) -> tcp_data_queue (tcp_data.c)
 *   rx7  ops->data_ready, write_space, state_change
 *   tx2  tcp_kick (tcp_socket.c): the application's words
 *   tx3  tcp_flush -> tcp_write_xmit (tcp_output.c, tcp_pacing.c) -> tcp_transmit_skb (tcp_xmit.c) -> ops->queue_xmit */
#ifndef STRATA_TCP_PATH_H
#define STRATA_TCP_PATH_H

#include "services/tcp/tcp_priv.h"

/* ---- rx6 ---- */
/* tcp_options.c */
int tcp_parse(struct tcp_seg *g, struct sk_buff *skb, const u8 *data);	/* 0, or a drop reason */
u32 tcp_syn_options(u8 *p, u16 mss, u8 negotiated, u8 wscale, u32 tsval, u32 tsecr);
u32 tcp_established_options(struct tcp_conn *c, u8 *p, bool with_sack);
u32 tcp_options_size(const struct tcp_conn *c);
/* tcp_hash.c */
u32 tcp_hash_tuple(const struct tcp_stack *t, const struct tcp_tuple *k, u32 size);
void tcp_hash_insert(struct tcp_conn *c);
void tcp_hash_remove(struct tcp_conn *c);
struct tcp_conn *tcp_lookup_established(struct tcp_stack *t, const struct tcp_tuple *k);
struct tcp_conn *tcp_lookup_listener(struct tcp_stack *t, const struct tcp_tuple *k);
void tcp_listen_insert(struct tcp_conn *c);
void tcp_listen_remove(struct tcp_conn *c);
void tcp_bind_insert(struct tcp_conn *c);
void tcp_bind_remove(struct tcp_conn *c);
bool tcp_bind_conflict(struct tcp_conn *c, be32 addr, u16 port, bool listening);
int tcp_pick_port(struct tcp_conn *c, be32 addr);		/* bind to port 0 */
int tcp_pick_connect_port(struct tcp_conn *c);			/* RFC 6056; tuple without lport is filled in */
u64 tcp_siphash(const u64 key[2], const void *data, size_t len);
u32 tcp_isn(struct tcp_stack *t, const struct tcp_tuple *k);
u32 tcp_ts_offset(struct tcp_stack *t, const struct tcp_tuple *k);
u64 tcp_random(struct tcp_stack *t);
/* tcp_icmp.c: tcp_v4_err(), errors about segments of ours */
void tcp_note(_Atomic u32 *note, u32 err);
u32 tcp_soft_error(struct tcp_conn *c);		/* errno of the last ICMP error that nobody was told of; 0: none */
/* tcp_urg.c */
void tcp_urg(struct tcp_conn *c, struct tcp_seg *g);
void tcp_take_urg(struct tcp_conn *c);
bool tcp_urg_mode(const struct tcp_conn *c);		/* urgent bytes are not acknowledged yet */
u16 tcp_urg_ptr(const struct tcp_conn *c, u64 off);
/* tcp_mtu.c */
bool tcp_df(const struct tcp_conn *c);
u32 tcp_path_mtu(const struct tcp_conn *c);
int tcp_route_conn(struct tcp_conn *c);		/* ask for the way again; 0 or -errno */
u32 tcp_current_mss(struct tcp_conn *c);	/* payload of a full segment now */
void tcp_mtu_reduced(struct tcp_conn *c, u32 mtu, bool local);
void tcp_mtup_init(struct tcp_conn *c);
void tcp_mtu_probing(struct tcp_conn *c);
int tcp_mtu_probe(struct tcp_conn *c);
void tcp_mtup_acked(struct tcp_conn *c, u64 una);
bool tcp_mtup_lost(struct tcp_conn *c);
/* tcp_state.c */
void tcp_rcv_state_process(struct tcp_conn *c, struct tcp_seg *g);
bool tcp_validate_incoming(struct tcp_conn *c, struct tcp_seg *g);
void tcp_paws_update(struct tcp_conn *c, const struct tcp_seg *g);
void tcp_fin_decided(struct tcp_conn *c);
enum tcp_state tcp_state(const struct tcp_conn *c);
void tcp_after_ack(struct tcp_conn *c);
/* tcp_minisocks.c */
struct tcp_req *tcp_req_lookup(struct tcp_stack *t, const struct tcp_tuple *k);
void tcp_conn_request(struct tcp_conn *listener, struct tcp_seg *g);
void tcp_check_req(struct tcp_stack *t, struct tcp_req *r, struct tcp_seg *g);
void tcp_req_free(struct tcp_stack *t, struct tcp_req *r);
bool tcp_req_err(struct tcp_stack *t, const struct tcp_tuple *k, u32 seq, bool abort);
void tcp_req_attach(struct tcp_stack *t);
void tcp_req_room(struct tcp_conn *listener);
void tcp_reqs_of_listener_gone(struct tcp_conn *listener);
bool tcp_cookie_ack(struct tcp_conn *listener, struct tcp_seg *g);	/* false: nobody's, answer with RST */
/* tcp_cookie.c */
void tcp_cookie_make(struct tcp_conn *listener, struct tcp_req *r);
bool tcp_cookie_check(struct tcp_conn *listener, const struct tcp_seg *g, struct tcp_req *r);
bool tcp_cookie_recent(const struct tcp_conn *listener);
/* tcp_fastopen.c: listeners */
enum tcp_fo { FO_NOTHING, FO_GIVE, FO_TAKE };
enum tcp_fo tcp_fastopen_syn(struct tcp_conn *listener, const struct tcp_seg *g);
u32 tcp_fastopen_option(u8 *p, const u8 *cookie, u8 len);
u32 tcp_fastopen_give(struct tcp_stack *t, const struct tcp_tuple *k, u8 *p);
void tcp_fastopen_child(struct tcp_conn *listener, struct tcp_conn *c, struct tcp_seg *g);
bool tcp_fastopen_syn_again(struct tcp_conn *c, const struct tcp_seg *g);
bool tcp_fastopen_acked(struct tcp_conn *c, const struct tcp_seg *g);
void tcp_fastopen_ended(struct tcp_conn *c, bool by_reset);
void tcp_fastopen_wake(struct tcp_conn *c);
/* tcp_fastopen_client.c */
struct tcp_raw;
bool tcp_fastopen_defer(struct tcp_conn *c);
void tcp_fastopen_start(struct tcp_conn *c);
void tcp_fastopen_syn_fill(struct tcp_conn *c, struct tcp_raw *r);
void tcp_fastopen_synack(struct tcp_conn *c, struct tcp_seg *g, bool again);
/* tcp_timewait.c */
struct tcp_tw *tcp_tw_lookup(struct tcp_stack *t, const struct tcp_tuple *k);
bool tcp_timewait_state_process(struct tcp_stack *t, struct tcp_tw *w, struct tcp_seg *g, u32 *ret_isn);
void tcp_time_wait(struct tcp_conn *c);
void tcp_tw_free(struct tcp_stack *t, struct tcp_tw *w);
bool tcp_tw_reusable(struct tcp_stack *t, const struct tcp_tw *w);
void tcp_tw_attach(struct tcp_stack *t);
/* tcp_ack.c */
int tcp_ack(struct tcp_conn *c, struct tcp_seg *g);		/* 1 fine, 0 old, -1 acknowledges the future */
void tcp_rtt_estimator(struct tcp_conn *c, u32 rtt_us);
/* tcp_ecn.c */
bool tcp_ecn_asked(const struct tcp_stack *t, const struct tcp_seg *g);
bool tcp_ecn_agreed(const struct tcp_seg *g);
u8 tcp_ecn_syn(const struct tcp_conn *c);
u8 tcp_ecn_send(const struct tcp_conn *c, bool fresh_data, u8 *tos);
void tcp_ecn_queue_cwr(struct tcp_conn *c);
void tcp_ecn_received(struct tcp_conn *c, const struct tcp_seg *g);
bool tcp_ecn_echoed(const struct tcp_conn *c, const struct tcp_seg *g);
/* tcp_data.c */
void tcp_data_queue(struct tcp_conn *c, struct tcp_seg *g);
bool tcp_data_fast(struct tcp_conn *c, struct tcp_seg *g);
u32 tcp_ooo_collect(struct tcp_conn *c, u64 (*ret)[2], u32 max);
void tcp_ooo_reset(struct tcp_conn *c);
void tcp_ooo_recount(struct tcp_conn *c);	/* count what is there, forget what was delivered */
/* tcp_rate.c */
struct tcp_rate_sample {
	u64 xmit;			/* when the segment that made it was sent */
	u32 prior_delivered, prior_us;	/* what and when that had been */
	u32 delivered, interval_us;	/* the sample: segments in so long, if valid */
	u32 acked_sacked, losses;	/* of this ACK, valid or not */
	bool seen, valid, app_limited;
};
void tcp_rate_sent(struct tcp_conn *c, struct tcp_rec *r, bool first);
void tcp_rate_delivered(struct tcp_conn *c, const struct tcp_rec *r, struct tcp_ackinfo *a);
void tcp_rate_gen(struct tcp_conn *c, struct tcp_ackinfo *a);
void tcp_rate_check_app_limited(struct tcp_conn *c);
void tcp_rate_app_limited(struct tcp_conn *c);
/* tcp_recovery.c, tcp_rack.c, tcp_sack.c */
struct tcp_ackinfo {
	u64 retrans_xmit;	/* when the newest of them that had been retransmitted was last sent */
	u64 prior_una, now;
	u32 newly_acked, newly_sacked, newly_lost, prior_in_flight;
	bool advanced, data, dup, orig_acked, retrans_acked, dsack, ece, win_update, sacked_any, spurious;
	u64 first_xmit, last_xmit, sack_xmit;
	u32 rtt_us;
	u32 prior_delivered, prior_lost;
	u8 prior_state;
	bool maybe_delayed;		/* the ACK of a lone small segment: its round trip may contain a delayed ACK */
	struct tcp_rate_sample rs;
};
void tcp_sacktag(struct tcp_conn *c, const struct tcp_seg *g, struct tcp_ackinfo *a);
void tcp_fastretrans_alert(struct tcp_conn *c, const struct tcp_seg *g, struct tcp_ackinfo *a);
void tcp_cong_control(struct tcp_conn *c, struct tcp_ackinfo *a);
void tcp_enter_loss(struct tcp_conn *c);
void tcp_enter_cwr(struct tcp_conn *c);
void tcp_rack_advance(struct tcp_conn *c, const struct tcp_rec *r);
bool tcp_rack_detect_loss(struct tcp_conn *c);			/* true: something newly lost */
void tcp_mark_lost(struct tcp_conn *c, struct tcp_rec *r);
void tcp_cwnd_init(struct tcp_conn *c);
struct tcp_rec *tcp_rec_new(struct tcp_conn *c);
struct tcp_rec *tcp_rec_append(struct tcp_conn *c, u64 start, u64 end, bool fin);
void tcp_rec_unlink(struct tcp_conn *c, struct tcp_rec *r);
bool tcp_rec_split(struct tcp_conn *c, struct tcp_rec *r, u64 at);
void tcp_recs_free(struct tcp_conn *c);
u16 tcp_pcount(const struct tcp_conn *c, u64 bytes);

/* ---- tx2, tx3 ---- */
/* tcp_socket.c */
bool tcp_take_words(struct tcp_conn *c);	/* the client's words, validated; false: nonsense, connection is gone */
/* tcp_plain.c */
void tcp_plain_view(struct tcp_conn *c);	/* the words and the transmit ring of a plain socket are tcpd's */
/* tcp_output.c */
bool tcp_write_xmit(struct tcp_conn *c, bool push_one);		/* true: something was sent */
void tcp_xmit_retransmit_queue(struct tcp_conn *c);
int tcp_retransmit_rec(struct tcp_conn *c, struct tcp_rec *r);
int tcp_send_probe(struct tcp_conn *c, u32 len);		/* new data, one segment whatever its size */
int tcp_write_wakeup(struct tcp_conn *c);			/* one zero-window or keep-alive probe */
int tcp_send_syn(struct tcp_conn *c);
/* tcp_pacing.c */
void tcp_pacing_update(struct tcp_conn *c);			/* the congestion control or SO_MAX_PACING_RATE changed */
u64 tcp_pacing_rate(const struct tcp_conn *c);
u32 tcp_pacing_quantum(const struct tcp_conn *c);
u32 tcp_pacing_quota(struct tcp_conn *c, u32 quota);
void tcp_pacing_sent(struct tcp_conn *c, u32 len);
/* tcp_xmit.c: single segments */
int tcp_transmit_skb(struct tcp_conn *c, u64 off, u32 len, u8 flags, enum xmit_kind kind);
void tcp_send_ack(struct tcp_conn *c);
void tcp_send_dupack(struct tcp_conn *c, const struct tcp_seg *g);
void tcp_send_challenge_ack(struct tcp_conn *c);
void tcp_send_active_reset(struct tcp_conn *c);
void tcp_v4_send_reset(struct tcp_stack *t, const struct tcp_seg *g);
struct tcp_raw { struct tcp_tuple tuple; u32 seq, ack; u16 wnd; u8 flags, tos, ttl, optlen; u8 opts[40]; u32 sk, mark; bool may_fragment;
		 const struct tcp_conn *data; u64 off; u32 len; };	/* data: of whose send ring, or NULL */
int tcp_send_raw(struct tcp_stack *t, const struct tcp_raw *r);
bool tcp_still_out(const struct tcp_conn *c, const struct tcp_rec *r);
u16 tcp_select_window(struct tcp_conn *c);
u32 tcp_new_window(const struct tcp_conn *c);
u16 tcp_advertise_mss(struct tcp_stack *t, const struct tcp_sock *h, be32 faddr);
u8 tcp_pick_wscale(u32 space);

/* tcp_buffer.c */
u32 tcp_rcv_limit(const struct tcp_sock *h, u32 ring);
u16 tcp_first_window(u32 limit, u16 mss);
void tcp_buffers_start(struct tcp_conn *c);
void tcp_rcvbuf_set(struct tcp_conn *c, u32 space);
void tcp_rcv_rtt_measure(struct tcp_conn *c, const struct tcp_seg *g);
void tcp_rcv_space_adjust(struct tcp_conn *c);
void tcp_sndbuf_set(struct tcp_conn *c, u64 want);
void tcp_sndbuf_expand(struct tcp_conn *c);
void tcp_trim_arm(struct tcp_conn *c);
void tcp_trim_end(struct tcp_conn *c);
void tcp_timer_trim(struct timer *tm, void *arg, u64 now);

/* tcp_info.c */
u32 tcp_fill_info(struct tcp_conn *c, void *out, u32 len);

/* ---- what every step uses ---- */
void tcp_mark_dirty(struct tcp_conn *c, u32 cf);
void tcp_wait_for_room(struct tcp_conn *c);
void tcp_rearm_rto(struct tcp_conn *c);
void tcp_ld_RTO_revert(struct tcp_conn *c);
void tcp_arm_tlp_or_rto(struct tcp_conn *c);
void tcp_keep_rto(struct tcp_conn *c, u64 at);
void tcp_check_probe0(struct tcp_conn *c);
void tcp_arm_keepalive(struct tcp_conn *c);
void tcp_timer_rtx(struct timer *tm, void *arg, u64 now);
void tcp_timer_ack(struct timer *tm, void *arg, u64 now);
void tcp_timer_keep(struct timer *tm, void *arg, u64 now);
void tcp_timer_pace(struct timer *tm, void *arg, u64 now);
void tcp_clear_timers(struct tcp_conn *c);
void tcp_set_rto(struct tcp_conn *c);
void tcp_done(struct tcp_conn *c, int err);			/* the connection is over, err 0: in good order */
void tcp_reset_received(struct tcp_conn *c);
void tcp_release_slot(struct tcp_conn *c);
void tcp_conn_start(struct tcp_conn *c);			/* soft state of a connection that begins */
void tcp_conn_base(struct tcp_conn *c);				/* offsets a connection begins at */
bool tcp_conn_open(struct tcp_stack *t, u32 sk);		/* its arena is mapped */
void tcp_established(struct tcp_conn *c);
void tcp_store_state(struct tcp_conn *c, u32 sks, int err);
void tcp_accept_queue(struct tcp_conn *listener, struct tcp_conn *child);
void tcp_accept_unqueue(struct tcp_conn *child);
struct tcp_conn *tcp_parent_of(struct tcp_conn *child);	/* its listener, or NULL */

#endif
