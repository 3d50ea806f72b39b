#!/usr/bin/env python3
# check.py – requirements.tsv against the tests it names: a row that says "shown" fails when a test of it does not exist or did
# not pass. What the tests said is read from what tests/run kept in the build directory; a program that is not there, or was
# built since, is run now, and nothing else is.
import argparse, os, re, sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.dirname(HERE))
import runner

TABLE = os.path.join(HERE, 'requirements.tsv')
STATES = ('shown', 'open', 'n/a')
LABELS = [f'9293 MUST-{n}' for n in range(1, 70)] + [f'9293 SHLD-{n}' for n in range(1, 32)]


class Row:
	def __init__(self, label, state, by, what):
		self.label, self.state, self.by, self.what = label, state, by, what
		self.tests = by.split('; ') if state == 'shown' else []


def rows_read():
	"""The rows, and what is wrong with the table itself."""
	rows, wrong = [], []
	with open(TABLE, encoding='utf-8') as f:
		for number, line in enumerate(f, 1):
			if line.startswith('#') or not line.strip():
				continue
			fields = line.rstrip('\n').split('\t')
			if len(fields) != 4 or not all(fields):
				wrong.append(f'line {number}: not four fields')
				continue
			row = Row(*fields)
			rows.append(row)
			if row.state not in STATES:
				wrong.append(f'line {number}: no such state: {row.state}')
			for test in row.tests:
				if not re.fullmatch(r'[a-z]+/[^/]+(/.+)?', test):
					wrong.append(f'line {number}: a test is SUITE/PROGRAM/CASE, not {test}')
	seen = [row.label for row in rows]
	wrong += [f'{label}: twice' for label in sorted(set(seen)) if seen.count(label) > 1]
	wrong += [f'{label}: missing' for label in LABELS if label not in seen]
	return rows, wrong


class Programs:
	"""The test programs there are, and what their cases said, fresh."""
	def __init__(self, where):
		self.where, self.results, self.fresh = where, runner.results_read(where), {}
		self.tests = {t['name']: t for suite in runner.SUITES for t in runner.tests_of(where, suite)}

	def built(self, test):
		"""When the newest file it consists of was made; what runs the daemons consists of them, too."""
		files = [word for word in test['cmd'] if os.path.isfile(word)]
		if test['name'].split('/')[0] in runner.ROOT:
			for folder, _, names in os.walk(os.path.join(self.where, 'services')):
				files += [os.path.join(folder, name) for name in names if name.startswith(('strata-', 'libstrata'))]
		return max(os.path.getmtime(name) for name in files if os.path.isfile(name))

	def cases(self, name):
		"""{case: 'ok' | 'not ok' | 'skip'}, or None when there is no such program."""
		if name not in self.tests:
			return None
		if name not in self.fresh:
			kept = self.results.get(name)
			if not kept or kept['started'] < self.built(self.tests[name]):
				print(f'# {name} is run now', flush=True)
				done = runner.run_one(self.tests[name])
				runner.results_keep(self.where, [done])
				kept = {'cases': done.cases}
			self.fresh[name] = kept['cases']
		return self.fresh[name]

	def said(self, test):
		"""'ok', 'skip', or what is wrong. A case is named in full, or up to its colon (numbers may follow there)."""
		program, case = '/'.join(test.split('/')[:2]), '/'.join(test.split('/')[2:])
		cases = self.cases(program)
		if cases is None:
			return f'there is no program {program}'
		found = [what for name, what in cases.items() if not case or name == case or name.startswith(case + ': ')]
		if not found:
			return f'{program} has no case "{case}"'
		if 'not ok' in found:
			return f'{test} fails'
		return 'skip' if 'skip' in found else 'ok'


def main():
	p = argparse.ArgumentParser(description='Checks the conformance table; prints TAP.')
	p.add_argument('--build', metavar='DIR', default=os.path.join(runner.TREE, 'build'))
	p.add_argument('--list', choices=STATES, help='print the rows of one state instead')
	args = p.parse_args()
	rows, wrong = rows_read()
	if args.list:
		for row in rows:
			if row.state == args.list:
				print(f'{row.label}: {row.what} ({row.by})')
		return 0
	shown, failed = [row for row in rows if row.state == 'shown'], 0
	programs = Programs(os.path.abspath(args.build))
	print(f'1..{1 + len(shown)}')
	for line in wrong:
		print(f'# {line}')
	print(('not ' if wrong else '') + 'ok 1 - the table is well formed and has every label of RFC 9293', flush=True)
	for number, row in enumerate(shown, 2):
		said = [programs.said(test) for test in row.tests]
		bad = [what for what in said if what not in ('ok', 'skip')]
		failed += bool(bad)
		for what in bad:
			print(f'# {row.label}: {what}')
		print(f'{"not " if bad else ""}ok {number} - {row.label}' + (' # SKIP its test was skipped' if not bad and 'skip' in said else ''), flush=True)
	count = {state: sum(row.state == state for row in rows) for state in STATES}
	print(f'# note: {count["shown"]} requirements shown, {count["open"]} open, {count["n/a"]} not applicable')
	for row in rows:
		if row.state == 'open':
			print(f'# note: open: {row.label}: {row.what} ({row.by})')
	return 1 if wrong or failed else 0


if __name__ == '__main__':
	sys.exit(main())
