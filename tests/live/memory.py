#!/usr/bin/env python3
# memory.py – connections that were busy and are quiet now hold no memory: rings give their pages back.
# The topology is drawn in stack.py.
import os, re, sys, time

from stack import PEER, Failed, Stack, Tap, arguments, wait_for

CONNECTIONS, EACH = 20, 30 << 20

# The peer: takes or sends EACH bytes on every connection, then keeps it open.
PEER_PROGRAM = '''
import socket, sys, threading
host, port, n, each, send = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]), sys.argv[5] == "send"
l = socket.create_server((host, port), backlog=128)
def one(c):
	block, left = bytes(1 << 20), each
	while left:
		left -= c.send(block[:left]) if send else len(c.recv(min(left, 1 << 20)))
	while c.recv(4096): pass
while True: threading.Thread(target=one, args=(l.accept()[0],), daemon=True).start()
'''

# The program on Strata: one connection after the other, all stay open; then a byte a second on each, as a quiet program does.
PROGRAM = '''
import socket, sys, time
host, port, n, each, receive = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]), sys.argv[5] == "send"
block, all = bytes(1 << 20), []
for _ in range(n):
	c = socket.create_connection((host, port), 10)
	left = each
	while left:
		left -= len(c.recv(min(left, 1 << 20))) if receive else c.send(block[:left])
	all.append(c)
print("moved", flush=True)
while True:
	time.sleep(1)
	for c in all if not receive else []: c.send(b"x")
'''


def arena_bytes(s):
	"""What the memfds of arenas occupy, in bytes: tcpd holds each of them."""
	seen = {}
	base = f'/proc/{s.pid("tcpd")}/fd'
	for fd in os.listdir(base):
		path = f'{base}/{fd}'
		try:
			name, st = os.readlink(path), os.stat(path)
		except FileNotFoundError:
			continue
		if re.search(r'memfd:.*arena', name):
			seen[st.st_ino] = st.st_blocks * 512
	if not seen:
		raise Failed('tcpd holds no memfd of an arena')
	return sum(seen.values())


def case(s, verb):
	port = s.next_port()
	w = s.serve('kernel', port, sys.executable, '-c', PEER_PROGRAM, PEER, str(port), str(CONNECTIONS), str(EACH), verb)
	before = arena_bytes(s) if s.tool('ss').count('\n') > 1 else 0
	v = s.spawn('strata', sys.executable, '-c', PROGRAM, PEER, str(port), str(CONNECTIONS), str(EACH), verb)
	try:
		wait_for('"moved"', lambda: 'moved' in s.output(v) or v.poll() is not None, 60)
		if v.poll() is not None:
			raise Failed(s.output(v)[-1000:])
		most = arena_bytes(s) - before
		wait_for('memory given back', lambda: arena_bytes(s) - before < CONNECTIONS * (128 << 10), 15)
		if len([line for line in s.tool('ss').splitlines() if 'ESTAB' in line]) < CONNECTIONS:
			raise Failed('connections are gone')
		print(f'# {verb}: {most >> 20} MiB when the last byte had moved, {arena_bytes(s) - before >> 10} KiB when quiet')
	finally:
		s.end(v)
		s.end(w)
	time.sleep(0.2)


def main():
	args = arguments()
	tap = Tap(args)
	with Stack(args, 'tap') as s:
		tap.case('receive rings of quiet connections', case, s, 'send')
		tap.case('transmit rings of quiet connections', case, s, 'receive')
	tap.end()


if __name__ == '__main__':
	main()
