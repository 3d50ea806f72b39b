/* fastopen.c – tx1: sendto(MSG_FASTOPEN), connect and the first send in one call (RFC 7413, appendix A.1).
 *
 * As Linux: where a cookie is known the SYN leaves with the bytes, else they follow the handshake; a blocking call returns
 * when it is complete, one that may not block says EINPROGRESS when nothing could be sent. Called by calls_io.c. */
#include "services/shim/stream.h"

ssize_t sock_send_fastopen(struct sock *s, int fd, const struct iovec *v, int n, int flags, const struct sockaddr *a, socklen_t len)
{
	bool begun = load_acquire(&s->life) == SOCK_LIVE && load_acquire(&s->b.s->state) == SKS_DEFERRED;
	int e;

	if (n && bad_pointer(v))
		return -EFAULT;
	if (!begun) {
		e = sock_connect_fastopen(s, fd, a, len, flags, iov_total(v, n) != 0);
		if (e < 0)
			return e;
	}
	return sock_sendmsg(s, fd, v, n, flags & ~MSG_FASTOPEN);
}
