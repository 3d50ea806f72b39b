#!/usr/bin/env python3
# plain.py – holders without the shim: static programs, and such as were started without LD_PRELOAD, get a connection from a program
# that has it. They read and write the stream itself, also when tcpd dies in the middle. The topology is drawn in stack.py.
import hashlib, os, socket, subprocess, threading, time

from stack import PEER, STRATA, Failed, Stack, Tap, arguments, wait_for

# inetd: HOST PORT HOW COMMAND ...  accepts, and gives each connection as standard input and output to a program.
INETD = '''
import os, signal, socket, sys
host, port, how, cmd = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4:]
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
l = socket.create_server((host, port), backlog=100)
while True:
	c, _ = l.accept()
	if how in ("fork", "late"):
		if how == "late":
			import time; time.sleep(0.2)
		if os.fork() == 0:
			os.dup2(c.fileno(), 0); os.dup2(c.fileno(), 1)
			os.execve(cmd[0], cmd, {})
	elif how == "greet":		# something of the parent's on either side of the child's
		c.sendall(b"before ")
		pid = os.fork()
		if pid == 0:
			os.dup2(c.fileno(), 0); os.dup2(c.fileno(), 1)
			os.execve(cmd[0], cmd, {})
		signal.signal(signal.SIGCHLD, signal.SIG_DFL)
		os.waitpid(pid, 0)
		c.sendall(b" after " + c.recv(100))
	elif how == "spawn":
		fa = [(os.POSIX_SPAWN_DUP2, c.fileno(), 0), (os.POSIX_SPAWN_DUP2, c.fileno(), 1)]
		os.posix_spawn(cmd[0], cmd, {}, file_actions=fa)
	elif how == "subprocess":
		import subprocess
		subprocess.Popen(cmd, stdin=c, stdout=c, env={})
	c.close()
'''

# The other end: HOST PORT BYTES KILLS. Sends, receives what comes back, compares; says "half" on the way, and what it found.
ECHOED = '''
import hashlib, os, socket, sys, threading, time
host, port, n, pause = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
c = socket.create_connection((host, port)); c.settimeout(30)
block, sent, got = os.urandom(1 << 16), hashlib.sha256(), hashlib.sha256()
def say():
	left = n
	while left:
		b = block[:min(left, len(block))]
		c.sendall(b); sent.update(b); left -= len(b)
		time.sleep(pause)
	c.shutdown(socket.SHUT_WR)
t = threading.Thread(target=say); t.start()
total, parts = 0, 0
while b := c.recv(65536):
	got.update(b); total += len(b)
	if total * 4 // n > parts:
		parts = total * 4 // n; print("part", parts, flush=True)
t.join()
print("same" if got.digest() == sent.digest() and total == n else f"different: {total} of {n}", flush=True)
'''


class Plain:
	def __init__(self, s):
		self.s, self.program = s, os.path.join(s.build, 'tests/live/plain')

	def inetd(self, how, *args):
		port = self.s.next_port()
		return self.s.serve('strata', port, 'python3', '-c', INETD, STRATA, str(port), how, self.program, *args), port

	def talk(self, port, text, end=True):
		"""What a client of the kernel's hears when it says `text`."""
		code = ('import socket, sys\nc = socket.create_connection((sys.argv[1], int(sys.argv[2]))); c.settimeout(20)\n'
			'c.sendall(sys.argv[3].encode())\n' + ('c.shutdown(socket.SHUT_WR)\n' if end else '') +
			'got = b""\nwhile b := c.recv(1000): got += b\nprint(got.decode(), end="")')
		return self.s.run('kernel', 'python3', '-c', code, STRATA, str(port), text, timeout=30)


def echo(s, how, kills=()):
	server, port = Plain(s).inetd(how, 'echo')
	try:
		size, pause = (6 << 20, 0.01) if kills else (3000000, 0)
		client = s.spawn('kernel', 'python3', '-c', ECHOED, STRATA, str(port), str(size), str(pause))
		for i, layer in enumerate(kills):
			wait_for(f'part {i + 1}', lambda i=i: f'part {i + 1}' in s.output(client) or client.poll() is not None, 60)
			s.kill(layer)
		client.wait(60)
		if 'same' not in s.output(client):
			raise Failed(f'{s.output(client)[-300:]}; server: {s.output(server)[-300:]}')
	finally:
		s.end(server)


def crowd(s):
	"""Many at once, each connection to a process of its own."""
	server, port = Plain(s).inetd('fork', 'echo')
	code = ('import os, socket, sys, threading\nbad = []\ndef one():\n\tc = socket.create_connection((sys.argv[1], int(sys.argv[2]))); c.settimeout(60)\n'
		'\tdata, got = os.urandom(20000), b""\n\tc.sendall(data); c.shutdown(socket.SHUT_WR)\n\twhile b := c.recv(65536): got += b\n'
		'\tif got != data: bad.append(len(got))\nt = [threading.Thread(target=one) for _ in range(150)]\n'
		'for x in t: x.start()\nfor x in t: x.join()\nprint("bad", bad)')
	try:
		if (out := s.run('kernel', 'python3', '-c', code, STRATA, str(port), timeout=90)) != 'bad []\n':
			raise Failed(out[-500:])
	finally:
		s.end(server)


