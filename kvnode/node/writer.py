"""The single writer: group commit of what the replica wants stored, and what happens when the store fails.

While one commit is under way the next ones gather, and go to disk together; so they do for a moment when nobody waits
for them. A store that fails keeps the node going: what is to be stored is merged (so it is bounded by the data, not by
the time the failure lasts) and tried again, with back-off; whoever asks for ``disk`` is told.

What may take long is done on a thread: whatever is no plain commit, and all commits unless the disk has proved to be
quick (see :mod:`.pace`). Then the event loop commits, behind what it was to do already: what peers and watchers wait
for leaves first.

A slow disk is often flash that wears out, and beside its sync CPU time is cheap: commits to one that has proved slow
are dense.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, BinaryIO, Final, Protocol, TypeVar

import anyio
import anyio.lowlevel

from kvnode.core.effects import Persist
from kvnode.store.base import Batch, StoreError
from kvnode.transport.chores import Chore, chore
from kvnode.transport.signals import Signal, signals
from kvnode.transport.tasks import run_beside
from kvnode.transport.worker import Worker

from .config import Compress
from .errors import Stopping
from .pace import Pace
from .pastuse import PastUse

LINGER_S: Final = 0.02
"""So long what nobody waits for gathers: a node that takes in what is written elsewhere, say, syncs fifty times a
second instead of a thousand times, and leaves the disk to those who wait for it.
"""
MERGE_ABOVE: Final = 64
"""So many gathered transactions are merged to one."""
RETRY_FIRST_S: Final = 0.2
RETRY_MOST_S: Final = 30.0


T = TypeVar("T")


class _Job:
    """Something to be done between two commits, and what came of it."""

    __slots__ = ("do", "error", "event", "result")

    def __init__(self, do: Callable[[], Any]) -> None:
        self.do = do
        self.event = anyio.Event()
        self.result: Any = None
        self.error: Exception | None = None


class Commits(Protocol):
    """What the writer needs of a store (see :mod:`kvnode.store.base`)."""

    @property
    def blocking(self) -> bool:
        """Whether what follows may block and so belongs on a thread."""

    def is_brief(self, batches: Sequence[Persist]) -> bool:
        """Whether commit() of these takes no more than one small write and sync."""

    def commit(self, batches: Sequence[Persist], *, dense: bool = False) -> None:
        """Store all of it, durably, in one transaction; `dense`: rather fewer bytes than less CPU time. Raises
        StoreError.
        """

    def backup(self) -> BinaryIO:
        """A copy of all that is committed, open for reading. Raises StoreError."""

    def read_back(self, low: bytes, limit: int) -> list[tuple[bytes, bytes | None]]:
        """Rows as they are stored now, None for a damaged record. Raises StoreError."""

    def compact(self) -> tuple[int, int]:
        """Give room back; the bytes on disk before and after. Raises StoreError."""

    def past(self, low: bytes, high: bytes, limit: int) -> list[tuple[bytes, bytes]]:
        """What is on record of the past, the last rows first. Raises StoreError."""

    def forget_past(self, keys: Sequence[bytes]) -> None:
        """Take rows off the record. Raises StoreError."""


class Writer:
    """Commits in order. `done` gets the token up to which all is durable; `failing` hears why, or None once the store
    works again. Both are called in the event loop. `clock` tells how long commits take, in seconds; it is asked on
    the thread, too. `compress` says which commits are dense.
    """

    def __init__(
        self,
        store: Commits,
        done: Callable[[int], None],
        failing: Callable[[str | None], None],
        *,
        clock: Callable[[], float] = time.perf_counter,
        compress: Compress = "auto",
    ) -> None:
        self._store: Final = store
        self._done: Final = done
        self._failing: Final = failing
        self._clock: Final = clock
        self._compress: Final = compress
        self._pace: Final = Pace()
        self._worker: Final = Worker("store")
        self._pending: list[Persist] = []
        self._urgent = False
        """Whether somebody waits for the task to commit what is in `_pending`."""
        self._lingers = False
        self._under_way = 0
        self._works = False
        """Whether a job is being done."""
        self._jobs: deque[_Job] = deque()
        self._wake: Signal | None = None
        """Set in place while there is nothing to do."""
        self._at_once: Chore | None = None
        """Commits on the event loop; in place while the writer runs."""
        self._due_here = False
        self._ending = False
        self.failure: str | None = None
        """Why the store fails; None while it works."""
        self.commits = 0
        self.rows = 0
        self.failures = 0
        self.past_use: Final = PastUse()

    async def backup(self) -> BinaryIO:
        """A copy of what is stored, see :meth:`kvnode.store.base.Store.backup`. Raises StoreError, Stopping."""
        return await self._call(self._store.backup)

    async def compact(self) -> tuple[int, int]:
        """Give room back, see :meth:`kvnode.store.base.Store.compact`. Raises StoreError, Stopping."""
        return await self._call(self._store.compact)

    async def read_back(self, low: bytes, limit: int) -> list[tuple[bytes, bytes | None]]:
        """Rows as they are stored now, see :meth:`kvnode.store.base.Store.read_back`. Raises StoreError, Stopping."""
        return await self._call(partial(self._store.read_back, low, limit))

    async def past(self, low: bytes, high: bytes, limit: int) -> list[tuple[bytes, bytes]]:
        """What is on record, see :meth:`kvnode.store.base.Store.past`. Raises StoreError, Stopping."""
        return await self._call(partial(self._store.past, low, high, limit))

    async def forget_past(self, keys: Sequence[bytes]) -> None:
        """Take these off the record. Raises StoreError, Stopping."""
        await self._call(partial(self._store.forget_past, keys))

    @property
    def pending(self) -> int:
        """Transactions that are not durable yet, those of a commit under way included."""
        return len(self._pending) + self._under_way

    def add(self, persist: Persist) -> None:
        """Have it stored, behind everything before it: soon, or at once if somebody calls :meth:`hurry`."""
        self._pending.append(persist)
        self.past_use.add(persist.past)
        if len(self._pending) > MERGE_ABOVE:
            self.hurry()
        elif not self._lingers:
            self._rouse()

    def hurry(self) -> None:
        """Somebody waits for what was added."""
        if not self._pending or self._urgent:
            return
        if self._at_once is not None and self._pace.is_quick and not self._is_busy:
            self._due_here = True
            self._at_once.ask()
        else:
            self._press()

    def _press(self) -> None:
        """Let the task commit now."""
        self._urgent = True
        self._rouse()

    @property
    def _leaves_it(self) -> bool:
        """Whether what is pending will be committed on the event loop in a moment, not by the task: a job, and the end,
        come behind it, so they do not wait for that.
        """
        return self._due_here and not self._is_pressed

    @property
    def _is_busy(self) -> bool:
        """Whether something is done, or waits, that comes before a commit here and now."""
        return bool(self._under_way or self._works or self._jobs or self.failure)

    def _commit_here(self) -> None:
        """Commit on the event loop, without the task, if that will do: somebody waits for a quick disk."""
        self._due_here = False
        batch = self._pending
        if not batch:
            return
        if self._is_busy or len(batch) > MERGE_ABOVE or not self._store.is_brief(batch):
            self._press()
            return
        self._pending, self._urgent = [], False
        try:
            self._pace.held_up(self._timed(batch, dense=self._compress == "always"))
        except StoreError as err:
            self._failed(batch, err)
            self._press()
        else:
            self._committed(batch)

    async def _call(self, do: Callable[[], T]) -> T:
        """Run `do` where commits run, between two of them, when what is pending now has been tried. Raises what it
        raises, or Stopping. It is waited for even if the caller is cancelled: its result may need closing.
        """
        if self._ending:
            raise Stopping
        job = _Job(do)
        self._jobs.append(job)
        self._rouse()
        with anyio.CancelScope(shield=True):
            await job.event.wait()
        if job.error is not None:
            raise job.error
        result: T = job.result
        return result

    async def run(self) -> None:
        """Commit until :meth:`end`; then what is pending goes to disk, or is given up if the store fails."""
        self._at_once = chore(self._commit_here)
        try:
            await run_beside(self._run, self._at_once.end, (self._at_once.run,))
        finally:
            self._at_once = None
            self._worker.close()

    async def _run(self) -> None:
        delay = RETRY_FIRST_S
        while self._pending or self._jobs or not self._ending:
            sound = not self._pending or self._leaves_it or await self._commit()
            if self._jobs:
                await self._work()  # it may have mended what failed: tried again at once
            elif not sound and self._ending:
                return
            elif not sound:
                await self._pause(delay)
                delay = min(2 * delay, RETRY_MOST_S)
            else:
                delay = RETRY_FIRST_S
                await self._something_to_do()

    def end(self) -> None:
        """Nothing follows: run() ends after its last commit."""
        self._ending = True
        self._rouse()

    def _rouse(self) -> None:
        if self._wake is not None:
            self._wake.set()
            self._wake = None

    async def _called(self) -> None:
        """Wait until somebody has added something to do."""
        self._wake = signals()()
        await self._wake.wait()

    async def _something_to_do(self) -> None:
        while not (self._pending or self._jobs or self._ending):
            await self._called()
        if self._is_pressed:
            return
        self._lingers = True
        with anyio.move_on_after(LINGER_S):
            while not self._is_pressed:
                await self._called()
        self._lingers = False

    @property
    def _is_pressed(self) -> bool:
        """Whether there is a reason not to let more gather."""
        return self._urgent or bool(self._jobs) or self._ending

    async def _pause(self, delay_s: float) -> None:
        """Wait before the next attempt; a job and the end of the node cut it short."""
        with anyio.move_on_after(delay_s):
            while not (self._jobs or self._ending):
                await self._called()

    async def _work(self) -> None:
        """Do the oldest job. Meanwhile nothing is committed, by the event loop neither."""
        job = self._jobs.popleft()
        self._works = True
        try:
            job.result = await self._off_loop(job.do)
        except Exception as err:
            job.error = err
        finally:
            self._works = False
        job.event.set()

    async def _off_loop(self, do: Callable[[], T]) -> T:
        """Call the store: on the thread, if it may block."""
        if self._store.blocking:
            return await self._worker.run(do)
        result = do()
        await anyio.lowlevel.checkpoint()
        return result

    async def _commit(self) -> bool:
        batch, self._pending, self._urgent = self._pending, [], False
        if len(batch) > MERGE_ABOVE:
            batch = [merged(batch)]
        self._under_way = len(batch)
        try:
            await self._store_all(batch)
        except StoreError as err:
            self._failed(batch, err)
            return False
        finally:
            self._under_way = 0
        self._committed(batch)
        return True

    def _committed(self, batch: Sequence[Persist]) -> None:
        self.commits += 1
        self.rows += sum(len(p.rows) for p in batch)
        self._set_failure(None)
        self._done(batch[-1].token)

    def _failed(self, batch: Sequence[Persist], err: StoreError) -> None:
        """It is tried again, with what was added since."""
        self._pace.failed()
        self.failures += 1
        self._pending = [merged([*batch, *self._pending])]
        self._set_failure(str(err) or type(err).__name__)

    async def _store_all(self, batch: Sequence[Persist]) -> None:
        """Commit, on the thread if it may block. Raises StoreError."""
        dense = self._compress == "always" or (self._compress == "auto" and self._pace.is_slow)
        if not self._store.blocking:
            self._store.commit(batch, dense=dense)
        elif self._store.is_brief(batch):
            self._pace.took_on_thread(await self._worker.run(partial(self._timed, batch, dense=dense)))
        else:
            await self._worker.run(partial(self._store.commit, batch, dense=dense))

    def _timed(self, batch: Sequence[Persist], *, dense: bool) -> float:
        """Commit; gives how long it took, without the wait for the thread, in seconds."""
        began = self._clock()
        self._store.commit(batch, dense=dense)
        return self._clock() - began

    def _set_failure(self, why: str | None) -> None:
        if why != self.failure:
            self.failure = why
            self._failing(why)


def merged(batch: Sequence[Persist]) -> Persist:
    """One transaction that leaves the store as these, one after the other, would."""
    whole = Batch(batch)
    return Persist(batch[-1].token, whole.rows, whole.known, whole.meta, whole.quarantine, whole.past)
