"""The single writer: group commit of what the replica wants stored, and what happens when the store fails.

While one commit is under way the next ones gather, and go to disk together. A store that fails keeps the node
going: what is to be stored is merged (so it is bounded by the data, not by the time the failure lasts) and tried
again, with back-off; whoever asks for ``disk`` is told.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, Protocol

import anyio
import anyio.lowlevel
import anyio.to_thread

from kvnode.core.effects import Persist
from kvnode.store.base import Batch, StoreError

MERGE_ABOVE: Final = 64
"""So many gathered transactions are merged to one."""
RETRY_FIRST_S: Final = 0.2
RETRY_MOST_S: Final = 30.0


class Commits(Protocol):
    """What the writer needs of a store (see :mod:`kvnode.store.base`)."""

    @property
    def blocking(self) -> bool:
        """Whether commit() may block and so belongs on a thread."""

    def commit(self, batches: Sequence[Persist]) -> None:
        """Store all of it, durably, in one transaction. Raises StoreError."""


class Writer:
    """Commits in order. `done` gets the token up to which all is durable; `failing` hears why, or None once the store
    works again. Both are called in the event loop.
    """

    def __init__(self, store: Commits, done: Callable[[int], None], failing: Callable[[str | None], None]) -> None:
        self._store: Final = store
        self._done: Final = done
        self._failing: Final = failing
        self._limiter = anyio.CapacityLimiter(1)
        self._pending: list[Persist] = []
        self._wake = anyio.Event()
        self._ending = False
        self.failure: str | None = None
        """Why the store fails; None while it works."""
        self.commits = 0
        self.rows = 0
        self.failures = 0

    @property
    def pending(self) -> int:
        """Transactions that are not durable yet."""
        return len(self._pending)

    def add(self, persist: Persist) -> None:
        """Have it stored, behind everything before it."""
        self._pending.append(persist)
        self._wake.set()

    async def run(self) -> None:
        """Commit until :meth:`end`; then what is pending goes to disk, or is given up if the store fails."""
        delay = RETRY_FIRST_S
        while True:
            if not self._pending:
                if self._ending:
                    return
                self._wake = anyio.Event()
                await self._wake.wait()
                continue
            if await self._commit():
                delay = RETRY_FIRST_S
            elif self._ending:
                return
            else:
                await self._pause(delay)
                delay = min(2 * delay, RETRY_MOST_S)

    def end(self) -> None:
        """Nothing follows: run() ends after its last commit."""
        self._ending = True
        self._wake.set()

    async def _pause(self, delay_s: float) -> None:
        """Wait before the next attempt; the end of the node cuts it short."""
        with anyio.move_on_after(delay_s):
            while not self._ending:
                self._wake = anyio.Event()
                await self._wake.wait()

    async def _commit(self) -> bool:
        batch, self._pending = self._pending, []
        if len(batch) > MERGE_ABOVE:
            batch = [merged(batch)]
        try:
            if self._store.blocking:
                await anyio.to_thread.run_sync(self._store.commit, batch, limiter=self._limiter)
            else:
                self._store.commit(batch)
                await anyio.lowlevel.checkpoint()
        except StoreError as err:
            self.failures += 1
            self._pending = [merged([*batch, *self._pending])]
            self._set_failure(str(err) or type(err).__name__)
            return False
        self.commits += 1
        self.rows += sum(len(p.rows) for p in batch)
        self._set_failure(None)
        self._done(batch[-1].token)
        return True

    def _set_failure(self, why: str | None) -> None:
        if why != self.failure:
            self.failure = why
            self._failing(why)


def merged(batch: Sequence[Persist]) -> Persist:
    """One transaction that leaves the store as these, one after the other, would."""
    whole = Batch(batch)
    return Persist(batch[-1].token, whole.rows, whole.known, whole.meta, whole.quarantine)
