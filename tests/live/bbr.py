#!/usr/bin/env python3
# bbr.py – BBR and pacing through the daemons, against the kernel's stack: chosen by the program and by the configuration, told by
# TCP_INFO and TCP_CC_INFO, kept when tcpd is killed; SO_MAX_PACING_RATE. The topology is drawn in stack.py.
import json
import time

from stack import PEER, STRATA, Failed, Stack, Tap, arguments

# The one that sends says what it was told on the way; both print the hash.
PROGRAM = '''
import hashlib, json, os, socket, struct, sys, time
role, host, port, n, cong, rate = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), sys.argv[5], int(sys.argv[6])
h = hashlib.sha256()
if role == "sink":
	c, _ = socket.create_server((host, port)).accept()
	while b := c.recv(1 << 18):
		h.update(b)
	print(h.hexdigest(), flush=True)
	sys.exit()
c = socket.socket()
if cong != "-":
	c.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, cong.encode())
if rate:
	c.setsockopt(socket.SOL_SOCKET, 47, struct.pack("Q", rate))	# SO_MAX_PACING_RATE
told = {"rate before": struct.unpack("Q", c.getsockopt(socket.SOL_SOCKET, 47, 8))[0]}
c.connect((host, port))
began = time.monotonic()
for i in range(n >> 16):
	b = os.urandom(1 << 16)
	c.sendall(b)
	h.update(b)
	if i == n >> 17:
		info = c.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 192)
		told["pacing"], told["most"] = struct.unpack_from("QQ", info, 104)
		told["delivery"] = struct.unpack_from("Q", info, 160)[0]
		told["cc"] = len(c.getsockopt(socket.IPPROTO_TCP, 26, 64))	# TCP_CC_INFO
		told["name"] = c.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, 16).split(b"\\0")[0].decode()
c.shutdown(socket.SHUT_WR)
c.recv(1)
print(h.hexdigest(), json.dumps(told | {"seconds": time.monotonic() - began}), flush=True)
'''


def transfer(s, side, size, cong='-', rate=0, kill=False):
	"""`side` sends; what it was told."""
	other, host, port = ('kernel', PEER, s.next_port()) if side == 'strata' else ('strata', STRATA, s.next_port())
	args = [host, str(port), str(size), cong, str(rate)]
	a = s.serve(other, port, 'python3', '-c', PROGRAM, 'sink', *args)
	b = s.spawn(side, 'python3', '-c', PROGRAM, 'source', *args)
	if kill:
		for _ in range(3):
			time.sleep(0.2)
			s.kill('tcpd')
	for p in (a, b):
		if p.wait(60):
			raise Failed(s.output(a) + s.output(b))
	got, (sent, told) = s.output(a).split()[0], s.output(b).split(maxsplit=1)
	if got != sent:
		raise Failed('bytes differ')
	return json.loads(told)


def bbr(s, cong, kill=False):
	told = transfer(s, 'strata', 64 << 20, cong, kill=kill)
	if told['name'] != 'bbr' or told['cc'] != 20 or not 0 < told['pacing'] < 1 << 40 or not told['delivery']:
		raise Failed(told)


def as_the_kernel(s):
	"""The kernel says the same of its own."""
	told = transfer(s, 'kernel', 16 << 20, 'bbr')
	if told['name'] != 'bbr' or told['cc'] != 20:
		raise Failed(told)


def paced(s, rate):
	size = 8 << 20
	told = transfer(s, 'strata', size, rate=rate)
	if told['rate before'] != rate or told['most'] != rate or not 0 < told['pacing'] <= rate:
		raise Failed(told)
	if told['seconds'] < 0.9 * size / rate:
		raise Failed(f'{size} bytes in {told["seconds"]:.3f} s')


def main():
	args = arguments()
	tap = Tap(args)
	for driver in args.driver or ['tap', 'packet']:
		with Stack(args, driver) as s:
			tap.case(f'{driver}: a program chooses bbr', bbr, s, 'bbr')
			tap.case(f'{driver}: tcpd is killed, bbr goes on', bbr, s, 'bbr', kill=True)
			tap.case(f'{driver}: the kernel says the same of its bbr', as_the_kernel, s)
			tap.case(f'{driver}: no faster than SO_MAX_PACING_RATE', paced, s, 8000000)
			tap.case(f'{driver}: no daemon ended by itself', s.assert_healthy)
		with Stack(args, driver, '[tcp]\ncongestion = bbr\n') as s:
			tap.case(f'{driver}, congestion = bbr: every connection', bbr, s, '-')
	tap.end()


if __name__ == '__main__':
	main()