def socat(s):
	"""socat gives the connection itself to a program that env starts with an empty environment."""
	port = s.next_port()
	server = s.serve('strata', port, 'socat', f'TCP-LISTEN:{port},bind={STRATA},reuseaddr,fork',
		f'EXEC:"env -i {Plain(s).program} echo",nofork')
	try:
		for _ in range(3):
			client = s.spawn('kernel', 'python3', '-c', ECHOED, STRATA, str(port), '1000000', '0')
			client.wait(60)
			if 'same' not in s.output(client):
				raise Failed(f'{s.output(client)[-300:]}; server: {s.output(server)[-300:]}')
	finally:
		s.end(server)


def both_kinds(s):
	"""The parent has the shim and goes on using what its child has."""
	p = Plain(s)
	server, port = p.inetd('greet', 'say', 'between')
	try:
		for _ in range(20):
			got = p.talk(port, 'told', end=False)
			if got != 'before between after told':
				raise Failed(repr(got))
	finally:
		s.end(server)


def in_turn(s):
	"""A shell's programs read one after the other, each finds what the last left."""
	p, port = Plain(s), s.next_port()
	script = f'env -i {p.program} take 5; env -i {p.program} take 7; head -c 3 >&2; env -i {p.program} count'
	server = s.serve('strata', port, 'socat', f'TCP-LISTEN:{port},bind={STRATA},reuseaddr,fork', f'EXEC:"sh -c \\"{script}\\"",nofork')
	try:
		got = talk_slowly(s, port)
		if got != '5 393\n' or 'helloplainer123' not in s.output(server):
			raise Failed(f'{got!r} {s.output(server)!r}')
	finally:
		s.end(server)


def talk_slowly(s, port):
	code = ('import socket, sys, time\nc = socket.create_connection((sys.argv[1], int(sys.argv[2]))); c.settimeout(20)\n'
		'for part in ("hel", "lopla", "iner1", "23", "COUNT"): c.sendall(part.encode()); time.sleep(0.3)\n'
		'c.shutdown(socket.SHUT_WR)\ngot = b""\nwhile b := c.recv(1000): got += b\nprint(got.decode(), end="")')
	return s.run('kernel', 'python3', '-c', code, STRATA, str(port), timeout=30)


# Gets the connection in a message and has no shim: HOW to use it.
STRANGER = '''
import array, socket, sys
u = socket.socket(socket.AF_UNIX); u.connect(sys.argv[1])
_, anc, _, _ = u.recvmsg(10, socket.CMSG_LEN(4))
c = socket.socket(fileno=array.array("i", anc[0][2])[0])
c.sendall(b"from a stranger ")
print("got", c.recv(100), flush=True)
'''
GIVER = '''
import array, os, socket, sys
u = socket.socket(socket.AF_UNIX); u.bind(sys.argv[3]); u.listen()
c = socket.create_connection((sys.argv[1], int(sys.argv[2])))
c.sendall(b"from the giver ")
print("here", flush=True)
v, _ = u.accept()
v.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [c.fileno()]))])
c.close()
v.recv(1)
'''
WATCH = '''
import socket, sys
l = socket.create_server((sys.argv[1], int(sys.argv[2])))
c, _ = l.accept(); c.settimeout(20)
got = b""
while len(got) < 31: got += c.recv(100)
c.sendall(b"and back")
print(got.decode(), flush=True)
print("end", c.recv(1), flush=True)
'''


def stranger(s):
	"""Whoever was not announced: what he writes is the stream, and what he reads after it."""
	port, path = s.next_port(), os.path.join(s.dir, 'stranger')
	w = s.serve('kernel', port, 'python3', '-c', WATCH, PEER, str(port))
	g = s.spawn('strata', 'python3', '-c', GIVER, PEER, str(port), path)
	wait_for('the giver', lambda: 'here' in s.output(g), 10)
	out = s.run('kernel', 'python3', '-c', STRANGER, path)
	wait_for('the end', lambda: 'end' in s.output(w), 10)
	if 'from the giver from a stranger' not in s.output(w) or "b'and back'" not in out or "end b''" not in s.output(w):
		raise Failed(out + s.output(w))


