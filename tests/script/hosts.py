# hosts.py – packet scripts on real sockets, several at a time: what tests/script/kernel and tests/script/strata share.
# A script waits most of its time. The player (main.c) plays a script again when this machine kept it from running in time.
import concurrent.futures, os, re, subprocess, sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), 'live'))
from stack import Tap, arguments

TOGETHER = 12


def scripts():
	for folder, _, names in sorted(os.walk(os.path.join(HERE, 'tcp'))):
		for name in sorted(names):
			if name.endswith('.script'):
				yield os.path.join(folder, name)


def title(path):
	return os.path.relpath(path, HERE)[:-len('.script')]


def settings(path):
	"""(the hosts it runs on, [(name, value), ...] of its "set" lines)"""
	with open(path, encoding='utf-8') as f:
		text = f.read()
	run = re.search(r'^run (.*)$', text, re.M)
	return run.group(1).split() if run else ['virtual', 'kernel', 'strata'], re.findall(r'^set (\w+) (\S+)', text, re.M)


def play(cmd, env=None):
	try:
		done = subprocess.run(cmd, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors='replace',
			timeout=100, env=env)
	except subprocess.TimeoutExpired as e:
		return False, f'not finished after 100 s: {e.output}'
	return done.returncode == 0, done.stdout


def play_all(tap, jobs):
	"""jobs: (path, command, environment). Results in the order of the scripts."""
	with concurrent.futures.ThreadPoolExecutor(TOGETHER) as pool:
		for (path, _, _), done in zip(jobs, pool.map(lambda j: play(*j[1:]), jobs)):
			good, text = done
			lines = [line[2:] if line.startswith('# ') else line for line in text.splitlines() if not re.match(r'1\.\.|ok |not ok |# again', line)]
			tap.result(good, title(path), '\n'.join(lines))


def chosen(args, host):
	return [p for p in scripts() if args.only in title(p) and host in settings(p)[0]]


def player(args):
	return os.path.join(args.build, 'tests/script/script')


def main(host):
	args = arguments()
	tap = Tap(args)
	play_all(tap, [(p, [player(args), '--on', host, p], None) for p in chosen(args, host)])
	tap.end()
