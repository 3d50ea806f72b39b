#!/usr/bin/env python3
# ecn.py – congestion marks between Strata and the kernel's stack: asked for by either side, set by a router (nftables at the
# kernel's end of the wire, both ways), answered by both; also when tcpd is killed. The topology is drawn in stack.py.
import time

from stack import PEER, STRATA, Failed, Stack, Tap, arguments, sh

# Bytes both ways at once; says what the connection had in TCP_INFO (8: ECN, 16: capable segments seen) and what arrived.
PROGRAM = '''
import hashlib, os, socket, sys, threading
role, host, port, n = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
if role == "server":
	c, _ = socket.create_server((host, port)).accept()
else:
	c = socket.create_connection((host, port))
out, got = hashlib.sha256(), hashlib.sha256()
def send():
	block = os.urandom(1 << 20)
	for _ in range(n >> 20):
		c.sendall(block)
		out.update(block)
	c.shutdown(socket.SHUT_WR)
t = threading.Thread(target=send)
t.start()
options, left = 0, n
while b := c.recv(1 << 18):
	got.update(b)
	left -= len(b)
	if left > n // 2:
		options = c.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)[5] & 24
t.join()
print(out.hexdigest(), got.hexdigest(), options, flush=True)
'''
BYTES = 64 << 20


def nft(s, text):
	sh(*s.on_kernel('nft', text))


def routers_mark(s, one_in):
	"""Capable packets get a mark, one in so many, as a queue that fills would do; both ways."""
	nft(s, 'add table ip r')
	for chain, hook in (('up', 'prerouting'), ('down', 'postrouting')):
		nft(s, f'add chain ip r {chain} {{ type filter hook {hook} priority 0; }}')
		nft(s, f'add rule ip r {chain} ip ecn ect0 numgen inc mod {one_in} 0 ip ecn set ce')


def counters(s):
	mine = s.stat()
	theirs = dict(line.split()[:2] for line in sh(*s.on_kernel('nstat', '-asz')).splitlines() if not line.startswith('#'))
	return mine['tcpd'] if 'tcpd' in mine else mine, {k: int(float(v)) for k, v in theirs.items()}


def find(tree, name):
	"""A counter, wherever `strata stat --json` has it."""
	if isinstance(tree, dict):
		if isinstance(tree.get(name), int):
			return tree[name]
		return sum(find(v, name) for v in tree.values())
	return 0


def transfer(s, server, ecn, kill=False):
	client = 'strata' if server == 'kernel' else 'kernel'
	port, host = s.next_port(), PEER if server == 'kernel' else STRATA
	before = counters(s)
	a = s.serve(server, port, 'python3', '-c', PROGRAM, 'server', host, str(port), str(BYTES))
	b = s.spawn(client, 'python3', '-c', PROGRAM, 'client', host, str(port), str(BYTES))
	if kill:
		for _ in range(3):
			time.sleep(0.1)
			s.kill('tcpd')
	for p in (a, b):
		if p.wait(60):
			raise Failed(s.output(a) + s.output(b))
	(out1, got1, opt1), (out2, got2, opt2) = s.output(a).split(), s.output(b).split()
	if out1 != got2 or out2 != got1:
		raise Failed('bytes differ')
	seen = 8 if kill else 24		# that capable segments came is soft
	if [int(opt1) & seen, int(opt2) & seen] != [seen if ecn else 0] * 2:
		raise Failed(f'TCP_INFO: server {opt1}, client {opt2}')
	after = counters(s)
	moved = {name: find(after[0], name) - find(before[0], name) for name in ('TCP_CE_MARKS', 'TCP_ECN_CWR')}
	moved |= {name: after[1][name] - before[1][name] for name in ('TcpExtTCPDeliveredCE',)}
	if ecn and not all(moved.values()) or not ecn and any(moved.values()):
		raise Failed(f'marks heard and answered: {moved}')


def main():
	args = arguments()
	tap = Tap(args)
	for driver in args.driver or ['tap', 'packet']:
		for word, asks in (('2', False), ('yes', True), ('no', False)):
			with Stack(args, driver, f'[tcp]\necn = {word}\n') as s:
				sh(*s.on_kernel('sysctl', '-qw', 'net.ipv4.tcp_ecn=2'))
				routers_mark(s, 50)
				tap.case(f'{driver}, ecn = {word}: Strata connects', transfer, s, 'kernel', asks)
				tap.case(f'{driver}, ecn = {word}: a kernel that does not ask connects', transfer, s, 'strata', False)
				sh(*s.on_kernel('sysctl', '-qw', 'net.ipv4.tcp_ecn=1'))
				tap.case(f'{driver}, ecn = {word}: a kernel that asks connects', transfer, s, 'strata', word != 'no')
				if asks:
					tap.case(f'{driver}: tcpd is killed, Strata connected', transfer, s, 'kernel', True, kill=True)
					tap.case(f'{driver}: tcpd is killed, the kernel connected', transfer, s, 'strata', True, kill=True)
				tap.case(f'{driver}, ecn = {word}: no daemon ended by itself', s.assert_healthy)
	tap.end()


if __name__ == '__main__':
	main()
