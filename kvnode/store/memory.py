"""The store in memory: for tests, the simulator, and nodes that shall forget.

A :class:`MemoryDisk` is what survives a process, a :class:`MemoryStore` what a process makes of it. So a test can
close or crash the one, open another on the same disk, put a backup back or clone it, and break things on purpose.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import BinaryIO, Final, TypeVar

from kvnode.core.effects import Loaded, Persist
from kvnode.core.history import Past, parts_of, row_key
from kvnode.core.ticks import Incarnation, Ticks

from . import files
from .base import Batch, StoreError, StoreLocked
from .checks import Tally
from .inspection import encode_plain
from .sqlite import put_batch
from .sqlite_errors import reported
from .tables import DOUBTS_KEY, META

K = TypeVar("K")
V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A backup: what a disk held at one moment. Put it back with :meth:`MemoryDisk.restore`."""

    rows: Mapping[bytes, bytes] = field(default_factory=dict)
    known: Mapping[Incarnation, Ticks] = field(default_factory=dict)
    meta: Mapping[str, bytes] = field(default_factory=dict)
    doubts: tuple[str, ...] = ()
    quarantine: Mapping[int, bytes] = field(default_factory=dict)
    past: Mapping[bytes, Mapping[bytes, bytes]] = field(default_factory=dict)


class MemoryDisk:
    """What is durable. `failure`, while set, is raised by every commit, which then stores nothing."""

    def __init__(self, snapshot: Snapshot | None = None, *, name: str = "memory") -> None:
        self.name: Final = name
        self.rows: dict[bytes, bytes] = {}
        self.known: dict[Incarnation, Ticks] = {}
        self.meta: dict[str, bytes] = {}
        self.quarantine: dict[int, bytes] = {}
        self.past: dict[bytes, dict[bytes, bytes]] = {}
        self.doubts: list[str] = []
        self.failure: StoreError | None = None
        self.in_use = False
        if snapshot is not None:
            self.restore(snapshot)

    def snapshot(self) -> Snapshot:
        """A backup of what is durable now."""
        past = {key: dict(rows) for key, rows in self.past.items()}
        doubts = tuple(self.doubts)
        return Snapshot(dict(self.rows), dict(self.known), dict(self.meta), doubts, dict(self.quarantine), past)

    def restore(self, snapshot: Snapshot) -> None:
        """Put a backup back, over whatever is there."""
        self.rows = dict(snapshot.rows)
        self.known = dict(snapshot.known)
        self.meta = dict(snapshot.meta)
        self.doubts = list(snapshot.doubts)
        self.quarantine = dict(snapshot.quarantine)
        self.past = {key: dict(rows) for key, rows in snapshot.past.items()}

    def damage_row(self, key: bytes) -> None:
        """A record turned out to be damaged: it is lost, and the store says so."""
        del self.rows[key]
        self.doubts.append(f"{self.name}: the record with the key {key.hex()} is damaged; left out")

    def damage_known(self, inc: Incarnation) -> None:
        """The known ticks of an incarnation turned out to be damaged: they are lost, and the store says so."""
        del self.known[inc]
        self.doubts.append(f"{self.name}: the known ticks of {inc} are damaged; left out")

    def apply(self, batches: Sequence[Persist]) -> None:
        """Store all of it, or raise `failure` and store nothing."""
        if self.failure is not None:
            raise self.failure
        batch = Batch(batches)
        if not batch:
            return
        _update(self.rows, batch.rows)
        _update(self.known, batch.known)
        _update(self.quarantine, batch.quarantine)
        self.meta.update(batch.meta)
        for past in batch.past:
            self._keep(past)
        self.doubts.clear()

    def _keep(self, past: Past) -> None:
        rows = self.past.setdefault(past.path_key, {})
        rows[past.place] = past.record
        for place in sorted(rows)[: -past.versions]:
            del rows[place]
        for place in [place for place in rows if place < past.oldest]:
            del rows[place]


def _update(into: dict[K, V], changes: Mapping[K, V | None]) -> None:
    for key, value in changes.items():
        if value is None:
            into.pop(key, None)
        else:
            into[key] = value


