"""The store in one SQLite file, ``DIR/kv.sqlite``.

WAL with ``synchronous=FULL``: a commit is on disk when it returns. One process per file: a lock file names the
holder, and SQLite's exclusive mode keeps other programs out (it also needs no shared memory file, so that a store
opens on a full disk). At load every row is checked (inspection.py); a file that SQLite cannot make sense of is set
aside after what can be read was copied (salvage.py).

Nodes have a log in front of it (logged.py), to which it is the snapshot; alone it is a store of its own, too.

What shows neither in a checksum nor in the tally is the loss of whole transactions at the end, such as a log cut
short by a dying disk: the store is then an older state of itself, which is sound, and the peers fill it up.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import BinaryIO, Final

from kvnode.core.effects import Loaded, Persist
from kvnode.core.history import Past, row_key, rows_end
from kvnode.core.ticks import Incarnation, Ticks

from . import files
from .base import Batch, StoreDamaged, StoreError, StoreIOError, StoreTooNew
from .checks import Tally
from .inspection import Found, Rows, encode_ticks, inspect
from .lock import FileLock
from .mark import Mark
from .migrations import APPLICATION_ID, SCHEMA_VERSION, migrate, version_of
from .salvage import salvage
from .sqlite_errors import FAILURES, Damage, from_sqlite, is_damage, reported
from .tables import DOUBTS_KEY, HISTORY, KNOWN, META, QUARANTINE, ROWS, number_key, put_tally

FILE_NAME: Final = "kv.sqlite"
CHECKPOINT_PAGES: Final = 1000
"""After so many pages the log is written back to the file."""
WAL_KEPT_BYTES: Final = 16 << 20
"""A log that grew beyond this is cut back to it at the next checkpoint."""
PRUNED_AT_ONCE: Final = 100
"""So many rows of a path go off the record with one that comes."""
KEPT_BYTES: Final = 32 << 20
"""Entries that take no more than this are kept from the look at every row until they are asked for. Others are read
twice.
"""
BUSY_S: Final = 2.0
"""So long another program may hold the file before that is an error."""


class SqliteStore:
    """A :class:`~kvnode.store.base.Store` in the directory `directory`, which is made if need be.

    `max_bytes` bounds the file (not its log): a commit that needs more raises :class:`StoreFull`. `snapshot`: a log
    stands in front of it (see :mod:`.logged`); then it is written seldom and much at once, for which a rollback journal
    writes half of what SQLite's own log would.
    """

    blocking = True

    def __init__(
        self, directory: str | os.PathLike[str], *, max_bytes: int | None = None, snapshot: bool = False
    ) -> None:
        self.path: Final = os.path.join(os.path.abspath(os.fspath(directory)), FILE_NAME)
        self._journal: Final = "truncate" if snapshot else "wal"
        self._max_bytes: Final = max_bytes
        self._lock: Final = FileLock(self.path)
        self._db: sqlite3.Connection | None = None
        self._tally = Tally()
        self._repair: Found | None = None
        self._reading: sqlite3.Cursor | None = None
        self._epoch = 0
        self.mark: Mark | None = None
        """How the log in front of the file goes on from it; None if there never was one."""

    # -- opening ---------------------------------------------------------------------------------------------

    def load(self) -> Loaded:
        """See :meth:`Store.load`."""
        with reported(self.path):
            if self._db is not None:
                return self._loaded(self._db, inspect(self._db, self.path, keep_bytes=KEPT_BYTES))
            try:
                self._prepare()
                db, found = self._open()
                return self._loaded(db, found)
            except BaseException:
                self.close()
                raise

    def _prepare(self) -> None:
        """The lock, and a complete file at the path."""
        files.ensure_directory(os.path.dirname(self.path))
        self._lock.acquire()
        files.finish_swaps(self.path)
        if files.holds_nothing(self.path) and files.has_side_files(self.path):
            salvage(self.path, "the file is gone or cut short, its log is there")
        elif os.path.exists(self.path):
            files.make_private(self.path)
            files.check_access(self.path)
        else:
            files.create(self.path, lambda db, tally: None)

    def _open(self) -> tuple[sqlite3.Connection, Found]:
        """Connect and look at everything; a file that is unsound as a whole is salvaged, once."""
        try:
            return self._connect_and_inspect()
        except Damage as damage:
            why = str(damage)
        except FAILURES as error:
            if not is_damage(error):
                raise
            why = str(error)
        self._disconnect()
        salvage(self.path, why)
        try:
            return self._connect_and_inspect()
        except Damage as damage:
            raise StoreDamaged(self.path, f"again, right after it was made new: {damage}") from damage

    def _connect_and_inspect(self) -> tuple[sqlite3.Connection, Found]:
        self._db = db = _connect(self.path)
        check_identity(db, self.path)
        journal = bytes(db.execute(f"PRAGMA journal_mode = {self._journal}").fetchone()[0]).decode()
        if journal != self._journal:
            raise StoreIOError(self.path, f"this file system takes no journal {self._journal!r}, only {journal!r}")
        db.execute("PRAGMA synchronous = FULL")
        db.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
        db.execute(f"PRAGMA journal_size_limit = {WAL_KEPT_BYTES}")
        if self._max_bytes is not None:
            db.execute(f"PRAGMA max_page_count = {self._max_bytes // files.PAGE_BYTES}")
        migrate(db)
        return db, inspect(db, self.path, keep_bytes=KEPT_BYTES)

    def _loaded(self, db: sqlite3.Connection, found: Found) -> Loaded:
        self._tally = found.tally
        self._repair = found if found.doubts else None
        self.mark = found.mark
        if self._journal == "wal" and self.mark is not None and self.mark.live:
            raise StoreError(self.path, "is not whole without its log", "open it as a LoggedStore")
        self.stop_reading()
        kept, found.rows = found.rows, None
        rows = self._rows(db, found.damaged_rows, self._epoch) if kept is None else self._kept(kept, self._epoch)
        return Loaded(rows, found.known, found.meta, found.doubts, found.quarantine)

    def _rows(self, db: sqlite3.Connection, damaged: frozenset[bytes], epoch: int) -> Iterator[tuple[bytes, bytes]]:
        """The sound rows, read as they are asked for."""
        with reported(self.path):
            self._check_epoch(epoch)
            self._reading = cursor = ROWS.read(db)
            for key, record, _ in cursor:
                if key not in damaged:
                    yield key, record
                    self._check_epoch(epoch)

    def _kept(self, kept: deque[Rows], epoch: int) -> Iterator[tuple[bytes, bytes]]:
        """The sound rows, which were kept; they are let go as they are given."""
        self._check_epoch(epoch)
        while kept:
            for row in zip(*kept.popleft(), strict=True):
                yield row
                if epoch != self._epoch:
                    self._check_epoch(epoch)

    def _check_epoch(self, epoch: int) -> None:
        if epoch != self._epoch:
            raise RuntimeError("the rows of a load are read before the next load or commit")

    def stop_reading(self) -> None:
        """Rows of a load cannot be read any further."""
        self._epoch += 1
        if self._reading is not None:
            self._reading.close()
            self._reading = None

    # -- writing ---------------------------------------------------------------------------------------------

    def commit(self, batches: Sequence[Persist], *, dense: bool = False) -> None:
        """See :meth:`Store.commit`."""
        self._opened()
        self.stop_reading()
        batch = Batch(batches)
        if batch:
            self.write(lambda db, tally: put_batch(db, tally, batch))

    def is_brief(self, batches: Sequence[Persist]) -> bool:
        """See :meth:`Store.is_brief`. At times SQLite writes its log back, too."""
        return False

    @property
    def is_in_doubt(self) -> bool:
        """Whether doubts were told that no transaction has answered yet."""
        return self._repair is not None

    def write(self, put: files.Fill) -> None:
        """What `put` does, in one transaction, durable when it returns. Raises as :meth:`commit` does."""
        db = self._opened()
        self.stop_reading()
        try:
            db.execute("BEGIN IMMEDIATE")
            tally = self._tally.copy()
            if self._repair is not None:
                _remove_damaged(db, tally, self._repair)
            put(db, tally)
            put_tally(db, tally)
            db.execute("COMMIT")
        except BaseException as error:
            self._give_up(db)
            if isinstance(error, FAILURES):
                raise from_sqlite(self.path, error) from error
            if isinstance(error, Damage):
                raise StoreDamaged(self.path, str(error)) from error
            raise
        self._tally = tally
        self._repair = None

    def _give_up(self, db: sqlite3.Connection) -> None:
        """Undo. Where SQLite already did, there is nothing to do; where it cannot, the next commit fails too."""
        if db.in_transaction:
            with contextlib.suppress(*FAILURES):
                db.execute("ROLLBACK")

    # -- the past --------------------------------------------------------------------------------------------

    def past(self, low: bytes, high: bytes, limit: int) -> list[tuple[bytes, bytes]]:
        """See :meth:`Store.past`."""
        with reported(self.path):
            rows = list(HISTORY.reader(self._opened(), (low, high), down=True, limit=limit))
        return [(bytes(row[0]), row[1]) for row in rows if HISTORY.is_sound(row)]

    def forget_past(self, keys: Sequence[bytes]) -> None:
        """See :meth:`Store.forget_past`."""
        self.write(lambda db, tally: HISTORY.put_all(db, tally, [(key, None) for key in dict.fromkeys(keys)]))

    # -- upkeep ----------------------------------------------------------------------------------------------

    def backup(self, finish: files.Make | None = None) -> BinaryIO:
        """See :meth:`Store.backup`. The copy lies in the store's directory while it is read; `finish` completes it."""
        copy = files.copy_of(self._opened(), self.path)

        def make(db: sqlite3.Connection) -> None:
            copy(db)
            if finish is not None:
                finish(db)

        with reported(self.path):
            return files.nameless(f"{self.path}{files.BACKUP}", make)

    def read_back(self, low: bytes, limit: int) -> list[tuple[bytes, bytes | None]]:
        """See :meth:`Store.read_back`. What the system holds in its own cache it need not read from the disk."""
        db = self._opened()
        with reported(self.path):
            db.execute("PRAGMA shrink_memory")  # from the file, not from what SQLite remembers of it
            rows = ROWS.some(db, low, limit)
        return [(bytes(row[0]), row[1] if ROWS.is_sound(row) else None) for row in rows]

    def compact(self) -> tuple[int, int]:
        """See :meth:`Store.compact`. Needs room for a second copy on this disk, and one where temporary files go."""
        db = self._opened()
        self.stop_reading()
        before = self.size()
        with reported(self.path):
            db.execute("PRAGMA temp_store = FILE")  # or it would take memory for the whole store
            try:
                db.execute("VACUUM")
                db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            finally:
                db.execute("PRAGMA temp_store = MEMORY")
        return before, self.size()

    def size(self) -> int:
        """Bytes on disk, those of SQLite's own log included."""
        log = f"{self.path}-wal"
        return os.path.getsize(self.path) + (os.path.getsize(log) if os.path.exists(log) else 0)

    def _opened(self) -> sqlite3.Connection:
        if self._db is None:
            raise RuntimeError("load() opens the store; it comes before anything else")
        return self._db

    # -- closing ---------------------------------------------------------------------------------------------

    def close(self) -> None:
        """See :meth:`Store.close`."""
        self._disconnect()
        self._lock.release()

    def _disconnect(self) -> None:
        self.stop_reading()
        db, self._db = self._db, None
        if db is None:
            return
        with contextlib.suppress(*FAILURES):
            if self._journal != "wal":
                db.execute("PRAGMA journal_mode = DELETE")  # removes the empty file
        with contextlib.suppress(*FAILURES):
            db.close()  # writes SQLite's own log back, and removes it


