# sides.py – what bench.py compares: a Strata instance, the kernel's stack, lwIP; each with a kernel as its peer.
#
#   StrataSide   programs ─ sockd tcpd ipd linkd ─ AF_PACKET ─ veth ─ kernel 10.9.0.1      (or ─ TAP ─)
#   KernelSide   programs ─ kernel 10.9.0.2 ─ veth ─ kernel 10.9.0.1
#   LwipSide     lwip_peer 10.9.0.2 ─ TAP ─ kernel 10.9.0.1
#
# Each side has network namespaces of its own, so that all of them exist at the same time and runs can alternate. The devices are
# made by the same commands with the kernel's default offloads, and Strata and every kernel involved use the same congestion
# control: cubic, Strata's default, or reno on a host that does not allow cubic to its namespaces.
import contextlib, json, os, resource, shutil, subprocess, sys, tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '../live'))
from stack import LAYERS, PEER, STRATA, Failed, Stack, sh, wait_for

with open('/proc/sys/net/ipv4/tcp_allowed_congestion_control', encoding='ascii') as allowed:
	CONGESTION = 'cubic' if 'cubic' in allowed.read().split() else 'reno'
TICK = os.sysconf('SC_CLK_TCK')

# Printed by a small program in the device's namespace, because an interface is looked up in the caller's.
OFFLOADS = '''
import array, fcntl, json, socket, struct, sys
s, out = socket.socket(socket.AF_INET, socket.SOCK_DGRAM), {}
for name, cmd in (("rx-checksum", 0x14), ("tx-checksum", 0x16), ("scatter-gather", 0x18), ("tso", 0x1e), ("gso", 0x23), ("gro", 0x2b)):
	value = array.array("I", [cmd, 0])
	fcntl.ioctl(s, 0x8946, struct.pack("16sP16x", sys.argv[1].encode(), value.buffer_info()[0]))
	out[name] = bool(value[1])
print(json.dumps(out))
'''


def cpu_of(pid):
	"""utime + stime of a process, in seconds."""
	with open(f'/proc/{pid}/stat', encoding='utf-8') as f:
		fields = f.read().rsplit(')', 1)[1].split()
	return (int(fields[11]) + int(fields[12])) / TICK


def cpu_of_machine():
	"""What all CPUs have worked, in seconds, whoever for."""
	with open('/proc/stat', encoding='ascii') as f:
		user, nice, system, _, _, irq, softirq, *_ = map(int, f.readline().split()[1:])
	return (user + nice + system + irq + softirq) / TICK


def group(pgid):
	"""The processes of a group: a server with its workers."""
	for pid in filter(str.isdigit, os.listdir('/proc')):
		with contextlib.suppress(ProcessLookupError):
			if os.getpgid(int(pid)) == pgid:
				yield int(pid)


@contextlib.contextmanager
def pinned(pids, cpu=0):
	"""Everything of these processes on one CPU, and afterwards back to where each thread was."""
	before = {}
	try:
		for pid in pids:
			for tid in map(int, os.listdir(f'/proc/{pid}/task')):
				before[tid] = os.sched_getaffinity(tid)
				os.sched_setaffinity(tid, {cpu})
		yield
	finally:
		for tid, cpus in before.items():
			with contextlib.suppress(ProcessLookupError):
				os.sched_setaffinity(tid, cpus)


class Side:
	"""app(): a command on the stack that is measured. peer(): one on the kernel at the other end."""

	can_serve = True

	def __init__(self, name, build):
		self.name, self.procs, self.servers = name, [], {}
		self.traffic = os.path.join(build, 'tests/bench/traffic')
		self.dir = tempfile.mkdtemp(prefix='strata-bench-')
		os.chmod(self.dir, 0o755)	# nginx's workers are somebody else
		self.env = dict(os.environ, LC_ALL='C.UTF-8', HOME=self.dir)

	def daemons(self):
		return {}

	def client(self, verb, port, *options):
		"""The command that makes traffic on this side's stack."""
		return self.app(self.traffic, verb, PEER, str(port), *options)

	def run(self, cmd, timeout=60):
		"""Standard output, and the CPU seconds the command took."""
		before = resource.getrusage(resource.RUSAGE_CHILDREN)
		proc = subprocess.Popen(cmd, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=self.env,
			cwd=self.dir, start_new_session=True)
		try:
			out, err = proc.communicate(timeout=timeout)
		except subprocess.TimeoutExpired:
			Stack.end(proc)
			raise Failed(f'{self.name}: {" ".join(cmd)}: not finished after {timeout} s') from None
		except BaseException:
			Stack.end(proc)
			raise
		if proc.returncode:
			raise Failed(f'{self.name}: {" ".join(cmd)}: exit status {proc.returncode}: {(err + out)[-1000:]}')
		after = resource.getrusage(resource.RUSAGE_CHILDREN)
		return out, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

	def start(self, cmd, stdout=subprocess.DEVNULL):
		proc = subprocess.Popen(cmd, stdin=subprocess.DEVNULL, stdout=stdout, stderr=subprocess.DEVNULL, env=self.env, cwd=self.dir,
			start_new_session=True)
		self.procs.append(proc)
		return proc

	def end(self, proc):
		Stack.end(proc)
		self.procs.remove(proc)

	def serve(self, proc_cmd, probe):
		"""Start a server and wait until the command `probe` succeeds."""
		proc = self.start(proc_cmd)

		def answers():
			if proc.poll() is not None:
				raise Failed(f'{self.name}: {" ".join(proc_cmd)} ended with {proc.returncode}')
			with contextlib.suppress(Failed):
				return self.run(probe, 5)
		wait_for(f'{self.name}: {" ".join(proc_cmd)}', answers, 15)
		return proc

	def peer_servers(self):
		"""The peer's servers, there for the whole run."""
		self.servers['serve'] = self.serve(self.peer(self.traffic, 'serve', '5001'), self.client('rr', 5001, '--bytes', '5'))
		self.servers['one'] = self.serve(self.peer(self.traffic, 'one', '5002'), self.client('conn', 5002, '--bytes', '5'))

	def close(self):
		for proc in self.procs:
			Stack.end(proc)
		shutil.rmtree(self.dir, ignore_errors=True)


