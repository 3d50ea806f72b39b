#!/usr/bin/env python3
# fastopen.py – Fast Open (RFC 7413) between Strata and the kernel's stack, each as client and as server: data goes with the
# SYN, arrives once and is answered, also when tcpd is killed again and again. The topology is drawn in stack.py.
from stack import PEER, STRATA, Failed, Stack, Tap, arguments, sh

# Answers every connection with what it sent, says what that was and whether it came in the SYN.
SERVER = '''
import socket, sys, threading
l = socket.create_server((sys.argv[1], int(sys.argv[2])), backlog=64)
l.setsockopt(socket.IPPROTO_TCP, socket.TCP_FASTOPEN, 32)
def serve(c):
	got = b""
	while b := c.recv(65536): got += b
	fast = c.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)[5] & 32
	c.sendall(got)
	c.close()
	print(got[:8].decode(), "syn" if fast else "-", flush=True)
while True: threading.Thread(target=serve, args=(l.accept()[0],)).start()
'''

# Connections one after the other, each with a number of its own; how many had data in the SYN taken.
CLIENT = '''
import os, socket, sys, time
fast = 0
for i in range(int(sys.argv[3])):
	data = b"%08d" % i + os.urandom(i * 37 % 5000)
	s = socket.socket()
	if i % 2:
		n = s.sendto(data, socket.MSG_FASTOPEN, (sys.argv[1], int(sys.argv[2])))
	else:
		s.setsockopt(socket.IPPROTO_TCP, 30, 1)		# TCP_FASTOPEN_CONNECT
		s.connect((sys.argv[1], int(sys.argv[2])))
		n = s.send(data)
	s.sendall(data[n:])
	fast += (s.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)[5] & 32) != 0
	s.shutdown(socket.SHUT_WR)
	got = b""
	while b := s.recv(65536): got += b
	if got != data: sys.exit(f"{i}: {len(got)} of {len(data)} bytes")
	s.close()
	time.sleep(float(sys.argv[4]))
print("fast", fast)
'''


def connections(s, server, n, kills=0):
	client = 'strata' if server == 'kernel' else 'kernel'
	port, host = s.next_port(), PEER if server == 'kernel' else STRATA
	a = s.serve(server, port, 'python3', '-c', SERVER, host, str(port))
	b = s.spawn(client, 'python3', '-c', CLIENT, host, str(port), str(n), '0.01' if kills else '0')
	for _ in range(kills):
		s.kill('tcpd')
	if b.wait(90):
		raise Failed(s.output(b))
	s.end(a)
	served = sorted(line.split()[0] for line in s.output(a).splitlines() if line[:8].isdigit())
	if served != [f'{i:08d}' for i in range(n)]:
		raise Failed(f'{len(served)} of {n} connections were served, {len(set(served))} of them different')
	fast = int(s.output(b).split()[1])
	# All but the first, which asked for the cookie; kills lose Strata's cookies, not the key of those it gives
	if fast < (n // 10 if kills else n - 2):
		raise Failed(f'{fast} of {n} connections were fast')


def slow(s):
	"""Switched off: everything works as without."""
	port = s.next_port()
	a = s.serve('kernel', port, 'python3', '-c', SERVER, PEER, str(port))
	out = s.run('strata', 'python3', '-c', CLIENT.replace('if i % 2', 'if False'), PEER, str(port), '5', '0')
	s.end(a)
	if out.split() != ['fast', '0']:
		raise Failed(out)


def main():
	args = arguments()
	tap = Tap(args)
	for driver in args.driver or ['tap', 'packet']:
		with Stack(args, driver, '[tcp]\nfastopen = yes\n') as s:
			sh(*s.on_kernel('sysctl', '-qw', 'net.ipv4.tcp_fastopen=3'))
			for server in ('kernel', 'strata'):
				tap.case(f'{driver}: {server} is the server', connections, s, server, 100)
				tap.case(f'{driver}: {server} is the server, tcpd is killed', connections, s, server, 100, kills=10)
			tap.case(f'{driver}: no daemon ended by itself', s.assert_healthy)
		with Stack(args, driver, '[tcp]\nfastopen = no\n') as s:
			sh(*s.on_kernel('sysctl', '-qw', 'net.ipv4.tcp_fastopen=3'))
			tap.case(f'{driver}: switched off', slow, s)
	tap.end()


if __name__ == '__main__':
	main()
