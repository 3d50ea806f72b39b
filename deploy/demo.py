# demo.py – the part of deploy/demo that needs root and a systemd as PID 1.
#
#   curl (strata run)                                     nginx, kernel's TCP, 10.77.0.1
#     │ shared memory                                              ▲
#   sockd, tcpd ─ ipd ─ linkd ───── TAP strata-demo ────────────── ┘   in network namespace strata-demo
#                10.77.0.2
#
# The units are the installed ones; a drop-in puts linkd into the namespace, so the far end of its TAP is that namespace's
# kernel and the host's own network is not touched.
import argparse, hashlib, os, re, shutil, signal, subprocess, sys, threading, time

INSTANCE, NETNS, DEV, WEB = 'demo', 'strata-demo', 'strata-demo', '10.77.0.1'
LAYERS = ['linkd', 'ipd', 'tcpd', 'sockd', 'keepd']
WORK = '/run/strata-demo'
DROPIN = f'/run/systemd/system/strata-linkd@{INSTANCE}.service.d'
CONF = f'/etc/strata/{INSTANCE}.conf'
TTY = sys.stdout.isatty()


class Failed(Exception):
	pass


def sh(*cmd, check=True, **kw):
	done = subprocess.run(cmd, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **kw)
	if check and done.returncode:
		raise Failed(f'{" ".join(cmd)}: exit status {done.returncode}\n{done.stdout}')
	return done.stdout.strip()


def say(text):
	"""A line of our own above curl's progress bar."""
	print(('\r\033[K' if TTY else '') + text, flush=True)


def unit(layer):
	return f'strata-{layer}@{INSTANCE}.service'


def show(layer, what):
	return sh('systemctl', 'show', '--value', '-p', what, unit(layer))


def wait_for(what, test, seconds=10):
	end = time.monotonic() + seconds
	while not test():
		if time.monotonic() > end:
			raise Failed(f'{what} did not happen within {seconds} s')
		time.sleep(0.01)


def install(build):
	"""Install into the prefix; true if it was not there before and has to go at the end."""
	prefix = re.search(r'"prefix"[^}]*?"value": "([^"]*)"', sh('meson', 'introspect', '--buildoptions', build))
	target = (prefix.group(1) if prefix else '/usr/local') + '/lib/systemd/system/strata@.target'
	fresh = not os.path.exists(target)
	sh('meson', 'install', '-C', build, '--no-rebuild', '--quiet')
	sh('ldconfig')
	if fresh:
		os.makedirs(WORK, exist_ok=True)
		shutil.copy(os.path.join(build, 'meson-logs/install-log.txt'), WORK + '/installed')
	return fresh


def uninstall():
	try:
		with open(WORK + '/installed', encoding='utf-8') as f:
			files = [line.rstrip('\n') for line in f if line.startswith('/')]
	except FileNotFoundError:
		return
	for path in files:
		if os.path.isfile(path) or os.path.islink(path):
			os.unlink(path)
	sh('ldconfig', check=False)


def prefix_file(name):
	for prefix in ('/usr/local', '/usr'):
		path = f'{prefix}/share/strata/{name}'
		if os.path.exists(path):
			return path
	raise Failed(f'{name} is not installed')


def start():
	sh('systemd-sysusers')
	sh('systemd-tmpfiles', '--create', '--prefix=/run/strata')
	os.makedirs('/etc/strata', exist_ok=True)
	shutil.copy(prefix_file('demo.conf'), CONF)
	sh('ip', 'netns', 'add', NETNS)
	sh('ip', '-n', NETNS, 'link', 'set', 'lo', 'up')
	os.makedirs(DROPIN, exist_ok=True)
	with open(DROPIN + '/netns.conf', 'w', encoding='utf-8') as f:
		f.write(f'[Service]\nNetworkNamespacePath=/run/netns/{NETNS}\n')
	sh('systemctl', 'daemon-reload')
	try:
		sh('systemctl', 'start', '--no-block', f'strata@{INSTANCE}.target')
		wait_for('the start of all daemons', lambda: all(show(d, 'ActiveState') == 'active' for d in LAYERS))
		wait_for('the TAP interface', lambda: DEV in sh('ip', '-n', NETNS, '-br', 'link'))
	except Failed as e:
		raise Failed(f'{e}\n' + sh('journalctl', '-n', '40', '--no-pager', '-u', f'strata-*@{INSTANCE}.service', check=False))
	sh('ip', '-n', NETNS, 'addr', 'add', WEB + '/24', 'dev', DEV)
	sh('ip', '-n', NETNS, 'link', 'set', DEV, 'up')


