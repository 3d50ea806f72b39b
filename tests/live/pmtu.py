#!/usr/bin/env python3
# pmtu.py – a hop on the way has a smaller MTU, and gets smaller in the middle of a transfer: path MTU discovery (RFC 1191), and probing
# when the router says nothing (RFC 4821). Every byte is verified.
#
#   Strata 10.9.0.2 ── 10.9.0.1  strata-P-peer, forwards  10.9.2.1 pm0 ── pm1 10.9.2.2  strata-P-far, the server
#                                                     MTU 1500, 1200, 1000
import os, re, subprocess, time

from stack import Failed, Stack, Tap, arguments, sh, wait_for
from kills import Progress

FAR, ROUTER = '10.9.2.2', '10.9.2.1'
BYTES = 400_000_000


class Path:
	"""The router's far side."""

	def __init__(self, s):
		self.s, self.far = s, s.ns.setdefault('far', f'strata-{os.getpid()}-far')
		peer = s.ns['peer']
		sh('ip', 'netns', 'add', self.far)
		sh('ip', '-n', peer, 'link', 'add', 'pm0', 'type', 'veth', 'peer', 'name', 'pm1', 'netns', self.far)
		for ns, dev, addr in ((peer, 'pm0', ROUTER), (self.far, 'pm1', FAR)):
			sh('ip', '-n', ns, 'addr', 'add', addr + '/24', 'dev', dev)
			sh('ip', '-n', ns, 'link', 'set', dev, 'up')
		sh('ip', '-n', self.far, 'route', 'add', 'default', 'via', ROUTER)
		sh(*s.on_kernel('sysctl', '-qw', 'net.ipv4.ip_forward=1'))

	def on_far(self, *cmd):
		return ['ip', 'netns', 'exec', self.far, *cmd]

	def mtu(self, n):
		sh('ip', '-n', self.s.ns['peer'], 'link', 'set', 'pm0', 'mtu', str(n))

	def silent(self, yes):
		sh(*self.s.on_kernel('nft', 'delete table ip hush'), check=False)
		if yes:
			sh(*self.s.on_kernel('nft', 'add table ip hush; add chain ip hush o { type filter hook output priority 0; }; '
				'add rule ip hush o icmp type destination-unreachable drop'))

	def serve(self, port):
		server = subprocess.Popen(self.on_far(self.s.traffic, 'serve', str(port)), stdin=subprocess.DEVNULL, start_new_session=True)
		self.s.procs.append(server)
		wait_for('the server', lambda: f':{port} ' in sh(*self.on_far('ss', '-Htln')))


def counter(s, name):
	return s.stat()['daemons']['tcpd']['counters'].get(name, 0)


def learnt(s):
	m = re.search(rf'^{FAR} mtu (\d+)', s.tool('route'), re.M)
	return int(m.group(1)) if m else None


def transfer(s, port, at=()):
	"""Send; at[i] = (share of the bytes, what to do then)."""
	progress = Progress(path := os.path.join(s.dir, 'progress'))
	proc = subprocess.Popen(s.on_strata(s.traffic, 'send', FAR, str(port), '--bytes', str(BYTES), '--check', '--progress', path),
		stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=s.env(), start_new_session=True)
	try:
		for share, act in at:
			wait_for('progress', lambda: int(progress) >= share * BYTES or proc.poll() is not None, 60)
			if proc.poll() is not None:
				raise Failed(f'ended too early: {proc.communicate()[0]}')
			act()
		out, _ = proc.communicate(timeout=120)
		if proc.returncode:
			raise Failed(f'exit status {proc.returncode}: {out}')
	finally:
		s.end(proc)


LOOK = '''
import socket, sys
c = socket.create_connection((sys.argv[1], int(sys.argv[2])), 10)
c.setsockopt(socket.IPPROTO_IP, 10, int(sys.argv[3]))
print(c.getsockopt(socket.IPPROTO_IP, 14), c.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG))
'''


