#!/usr/bin/env python3
# shim_paths.py – the client library by name; programs on AF_INET6; programs killed while they wait, or before they could tell;
# holders of a socket that do not know the shim. The topology is drawn in stack.py.
import os, signal, subprocess, time

from stack import PEER, STRATA, Failed, Stack, Tap, arguments, wait_for


def libclient(s, port):
	for n in ('1', '100000', '20000000'):
		out = subprocess.run(s.on_kernel(os.path.join(s.build, 'tests/shim/libclient'), PEER, str(port), n), env=s.env(), text=True,
			stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=30).stdout
		if out != 'ok\n':
			raise Failed(f'{n} bytes: {out}')


# A reader that says how its connection ended, or what it got.
WATCH = '''
import socket, sys
l = socket.create_server((sys.argv[1], int(sys.argv[2])), backlog=8)
c, _ = l.accept()
c.settimeout(10)
got = b""
try:
	while b := c.recv(1000):
		got += b
		print("got", got.decode(errors="replace"), flush=True)
	print("fin", flush=True)
except ConnectionResetError: print("rst", flush=True)
except TimeoutError: print("timeout", flush=True)
'''


def unkicked(s):
	"""Bytes published by a program that died before it could tell: they arrive, although another holds the socket."""
	port = s.next_port()
	w = s.serve('kernel', port, 'python3', '-c', WATCH, PEER, str(port))
	v = subprocess.Popen(s.on_kernel(os.path.join(s.build, 'tests/shim/unkicked'), PEER, str(port)), env=s.env(), start_new_session=True)
	try:
		if v.wait(10) != -signal.SIGKILL:
			raise Failed(f'exit status {v.returncode}')
		wait_for('the bytes', lambda: 'hold 0\nlast' in s.output(w), 3)
	finally:
		os.killpg(v.pid, signal.SIGKILL)
		s.end(w)


BLOCKED = {
	'recv': 'c = socket.create_connection((host, port)); print("ready", flush=True); c.recv(1)',
	'send': 'c = socket.create_connection((host, port)); print("ready", flush=True)\nwhile True: c.sendall(b"x" * 65536)',
	'accept': 'l = socket.create_server((mine, port + 1000)); print("ready", flush=True); l.accept()',
	'connect': 'c = socket.socket(); print("ready", flush=True); c.connect(("10.9.0.77", 80))',
	'poll': 'c = socket.create_connection((host, port)); import select; p = select.poll(); p.register(c, 1); print("ready", flush=True); p.poll()',
	'epoll': 'c = socket.create_connection((host, port)); import select; p = select.epoll(); p.register(c, 1); print("ready", flush=True); p.poll()',
}


def killed(s, what):
	"""SIGKILL while it is blocked: nothing of it stays."""
	port = s.next_port()
	w = s.serve('kernel', port, 'python3', '-c', 'import socket, sys, time\nl = socket.create_server((sys.argv[1], int(sys.argv[2])))\n'
		'c, _ = l.accept(); time.sleep(30)', PEER, str(port))
	text = f'import socket\nhost, mine, port = "{PEER}", "{STRATA}", {port}\n' + BLOCKED[what]
	v = s.spawn('strata', 'python3', '-c', text)
	try:
		wait_for('the program', lambda: 'ready' in s.output(v), 10)
		time.sleep(0.3)
		os.killpg(v.pid, signal.SIGKILL)
		v.wait(5)
	finally:
		s.end(v)
		s.end(w)
	wait_for('the end of its sockets', lambda: not [x for x in s.tool('ss').splitlines() if 'ESTAB' in x or 'LISTEN' in x or 'SYN-SENT' in x], 5)


def v6_server(s, *cmd, client):
	port = s.next_port()
	proc = s.serve('strata', port, *[str(port) if x == 'PORT' else x for x in cmd])
	try:
		for _ in range(2):
			s.run('kernel', *[x.replace('PORT', str(port)) for x in client], timeout=30)
	finally:
		s.end(proc)


def foreign_writer(s):
	"""A holder without the shim writes to the descriptor: that is the stream (plain.py has the rest)."""
	port = s.next_port()
	w = s.serve('kernel', port, 'python3', '-c', WATCH, PEER, str(port))
	text = (f'import socket, subprocess, os\nc = socket.create_connection(("{PEER}", {port}))\nenv = dict(os.environ); env.pop("LD_PRELOAD")\n'
		'subprocess.run(["sh", "-c", "echo foreign"], stdout=c, env=env)')
	try:
		out = s.run('strata', 'python3', '-c', text, timeout=20)
		wait_for('the end at the peer', lambda: 'fin' in s.output(w), 5)
		if 'got foreign\n' not in s.output(w):
			raise Failed(out + s.output(w))
	finally:
		s.end(w)


def main():
	args = arguments()
	tap = Tap(args)
	for driver in args.driver or ['tap', 'packet']:
		with Stack(args, driver) as s:
			oracle, port = os.path.join(args.build, 'tests/shim/oracle/oracle'), s.next_port()
			s.serve('kernel', port, oracle, 'peer', PEER, str(port))
			tap.case(f'{driver}: libstrata', libclient, s, port)
			tap.case(f'{driver}: dead before it could tell', unkicked, s)
			for what in BLOCKED:
				tap.case(f'{driver}: killed in {what}', killed, s, what)
			tap.case(f'{driver}: iperf3 -s on ::', v6_server, s, 'iperf3', '-s', '-p', 'PORT', client=['iperf3', '-c', STRATA, '-p', 'PORT', '-t', '1'])
			tap.case(f'{driver}: http.server --bind ::', v6_server, s, 'python3', '-m', 'http.server', '--bind', '::', 'PORT',
				client=['curl', '-sS', '--fail', '-o', '/dev/null', f'http://{STRATA}:PORT/'])
			tap.case(f'{driver}: a holder without the shim', foreign_writer, s)
			tap.case(f'{driver}: no daemon ended by itself', s.assert_healthy)
	tap.end()


if __name__ == '__main__':
	main()
