#!/usr/bin/env python3
# syn_flood.py – 20,000 SYNs a second from hosts that do not exist: connections are opened, stay open and carry their bytes all the
# while, also when tcpd is killed, and afterwards. (A flood that the daemons cannot keep up with is another matter: then the device
# drops what others send as well, and they live on retransmissions.) The topology is drawn in stack.py.

from stack import STRATA, Failed, Stack, Tap, arguments, wait_for

FLOOD = '''
import random, socket, struct, sys, time
dst, port = socket.inet_aton(sys.argv[1]), int(sys.argv[2])
def words(b): return sum(struct.unpack(f"!{len(b) // 2}H", b))
def syn():
	src = socket.inet_aton(f"198.18.{random.randrange(256)}.{random.randrange(1, 255)}")
	tcp = struct.pack("!HHIIBBHHHBBH", random.randrange(1024, 65536), port, random.randrange(1 << 32), 0, 6 << 4, 2, 64240, 0, 0, 2, 4, 1460)
	s = words(tcp) + words(src + dst) + 6 + len(tcp)
	s = (s & 0xffff) + (s >> 16)
	s = ~((s & 0xffff) + (s >> 16)) & 0xffff
	ip = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(tcp), 0, 0, 64, 6, 0) + src + dst
	return ip + tcp[:16] + struct.pack("!H", s) + tcp[18:]
out = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
packets = [syn() for _ in range(20000)]
print("flooding", flush=True)
due = time.monotonic()
while True:
	for i, p in enumerate(packets):
		try: out.sendto(p, (sys.argv[1], 0))
		except OSError: pass
		if i % 200 == 199:
			due = max(due + 0.01, time.monotonic() - 0.1)
			time.sleep(max(0, due - time.monotonic()))
'''

# Echoes; many connections at a time.
SERVER = '''
import asyncio, sys
async def echo(r, w):
	while b := await r.read(65536):
		w.write(b)
		await w.drain()
	w.close()
async def main():
	s = await asyncio.start_server(echo, sys.argv[1], int(sys.argv[2]), backlog=64)
	await s.serve_forever()
asyncio.run(main())
'''

# So many connections one after the other, each carrying something; says how many came to their end.
CLIENT = '''
import os, socket, sys
done = 0
for _ in range(int(sys.argv[3])):
	with socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=30) as c:
		data = os.urandom(20000)
		c.sendall(data)
		c.shutdown(socket.SHUT_WR)
		got = b""
		while b := c.recv(65536): got += b
		done += got == data
print(done)
'''

# One connection before the flood, used during it.
LONG = '''
import os, socket, sys, time
c = socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=60)
print("connected", flush=True)
sys.stdin.readline()
total = 0
for _ in range(200):
	data = os.urandom(50000)
	c.sendall(data)
	got = b""
	while len(got) < len(data): got += c.recv(65536)
	total += got == data
print("rounds", total, flush=True)
'''


def tcpd_counter(s, name):
	def find(tree):
		if isinstance(tree, dict):
			return tree[name] if isinstance(tree.get(name), int) else sum(find(v) for v in tree.values())
		return 0
	return find(s.stat())


def connects(s, port, n):
	out = s.run('kernel', 'python3', '-c', CLIENT, STRATA, str(port), str(n), timeout=200)
	if out.strip() != str(n):
		raise Failed(f'{out.strip()} of {n} connections')


def flooded(s):
	port = s.next_port()
	server = s.serve('strata', port, 'python3', '-c', SERVER, STRATA, str(port))
	long = s.spawn('kernel', 'sh', '-c', f"(sleep 3; echo) | python3 -c '{LONG}' {STRATA} {port}")
	wait_for('the connection made before', lambda: 'connected' in s.output(long))
	before = tcpd_counter(s, 'TCP_COOKIES_RECV')
	flood = s.spawn('kernel', 'python3', '-c', FLOOD, STRATA, str(port))
	try:
		wait_for('cookies', lambda: tcpd_counter(s, 'TCP_COOKIES_SENT') > 1000)
		connects(s, port, 30)
		for _ in range(3):
			s.kill('tcpd')
			connects(s, port, 3)
		if long.wait(100) or 'rounds 200' not in s.output(long):
			raise Failed(f'the connection made before: {s.output(long)}')
		if flood.poll() is not None:
			raise Failed(s.output(flood))
		if tcpd_counter(s, 'TCP_COOKIES_RECV') - before < 10:
			raise Failed('hardly any connection came from a cookie')
		if 'answering with SYN cookies' not in s.log():
			raise Failed('nothing about it in the log')
	finally:
		s.end(flood)
	connects(s, port, 20)
	s.end(server)


def main():
	args = arguments()
	tap = Tap(args)
	for driver in args.driver or ['tap', 'packet']:
		with Stack(args, driver) as s:
			tap.case(f'{driver}: connections during a flood of SYNs, and after it', flooded, s)
			tap.case(f'{driver}: no daemon ended by itself', s.assert_healthy)
	tap.end()


if __name__ == '__main__':
	main()
