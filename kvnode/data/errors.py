"""Error records: what does not work, as entries below ``@.errors``. Pure; agents and nodes share it.

A *subsystem*, such as the agent ``onewire/attic`` or the node ``node/attic``, keeps one record per path it has trouble
with. The record counts, knows when the trouble was seen first and last, and is resolved by the subsystem itself once
the thing works again. Fails it later once more, the same record is opened again.

People do not write into records, for the next failure would overwrite what they wrote: an acknowledgement is an
entry of its own, at the same place below ``@.acknowledged``. It names the time at which the record was opened, so it
says nothing about what fails after that trouble was over. ::

    @.errors.onewire.attic.28:.67452301EF00         the record
    @.acknowledged.onewire.attic.28:.67452301EF00   {"opened": ..., "comment": "new cable is ordered", ...}
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from enum import IntEnum
from typing import Any, Final, Self

from kvnode.core.path import ROOT, Path

ERRORS: Final = Path(("@", "errors"))
ACKNOWLEDGED: Final = Path(("@", "acknowledged"))
MAX_RECORDS: Final = 1000
"""A subsystem keeps no more records than this: resolved ones make room, what comes on top of open ones is not kept."""
MAX_MESSAGE_CHARS: Final = 500


class Severity(IntEnum):
    """How bad it is; in entries the name stands in lower case."""

    INFO = 1
    """Worth knowing; nothing is lost by it."""
    WARNING = 2
    """It works, but not as it should."""
    ERROR = 3
    """Something does not work."""
    CRITICAL = 4
    """Data or equipment is in danger."""

    @classmethod
    def parse(cls, name: object) -> Severity | None:
        """The severity of that name; None if there is none."""
        return cls.__members__.get(name.upper()) if isinstance(name, str) and name.islower() else None

    def __str__(self) -> str:
        return self.name.lower()


@dataclass(frozen=True, slots=True)
class ErrorRecord:
    """What went wrong at a path, how often, when first and last.

    `opened` is when the present trouble began, or the last one; `resolved` when it ended, None while it lasts.
    """

    subsystem: str
    path: Path
    code: str
    message: str
    severity: Severity
    count: int
    first: datetime
    opened: datetime
    last: datetime
    resolved: datetime | None = None

    @property
    def is_open(self) -> bool:
        """Whether it is still wrong."""
        return self.resolved is None

    def value(self) -> dict[str, Any]:
        """The record as the value of an entry."""
        return {
            "subsystem": self.subsystem,
            "path": self.path,
            "code": self.code,
            "message": self.message,
            "severity": str(self.severity),
            "count": self.count,
            "first": self.first,
            "opened": self.opened,
            "last": self.last,
            "resolved": self.resolved,
        }

    @classmethod
    def from_value(cls, value: Any) -> Self | None:
        """Read what :meth:`value` wrote; None for anything else."""
        if not isinstance(value, dict):
            return None
        severity = Severity.parse(value.get("severity"))
        resolved = value.get("resolved")
        fits = all(isinstance(value.get(key), kind) for key, kind in _FIELDS.items())
        if severity is None or not fits or not isinstance(resolved, (datetime, type(None))):
            return None
        return cls(**{key: value[key] for key in _FIELDS}, severity=severity, resolved=resolved)


_FIELDS: Final = {
    "subsystem": str,
    "path": Path,
    "code": str,
    "message": str,
    "count": int,
    "first": datetime,
    "opened": datetime,
    "last": datetime,
}


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """Somebody knows of the trouble that was `opened` then."""

    opened: datetime
    comment: str
    author: str
    at: datetime

    def covers(self, record: ErrorRecord) -> bool:
        """Whether it is about what is wrong now."""
        return record.is_open and record.opened == self.opened

    def value(self) -> dict[str, Any]:
        """The acknowledgement as the value of an entry."""
        return {"opened": self.opened, "comment": self.comment, "author": self.author, "at": self.at}

    @classmethod
    def from_value(cls, value: Any) -> Self | None:
        """Read what :meth:`value` wrote; None for anything else."""
        kinds = {"opened": datetime, "comment": str, "author": str, "at": datetime}
        if not isinstance(value, dict) or not all(isinstance(value.get(key), kind) for key, kind in kinds.items()):
            return None
        return cls(**{key: value[key] for key in kinds})


def acknowledgement_of(place: Path) -> Path:
    """Where the acknowledgement of the record at `place` (below ``@.errors``) stands."""
    return ACKNOWLEDGED / place[len(ERRORS) :]


class ErrorBook:
    """All records of one subsystem, and which of them are still to be written.

    Its records stand below ``@.errors`` and the words of `subsystem`, each at its path taken below `root`.
    """

    def __init__(self, subsystem: Path, root: Path = ROOT) -> None:
        self.subsystem: Final = "/".join(map(str, subsystem))
        self.top: Final = ERRORS / subsystem
        self._root: Final = root
        self._records: dict[Path, ErrorRecord] = {}
        self._changed: dict[Path, None] = {}

    def __getitem__(self, path: Path) -> ErrorRecord:
        return self._records[path]

    def __contains__(self, path: object) -> bool:
        return path in self._records

    def place(self, path: Path) -> Path:
        """Where the record of `path`, which lies below the root, stands."""
        return self.top / path[len(self._root) :]

    def open(self) -> list[ErrorRecord]:
        """What is wrong now."""
        return [record for record in self._records.values() if record.is_open]

    def paths(self) -> list[Path]:
        """All paths that have a record."""
        return list(self._records)

    def adopt(self, place: Path, value: Any) -> None:
        """Take over a record found at `place`, as an earlier run left it, unless this run has one for its path."""
        path = self._root / place[len(self.top) :]
        record = ErrorRecord.from_value(value)
        if record is None or record.path != path:
            self._changed[path] = None  # not ours to understand: it will be replaced or removed
        elif path not in self._records and self._has_room():
            self._records[path] = record

    def fail(self, path: Path, code: str, message: str, now: datetime, severity: Severity = Severity.ERROR) -> bool:
        """Count a failure. True if it is news: the path worked before, or fails in another way."""
        message = message[:MAX_MESSAGE_CHARS]
        old = self._records.get(path)
        if old is None:
            if self._has_room():
                self._keep(ErrorRecord(self.subsystem, path, code, message, severity, 1, now, now, now))
            return True
        opened = old.opened if old.is_open else now
        self._keep(
            replace(
                old,
                code=code,
                message=message,
                severity=severity,
                count=old.count + 1,
                opened=opened,
                last=now,
                resolved=None,
            )
        )
        return not old.is_open or old.code != code

    def works(self, path: Path, now: datetime) -> bool:
        """The thing at `path` works. True if that is news."""
        old = self._records.get(path)
        if old is None or not old.is_open:
            return False
        self._keep(replace(old, resolved=now))
        return True

    def drop(self, path: Path) -> None:
        """There is no such thing any more: its record goes."""
        if self._records.pop(path, None) is not None:
            self._changed[path] = None

    def take_changed(self) -> Mapping[Path, dict[str, Any] | None]:
        """What is to be written since the last call, by path: values, None for what is to be deleted."""
        changed, self._changed = self._changed, {}
        return {path: self._records[path].value() if path in self._records else None for path in changed}

    def not_written(self, paths: Mapping[Path, Any]) -> None:
        """Writing these failed: they will be taken again."""
        self._changed = dict.fromkeys(paths) | self._changed

    def _keep(self, record: ErrorRecord) -> None:
        self._records[record.path] = record
        self._changed[record.path] = None

    def _has_room(self) -> bool:
        """Whether there is room for one more, if need be that of the record that was resolved longest ago."""
        if len(self._records) < MAX_RECORDS:
            return True
        resolved = [(r.resolved, path) for path, r in self._records.items() if r.resolved is not None]
        if not resolved:
            return False
        self.drop(min(resolved, key=lambda item: item[0])[1])
        return True
