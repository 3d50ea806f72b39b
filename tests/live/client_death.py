#!/usr/bin/env python3
# client_death.py – a program with open sockets is killed with SIGKILL: its peer sees the FIN or RST it would see from the kernel's
# stack, and everything the program had is reclaimed. Each case runs on the kernel first: that is what is expected.
# The topology is drawn in stack.py.
import json, os, signal, time

from stack import PEER, STRATA, Failed, Stack, Tap, arguments, wait_for

# The peer: accepts (or makes) N connections, sends `greet` bytes on each, then says how each of them ended.
PEER_PROGRAM = '''
import json, select, socket, sys
role, host, port, n, greet = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), int(sys.argv[5])
if role == "accept":
	l = socket.create_server((host, port), backlog=1024)
	c = [l.accept()[0] for _ in range(n)]
else:
	c = [socket.create_connection((host, port), 10) for _ in range(n)]
for s in c:
	s.settimeout(15)
	s.sendall(b"x" * greet)
print("connected", flush=True)
seen = {"fin": 0, "rst": 0, "timeout": 0}
for s in c:
	try:
		while (got := s.recv(65536)): pass
		seen["fin"] += 1
	except ConnectionResetError: seen["rst"] += 1
	except TimeoutError: seen["timeout"] += 1
print(json.dumps(seen), flush=True)
'''

# The victim: N connections; waits until `unread` bytes lie in each, reads none, or writes for ever.
VICTIM = '''
import socket, sys, time
role, host, port, n, unread, write = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), int(sys.argv[5]), int(sys.argv[6])
if role == "accept":
	l = socket.create_server((host, port), backlog=1024)
	c = [l.accept()[0] for _ in range(n)]
else:
	c = [socket.create_connection((host, port), 10) for _ in range(n)]
for s in c:
	s.settimeout(10)
	if unread: s.recv(unread, socket.MSG_PEEK | socket.MSG_WAITALL)
print("ready", flush=True)
while write:
	for s in c: s.sendall(b"y" * 10000)
time.sleep(60)
'''


def said(s, proc, word):
	def look():
		if word in s.output(proc):
			return True
		if proc.poll() is not None:
			raise Failed(f'ended with {proc.returncode}: {s.output(proc)[-1000:]}')
		return False
	wait_for(f'"{word}"', look, 20)


def death(s, where, role, n, greet, write):
	"""How the peer, always on the kernel, of a killed program on `where` sees its connections end."""
	port = s.next_port()
	host = STRATA if where == 'strata' and role == 'accept' else PEER
	victim = ['python3', '-c', VICTIM, role, host, str(port), str(n), str(greet), str(write)]
	watcher = ['python3', '-c', PEER_PROGRAM, 'connect' if role == 'accept' else 'accept', host, str(port), str(n), str(greet)]
	if role == 'accept':
		v = s.serve(where, port, *victim)
		w = s.spawn('kernel', *watcher)
	else:
		w = s.serve('kernel', port, *watcher)
		v = s.spawn(where, *victim)
	try:
		said(s, w, 'connected')
		said(s, v, 'ready')
		os.killpg(v.pid, signal.SIGKILL)
		v.wait(5)
		said(s, w, '{')
		return json.loads(s.output(w).strip().splitlines()[-1])
	finally:
		s.end(v)
		s.end(w)


def established(s):
	return [line for line in s.tool('ss').splitlines() if 'ESTAB' in line or 'LISTEN' in line or 'WAIT1' in line or 'SYN' in line]


