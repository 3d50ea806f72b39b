#!/usr/bin/env python3
# configured.py – configurations that are not the default, on real traffic: offloads off (software cuts, merges and sums instead),
# a device in another network namespace, networks that go to the kernel. The topology is drawn in stack.py.
import os, re, subprocess

from stack import PEER, STRATA, Failed, Stack, Tap, arguments, sh, wait_for

OFFLOADS = ('tso = no', 'csum = no', 'tso = no\ncsum = no\nvnet = no')
FRAME = 1514
FILE = 20 << 20


def peer_counts(s):
	"""(frames, bytes) the peer's interface has received, and (frames, bytes) it has sent."""
	out = sh('ip', '-s', '-n', s.ns['peer'], 'link', 'show', 'dev', s.peer_dev)
	rows = re.findall(r'^\s+(\d+)\s+(\d+)\s+\d+\s+\d+', out, re.M)
	return [(int(n), int(b)) for b, n in rows[:2]]


def bad_checksums(s):
	out = sh(*s.on_kernel('nstat', '-asz', 'TcpInCsumErrors', 'IpInHdrErrors'))
	return sum(int(n) for n in re.findall(r'^(?:Tcp|Ip)\w+Errors\s+(\d+)', out, re.M)) + s.stat_of('DROP_TCP_CSUM')


# ethtool -K DEVICE tx off
TX_CSUM_OFF = '''
import array, fcntl, socket, struct, sys
ETHTOOL_STXCSUM, SIOCETHTOOL = 0x17, 0x8946
value = array.array("B", struct.pack("II", ETHTOOL_STXCSUM, 0))
fcntl.ioctl(socket.socket(), SIOCETHTOOL, struct.pack("16sP", sys.argv[1].encode(), value.buffer_info()[0]) + bytes(16))
'''


class Offloads(Stack):
	def net_up(self):
		super().net_up()
		if self.driver == 'packet' and 'vnet = no' in self.link:
			# Without the vnet header nobody says that a checksum is not finished: the neighbour must finish it.
			sh(*self.on_kernel('python3', '-c', TX_CSUM_OFF, self.peer_dev))

	def stat_of(self, name):
		return sum(d['counters'].get(name, 0) for d in self.stat()['daemons'].values())


def download(s):
	with open(os.path.join(s.dir, 'file'), 'wb') as f:
		f.write(os.urandom(FILE))
	for server, client, host in (('kernel', 'strata', PEER), ('strata', 'kernel', STRATA)):
		port = s.next_port()
		proc = s.serve(server, port, 'python3', '-m', 'http.server', '--bind', host, '--directory', s.dir, str(port))
		s.run(client, 'curl', '-sS', '--fail', '-o', os.path.join(s.dir, 'got'), f'http://{host}:{port}/file')
		sh('cmp', os.path.join(s.dir, 'file'), os.path.join(s.dir, 'got'))
		s.end(proc)


def iperf(s):
	for server, client, host in (('kernel', 'strata', PEER), ('strata', 'kernel', STRATA)):
		port = s.next_port()
		proc = s.serve(server, port, 'iperf3', '-s', '-p', str(port))
		for extra in ((), ('-R',), ('-P', '3')):
			out = s.run(client, 'iperf3', '-c', host, '-p', str(port), '-t', '1', *extra)
			if 'receiver' not in out:
				raise Failed(out[-500:])
		s.end(proc)


def in_software(s, before):
	"""Strata's frames were cut by linkd, what came in was merged by it, and every checksum was right."""
	(n, b), _ = [(x[0] - y[0], x[1] - y[1]) for x, y in zip(peer_counts(s), before)]
	features = re.search(rf'{s.dev}: <(.*?)>', s.tool('link')).group(1).split(',')
	wanted = {'VNET': 'vnet = no' not in s.link, 'TSO': 'tso = no' not in s.link and 'csum = no' not in s.link, 'CSUM': 'csum = no' not in s.link}
	if any((f in features) != on for f, on in wanted.items()):
		raise Failed(f'{features}, configured {s.link}')
	if b / n > FRAME or not s.stat_of('LINK_GSO_SEGMENTS'):
		raise Failed(f'{b} bytes in {n} frames from Strata, {s.stat_of("LINK_GSO_SEGMENTS")} segments cut')
	if 'vnet = no' in s.link and not s.stat_of('LINK_GRO_MERGED'):
		raise Failed('nothing was merged')
	if bad := bad_checksums(s):
		raise Failed(f'{bad} checksums were wrong')


def offloads(args, tap, driver, link):
	name = f'{driver}, {link.replace(chr(10), ", ")}'
	with Offloads(args, driver, link=link) as s:
		before = peer_counts(s)
		tap.case(f'{name}: curl both ways', download, s)
		tap.case(f'{name}: iperf3 both ways', iperf, s)
		tap.case(f'{name}: done in software', in_software, s, before)
		tap.case(f'{name}: no daemon ended by itself', s.assert_healthy)


class Outside(Stack):
	"""linkd runs outside; `netns =` says where its interface is."""

	def __init__(self, args, driver, name, path):
		super().__init__(args, driver, name=name)
		inside = self.ns['peer' if driver == 'tap' else 'link']
		self.link = f'netns = {path}{inside}'

	def command(self, layer, conf):
		return [self.daemon(layer), '--instance', self.instance, '--config', conf]


def stays_outside(s):
	if os.stat(f'/proc/{s.pid("linkd")}/ns/net').st_ino != os.stat('/proc/self/ns/net').st_ino:
		raise Failed('linkd is not where it was started')
	if s.dev in sh('ip', '-br', 'link'):
		raise Failed(f'{s.dev} is outside')