class MemoryStore:
    """A :class:`~kvnode.store.base.Store` on a :class:`MemoryDisk`.

    Beside :meth:`commit`, which is durable at once, there are :meth:`stage` and :meth:`sync` for whoever plays the
    disk's part: what is staged is lost in a :meth:`crash`.
    """

    blocking = False

    def __init__(self, disk: MemoryDisk | None = None) -> None:
        self.disk: Final = disk if disk is not None else MemoryDisk()
        self._staged: list[Persist] = []
        self._open = False

    def load(self) -> Loaded:
        """See :meth:`Store.load`."""
        disk = self.disk
        if not self._open:
            if disk.in_use:
                raise StoreLocked(disk.name, os.getpid())
            disk.in_use = self._open = True
        found = disk.snapshot()
        return Loaded(sorted(found.rows.items()), found.known, found.meta, found.doubts, found.quarantine)

    def commit(self, batches: Sequence[Persist], *, dense: bool = False) -> None:
        """See :meth:`Store.commit`. What was staged before goes first."""
        self._check_open()
        self.disk.apply([*self._staged, *batches])
        self._staged.clear()

    def is_brief(self, batches: Sequence[Persist]) -> bool:
        """See :meth:`Store.is_brief`."""
        return True

    def backup(self) -> BinaryIO:
        """See :meth:`Store.backup`."""
        import tempfile  # with all that it imports, only for who wants a backup

        self._check_open()
        with tempfile.TemporaryDirectory() as directory, reported(self.disk.name):
            return files.nameless(os.path.join(directory, "copy"), files.filled(self._fill))

    def _fill(self, db: sqlite3.Connection, tally: Tally) -> None:
        disk = self.disk
        past = [
            Past(key, place, record, len(rows)) for key, rows in disk.past.items() for place, record in rows.items()
        ]
        put_batch(db, tally, Batch([Persist(0, disk.rows, disk.known, disk.meta, disk.quarantine, past)]))
        if disk.doubts:
            META.put(db, tally, DOUBTS_KEY, encode_plain(disk.doubts))

    def read_back(self, low: bytes, limit: int) -> list[tuple[bytes, bytes | None]]:
        """See :meth:`Store.read_back`."""
        self._check_open()
        keys = sorted(key for key in self.disk.rows if key >= low)
        return [(key, self.disk.rows[key]) for key in keys[:limit]]

    def compact(self) -> tuple[int, int]:
        """See :meth:`Store.compact`. There is no file."""
        self._check_open()
        return 0, 0

    def past(self, low: bytes, high: bytes, limit: int) -> list[tuple[bytes, bytes]]:
        """See :meth:`Store.past`."""
        rows = ((row_key(key, at), record) for key, of in self.disk.past.items() for at, record in of.items())
        return sorted((row for row in rows if low <= row[0] < high), reverse=True)[:limit]

    def forget_past(self, keys: Sequence[bytes]) -> None:
        """See :meth:`Store.forget_past`."""
        if self.disk.failure is not None:
            raise self.disk.failure
        for key in keys:
            path_key, place = parts_of(key)
            self.disk.past.get(path_key, {}).pop(place, None)

    def stage(self, batch: Persist) -> None:
        """Take a transaction that is not durable yet."""
        self._check_open()
        self._staged.append(batch)

    @property
    def staged(self) -> int:
        """Transactions that a crash would lose."""
        return len(self._staged)

    def sync(self, count: int | None = None) -> int | None:
        """Make the first `count` staged transactions (None: all) durable; gives the token of the last one."""
        self._check_open()
        batches = self._staged[:count]
        if not batches:
            return None
        self.disk.apply(batches)
        del self._staged[: len(batches)]
        return batches[-1].token

    def crash(self, keep: int = 0) -> None:
        """The process dies: what is staged is lost, but for the first `keep`, which happened to be written."""
        self.sync(keep)
        self.close()

    def close(self) -> None:
        """See :meth:`Store.close`. What is only staged is lost."""
        self._staged.clear()
        if self._open:
            self._open = self.disk.in_use = False

    def _check_open(self) -> None:
        if not self._open:
            raise RuntimeError("load() opens the store; it comes before anything else")
