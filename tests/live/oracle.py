#!/usr/bin/env python3
# oracle.py – socket calls on Strata say what they say on the kernel's stack: tests/shim/oracle run over both, line by line.
# The topology is drawn in stack.py. The kernel's run is in the peer's namespace, against the same peer.
import os

from stack import PEER, STRATA, Failed, Stack, Tap, arguments

# Differences that DESIGN.md names or that are meant: (case, the kernel's words, Strata's words, why).
KNOWN = [
	('options: set before connect, kept', 'SO_PRIORITY=6/4', 'SO_PRIORITY=3/4', 'IP_TOS does not change SO_PRIORITY'),
	('connect: AF_UNSPEC', 'send=ECONNRESET', 'send=EPIPE', 'a disconnected socket is as new'),
	('ready: states', 'fresh:OUT|HUP', 'fresh:OUT', 'HUP of a pair cannot be taken back: none before a connection'),
	('signal: SA_RESTART', 'send=some', 'send=all', 'a blocking send goes on after a restarted signal'),
	('thread: shutdown while waiting', 'listener:OUT|HUP', 'listener:IN', 'a listener that was shut down is told by accept()'),
	('data: vectors and messages', 'oob=1', 'oob=EOPNOTSUPP', 'urgent data is not sent'),
]


def answers(s, where, port):
	out = s.run(where, s.oracle, 'run', PEER, str(port), STRATA if where == 'strata' else PEER, *s.case, timeout=240)
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
		with Stack(args, driver) as s:
			s.oracle = os.path.join(args.build, 'tests/shim/oracle/oracle')
			s.case = [args.only] if args.only else []
			port = s.next_port()
			s.serve('kernel', port, s.oracle, 'peer', PEER, str(port))
			kernel, strata = answers(s, 'kernel', port), answers(s, 'strata', port)
			if not kernel:
				raise Failed('no case')
			for name in kernel:
				tap.case(name, same, name, kernel, strata)
			tap.case('no daemon ended by itself' + args.only, s.assert_healthy)
	tap.end()


if __name__ == '__main__':
	main()
