#!/usr/bin/env python3
# wire.py – a wire in user space between TAPs of two network namespaces: wire.py NS DEV NS DEV. Says "up", then copies frames.
#
#   NS 1  TAP DEV ── this process ── TAP DEV  NS 2
#
# Over a veth, what a packet causes happens inside the send() that sent it, while the kernel holds the socket: an ICMP error is then
# taken differently. Here every frame is an event of its own, as on a wire.
import ctypes, fcntl, os, selectors, struct, sys

TUNSETIFF, IFF_TAP, IFF_NO_PI, CLONE_NEWNET = 0x400454ca, 2, 0x1000, 0x40000000


def tap(ns, dev):
	libc = ctypes.CDLL(None, use_errno=True)
	with open('/run/netns/' + ns, 'rb') as f:
		if libc.setns(f.fileno(), CLONE_NEWNET):
			raise OSError(ctypes.get_errno(), 'setns ' + ns)
	fd = os.open('/dev/net/tun', os.O_RDWR | os.O_NONBLOCK)
	fcntl.ioctl(fd, TUNSETIFF, struct.pack('16sH22x', dev.encode(), IFF_TAP | IFF_NO_PI))
	return fd


def main():
	a, b = tap(*sys.argv[1:3]), tap(*sys.argv[3:5])
	print('up', flush=True)
	ready = selectors.DefaultSelector()
	ready.register(a, selectors.EVENT_READ, b)
	ready.register(b, selectors.EVENT_READ, a)
	while True:
		for key, _ in ready.select():
			try:
				os.write(key.data, os.read(key.fd, 65536))
			except (BlockingIOError, OSError):
				pass		# the other end is down: lost, as on a wire


if __name__ == '__main__':
	main()
