#!/usr/bin/env python3
# oracle.py – socket calls on Strata say what they say on the kernel's stack: tests/shim/oracle run over both, line by line.
# The topology is drawn in stack.py. The kernel's run is in a namespace of its own, on a wire to the same peer (wire.py):
#
#   strata-P-client  kt0 10.9.1.2 ── wire.py ── kt1 10.9.1.1  strata-P-peer
import os, subprocess, sys

from stack import PEER, STRATA, Failed, Stack, Tap, arguments, sh, wait_for

WIRE, CLIENT, CLIENTS_PEER = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'wire.py'), '10.9.1.2', '10.9.1.1'

# Differences that DESIGN.md names or that are meant: (case, the kernel's words, Strata's words, why).
KNOWN = [
	('audit: devices, marks, IP', 'bound=0 len=0 nowhere=ENODEV empty=0', 'bound=ENOPROTOOPT len=16 nowhere=ENOPROTOOPT empty=ENOPROTOOPT',
	 'sockets cannot be bound to a device'),
	('options: set before connect, kept', 'SO_PRIORITY=6/4', 'SO_PRIORITY=3/4', 'IP_TOS does not change SO_PRIORITY'),
	('connect: AF_UNSPEC', 'send=ECONNRESET', 'send=EPIPE', 'a disconnected socket is as new'),
	('ready: states', 'fresh:OUT|HUP', 'fresh:OUT', 'HUP of a pair cannot be taken back: none before a connection'),
	('signal: SA_RESTART', 'send=some', 'send=all', 'a blocking send goes on after a restarted signal'),
	('thread: shutdown while waiting', 'listener:OUT|HUP', 'listener:IN', 'a listener that was shut down is told by accept()'),
]


# What the peer refuses: whole ports, and segments of any connection that begin so (the header with timestamps has 32 bytes).
REFUSED = '''add table ip t; add chain ip t i { type filter hook input priority 0; };
add rule ip t i tcp dport 701 reject with icmp type host-unreachable;
add rule ip t i tcp dport 702 reject with icmp type port-unreachable;
add rule ip t i tcp dport 703 reject with icmp type net-unreachable;
add rule ip t i tcp dport 704 reject with icmp type admin-prohibited;
add rule ip t i tcp dport 705 reject with icmp type prot-unreachable;
add rule ip t i tcp dport != 700 @th,256,32 0x21484f53 reject with icmp type host-unreachable;
add rule ip t i tcp dport != 700 @th,256,32 0x21504f52 reject with icmp type port-unreachable;
add rule ip t i tcp dport != 700 @th,256,32 0x2144524f drop'''


def client_up(s):
	"""The kernel's client, in the place that Strata has on the other side."""
	ns, peer = s.ns.setdefault('client', f'strata-{os.getpid()}-client'), s.ns['peer']
	sh('ip', 'netns', 'add', ns)
	wire = subprocess.Popen([sys.executable, WIRE, ns, 'kt0', peer, 'kt1'], stdout=subprocess.PIPE, start_new_session=True)
	s.procs.append(wire)
	if wire.stdout.readline() != b'up\n':
		raise Failed('no wire')
	for where, dev, addr in ((ns, 'kt0', CLIENT), (peer, 'kt1', CLIENTS_PEER)):
		sh('ip', '-n', where, 'addr', 'add', addr + '/24', 'dev', dev)
		sh('ip', '-n', where, 'link', 'set', dev, 'up')
	sh('ip', '-n', ns, 'link', 'set', 'lo', 'up')
	sh('ip', '-n', ns, 'route', 'add', 'default', 'via', CLIENTS_PEER)
	wait_for('the wire', lambda: 'LOWER_UP' in sh('ip', '-n', ns, 'link', 'show', 'kt0') and 'LOWER_UP' in sh('ip', '-n', peer, 'link', 'show', 'kt1'))


def answers(s, where, port):
	if where == 'kernel':
		out = sh('ip', 'netns', 'exec', s.ns['client'], s.oracle, 'run', CLIENTS_PEER, str(port), CLIENT, *s.case, timeout=240)
	else:
		out = s.run(where, s.oracle, 'run', PEER, str(port), STRATA, *s.case, timeout=240)
	return {name: words.strip() for name, words in (line.split('\t') for line in out.splitlines() if '\t' in line)}


def expected(name, words):
	"""What Strata should say: the kernel's words but for the known differences."""
	for case, theirs, ours, _ in KNOWN:
		if case == name:
			if f' {theirs} ' not in f' {words} ':
				raise Failed(f'the kernel does not say "{theirs}" (a known difference): {words}')
			words = f' {words} '.replace(f' {theirs} ', f' {ours} ').strip()
	return words


def same(name, kernel, strata):
	wanted = expected(name, kernel[name])
	got = strata.get(name, 'nothing')
	if wanted != got:
		a, b = wanted.split(), got.split()
		differ = [f'{x} / {y}' for x, y in zip(a, b) if x != y] if len(a) == len(b) else []
		raise Failed(f'kernel / Strata: {", ".join(differ)}\nkernel: {wanted}\nStrata: {got}')


def main():
	args = arguments()
	tap = Tap(args)
	for driver in args.driver or ['tap', 'packet']:
		with Stack(args, driver, '[tcp]\nfastopen = 3\n') as s:
			s.oracle = os.path.join(args.build, 'tests/shim/oracle/oracle')
			s.case = [args.only] if args.only else []
			client_up(s)
			for ns in (s.ns['peer'], s.ns['client']):	# both sides, and every listener
				sh('ip', 'netns', 'exec', ns, 'sysctl', '-qw', 'net.ipv4.tcp_fastopen=1027')
			sh(*s.on_kernel('sysctl', '-qw', 'net.ipv4.icmp_ratelimit=0'))
			sh(*s.on_kernel('nft', REFUSED.replace('\n', ' ')))
			port = s.next_port()
			s.serve('kernel', port, s.oracle, 'peer', '0.0.0.0', str(port))
			kernel, strata = answers(s, 'kernel', port), answers(s, 'strata', port)
			if not kernel:
				raise Failed('no case')
			for name in kernel:
				tap.case(name, same, name, kernel, strata)
			tap.case('no daemon ended by itself' + args.only, s.assert_healthy)
	tap.end()


if __name__ == '__main__':
	main()
