#!/usr/bin/env python3
# errors.py – what goes wrong goes wrong as on the kernel: errno by errno, then limits and recovery, then wrong configuration.
# The topology is drawn in stack.py.
import re, subprocess, time

from stack import PEER, STRATA, Failed, Stack, Tap, arguments, sh, wait_for

# Each probe is a program: it prints the name of the errno it got, or "ok".
PROBE = '''
import errno, os, socket, sys, time
def s(): return socket.socket(socket.AF_INET, socket.SOCK_STREAM)
host, mine, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
def attempt():
{body}
try:
	attempt()
	print("ok")
except OSError as e:
	print(errno.errorcode.get(e.errno, e))
'''

PROBES = [
	# name, errno, body
	('connect to a closed port', 'ECONNREFUSED', 's().connect((host, 1))'),
	('connect to a closed port, non-blocking', 'ECONNREFUSED', '''c = s(); c.setblocking(False); r = c.connect_ex((host, 1))
assert r == errno.EINPROGRESS, r
import select
p = select.poll(); p.register(c, select.POLLOUT); assert p.poll(5000), "no event"
raise OSError(c.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR), "")'''),
	('connect to a host that does not answer ARP', 'EHOSTUNREACH', 's().connect(("10.9.0.77", 80))'),
	('connect where ICMP says host unreachable', 'EHOSTUNREACH', 's().connect((host, 701))'),
	('connect where ICMP says port unreachable', 'ECONNREFUSED', 's().connect((host, 702))'),
	('connect where nothing answers', 'ETIMEDOUT', '''c = s(); c.setsockopt(socket.IPPROTO_TCP, socket.TCP_SYNCNT, 1)
c.connect((host, 703))'''),
	('connect twice', 'EISCONN', 'c = s(); c.connect((host, port)); c.connect((host, port))'),
	('bind twice to a port', 'EADDRINUSE', 'a = s(); a.bind((mine, 7001)); a.listen(1); s().bind((mine, 7001))'),
	('bind to an address that is not ours', 'EADDRNOTAVAIL', 's().bind(("10.9.0.99", 7002))'),
	('bind again', 'EINVAL', 'a = s(); a.bind((mine, 7003)); a.bind((mine, 7004))'),
	('send without a connection', 'EPIPE', 's().send(b"x")'),
	('receive without a connection', 'ENOTCONN', 's().recv(1)'),
	('getpeername without a connection', 'ENOTCONN', 's().getpeername()'),
	('shutdown without a connection', 'ENOTCONN', 's().shutdown(socket.SHUT_WR)'),
	('accept on a socket that does not listen', 'EINVAL', 'a = s(); a.bind((mine, 7005)); a.accept()'),
	('accept with nothing there, non-blocking', 'EAGAIN', 'a = s(); a.bind((mine, 7006)); a.listen(1); a.setblocking(False); a.accept()'),
	('receive with nothing there, non-blocking', 'EAGAIN', 'c = s(); c.connect((host, port)); c.setblocking(False); c.recv(1)'),
	('send after shutdown', 'EPIPE', 'c = s(); c.connect((host, port)); c.shutdown(socket.SHUT_WR); c.send(b"x")'),
	('listen on a connected socket', 'EINVAL', 'c = s(); c.connect((host, port)); c.listen(1)'),
	('an unknown option', 'ENOPROTOOPT', 's().setsockopt(socket.IPPROTO_TCP, 9999, 1)'),
	('bind a reserved port as nobody', 'EACCES', 'os.setgid(65534); os.setuid(65534); s().bind((mine, 80))'),
	('out of descriptors', 'EMFILE', '''import resource
resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40))
keep = []
for i in range(100): c = s(); keep.append(c); c.connect((host, port))'''),
]


def probe(s, where, body, port):
	host, mine = (PEER, STRATA) if where == 'strata' else (STRATA, PEER)
	text = PROBE.replace('{body}', '\n'.join('\t' + line for line in body.splitlines()))
	return s.run(where, 'python3', '-c', text, host, mine, str(port), timeout=40).strip().splitlines()[-1]


