# stack.py – a Strata instance in network namespaces of its own, for live tests and benchmarks; without systemd.
#
#   driver "tap"                                       driver "packet"
#
#   strata-P-app   programs under `strata run`         strata-P-app   programs under `strata run`
#      │ shared memory                                    │ shared memory
#   linkd ... sockd                                    linkd ... sockd
#      │                                                  │ AF_PACKET
#   strata-P-peer  TAP st0 ─ kernel 10.9.0.1           strata-P-link  veth st0, no address
#                                                         │
#                                                      strata-P-peer  veth st1 ─ kernel 10.9.0.1
#
# Strata is 10.9.0.2 in both. The programs' namespace has only a loopback, so a call that went to the kernel by mistake
# cannot reach the peer. P is the test's process id; everything is removed at the end, on errors and signals, too.
import argparse, contextlib, json, os, re, shutil, signal, subprocess, sys, tempfile, threading, time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from supervisor import Supervisor

TREE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
LAYERS = ['linkd', 'ipd', 'tcpd', 'sockd', 'keepd']
STRATA, PEER = '10.9.0.2', '10.9.0.1'
SERVICES = {'linkd': 'link', 'ipd': 'ip', 'tcpd': 'tcp', 'sockd': 'sock', 'keepd': 'keep'}


class Failed(Exception):
	pass


def sh(*cmd, check=True, timeout=30):
	done = subprocess.run(cmd, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=timeout)
	if check and done.returncode:
		raise Failed(f'{" ".join(cmd)}: exit status {done.returncode}: {done.stdout.strip()}')
	return done.stdout


def wait_for(what, test, seconds=10):
	end = time.monotonic() + seconds
	while not (got := test()):
		if time.monotonic() > end:
			raise Failed(f'{what}: not within {seconds} s')
		time.sleep(0.01)
	return got


def arguments(**extra):
	"""Arguments every live test takes; re-runs itself through sudo when it is not root."""
	if os.geteuid():
		os.execvp('sudo', ['sudo', '--', sys.executable, *sys.argv])
	p = argparse.ArgumentParser()
	p.add_argument('--build', default=os.path.join(TREE, 'build'), help='build directory')
	p.add_argument('--only', default='', help='only cases whose name has this in it')
	p.add_argument('--driver', choices=['tap', 'packet'], action='append', help='only with this driver')
	p.add_argument('-v', action='store_true', help="show the daemons' log after each case that fails")
	for name, kw in extra.items():
		p.add_argument('--' + name.replace('_', '-'), **kw)
	args = p.parse_args()
	args.build = os.path.abspath(args.build)
	signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
	return args


class Tap:
	"""Test Anything Protocol: one line per case, the plan at the end."""

	def __init__(self, args):
		self.count = self.bad = 0
		self.only = args.only

	def result(self, good, name, why=''):
		self.count += 1
		self.bad += not good
		for line in str(why).rstrip().splitlines() if not good else []:
			print('# ' + line)
		print(f'{"ok" if good else "not ok"} {self.count} - {name}', flush=True)
		if not good:
			print(f'# again: {sys.argv[0]} --only {json.dumps(name)}', flush=True)

	def skip(self, name, why):
		self.count += 1
		print(f'ok {self.count} - {name} # SKIP {why}', flush=True)

	def case(self, name, function, *args, **kw):
		"""Run a function that raises when something is not as it should be."""
		if self.only not in name:
			return True
		try:
			function(*args, **kw)
		except (Failed, AssertionError, OSError, subprocess.SubprocessError, ValueError, KeyError) as e:
			self.result(False, name, f'{type(e).__name__}: {e}')
			return False
		self.result(True, name)
		return True

	def end(self):
		print(f'1..{self.count}')
		sys.exit(1 if self.bad else 0)


