#!/usr/bin/env python3
# kills.py – Strata's real units under a real systemd, in a throw-away container (deploy/container): each daemon is killed during
# 200 MB transfers and brought back by systemd; start, stop, privileges, watchdog and a wrong configuration.
#
#   container:  strata@live.target ─ linkd ── TAP st0 ─ kernel 10.9.0.1     in network namespace "peer"
#               strata run -i live -- traffic ...                           10.9.0.2
#
# Without --inside: boots the container and runs itself in it.
import argparse, json, os, random, re, signal, struct, subprocess, sys, time

TREE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
LAYERS = ['linkd', 'ipd', 'tcpd', 'sockd', 'keepd']
STRATA, PEER, PORT, BYTES = '10.9.0.2', '10.9.0.1', 5001, 200_000_000
DROPIN = '/run/systemd/system/strata-linkd@live.service.d'
GOOD = f'[link st0]\ndriver = tap\n[ip]\naddress = {STRATA}/24 dev st0\n'
count = bad = 0


class Failed(Exception):
	pass


def sh(*cmd, check=True):
	done = subprocess.run(cmd, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60)
	if check and done.returncode:
		raise Failed(f'{" ".join(cmd)}: exit status {done.returncode}: {done.stdout.strip()}')
	return done.stdout.strip()


def unit(layer, instance='live'):
	return f'strata-{layer}@{instance}.service'


def show(layer, what, instance='live'):
	return sh('systemctl', 'show', '--value', '-p', what, unit(layer, instance))


def wait_for(what, test, seconds=10):
	end = time.monotonic() + seconds
	while not test():
		if time.monotonic() > end:
			raise Failed(f'{what}: not within {seconds} s')
		time.sleep(0.01)


def case(name, function, *args):
	global count, bad
	if ARGS.only not in name:
		return
	count += 1
	try:
		function(*args)
		print(f'ok {count} - {name}', flush=True)
	except (Failed, OSError, ValueError, subprocess.SubprocessError) as e:
		bad += 1
		for line in (f'{type(e).__name__}: {e}\n' + sh('journalctl', '--no-pager', '-n', '15', '-o', 'cat', '-u', 'strata-*', check=False)).splitlines():
			print('# ' + line)
		print(f'not ok {count} - {name}\n# again: tests/systemd/kills.py --only {json.dumps(name)}', flush=True)


def traffic():
	return os.path.join(ARGS.build, 'tests/bench/traffic')


def peer(*cmd):
	return ['ip', 'netns', 'exec', 'peer', *cmd]


def up():
	sh('systemctl', 'start', '--no-block', 'strata@live.target')
	wait_for('all daemons', lambda: all(show(d, 'ActiveState') == 'active' for d in LAYERS))
	wait_for('the TAP', lambda: 'st0' in sh('ip', '-n', 'peer', '-br', 'link'))
	sh('ip', '-n', 'peer', 'addr', 'replace', PEER + '/24', 'dev', 'st0')
	sh('ip', '-n', 'peer', 'link', 'set', 'st0', 'up')


def set_up():
	sh('systemd-sysusers')
	os.makedirs('/etc/strata', exist_ok=True)
	with open('/etc/strata/live.conf', 'w', encoding='utf-8') as f:
		f.write(GOOD)
	os.makedirs(DROPIN, exist_ok=True)
	with open(DROPIN + '/netns.conf', 'w', encoding='utf-8') as f:
		f.write('[Service]\nNetworkNamespacePath=/run/netns/peer\n')
	sh('ip', 'netns', 'add', 'peer')
	sh('ip', '-n', 'peer', 'link', 'set', 'lo', 'up')
	sh('systemctl', 'daemon-reload')
	up()


def counts():
	"""What must be back after a death: {name: number}."""
	out = {f'{d} descriptors': len(os.listdir(f'/proc/{show(d, "MainPID")}/fd')) for d in LAYERS}
	out['stored descriptors'] = int(show('keepd', 'NFileDescriptorStore'))
	pools = json.loads(sh('strata', 'stat', '-i', 'live', '--json')).get('pools') or {}
	for name, p in pools.items():
		out[f'pool {name}'] = p['loans']
	return out


