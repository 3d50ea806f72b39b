#!/usr/bin/env python3
# bench.py – Strata against the kernel's stack between two namespaces over veth, in one alternating run; `tests/run bench`.
#
# A pair is one run on each side, the order changing from pair to pair, so that what else the machine does falls on both. A ratio is
# the median over the pairs of Strata : kernel, a figure the median of its runs. For rates more is better, for times less. After
# that lwIP, Strata with its TAP driver and the kernel in the same way, so that a userspace peer stands beside them.
# Exit status 1 says that something could not be measured, never that it was slow. --self-test measures the kernel against itself:
# every ratio should be near 1.
#
# sides.py: what is compared. measures.py: what is measured. report.py: the tables.
import contextlib, json, os, signal, subprocess, sys, time

sys.path[:0] = [os.path.dirname(os.path.abspath(__file__)), os.path.join(os.path.dirname(os.path.abspath(__file__)), '../live')]
from stack import LAYERS, Failed, arguments
import report
from measures import MEASURES, idle
from sides import CONGESTION, KernelSide, LwipSide, StrataSide, cpu_of, cpu_of_machine, offloads

LIMIT = 570		# seconds; a measure that is not begun by then is not made, and at LIMIT + 60 everything ends
PEER_MEASURES = ['bulk_in', 'bulk_out', 'rtt_one_cpu', 'rtt', 'conn_rate']


class Bench:
	def __init__(self, args):
		self.args, self.failed, self.began = args, [], time.monotonic()
		self.offloads = {}

	def wanted(self, name):
		return self.args.only in name

	def attempt(self, name, function, *args):
		"""The function's value; None, noted and said, when it cannot be measured."""
		try:
			if time.monotonic() - self.began > LIMIT:
				raise Failed(f'not begun: {LIMIT} s are over')
			return function(*args)
		except (Failed, OSError, subprocess.SubprocessError, ValueError, KeyError) as e:
			self.failed.append(name)
			print(f'{name}: cannot be measured: {type(e).__name__}: {e}', file=sys.stderr, flush=True)
			return None

	@staticmethod
	def once(measure, side, seconds, server):
		before, machine = {layer: cpu_of(pid) for layer, pid in side.daemons().items()}, cpu_of_machine()
		one = measure.run(side, seconds, server)
		machine = cpu_of_machine() - machine
		if not one['work']:
			raise Failed(f'{side.name}: nothing was moved')
		one['cpu'] = {layer: (cpu_of(pid) - before[layer]) / one['work'] for layer, pid in side.daemons().items()}
		one['cpu'].update(program=one.pop('program') / one['work'], machine=machine / one['work'])
		return one

	def compare(self, measure, sides):
		"""All runs of one measure; the figure of it."""
		runs = {s.name: [] for s in sides}
		with contextlib.ExitStack() as stack:
			servers = [stack.enter_context(measure.setup(s)) for s in sides]
			order = list(zip(sides, servers))
			self.once(measure, *order[0][:1], 0.2, order[0][1])		# the first run of all pays for what is set up late
			for _ in range(self.args.pairs):
				for side, server in order:
					runs[side.name].append(self.once(measure, side, self.args.seconds, server))
				order.reverse()
		fig = {'unit': measure.unit, 'cpu_unit': f's per {measure.per}', 'runs': runs, 'cpu': {}}
		for name, many in runs.items():
			fig[name] = report.median([r['value'] for r in many])
			for key in many[0].keys() - {'value', 'work', 'cpu'}:
				fig[f'{name}_{key}'] = report.median([r[key] for r in many])
			fig['cpu'][name] = {k: report.median([r['cpu'][k] for r in many]) for k in many[0]['cpu']}
		return fig

	@staticmethod
	def ratio(fig, a, b, key='value'):
		return round(report.median([x[key] / y[key] for x, y in zip(fig['runs'][a], fig['runs'][b])]), 3)

	def against_kernel(self, ours, theirs):
		figures, ratios = {}, {}
		# Idle comes first: later there would be connections in TIME_WAIT whose timers end.
		if self.wanted('idle') and ours.daemons() and (fig := self.attempt('idle', idle, ours)):
			figures['idle'] = fig
		for m in MEASURES:
			if self.wanted(m.name) and (fig := self.attempt(m.name, self.compare, m, [ours, theirs])):
				figures[m.name] = fig
				ratios[m.name] = self.ratio(fig, ours.name, theirs.name)
				if 'p99' in fig['runs'][ours.name][0]:
					fig['p99_ratio'] = self.ratio(fig, ours.name, theirs.name, 'p99')
				print(f'{m.name}: {ours.name} {report.cell(fig, ours.name)}, {theirs.name} {report.cell(fig, theirs.name)}: {ratios[m.name]:.3f}', flush=True)
		return figures, ratios

	def beside(self, lwip, strata, kernel):
		"""The figures of a userspace peer."""
		figures = {}
		for m in MEASURES:
			name = 'lwip_' + m.name
			if m.name in PEER_MEASURES and self.wanted(name) and (fig := self.attempt(name, self.compare, m, [lwip, strata, kernel])):
				figures[m.name] = fig
				fig['ratios'] = {'strata_to_lwip': self.ratio(fig, strata.name, lwip.name), 'strata_to_kernel': self.ratio(fig, strata.name, kernel.name),
					'lwip_to_kernel': self.ratio(fig, lwip.name, kernel.name)}
				print(f'{name}: ' + ', '.join(f'{s.name} {report.cell(fig, s.name)}' for s in (lwip, strata, kernel)), flush=True)
		return figures

	def note_offloads(self, *sides):
		self.offloads.update({s.name: offloads(s) for s in sides})