def expect(s, wanted, body, port):
	got = probe(s, 'strata', body, port)
	if got != wanted:
		raise Failed(f'Strata says {got}, the kernel {wanted}')


def filters(s):
	"""Ports of the peer that refuse in particular ways."""
	sh(*s.on_kernel('nft', 'add table ip t; add chain ip t i { type filter hook input priority 0; }; '
		'add rule ip t i tcp dport 701 reject with icmp type host-unreachable; '
		'add rule ip t i tcp dport 702 reject with icmp type port-unreachable; '
		'add rule ip t i tcp dport 703 drop'))


MANY = '''
import socket, sys
host, port, n = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
c = []
try:
	for i in range(n):
		c.append(socket.create_connection((host, port), 10))
	print("ok")
except OSError as e:
	print(e.errno, len(c))
'''


def too_many_sockets(s, port):
	"""Over the quota: EMFILE; after they are closed it works again."""
	out = s.run('strata', 'python3', '-c', MANY, PEER, str(port), '300').split()
	if out[0] != '24' or not 150 <= int(out[1]) <= 200:
		raise Failed(f'300 sockets with a quota of 200: {out}')
	wait_for('recovery', lambda: s.run('strata', 'python3', '-c', MANY, PEER, str(port), '50').strip() == 'ok', 10)


ACCEPT_LATE = '''
import socket, sys, time
l = socket.create_server((sys.argv[1], int(sys.argv[2])), backlog=2)
time.sleep(3)
n = 0
l.settimeout(12)
while n < 20:
	c, _ = l.accept(); n += 1; c.sendall(b"k"); c.close()
print("accepted", n)
'''
CONNECT_MANY = '''
import socket, sys, threading
good = []
def one():
	try:
		with socket.create_connection((sys.argv[1], int(sys.argv[2])), 20) as c:
			c.settimeout(20)
			good.append(c.recv(1) == b"k")
	except OSError as e: print(e)
t = [threading.Thread(target=one) for _ in range(20)]
[x.start() for x in t]; [x.join() for x in t]
print("served", sum(good))
'''


def accept_queue(s):
	port = s.next_port()
	server = s.serve('strata', port, 'python3', '-c', ACCEPT_LATE, STRATA, str(port))
	try:
		out = s.run('kernel', 'python3', '-c', CONNECT_MANY, STRATA, str(port), timeout=40)
		if 'served 20' not in out:
			raise Failed(out + s.output(server))
	finally:
		s.end(server)


STALL = '''
import socket, sys, time
host, port, n = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
import struct
c = []
for i in range(n):
	s = socket.create_connection((host, port), 10)
	s.sendall(struct.pack("IIQQ", 2, 0, 1 << 40, 0))
	c.append(s)
print("stalled", flush=True)
time.sleep(60)
'''


def stalled_readers(s, port):
	"""A hundred connections nobody reads from, each with a full window: others go on, and all comes back."""
	stall = s.spawn('strata', 'python3', '-c', STALL, PEER, str(port), '100')
	try:
		wait_for('stalled readers', lambda: 'stalled' in s.output(stall), 20)
		s.run('strata', s.traffic, 'recv', PEER, str(port), '--bytes', '50000000', '--check', timeout=30)
		s.run('strata', s.traffic, 'send', PEER, str(port), '--bytes', '50000000', '--check', timeout=30)
	finally:
		s.end(stall)
	s.run('strata', s.traffic, 'recv', PEER, str(port), '--bytes', '50000000', '--check', timeout=30)


def flow(s, port):
	"""`strata flow`: bytes handed to the stack and to programs are counted where they cross."""
	def step(name):
		return int(re.search(rf'^{name}\s+\S+\s+(\d+)', s.tool('flow'), re.M).group(1))
	for name, verb in (('rx8', 'recv'), ('tx2', 'send')):
		before = step(name)
		s.run('strata', s.traffic, verb, PEER, str(port), '--bytes', '5000000', timeout=30)
		if not 5000000 <= (n := step(name) - before) <= 5001000:
			raise Failed(f'{name} counts {n} of 5000000 bytes')


