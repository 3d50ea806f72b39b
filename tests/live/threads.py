#!/usr/bin/env python3
# threads.py – many threads open, use and close short connections at once (threads.c), also while layers are killed: no connection
# may fail, see another's bytes or end early, and nothing is left behind. The topology is drawn in stack.py.
import json, os, threading

from stack import PEER, STRATA, Failed, Stack, Tap, arguments, wait_for

HOST = {'strata': STRATA, 'kernel': PEER}
OTHER = {'strata': 'kernel', 'kernel': 'strata'}


def killing(s, layers, stop):
	while layers and not stop.is_set():
		for layer in layers:
			if not stop.wait(0.5):
				s.kill(layer)


def sockets(s):
	"""Sockets of Strata that are not a listener's and not in TIME_WAIT."""
	return [line for line in s.tool('ss').splitlines()[1:] if line.strip() and not line.startswith(('LISTEN', 'TIME-WAIT'))]


def short(s, client, threads, count, layers=()):
	port, program = s.next_port(), os.path.join(s.build, 'tests/live/threads')
	server = s.serve(OTHER[client], port, program, 'serve', str(port), '16')
	stop = threading.Event()
	killer = threading.Thread(target=killing, args=(s, layers, stop))
	killer.start()
	try:
		out = s.run(client, program, 'run', HOST[OTHER[client]], str(port), str(threads), str(count), timeout=90, check=False)
	finally:
		stop.set()
		killer.join()
	got = json.loads(out[out.rindex('{'):]) if '{' in out else {}
	if got.get('bad') != 0 or got['connections'] != count or s.output(server):
		raise Failed(f'{out}\nserver: {s.output(server)}')
	wait_for('no socket is left', lambda: not sockets(s), 15)
	s.end(server)
	s.assert_healthy()


def main():
	args = arguments(count={'type': int, 'default': 6000, 'help': 'connections of a case'})
	tap = Tap(args)
	for driver in args.driver or ['packet', 'tap']:
		with Stack(args, driver) as s:
			for client in ('strata', 'kernel'):
				name = f'{driver}: from {client}'
				tap.case(f'{name}, one thread', short, s, client, 1, args.count // 4)
				tap.case(f'{name}, 4 threads', short, s, client, 4, args.count)
				tap.case(f'{name}, 32 threads', short, s, client, 32, args.count)
				tap.case(f'{name}, 4 threads, tcpd and sockd killed', short, s, client, 4, args.count, ['tcpd', 'sockd'])
	tap.end()


if __name__ == '__main__':
	main()
