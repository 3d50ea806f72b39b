#!/usr/bin/env python3
# mtu.py – `strata link set DEVICE mtu N` on a running instance: the interface, the route, segments of connections that exist and
# of new ones; nonsense is refused; what was set outlives every layer, until the configuration says otherwise. Topology: stack.py.
import re, subprocess, time

from stack import PEER, STRATA, Failed, Stack, Tap, arguments, sh, wait_for

OPTIONS = 52		# headers and timestamps

# A program that echoes and, asked "?", says its TCP_MAXSEG; it also tells the largest piece it was sent at once.
ECHO = '''
import socket, struct, sys
l = socket.create_server((sys.argv[1], int(sys.argv[2])), backlog=50)
import threading
def serve(c):
	while b := c.recv(65536):
		if b == b"?":
			info = c.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)
			b = b"%d %d\\n" % (c.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG), struct.unpack_from("I", info, 20)[0])
		c.sendall(b)
while True:
	threading.Thread(target=serve, args=(l.accept()[0],), daemon=True).start()
'''
# HOST PORT: commands on standard input: "mss" asks the other end; "move N": N bytes there and back; "mine": our own TCP_MAXSEG.
CLIENT = '''
import hashlib, os, socket, sys, threading
c = socket.create_connection((sys.argv[1], int(sys.argv[2]))); c.settimeout(30)
print("here", flush=True)
for line in sys.stdin:
	w = line.split()
	if w[0] == "mss":
		c.sendall(b"?"); print("mss", c.recv(100).decode().strip(), flush=True)
	elif w[0] == "mine":
		print("mine", c.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG), flush=True)
	else:
		n, data, got = int(w[1]), os.urandom(1 << 16), hashlib.sha256()
		want, total = hashlib.sha256(), 0
		def say():
			for i in range(n >> 16): c.sendall(data); want.update(data)
		t = threading.Thread(target=say); t.start()
		while total < n >> 16 << 16 and (b := c.recv(65536)): got.update(b); total += len(b)
		t.join(); print("moved", got.digest() == want.digest(), flush=True)
'''


class Talk:
	def __init__(self, s, where, port):
		self.s, self.answers = s, 0
		host = PEER if where == 'strata' else STRATA
		self.proc = s.spawn(where, 'python3', '-c', CLIENT, host, str(port), stdin=subprocess.PIPE)
		wait_for('the connection', lambda: 'here' in s.output(self.proc) or self.proc.poll() is not None)

	def ask(self, text):
		self.answers += 1
		self.say(text)
		return self.answer()

	def say(self, text):
		self.proc.stdin.write(text.encode() + b'\n')
		self.proc.stdin.flush()

	def answer(self):
		def lines():
			if self.proc.poll() is not None:
				raise Failed(self.s.output(self.proc)[-500:])
			return len(self.s.output(self.proc).splitlines()) > self.answers
		wait_for('an answer', lines, 60)
		return self.s.output(self.proc).splitlines()[self.answers].split()

	def move(self, n=2000000):
		if (a := self.ask(f'move {n}')) != ['moved', 'True']:
			raise Failed(str(a))


def interface(s):
	return int(re.search(r' mtu (\d+)', sh('ip', '-n', s.ns['link'], 'link', 'show', 'dev', s.dev)).group(1))


def shown(s):
	return int(re.search(rf'{s.dev}: .* mtu (\d+)', s.tool('link')).group(1))


def set_mtu(s, mtu):
	s.tool('link', 'set', s.dev, 'mtu', str(mtu))
	if s.driver == 'packet':	# both ends of a link have the same
		sh('ip', '-n', s.ns['peer'], 'link', 'set', s.peer_dev, 'mtu', str(mtu))
	if interface(s) != mtu or shown(s) != mtu:
		raise Failed(f'the interface has {interface(s)}, `strata link` says {shown(s)}')


def expect(what, got, want):
	if got != want:
		raise Failed(f'{what}: {got}, not {want}')


class Both:
	"""A server on either side, a connection each way."""

	def __init__(self, s):
		self.s, self.ports = s, {}
		for where, host in (('kernel', PEER), ('strata', STRATA)):
			self.ports[where] = s.next_port()
			s.serve(where, self.ports[where], 'python3', '-c', ECHO, host, str(self.ports[where]))
		self.out, self.into = self.new()

	def new(self):
		return Talk(self.s, 'strata', self.ports['kernel']), Talk(self.s, 'kernel', self.ports['strata'])


