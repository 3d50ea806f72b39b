#!/usr/bin/env python3
# bench.py – Strata against the kernel's stack between two namespaces over veth, alternating, medians; `tests/run bench`.
#
#   Strata:  programs ─ linkd ... sockd ─ AF_PACKET ─ veth ─ kernel, the peer          (stack.py, driver "packet")
#   kernel:  programs ─ kernel ─ veth ─ kernel, the peer
#
# The peer is the kernel in both. Every figure is measured in --pairs pairs, Strata and kernel in turn; a ratio is the quotient of
# the medians, Strata : kernel. For rates more is better, for times less.
import json, os, platform, re, statistics, subprocess, sys, time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '../live'))
from stack import LAYERS, PEER, STRATA, Failed, Stack, arguments, sh, wait_for

FLOORS = {		# floor and aim of a ratio; times: at most, rates: at least
	'bulk_in': (0.7, 1.0), 'bulk_out': (0.7, 1.0), 'rtt_one_cpu': (3.5, 2.0), 'rtt': (1.0, 0.5), 'conn_rate': (0.5, 1.0)}
LESS = {'rtt', 'rtt_p99', 'rtt_one_cpu', 'rtt_one_cpu_p99'}


class KernelSide:
	"""Two namespaces with a veth between them and the same calls as Stack."""

	def __init__(self, s):
		self.s, self.ns = s, {n: f'strata-{os.getpid()}-k{n}' for n in ('app', 'peer')}

	def __enter__(self):
		for ns in self.ns.values():
			sh('ip', 'netns', 'add', ns)
			sh('ip', '-n', ns, 'link', 'set', 'lo', 'up')
		sh('ip', '-n', self.ns['app'], 'link', 'add', 'k0', 'type', 'veth', 'peer', 'name', 'k1', 'netns', self.ns['peer'])
		for ns, dev, addr in ((self.ns['app'], 'k0', STRATA), (self.ns['peer'], 'k1', PEER)):
			sh('ip', '-n', ns, 'addr', 'add', addr + '/24', 'dev', dev)
			sh('ip', '-n', ns, 'link', 'set', dev, 'up')
		return self

	def __exit__(self, *exc):
		for ns in self.ns.values():
			sh('ip', 'netns', 'del', ns, check=False)

	def app(self, *cmd):
		return ['ip', 'netns', 'exec', self.ns['app'], *cmd]

	def peer(self, *cmd):
		return ['ip', 'netns', 'exec', self.ns['peer'], *cmd]


class StrataSide:
	def __init__(self, s):
		self.s, self.app, self.peer = s, s.on_strata, s.on_kernel


def output(s, cmd, timeout=60):
	done = subprocess.run(cmd, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=s.env(), cwd=s.dir,
		timeout=timeout)
	if done.returncode:
		raise Failed(f'{" ".join(cmd)}: exit status {done.returncode}: {done.stderr}{done.stdout}')
	return done.stdout


def start(s, cmd):
	proc = subprocess.Popen(cmd, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=s.env(), cwd=s.dir,
		start_new_session=True)
	s.procs.append(proc)
	return proc


def ready(s, side, cmd):
	"""Try a client command until its server answers."""
	def attempt():
		try:
			return bool(output(s, side.app(*cmd), 5))
		except (Failed, subprocess.TimeoutExpired):
			return False
	wait_for('the server', attempt, 10)


def cpu_seconds(s):
	out = {}
	for layer in LAYERS:
		with open(f'/proc/{s.pid(layer)}/stat', encoding='utf-8') as f:
			fields = f.read().rsplit(')', 1)[1].split()
		out[layer] = (int(fields[11]) + int(fields[12])) / os.sysconf('SC_CLK_TCK')
	return out


def traffic(s, side, verb, port, *options):
	return json.loads(output(s, side.app(s.traffic, verb, PEER, str(port), *options)))


