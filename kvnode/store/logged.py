"""The store that nodes use: a log in front of a snapshot, which is a SQLite store.

A commit is appended to the log and synced: one write, one fdatasync. When the log is long enough its segment is put
into the snapshot, in one transaction and on a thread of its own, while commits go on into the other segment. So a row
that changes often is written to the snapshot once in a while, a page of it once for many rows, and a commit does not
wait for either.

Some commits go to the snapshot at once, with everything that is pending, and begin the log anew: the first one of a
process, one that answers doubts, one that is too large for the log, and the one after a failure. So what the log does
not get written has one more way to the disk, and whatever was wrong with the log ends there.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import BinaryIO, Final

from kvnode.core.effects import Loaded, Persist

from .base import Batch, StoreError, size_of
from .checks import Tally
from .fold import fold
from .log import Log
from .mark import Mark
from .overlay import apply, live_rows, loaded_over, read_over
from .segments import STEP_BYTES
from .sqlite import SqliteStore
from .sqlite_errors import reported
from .tables import HISTORY

LOG_BYTES: Final = 8 << 20
"""A segment of the log is at least so long before it is put into the snapshot; see :func:`bound_of`."""
LONGEST: Final = 4
"""So many times LOG_BYTES is a segment at most."""
LOG_ROWS: Final = 1 << 17
"""A segment of so many rows is put into the snapshot, however short it is: they take memory."""
LARGE: Final = 4
"""So many times the bound of a segment is the largest commit that goes to the log."""
BRIEF_BYTES: Final = 1 << 16
"""Less than a millisecond of computing, at a microsecond a row."""

_NOTHING: Final = Batch([])


def bound_of(log_bytes: int, snapshot_bytes: int) -> int:
    """How long a segment becomes. One that is longer than the snapshot holds many changes for each page of it, even if
    they lie all over it, and the page is written once for all of them.
    """
    return min(max(log_bytes, 2 * snapshot_bytes), LONGEST * log_bytes)


class Drain(threading.Thread):
    """Puts a segment into the snapshot, on a thread of its own."""

    def __init__(self, do: Callable[[], None]) -> None:
        super().__init__(name="kvnode-drain")
        self._do: Final = do
        self.failed = False

    def run(self) -> None:
        """Of a failure no more is kept than that: it shows again where somebody waits for it."""
        try:
            self._do()
        except Exception:
            self.failed = True


class LoggedStore:
    """A :class:`~kvnode.store.base.Store` in the directory `directory`, which is made if need be.

    `max_bytes` bounds the snapshot and what waits to be put into it: a commit that needs more raises
    :class:`StoreFull`. `log_bytes` is the least length of a segment, `random_bytes` names logs.
    """

    blocking = True

    def __init__(
        self,
        directory: str | os.PathLike[str],
        *,
        max_bytes: int | None = None,
        log_bytes: int = LOG_BYTES,
        random_bytes: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self._snapshot: Final = SqliteStore(directory, max_bytes=max_bytes, snapshot=True)
        self.path: Final = self._snapshot.path
        self._max_bytes: Final = max_bytes
        self._log_bytes: Final = log_bytes
        self._bound = log_bytes
        self._random_bytes: Final = random_bytes
        self._log: Log | None = None
        self._live = False
        self._to_snapshot = True
        self._drain: Drain | None = None

    # -- opening ---------------------------------------------------------------------------------------------

    def load(self) -> Loaded:
        """See :meth:`Store.load`."""
        if self._log is not None:
            self._wait(self._log)
            return self._with_log(self._snapshot.load(), self._log)
        loaded = self._snapshot.load()
        try:
            with reported(self.path):
                mark = self._snapshot.mark
                self._log = Log(self.path, mark, damaged=self._snapshot.is_in_doubt)
        except BaseException:
            self._release()
            raise
        self._live = mark is not None and mark.live
        self._to_snapshot = not self._live
        self._bound = bound_of(self._log_bytes, self._snapshot.size())
        return self._with_log(loaded, self._log)

    def _with_log(self, loaded: Loaded, log: Log) -> Loaded:
        rows = self._rows(loaded.rows, log) if log.pending else loaded.rows
        whole = loaded_over(loaded, log.pending, rows)
        return replace(whole, doubts=(*loaded.doubts, *log.doubt_lines))

    def _rows(self, stored: Iterable[tuple[bytes, bytes]], log: Log) -> Iterator[tuple[bytes, bytes]]:
        with reported(self.path):
            yield from live_rows(stored, log.pending)

    def _opened(self) -> Log:
        if self._log is None:
            raise RuntimeError("load() opens the store; it comes before anything else")
        return self._log

    # -- writing ---------------------------------------------------------------------------------------------

    def commit(self, batches: Sequence[Persist], *, dense: bool = False) -> None:
        """See :meth:`Store.commit`. Takes as long as one write and sync, also while a segment is put into the
        snapshot, as long as the other one does not grow to twice its bound meanwhile.
        """
        log = self._opened()
        self._snapshot.stop_reading()
        batch = Batch(batches)
        if not batch:
            return
        with reported(self.path):
            self._take_turns(log)
            if self._fits(log, size_of([batch])):
                log.append(batch, dense=dense)
            else:
                self._settle(log, batch)

    def is_brief(self, batches: Sequence[Persist]) -> bool:
        """See :meth:`Store.is_brief`. While a segment is put into the snapshot, both want the disk and Python."""
        log = self._opened()
        if self._drain is not None or self._is_long(log):
            return False
        size = size_of(batches)
        return size <= BRIEF_BYTES and self._fits(log, size)

    def _fits(self, log: Log, size: int) -> bool:
        """Whether a commit of so many bytes may go to the log."""
        if not self._may_append(log):
            return False
        if self._max_bytes is not None and self._snapshot.size() + log.pending_bytes + size > self._max_bytes:
            return False
        return size <= LARGE * self._bound

    def _may_append(self, log: Log) -> bool:
        """Whether nothing asks for a commit that goes to the snapshot, and before anything else does."""
        return log.trusted and not self._to_snapshot and not self._is_in_doubt(log)

    def _is_in_doubt(self, log: Log) -> bool:
        return self._snapshot.is_in_doubt or bool(log.doubts)

    def _settle(self, log: Log, batch: Batch, *, forget: Sequence[bytes] = (), live: bool = True) -> None:
        """Put all that is pending and this batch into the snapshot, take these rows off the record of the past, and
        begin the log anew.
        """
        self._wait(log)
        self._to_snapshot = True  # until this has worked: the mark may be in the file even if it seems to fail
        mark = log.prepare(self._random_bytes)._replace(live=live)

        def put(db: sqlite3.Connection, tally: Tally) -> None:
            apply(db, tally, log.pending, batch, mark)
            HISTORY.put_all(db, tally, [(key, None) for key in dict.fromkeys(forget)])

        self._snapshot.write(put)
        log.begin_anew(self._kept_bytes())
        self._to_snapshot, self._live = not live, live
        self._bound = bound_of(self._log_bytes, self._snapshot.size())

    # -- taking turns ----------------------------------------------------------------------------------------

    def _take_turns(self, log: Log) -> None:
        """Have a segment that is long enough put into the snapshot, and the other one take its place."""
        if self._drain is not None and not self._drain.is_alive():
            self._wait(log)
        if not self._is_long(log):
            return
        if self._drain is not None and log.active_bytes >= 2 * self._bound:
            self._wait(log)
        if self._drain is None and self._may_append(log):
            self._begin_drain(log)

    def _is_long(self, log: Log) -> bool:
        """Whether the active segment is long enough to be put into the snapshot."""
        return log.active_bytes >= self._bound or log.active_rows >= LOG_ROWS

    def _begin_drain(self, log: Log) -> None:
        if not log.spare:
            log.turn()
        segment = log.spare
        mark = Mark(log.epoch, segment.last, live=True)
        self._drain = Drain(lambda: self._snapshot.write(partial(apply, segments=[segment], batch=_NOTHING, mark=mark)))
        self._drain.start()

    def _wait(self, log: Log) -> None:
        """Until no segment is being put into the snapshot. If that failed, the next commit does it."""
        drain, self._drain = self._drain, None
        if drain is None:
            return
        drain.join()
        if drain.failed:
            self._to_snapshot = True
            return
        log.spare.clear(self._kept_bytes())
        self._bound = bound_of(self._log_bytes, self._snapshot.size())

    def _kept_bytes(self) -> int:
        """A segment that is no longer keeps its room."""
        return max(2 * self._bound, STEP_BYTES)

    # -- the past --------------------------------------------------------------------------------------------

    def past(self, low: bytes, high: bytes, limit: int) -> list[tuple[bytes, bytes]]:
        """See :meth:`Store.past`."""
        log = self._opened()
        if any(segment.has_past for segment in log.pending):
            self._flush(log)
        self._wait(log)
        return self._snapshot.past(low, high, limit)

    def forget_past(self, keys: Sequence[bytes]) -> None:
        """See :meth:`Store.forget_past`."""
        log = self._opened()
        with reported(self.path):
            self._settle(log, _NOTHING, forget=keys)

    def _flush(self, log: Log) -> None:
        """Put all that is pending into the snapshot. While doubts are told nothing is: that would answer them."""
        if log.pending and not self._is_in_doubt(log):
            with reported(self.path):
                self._settle(log, _NOTHING)

    # -- upkeep ----------------------------------------------------------------------------------------------

    def backup(self) -> BinaryIO:
        """See :meth:`Store.backup`. The copy lies in the store's directory while it is read."""
        log = self._opened()
        self._wait(log)
        return self._snapshot.backup(lambda db: fold(db, log.pending, log.doubt_lines))

    def read_back(self, low: bytes, limit: int) -> list[tuple[bytes, bytes | None]]:
        """See :meth:`Store.read_back`. What the system holds in its own cache it need not read from the disk."""
        log = self._opened()
        self._wait(log)
        with reported(self.path):
            return read_over(self._snapshot.read_back, log.pending, low, limit)

    def compact(self) -> tuple[int, int]:
        """See :meth:`Store.compact`. Needs room for a second copy on this disk, and one where temporary files go."""
        log = self._opened()
        before = self._snapshot.size() + log.file_bytes()
        self._wait(log)
        self._flush(log)
        self._snapshot.compact()
        if log.trusted and not log.pending:
            with reported(self.path):
                log.begin_anew(0)
        return before, self._snapshot.size() + log.file_bytes()

    # -- closing ---------------------------------------------------------------------------------------------

    def close(self) -> None:
        """See :meth:`Store.close`. What is pending is put into the snapshot, and the log removed; where that fails,
        the next load finds it.
        """
        if self._log is not None:
            self._snapshot.stop_reading()
            with contextlib.suppress(StoreError), reported(self.path):
                self._end(self._log)
        self._release()

    def _end(self, log: Log) -> None:
        self._wait(log)
        if self._live and not self._is_in_doubt(log):
            self._settle(log, _NOTHING, live=False)
            log.remove()

    def _release(self) -> None:
        log, self._log = self._log, None
        if log is not None:
            log.close()
        self._snapshot.close()