# ---- wrong configuration ----

EX_CONFIG = 78		# sysexits.h: the units do not restart for it
GOOD = '[link st9]\ndriver = tap\n[ip]\naddress = 10.8.0.2/24 dev st9\n'
WRONG = [
	# name, line of the error, text
	('an unknown section', 5, GOOD + '[ipp]\nttl = 3\n'),
	('an unknown key', 5, GOOD + 'tttl = 3\n'),
	('a bad address', 4, GOOD.replace('10.8.0.2', '10.8.0.256')),
	('a bad prefix', 4, GOOD.replace('/24', '/99')),
	('an address on a device that is not there', 4, GOOD.replace('dev st9', 'dev st8')),
	('a number out of range', 3, GOOD.replace('driver = tap\n', 'driver = tap\nmtu = 7\n')),
	('an unknown driver', 2, GOOD.replace('= tap', '= tapp')),
	('a key before any section', 1, 'ttl = 3\n' + GOOD),
	('a line that is none', 5, GOOD + 'nonsense\n'),
]


def wrong_config(s, layer, line, text):
	conf = s.write_config(text)
	done = subprocess.run(s.command(layer, conf), env=s.env(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
		stderr=subprocess.STDOUT, text=True, timeout=10)
	if done.returncode != EX_CONFIG:
		raise Failed(f'exit status {done.returncode}, not {EX_CONFIG}')
	if f'{conf}:{line}:' not in done.stdout:
		raise Failed(f'{conf}:{line}: is not named: {done.stdout}')
	if 'st9' in sh(*s.on_kernel('ip', '-br', 'link')):
		raise Failed('a device was made')


def wrong_arguments(s, layer):
	program = s.command(layer, s.write_config(GOOD))
	program = program[:next(i for i, word in enumerate(program) if word.endswith('strata-' + layer)) + 1]
	for args in ([], ['--instance'], ['--instance', 'x', '--nonsense'], ['--instance', 'a/b'], ['--instance', 'x', '--log', 'loud'], ['--instance', 'x', 'y']):
		done = subprocess.run([*program, *args], env=s.env(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
			text=True, timeout=10)
		if done.returncode != EX_CONFIG or not done.stdout.strip():
			raise Failed(f'{args}: exit status {done.returncode}, not {EX_CONFIG}: {done.stdout}')


def refused_start(s, text, words, as_user=None):
	"""linkd beside a running keeper does not start, says why, and does not do so a hundred times a second."""
	conf = s.write_config(text)
	cmd = s.command('linkd', conf)
	if as_user:
		cmd = ['setpriv', '--reuid', as_user, '--clear-groups', *cmd[4:]]
	start = time.monotonic()
	done = subprocess.run(cmd, env=s.env(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
		timeout=10)
	if done.returncode in (0, EX_CONFIG):	# it may be mended without the configuration: try again
		raise Failed(f'exit status {done.returncode}')
	if time.monotonic() - start < 0.9:
		raise Failed(f'was over in {time.monotonic() - start:.3f} s: systemd would spin')
	if not re.search(words, done.stdout):
		raise Failed(f'does not say {words}: {done.stdout}')


# Waits for bytes in four ways; the instance is gone meanwhile.
WAITERS = '''
import select, socket, sys, threading
def waits(name, wait):
	c = socket.create_connection((sys.argv[1], int(sys.argv[2])), 10)
	print("waits", flush=True)
	try: wait(c); print(name, "nothing", flush=True)
	except OSError as e: print(name, type(e).__name__, flush=True)
def blocking(c):
	c.settimeout(None); c.recv(1)
def by_select(c):
	c.setblocking(False); select.select([c], [], []); c.recv(1)
def by_poll(c):
	p = select.poll(); p.register(c, select.POLLIN); c.setblocking(False); p.poll(); c.recv(1)
def by_epoll(c):
	e = select.epoll(); e.register(c, select.EPOLLIN | select.EPOLLET); c.setblocking(False)
	while True:
		e.poll()
		try: c.recv(1); return
		except BlockingIOError: pass
for f in (blocking, by_select, by_poll, by_epoll): threading.Thread(target=waits, args=(f.__name__, f)).start()
'''


def torn_down(s):
	port = s.next_port()
	s.serve('kernel', port, s.traffic, 'serve', str(port))
	v = s.spawn('strata', 'python3', '-c', WAITERS, PEER, str(port))
	wait_for('four waiting', lambda: s.output(v).count('waits') == 4)
	time.sleep(0.2)
	s.supervisor.stop()
	s.supervisor = None
	wait_for('their ends', lambda: v.poll() is not None, 10)
	if s.output(v).count('ConnectionResetError') != 4:
		raise Failed(s.output(v))


def config_cases(tap, args):
	with Stack(args, 'tap', start=False) as s:
		for layer in ('linkd', 'ipd', 'tcpd', 'sockd', 'keepd'):
			tap.case(f'wrong arguments: {layer}', wrong_arguments, s, layer)
		for name, line, text in WRONG:
			for layer in ('linkd', 'ipd', 'tcpd', 'sockd'):
				tap.case(f'configuration: {name}: {layer}', wrong_config, s, layer, line, text)
	# A second instance's linkd against a keeper of its own; the first holds the TAP.
	with Stack(args, 'tap') as s:
		s.supervisor.units['linkd'].wanted = False
		s.supervisor.kill('linkd')
		wait_for('the end of linkd', lambda: not s.pid('linkd'))
		missing = GOOD.replace('= tap', '= packet').replace('st9', 'nosuch0')
		tap.case('configuration: a missing device', refused_start, s, missing, r'strata\.conf:\d+:.*nosuch0|nosuch0.*(No such|not|missing)')
		sh(*s.on_kernel('ip', 'tuntap', 'add', 'st7', 'mode', 'tap'))
		holder = subprocess.Popen(s.on_kernel('python3', '-c', 'import fcntl, os, struct, time\nf = os.open("/dev/net/tun", os.O_RDWR)\n'
			'fcntl.ioctl(f, 0x400454ca, struct.pack("16sH22x", b"st7", 0x1002))\nprint("held", flush=True)\ntime.sleep(30)'), stdout=subprocess.PIPE)
		holder.stdout.readline()
		try:
			tap.case('configuration: a device in use', refused_start, s, GOOD.replace('st9', 'st7'), r'st7')
		finally:
			holder.kill()
			holder.wait()
		tap.case('configuration: no permission', refused_start, s, GOOD, r'ermission|ermitted|CAP_NET_ADMIN', 'nobody')


def main():
	args = arguments()
	tap = Tap(args)
	try:
		with Stack(args, 'tap', config='[sock]\nmax_sockets_per_uid = 200\n') as s:
			filters(s)
			port = s.next_port()
			s.serve('kernel', port, s.traffic, 'serve', str(port))
			for name, wanted, body in PROBES:
				tap.case(name, expect, s, wanted, body, port)
			tap.case('more sockets than the quota', too_many_sockets, s, port)
			tap.case('a full accept queue', accept_queue, s)
			tap.case('a hundred stalled readers', stalled_readers, s, port)
			tap.case('strata flow counts what programs read and write', flow, s, port)
			tap.case('no daemon ended by itself', s.assert_healthy)
		with Stack(args, 'tap') as s:
			tap.case('an instance that is gone, and its descriptors with it: who waits hears ECONNRESET', torn_down, s)
		config_cases(tap, args)
	except Failed as e:
		tap.result(False, 'the stack runs', e)
	tap.end()


if __name__ == '__main__':
	main()
