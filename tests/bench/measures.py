# measures.py – what bench.py measures. A measure has setup(side), a context in which run(side, seconds) can be called again and
# again; it gives {'value', 'work', 'program'} and perhaps more times: the figure, how many GB or requests were moved, and the CPU
# seconds of the program itself. The daemons' CPU time is taken around run() by bench.py.
import contextlib, csv, io, json, os, re, sys, time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '../live'))
from stack import STRATA, Failed, wait_for
from sides import cpu_of, group, pinned


class Measure:
	"""less: a time, less is better. floor and aim are the ratio's, Strata : kernel."""

	def __init__(self, name, what, unit, less=False, floor=None, aim=None, serves=False):
		self.name, self.what, self.unit, self.less, self.floor, self.aim, self.serves = name, what, unit, less, floor, aim, serves
		self.per = 'GB' if unit == 'Gbit/s' else 'request'

	@contextlib.contextmanager
	def setup(self, side):
		yield None

	def verdict(self, ratio):
		if self.floor is None:
			return ''
		good = (lambda limit: ratio <= limit) if self.less else (lambda limit: ratio >= limit)
		return 'aim reached' if good(self.aim) else 'floor reached' if good(self.floor) else 'floor missed'


class Bulk(Measure):
	"""One flow, as fast as it goes. into: towards the stack that is measured."""

	def __init__(self, name, what, verb, **kw):
		super().__init__(name, what, 'Gbit/s', **kw)
		self.verb = verb

	def run(self, side, seconds, server):
		out, cpu = side.run(side.client(self.verb, 5001, '--seconds', str(seconds)), seconds + 30)
		r = json.loads(out)
		return {'value': r['bytes'] * 8 / r['seconds'] / 1e9, 'work': r['bytes'] / 1e9, 'program': cpu}


class RoundTrip(Measure):
	"""64 bytes there and back, one at a time. one_cpu: daemons, program and peer on one CPU."""

	def __init__(self, name, what, one_cpu, **kw):
		super().__init__(name, what, 'µs', less=True, **kw)
		self.one_cpu = one_cpu

	def run(self, side, seconds, server):
		cmd = side.client('rr', 5001, '--seconds', str(seconds), '--size', '64')
		with pinned([*side.daemons().values(), side.servers['serve'].pid] if self.one_cpu else []):
			out, cpu = side.run((['taskset', '-c', '0'] if self.one_cpu else []) + cmd, seconds + 30)
		r = json.loads(out)
		return {'value': r['p50_us'], 'p99': r['p99_us'], 'work': r['requests'], 'program': cpu}


class Connect(Measure):
	"""connect, one byte each way, close, again; out of the stack that is measured."""

	def run(self, side, seconds, server):
		out, cpu = side.run(side.client('conn', 5002, '--seconds', str(seconds)), seconds + 30)
		r = json.loads(out)
		return {'value': r['connections'] / r['seconds'], 'work': r['connections'], 'program': cpu}


class Server(Measure):
	"""A server on the stack that is measured, its client on the peer."""

	def __init__(self, name, what, **kw):
		super().__init__(name, what, '1/s', serves=True, **kw)

	@contextlib.contextmanager
	def setup(self, side):
		server = side.serve(side.app(*self.server(side)), side.peer(*self.probe(side)))
		try:
			yield server
		finally:
			side.end(server)

	def run(self, side, seconds, server):
		before = sum(map(cpu_of, group(server.pid)))
		out, _ = side.run(side.peer(*self.load(side, seconds)), 4 * seconds + 30)
		cpu = sum(map(cpu_of, group(server.pid))) - before
		return dict(self.parse(out), program=cpu)


class Accept(Server):
	def server(self, side):
		return [side.traffic, 'one', '5003']

	def probe(self, side):
		return [side.traffic, 'conn', STRATA, '5003', '--bytes', '5']

	def load(self, side, seconds):
		return [side.traffic, 'conn', STRATA, '5003', '--seconds', str(seconds)]

	def parse(self, out):
		r = json.loads(out)
		return {'value': r['connections'] / r['seconds'], 'work': r['connections']}


