"""What many runs covered: how much was simulated, which faults were thrown in, which rare branches were taken."""

from __future__ import annotations

from collections import Counter
from typing import Final

from kvnode.core.marks import ALL

from . import happened
from .clientsteps import STEPS
from .run import Report

_PER_HOUR_MS: Final = 3_600_000
LONG: Final = 1_000
"""So many seeds must take every rare branch."""


class Coverage:
    """The sum over reports."""

    def __init__(self) -> None:
        self.seeds = 0
        self.nodes = 0
        self.events = 0
        self.writes = 0
        self.virtual_ms = 0
        self.faults: Counter[str] = Counter()
        self.operations: Counter[str] = Counter()
        self.marks: Counter[str] = Counter()
        self.happened: Counter[str] = Counter()
        self.sizes: Counter[int] = Counter()

    def add(self, report: Report) -> None:
        """One more run."""
        self.seeds += 1
        self.nodes += len(report.plan.hosts)
        self.events += report.events
        self.writes += report.writes
        self.virtual_ms += report.virtual_ms
        self.faults.update(report.plan.faults)
        self.operations.update({kind: count for kind, count in report.steps.items() if kind in STEPS})
        self.marks.update(report.marks)
        self.happened.update(report.happened)
        self.sizes[len(report.plan.hosts)] += 1

    @property
    def missed(self) -> list[str]:
        """Marks that no run hit."""
        return sorted(ALL - self.marks.keys())

    @property
    def idle(self) -> list[str]:
        """What no fault did in any run."""
        return sorted(happened.ALL - self.happened.keys())

    def lines(self, spent_s: float) -> list[str]:
        """For people: totals, and what that is per hour of `spent_s` seconds."""
        rates = {
            "seeds": self.seeds,
            "simulated hours": round(self.virtual_ms / _PER_HOUR_MS),
            "node runs": self.nodes,
            "events": self.events,
            "operations": self.operations.total(),
            "faults": self.faults.total(),
        }
        per_hour = ", ".join(f"{value / max(spent_s, 0.001) * 3600:,.0f} {name}" for name, value in rates.items())
        return [
            f"{self.seeds} seeds, {self.virtual_ms / _PER_HOUR_MS:.1f} simulated hours, {self.events} events, "
            f"{self.writes} writes in {spent_s:.0f} s",
            f"per hour: {per_hour}",
            f"operations: {_counts(self.operations)}",
            f"nodes: {', '.join(f'{size} ({count})' for size, count in sorted(self.sizes.items()))}",
            f"faults: {_counts(self.faults)}",
            f"what they did: {_counts(self.happened)}",
            f"what they did not: {', '.join(self.idle) or 'none'}",
            f"marks: {_counts(self.marks)}",
            f"marks not hit: {', '.join(self.missed) or 'none'}",
        ]


def _counts(counter: Counter[str]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counter.most_common()) or "none"
