# supervisor.py – the part of systemd that Strata's daemons rely on, in one thread, so that tests can run without it: socket
# activation, READY, the descriptor store, and bringing a dead daemon back at once. tests/systemd has the real one.
import ctypes, fcntl, os, select, signal, socket, threading, time

SYS_KCMP = 312			# x86-64; elsewhere the answer is -1: not the same
libc = ctypes.CDLL(None)


def same_file(a, b):
	me = os.getpid()
	return libc.syscall(SYS_KCMP, me, me, 0, a, b) == 0


class Unit:
	def __init__(self, name, cmd, env, listen, log):
		self.name, self.cmd, self.env, self.listen, self.log = name, cmd, env, listen, log
		self.pid, self.pidfd, self.restarts, self.ready, self.status = 0, -1, -1, threading.Event(), ''
		self.store = []			# (name, fd), oldest first
		self.wanted = False
		self.last_exit = None
		self.notify = None


class Supervisor:
	"""start(), kill(), stop() from any thread; one thread waits for deaths and notifications."""

	def __init__(self, rundir, sessions=False):
		"""sessions: each daemon in one of its own, as systemd has it: the kernel then schedules it as a group (autogroup). Without,
		the daemons end with the process group of a test that is killed."""
		self.rundir, self.units, self.lock, self.sessions = rundir, {}, threading.RLock(), sessions
		self.poll = select.poll()
		self.by_fd = {}
		self.wake_r, self.wake_w = os.pipe2(os.O_CLOEXEC)
		self.poll.register(self.wake_r, select.POLLIN)
		self.going = True
		self.thread = threading.Thread(target=self.loop, daemon=True)
		self.thread.start()

	def add(self, name, cmd, env, sockets, log):
		"""sockets: {descriptor name: path} of SOCK_SEQPACKET listeners to hand over."""
		listen = []
		for fdname, path in sockets.items():
			s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
			s.bind(path)
			os.chmod(path, 0o666)
			s.listen(4096)
			listen.append((fdname, s))
		unit = Unit(name, cmd, env, listen, log)
		path = os.path.join(self.rundir, f'notify.{name}')
		unit.notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
		unit.notify.bind(path)
		unit.notify.setblocking(False)
		unit.env = dict(env, NOTIFY_SOCKET=path)
		with self.lock:
			self.units[name] = unit
			self.by_fd[unit.notify.fileno()] = (unit, 'notify')
			self.poll.register(unit.notify.fileno(), select.POLLIN)
		os.write(self.wake_w, b'x')

	def start(self, name):
		with self.lock:
			self.units[name].wanted = True
			self.spawn(self.units[name])

	def spawn(self, unit):
		passed = [(n, s.fileno()) for n, s in unit.listen] + unit.store
		env = dict(unit.env)
		if passed:
			env['LISTEN_FDS'] = str(len(passed))
			env['LISTEN_FDNAMES'] = ':'.join(n for n, _ in passed)
		unit.ready.clear()
		# Descriptors go to 3, 4, ...; out of the way of each other first.
		moved = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 4096) for _, fd in passed]
		actions = [(os.POSIX_SPAWN_OPEN, 0, '/dev/null', os.O_RDONLY, 0), (os.POSIX_SPAWN_DUP2, unit.log.fileno(), 1),
			(os.POSIX_SPAWN_DUP2, unit.log.fileno(), 2)]
		actions += [(os.POSIX_SPAWN_DUP2, fd, 3 + i) for i, fd in enumerate(moved)]
		script = 'export LISTEN_PID=$$; exec "$@"' if passed else 'exec "$@"'
		unit.pid = os.posix_spawn('/bin/sh', ['sh', '-c', script, unit.name, *unit.cmd], env, file_actions=actions,
			setsid=self.sessions, setsigdef=[signal.SIGPIPE, signal.SIGINT])
		for fd in moved:
			os.close(fd)
		unit.restarts += 1
		unit.pidfd = os.pidfd_open(unit.pid)
		self.by_fd[unit.pidfd] = (unit, 'death')
		self.poll.register(unit.pidfd, select.POLLIN)
		os.write(self.wake_w, b'x')

	def loop(self):
		while self.going:
			for fd, _ in self.poll.poll(1000):
				if fd == self.wake_r:
					os.read(self.wake_r, 4096)
					continue
				with self.lock:
					unit, what = self.by_fd.get(fd, (None, None))
					if unit and what == 'death':
						self.died(unit)
					elif unit:
						self.notified(unit)

	def died(self, unit):
		self.poll.unregister(unit.pidfd)
		del self.by_fd[unit.pidfd]
		os.close(unit.pidfd)
		_, status = os.waitpid(unit.pid, 0)
		unit.last_exit = os.waitstatus_to_exitcode(status)
		self.notified(unit)	# what it sent before it died
		unit.pid, unit.pidfd = 0, -1
		unit.ready.clear()
		if unit.wanted:
			if unit.last_exit not in (-signal.SIGKILL, 0):
				time.sleep(0.05)	# one that fails by itself must not spin
			self.spawn(unit)

	def notified(self, unit):
		while True:
			try:
				data, fds, _, _ = socket.recv_fds(unit.notify, 4096, 253)
			except (BlockingIOError, OSError):
				return
			for fd in fds:
				os.set_inheritable(fd, False)	# or every daemon started later has them
			fields = dict(line.split('=', 1) for line in data.decode(errors='replace').splitlines() if '=' in line)
			if fields.get('FDSTORE') == '1':
				name = fields.get('FDNAME', 'stored')
				for fd in [f for f in fds if not any(same_file(f, have) for _, have in unit.store)]:
					unit.store.append((name, fd))	# systemd keeps an open file once
					fds.remove(fd)
			if fields.get('FDSTOREREMOVE') == '1':
				for entry in [e for e in unit.store if e[0] == fields.get('FDNAME')]:
					unit.store.remove(entry)
					os.close(entry[1])
			if fields.get('READY') == '1':
				unit.ready.set()
			for fd in fds:		# BARRIER=1: closing is the answer
				os.close(fd)

	def kill(self, name, sig=signal.SIGKILL):
		"""Kill and return (old pid, restarts before)."""
		with self.lock:
			unit = self.units[name]
			old = unit.pid, unit.restarts
			unit.ready.clear()
			if unit.pid:
				os.kill(unit.pid, sig)
			return old

	def wait_ready(self, name, seconds=10):
		return self.units[name].ready.wait(seconds)

	def stop(self):
		with self.lock:
			for unit in self.units.values():
				unit.wanted = False
		for name in reversed(list(self.units)):
			unit = self.units[name]
			for sig, seconds in ((signal.SIGTERM, 3), (signal.SIGKILL, 3)):
				with self.lock:
					if unit.pid:
						os.kill(unit.pid, sig)
				end = time.monotonic() + seconds
				while unit.pid and time.monotonic() < end:
					time.sleep(0.005)
				if not unit.pid:
					break
		self.going = False
		os.write(self.wake_w, b'x')
		self.thread.join(3)
		for unit in self.units.values():
			for _, s in unit.listen:
				s.close()
			for _, fd in unit.store:
				os.close(fd)
			unit.notify.close()
