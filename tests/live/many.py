#!/usr/bin/env python3
# many.py – hundreds of programs at once, each a process of its own with its own memory (an arena): all are served, a death
# of tcpd or sockd costs none of them anything, and when they are gone nothing of them is left. The topology is drawn in stack.py.
import json, os, re, subprocess

from stack import PEER, Failed, Stack, Tap, arguments, wait_for

PROGRAMS = 300		# more than one word of any set of arenas

# Accepts N connections; at each line of its input sends everybody something of his own and wants it back; at the end of it closes.
PEER_PROGRAM = '''
import os, socket, sys, threading
host, port, n, size = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
l = socket.create_server((host, port), backlog=1024)
print("listening", flush=True)
conns = [l.accept()[0] for _ in range(n)]
print("all are here", flush=True)
def exchange(c, say, bad):
	c.settimeout(60)
	t = threading.Thread(target=c.sendall, args=(say,))
	t.start()
	got = b""
	try:
		while len(got) < len(say) and (more := c.recv(65536)):
			got += more
	except OSError as e:
		print(e)
	t.join()
	if got != say:
		bad.append(c)
for line in sys.stdin:
	bad, threads = [], [threading.Thread(target=lambda c=c: exchange(c, os.urandom(size), bad)) for c in conns]
	for t in threads: t.start()
	for t in threads: t.join()
	print("exchanged", len(conns) - len(bad), flush=True)
for c in conns:
	c.shutdown(socket.SHUT_WR)
	c.recv(1)
print("over", flush=True)
'''


class Crowd:
	"""N programs under Strata, each connected to one peer, echoing."""

	def __init__(self, s, n=PROGRAMS):
		self.s, self.n, port, self.rounds = s, n, s.next_port(), 0
		self.peer = s.serve('kernel', port, 'python3', '-c', PEER_PROGRAM, PEER, str(port), str(n), '20000', stdin=subprocess.PIPE)
		self.programs = s.spawn('strata', 'sh', '-c', f'for i in $(seq {n}); do socat TCP:{PEER}:{port} PIPE & done; wait')
		self.hears('all are here')

	def hears(self, what):
		def look():
			if self.peer.poll() is not None and what not in self.s.output(self.peer):
				raise Failed(f'the peer ended: {self.s.output(self.peer)[-500:]}')
			return what in self.s.output(self.peer)
		try:
			wait_for(what, look, 90)
		except Failed as e:
			raise Failed(f'{e}; the peer: {self.s.output(self.peer)[-300:]}; programs: {self.s.output(self.programs)[-300:]}') from None

	def exchange(self):
		self.rounds += 1
		self.peer.stdin.write(b'\n')
		self.peer.stdin.flush()
		wait_for('an exchange', lambda: self.s.output(self.peer).count('exchanged') == self.rounds, 90)
		last = re.findall(r'exchanged (\d+)', self.s.output(self.peer))[-1]
		if int(last) != self.n:
			raise Failed(f'{last} of {self.n} had their bytes back: {self.s.output(self.peer)[-300:]}')

	def pids(self):
		return [int(p) for p in subprocess.run(['pgrep', '-s', str(self.programs.pid), '-x', 'socat'], stdout=subprocess.PIPE,
			text=True).stdout.split()]


def sockets(s):
	return len(s.tool('ss', '-aH').splitlines()) - s.tool('ss', '-aH').count('TIME-WAIT')


def descriptors(s):
	return {layer: n for layer, (n, _) in s.usage().items() if layer in ('tcpd', 'sockd')}


def all_at_once(s, crowd):
	crowd.exchange()
	names = s.tool('ss', '-aHp').count('socat')
	if names != crowd.n or len(set(crowd.pids())) != crowd.n:
		raise Failed(f'{names} sockets of {len(set(crowd.pids()))} programs')


def deaths(s, crowd):
	for layer in ('tcpd', 'sockd', 'tcpd'):
		s.kill(layer)
		crowd.exchange()


def new_beside(s, crowd):
	"""With everybody there another one comes and goes, also right after a death of sockd."""
	port = s.next_port()
	s.serve('kernel', port, 'socat', f'TCP-LISTEN:{port},bind={PEER},reuseaddr,fork', 'SYSTEM:"echo here"')
	for layer in (None, 'sockd'):
		if layer:
			s.kill(layer)
		if 'here' not in s.run('strata', 'socat', f'TCP:{PEER}:{port}', '-'):
			raise Failed('no answer')


def reclaimed(s, before):
	try:
		wait_for('everything given back', lambda: sockets(s) == 0 and descriptors(s) == before, 40)
	except Failed as e:
		raise Failed(f'{e}: {sockets(s)} sockets; descriptors {json.dumps(descriptors(s))}, before {json.dumps(before)}') from None


def ends(s, crowd, before):
	crowd.peer.stdin.close()
	crowd.hears('over')
	crowd.programs.wait(30)
	reclaimed(s, before)


def killed(s, before):
	"""The same again in the numbers the first had; then all are killed at once."""
	crowd = Crowd(s)
	crowd.exchange()
	for pid in crowd.pids():
		os.kill(pid, 9)
	s.end(crowd.peer)
	crowd.programs.wait(30)
	reclaimed(s, before)


def main():
	args = arguments()
	tap = Tap(args)
	try:
		with Stack(args, 'tap') as s:
			s.run('kernel', 'sysctl', '-qw', 'net.core.somaxconn=4096')
			before = descriptors(s)
			crowd = Crowd(s)
			tap.case(f'{PROGRAMS} programs at once, a socket each', all_at_once, s, crowd)
			tap.case('tcpd, sockd and tcpd again die: everybody goes on', deaths, s, crowd)
			tap.case('another program comes and goes', new_beside, s, crowd)
			tap.case('they end: nothing of them is left', ends, s, crowd, before)
			tap.case('as many again, killed: nothing of them is left', killed, s, before)
			tap.case('no daemon ended by itself', s.assert_healthy)
	except Failed as e:
		tap.result(False, 'the stack runs', e)
	tap.end()


if __name__ == '__main__':
	main()
