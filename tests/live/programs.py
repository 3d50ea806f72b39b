#!/usr/bin/env python3
# programs.py – programs nobody changed, on Strata against the kernel's stack: as client and as server, on a TAP and on AF_PACKET.
# The topology is drawn in stack.py. Each case is one program in one role.
import hashlib, json, os, re, subprocess

from stack import PEER, STRATA, Failed, Stack, Tap, arguments, sh, wait_for

MB = 1 << 20
SIZE = 50 * MB
HOST = {'strata': STRATA, 'kernel': PEER}
OTHER = {'strata': 'kernel', 'kernel': 'strata'}


def make_file(s, name='file', size=SIZE):
	path = os.path.join(s.dir, name)
	if not os.path.exists(path):
		with open(path, 'wb') as f:
			for _ in range(size // MB):
				f.write(os.urandom(MB))
	return path


def digest(path):
	with open(path, 'rb') as f:
		return hashlib.file_digest(f, 'sha256').hexdigest()


def same(s, got, wanted):
	if digest(got) != digest(wanted):
		raise Failed(f'{got}: {os.path.getsize(got)} bytes, differs from {wanted} of {os.path.getsize(wanted)} bytes')
	os.unlink(got)


def nginx(s, where, port):
	base = os.path.join(s.dir, f'nginx-{where}-{port}')
	os.makedirs(base)
	with open(base + '/nginx.conf', 'w', encoding='utf-8') as f:
		f.write(f'''daemon off; master_process on; worker_processes 2; user root; pid {base}/pid; error_log {base}/error.log;
			events {{ use epoll; worker_connections 1024; }}
			http {{ access_log off; sendfile on; tcp_nopush on; keepalive_timeout 65; keepalive_requests 100000;
			client_body_temp_path {base}/t1; proxy_temp_path {base}/t2; fastcgi_temp_path {base}/t3; uwsgi_temp_path {base}/t4;
			scgi_temp_path {base}/t5; client_max_body_size 1g;
			server {{ listen {HOST[where]}:{port}; root {s.dir}; location /small {{ return 200 "hello"; }} }} }}''')
	return s.serve(where, port, 'nginx', '-c', base + '/nginx.conf', '-p', base, '-e', base + '/error.log')


def http_client(s, client, command):
	"""command(url, out) fetches a file from the nginx on the other side."""
	wanted, out = make_file(s), os.path.join(s.dir, 'out')
	server, port = OTHER[client], s.next_port()
	proc = nginx(s, server, port)
	try:
		s.run(client, *command(f'http://{HOST[server]}:{port}/file', out))
		same(s, out, wanted)
	finally:
		s.end(proc)


URLLIB = '''import sys, urllib.request
with urllib.request.urlopen(sys.argv[1], timeout=30) as r, open(sys.argv[2], "wb") as f:
	while b := r.read(65536): f.write(b)'''


def curl(url, out):
	return ['curl', '-sS', '--fail', '--max-time', '40', '-o', out, url]


def wget(url, out):
	return ['wget', '-q', '--tries=1', '--timeout=20', '-O', out, url]


def urllib(url, out):
	return ['python3', '-c', URLLIB, url, out]


def http_server(s, server):
	wanted, out, port = make_file(s), os.path.join(s.dir, 'out'), s.next_port()
	proc = s.serve(server, port, 'python3', '-m', 'http.server', '--bind', HOST[server], '--directory', s.dir, str(port))
	try:
		for command in (curl, urllib):
			s.run(OTHER[server], *command(f'http://{HOST[server]}:{port}/file', out))
			same(s, out, wanted)
	finally:
		s.end(proc)


def nginx_keepalive(s, server):
	"""Two workers under wrk's connections; then a reload, and again."""
	port = s.next_port()
	proc = nginx(s, server, port)
	try:
		for _ in range(2):
			out = s.run(OTHER[server], 'wrk', '-t2', '-c50', '-d2s', f'http://{HOST[server]}:{port}/small')
			if 'Socket errors' in out or 'Non-2xx' in out:
				raise Failed(out)
			if float(re.search(r'Requests/sec:\s*([\d.]+)', out).group(1)) < 500:
				raise Failed('slow: ' + out)
			with open(f'{s.dir}/nginx-{server}-{port}/pid', encoding='utf-8') as f:
				master = f.read().strip()
			workers = sh('pgrep', '-P', master).split()
			if len(workers) < 2:
				raise Failed(f'workers: {workers}')
			os.kill(int(master), 1)
			wait_for('new workers', lambda: not set(workers) & set(sh('pgrep', '-P', master, check=False).split()))
	finally:
		s.end(proc)


def iperf3(s, client, *options):
	server, port = OTHER[client], s.next_port()
	proc = s.serve(server, port, 'iperf3', '-s', '-1', '-p', str(port))
	try:
		text = s.run(client, 'iperf3', '-J', '-c', HOST[server], '-p', str(port), '-t', '2', *options, timeout=25)
		if not text.startswith('{'):
			raise Failed(text)
		out = json.loads(text)
		if 'error' in out or out['end']['sum_received']['bytes'] < MB:
			raise Failed(str(out.get('error', out['end'])))
		proc.wait(5)
		if proc.returncode:
			raise Failed(f'the server ended with {proc.returncode}: {s.output(proc)}')
	finally:
		s.end(proc)


def redis(s, server):
	port, client = s.next_port(), OTHER[server]
	host = ['-h', HOST[server], '-p', str(port)]
	base = os.path.join(s.dir, f'redis-{port}')
	os.makedirs(base)
	proc = s.serve(server, port, 'redis-server', '--port', str(port), '--bind', HOST[server], '--dir', base, '--save', '',
		'--protected-mode', 'no', '--daemonize', 'no')

	def cli(*words):
		return s.run(client, 'redis-cli', *host, *words).strip()
	try:
		out = s.run(client, 'redis-benchmark', *host, '-q', '-n', '20000', '-c', '50', '-t', 'ping,set,get,lpush,mset')
		if len(re.findall(r'([\d.]+) requests per second', out)) < 5 or 'rror' in out:
			raise Failed(out)
		out = s.run(client, 'redis-benchmark', *host, '-q', '-n', '20000', '-c', '20', '-P', '16', '-d', '1000', '-t', 'set,get')
		if 'rror' in out:
			raise Failed(out)
		cli('set', 'k', 'v' * 100000)
		if 'Background saving started' not in (said := cli('bgsave')):
			raise Failed(f'BGSAVE: {said}')
		wait_for('BGSAVE', lambda: 'rdb_bgsave_in_progress:0' in cli('info', 'persistence'))
		if 'rdb_last_bgsave_status:ok' not in (said := cli('info', 'persistence')):
			raise Failed(said)
		if not os.path.exists(base + '/dump.rdb') or cli('get', 'k') != 'v' * 100000:
			raise Failed('BGSAVE left no dump, or the value is gone')
	finally:
		s.end(proc)


def pipe(s, client, upload, client_cmd, server_cmd):
	"""A file through two programs that copy a connection to standard output; the receiver's copy must be the same."""
	server, port = OTHER[client], s.next_port()
	wanted, out = make_file(s), os.path.join(s.dir, 'out')
	to_server, to_client = client_cmd(HOST[server], port, upload), server_cmd(port, not upload)
	source = client if upload else server
	with open(wanted, 'rb') as data, open(out, 'wb+') as sink:
		first = {'stdin': data} if source == server else {'stdout': sink}
		proc = s.serve(server, port, *to_client, **first)
		try:
			done = subprocess.Popen(s.side(client)(*to_server), stdin=data if source == client else subprocess.DEVNULL,
				stdout=sink if source != client else subprocess.PIPE, stderr=subprocess.PIPE, env=s.env(), start_new_session=True)
			try:
				_, err = done.communicate(timeout=40)
			except subprocess.TimeoutExpired:
				s.end(done)
				raise Failed(f'{to_server[0]} on {client} does not end') from None
			if done.returncode:
				raise Failed(f'{to_server}: exit status {done.returncode}: {err.decode()}')
			proc.wait(10)
			if proc.returncode:
				raise Failed(f'{to_client}: exit status {proc.returncode}')
		finally:
			s.end(proc)
	same(s, out, wanted)


def socat_client(host, port, sends):
	return ['socat', '-t5', '-', f'TCP4:{host}:{port}']


def socat_server(port, sends):
	return ['socat', '-t5', '-', f'TCP4-LISTEN:{port},reuseaddr']


# The receiving nc must not read its standard input (-d): its end would end the connection, on the kernel's stack as well.
def nc_client(host, port, sends):
	return ['nc', '-N' if sends else '-d', host, str(port)]


def nc_server(port, sends):
	return ['nc', '-N' if sends else '-d', '-l', str(port)]


def cases(s, tap, driver):
	for where in ('strata', 'kernel'):
		def case(name, function, *args):
			good = tap.case(f'{driver}: {name}', function, s, *args)
			if not good and s.verbose:
				print('\n'.join('# ' + line for line in s.log().splitlines()))
		case(f'curl on {where} from nginx', http_client, where, curl)
		case(f'wget on {where} from nginx', http_client, where, wget)
		case(f'python urllib on {where} from nginx', http_client, where, urllib)
		case(f'python http.server on {where}', http_server, where)
		case(f'nginx on {where}: 2 workers, keep-alive, reload', nginx_keepalive, where)
		case(f'iperf3 client on {where}', iperf3, where)
		case(f'iperf3 -R client on {where}', iperf3, where, '-R')
		case(f'iperf3 -P 4 client on {where}', iperf3, where, '-P', '4')
		case(f'iperf3 -P 4 -R client on {where}', iperf3, where, '-P', '4', '-R')
		case(f'redis-server on {where}, redis-benchmark, BGSAVE', redis, where)
		for program, client, server in (('socat', socat_client, socat_server), ('nc', nc_client, nc_server)):
			case(f'{program} client on {where} sends', pipe, where, True, client, server)
			case(f'{program} client on {where} receives', pipe, where, False, client, server)


def main():
	args = arguments()
	tap = Tap(args)
	for driver in args.driver or ['tap', 'packet']:
		try:
			with Stack(args, driver) as s:
				cases(s, tap, driver)
				tap.case(f'{driver}: no daemon ended by itself', s.assert_healthy)
		except Failed as e:
			tap.result(False, f'{driver}: the stack runs', e)
	tap.end()


if __name__ == '__main__':
	main()