def _connect(path: str) -> sqlite3.Connection:
    db = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
    db.text_factory = bytearray
    for pragma in ("locking_mode = EXCLUSIVE", "cell_size_check = ON", "trusted_schema = OFF", "temp_store = MEMORY"):
        db.execute(f"PRAGMA {pragma}")
    return db


def check_identity(db: sqlite3.Connection, path: str) -> None:
    """Raise :class:`StoreTooNew` for a later schema, :class:`Damage` for what is no store of ours."""
    if db.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
        raise Damage("it is not a store of kvnode")
    version = version_of(db)
    if version > SCHEMA_VERSION:
        raise StoreTooNew(path, version, SCHEMA_VERSION)
    if version < 1:
        raise Damage(f"its schema number is {version}")


def _remove_damaged(db: sqlite3.Connection, tally: Tally, found: Found) -> None:
    """Now that the replica has acted on the doubts: the damaged rows and the doubts go. `tally` never counted the
    damaged rows.
    """
    for table, key in found.damaged:
        table.delete(db, key)
    META.put(db, tally, DOUBTS_KEY, None)


def put_batch(db: sqlite3.Connection, tally: Tally, batch: Batch) -> None:
    """Carry a batch out, within a transaction of the caller's."""
    ROWS.put_all(db, tally, sorted(batch.rows.items()))
    put_small(db, tally, batch.known, batch.meta, batch.quarantine)
    put_past(db, tally, batch.past)