def bulk(verb):
	def measure(s, side, args):
		r = traffic(s, side, verb, 5001, '--seconds', str(args.seconds))
		return {'value': r['bytes'] * 8 / r['seconds'] / 1e9, 'unit': 'Gbit/s', 'work': r['bytes'] / 1e9}
	return measure


def round_trip(pinned):
	def measure(s, side, args):
		pids = [str(s.pid(layer)) for layer in LAYERS] + [str(s.procs_by[side].pid)] if pinned else []
		try:
			for pid in pids:
				sh('taskset', '-apc', '0', pid)
			cmd = ['taskset', '-c', '0'] if pinned else []
			r = json.loads(output(s, cmd + side.app(s.traffic, 'rr', PEER, '5001', '--seconds', str(args.seconds))))
		finally:
			for pid in pids:
				sh('taskset', '-apc', f'0-{os.cpu_count() - 1}', pid)
		return {'value': r['p50_us'], 'p99': r['p99_us'], 'unit': 'us', 'work': r['requests']}
	return measure


def conn_rate(s, side, args):
	r = traffic(s, side, 'conn', 5002, '--seconds', str(args.seconds))
	return {'value': r['connections'] / r['seconds'], 'unit': '/s', 'work': r['connections']}


def redis(s, side, args):
	server = start(s, side.app('redis-server', '--port', '6400', '--bind', STRATA, '--save', '', '--protected-mode', 'no'))
	try:
		def answers():
			try:
				return 'PONG' in output(s, side.peer('redis-cli', '-h', STRATA, '-p', '6400', 'ping'), 5)
			except Failed:
				return False
		wait_for('redis-server', answers)
		out = output(s, side.peer('redis-benchmark', '-h', STRATA, '-p', '6400', '-q', '-c', '50', '-n', '50000', '-t', 'get'))
		return {'value': float(re.findall(r'([\d.]+) requests per second', out)[-1]), 'unit': '/s', 'work': 50000}
	finally:
		s.end(server)


def nginx(s, side, args):
	base = os.path.join(s.dir, f'bench-{time.monotonic_ns()}')
	os.makedirs(base)
	with open(base + '/nginx.conf', 'w', encoding='utf-8') as f:
		f.write(f'''daemon off; worker_processes 2; user root; pid {base}/pid; error_log /dev/null; events {{ worker_connections 1024; }}
			http {{ access_log off; keepalive_requests 10000000; client_body_temp_path {base}/1; proxy_temp_path {base}/2;
			fastcgi_temp_path {base}/3; uwsgi_temp_path {base}/4; scgi_temp_path {base}/5;
			server {{ listen {STRATA}:8080; location / {{ return 200 "hello"; }} }} }}''')
	server = start(s, side.app('nginx', '-c', base + '/nginx.conf', '-p', base, '-e', '/dev/null'))
	try:
		def answers():
			try:
				return 'hello' in output(s, side.peer('curl', '-sS', '--max-time', '2', f'http://{STRATA}:8080/'), 5)
			except Failed:
				return False
		wait_for('nginx', answers)
		out = output(s, side.peer('wrk', '-t1', '-c50', f'-d{max(1, int(args.seconds))}s', f'http://{STRATA}:8080/'))
		return {'value': float(re.search(r'Requests/sec:\s*([\d.]+)', out).group(1)), 'unit': '/s',
			'work': int(re.search(r'(\d+) requests in', out).group(1))}
	finally:
		s.end(server)


MEASURES = {'bulk_in': bulk('recv'), 'bulk_out': bulk('send'), 'rtt_one_cpu': round_trip(True), 'rtt': round_trip(False),
	'conn_rate': conn_rate, 'redis': redis, 'nginx': nginx}


