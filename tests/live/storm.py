#!/usr/bin/env python3
# storm.py – daemons are killed with SIGKILL one on the heels of another, several at once and while they start, under bulk transfers in
# both directions, request-response and new connections. Afterwards: every byte is there exactly once, no program has seen an error,
# every buffer is back, every ring is empty, new connections work, and no daemon ended by itself.
# The topology is drawn in stack.py. What is killed when depends on --seed alone.
import os, random, signal, subprocess, time

from stack import LAYERS, PEER, STRATA, Failed, Stack, Tap, arguments, sh, wait_for

PATIENCE = 30			# seconds from the last death to the last byte


class Load:
	"""A traffic client under way."""

	def __init__(self, s, side, verb, port, *options):
		host = PEER if side == 'strata' else STRATA
		self.s, self.name = s, f'{verb} on {side}'
		self.proc = subprocess.Popen(s.side(side)(s.traffic, verb, host, str(port), *options), stdin=subprocess.DEVNULL,
			stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=s.env(), start_new_session=True)

	def finish(self, end):
		try:
			out, _ = self.proc.communicate(timeout=max(end - time.monotonic(), 0.1))
		except subprocess.TimeoutExpired:
			self.s.end(self.proc)
			raise Failed(f'{self.name}: not finished {PATIENCE} s after the last death') from None
		if self.proc.returncode:
			raise Failed(f'{self.name}: exit status {self.proc.returncode}: {out.strip()}')
		return out.strip()


def freeze(s, layer, sig):
	"""Stop or continue what runs as `layer` now."""
	with s.supervisor.lock:
		if pid := s.pid(layer):
			os.kill(pid, sig)


def weather(s, kills, gap, rng):
	"""Deaths of one to five daemons at once, whether they run or are just starting; now and then a lull, now and then one that
	stands still in the middle of something while its neighbours die and come back."""
	left = kills
	while left > 0:
		n = min(left, rng.choice((1, 1, 1, 1, 2, 2, 3, 5)))
		dying, others = (order := rng.sample(LAYERS, len(LAYERS)))[:n], order[n:]
		frozen = others[0] if others and rng.random() < 0.25 else None
		if frozen:
			freeze(s, frozen, signal.SIGSTOP)
		for layer in dying:
			s.supervisor.kill(layer)
			left -= 1
		time.sleep(rng.uniform(gap / 5, gap) if rng.random() < 0.9 else rng.uniform(0.2, 0.6))
		if frozen:
			freeze(s, frozen, signal.SIGCONT)


def busy(s):
	"""Packets under way: {ring: number}. (What lies in a completion ring is taken when it is needed.)"""
	return {f'ring {n}': r['used'] for n, r in s.stat()['rings'].items() if r['used'] and not n.endswith('_done')}


def loans(s):
	return {name: p['loans'] for name, p in s.stat()['pools'].items()}


def device(s):
	"""A device opened anew in place of a parked one would be another interface, and the peer's address gone."""
	return sh('ip', '-n', s.ns['peer'], '-br', 'addr', 'show', s.peer_dev) + sh('ip', '-n', s.ns['link'], '-o', 'link', 'show', s.dev).split(':')[0]


def wires(s, ports, seconds):
	"""A new connection of each kind in each direction."""
	for side in ('strata', 'kernel'):
		host = PEER if side == 'strata' else STRATA
		for verb in ('conn', 'send', 'recv', 'rr'):
			port, options = (ports[side, 'one'], ()) if verb == 'conn' else (ports[side, 'serve'], ('--check',))
			amount = '20' if verb in ('conn', 'rr') else '5000000'
			s.run(side, s.traffic, verb, host, str(port), '--bytes', amount, *options, timeout=seconds)


def storm(s, ports, kills, gap, rng, seconds):
	held, loads = loans(s), []
	dev = device(s)
	for side in ('strata', 'kernel'):
		port, seed = ports[side, 'serve'], str(rng.randrange(1, 1 << 30))
		loads += [Load(s, side, verb, port, '--check', '--seed', seed, '--seconds', str(seconds)) for verb in ('send', 'recv')]
		loads.append(Load(s, side, 'rr', port, '--seconds', str(seconds)))
		loads.append(Load(s, side, 'conn', ports[side, 'one'], '--seconds', str(seconds)))
	try:
		time.sleep(0.3)
		weather(s, kills, gap, rng)
		for layer in LAYERS:
			if not s.supervisor.wait_ready(layer):
				raise Failed(f'{layer} does not come back')
		end = time.monotonic() + PATIENCE
		for load in loads:
			print(f'# {load.name}: {load.finish(end)}', flush=True)
	except Failed:
		print('# rings in use:', busy(s), 'loans:', loans(s), flush=True)
		raise
	finally:
		for load in loads:
			s.end(load.proc)
	wires(s, ports, 10)
	try:
		wait_for('buffers', lambda: not busy(s) and all(v <= held[k] + 8 for k, v in loans(s).items()), 10)
	except Failed:
		raise Failed(f'not back: {busy(s)}; on loan {held} -> {loans(s)}') from None
	if dev != device(s):
		raise Failed(f'another interface: {dev} -> {device(s)}')
	s.assert_healthy()


def main():
	args = arguments(seed={'type': int, 'default': 1}, rounds={'type': int, 'default': 2}, kills={'type': int, 'default': 150},
		gap={'type': float, 'default': 0.1, 'help': 'longest time between two deaths, in seconds; the shortest is a fifth of it'})
	tap = Tap(args)
	for driver in args.driver or ['tap', 'packet']:
		try:
			with Stack(args, driver) as s:
				ports = {(side, kind): s.next_port() for side in ('strata', 'kernel') for kind in ('serve', 'one')}
				for (side, kind), port in ports.items():
					s.serve('kernel' if side == 'strata' else 'strata', port, s.traffic, kind, str(port))
				wires(s, ports, 10)	# what is made ahead is at its usual number then
				for n in range(args.rounds):
					name = f'{driver}: {args.kills} deaths, seed {args.seed + n}'
					if not tap.case(name, storm, s, ports, args.kills, args.gap, random.Random(args.seed + n), args.kills * args.gap * 0.7) and args.v:
						print('\n'.join('# ' + line for line in s.log().splitlines()))
		except Failed as e:
			tap.result(False, f'{driver}: the stack runs', e)
	tap.end()


if __name__ == '__main__':
	main()