def set_congestion(ns):
	sh('ip', 'netns', 'exec', ns, 'sysctl', '-qw', f'net.ipv4.tcp_congestion_control={CONGESTION}')


class KernelSide(Side):
	def __init__(self, name, build, tag='k'):
		super().__init__(name, build)
		self.ns = {n: f'strata-{os.getpid()}-{tag}{n}' for n in ('app', 'peer')}
		self.device = 'k0'

	def __enter__(self):
		try:
			for ns in self.ns.values():
				sh('ip', 'netns', 'add', ns)
				sh('ip', '-n', ns, 'link', 'set', 'lo', 'up')
				sh('ip', 'netns', 'exec', ns, 'sysctl', '-qw', 'net.ipv6.conf.all.disable_ipv6=1', check=False)
				set_congestion(ns)
			self.devices_up()
			self.peer_servers()
		except BaseException:
			self.__exit__()
			raise
		return self

	def __exit__(self, *exc):
		self.close()
		for ns in self.ns.values():
			sh('ip', 'netns', 'del', ns, check=False)

	def devices_up(self):
		sh('ip', '-n', self.ns['app'], 'link', 'add', 'k0', 'type', 'veth', 'peer', 'name', 'k1', 'netns', self.ns['peer'])
		for ns, dev, addr in ((self.ns['app'], 'k0', STRATA), (self.ns['peer'], 'k1', PEER)):
			sh('ip', '-n', ns, 'addr', 'add', addr + '/24', 'dev', dev)
			sh('ip', '-n', ns, 'link', 'set', dev, 'up')

	def app(self, *cmd):
		return ['ip', 'netns', 'exec', self.ns['app'], *cmd]

	def peer(self, *cmd):
		return ['ip', 'netns', 'exec', self.ns['peer'], *cmd]

	def device_ns(self):
		return self.ns['app']


class LwipSide(KernelSide):
	"""lwIP lives in the program lwip_peer, at the far end of a TAP of the peer's namespace."""

	can_serve = False

	def __init__(self, name, build):
		super().__init__(name, build, 'l')
		del self.ns['app']
		self.device = 'lw0'
		self.program = os.path.join(build, 'tests/bench/lwip_peer')

	def devices_up(self):
		ns = self.ns['peer']
		sh('ip', '-n', ns, 'tuntap', 'add', self.device, 'mode', 'tap', 'vnet_hdr')
		sh('ip', '-n', ns, 'addr', 'add', PEER + '/24', 'dev', self.device)
		sh('ip', '-n', ns, 'link', 'set', self.device, 'up')

	def client(self, verb, port, *options):
		return self.peer(self.program, self.device, verb, PEER, str(port), *options)

	def device_ns(self):
		return self.ns['peer']


class StrataSide(Side):
	def __init__(self, name, args, driver):
		super().__init__(name, args.build)
		self.driver, self.stack = driver, Stack(args, driver, config=f'[tcp]\ncongestion = {CONGESTION}\n', name='bench',
			sessions=True)

	def __enter__(self):
		try:
			self.stack.__enter__()
		except BaseException:
			self.close()
			raise
		try:
			self.env = self.stack.env()
			self.device = self.stack.dev
			set_congestion(self.stack.ns['peer'])
			self.peer_servers()
		except BaseException:
			self.__exit__(*sys.exc_info())
			raise
		return self

	def __exit__(self, *exc):
		self.close()
		self.stack.__exit__(*exc)

	def app(self, *cmd):
		return self.stack.on_strata(*cmd)

	def peer(self, *cmd):
		return self.stack.on_kernel(*cmd)

	def device_ns(self):
		return self.stack.ns['link']

	def daemons(self):
		return {layer: self.stack.pid(layer) for layer in LAYERS}


def offloads(side):
	"""What the device under this side has switched on."""
	done = sh('ip', 'netns', 'exec', side.device_ns(), sys.executable, '-c', OFFLOADS, side.device)
	return json.loads(done)