def case(s, role, n, greet, write):
	wanted = death(s, 'kernel', role, n, greet, write)
	death(s, 'strata', role, n, greet, write)	# pairs and arenas made ahead are at their usual number now
	time.sleep(0.5)
	usage = s.usage()
	for _ in range(3):
		got = death(s, 'strata', role, n, greet, write)
		if wanted != got:
			raise Failed(f'the kernel: {wanted}; Strata: {got}')
	wait_for('the end of its sockets in `strata ss`', lambda: not established(s), 10)
	room = {'tcpd': 70} if role == 'accept' else {}	# pairs made ahead for accept() come and go by up to 64; else: exactly
	try:
		wait_for('descriptor counts back', lambda: all(s.usage()[d][0] <= usage[d][0] + room.get(d, 0) for d in usage), 5)
	except Failed:
		now = s.usage()
		raise Failed('descriptors are not back: ' + ', '.join(f'{d} {usage[d][0]} -> {now[d][0]}' for d in usage)) from None
	if s.unexpected():
		raise Failed(str(s.unexpected()))


def while_down(s, layer):
	"""The program dies while a daemon is away: found out by the successor."""
	port = s.next_port()
	w = s.serve('kernel', port, 'python3', '-c', PEER_PROGRAM, 'accept', PEER, str(port), '5', '0')
	v = s.spawn('strata', 'python3', '-c', VICTIM, 'connect', PEER, str(port), '5', '0', '0')
	try:
		said(s, w, 'connected')
		said(s, v, 'ready')
		os.kill(s.pid(layer), signal.SIGSTOP)
		os.killpg(v.pid, signal.SIGKILL)
		v.wait(5)
		time.sleep(0.05)
		s.kill(layer)
		said(s, w, '{')
		seen = json.loads(s.output(w).strip().splitlines()[-1])
		if seen['timeout']:
			raise Failed(f'the peer saw {seen}')
		wait_for('the end of its sockets', lambda: not established(s), 10)
	finally:
		s.end(v)
		s.end(w)


# The parent's arena goes with the parent: the child, which has it mapped and has said nothing to sockd yet, gets the next of that number.
HEIR = '''
import os, socket, sys, time
host, port, mine, port2 = sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4])
with socket.create_connection((host, port), 10) as c: assert c.recv(4) == b"xxxx"
if os.fork():
	os._exit(0)
time.sleep(1)
for _ in range(3):
	with socket.create_connection((host, port), 10) as c: assert c.recv(4) == b"xxxx"
l = socket.create_server((mine, port2))
print("listening", flush=True)
c, _ = l.accept()
c.sendall(b"heir")
c.close()
'''
GREETER = '''
import socket, sys
l = socket.create_server((sys.argv[1], int(sys.argv[2])))
while True:
	c, _ = l.accept(); c.sendall(b"xxxx"); c.close()
'''


def heir(s):
	greeter = s.next_port()
	port = s.next_port()
	g = s.serve('kernel', greeter, 'python3', '-c', GREETER, PEER, str(greeter))
	h = s.spawn('strata', 'sh', '-c', 'python3 -c "$@"; sleep 8', 'sh', HEIR, PEER, str(greeter), STRATA, str(port))
	try:
		said(s, h, 'listening')
		out = s.run('kernel', 'python3', '-c', f'import socket; print(socket.create_connection(("{STRATA}", {port}), 10).recv(9))')
		if "b'heir'" not in out:
			raise Failed(out + s.output(h))
	finally:
		s.end(h)
		s.end(g)


def main():
	args = arguments()
	tap = Tap(args)
	for driver in args.driver or ['tap']:
		try:
			with Stack(args, driver) as s:
				for role in ('connect', 'accept'):
					tap.case(f'{driver}: {role}: 50 idle connections', case, s, role, 50, 0, 0)
					tap.case(f'{driver}: {role}: 50 connections with unread data', case, s, role, 50, 100, 0)
					tap.case(f'{driver}: {role}: 10 connections in the middle of writing', case, s, role, 10, 0, 1)
				tap.case(f'{driver}: a child of fork outlives its parent', heir, s)
				for layer in ('tcpd', 'sockd'):
					tap.case(f'{driver}: the program dies while {layer} is hung and is then killed', while_down, s, layer)
		except Failed as e:
			tap.result(False, f'{driver}: the stack runs', e)
	tap.end()


if __name__ == '__main__':
	main()
