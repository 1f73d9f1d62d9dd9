"""The errors of one agent: one record per path, counted, resolved when the thing works again. Pure.

A record becomes an entry below ``@.errors``; see :meth:`ErrorRecord.value` for its form. An agent that restarts takes
over the records it finds there, so that what was left open is resolved once it works.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final, Self

from kvnode.core.path import Path

MAX_RECORDS: Final = 1000
"""An agent keeps no more records than this; what comes on top is logged only."""
MAX_MESSAGE_CHARS: Final = 500


class Failed(Exception):
    """Something does not work, for a reason worth telling: a stable `code` and a one-line message.

    Agents raise it (or subclasses) for what the outside world does to them; anything else is a bug and shown as such.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


@dataclass(frozen=True, slots=True)
class ErrorRecord:
    """What went wrong at a path, how often, when first and last; `resolved` is None while it is wrong."""

    agent: str
    path: Path
    code: str
    message: str
    count: int
    first: datetime
    last: datetime
    resolved: datetime | None = None

    def value(self) -> dict[str, Any]:
        """The record as the value of an entry."""
        return {
            "agent": self.agent,
            "path": self.path,
            "code": self.code,
            "message": self.message,
            "severity": "error",
            "count": self.count,
            "first": self.first,
            "last": self.last,
            "resolved": self.resolved,
        }

    @classmethod
    def from_value(cls, value: Any) -> Self | None:
        """Read what :meth:`value` wrote; None for anything else."""
        if not isinstance(value, dict):
            return None
        try:
            record = cls(
                agent=value["agent"],
                path=value["path"],
                code=value["code"],
                message=value["message"],
                count=value["count"],
                first=value["first"],
                last=value["last"],
                resolved=value.get("resolved"),
            )
        except KeyError:
            return None
        kinds = (str, Path, str, str, int, datetime, datetime)
        fields = (record.agent, record.path, record.code, record.message, record.count, record.first, record.last)
        fits = all(isinstance(field, kind) for field, kind in zip(fields, kinds, strict=True))
        return record if fits and isinstance(record.resolved, (datetime, type(None))) else None


class ErrorBook:
    """All records of one agent, and which of them are still to be written."""

    def __init__(self, agent: str) -> None:
        self.agent = agent
        self._records: dict[Path, ErrorRecord] = {}
        self._changed: dict[Path, None] = {}

    def __getitem__(self, path: Path) -> ErrorRecord:
        return self._records[path]

    def __contains__(self, path: object) -> bool:
        return path in self._records

    def open(self) -> list[ErrorRecord]:
        """What is wrong now."""
        return [record for record in self._records.values() if record.resolved is None]

    def paths(self) -> list[Path]:
        """All paths that have a record."""
        return list(self._records)

    def adopt(self, path: Path, value: Any) -> None:
        """Take over a record found in the tree, unless this run already has one for the path."""
        record = ErrorRecord.from_value(value)
        if record is None or record.path != path:
            self._changed[path] = None  # not ours to understand: it will be replaced or removed
        elif path not in self._records and len(self._records) < MAX_RECORDS:
            self._records[path] = record

    def fail(self, path: Path, code: str, message: str, now: datetime) -> bool:
        """Count a failure. True if it is news: the path worked before, or fails in another way."""
        message = message[:MAX_MESSAGE_CHARS]
        old = self._records.get(path)
        if old is None and len(self._records) >= MAX_RECORDS:
            return True
        if old is None:
            record = ErrorRecord(self.agent, path, code, message, 1, now, now)
        else:
            record = replace(old, code=code, message=message, count=old.count + 1, last=now, resolved=None)
        self._records[path] = record
        self._changed[path] = None
        return old is None or old.resolved is not None or old.code != code

    def works(self, path: Path, now: datetime) -> bool:
        """The thing at `path` works. True if that is news."""
        old = self._records.get(path)
        if old is None or old.resolved is not None:
            return False
        self._records[path] = replace(old, resolved=now)
        self._changed[path] = None
        return True

    def drop(self, path: Path) -> None:
        """There is no such thing any more: its record goes."""
        if self._records.pop(path, None) is not None:
            self._changed[path] = None

    def take_changed(self) -> Mapping[Path, dict[str, Any] | None]:
        """What is to be written since the last call: values, None for what is to be deleted."""
        changed, self._changed = self._changed, {}
        return {path: self._records[path].value() if path in self._records else None for path in changed}

    def not_written(self, paths: Mapping[Path, Any]) -> None:
        """Writing these failed: they will be taken again."""
        self._changed = dict.fromkeys(paths) | self._changed
