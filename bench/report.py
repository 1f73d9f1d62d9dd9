"""Results as Markdown tables: values, ratios against kvnode, targets, CPU time."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence

from bench.compare import Results
from bench.stages import ROWS, Row
from bench.targets import TARGETS, Bound, Versus

_ROWS = {row.name: row for row in ROWS}


def table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def conditions(results: Results) -> str:
    """Under which the results came about."""
    return "\n".join(f"* {key}: {value}" for key, value in results.conditions.items())


def values(results: Results, systems: Sequence[str]) -> str:
    """Medians, with the lowest and highest of the rounds, and how many times as good kvnode is."""
    return table(
        ("measure", *systems),
        (
            (_title(row), *(_cell(results, row, system) for system in systems))
            for row in ROWS
            if any(results.samples(system, row.name) for system in systems)
        ),
    )


def _title(row: Row) -> str:
    return f"{row.title}, {row.unit}" if row.unit not in ("/s", "yes") else row.title + (" per s" * (row.unit == "/s"))


def _cell(results: Results, row: Row, system: str) -> str:
    found = [sample.value for sample in results.samples(system, row.name)]
    if not found:
        return "-"
    if row.unit == "yes":
        return "yes" if min(found) else "no" if not max(found) else "sometimes"
    text = number(statistics.median(found))
    if len(found) > 1:
        text += f" ({number(min(found))} to {number(max(found))})"
    times = None if system == "kvnode" else ratio(results, row, "kvnode", system)
    return text if times is None else f"{text}, {times:.2g}x"


def ratio(results: Results, row: Row, system: str, rival: str) -> float | None:
    """How many times as good as its rival a system is: the median of the ratios within each round."""
    found: list[float] = []
    for one in results.rounds:
        mine, other = one.get(system, {}).get(row.name), one.get(rival, {}).get(row.name)
        if mine is not None and other is not None and mine.value > 0 and other.value > 0:
            found.append(mine.value / other.value if row.more_is_better else other.value / mine.value)
    return statistics.median(found) if found else None


def targets(results: Results) -> str:
    """Each target of which there are measurements: what was reached, and whether that is enough."""
    rows = (_target(results, target) for target in TARGETS)
    return table(("measure", "target", "reached", "met"), filter(None, rows))


def _target(results: Results, target: Versus | Bound) -> tuple[str, str, str, str] | None:
    row = _ROWS[target.measure]
    if isinstance(target, Versus):
        value = ratio(results, row, target.system, target.rival)
        wanted = f"{target.system} {target.times:g}x as good as {target.rival}"
        return None if value is None else (row.title, wanted, f"{value:.2f}x", _met(value >= target.times))
    found = [sample.value for sample in results.samples("kvnode", row.name)]
    if not found:
        return None
    value = statistics.median(found)
    good = value >= target.value if row.more_is_better else value <= target.value
    unit = "" if row.unit == "yes" else row.unit
    wanted = f"at {'least' if row.more_is_better else 'most'} {number(target.value)} {unit}".rstrip()
    return row.title, wanted, f"{number(value)} {unit}".rstrip(), _met(good)


def _met(good: bool) -> str:
    return "yes" if good else "**no**"


def cpu(results: Results, systems: Sequence[str]) -> str:
    """CPU microseconds per operation: the client's, each server's, and the sum."""
    rows = []
    for row in ROWS:
        cells = [_cpu_cell(results, system, row.name) for system in systems]
        if any(cell != "-" for cell in cells):
            rows.append((row.title, *cells))
    return table(("CPU us per operation: client + servers = sum", *systems), rows)


def _cpu_cell(results: Results, system: str, measure: str) -> str:
    samples = [sample for sample in results.samples(system, measure) if sample.cpu_us]
    if not samples:
        return "-"
    names = list(samples[0].cpu_us)
    medians = [statistics.median(s.cpu_us[name] for s in samples) for name in names]
    servers = " ".join(number(value) for value in medians[1:])
    return f"{number(medians[0])} + {servers} = {number(sum(medians))}"


def number(value: float) -> str:
    """Three digits, or all before the point."""
    if abs(value) >= 999.5:
        return f"{value:,.0f}".replace(",", " ")
    return f"{value:.3g}"
