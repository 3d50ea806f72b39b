#!/usr/bin/env python3
# selftest.py – check.py fails when it should: a table with one fault each, and a build directory that is only results.
import contextlib, io, json, os, sys, tempfile, time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
import check

GOOD = ''.join(f'{label}\topen\tno test yet\ta meaning\n' for label in check.LABELS)
RESULTS = {'unit/some': {'good': 'ok', 'numbers: 17 of 17': 'ok', 'bad': 'not ok', 'not here': 'skip'}}
number = failed = 0


class Build(check.Programs):
	"""Programs that exist, with what they said; `old` were built since, and say something else now."""
	def __init__(self, where):
		self.where, self.fresh = where, {}
		self.tests = {name: {'name': name, 'cmd': [__file__]} for name in (*RESULTS, 'unit/old')}
		now = time.time()
		self.results = {name: {'started': now, 'cases': cases} for name, cases in RESULTS.items()}
		self.results['unit/old'] = {'started': 1.0, 'cases': {'case': 'not ok'}}


def run_one(test):
	done = check.runner.Result(test['name'])
	done.cases = {'case': 'ok'}
	done.started = time.time()
	ran.append(test['name'])
	return done


def checked(table):
	"""What check.py returns and prints for this table."""
	with tempfile.TemporaryDirectory() as where:
		check.TABLE = os.path.join(where, 'table.tsv')
		with open(check.TABLE, 'w', encoding='utf-8') as f:
			f.write(table)
		sys.argv = ['check.py', '--build', where]
		out = io.StringIO()
		with contextlib.redirect_stdout(out):
			status = check.main()
	return status, out.getvalue()


def case(name, table, want_status, *want, runs=()):
	global number, failed
	ran.clear()
	status, out = checked(table)
	good = status == want_status and all(text in out for text in want) and ran == list(runs)
	number += 1
	failed += not good
	if not good:
		print(f'# status {status}, ran {ran}, wanted {want_status}, {list(runs)} and {want}:')
		for line in out.splitlines():
			if ' open' not in line:
				print(f'# {line}')
	print(f'{"" if good else "not "}ok {number} - {name}', flush=True)


def row(state, by, label='some label'):
	return GOOD + f'{label}\t{state}\t{by}\ta meaning\n'


ran = []
check.Programs = Build
check.runner.run_one = run_one
case('a test that passed shows', row('shown', 'unit/some/good'), 0, 'ok 2 - some label', '1 requirements shown, 100 open, 0 not')
case('a case is named up to its colon', row('shown', 'unit/some/numbers'), 0, '\nok 2 - some label')
case('a test that failed does not', row('shown', 'unit/some/good; unit/some/bad'), 1, 'not ok 2 - some label', 'unit/some/bad fails')
case('nor one that is not there', row('shown', 'unit/some/god'), 1, 'not ok 2', 'has no case "god"')
case('nor a program that is not there', row('shown', 'unit/none/good'), 1, 'not ok 2', 'there is no program unit/none')
case('a test that was skipped shows nothing', row('shown', 'unit/some/not here'), 0, 'ok 2 - some label # SKIP')
case('a program that was built since is run, once', row('shown', 'unit/old/case') + 'more\tshown\tunit/old/case\tm\n', 0, 'unit/old is run now',
	runs=['unit/old'])
case('a label of RFC 9293 may not be missing', GOOD.replace('9293 MUST-9\t', '9293 MUST-99\t'), 1, '9293 MUST-9: missing', 'not ok 1')
case('nor be there twice', GOOD + '9293 SHLD-1\topen\tw\tm\n', 1, '9293 SHLD-1: twice')
case('states are three', row('done', 'unit/some/good'), 1, 'no such state: done')
case('rows have four fields', row('open', ''), 1, 'not four fields')
case('open and n/a need no test, and are told', row('n/a', 'because'), 0, '0 requirements shown, 100 open, 1 not', 'note: open: 9293 MUST-1: a meaning')
print(f'1..{number}')
sys.exit(1 if failed else 0)
