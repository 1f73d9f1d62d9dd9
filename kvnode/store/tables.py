"""The tables of the SQLite store, row by row: the only place with SQL on them.

TEXT is read as bytearray (``text_factory``): so a column whose type was damaged is told from a sound one, and text
that is not UTF-8 raises nothing.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from typing import Any, Final

from kvnode.core.path import Path, PathError

from .checks import Tally, row_sum
from .sqlite_errors import Damage

TALLY_KEY: Final = b"!tally"
DOUBTS_KEY: Final = b"!doubts"

RawRow = tuple[Any, Any, Any]

_AT_ONCE: Final = (1, 16, 256)
"""So many rows are looked up by one statement."""
_PUT_AT_ONCE: Final = 64
"""So many are put by one, if there are so many."""


class Table:
    """One table: its name, its two columns, whether its key is TEXT, and what its rows are, for people. `since` is the
    schema that brought it.
    """

    def __init__(self, name: str, key: str, record: str, what: str, *, text: bool, since: int = 1) -> None:
        param = "CAST(? AS TEXT)" if text else "?"
        self.name: Final = name
        self.what: Final = what
        self.since: Final = since
        self._key_type: Final = bytearray if text else bytes
        columns = f"SELECT {key}, {record}, sum FROM {name}"
        self._read: Final = f"{columns} ORDER BY {key}"
        self._keys: Final = f"SELECT {key} FROM {name} WHERE {key} >= {param} AND {key} < {param}"
        self._part: Final = f"{columns} WHERE {key} >= {param} AND {key} < {param} ORDER BY {key}"
        self._from: Final = f"{columns} WHERE {key} >= {param} ORDER BY {key} LIMIT ?"
        self._surplus: Final = f"{self._keys} ORDER BY {key} DESC LIMIT ? OFFSET ?"
        self._sums: Final = {
            count: f"SELECT {key}, sum FROM {name} WHERE {key} IN ({', '.join([param] * count)})" for count in _AT_ONCE
        }
        self._put: Final = f"INSERT OR REPLACE INTO {name} VALUES ({param}, ?, ?)"
        self._put_many: Final = self._put + f", ({param}, ?, ?)" * (_PUT_AT_ONCE - 1)
        self._delete: Final = f"DELETE FROM {name} WHERE {key} = {param}"

    def is_sound(self, row: RawRow) -> bool:
        """Whether a row as read is what was written."""
        key, record, checksum = row
        if not self.has_sound_key(row) or type(record) is not bytes or type(checksum) is not int:
            return False
        return row_sum(self.name, bytes(key), record) == checksum

    def has_sound_key(self, row: RawRow) -> bool:
        """Whether the key has the type that it was written with."""
        return type(row[0]) is self._key_type

    def read(self, db: sqlite3.Connection, *, down: bool = False) -> sqlite3.Cursor:
        """All rows as they are, ascending by key or (`down`) descending."""
        return db.execute(f"{self._read} DESC" if down else self._read)

    def reader(
        self, db: sqlite3.Connection, gap: tuple[bytes, bytes] | None, *, down: bool = False, limit: int = -1
    ) -> Iterator[RawRow]:
        """As :meth:`read`, but an error comes with the first row; `gap`: only keys from the first up to, not including,
        the second.
        """
        if gap is None:
            yield from self.read(db, down=down)
        else:
            yield from db.execute(f"{self._part} {'DESC' if down else 'ASC'} LIMIT {limit}", gap)

    def some(self, db: sqlite3.Connection, low: bytes, limit: int) -> list[RawRow]:
        """At most `limit` rows from the key `low` on, as they are, ascending by key."""
        return db.execute(self._from, (low, limit)).fetchall()

    def record(self, db: sqlite3.Connection, key: bytes) -> bytes | None:
        """The record with this key; None if there is none, or a damaged one."""
        row = next((row for row in self.some(db, key, 1) if bytes(row[0]) == key), None)
        return row[1] if row is not None and self.is_sound(row) else None

    def surplus(self, db: sqlite3.Connection, gap: tuple[bytes, bytes], keep: int, limit: int) -> list[bytes]:
        """The keys of a range but for the last `keep`, the last ones first, at most `limit`."""
        return [bytes(key) for (key,) in db.execute(self._surplus, (*gap, limit, keep))]

    def put(self, db: sqlite3.Connection, tally: Tally, key: bytes, record: bytes | None) -> None:
        """Set or (None) remove a row and keep the tally."""
        self.put_all(db, tally, ((key, record),))

    def put_all(self, db: sqlite3.Connection, tally: Tally, rows: Iterable[tuple[bytes, bytes | None]]) -> None:
        """Set or (None) remove rows, each key once, and keep the tally. Ascending keys are best: neighbours lie on one
        page.
        """
        rest = iter(rows)
        while some := list(islice(rest, _AT_ONCE[-1])):
            old = self._old_sums(db, [key for key, _ in some])
            for checksum in old.values():
                tally.remove(self.name, checksum)
            new = [(key, record, row_sum(self.name, key, record)) for key, record in some if record is not None]
            for _, _, checksum in new:
                tally.add(self.name, checksum)
            db.executemany(self._delete, [(key,) for key, record in some if record is None and key in old])
            self._insert(db, new)

    def _insert(self, db: sqlite3.Connection, rows: list[tuple[bytes, bytes, int]]) -> None:
        """Many with each statement: for every one the module lets other threads run, and waits to run again itself."""
        whole = len(rows) - len(rows) % _PUT_AT_ONCE
        for at in range(0, whole, _PUT_AT_ONCE):
            db.execute(self._put_many, list(chain.from_iterable(rows[at : at + _PUT_AT_ONCE])))
        db.executemany(self._put, rows[whole:])

    def _old_sums(self, db: sqlite3.Connection, keys: list[bytes]) -> dict[bytes, int]:
        """The checksums of those rows that are there."""
        count = next(count for count in _AT_ONCE if count >= len(keys))
        asked = keys + keys[-1:] * (count - len(keys))  # a few statements, which stay prepared
        found = {bytes(key): checksum for key, checksum in db.execute(self._sums[count], asked)}
        if not all(type(checksum) is int for checksum in found.values()):
            raise Damage(f"a checksum in the table {self.name} is no number")
        return found

    def delete(self, db: sqlite3.Connection, key: bytes) -> None:
        """Delete a row without a look at the tally."""
        db.execute(self._delete, (key,))


ROWS: Final = Table("rows", "key", "record", "entries", text=False)
KNOWN: Final = Table("known", "inc", "bounds", "sets of known ticks", text=True)
META: Final = Table("meta", "key", "value", "items of identity", text=True)
QUARANTINE: Final = Table("quarantine", "number", "record", "versions that were set aside", text=False, since=2)
HISTORY: Final = Table("history", "key", "record", "versions of the past", text=False, since=3)
ALL: Final = (ROWS, KNOWN, META, QUARANTINE, HISTORY)


def number_key(number: int) -> bytes:
    """The key of a row of the quarantine."""
    return number.to_bytes(8, "big")


def key_number(key: bytes) -> int:
    """The number that :func:`number_key` was given; ValueError for another key."""
    if len(key) != 8:
        raise ValueError(f"a number of {len(key)} bytes")
    return int.from_bytes(key, "big")


def text_of_key(key: bytes) -> str:
    """The path of a row of entries, as people write it; its bytes in hex if it is none."""
    try:
        return str(Path.from_key(key))
    except (PathError, ValueError):
        return key.hex()


def put_tally(db: sqlite3.Connection, tally: Tally) -> None:
    """Store the tally; its own row is not part of it."""
    data = tally.encode()
    checksum = row_sum("meta", TALLY_KEY, data)
    db.execute("INSERT OR REPLACE INTO meta VALUES (CAST(? AS TEXT), ?, ?)", (TALLY_KEY, data, checksum))
