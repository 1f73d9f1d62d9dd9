"""What people must see: a bounded registry of reports, read by status, logs and health."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from kvnode.core.effects import Now, Report

MAX_REPORTS: Final = 1_000
"""Reports kept; of more, those not seen for longest are left out (their number is kept)."""

Listener = Callable[[Report, bool], None]
"""Gets each report, and whether it is news (the first of its kind and subject, or its end)."""


@dataclass(slots=True)
class Row:
    """A report that stands. `first` and `last` are wall clock in milliseconds since 1970 UTC."""

    kind: str
    subject: str
    text: str
    count: int
    first: int
    last: int


class Reports:
    """Reports by kind and subject. `dropped` counts those that had to make room."""

    def __init__(self, limit: int = MAX_REPORTS) -> None:
        self._limit: Final = limit
        self._rows: dict[tuple[str, str], Row] = {}
        self._listeners: list[Listener] = []
        self.dropped = 0

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[Row]:
        """The reports that stand, the one seen last at the end."""
        return iter(list(self._rows.values()))

    def get(self, kind: str, subject: str) -> Row | None:
        """One report, if it stands."""
        return self._rows.get((kind, subject))

    def listen(self, listener: Listener) -> None:
        """Call `listener` at every report, synchronously."""
        self._listeners.append(listener)

    def take(self, report: Report, now: Now) -> None:
        """Take note of a report, or of its end."""
        key = (report.kind, report.subject)
        row = self._rows.pop(key, None)
        if report.resolved:
            if row is not None:
                self._tell(report, True)
            return
        news = row is None
        if row is None:
            row = Row(report.kind, report.subject, report.text, 0, now.wall, now.wall)
        row.text, row.count, row.last = report.text, row.count + 1, now.wall
        self._rows[key] = row
        if len(self._rows) > self._limit:
            del self._rows[next(iter(self._rows))]
            self.dropped += 1
        self._tell(report, news)

    def _tell(self, report: Report, news: bool) -> None:
        for listener in self._listeners:
            listener(report, news)
