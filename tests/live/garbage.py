#!/usr/bin/env python3
# garbage.py – nonsense from the wire and from clients: it is dropped and counted, its author at most loses what is his, and a verified
# transfer beside it goes on. The topology is drawn in stack.py; frames go in at the kernel's end, beside the kernel's own.
import os, subprocess

from stack import LAYERS, PEER, STRATA, Failed, Stack, Tap, arguments, sh, wait_for

# Runs in the peer's namespace: seeded mutations of frames of every kind to Strata. argv: device, Strata's MAC, own MAC, seed, count, port
FRAMES = r'''
import random, socket, struct, sys
dev, smac, pmac, seed, count, port = sys.argv[1], bytes.fromhex(sys.argv[2]), bytes.fromhex(sys.argv[3]), int(sys.argv[4]), int(sys.argv[5]), int(sys.argv[6])
rng = random.Random(seed)
out = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
out.bind((dev, 0))
src, dst = socket.inet_aton("10.9.0.1"), socket.inet_aton("10.9.0.2")

def csum(b):
	if len(b) % 2: b += b"\0"
	t = sum(struct.unpack(f"!{len(b) // 2}H", b))
	t = (t & 0xffff) + (t >> 16); t += t >> 16
	return ~t & 0xffff

def ip(proto, body, frag=0, opts=b"", source=src):
	h = struct.pack("!BBHHHBBH4s4s", 0x45 + len(opts) // 4, 0, 20 + len(opts) + len(body), rng.randrange(65536), frag, 64, proto, 0, source, dst) + opts
	return b"\x08\x00" + h[:10] + struct.pack("!H", csum(h)) + h[12:] + body

def tcp(flags, opts=b"", data=b"", dport=None, sport=None):
	opts += b"\1" * (-len(opts) % 4)
	h = struct.pack("!HHIIBBHHH", sport or rng.randrange(1, 65536), dport or rng.choice([port, 80, 1, rng.randrange(65536)]), rng.randrange(1 << 32),
		rng.randrange(1 << 32), (20 + len(opts)) // 4 << 4, flags, rng.randrange(65536), 0, 0) + opts + data
	pseudo = src + dst + struct.pack("!HH", 6, len(h))
	return h[:16] + struct.pack("!H", csum(pseudo + h)) + h[18:]

def icmp(kind, code, body):
	h = struct.pack("!BBHI", kind, code, 0, rng.randrange(1 << 32)) + body
	return h[:2] + struct.pack("!H", csum(h)) + h[4:]

OPTS = [b"\2\4\5\xb4", b"\2\4\0\1", b"\3\3\xff", b"\4\2", b"\5\x0a" + bytes(8), b"\5\xff", b"\x08\x0a" + bytes(8), b"\x08\0", b"\x22\x02", b"\xfe\x28" + bytes(38), b"\0", b"\1" * 40]

def base():
	k = rng.randrange(11)
	if k == 0: return b"\x08\x06" + struct.pack("!HHBBH6s4s6s4s", 1, 0x800, 6, 4, rng.choice([1, 2]), pmac, src, bytes(6), dst)
	if k == 1: return ip(1, icmp(8, 0, bytes(rng.randrange(200))))
	if k == 2: return ip(1, icmp(rng.choice([3, 4, 5, 11, 12]), rng.randrange(16), ip(6, tcp(2), source=dst)[2:][:28 + rng.randrange(20)]))
	if k == 3: return ip(17, struct.pack("!HHHH", 1, rng.randrange(65536), 8 + 4, 0) + b"abcd")
	if k in (4, 5): return ip(6, tcp(2, b"".join(rng.sample(OPTS, rng.randrange(4)))[:40]))
	if k in (6, 7): return ip(6, tcp(rng.randrange(256), b"".join(rng.sample(OPTS, rng.randrange(4)))[:40], bytes(rng.randrange(1000))))
	if k == 8: return ip(6, tcp(16, data=bytes(64)), frag=rng.choice([0x2000, 1, 0x2001, 0x1fff, 0x3fff, 2, 3]))
	if k == 9: return ip(rng.randrange(256), bytes(rng.randrange(300)), opts=bytes(rng.randrange(256) for _ in range(4 * rng.randrange(1, 10))))
	return struct.pack("!H", rng.randrange(65536)) + bytes(rng.randrange(100))

def mutate(f):
	b = bytearray(f)
	how = rng.randrange(6)
	if how == 0: del b[rng.randrange(len(b)):]
	elif how == 1: b += bytes(rng.randrange(256) for _ in range(rng.randrange(1, 60)))
	for _ in range(rng.choice([0, 1, 1, 2, 4, 16])):
		if b: b[rng.randrange(min(len(b), 64) if how != 5 else len(b))] = rng.choice([0, 255, rng.randrange(256), 1 << rng.randrange(8)])
	return bytes(b)

sent = 0
while sent < count:
	f = smac + pmac + mutate(base())
	try: out.send(f[:1500] if len(f) >= 14 else f + bytes(14 - len(f)))
	except OSError: pass
	sent += 1
print("sent", sent)
'''

# A client that connects to sockd and talks nonsense.
RAW_CLIENT = r'''
import os, random, socket, sys
path, seed, rounds = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
rng = random.Random(seed)
cut = 0
for i in range(rounds):
	s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
	s.settimeout(2)
	s.connect(path)
	try:
		for _ in range(rng.randrange(1, 6)):
			msg = os.urandom(rng.choice([0, 1, 5, 40, 300, 4000]))
			if rng.random() < .7:	# near to a request: op and id, then anything
				msg = bytes([8, rng.randrange(16), 16, rng.randrange(256), 1]) + bytes(rng.choice([rng.randrange(256), 0, 255]) for _ in range(rng.randrange(60)))
			fds = [os.open("/dev/null", os.O_RDONLY) for _ in range(rng.choice([0, 0, 1, 2, 20]))]
			socket.send_fds(s, [msg], fds)
			for f in fds: os.close(f)
		s.settimeout(.02)
		while s.recv(4096): pass
		cut += 1
	except TimeoutError: pass
	except OSError: cut += 1
	s.close()
print("cut off", cut)
'''

