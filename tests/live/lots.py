#!/usr/bin/env python3
# lots.py – room for descriptors: keepd without CAP_NET_ADMIN, as its unit runs it, may make parking lots no larger than
# net.core.wmem_max allows (Debian: 212,992 bytes). Ten thousand sockets fit all the same; when no more do, the program is told
# ENOBUFS and nothing that exists is lost, also not when sockd, tcpd and keepd die. The topology is drawn in stack.py.
import subprocess

from stack import PEER, STRATA, Failed, Stack, Tap, arguments, wait_for

DEBIAN = 212992
WMEM = '/proc/sys/net/core/wmem_max'


class Unprivileged(Stack):
	"""keepd without capabilities, and a small net.core.wmem_max while it makes its lots."""

	def command(self, layer, conf):
		cmd = super().command(layer, conf)
		return ['setpriv', '--bounding-set', '-net_admin', '--inh-caps', '-net_admin', *cmd] if layer == 'keepd' else cmd

	def start(self):
		with open(WMEM, encoding='ascii') as f:
			was = f.read()
		try:
			with open(WMEM, 'w', encoding='ascii') as f:
				f.write(str(DEBIAN))
			super().start()
		finally:
			with open(WMEM, 'w', encoding='ascii') as f:
				f.write(was)


# N sockets, each bound, so that sockd and tcpd know it; then they are used on command.
HOLDER = '''
import errno, resource, socket, sys
n, mine, host, port = int(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4])
resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
s, seen = [], ""
for _ in range(n):
	c = socket.socket()
	try:
		c.bind((mine, 0))
	except OSError as e:
		seen = errno.errorcode[e.errno]
		break
	s.append(c)
print("held", len(s), seen, flush=True)
sys.stdin.readline()
bad = 0
for c in s[::max(1, len(s) // 100)]:
	try:
		c.connect((host, port))
		bad += c.recv(4) != b"xxxx"
	except OSError as e:
		print(e); bad += 1
print("used", bad, flush=True)
'''
GREETER = '''
import socket, sys
l = socket.create_server((sys.argv[1], int(sys.argv[2])), backlog=1000)
while True:
	c, _ = l.accept(); c.sendall(b"xxxx"); c.close()
'''


def hold(s, port, each, processes):
	"""Start holders one after the other until one is refused; [(process, sockets)], the errno."""
	out, seen = [], ''
	for _ in range(processes):
		p = s.spawn('strata', 'python3', '-c', HOLDER, str(each), STRATA, PEER, str(port), stdin=subprocess.PIPE)
		wait_for('a holder', lambda p=p: 'held' in s.output(p) or p.poll() is not None, 60)
		words = next((line.split() for line in s.output(p).splitlines() if line.startswith('held')), None)
		if not words:
			raise Failed(s.output(p))
		out.append((p, int(words[1])))
		if len(words) > 2:
			seen = words[2]
			break
	return out, seen


def use(s, holders):
	for p, n in holders:
		p.stdin.write(b'\n')
		p.stdin.flush()
		wait_for('use of the sockets', lambda p=p: 'used' in s.output(p) or p.poll() is not None, 60)
		if 'used 0' not in s.output(p):
			raise Failed(f'{n} sockets: {s.output(p)[-300:]}')


def ten_thousand(s, port):
	holders, seen = hold(s, port, 2000, 5)
	try:
		if (n := sum(k for _, k in holders)) != 10000:
			raise Failed(f'{n} sockets, then {seen}')
		for layer in ('tcpd', 'sockd', 'keepd', 'tcpd'):
			s.kill(layer)
			s.supervisor.wait_ready(layer)
		use(s, holders)
	finally:
		for p, _ in holders:
			s.end(p)


def no_room(s, port):
	holders, seen = hold(s, port, 4000, 20)
	try:
		print(f'# {sum(k for _, k in holders)} sockets, then {seen}')
		if seen not in ('ENOBUFS', 'EMFILE'):
			raise Failed(f'{sum(k for _, k in holders)} sockets, then {seen or "no end"}')
		for layer in ('tcpd', 'sockd'):
			s.kill(layer)
			s.supervisor.wait_ready(layer)
		use(s, holders)
	finally:
		for p, _ in holders:
			s.end(p)


def afterwards(s, port):
	def fits():
		holders, seen = hold(s, port, 100, 1)
		try:
			if not seen:
				use(s, holders)
			return not seen
		finally:
			for p, _ in holders:
				s.end(p)
	wait_for('room', fits, 10)


def main():
	args = arguments()
	tap = Tap(args)
	try:
		with Unprivileged(args, 'tap', config='[sock]\nmax_sockets_per_uid = 1000000\n') as s:
			port = s.next_port()
			s.serve('kernel', port, 'python3', '-c', GREETER, PEER, str(port))
			tap.case('ten thousand sockets, and every layer that parks them dies', ten_thousand, s, port)
			tap.case('as many as fit: the next is refused, none is lost', no_room, s, port)
			tap.case('when they are gone there is room again', afterwards, s, port)
			tap.case('no daemon ended by itself', s.assert_healthy)
	except Failed as e:
		tap.result(False, 'the stack runs', e)
	tap.end()


if __name__ == '__main__':
	main()
