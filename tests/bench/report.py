# report.py – bench.py's figures as Markdown tables, fit for the README, and what the machine is.
import os, platform, re, statistics

NUMBER = {'Gbit/s': '{:.2f}', 'µs': '{:.1f}', '1/s': '{:.0f}'}


def first(path, pattern, otherwise=''):
	with open(path, encoding='utf-8') as f:
		found = re.search(pattern, f.read(), re.M)
	return found.group(1).strip().strip('"') if found else otherwise


def machine(args, offloads, congestion, load):
	return {'cpu': first('/proc/cpuinfo', r'^model name\s*:(.*)', platform.machine()), 'cpus': os.cpu_count(),
		'virtual': bool(first('/proc/cpuinfo', r'^flags\s*:.*\b(hypervisor)\b')),
		'memory_gb': round(int(first('/proc/meminfo', r'^MemTotal:\s*(\d+)')) / 2 ** 20, 1),
		'system': first('/etc/os-release', r'^PRETTY_NAME=(.*)', 'Linux'), 'kernel': platform.release(), 'congestion': congestion,
		'offloads': offloads, 'load_before': load[0], 'load_after': load[1], 'pairs': args.pairs, 'seconds': args.seconds}


def machine_text(m):
	kind = 'virtual CPUs' if m['virtual'] else 'CPUs'
	text = (f'{m["cpus"]} {kind} ({m["cpu"]}), {m["memory_gb"]} GB, {m["system"]}, Linux {m["kernel"]}; {m["pairs"]} alternating pairs of '
		f'{m["seconds"]:g} s, medians; {m["congestion"]} on all sides; load average {m["load_before"][0]:.1f} before, '
		f'{m["load_after"][0]:.1f} after.')
	on = {side: ', '.join(n for n, v in o.items() if v) or 'nothing' for side, o in m['offloads'].items()}
	if max(m['load_before'][0], m['load_before'][1]) > 0.5 * m['cpus']:
		text += ' The machine was busy with other things before: these figures are not to be relied on.'
	return text + ' Switched on at the devices: ' + '; '.join(f'{side}: {what}' for side, what in on.items()) + '.'


def number(value, unit):
	return NUMBER[unit].format(value)


def cell(fig, side):
	text = number(fig[side], fig['unit']) + ' ' + fig['unit']
	if side + '_p99' in fig:
		text += f' (p99 {number(fig[side + "_p99"], fig["unit"])})'
	return text


def table(head, rows):
	return '\n'.join('| ' + ' | '.join(map(str, row)) + ' |' for row in [head, ['---'] * len(head), *rows])


def limit(measure):
	if measure.floor is None:
		return ''
	sign = '≤' if measure.less else '≥'
	return f'{sign} {measure.floor} ({sign} {measure.aim})'


def against_kernel(measures, figures, ratios, ours, theirs, judge):
	"""judge: with floors and aims."""
	rows = [[m.what, cell(figures[m.name], ours), cell(figures[m.name], theirs), f'{ratios[m.name]:.2f}',
		*([limit(m), m.verdict(ratios[m.name])] if judge else [])] for m in measures if m.name in ratios]
	return table(['', ours, theirs, f'{ours} : {theirs}', *(['floor (aim)', ''] if judge else [])], rows)


def cpu_table(measures, figures, daemons, ours, theirs):
	"""Milliseconds per GB, microseconds per request. "all": whatever the machine's CPUs did meanwhile, the peer included."""
	rows = []
	for m in measures:
		if m.name in figures:
			cpu, scale, unit = figures[m.name]['cpu'], *((1e3, 'ms per GB') if m.per == 'GB' else (1e6, 'µs per request'))
			rows.append([m.what, unit, *(f'{scale * cpu[ours][k]:.1f}' for k in [*daemons, 'program', 'machine']),
				*(f'{scale * cpu[theirs][k]:.1f}' for k in ('program', 'machine'))])
	return table(['CPU time', '', *daemons, 'program', 'all', f'{theirs}: program', f'{theirs}: all'], rows)


def beside(measures, figures, sides):
	"""sides: lwIP, Strata and the kernel; the last column says how Strata stands to lwIP."""
	rows = []
	for m in measures:
		if m.name in figures:
			fig = figures[m.name]
			rows.append([m.what, *(cell(fig, s) for s in sides), f'{fig["ratios"]["strata_to_lwip"]:.2f}'])
	return table(['', *sides, 'Strata : lwIP'], rows)


def median(values):
	return statistics.median(values)