def smaller_and_larger(s, b):
	for mtu in (1400, 1500, 800, 576, 1500):
		set_mtu(s, mtu)
		for t in (b.out, b.into):
			t.move()
		expect(f'mtu {mtu}: TCP_MAXSEG of a connection out', int(b.out.ask('mine')[1]), mtu - OPTIONS)
		expect(f'mtu {mtu}: ... in', int(b.into.ask('mss')[1]), mtu - OPTIONS)


def new_connections(s, b):
	for mtu in (1300, 9000, 1500):
		set_mtu(s, mtu)
		for t, who in zip(b.new(), ('out', 'in')):
			t.move()
			ours, theirs = (t.ask('mine')[1], t.ask('mss')[1]) if who == 'out' else (t.ask('mss')[1], t.ask('mine')[1])
			expect(f'mtu {mtu}, {who}: ours', int(ours), mtu - OPTIONS)
			expect(f"mtu {mtu}, {who}: the peer's", int(theirs), mtu - OPTIONS)
			s.end(t.proc)


def in_mid_transfer(s, b):
	for t in (b.out, b.into):
		t.answers += 1
		t.say('move 60000000')
	for mtu in (1200, 1500, 700, 1500):
		set_mtu(s, mtu)
		time.sleep(0.1)
	for t in (b.out, b.into):
		expect('bytes', t.answer(), ['moved', 'True'])


def nonsense(s):
	before = shown(s)
	for words, status, why in ((('st0', 'mtu', '0'), 1, '576 to 65521'), (('st0', 'mtu', '575'), 1, '576 to 65521'),
			(('st0', 'mtu', '65522'), 1, '576 to 65521'), (('st0', 'mtu', '4294967295'), 1, '576 to 65521'),
			(('st0', 'mtu', '-1'), 64, 'makes no sense'), (('st0', 'mtu', '1500x'), 64, 'makes no sense'), (('st0', 'mtu'), 64, 'nothing follows'),
			(('st0',), 64, "'mtu N' is missing"), (('nope', 'mtu', '1400'), 1, 'no such device')):
		done = subprocess.run([s.cli, 'link', '-i', s.instance, 'set', *words], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
			stderr=subprocess.STDOUT, text=True, env=s.env(), timeout=20)
		if done.returncode != status or why not in done.stdout:
			raise Failed(f'link set {" ".join(words)}: exit status {done.returncode}: {done.stdout}')
	expect('after it', (shown(s), interface(s)), (before, before))


def outlives(s, b):
	set_mtu(s, 1350)
	for layer in ('linkd', 'ipd', 'tcpd', 'sockd', 'keepd', 'linkd'):
		s.kill(layer)
		expect(f'after the death of {layer}', (shown(s), interface(s)), (1350, 1350))
		for t in (b.out, b.into):
			t.move()
		expect(f'after the death of {layer}: segments', int(b.out.ask('mine')[1]), 1350 - OPTIONS)
	set_mtu(s, 1500)


def asked_while_away(s):
	"""linkd dies with the request before it, and its successor carries it out."""
	s.supervisor.kill('linkd')
	s.tool('link', 'set', s.dev, 'mtu', '1450')
	s.supervisor.wait_ready('linkd')
	expect('carried out', (shown(s), interface(s)), (1450, 1450))
	set_mtu(s, 1500)


def configuration_wins(s):
	"""Another mtu in the configuration is newer than what was set before."""
	set_mtu(s, 1400)
	s.write_config(f'[link {s.dev}]\ndriver = {s.driver}\nmtu = 1480\n[ip]\naddress = {STRATA}/24 dev {s.dev}\nroute = default via {PEER} dev {s.dev}\n')
	s.kill('linkd')
	expect('as configured', (shown(s), interface(s)), (1480, 1480))


def main():
	args = arguments()
	tap = Tap(args)
	try:
		for driver in args.driver or ['tap', 'packet']:
			with Stack(args, driver) as s:
				b = Both(s)
				tap.case(f'{driver}: smaller and larger, connections that exist', smaller_and_larger, s, b)
				tap.case(f'{driver}: new connections', new_connections, s, b)
				tap.case(f'{driver}: in the middle of a transfer', in_mid_transfer, s, b)
				tap.case(f'{driver}: nonsense', nonsense, s)
				tap.case(f'{driver}: it outlives every layer', outlives, s, b)
				tap.case(f'{driver}: asked for while linkd is away', asked_while_away, s)
				tap.case(f'{driver}: a new configuration wins', configuration_wins, s)
				tap.case(f'{driver}: no daemon ended by itself', s.assert_healthy)
	except Failed as e:
		tap.result(False, 'the stack runs', e)
	tap.end()


if __name__ == '__main__':
	main()
