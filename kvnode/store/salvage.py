"""Read what can be read from a damaged SQLite store.

SQLite reads a table from one end until it meets a page that makes no sense. So each table is read from both ends, and
what lies between is split and tried again, a bounded number of times. Every row is checked: what comes out was
written by us. (Pages that no longer belong to a table are left alone on purpose: they hold older states, and what was
deleted must not come back.)
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from pathlib import PurePath
from typing import Final

from .checks import Tally
from .files import SALVAGED, filled, holds_nothing, next_number, replace
from .inspection import Doubts, decode_lines, encode_plain, name_of_row
from .sqlite_errors import CORRUPT, FAILURES, Failure, code_of, is_damage
from .tables import ALL, DOUBTS_KEY, META, TALLY_KEY, RawRow, Table

_SPLITS: Final = 256
"""So often, per table, what cannot be read is split."""
_BYTES_PER_ROW: Final = 8
"""A row takes more than this; a table that goes on and on has pages that lead back."""
_HIGHEST: Final = b"\xff"
_CANTOPEN: Final = 14
_LOCAL: Final = frozenset({CORRUPT, 18})
"""SQLite's codes for a page or a row that makes no sense, while others may: 18 is a row too big."""

Gap = tuple[bytes, bytes]
"""Keys from the first up to, not including, the second."""
Tell = Callable[[Table, bytes], None]
"""Gets the table and key of a row that is damaged; the key is empty if it has none."""
Rows = Generator[RawRow, None, Gap | None]
"""Yields sound rows; gives the gap that could not be read, or None."""


def salvage(path: str, why: str) -> None:
    """Replace the store at `path` by a new one that holds what can be read; the old one is kept. The new one holds
    the doubts as well, until its first commit.
    """
    number = next_number(path, SALVAGED)
    doubts = Doubts(path)

    def fill(db: sqlite3.Connection, tally: Tally) -> None:
        _copy(path, db, tally, doubts)
        saved = ", ".join(f"{tally.counts[table.name]} {table.what}" for table in ALL)
        doubts.add(f"was damaged ({why}); saved {saved}; the damaged file is kept as {path}.damaged-{number}")
        META.put(db, tally, DOUBTS_KEY, encode_plain(doubts.lines))

    replace(path, SALVAGED, number, filled(fill))


def _copy(path: str, db: sqlite3.Connection, tally: Tally, doubts: Doubts) -> None:
    """Copy all sound rows; doubts that the old store held are kept too."""
    if holds_nothing(path):
        return

    def tell(table: Table, key: bytes) -> None:
        doubts.add(f"{name_of_row(table, key)} is damaged (wrong checksum) and left out")

    with contextlib.closing(_open_damaged(path)) as old:
        for table, key, record in readable(old, os.path.getsize(path), tell):
            if table is META and key == DOUBTS_KEY:
                _keep_doubts(record, doubts)
            else:
                table.put(db, tally, key, record)


def readable(db: sqlite3.Connection, file_bytes: int, tell: Tell) -> Iterator[tuple[Table, bytes, bytes]]:
    """The sound rows of a damaged store of this size, but the tally, as table, key and record. `tell` gets the damaged
    rows.
    """
    # Without this SQLite reads nothing of a file that is shorter than its header says.
    db.execute("PRAGMA writable_schema = ON")
    for table in ALL:
        for key, record, _ in _Reader(db, table, file_bytes, tell).rows():
            if not (table is META and key == TALLY_KEY):
                yield table, bytes(key), record


def _keep_doubts(record: bytes, doubts: Doubts) -> None:
    with contextlib.suppress(ValueError):
        for line in decode_lines(record):
            doubts.add_line(line)


def _open_damaged(path: str) -> sqlite3.Connection:
    """Read-only: the damaged file stays as it is."""
    db = sqlite3.connect(f"{PurePath(path).as_uri()}?mode=ro", uri=True, isolation_level=None)
    db.text_factory = bytearray
    return db


class _Reader:
    """Reads the sound rows of one damaged table."""

    def __init__(self, db: sqlite3.Connection, table: Table, file_bytes: int, tell: Tell) -> None:
        self._db: Final = db
        self._table: Final = table
        self._on_damaged: Final = tell
        self._left = file_bytes // _BYTES_PER_ROW
        self._told: set[bytes] = set()
        self._hopeless = False

    def rows(self) -> Generator[RawRow, None, None]:
        """All sound rows that can be read, each once."""
        gaps: deque[Gap] = deque()
        if gap := (yield from self._both(b"", _HIGHEST, whole=True)):
            gaps.append(gap)
        for _ in range(_SPLITS):
            if not gaps or self._hopeless:
                return
            low, high = gaps.popleft()
            middle = between(low, high)
            if middle is None:
                continue
            for part in ((low, middle), (middle, high)):
                if gap := (yield from self._both(*part)):
                    gaps.append(gap)

    def _both(self, low: bytes, high: bytes, *, whole: bool = False) -> Rows:
        """From the lower end, then the upper end. `whole`: all rows, not by a search, which a bad key would mislead."""
        gap: Gap = (low, high)
        for down in (False, True):
            cursor = self._table.reader(self._db, None if whole else gap, down=down)
            rest = yield from self._run(cursor, gap, down=down)
            if rest is None:
                return None
            gap = rest
            while not self._hopeless and (smaller := (yield from self._step(gap, down=down))):
                gap = smaller
        return gap

    def _run(self, rows: Iterable[RawRow], gap: Gap, *, down: bool) -> Rows:
        """One run, until the end or an error. Keys must move in its direction: pages may lead back."""
        try:
            for row in rows:
                self._left -= 1
                if self._left < 0:
                    self._hopeless = True
                    return gap
                if self._is_within(row, gap):
                    yield row
                    gap = _less(gap, row, down=down)
        except FAILURES as error:
            self._check(error)
            return gap
        return None

    def _step(self, gap: Gap, *, down: bool) -> Rows:
        """One row alone. The sqlite3 module reads one row ahead, so a run loses the last row before the error."""
        try:
            row = next(iter(self._table.reader(self._db, gap, down=down, limit=1)), None)
        except FAILURES as error:
            self._check(error)
            return None
        if row is None or not self._is_within(row, gap):
            return None
        yield row
        return _less(gap, row, down=down)

    def _is_within(self, row: RawRow, gap: Gap) -> bool:
        if not self._table.is_sound(row):
            self._tell(row)
            return False
        return gap[0] <= bytes(row[0]) < gap[1]

    def _check(self, error: Failure) -> None:
        """Raise what is no damage (the disk fails); note damage that concerns more than a page or a row."""
        if not is_damage(error) and code_of(error) != _CANTOPEN:
            raise error
        self._hopeless = self._hopeless or code_of(error) not in _LOCAL

    def _tell(self, row: RawRow) -> None:
        key = bytes(row[0]) if self._table.has_sound_key(row) else b""
        if key not in self._told:
            self._told.add(key)
            self._on_damaged(self._table, key)


def _less(gap: Gap, row: RawRow, *, down: bool) -> Gap:
    """The gap without what is now read."""
    key = bytes(row[0])
    return (gap[0], key) if down else (key + b"\0", gap[1])


def between(low: bytes, high: bytes) -> bytes | None:
    """A key in the middle of the two; None if there is none of about their length."""
    width = max(len(low), len(high)) + 1
    first = int.from_bytes(low.ljust(width, b"\0"), "big")
    middle = (first + int.from_bytes(high.ljust(width, b"\0"), "big")) // 2
    return middle.to_bytes(width, "big") if middle > first else None
