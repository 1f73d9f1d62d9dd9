"""A look at every row of a SQLite store: what is sound, what is damaged, what is missing."""

from __future__ import annotations

import sqlite3
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import reduce
from operator import lt, xor
from typing import Any, Final

import msgspec

from kvnode.core.ticks import Incarnation, Ticks

from .checks import Tally, all_sound
from .mark import LOG_KEY, Mark
from .sqlite_errors import Damage
from .tables import (
    ALL,
    DOUBTS_KEY,
    HISTORY,
    KNOWN,
    META,
    QUARANTINE,
    ROWS,
    TALLY_KEY,
    RawRow,
    Table,
    key_number,
    text_of_key,
)

MAX_DOUBTS: Final = 100
"""So many doubts are told one by one; the others are counted."""
_PREFIX: Final = "*** in database main *** "
_CHECK_LINES: Final = 3
"""So many complaints of SQLite itself are told."""
_AT_ONCE: Final = 500
"""So many rows are looked at together."""

Rows = tuple[Sequence[bytes], Sequence[bytes]]
"""Keys, and the records beside them."""

_decode_bounds: Final = msgspec.msgpack.Decoder(list[int]).decode
decode_lines: Final = msgspec.msgpack.Decoder(list[str]).decode
encode_plain: Final = msgspec.msgpack.Encoder().encode


def encode_ticks(ticks: Ticks) -> bytes:
    """The record of known ticks."""
    return encode_plain(ticks.bounds)


class Doubts:
    """Lines of doubt, at most MAX_DOUBTS and one with the number of the others."""

    def __init__(self, where: str) -> None:
        self._where: Final = where
        self._lines: list[str] = []
        self._more = 0

    def add(self, what: str) -> None:
        """One more doubt, of this store."""
        self.add_line(f"{self._where}: {what}")

    def add_line(self, line: str) -> None:
        """One more doubt, as a whole line."""
        if len(self._lines) < MAX_DOUBTS:
            self._lines.append(line)
        else:
            self._more += 1

    @property
    def lines(self) -> tuple[str, ...]:
        """All that was added."""
        if self._more:
            return (*self._lines, f"{self._where}: and {self._more} more like these")
        return tuple(self._lines)


@dataclass(slots=True)
class Found:
    """What the store `where` holds. `tally` counts what is sound; `damaged` are the keys, per table, of what is not,
    `told` the doubts that an earlier load told and no commit has answered, `missing` what the tally shows, `mark` how
    its log goes on, `rows` the sound entries if they were to be kept.
    """

    where: str
    tally: Tally = field(default_factory=Tally)
    damaged: list[tuple[Table, bytes]] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    mark: Mark | None = None
    rows: deque[Rows] | None = None
    known: dict[Incarnation, Ticks] = field(default_factory=dict)
    meta: dict[str, bytes] = field(default_factory=dict)
    quarantine: dict[int, bytes] = field(default_factory=dict)

    @property
    def damaged_rows(self) -> frozenset[bytes]:
        """The damaged keys of the table `rows`."""
        return frozenset(key for table, key in self.damaged if table is ROWS)

    @property
    def doubts(self) -> tuple[str, ...]:
        """Why the store may not be complete, a line each."""
        doubts = Doubts(self.where)
        for table, key in self.damaged:
            doubts.add(f"{name_of_row(table, key)} is damaged (wrong checksum) and left out")
        for line in self.told:
            doubts.add_line(line)
        for what in self.missing:
            doubts.add(what)
        return doubts.lines


def inspect(db: sqlite3.Connection, where: str, tables: Sequence[Table] = ALL, *, keep_bytes: int = 0) -> Found:
    """Look at every row. The entries are kept, to be given without a second look, if they take no more than
    `keep_bytes`. Raises :class:`Damage` or sqlite3's errors if the file as a whole is unsound.
    """
    _check_file(db)
    found = Found(where)
    stored: Tally | None = None
    seen = Tally()
    for table in tables:
        if table in (ROWS, HISTORY):
            _look_at_many(db, table, found, seen, keep_bytes if table is ROWS else 0)
        else:
            stored = _look_at_few(db, table, found, seen) or stored
    _compare(found, stored, seen)
    return found


def _look_at_few(db: sqlite3.Connection, table: Table, found: Found, seen: Tally) -> Tally | None:
    """A table that is small, all of which is kept in `found`. Gives the tally if it is there."""
    stored: Tally | None = None
    last: bytes | None = None
    for row in table.read(db):
        last = key = _sound_key(table, row, last)
        if table is META and key == TALLY_KEY:
            stored = _read_tally(row)
            continue
        seen.add(table.name, row[2] if type(row[2]) is int else 0)
        if table.is_sound(row) and _take(found, table, key, row):
            found.tally.add(table.name, row[2])
        else:
            found.damaged.append((table, key))
    return stored