def seen(s, port, mode=1):
	"""IP_MTU and TCP_MAXSEG of a new connection."""
	return tuple(int(n) for n in s.run('strata', 'python3', '-c', LOOK, FAR, str(port), str(mode)).split())


def shrinks(s, path, port):
	path.mtu(1500)
	transfer(s, port, [(0.1, lambda: path.mtu(1200)), (0.3, lambda: path.mtu(1000))])
	if learnt(s) != 1000:
		raise Failed(f'learnt: {learnt(s)}')
	if counter(s, 'TCP_PMTU_REDUCED') < 2:
		raise Failed('no message was taken')


def the_next_knows(s, path, port):
	before = counter(s, 'TCP_PMTU_REDUCED')
	if seen(s, port) != (1000, 948):
		raise Failed(f'a new connection: {seen(s, port)}')
	transfer(s, port)
	if counter(s, 'TCP_PMTU_REDUCED') != before:
		raise Failed('found out again')


def known_across_restarts(s, path, port):
	for layer in ('ipd', 'tcpd', 'keepd'):
		s.kill(layer)
	if learnt(s) != 1000 or seen(s, port) != (1000, 948):
		raise Failed(f'{learnt(s)}, {seen(s, port)}')


def killed_on_the_way(s, path, port):
	"""The layers that know die between the message and the end of the transfer."""
	transfer(s, port, [(0.1, lambda: path.mtu(800)), (0.15, lambda: s.kill('tcpd')), (0.2, lambda: s.kill('ipd')),
		(0.3, lambda: path.mtu(700)), (0.3, lambda: s.kill('tcpd')), (0.35, lambda: s.kill('ipd'))])


def strangers(s, path, port):
	"""Messages about segments nobody sent."""
	forge = f'''
import socket, struct
def csum(b):
	t = sum(struct.unpack('!%dH' % (len(b) // 2), b))
	t = (t >> 16) + (t & 65535)
	return ~(t + (t >> 16)) & 65535
ip = struct.pack('!BBHHHBBH4s4s', 0x45, 0, 1500, 1, 0x4000, 60, 6, 0, socket.inet_aton('10.9.0.2'), socket.inet_aton('10.9.2.3'))
for sport in range(32768, 33768):
	quote = ip + struct.pack('!HHII', sport, {port}, sport * 7919, 0)
	icmp = struct.pack('!BBHHH', 3, 4, 0, 0, 600) + quote
	icmp = icmp[:2] + struct.pack('!H', csum(icmp)) + icmp[4:]
	r = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
	r.sendto(icmp, ('10.9.0.2', 0))
	r.close()
'''
	sh(*s.on_kernel('python3', '-c', forge))
	if '10.9.2.3' in s.tool('route'):
		raise Failed('a stranger was believed')


def black_hole(s, path, port):
	"""Nobody says that it does not fit. Then the hole is mended, and the size climbs back."""
	path.mtu(1500)
	path.silent(True)
	before = counter(s, 'TCP_MTU_BLACKHOLES')
	transfer(s, port, [(0.1, lambda: path.mtu(1300))])
	if counter(s, 'TCP_MTU_BLACKHOLES') == before:
		raise Failed('no black hole was found')
	if not counter(s, 'TCP_MTU_PROBES'):
		raise Failed('no larger segment was tried')


def main():
	args = arguments()
	tap = Tap(args)
	for driver in args.driver or ['tap', 'packet']:
		with Stack(args, driver) as s:
			path, port = Path(s), s.next_port()
			path.serve(port)
			for name, function in (('a smaller MTU in mid-flight, twice', shrinks), ('the next connection knows', the_next_knows),
				('known across restarts', known_across_restarts), ('killed between the message and the end', killed_on_the_way),
				('messages of strangers', strangers)):
				tap.case(f'{driver}: {name}', function, s, path, port)
		with Stack(args, driver) as s:
			path, port = Path(s), s.next_port()
			path.serve(port)
			tap.case(f'{driver}: a black hole', black_hole, s, path, port)
			tap.case(f'{driver}: no daemon ended by itself', s.assert_healthy)
	tap.end()


if __name__ == '__main__':
	main()
