/* urgent.c – urgent data in the application: where the mark is, recv with MSG_OOB, as tcp_recv_urg() does it.
 *
 * The stack marks the byte in sk_stack.urg (its offset + 1). It is pending until rx_tail has passed it; out of line it is skipped
 * by those who read on, and MSG_OOB may take it before. The token that shows PRI lies in the near end until the byte was taken
 * or passed; while it is pending a drain leaves it there. Who polls for IN alone and is woken by it throws it away: epoll then
 * shows no PRI to others any more. SIGURG (F_SETOWN) is the kernel's. Linux shows SIGURG with the pointer, here it comes with the byte.
 * Called by proto.c, stream.c and options.c. */
#include <sys/ioctl.h>
#include <sys/syscall.h>

#include "services/shim/stream.h"

/* Offset of the pending urgent byte + 1; 0: none. */
u64 urgent_mark(const struct sockbuf *b)
{
	u64 urg = load_acquire(&b->s->urg);

	return unlikely(urg && load_relaxed(&b->c->rx_tail) < urg) ? urg : 0;
}

bool urgent_inline(const struct sockbuf *b) { return load_relaxed(&b->c->opts) & SKC_OOBINLINE; }

bool urgent_at_mark(const struct sockbuf *b)
{
	u64 urg = urgent_mark(b);

	return urg && load_relaxed(&b->c->rx_tail) == urg - 1;
}

/* tcp_inq(): up to the mark. */
u64 urgent_inq(const struct sockbuf *b, u64 readable)
{
	u64 urg = urgent_mark(b), tail = load_relaxed(&b->c->rx_tail);

	return urg && !urgent_inline(b) && urg - 1 - tail < readable ? urg - 1 - tail : readable;
}

/* Is the urgent token the next thing in the near end, and to be kept? */
bool urgent_keep(const struct sockbuf *b, int fd)
{
	u64 urg = urgent_mark(b);
	int mark = 0;

	return urg && load_relaxed(&b->c->urg_read) != urg && !sys(SYS_ioctl, fd, SIOCATMARK, &mark) && mark;
}

void urgent_passed(int fd)
{
	char c;

	sys_recv(fd, &c, 1, MSG_OOB | MSG_DONTWAIT);
}

/* Never blocks, as in Linux. */
ssize_t urgent_recv(struct sock *s, int fd, const struct iovec *v, int n, int flags)
{
	const struct sockbuf *b = &s->b;
	u64 urg = urgent_mark(b), seen = load_relaxed(&b->c->urg_read);
	u8 byte;

	if (urgent_inline(b) || !urg || seen == urg || stream_plain(s, PLAIN_RX))
		return -EINVAL;
	if (load_acquire(&b->s->rx_head) < urg)
		return load_acquire(&b->s->fin) || load_acquire(&b->s->state) == SKS_CLOSED ||
		       load_relaxed(&b->c->shut) & SKC_SHUT_RD ? 0 : -EAGAIN;
	byte = b->rx[(urg - 1) & (b->rx_size - 1)];
	if (!(flags & MSG_PEEK)) {
		if (!atomic_compare_exchange_strong(&b->c->urg_read, &seen, urg))
			return -EINVAL;		/* another thread has it */
		urgent_passed(fd);
		if (!stream_readable(b))
			stream_spurious(s, fd, false);
	}
	for (int i = 0; i < n; i++) {
		if (!v[i].iov_len)
			continue;
		if (!(flags & MSG_TRUNC))
			*(u8 *)v[i].iov_base = byte;
		return 1;
	}
	return 0;
}