class Stack:
	"""with Stack(args, 'tap') as s: s.strata('curl', ...); s.kernel('nginx', ...)"""

	def __init__(self, args, driver, config='', name='live', start=True, sessions=False, link=''):
		"""config: further lines; link: further lines of the device's section."""
		self.build, self.driver, self.instance, self.extra, self.link = args.build, driver, name, config, link
		self.dir = tempfile.mkdtemp(prefix='strata-live-')
		os.chmod(self.dir, 0o755)
		self.ns = {n: f'strata-{os.getpid()}-{n}' for n in ('app', 'peer', 'link')}
		self.dev, self.procs, self.port, self.supervisor = 'st0', [], 5000, None
		self.autostart, self.sessions = start, sessions
		self.verbose = args.v

	# -- set up and tear down --

	def __enter__(self):
		try:
			self.net_up()
			if self.autostart:
				self.start()
		except BaseException:
			self.__exit__(*sys.exc_info())
			raise
		return self

	def __exit__(self, *exc):
		for p in self.procs:
			self.end(p)
		if self.supervisor:
			self.supervisor.stop()
		if exc and exc[0] and exc[0] is not SystemExit or self.verbose:
			print('\n'.join('# ' + line for line in self.log().splitlines()[-60:]))
		for ns in self.ns.values():
			sh('ip', 'netns', 'del', ns, check=False)
		shutil.rmtree(self.dir, ignore_errors=True)

	def net_up(self):
		for n, ns in self.ns.items():
			if n != 'link' or self.driver == 'packet':
				sh('ip', 'netns', 'add', ns)
				sh('ip', '-n', ns, 'link', 'set', 'lo', 'up')
				sh('ip', 'netns', 'exec', ns, 'sysctl', '-qw', 'net.ipv6.conf.all.disable_ipv6=1', check=False)
		if self.driver == 'packet':
			sh('ip', '-n', self.ns['link'], 'link', 'add', 'st0', 'type', 'veth', 'peer', 'name', 'st1', 'netns', self.ns['peer'])
			sh('ip', '-n', self.ns['link'], 'link', 'set', 'st0', 'up')
			self.peer_dev = 'st1'
			self.peer_up()
		else:
			self.ns['link'] = self.ns['peer']
			self.peer_dev = 'st0'

	def peer_up(self):
		sh('ip', '-n', self.ns['peer'], 'addr', 'replace', PEER + '/24', 'dev', self.peer_dev)
		sh('ip', '-n', self.ns['peer'], 'link', 'set', self.peer_dev, 'up')

	def write_config(self, text=None):
		path = os.path.join(self.dir, 'strata.conf')
		with open(path, 'w', encoding='utf-8') as f:
			f.write(text if text is not None else f'[link {self.dev}]\ndriver = {self.driver}\n{self.link}\n'
				f'[ip]\naddress = {STRATA}/24 dev {self.dev}\nroute = default via {PEER} dev {self.dev}\n{self.extra}')
		return path

	def daemon(self, layer):
		return os.path.join(self.build, 'services', SERVICES[layer], 'strata-' + layer)

	def command(self, layer, conf):
		cmd = [self.daemon(layer), '--instance', self.instance, '--config', conf]
		return ['ip', 'netns', 'exec', self.ns['link'], *cmd] if layer == 'linkd' else cmd

	def start(self):
		rundir = os.path.join(self.dir, self.instance)
		os.makedirs(rundir, exist_ok=True)
		conf = self.write_config()
		self.supervisor = Supervisor(self.dir, self.sessions)
		env = dict(os.environ, STRATA_RUNDIR=self.dir)
		for layer in ['keepd', 'linkd', 'ipd', 'tcpd', 'sockd']:
			sockets = {'keepd': {'keep.sock': rundir + '/keep.sock'}, 'sockd': {'sock': rundir + '/sock'}}.get(layer, {})
			log = open(os.path.join(self.dir, layer + '.log'), 'ab')
			if not os.path.exists(self.daemon(layer)):
				raise Failed(f'{self.daemon(layer)} is not built')
			self.supervisor.add(layer, self.command(layer, conf), env, sockets, log)
			self.supervisor.start(layer)
		for layer in LAYERS:
			if not self.supervisor.wait_ready(layer):
				raise Failed(f'{layer} does not become ready')
		if self.driver == 'tap':
			wait_for('the TAP interface', lambda: self.dev in sh('ip', '-n', self.ns['peer'], '-br', 'link'))
			self.peer_up()

	def log(self):
		text = ''
		for layer in LAYERS:
			with contextlib.suppress(FileNotFoundError), open(os.path.join(self.dir, layer + '.log'), encoding='utf-8', errors='replace') as f:
				text += ''.join(f'{layer}: {line}' for line in f.readlines()[-15:])
		return text

	# -- programs --

	def env(self):
		libs = os.path.join(self.build, 'services/shim')
		return dict(os.environ, STRATA_RUNDIR=self.dir, STRATA_INSTANCE=self.instance, STRATA_LIBDIR=libs,
			LD_LIBRARY_PATH=libs, HOME=self.dir, LC_ALL='C.UTF-8')

	@property
	def cli(self):
		return os.path.join(self.build, 'services/cli/strata')

	def on_strata(self, *cmd):
		return ['ip', 'netns', 'exec', self.ns['app'], self.cli, 'run', '-i', self.instance, '--', *cmd]

	def on_kernel(self, *cmd):
		return ['ip', 'netns', 'exec', self.ns['peer'], *cmd]

	def side(self, where):
		return self.on_strata if where == 'strata' else self.on_kernel

	def run(self, where, *cmd, timeout=60, check=True, stdin=None):
		"""Run on 'strata' or 'kernel'; the output. Failing is an error."""
		full = self.side(where)(*cmd)
		proc = subprocess.Popen(full, stdin=stdin or subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
			env=self.env(), cwd=self.dir, text=True, errors='replace', start_new_session=True)
		try:
			out, _ = proc.communicate(timeout=timeout)
		except subprocess.TimeoutExpired:
			self.end(proc)
			raise Failed(f'on {where}: {" ".join(cmd)}: not finished after {timeout} s') from None
		if check and proc.returncode:
			raise Failed(f'on {where}: {" ".join(cmd)}: exit status {proc.returncode}: {out[-2000:]}')
		return out

	def spawn(self, where, *cmd, stdin=None, stdout=None):
		"""Start a program that goes on; its output is in .output()."""
		out = stdout or tempfile.TemporaryFile(dir=self.dir)
		proc = subprocess.Popen(self.side(where)(*cmd), stdin=stdin or subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT,
			env=self.env(), cwd=self.dir, start_new_session=True)
		proc.out = out
		self.procs.append(proc)
		return proc

	@staticmethod
	def output(proc):
		# The offset is the program's, too: to seek in the file would move where it writes next.
		fd = proc.out.fileno()
		return os.pread(fd, os.fstat(fd).st_size, 0).decode(errors='replace')

	@staticmethod
	def end(proc):
		"""End a program with all its children."""
		for sig, seconds in ((signal.SIGTERM, 2), (signal.SIGKILL, 2)):
			with contextlib.suppress(ProcessLookupError):
				os.killpg(proc.pid, sig)
			with contextlib.suppress(subprocess.TimeoutExpired):
				proc.wait(seconds)
				break
		with contextlib.suppress(ProcessLookupError):
			os.killpg(proc.pid, signal.SIGKILL)

	def serve(self, where, port, *cmd, **kw):
		"""Start a server and wait until it listens on `port`."""
		proc = self.spawn(where, *cmd, **kw)

		def listens():
			if proc.poll() is not None:
				raise Failed(f'on {where}: {" ".join(cmd)} ended with {proc.returncode}: {self.output(proc)[-1500:]}')
			if where == 'kernel':
				return f':{port} ' in sh(*self.on_kernel('ss', '-Htln'))
			return any('LISTEN' in line and re.search(rf':{port}\b', line) for line in self.tool('ss').splitlines())
		wait_for(f'{cmd[0]} listening on {where} port {port}', listens)
		return proc

	def next_port(self):
		self.port += 1
		return self.port

	@property
	def traffic(self):
		return os.path.join(self.build, 'tests/bench/traffic')

	# -- looking and breaking --

	def tool(self, *args, check=True):
		"""strata ss, strata stat, ..."""
		done = subprocess.run([self.cli, args[0], '-i', self.instance, *args[1:]], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
			stderr=subprocess.PIPE, text=True, env=self.env(), timeout=20)
		if check and done.returncode:
			raise Failed(f'strata {" ".join(args)}: exit status {done.returncode}: {done.stderr or done.stdout}')
		return done.stdout

	def stat(self):
		return json.loads(self.tool('stat', '--json'))

	def kill(self, layer, wait=True):
		"""SIGKILL; returns when the successor is ready."""
		self.supervisor.kill(layer)
		if wait and not self.supervisor.wait_ready(layer):
			raise Failed(f'{layer} does not come back')

	def restarts(self, layer):
		return self.supervisor.units[layer].restarts

	def pid(self, layer):
		return self.supervisor.units[layer].pid

	def assert_healthy(self):
		if bad := self.unexpected():
			raise Failed(f'ended by themselves: {bad}')

	def unexpected(self):
		"""Daemons that ended by themselves, by anything but a SIGKILL."""
		return [f'{n}: exit {u.last_exit}' for n, u in self.supervisor.units.items() if u.last_exit not in (None, -signal.SIGKILL)]

	def usage(self):
		"""{layer: (descriptors, resident KB)}"""
		out = {}
		for layer in LAYERS:
			with open(f'/proc/{self.pid(layer)}/status', encoding='utf-8') as f:
				rss = int(re.search(r'VmRSS:\s+(\d+)', f.read()).group(1))
			out[layer] = (len(os.listdir(f'/proc/{self.pid(layer)}/fd')), rss)
		return out