def put_small(
    db: sqlite3.Connection,
    tally: Tally,
    known: Mapping[Incarnation, Ticks | None],
    meta: Mapping[str, bytes],
    quarantine: Mapping[int, bytes | None],
) -> None:
    """All of a batch but its rows and the past."""
    KNOWN.put_all(db, tally, [(i.encode(), None if t is None else encode_ticks(t)) for i, t in known.items()])
    META.put_all(db, tally, [(name.encode(), value) for name, value in meta.items()])
    QUARANTINE.put_all(db, tally, [(number_key(number), record) for number, record in quarantine.items()])


def put_past(db: sqlite3.Connection, tally: Tally, past: Sequence[Past]) -> None:
    """Put these on record, in their order, and take off it what is more than is to be kept."""
    HISTORY.put_all(db, tally, sorted({item.key: item.record for item in past}.items()))
    for last in {item.path_key: item for item in past}.values():
        _prune(db, tally, last)


def _prune(db: sqlite3.Connection, tally: Tally, past: Past) -> None:
    """Take off the record what is more, or older, than what is kept of this path; a bounded number at a time."""
    first, end = row_key(past.path_key), rows_end(past.path_key)
    oldest = row_key(past.path_key, past.oldest)
    more = HISTORY.surplus(db, (first, end), past.versions, PRUNED_AT_ONCE)
    old = HISTORY.surplus(db, (first, oldest), 0, PRUNED_AT_ONCE)
    HISTORY.put_all(db, tally, [(key, None) for key in dict.fromkeys([*more, *old])])