def start_transfer(verb, size=BYTES):
	with open('/run/progress', 'wb') as f:
		f.write(bytes(8))
	return subprocess.Popen(['strata', 'run', '-i', 'live', '--', traffic(), verb, PEER, str(PORT), '--bytes', str(size), '--check',
		'--progress', '/run/progress'], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def progress():
	with open('/run/progress', 'rb') as f:
		return struct.unpack('Q', f.read(8))[0]


def finish(proc, verb):
	try:
		out, _ = proc.communicate(timeout=60)
	except subprocess.TimeoutExpired:
		proc.kill()
		raise Failed(f'{verb} stands still at {progress()} bytes') from None
	if proc.returncode:
		raise Failed(f'{verb}: exit status {proc.returncode}: {out}')


def kill_during(layer, verb, rng):
	before, pid, restarts = counts(), int(show(layer, 'MainPID')), int(show(layer, 'NRestarts'))
	proc = start_transfer(verb)
	mark = rng.uniform(0.05, 0.6) * BYTES
	while progress() < mark and proc.poll() is None:
		time.sleep(0.0005)
	if proc.poll() is not None:
		raise Failed(f'ended before the kill: {proc.communicate()[0]}')
	sh('systemctl', 'kill', '--kill-who=main', '-s', 'KILL', unit(layer))
	finish(proc, verb)
	wait_for('the restart', lambda: show(layer, 'ActiveState') == 'active' and int(show(layer, 'MainPID')) not in (0, pid))
	if int(show(layer, 'NRestarts')) != restarts + 1:
		raise Failed(f'NRestarts: {restarts} before, {show(layer, "NRestarts")} now')
	for other in LAYERS:
		if show(other, 'Result') != 'success':
			raise Failed(f'{other}: {show(other, "Result")}')
	now = {}

	def back():
		now.update(counts())
		return all(now[k] <= before[k] + (8 if 'pool' in k else 4) for k in before)
	try:
		wait_for('counts', back, 5)
	except Failed:
		raise Failed('not back where they were: ' + ', '.join(f'{k}: {before[k]} -> {now[k]}' for k in before if now[k] > before[k])) from None


def others_untouched(layer):
	"""Nobody else is restarted by a death."""
	pids = {d: show(d, 'MainPID') for d in LAYERS if d != layer}
	sh('systemctl', 'kill', '--kill-who=main', '-s', 'KILL', unit(layer))
	time.sleep(0.5)
	if pids != (now := {d: show(d, 'MainPID') for d in LAYERS if d != layer}):
		raise Failed(f'{pids} -> {now}')


def same_device():
	"""linkd's next life takes the TAP back, the keeper's takes it back from systemd, and linkd's again from there."""
	def seen():
		return sh('ip', '-n', 'peer', '-o', 'addr', 'show', 'st0'), show('keepd', 'NFileDescriptorStore')
	before = seen()
	for layer in ('linkd', 'linkd', 'keepd', 'linkd'):
		pid = int(show(layer, 'MainPID'))
		sh('systemctl', 'kill', '--kill-who=main', '-s', 'KILL', unit(layer))
		wait_for(f'{layer}', lambda: show(layer, 'ActiveState') == 'active' and int(show(layer, 'MainPID')) not in (0, pid))
	if before != seen():
		raise Failed(f'{before} -> {seen()}')


def many_kills(rng):
	"""No start limit: thirty deaths in a row."""
	proc = start_transfer('recv', 20 * BYTES)
	for _ in range(30):
		layer = rng.choice(LAYERS)
		wait_for(f'{layer} to be active', lambda: show(layer, 'ActiveState') == 'active')
		sh('systemctl', 'kill', '--kill-who=main', '-s', 'KILL', unit(layer))
		time.sleep(rng.uniform(0.02, 0.1))
	finish(proc, 'recv')


def watchdog(layer):
	pid, proc = int(show(layer, 'MainPID')), start_transfer('recv')
	while progress() < BYTES / 20 and proc.poll() is None:
		time.sleep(0.001)
	os.kill(pid, signal.SIGSTOP)
	wait_for('the watchdog', lambda: int(show(layer, 'MainPID')) not in (0, pid), 15)
	finish(proc, 'recv')


def privileges():
	allowed = {'linkd': {12, 13}}
	users = set()
	for layer in LAYERS:
		with open(f'/proc/{show(layer, "MainPID")}/status', encoding='utf-8') as f:
			status = f.read()
		users.add(uid := re.search(r'Uid:\t(\d+)', status).group(1))
		caps = int(re.search(r'CapPrm:\t(\w+)', status).group(1), 16)
		if uid == '0' or {i for i in range(64) if caps >> i & 1} != allowed.get(layer, set()):
			raise Failed(f'{layer}: uid {uid}, capabilities {caps:#x}')
		if 'NoNewPrivs:\t1' not in status or 'Seccomp:\t2' not in status:
			raise Failed(f'{layer} is not confined')
	if len(users) != len(LAYERS):
		raise Failed(f'users {users}')


def as_nobody():
	"""An ordinary user's program runs on the stack."""
	done = subprocess.run(['setpriv', '--reuid', 'nobody', '--regid', 'nogroup', '--clear-groups', 'strata', 'run', '-i', 'live', '--', traffic(), 'rr',
		PEER, str(PORT), '--bytes', '100'], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=20)
	if done.returncode:
		raise Failed(done.stdout)


def stop_and_start():
	sh('systemctl', 'stop', 'strata@live.target')
	left = [d for d in LAYERS if show(d, 'MainPID') != '0']
	if left or 'st0' in sh('ip', '-n', 'peer', '-br', 'link'):
		raise Failed(f'after stop: {left}, {sh("ip", "-n", "peer", "-br", "link")}')
	if int(show('keepd', 'NFileDescriptorStore')):
		raise Failed('descriptors are still stored')
	up()
	finish(start_transfer('recv'), 'recv')


def wrong_config():
	"""The units fail and stay failed, and the journal names the line."""
	with open('/etc/strata/wrong.conf', 'w', encoding='utf-8') as f:
		f.write(GOOD + 'nonsense = 1\n')
	sh('systemctl', 'start', '--no-block', 'strata@wrong.target')
	wait_for('failure', lambda: all(show(d, 'ActiveState', 'wrong') == 'failed' for d in ('linkd', 'ipd', 'tcpd', 'sockd')))
	if 'wrong.conf:5:' not in sh('journalctl', '--no-pager', '-o', 'cat', '-u', unit('linkd', 'wrong')):
		raise Failed('the journal does not name the line')
	sh('systemctl', 'stop', 'strata@wrong.target')


def missing_device():
	"""linkd says what is missing, systemd does not spin, and it comes up when the device does."""
	with open('/etc/strata/late.conf', 'w', encoding='utf-8') as f:
		f.write(GOOD.replace('tap', 'packet').replace('st0', 'late0'))
	sh('systemctl', 'start', '--no-block', 'strata@late.target')
	try:
		wait_for('a status that names the device', lambda: 'late0' in show('linkd', 'StatusText', 'late'))
		before = int(show('linkd', 'NRestarts', 'late'))
		time.sleep(3)
		if not 1 <= (n := int(show('linkd', 'NRestarts', 'late')) - before) <= 4:
			raise Failed(f'{n} restarts in 3 s')
		sh('ip', 'link', 'add', 'late0', 'type', 'veth', 'peer', 'name', 'late1')
		sh('ip', 'link', 'set', 'late0', 'up')
		wait_for('linkd', lambda: show('linkd', 'ActiveState', 'late') == 'active', 5)
	finally:
		sh('systemctl', 'stop', 'strata@late.target')
		sh('ip', 'link', 'del', 'late0', check=False)


def inside():
	rng = random.Random(ARGS.seed)
	set_up()
	server = subprocess.Popen(peer(traffic(), 'serve', str(PORT)), stdin=subprocess.DEVNULL)
	try:
		wait_for('the server', lambda: f':{PORT} ' in sh(*peer('ss', '-Htln')))
		case('privileges: a user each, no capability but linkd\'s two', privileges)
		finish(start_transfer('recv'), 'recv')		# arenas and pools at their usual size
		for layer in LAYERS:
			for verb in ('recv', 'send'):
				case(f'SIGKILL of {layer} during {verb} of 200 MB', kill_during, layer, verb, rng)
		for layer in LAYERS:
			case(f'the death of {layer} restarts nobody else', others_untouched, layer)
		case('the device outlives linkd, keepd and linkd again', same_device)
		case('thirty deaths in a row', many_kills, rng)
		for layer in ('tcpd', 'linkd'):
			case(f'watchdog: a hung {layer}', watchdog, layer)
		case('a program of user nobody', as_nobody)
		case('stop leaves nothing, start works again', stop_and_start)
		case('a wrong configuration', wrong_config)
		case('a device that comes late', missing_device)
	finally:
		server.kill()
	print(f'1..{count}')
	sys.exit(1 if bad else 0)


def outside():
	if os.geteuid():
		os.execvp('sudo', ['sudo', '--', sys.executable, *sys.argv])
	signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
	container, name = os.path.join(TREE, 'deploy/container'), f'test-{os.getpid()}'
	subprocess.run([container, 'start', name, '--build', ARGS.build, '--bind', TREE, '--bind', ARGS.build], check=True, stdin=subprocess.DEVNULL)
	try:
		sys.exit(subprocess.run([container, 'exec', name, '--', 'python3', os.path.abspath(__file__), '--inside', '--build', ARGS.build,
			'--only', ARGS.only, '--seed', str(ARGS.seed)], stdin=subprocess.DEVNULL).returncode)
	finally:
		subprocess.run([container, 'stop', name], check=False)


if __name__ == '__main__':
	p = argparse.ArgumentParser()
	p.add_argument('--build', default=os.path.join(TREE, 'build'))
	p.add_argument('--only', default='')
	p.add_argument('--seed', type=int, default=1)
	p.add_argument('--inside', action='store_true')
	ARGS = p.parse_args()
	ARGS.build = os.path.abspath(ARGS.build)
	inside() if ARGS.inside else outside()