class Redis(Server):
	"""SET and GET; the figure is the rate over both."""

	def server(self, side):
		return ['redis-server', '--port', '6400', '--bind', STRATA, '--save', '', '--appendonly', 'no', '--protected-mode', 'no', '--dir', side.dir]

	def probe(self, side):
		return ['redis-cli', '-h', STRATA, '-p', '6400', '-e', 'ping']

	def load(self, side, seconds):
		self.requests = max(1000, int(20000 * seconds))		# of each kind; about `seconds` for both together
		return ['redis-benchmark', '-h', STRATA, '-p', '6400', '-c', '50', '-P', '1', '-n', str(self.requests), '-t', 'set,get', '--csv']

	def parse(self, out):
		rows = {r['test'].lower(): r for r in csv.DictReader(io.StringIO(out[out.index('"test"'):]))}
		seconds = sum(self.requests / float(rows[t]['rps']) for t in ('set', 'get'))
		return {'value': 2 * self.requests / seconds, 'work': 2 * self.requests,
			**{f'{t}_per_s': float(rows[t]['rps']) for t in ('set', 'get')}, **{f'{t}_p99_ms': float(rows[t]['p99_latency_ms']) for t in ('set', 'get')}}


class Nginx(Server):
	"""Two workers, keep-alive, 50 connections of wrk, an answer of 1 KB from a file."""

	def server(self, side):
		os.makedirs(side.dir + '/www', exist_ok=True)
		with open(side.dir + '/www/1k', 'w', encoding='utf-8') as f:
			f.write('x' * 1023 + '\n')
		temp = ' '.join(f'{n}_temp_path {side.dir}/{n};' for n in ('client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'))
		with open(side.dir + '/nginx.conf', 'w', encoding='utf-8') as f:
			f.write(f'daemon off; worker_processes 2; user root; pid {side.dir}/nginx.pid; error_log /dev/null;\n'
				'events { worker_connections 1024; }\n'
				f'http {{ access_log off; sendfile on; keepalive_requests 100000000; {temp}\n'
				f'server {{ listen {STRATA}:8080; root {side.dir}/www; }} }}\n')
		return ['nginx', '-c', side.dir + '/nginx.conf', '-p', side.dir, '-e', '/dev/null']

	def probe(self, side):
		return ['curl', '-fsS', '--max-time', '2', '-o', '/dev/null', f'http://{STRATA}:8080/1k']

	def load(self, side, seconds):
		return ['wrk', '-t1', '-c50', f'-d{max(1, round(seconds))}s', f'http://{STRATA}:8080/1k']

	def parse(self, out):
		if bad := re.search(r'Socket errors:.*|Non-2xx.*', out):
			raise Failed(f'wrk: {bad.group(0)}')
		return {'value': float(re.search(r'Requests/sec:\s*([\d.]+)', out).group(1)), 'work': int(re.search(r'(\d+) requests in', out).group(1))}


MEASURES = [
	Bulk('bulk_in', 'bulk in, one flow', 'recv', floor=0.7, aim=1.0),
	Bulk('bulk_out', 'bulk out, one flow', 'send', floor=0.7, aim=1.0),
	RoundTrip('rtt_one_cpu', 'round trip of 64 bytes, all on one CPU', True, floor=3.5, aim=2.0),
	RoundTrip('rtt', 'round trip of 64 bytes', False, floor=1.0, aim=0.5),
	Connect('conn_rate', 'connections out (connect, 1 byte, close)', '1/s', floor=0.5, aim=1.0),
	Accept('conn_rate_accept', 'connections in (accept, 1 byte, close)', floor=0.5, aim=1.0),
	Redis('redis', 'redis-benchmark, SET and GET, 50 clients'),
	Nginx('nginx', 'nginx, wrk, keep-alive, 50 connections'),
]


def idle(side, seconds=5, connections=100):
	"""Percent of one CPU that the daemons and a program with open connections take when nothing is said, and wake-ups a second."""
	def switches():
		n = 0
		for pid in side.daemons().values():
			with open(f'/proc/{pid}/status', encoding='utf-8') as f:
				n += int(re.search(r'^voluntary_ctxt_switches:\s+(\d+)', f.read(), re.M).group(1))
		return n
	path = os.path.join(side.dir, 'hold')
	with open(path, 'wb') as log:
		holder = side.start(side.client('hold', 5001, '--connections', str(connections)), stdout=log)
	try:
		def connected():
			if holder.poll() is not None:
				raise Failed(f'{side.name}: traffic hold ended with {holder.returncode}')
			with open(path, encoding='utf-8') as f:
				return 'connected' in f.read()
		wait_for(f'{connections} connections', connected, 15)
		time.sleep(1)
		pids = [*side.daemons().values(), *group(holder.pid)]
		before, woken = sum(map(cpu_of, pids)), switches()
		time.sleep(seconds)
		return {'connections': connections, 'seconds': seconds, 'cpu_percent': round(100 * (sum(map(cpu_of, pids)) - before) / seconds, 2),
			'daemon_wakeups_per_s': round((switches() - woken) / seconds, 1)}
	finally:
		side.end(holder)
