# runner.py – what tests/run does after the dependencies are there: build, run suites, count TAP cases.
#
# A suite NAME is the tests that meson registers under suite 'NAME' and every executable file of tests/NAME/. Each prints TAP
# (a program that does not is one case: its exit status). Cases are counted one by one; a test that dies early, prints fewer
# cases than it planned or runs over its time is a failed case of its own. What every case said last is kept in RESULTS of
# the build directory: the conformance suite, always the last, reads it there. Lines of TAP that begin with "# note:" are shown.
import argparse, concurrent.futures, json, os, re, shlex, signal, subprocess, sys, time

TREE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SUITES = ['unit', 'model', 'sim', 'script', 'fuzz', 'shim', 'live', 'systemd', 'conformance']
ALONE = {'shim', 'live', 'systemd', 'bench', 'script'}		# one test at a time: they measure time or own the machine
ROOT = {'live', 'systemd', 'bench', 'script'}		# need network namespaces
TIMEOUT = {'live': 300, 'systemd': 300, 'bench': 1800, 'conformance': 3600}
RESULTS = 'test-results.json'	# {program: {started: seconds, cases: {name: 'ok' | 'not ok' | 'skip'}}}


class Result:
	def __init__(self, name):
		self.name, self.passed, self.failed, self.skipped = name, 0, 0, 0
		self.bad, self.output, self.seconds, self.again = [], '', 0.0, ''
		self.cases, self.started = {}, 0.0


def case_count(res, status):
	"""A program whose exit status is its one result, as meson has it: 77 is skipped."""
	res.cases[''] = 'skip' if status == 77 else 'ok' if status == 0 and not res.failed else 'not ok'
	if status == 77:
		res.skipped += 1
	elif status == 0:
		res.passed += 1
	elif not res.failed:
		res.failed += 1
		res.bad.append(f'exit status {status}')


def tap_count(res, text, status):
	"""Count the cases of a TAP stream into res; status is the exit status."""
	plan = seen = None
	for line in text.splitlines():
		m = re.match(r'(not )?ok\b\s*\d*\s*-?\s*(.*)', line)
		if m:
			seen = (seen or 0) + 1
			what = m.group(2)
			skip = re.search(r'\s*#\s*(skip|todo)', what, re.I)
			res.cases[what[:skip.start()] if skip else what] = 'skip' if skip else 'not ok' if m.group(1) else 'ok'
			if skip:
				res.skipped += 1
			elif m.group(1):
				res.failed += 1
				res.bad.append(what or f'case {seen}')
			else:
				res.passed += 1
		elif m := re.match(r'1\.\.(\d+)(\s*#\s*skip.*)?', line, re.I):
			plan = int(m.group(1))
			if plan == 0:
				res.skipped += 1
		elif line.startswith('Bail out!'):
			res.failed += 1
			res.bad.append(line)
	if seen is None and plan is None:		# not TAP
		case_count(res, status)
		return
	if plan is not None and plan > (seen or 0):
		res.failed += plan - (seen or 0)
		res.bad.append(f'{plan - (seen or 0)} planned cases did not run')
	if status != 0 and not res.failed:
		res.failed += 1
		res.bad.append(f'exit status {status}')


def run_one(test):
	res = Result(test['name'])
	env = dict(os.environ, **test['env'])
	start = time.monotonic()
	res.started = time.time()
	res.again = shlex.join(test['cmd'])
	proc = subprocess.Popen(test['cmd'], cwd=test['cwd'], env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
		stderr=subprocess.STDOUT, text=True, errors='replace', start_new_session=True)
	try:
		res.output, _ = proc.communicate(timeout=test['timeout'])
		status = proc.returncode
	except subprocess.TimeoutExpired:
		# SIGTERM first: a test removes its namespaces on it.
		for sig in (signal.SIGTERM, signal.SIGKILL):
			try:
				os.killpg(proc.pid, sig)
				res.output, _ = proc.communicate(timeout=15)
				break
			except (subprocess.TimeoutExpired, ProcessLookupError):
				continue
		status = 0
		res.failed += 1
		res.bad.append(f'not finished after {test["timeout"]} s')
	res.seconds = time.monotonic() - start
	if test['tap']:
		tap_count(res, res.output or '', status)
	else:
		case_count(res, status)
	return res


def report(res):
	cases = res.passed + res.failed + res.skipped
	mark = 'FAIL' if res.failed else 'skip' if not res.passed else 'ok'
	print(f'{mark:4} {res.name:32} {res.passed:6}/{cases:<6} {res.seconds:6.1f} s' +
		(f'  {res.skipped} skipped' if res.skipped else ''), flush=True)
	for line in (res.output or '').splitlines():
		if line.startswith('# note: '):
			print(f'       {line[8:]}', flush=True)
	if res.failed:
		for what in res.bad[:20]:
			print(f'       not ok: {what}')
		for line in (res.output or '').splitlines()[-40:]:
			print(f'       | {line}')
		print(f'       to see it again: {res.again}', flush=True)


