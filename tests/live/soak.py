#!/usr/bin/env python3
# soak.py – a thousand connections at once, random sizes both ways, over a bad wire against the kernel: every hash right, none hung.
#
#   strata-P-app   500 clients, a server, under `strata run`
#      │ shared memory
#   linkd ... sockd
#      │ AF_PACKET
#   strata-P-link  TAP st0 ── lossy (loss, reordering, duplicates, bit errors, delay; by a seed) ── TAP st1  strata-P-peer
#                                                                                        kernel 10.9.0.1: 500 clients, a server
#
# Each connection carries a different random stream each way at the same time, made from its number; both ends compare SHA-256.
import os, signal, sys, time

from stack import PEER, STRATA, Failed, Stack, Tap, arguments, sh, wait_for

PROGRAM = '''
import asyncio, hashlib, random, sys
role, host, port, first, n, most = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), int(sys.argv[5]), int(sys.argv[6])

def sizes(k):
	r = random.Random(k)
	return [1 + int(most * r.random() ** 4) for _ in (0, 1)]

def stream(k, side):
	return random.Random(k * 2 + side).randbytes(sizes(k)[side])

async def pump(k, side, reader, writer):
	async def send():
		writer.write(stream(k, side))
		await writer.drain()
		writer.write_eof()
	async def receive():
		h, got = hashlib.sha256(), 0
		while block := await reader.read(65536):
			h.update(block)
			got += len(block)
		wanted = stream(k, 1 - side)
		if got != len(wanted) or h.digest() != hashlib.sha256(wanted).digest():
			raise ValueError(f"connection {k}: {got} bytes of {len(wanted)}" + (", other bytes" if got == len(wanted) else ""))
	try:
		await asyncio.gather(send(), receive())
	finally:
		writer.close()
		await writer.wait_closed()	# what is still in the program leaves first

async def client(k):
	for attempt in range(3):
		try:
			reader, writer = await asyncio.open_connection(host, port)
			break
		except TimeoutError:	# ETIMEDOUT: every SYN was lost
			if attempt == 2: raise
	writer.write(k.to_bytes(4, "big"))
	await pump(k, 0, reader, writer)

async def serve():
	done, bad, all = 0, [], asyncio.Event()
	async def one(reader, writer):
		nonlocal done
		try:
			k = int.from_bytes(await reader.readexactly(4), "big")
			await pump(k, 1, reader, writer)
		except Exception as e:
			bad.append(f"{type(e).__name__}: {e}")
		done += 1
		if done == n: all.set()
	await asyncio.start_server(one, host, port, backlog=1024)
	await all.wait()
	return bad

async def main():
	if role == "serve":
		bad = await serve()
	else:
		results = await asyncio.gather(*(client(first + i) for i in range(n)), return_exceptions=True)
		bad = [f"{type(e).__name__}: {e}" for e in results if e]
	print(f"{role}: {n - len(bad)} of {n} good", *bad[:5], sep="\\n", flush=True)
	sys.exit(bool(bad))

asyncio.run(main())
'''


class SoakStack(Stack):
	"""Driver "packet" on a TAP whose other end is the bad wire."""

	def __init__(self, args, **kw):
		super().__init__(args, 'packet', **kw)
		self.wire_args = [args.seed, args.loss, 500, 3000, 100, 3000, 1000, args.seconds + 60]

	def net_up(self):
		for n, ns in self.ns.items():
			sh('ip', 'netns', 'add', ns)
			sh('ip', '-n', ns, 'link', 'set', 'lo', 'up')
			sh('ip', 'netns', 'exec', ns, 'sysctl', '-qw', 'net.ipv6.conf.all.disable_ipv6=1', check=False)
		self.peer_dev = 'st1'
		lossy = os.path.join(self.build, 'tests/live/lossy')
		self.wire = self.spawn_here(lossy, self.ns['link'], 'st0', self.ns['peer'], 'st1', *map(str, self.wire_args))
		wait_for('the wire', lambda: 'up' in self.output(self.wire) or self.wire.poll() is not None)
		sh('ip', '-n', self.ns['link'], 'link', 'set', 'st0', 'up', 'txqueuelen', '10000')
		sh('ip', '-n', self.ns['peer'], 'link', 'set', 'st1', 'txqueuelen', '10000')
		self.peer_up()

	def side(self, where):
		return (lambda *cmd: list(cmd)) if where == 'here' else super().side(where)

	def spawn_here(self, *cmd):
		return self.spawn('here', *cmd)


def soak(s, args):
	half, procs = args.connections // 2, []
	for where, host, first in (('kernel', PEER, 0), ('strata', STRATA, half)):
		port, other = s.next_port(), 'strata' if where == 'kernel' else 'kernel'
		run = [sys.executable, '-c', PROGRAM]
		procs.append((f'server on {where}', s.serve(where, port, *run, 'serve', host, str(port), '0', str(half), str(args.most))))
		procs.append((f'clients on {other}', s.spawn(other, *run, 'connect', host, str(port), str(first), str(half), str(args.most))))
	began = time.monotonic()
	end = began + args.seconds
	while any(p.poll() is None for _, p in procs) and time.monotonic() < end:
		time.sleep(0.1)
	hung = [name for name, p in procs if p.poll() is None]
	took = time.monotonic() - began
	bad = [f'{name}: {s.output(p).strip()[-600:]}' for name, p in procs if p.poll()]
	if hung or bad:
		raise Failed('\n'.join([f'not at an end after {args.seconds} s: {", ".join(hung)}' if hung else '', *bad,
			*(f'{name}: {s.output(p).strip()[-300:]}' for name, p in procs if p.poll() is None),
			s.tool('ss')[:2000] if hung else '']))
	s.wire.send_signal(signal.SIGTERM)
	s.wire.wait(5)
	tcpd = s.stat()['daemons']['tcpd']['counters']
	print(f'# {args.connections} connections in {took:.1f} s, seed {args.seed}; the wire {s.output(s.wire).splitlines()[-1]}; '
		f'retransmitted {tcpd["TCP_RETRANS_SEGS"]}')
	s.assert_healthy()


def main():
	args = arguments(seed={'type': int, 'default': 1}, connections={'type': int, 'default': 1000}, loss={'type': int, 'default': 1000,
		'help': 'of 100,000 frames'}, most={'type': int, 'default': 400000, 'help': 'bytes of a stream'},
		seconds={'type': int, 'default': 200, 'help': 'after which whoever is not ready has hung'})
	tap = Tap(args)
	with SoakStack(args) as s:
		tap.case(f'{args.connections} connections over a wire that loses, doubles, reorders and bends', soak, s, args)
	tap.end()


if __name__ == '__main__':
	main()