def _look_at_many(db: sqlite3.Connection, table: Table, found: Found, seen: Tally, keep_bytes: int) -> None:
    """A table with BLOB keys and, it may be, a great many rows: a quarter of the time that a start takes goes here. So
    many are looked at together, and each by itself only where that shows something.
    """
    kept = deque[Rows]()
    last: bytes | None = None
    cursor = table.read(db)
    while rows := cursor.fetchmany(_AT_ONCE):
        keys: Sequence[bytes]
        records: Sequence[bytes]
        keys, records, sums = zip(*rows, strict=True)
        if _are_in_order(keys, records, sums, last) and all_sound(table.name, rows):
            for tally in (seen, found.tally):
                tally.counts[table.name] += len(keys)
                tally.sums[table.name] ^= reduce(xor, sums)
        else:
            keys, records = _sort_out(table, rows, found, seen, last)
        last = bytes(rows[-1][0])
        if keep_bytes > 0:
            keep_bytes -= sum(map(len, keys)) + sum(map(len, records))
            kept.append((keys, records))
    found.rows = kept if keep_bytes > 0 else found.rows


def _are_in_order(keys: Sequence[Any], records: Sequence[Any], sums: Sequence[Any], last: bytes | None) -> bool:
    """Whether all is of the type that it was written with, and the keys ascend, behind the key `last`."""
    if not ({*map(type, keys), *map(type, records)} == {bytes} and {*map(type, sums)} == {int}):
        return False
    return all(map(lt, keys, keys[1:])) and (last is None or last < keys[0])


def _sort_out(
    table: Table, rows: Sequence[RawRow], found: Found, seen: Tally, last: bytes | None
) -> tuple[list[bytes], list[bytes]]:
    """Keys and records of the sound ones of these rows; the others are noted. Raises :class:`Damage`."""
    sound: tuple[list[bytes], list[bytes]] = ([], [])
    for row in rows:
        last = key = _sound_key(table, row, last)
        checksum = row[2] if type(row[2]) is int else 0
        seen.add(table.name, checksum)
        if table.is_sound(row):
            found.tally.add(table.name, checksum)
            sound[0].append(key)
            sound[1].append(row[1])
        else:
            found.damaged.append((table, key))
    return sound


def _check_file(db: sqlite3.Connection) -> None:
    lines = [bytes(line).decode(errors="replace") for (line,) in db.execute(f"PRAGMA quick_check({_CHECK_LINES})")]
    if lines != ["ok"]:
        raise Damage("; ".join(" ".join(line.split()).removeprefix(_PREFIX) for line in lines))


def _sound_key(table: Table, row: RawRow, last: bytes | None) -> bytes:
    """The key as bytes. One of another type, or out of order, cannot be found again, not even to be deleted."""
    if not table.has_sound_key(row):
        raise Damage(f"a key in the table {table.name} has the wrong type")
    key = bytes(row[0])
    if last is not None and key <= last:
        raise Damage(f"keys in the table {table.name} are out of order")
    return key


def _read_tally(row: RawRow) -> Tally | None:
    try:
        return Tally.decode(row[1]) if META.is_sound(row) else None
    except ValueError:
        return None


def _take(found: Found, table: Table, key: bytes, row: RawRow) -> bool:
    """Keep a sound row of a small table. False if it cannot be read after all."""
    try:
        if table is KNOWN:
            found.known[key.decode()] = Ticks.checked(_decode_bounds(row[1]))
        elif table is QUARANTINE:
            found.quarantine[key_number(key)] = row[1]
        elif key == DOUBTS_KEY:
            found.told += decode_lines(row[1])
        elif key == LOG_KEY:
            found.mark = Mark.decode(row[1])
        else:
            found.meta[key.decode()] = row[1]
    except ValueError:
        return False
    return True


def _compare(found: Found, stored: Tally | None, seen: Tally) -> None:
    if stored is None:
        found.missing.append("the tally of its rows is missing or damaged, so rows may be missing")
        return
    for table in ALL:
        was, now = stored.counts[table.name], seen.counts[table.name]
        if now < was:
            found.missing.append(f"{was - now} of {was} {table.what} are missing")
        elif now > was:
            found.missing.append(f"{now} {table.what} are there, {was} were stored")
        elif seen.sums[table.name] != stored.sums[table.name] and not any(t is table for t, _ in found.damaged):
            found.missing.append(f"some of {was} {table.what} are not what was stored last")


def name_of_row(table: Table, key: bytes) -> str:
    """What a row is about, for people."""
    if table is QUARANTINE:
        return f"the version {int.from_bytes(key)} that was set aside"
    if table is not ROWS:
        return f"the row {key.decode(errors='replace')!r} of the table {table.name}"
    return f"the entry {text_of_key(key)}"
