#!/usr/bin/env python3
# kills.py – each daemon is killed with SIGKILL in the middle of a 200 MB transfer, in each direction, with Strata as client and as
# server. Every byte of the stream is verified by its offset; the program sees no error; pools and descriptors are back afterwards.
# The topology is drawn in stack.py; a small supervisor stands in for systemd (tests/systemd has the real one).
import mmap, os, random, struct, subprocess, time

from stack import LAYERS, PEER, STRATA, Failed, Stack, Tap, arguments, wait_for

BYTES = 200_000_000


class Progress:
	"""The 8-byte count a traffic client keeps in a file."""

	def __init__(self, path):
		with open(path, 'wb') as f:
			f.write(bytes(8))
		with open(path, 'r+b') as f:
			self.map = mmap.mmap(f.fileno(), 8)

	def __int__(self):
		return struct.unpack('Q', self.map[:8])[0]


def loans(s):
	"""Buffers that are out of their pools, from `strata stat`."""
	return {name: p['loans'] for name, p in s.stat()['pools'].items()}


def transfer(s, client, verb, kill, port, rng, times=1):
	"""One transfer during which kill() is called `times` times, each at a random share of the stream. The longest pause in ms."""
	host = PEER if client == 'strata' else STRATA
	path = os.path.join(s.dir, 'progress')
	progress = Progress(path)
	cmd = s.side(client)(s.traffic, verb, host, str(port), '--bytes', str(BYTES), '--check', '--seed', str(rng.randrange(1, 1 << 30)),
		'--progress', path)
	proc = subprocess.Popen(cmd, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=s.env(),
		start_new_session=True)
	marks = sorted(rng.uniform(0.05, 0.6) * BYTES for _ in range(times))
	try:
		for mark in marks:
			end = time.monotonic() + 30
			while int(progress) < mark and proc.poll() is None:
				if time.monotonic() > end:
					raise Failed(f'stands still at {int(progress)} of {BYTES} bytes')
				time.sleep(0.0005)
			if proc.poll() is not None:
				raise Failed(f'ended before the kill: {proc.communicate()[0]}')
			kill()
		last, since, longest, end = int(progress), time.monotonic(), 0.0, time.monotonic() + 60
		while proc.poll() is None:
			now = time.monotonic()
			if int(progress) != last:
				last, longest, since = int(progress), max(longest, now - since), now
			if now > end:
				raise Failed(f'stands still at {last} of {BYTES} bytes')
			time.sleep(0.0005)
		out, _ = proc.communicate()
		if proc.returncode:
			raise Failed(f'{verb} on {client}: exit status {proc.returncode}: {out}')
		return longest * 1000
	finally:
		s.end(proc)


def one(s, layer, client, verb, port, rng):
	before = s.restarts(layer)
	usage, held = s.usage(), loans(s)
	pause = transfer(s, client, verb, lambda: s.supervisor.kill(layer), port, rng)
	wait_for(f'the return of {layer}', lambda: s.restarts(layer) > before and s.supervisor.wait_ready(layer, 5))
	print(f'# {layer}, {verb} on {client}: longest pause {pause:.0f} ms')
	if bad := s.unexpected():
		raise Failed(f'ended by themselves: {bad}')

	try:
		wait_for('counts', lambda: all(s.usage()[n][0] <= usage[n][0] + (70 if n == 'tcpd' else 4) for n in LAYERS) and
			all(v <= held[k] + 8 for k, v in loans(s).items()), 5)
	except Failed:
		now, out = s.usage(), loans(s)
		raise Failed('descriptors and buffers are not back: ' + ', '.join(f'{n} {usage[n][0]} -> {now[n][0]}' for n in LAYERS) +
			f'; on loan {held} -> {out}') from None


def main():
	args = arguments(seed={'type': int, 'default': 1}, rounds={'type': int, 'default': 1})
	tap, rng = Tap(args), random.Random(args.seed)
	for driver in args.driver or ['tap', 'packet']:
		try:
			with Stack(args, driver) as s:
				ports = {'strata': s.next_port(), 'kernel': s.next_port()}
				for client, server in (('strata', 'kernel'), ('kernel', 'strata')):
					s.serve(server, ports[client], s.traffic, 'serve', str(ports[client]))
				for client in ('strata', 'kernel'):	# what is made ahead is at its usual number then
					transfer(s, client, 'recv', lambda: None, ports[client], rng)
				for _ in range(args.rounds):
					for layer in LAYERS:
						for client in ('strata', 'kernel'):
							for verb in ('recv', 'send'):
								name = f'{driver}: SIGKILL of {layer} during {verb} of 200 MB, client on {client}'
								if not tap.case(name, one, s, layer, client, verb, ports[client], rng) and args.v:
									print('\n'.join('# ' + line for line in s.log().splitlines()))
		except Failed as e:
			tap.result(False, f'{driver}: the stack runs', e)
	tap.end()


if __name__ == '__main__':
	main()