def build(args, where, options, env=None):
	if not os.path.exists(os.path.join(where, 'build.ninja')):
		cmd = ['meson', 'setup', where, TREE, *options]
	else:
		cmd = ['meson', 'configure', where, *options] if options else None
	for step in (cmd, ['ninja', '-C', where]):
		if not step:
			continue
		done = subprocess.run(step, cwd=TREE, env=dict(os.environ, **(env or {})), stdin=subprocess.DEVNULL,
			stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
		if done.returncode:
			print(done.stdout)
			sys.exit(f'tests/run: the build failed: {shlex.join(step)}')
	if ' warning: ' in done.stdout:
		print(done.stdout)


def meson_tests(where, suite):
	listed = subprocess.run(['meson', 'introspect', '--tests', where], check=True, capture_output=True, text=True).stdout
	for t in json.loads(listed):
		if suite in [s.split(':')[-1] for s in t['suite']]:
			yield {'name': f'{suite}/{t["name"]}', 'cmd': t['cmd'], 'cwd': t['workdir'] or where, 'env': t['env'],
				'timeout': t['timeout'] or 600, 'tap': t['protocol'] == 'tap'}


def script_tests(where, suite, user):
	folder = os.path.join(TREE, 'tests', suite)
	for name in sorted(os.listdir(folder)) if os.path.isdir(folder) else []:
		path = os.path.join(folder, name)
		if os.path.isfile(path) and os.access(path, os.X_OK):
			cmd = [path, '--build', where]
			if suite in ROOT and user != 0:
				cmd = ['sudo', '--', *cmd]
			yield {'name': f'{suite}/{name}', 'cmd': cmd, 'cwd': TREE, 'env': {}, 'timeout': TIMEOUT.get(suite, 600), 'tap': True}


def tests_of(where, suite):
	tests = [*meson_tests(where, suite)]
	known = {os.path.realpath(word) for t in tests for word in t['cmd']}
	return tests + [t for t in script_tests(where, suite, os.geteuid())
		if os.path.realpath(os.path.join(TREE, 'tests', t['name'])) not in known]


def results_read(where):
	try:
		with open(os.path.join(where, RESULTS), encoding='utf-8') as f:
			return json.load(f)
	except (OSError, ValueError):
		return {}


def results_keep(where, done):
	"""Results of one run. A program of two builds (fuzz) runs twice: the worse of each case counts."""
	fresh = {}
	for res in done:
		program = fresh.setdefault(res.name, {'started': res.started, 'cases': {}})
		for name, what in res.cases.items():
			if program['cases'].get(name) != 'not ok':
				program['cases'][name] = what
	path = os.path.join(where, RESULTS)
	everything = dict(results_read(where), **fresh)
	with open(path + '.new', 'w', encoding='utf-8') as f:
		json.dump(everything, f, indent=1, sort_keys=True)
	os.replace(path + '.new', path)


def suites_run(args, where, suites):
	total = Result('all')
	for suite in sorted(suites, key=lambda s: s == 'conformance'):
		tests, done = tests_of(where, suite), []
		if suite == 'fuzz' and fuzz_targets():
			tests += meson_tests(where + '-fuzz', suite)
		with concurrent.futures.ThreadPoolExecutor(1 if suite in ALONE else os.cpu_count() or 1) as pool:
			for future in concurrent.futures.as_completed([pool.submit(run_one, t) for t in tests]):
				res = future.result()
				done.append(res)
				report(res)
				total.passed += res.passed
				total.failed += res.failed
				total.skipped += res.skipped
		results_keep(where, done)
	return total


def fuzz_targets():
	"""Are there targets that only a clang build with -Dfuzz=true has?"""
	with open(os.path.join(TREE, 'tests/fuzz/meson.build'), encoding='utf-8') as f:
		return "get_option('fuzz')" in f.read()


def bench(args, where):
	cmd = [os.path.join(TREE, 'tests/bench/bench.py'), '--build', where, *args.rest]
	if args.json:
		cmd += ['--json', args.json]
	return subprocess.run((['sudo', '--'] if os.geteuid() else []) + cmd).returncode


def main():
	p = argparse.ArgumentParser(prog='tests/run', description='Install what is missing, build, run the test suites. '
		'Without a name: all of them, except bench.')
	p.add_argument('suites', nargs='*', metavar='SUITE', help='one or more of: ' + ' '.join(SUITES + ['bench']))
	p.add_argument('--build', metavar='DIR', help='build directory (default: build)')
	p.add_argument('--werror', action='store_true', help='warnings are errors')
	p.add_argument('--sanitize', metavar='KIND', help="build and run under a sanitizer: address,undefined or thread")
	p.add_argument('--json', metavar='FILE', help='bench: write the figures there, too')
	args, args.rest = p.parse_known_args()
	for s in args.suites:
		if s not in SUITES + ['bench']:
			p.error(f"there is no suite '{s}'")
	if args.rest and args.suites != ['bench']:
		p.error(f'unknown option {args.rest[0]}')

	where = os.path.abspath(args.build or os.path.join(TREE, 'build' + ('-' + args.sanitize.split(',')[0] if args.sanitize else '')))
	options = []
	if args.werror:
		options += ['-Dwerror_ci=true']
	if args.sanitize:
		options += ['-Db_sanitize=' + args.sanitize, '-Db_lundef=false']
	start = time.monotonic()
	build(args, where, options)
	suites = args.suites or SUITES
	if 'fuzz' in suites and fuzz_targets():
		build(args, where + '-fuzz', ['-Dfuzz=true', '-Db_lundef=false', '-Db_sanitize=address,undefined'], {'CC': 'clang'})
	print(f'built in {time.monotonic() - start:.0f} s: {where}', flush=True)

	status = 0
	if 'bench' in suites:
		status = bench(args, where)
		suites = [s for s in suites if s != 'bench']
		if not suites:
			sys.exit(status)
	total = suites_run(args, where, suites)
	print(f'in {time.monotonic() - start:.0f} s')
	print(f'{total.passed} passed, {total.failed} failed, {total.skipped} skipped')
	sys.exit(1 if total.failed or status else 0)


if __name__ == '__main__':
	main()