def netns(args, tap, driver, path):
	name = f'{driver}, netns = {path}NAME'
	with Outside(args, driver, 'netns', path) as s:
		tap.case(f'{name}: curl both ways', download, s)
		tap.case(f'{name}: linkd stays where it is', stays_outside, s)
		s.kill('linkd')
		tap.case(f'{name}: after a death', download, s)
		tap.case(f'{name}: the MTU there', lambda: s.tool('link', 'set', s.dev, 'mtu', '1400'))
		if 'mtu 1400' not in sh('ip', '-n', s.ns['link'], 'link', 'show', 'dev', s.dev):
			tap.result(False, f'{name}: it has that MTU')
		tap.case(f'{name}: no daemon ended by itself', s.assert_healthy)


def no_such_netns(args):
	with Stack(args, 'tap', start=False) as s:
		conf = s.write_config(f'[link {s.dev}]\ndriver = tap\nnetns = nowhere-{os.getpid()}\n[ip]\naddress = {STRATA}/24 dev {s.dev}\n')
		keepd = subprocess.Popen([s.daemon('keepd'), '--instance', s.instance, '--config', conf], env=dict(os.environ, STRATA_RUNDIR=s.dir),
			stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
		try:
			done = subprocess.run([s.daemon('linkd'), '--instance', s.instance, '--config', conf], env=dict(os.environ, STRATA_RUNDIR=s.dir),
				stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=20)
		finally:
			keepd.kill()
			keepd.wait()
		if not done.returncode or f'in network namespace nowhere-{os.getpid()}' not in done.stdout:
			raise Failed(f'exit status {done.returncode}: {done.stdout}')


# ---- [shim] bypass ----

HERE, THERE, NOT = '10.99.0.1', '10.98.7.1', '10.97.0.1'	# addresses of the programs' own namespace; the last is not listed
GREET = 'TCP-LISTEN:{port},bind={host},reuseaddr,fork'


def in_app(s, *cmd):
	return ['ip', 'netns', 'exec', s.ns['app'], *cmd]


def bypass_connect(s):
	for host in (HERE, THERE):
		port = s.next_port()
		server = subprocess.Popen(in_app(s, 'socat', GREET.format(port=port, host=host), 'SYSTEM:"echo kernel"'), start_new_session=True)
		try:
			wait_for('the server', lambda: f':{port} ' in sh(*in_app(s, 'ss', '-Htln')))
			if s.run('strata', 'socat', f'TCP:{host}:{port}', '-') != 'kernel\n':
				raise Failed(f'{host} is not reached')
			out = subprocess.run(in_app(s, s.cli, 'run', '-v', '-i', s.instance, '--', 'socat', f'TCP:{host}:{port}', '-'), env=s.env(),
				stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=20)
			if out.stdout != 'kernel\n' or 'kernel' not in out.stderr:
				raise Failed(f'strata run -v: {out.stderr!r}')
		finally:
			s.end(server)


def bypass_listen(s):
	port = s.next_port()
	server = s.spawn('strata', 'socat', GREET.format(port=port, host=HERE), 'SYSTEM:"echo from there"')
	try:
		wait_for('the server in the kernel', lambda: f'{HERE}:{port} ' in sh(*in_app(s, 'ss', '-Htln')))
		got = subprocess.run(in_app(s, 'socat', f'TCP:{HERE}:{port}', '-'), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, timeout=20)
		if got.stdout != 'from there\n' or f':{port} ' in s.tool('ss', '-a'):
			raise Failed(f'{got.stdout!r}; {s.tool("ss", "-a")}')
	finally:
		s.end(server)


def bypass_others(s):
	"""What is not listed is Strata's, listed networks or not."""
	port = s.next_port()
	s.serve('kernel', port, 'socat', GREET.format(port=port, host=PEER), 'SYSTEM:"echo by strata"')
	before = s.stat_of('TCP_ACTIVE_OPENS')
	if s.run('strata', 'socat', f'TCP:{PEER}:{port}', '-') != 'by strata\n' or s.stat_of('TCP_ACTIVE_OPENS') != before + 1:
		raise Failed('not by Strata')
	port = s.next_port()
	server = subprocess.Popen(in_app(s, 'socat', GREET.format(port=port, host=NOT), 'SYSTEM:"echo wrong"'), start_new_session=True)
	try:
		out = s.run('strata', 'socat', f'TCP:{NOT}:{port},connect-timeout=2', '-', check=False)
		if 'wrong' in out:
			raise Failed(f'{NOT} went to the kernel')
	finally:
		s.end(server)


def bypass(args, tap, driver):
	with Offloads(args, driver, config='[shim]\nbypass = 10.99.0.0/24\nbypass = 10.98.0.0/16\n') as s:
		for a in (HERE, THERE, NOT):
			sh('ip', '-n', s.ns['app'], 'addr', 'add', a + '/32', 'dev', 'lo')
		tap.case(f'{driver}, bypass: connections', bypass_connect, s)
		tap.case(f'{driver}, bypass: listeners', bypass_listen, s)
		tap.case(f'{driver}, bypass: what is not listed', bypass_others, s)
		tap.case(f'{driver}, bypass: no daemon ended by itself', s.assert_healthy)


def main():
	args = arguments()
	tap = Tap(args)
	try:
		for driver in args.driver or ['tap', 'packet']:
			for link in OFFLOADS:
				offloads(args, tap, driver, link)
			for path in ('', '/run/netns/'):
				netns(args, tap, driver, path)
			bypass(args, tap, driver)
		tap.case('a network namespace that is not there', no_such_netns, args)
	except Failed as e:
		tap.result(False, 'the stack runs', e)
	tap.end()


if __name__ == '__main__':
	main()
