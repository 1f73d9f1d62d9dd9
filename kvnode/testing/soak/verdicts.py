"""The verdicts of a soak, with the bounds that they go by. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from kvnode.store.logged import LOG_BYTES, LONGEST

from .measure import Counts, Files, Process, Row
from .trend import Bound, Point, Verdict, judge, lows

MEMORY: Final = Bound(absolute=4096, share=0.05)
"""KiB of a node that runs throughout."""
STORE: Final = Bound(absolute=1024, share=0.05)
"""KiB of the file itself: free pages are used again."""
P50: Final = Bound(absolute=2.0, share=0.5)
P99: Final = Bound(absolute=20.0, share=0.5)
"""Milliseconds. Other work on the machine shows here first; see :func:`.trend.lows`."""
STORE_FACTOR: Final = 4.0
STORE_BASE_KIB: Final = 512.0
"""At rest a file has at most so many times the size of what is live, and so much besides."""
WAL_MOST_KIB: Final = 2 * (LONGEST * LOG_BYTES / 1024 + 1024)
"""The log of a store has two segments of this length; a commit more may be in each."""
EXPECTED: Final = frozenset({"unavailable", "timeout", "stopping", "closed"})
"""What calls on a node that is restarted may end with."""


@dataclass(slots=True)
class Rest:
    """All nodes when nothing happens any more, by name; and the errors that calls ended with until then."""

    processes: dict[str, Process] = field(default_factory=dict)
    files: dict[str, Files] = field(default_factory=dict)
    counts: dict[str, Counts] = field(default_factory=dict)
    errors: Counter[str] = field(default_factory=Counter)

    @property
    def is_whole(self) -> bool:
        """Whether all are linked with all, hold the same, and have forgotten all deletes."""
        names = frozenset(self.counts)
        linked = all(counts.linked == names - {name} for name, counts in self.counts.items())
        return linked and len({c.digest for c in self.counts.values()}) == 1 and not self.tombstones

    @property
    def tombstones(self) -> int:
        """Deletes that any node still remembers."""
        return sum(counts.tombstones for counts in self.counts.values())

    def uses_no_more_than(self, other: Rest, lasting: Sequence[str]) -> bool:
        """Whether the lasting nodes have as few descriptors and threads open as in `other`."""
        return all(_open(self, name) <= _open(other, name) for name in lasting)


def _open(rest: Rest, name: str) -> tuple[int, int]:
    process = rest.processes[name]
    return process.fds, process.threads


def verdicts_of(rows: Sequence[Row], before: Rest, after: Rest, lasting: Sequence[str]) -> list[Verdict]:
    """All verdicts; `lasting` names the nodes that ran throughout."""
    found: list[Verdict] = []
    for name in lasting:
        found += _trends(name, [row for row in rows if row.node == name])
        found += _open_files(name, before.processes[name], after.processes[name])
    for name in after.counts:
        found += _sizes(name, [row for row in rows if row.node == name], after)
    return [*found, _whole(after), _errors(after.errors)]


def _trends(name: str, rows: Sequence[Row]) -> list[Verdict]:
    def points(value: Callable[[Row], float]) -> list[Point]:
        return [(row.at_s, value(row)) for row in rows if row.calls]

    return [
        judge(name, "memory", "KiB", points(lambda row: row.rss_kib), MEMORY),
        judge(name, "store", "KiB", points(lambda row: row.db_kib), STORE),
        judge(name, "p50", "ms", lows(points(lambda row: row.p50_ms)), P50),
        judge(name, "p99", "ms", lows(points(lambda row: row.p99_ms)), P99),
    ]


def _open_files(name: str, before: Process, after: Process) -> list[Verdict]:
    return [
        Verdict(name, what, now <= then, f"{then} at rest before, {now} after")
        for what, then, now in (
            ("descriptors", before.fds, after.fds),
            ("threads", before.threads, after.threads),
        )
    ]


def _sizes(name: str, rows: Sequence[Row], after: Rest) -> list[Verdict]:
    live_kib, db_kib = after.counts[name].live_kib, after.files[name].db_kib
    most_kib = STORE_FACTOR * live_kib + STORE_BASE_KIB
    wal_kib = max((row.wal_kib for row in rows), default=0)
    return [
        Verdict(name, "file", db_kib <= most_kib, f"{db_kib} KiB for {live_kib:.0f} KiB live (at most {most_kib:.0f})"),
        Verdict(name, "log", wal_kib <= WAL_MOST_KIB, f"{wal_kib} KiB at most (at most {WAL_MOST_KIB:.0f})"),
    ]


def _whole(after: Rest) -> Verdict:
    states = [
        f"{name}: {counts.entries} entries, {counts.tombstones} tombstones, {counts.incarnations} incarnations, "
        f"{len(counts.linked)} links, hash {counts.digest}"
        for name, counts in after.counts.items()
    ]
    return Verdict("all", "at rest", after.is_whole, "; ".join(states))


def _errors(errors: Mapping[str, int]) -> Verdict:
    text = ", ".join(f"{code} {number}" for code, number in sorted(errors.items())) or "none"
    return Verdict("all", "errors", errors.keys() <= EXPECTED, text)