def web_server(size, rate):
	"""Start nginx with a file of `size` MB; returns (process, checksum)."""
	os.makedirs(WORK + '/web', exist_ok=True)
	digest = hashlib.sha256()
	with open(WORK + '/web/file', 'wb') as f:
		for _ in range(size):
			block = os.urandom(1 << 20)
			digest.update(block)
			f.write(block)
	os.chmod(WORK, 0o755)
	slow = ''
	if rate:
		# A token bucket in the kernel is smooth; where it has none, nginx's own limit is coarser.
		try:
			sh('tc', '-n', NETNS, 'qdisc', 'replace', 'dev', DEV, 'root', 'tbf', 'rate', f'{rate}mbit', 'burst', '128k',
				'latency', '50ms')
		except Failed:
			slow = f'limit_rate {rate * 125000};'
	with open(WORK + '/nginx.conf', 'w', encoding='utf-8') as f:
		f.write(f'''daemon off; worker_processes 2; pid {WORK}/nginx.pid; error_log {WORK}/error.log; user root;
			events {{ worker_connections 1024; }}
			http {{ access_log off; sendfile on; client_body_temp_path {WORK}/t1; proxy_temp_path {WORK}/t2;
				fastcgi_temp_path {WORK}/t3; uwsgi_temp_path {WORK}/t4; scgi_temp_path {WORK}/t5;
				server {{ listen {WEB}:80; root {WORK}/web; {slow} }} }}''')
	nginx = subprocess.Popen(['ip', 'netns', 'exec', NETNS, 'nginx', '-c', WORK + '/nginx.conf', '-p', WORK],
		stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
	wait_for('the start of nginx', lambda: ':80 ' in sh('ip', 'netns', 'exec', NETNS, 'ss', '-Htln'))
	return nginx, digest.hexdigest()


class Watch(threading.Thread):
	"""Every millisecond: has the file grown? Remembers the moments at which it had."""

	def __init__(self, path):
		super().__init__(daemon=True)
		self.path, self.grown, self.going, self.size = path, [], True, 0

	def run(self):
		while self.going:
			try:
				size = os.stat(self.path).st_size
			except FileNotFoundError:
				size = 0
			if size != self.size:
				self.size = size
				self.grown.append(time.monotonic())
			time.sleep(0.001)

	def pause(self, since, until):
		"""The longest pause in ms that touches [since, until]."""
		marks = [t for t in self.grown if t <= until]
		late = [t for t in self.grown if t > until][:1]
		marks = marks + (late or [until])
		return max((b - a for a, b in zip(marks, marks[1:]) if b > since), default=0.0) * 1000


def kill(layer, watch, curl):
	"""SIGKILL one daemon; a line about it. True if systemd brought it back and data went on."""
	pid, restarts = int(show(layer, 'MainPID')), int(show(layer, 'NRestarts'))
	usual = watch.pause(time.monotonic() - 0.3, time.monotonic())
	if curl.poll() is not None:
		raise Failed(f'curl ended before {layer} was to be killed; take a larger --size')
	killed = time.monotonic()
	os.kill(pid, signal.SIGKILL)
	back = None
	while time.monotonic() < killed + 5:
		new = int(show(layer, 'MainPID') or 0)
		if new not in (0, pid) and show(layer, 'ActiveState') == 'active':
			back = time.monotonic()
			break
	while time.monotonic() < killed + 0.8 and curl.poll() is None:
		time.sleep(0.01)
	count = int(show(layer, 'NRestarts'))
	pause = watch.pause(killed, time.monotonic())
	if back is None or count <= restarts:
		say(f'  {layer:6} pid {pid} killed: NOT restarted')
		return False
	say(f'  {layer:6} pid {pid} killed: data paused {pause:6.1f} ms (before: {usual:.1f}); restarted by systemd as pid {new} '
		f'(restart {count}), ready after {1000 * (back - killed):.0f} ms')
	return True


def download(digest):
	out = WORK + '/downloaded'
	cmd = ['strata', 'run', '-i', INSTANCE, '--', 'curl', '--fail', '--show-error', '--max-time', '120',
		'--progress-bar' if TTY else '--silent',	# in a log its bar would be one long line
		'-o', out, f'http://{WEB}/file']
	say('$ ' + ' '.join(cmd))
	watch = Watch(out)
	watch.start()
	began = time.monotonic()
	curl = subprocess.Popen(cmd, stdin=subprocess.DEVNULL)
	ok = True
	try:
		wait_for('the first byte', lambda: watch.size > 0 or curl.poll() is not None)
		time.sleep(0.5)
		for layer in LAYERS:
			ok = kill(layer, watch, curl) and ok
		status = curl.wait(120)
	finally:
		watch.going = False
		if curl.poll() is None:
			curl.kill()
	seconds = time.monotonic() - began
	print()
	if status:
		say(f'curl: exit status {status}')
		return False
	got = hashlib.sha256()
	with open(out, 'rb') as f:
		while block := f.read(1 << 20):
			got.update(block)
	size = os.stat(out).st_size
	same = got.hexdigest() == digest
	say(f'curl: exit status 0, {size / 1e6:.0f} MB in {seconds:.1f} s')
	say(f'sha256 served:     {digest}\nsha256 downloaded: {got.hexdigest()}  {"equal" if same else "DIFFERENT"}')
	return ok and same


def stop(nginx=None):
	if nginx:
		nginx.terminate()
		try:
			nginx.wait(5)
		except subprocess.TimeoutExpired:
			nginx.kill()
	elif os.path.exists(WORK + '/nginx.pid'):
		with open(WORK + '/nginx.pid', encoding='utf-8') as f:
			try:
				os.kill(int(f.read()), signal.SIGTERM)
			except (ProcessLookupError, ValueError):
				pass
	sh('systemctl', 'stop', f'strata@{INSTANCE}.target', check=False)
	sh('systemctl', 'stop', f'strata-keepd@{INSTANCE}.socket', f'strata-sockd@{INSTANCE}.socket', check=False)
	sh('systemctl', 'reset-failed', f'strata-*@{INSTANCE}.*', check=False)
	sh('ip', 'netns', 'del', NETNS, check=False)
	shutil.rmtree(DROPIN, ignore_errors=True)
	if os.path.exists(CONF):
		os.unlink(CONF)
	uninstall()
	sh('systemctl', 'daemon-reload', check=False)
	shutil.rmtree(WORK, ignore_errors=True)


def main():
	p = argparse.ArgumentParser()
	p.add_argument('--install', metavar='BUILD')
	p.add_argument('--how', default='')
	p.add_argument('--keep', action='store_true')
	p.add_argument('--stop', action='store_true')
	p.add_argument('--size', type=int, default=400)
	p.add_argument('--rate', type=int, default=400)
	args = p.parse_args()
	if args.stop:
		return stop()
	signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
	nginx, held = None, False
	stop()		# what an earlier run that was killed may have left
	try:
		if args.install:
			install(args.install)
		os.makedirs(WORK, exist_ok=True)
		say(f'starting strata@{INSTANCE}.target ...')
		start()
		nginx, digest = web_server(args.size, args.rate)
		say(f'nginx on the kernel\'s stack serves {args.size} MB at http://{WEB}/file' +
			(f' over a link held to {args.rate} Mbit/s' if args.rate else '') + '; each layer is killed once:')
		held = download(digest)
		print(sh('strata', 'flow', '-i', INSTANCE))
	except Failed as e:
		say(f'demo: {e}')
	except KeyboardInterrupt:
		say('demo: interrupted')
		sys.exit(130)
	finally:
		signal.signal(signal.SIGINT, signal.SIG_IGN)
		if not (args.keep and held):
			stop(nginx)
	print('everything held' if held else 'NOT everything held')
	if args.keep and held:
		print(f'''It keeps running. Try
  {args.how}strata run -i {INSTANCE} -- curl -o /dev/null http://{WEB}/file
  {args.how}strata ss -i {INSTANCE}
  {args.how}systemctl kill -s KILL strata-tcpd@{INSTANCE}
and end it with
  deploy/demo --stop''')
	sys.exit(0 if held else 1)


if __name__ == '__main__':
	main()