def compare(name, measure, s, sides, args):
	"""Alternating pairs; medians, their ratio and, for Strata, the CPU time of each daemon per GB or per request."""
	got, cpu = {'strata': [], 'kernel': []}, {layer: [] for layer in LAYERS}
	for _ in range(args.pairs):
		for which, side in sides.items():
			before = cpu_seconds(s)
			one = measure(s, side, args)
			got[which].append(one)
			for layer, used in cpu_seconds(s).items():
				if which == 'strata':
					cpu[layer].append((used - before[layer]) / one['work'])
	fig = {'unit': got['strata'][0]['unit'], 'cpu_per': 'GB' if name.startswith('bulk') else 'request',
		'cpu_seconds': {layer: round(statistics.median(v), 9) for layer, v in cpu.items()}}
	for which, runs in got.items():
		fig[which] = statistics.median(r['value'] for r in runs)
		if 'p99' in runs[0]:
			fig[which + '_p99'] = statistics.median(r['p99'] for r in runs)
	fig['ratio'] = fig['strata'] / fig['kernel']
	return fig


def idle_cpu(s):
	"""Share of one CPU that the five daemons take when nothing happens, in percent."""
	time.sleep(0.5)
	before = sum(cpu_seconds(s).values())
	time.sleep(3)
	return 100 * (sum(cpu_seconds(s).values()) - before) / 3


def machine():
	with open('/proc/cpuinfo', encoding='utf-8') as f:
		model = re.search(r'model name\s*: (.*)', f.read())
	return f'{os.cpu_count()} CPUs, {model.group(1) if model else platform.machine()}, Linux {platform.release()}'


def verdict(name, ratio):
	if name not in FLOORS:
		return ''
	floor, aim = FLOORS[name]
	good = (lambda limit: ratio <= limit) if name in LESS else (lambda limit: ratio >= limit)
	return 'aim reached' if good(aim) else 'floor reached' if good(floor) else f'FLOOR {floor} MISSED'


def main():
	args = arguments(json={'metavar': 'FILE'}, pairs={'type': int, 'default': 5}, seconds={'type': float, 'default': 2})
	figures, ratios = {}, {}
	print(machine(), flush=True)
	with Stack(args, 'packet', name='bench') as s, KernelSide(s) as k:
		sides = {'strata': StrataSide(s), 'kernel': k}
		s.procs_by = {}
		for side in sides.values():
			s.procs_by[side] = start(s, side.peer(s.traffic, 'serve', '5001'))
			start(s, side.peer(s.traffic, 'one', '5002'))
			ready(s, side, [s.traffic, 'rr', PEER, '5001', '--bytes', '10'])
		for name, measure in MEASURES.items():
			if args.only not in name:
				continue
			try:
				fig = figures[name] = compare(name, measure, s, sides, args)
			except (Failed, subprocess.SubprocessError, ValueError) as e:
				print(f'{name:12} failed: {e}', flush=True)
				continue
			ratios[name] = round(fig['ratio'], 3)
			if 'strata_p99' in fig:
				ratios[name + '_p99'] = round(fig['strata_p99'] / fig['kernel_p99'], 3)
			cpu = ', '.join(f'{layer} {v * (1 if fig["cpu_per"] == "GB" else 1e6):.2f}' for layer, v in fig['cpu_seconds'].items())
			print(f'{name:12} Strata {fig["strata"]:10.2f} kernel {fig["kernel"]:10.2f} {fig["unit"]:7} ratio {fig["ratio"]:6.3f}  '
				f'{verdict(name, fig["ratio"]):20} CPU {"s" if fig["cpu_per"] == "GB" else "us"} per {fig["cpu_per"]}: {cpu}', flush=True)
		figures['idle_cpu_percent'] = idle_cpu(s)
		print(f'idle         {figures["idle_cpu_percent"]:.1f} % of a CPU')
	if args.json:
		with open(args.json, 'w', encoding='utf-8') as f:
			json.dump({'machine': machine(), 'pairs': args.pairs, 'ratios': ratios, 'figures': figures}, f, indent=1)
	sys.exit(0 if all(m in figures for m in MEASURES if args.only in m) else 1)


if __name__ == '__main__':
	main()