def dies(s):
	"""Killed with bytes unread: the peer is reset. And the peer gone: the program ends."""
	p = Plain(s)
	server, port = p.inetd('fork', 'take', '1000000000')
	try:
		with_kill = ('import socket, sys, time\nc = socket.create_connection((sys.argv[1], int(sys.argv[2]))); c.settimeout(20)\nc.sendall(b"x" * 100)\n'
			'print("sent", flush=True)\ntry: print("end", c.recv(1))\nexcept ConnectionResetError: print("reset")')
		client = s.spawn('kernel', 'python3', '-c', with_kill, STRATA, str(port))
		wait_for('the program', lambda: 'x' * 100 in s.output(server), 10)
		pids = subprocess.run(['pgrep', '-s', str(server.pid), '-f', 'take 1000000000'], stdout=subprocess.PIPE, text=True).stdout.split()
		for pid in pids:
			if int(pid) != server.pid and os.readlink(f'/proc/{pid}/exe') == os.path.realpath(p.program):
				os.kill(int(pid), 9)
		client.wait(20)
		if "end b''" not in s.output(client):
			raise Failed(s.output(client))
		wait_for('the end of its socket', lambda: 'ESTAB' not in s.tool('ss'), 5)
	finally:
		s.end(server)


def ended_before(s):
	"""The peer has said everything, FIN too, before the program is started."""
	p = Plain(s)
	for how in ('late', 'subprocess'):
		server, port = p.inetd(how, 'count')
		try:
			for _ in range(10):
				got = p.talk(port, 'COUNT' * 200)
				if got != '1000 78600\n':
					raise Failed(f'{how}: {got!r}')
		finally:
			s.end(server)


# HOST PORT N SIZE: sends N connections a stream each that the other side can compute.
SOURCE = '''
import random, socket, sys, threading, time
l = socket.create_server((sys.argv[1], int(sys.argv[2])), backlog=100)
def feed(c, i):
	data, at = random.Random(i).randbytes(int(sys.argv[4])), 0
	while at < len(data):
		n = random.choice((1, 7, 100, 1448, 20000))
		c.sendall(data[at:at + n]); at += n
	c.close()
for i in range(int(sys.argv[3])):
	threading.Thread(target=feed, args=(l.accept()[0], i)).start()
'''
# Reads them in threads, while others start programs that inherit everything, and have no use for it.
LEAKS = '''
import os, random, socket, subprocess, sys, threading
host, port, n, size, program = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]), sys.argv[5]
bad = []
def read(c, i):
	got = bytearray()
	while b := c.recv(random.choice((1, 50, 3000, 65536))): got += b
	if got != random.Random(i).randbytes(size): bad.append((i, len(got)))
for i in range(n):
	c = socket.create_connection((host, port)); os.set_inheritable(c.fileno(), True)
	t = threading.Thread(target=read, args=(c, i)); t.start()
	subprocess.run([program, "say", ""], stdout=subprocess.DEVNULL, env={}, close_fds=False)
	t.join(); c.close()
print("bad", bad, flush=True)
'''


def leaked(s):
	"""A program that reads with one thread and starts another program with the next: every byte once."""
	port, n, size = s.next_port(), 60, 300000
	s.serve('kernel', port, 'python3', '-c', SOURCE, PEER, str(port), str(n), str(size))
	before = s.stat()['daemons']['tcpd']['counters'].get('TCP_PLAIN', 0)
	out = s.run('strata', 'python3', '-c', LEAKS, PEER, str(port), str(n), str(size), Plain(s).program, timeout=100)
	count = s.stat()['daemons']['tcpd']['counters']['TCP_PLAIN'] - before
	if out != 'bad []\n' or count < n // 2:
		raise Failed(f'{out} {count} became plain')


def left_over(s):
	wait_for('nothing left', lambda: not [x for x in s.tool('ss', '-aH').splitlines() if 'TIME-WAIT' not in x], 10)


def main():
	args = arguments()
	tap = Tap(args)
	try:
		for driver in args.driver or ['tap', 'packet']:
			with Stack(args, driver) as s:
				for how in ('fork', 'subprocess', 'spawn'):
					tap.case(f'{driver}: static echo, given by {how}', echo, s, how)
				tap.case(f'{driver}: static echo, tcpd dies three times', echo, s, 'fork', ('tcpd', 'tcpd', 'tcpd'))
				tap.case(f'{driver}: static echo, every layer dies', echo, s, 'fork', ('linkd', 'ipd', 'sockd'))
				tap.case(f'{driver}: many at once', crowd, s)
				tap.case(f'{driver}: socat EXEC, env -i', socat, s)
				tap.case(f'{driver}: beside a holder with the shim', both_kinds, s)
				tap.case(f'{driver}: programs of a shell in turn', in_turn, s)
				tap.case(f'{driver}: a stranger', stranger, s)
				tap.case(f'{driver}: FIN before the program is there', ended_before, s)
				tap.case(f'{driver}: inherited while it is being read', leaked, s)
				tap.case(f'{driver}: ends', dies, s)
				tap.case(f'{driver}: nothing is left', left_over, s)
				tap.case(f'{driver}: no daemon ended by itself', s.assert_healthy)
	except Failed as e:
		tap.result(False, 'the stack runs', e)
	tap.end()


if __name__ == '__main__':
	main()