def peer_phase(b, args):
	"""lwIP beside Strata; ({}, reason) when it is left out."""
	if not any(b.wanted('lwip_' + n) for n in PEER_MEASURES):
		return {}, ''
	if not os.path.exists(os.path.join(args.build, 'tests/bench/lwip_peer')):
		return {}, 'skipped: built without liblwip-dev'
	with LwipSide('lwIP on a TAP', args.build) as lwip, StrataSide('Strata on a TAP', args, 'tap') as strata, KernelSide('kernel', args.build) as kernel:
		b.note_offloads(lwip, strata)
		figures = b.beside(lwip, strata, kernel)
		if figures:
			print('\n' + report.beside(MEASURES, figures, [lwip.name, strata.name, kernel.name]) + '\n')
		return figures, ''


def main():
	args = arguments(json={'metavar': 'FILE', 'help': 'write the figures there, too'}, pairs={'type': int, 'default': 5},
		seconds={'type': float, 'default': 2, 'help': 'of each run'}, self_test={'action': 'store_true', 'help': 'the kernel against itself'})
	if args.pairs < 1 or args.seconds <= 0:
		sys.exit('bench: --pairs and --seconds must be positive')
	names = [*(m.name for m in MEASURES), 'idle', *('lwip_' + n for n in PEER_MEASURES)]
	if not any(args.only in n for n in names):
		sys.exit(f"bench: --only {args.only}: there is {', '.join(names)}")
	signal.signal(signal.SIGALRM, lambda *_: sys.exit('bench: not finished in time'))
	signal.alarm(LIMIT + 60)
	b, before = Bench(args), os.getloadavg()
	peer, skipped = {}, ''
	driver = (args.driver or ['packet'])[0]
	first = KernelSide('kernel A', args.build, 'a') if args.self_test else StrataSide('Strata', args, driver)
	with first as ours, KernelSide('kernel', args.build) as kernel:
		b.note_offloads(ours, kernel)
		figures, ratios = b.against_kernel(ours, kernel)
		daemons = [layer for layer in LAYERS if layer in ours.daemons()]
	if ratios:
		print('\n' + report.against_kernel(MEASURES, figures, ratios, ours.name, kernel.name, not args.self_test) + '\n\n' +
			report.cpu_table(MEASURES, figures, daemons, ours.name, kernel.name) + '\n')
	if 'idle' in figures:
		print('Idle with {connections} connections open: {cpu_percent} % of a CPU, {daemon_wakeups_per_s} wake-ups of daemons a second.\n'
			.format(**figures['idle']))
	if not args.self_test:
		peer, skipped = b.attempt('lwip', peer_phase, b, args) or ({}, '')
		if skipped:
			print(f'lwIP: {skipped}\n')
	machine = report.machine(args, b.offloads, CONGESTION, (before, os.getloadavg()))
	print(report.machine_text(machine))
	if args.json:
		with open(args.json, 'w', encoding='utf-8') as f:
			json.dump({'ratios': ratios, 'figures': dict(figures, lwip=peer or skipped), 'machine': machine}, f, indent=1, ensure_ascii=False)
			f.write('\n')
	if b.failed:
		print('bench: could not be measured: ' + ', '.join(b.failed), file=sys.stderr)
	sys.exit(1 if b.failed else 0)


if __name__ == '__main__':
	try:
		main()
	except Failed as e:
		sys.exit(f'bench: {e}')