# A client on Strata that overwrites all memory it shares with the stack, as the kernel lets it, in mid-connection.
MEM_CLIENT = r'''
import os, random, re, socket, struct, sys, time
host, port, seed = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
rng = random.Random(seed)
c = [socket.create_connection((host, port), 10) for _ in range(4)]
for s in c: s.sendall(struct.pack("IIQQ", 3, 64, 0, 0) + bytes(64))
shared = []
for line in open("/proc/self/maps"):
	m = re.match(r"([0-9a-f]+)-([0-9a-f]+) rw-s .*memfd:", line)
	if m: shared.append((int(m[1], 16), int(m[2], 16)))
if not shared: sys.exit("nothing is shared")
mem = os.open("/proc/self/mem", os.O_RDWR)
print("writing", len(shared), flush=True)
end = time.time() + 1.5
while time.time() < end:
	for a, b in shared:
		for _ in range(50):
			at = rng.randrange(a, min(b, a + rng.choice([4096, 65536, b - a])), 8)
			try: os.pwrite(mem, rng.choice([b"\xff" * 8, os.urandom(8), bytes(8), struct.pack("Q", 1 << rng.randrange(64))]), at)
			except OSError: pass
	try:
		s = rng.choice(c); s.setblocking(False); s.send(b"x" * 64)
	except OSError: pass
os._exit(0)
'''


def drops(s):
	"""Sum of all counters that name a drop, from `strata stat --json`."""
	def walk(v, name=''):
		if isinstance(v, dict):
			return sum(walk(x, k) for k, x in v.items())
		return v if isinstance(v, int) and 'drop' in name.lower() else 0
	return walk(s.stat())


def beside(s, port, function):
	"""Run function() while a verified transfer with a peer goes on; both must be well, and no daemon may have ended."""
	transfers = [subprocess.Popen(s.on_strata(s.traffic, verb, PEER, str(port), '--bytes', '3000000000', '--check'), env=s.env(),
		stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True)
		for verb in ('recv', 'send')]
	restarts = {n: s.restarts(n) for n in LAYERS}
	try:
		function()
		for t in transfers:
			if t.poll() not in (None, 0):
				raise Failed(f'the transfer beside it failed: {t.communicate()[0]}')
	finally:
		for t in transfers:
			s.end(t)
	if ended := [n for n in LAYERS if s.restarts(n) != restarts[n]]:
		raise Failed(f'{ended} ended: {s.unexpected()}')
	s.run('strata', s.traffic, 'recv', PEER, str(port), '--bytes', '10000000', '--check', timeout=20)


def mac_of(text):
	return text.replace(':', '')


def frames(s, port, seed, count):
	s.run('strata', s.traffic, 'rr', PEER, str(port), '--bytes', '10')
	neigh = sh('ip', '-n', s.ns['peer'], 'neigh', 'show', STRATA).split()
	own = sh(*s.on_kernel('cat', f'/sys/class/net/{s.peer_dev}/address')).strip()
	before = drops(s)

	def send():
		out = s.run('kernel', 'python3', '-c', FRAMES, s.peer_dev, mac_of(neigh[neigh.index('lladdr') + 1]), mac_of(own), str(seed), str(count),
			str(port), timeout=120)
		if f'sent {count}' not in out:
			raise Failed(out)
	beside(s, port, send)
	counted = drops(s) - before
	print(f'# {count} frames, {counted} counted drops')
	if counted < count // 10:
		raise Failed(f'only {counted} drops were counted')


def raw_client(s, port, seed):
	beside(s, port, lambda: s.run('kernel', 'python3', '-c', RAW_CLIENT, os.path.join(s.dir, s.instance, 'sock'), str(seed), '200', timeout=60))


def mem_client(s, port, seed):
	def write():
		victim = s.spawn('strata', 'python3', '-c', MEM_CLIENT, PEER, str(port), str(seed))
		try:
			victim.wait(4)
		except subprocess.TimeoutExpired:
			pass		# it may well have locked itself out of its own memory
		s.end(victim)
		if 'writing' not in s.output(victim):
			raise Failed(s.output(victim))
	beside(s, port, write)
	wait_for('its sockets to be gone', lambda: not [line for line in s.tool('ss').splitlines() if 'ESTAB' in line], 10)


def main():
	args = arguments(seed={'type': int, 'default': 1}, frames={'type': int, 'default': 100000})
	tap = Tap(args)
	for driver in args.driver or ['tap', 'packet']:
		try:
			with Stack(args, driver) as s:
				port = s.next_port()
				s.serve('kernel', port, s.traffic, 'serve', str(port))
				half = args.frames // 2
				for seed in (args.seed, args.seed + 1):
					tap.case(f'{driver}: {half} mutated frames, seed {seed}', frames, s, port, seed, half)
				if driver == 'tap':
					for seed in range(args.seed, args.seed + 3):
						tap.case(f'nonsense on the socket to sockd, seed {seed}', raw_client, s, port, seed)
						tap.case(f'nonsense in the rings shared with the stack, seed {seed}', mem_client, s, port, seed)
		except Failed as e:
			tap.result(False, f'{driver}: the stack runs', e)
	tap.end()


if __name__ == '__main__':
	main()
