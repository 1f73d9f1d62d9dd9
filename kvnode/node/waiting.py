"""Writes that wait for their ack level, and the time at which they have waited long enough. Pure.

What waits for this node's disk alone hangs on the token of the transaction that stores it, so a commit answers just the
writes that it made durable. What waits for others is looked at whenever somebody acknowledged something. Writes mostly
come with the same time-out, so they end in the order in which they came; only what ends earlier needs a heap.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterable, Iterator
from itertools import count
from typing import Final

from . import acks
from .acks import Acknowledged
from .errors import AckTimeout, NodeError, StoreUnavailable
from .pending import Group, PendingWrite

SLACK: Final = 256
"""What is left of answered writes may outnumber the others by so much before it is swept out."""


class Waiting:
    """See the module's text. Whoever is answered may call back into this object."""

    def __init__(self, replica: Acknowledged) -> None:
        self._replica: Final = replica
        self._on_disk: deque[tuple[int, Group]] = deque()
        self._on_others: Group = {}
        self._in_order: deque[PendingWrite] = deque()
        self._times: list[tuple[int, int, PendingWrite]] = []
        self._numbers: Final = count()
        self._open = 0

    def __len__(self) -> int:
        return self._open

    def add(self, writes: Iterable[PendingWrite], token: int) -> None:
        """These were made, and are stored with this token or an earlier one. Those that need not wait are answered."""
        on_disk: Group = {}
        for write in writes:
            if self._is_there(write):
                write.answer()
                continue
            self._open += 1
            if not self._in_order or self._in_order[-1].due <= write.due:
                self._in_order.append(write)
            else:
                heapq.heappush(self._times, (write.due, next(self._numbers), write))
            write.group = on_disk if write.level == acks.DISK else self._on_others
            write.group[write] = None
        if on_disk:
            self._on_disk.append((token, on_disk))
        self._sweep()

    def stored(self, token: int) -> None:
        """Everything up to this token is on this node's disk; who waits for others, too, is not looked at."""
        while self._on_disk and self._on_disk[0][0] <= token:
            group = self._on_disk.popleft()[1]
            for write in list(group):
                if group.pop(write, self) is None:  # still there: an answer may have ended others
                    self._open -= 1
                    write.answer()

    def look(self) -> None:
        """Something was acknowledged somewhere."""
        for write in [write for write in self._on_others if self._is_there(write)]:
            self._end(write, None)

    def failing(self, why: str) -> None:
        """The store fails: whoever waits for it is told."""
        for write in list(self._all()):
            if write.level.needs_disk:
                self._end(write, StoreUnavailable(why, write.wrote))

    def forget(self, write: PendingWrite) -> None:
        """Nobody waits for this one any more."""
        write.answered = True
        self._drop(write)

    def end(self) -> None:
        """Nothing will come any more: all are told."""
        for write in list(self._all()):
            self._end(write, AckTimeout(write.wrote, str(write.level)))

    @property
    def next_due(self) -> int | None:
        """When the next one has waited long enough, in milliseconds of `Now.mono`."""
        first, times = self._in_order, self._times
        while first and first[0].answered:
            first.popleft()
        while times and times[0][2].answered:
            heapq.heappop(times)
        if first and times:
            return min(first[0].due, times[0][0])
        return first[0].due if first else times[0][0] if times else None

    def expire(self, mono: int) -> None:
        """Answer those that have waited long enough: they stand, and where they have yet to be acknowledged is told."""
        while (due := self.next_due) is not None and due <= mono:
            first = self._in_order
            write = first.popleft() if first and first[0].due == due else heapq.heappop(self._times)[2]
            lacking = acks.missing(write.level, write.wrote[-1].dot, self._replica) or ()
            self._end(write, AckTimeout(write.wrote, str(write.level), lacking))

    def _is_there(self, write: PendingWrite) -> bool:
        level = write.level
        if level is acks.DISK and len(write.wrote) == 1:  # the most frequent case, in short
            return self._replica.durable_here(write.wrote[0].dot)
        return all(acks.missing(level, wrote.dot, self._replica) is None for wrote in reversed(write.wrote))

    def _all(self) -> Iterator[PendingWrite]:
        for _, group in self._on_disk:
            yield from group
        yield from self._on_others

    def _sweep(self) -> None:
        """Let go of what is left of answered writes, before it outgrows the others."""
        if len(self._times) + len(self._in_order) > 2 * self._open + SLACK:
            self._times = [entry for entry in self._times if not entry[2].answered]
            heapq.heapify(self._times)
            self._in_order = deque(write for write in self._in_order if not write.answered)
        if len(self._on_disk) > self._open + SLACK:
            self._on_disk = deque(entry for entry in self._on_disk if entry[1])

    def _end(self, write: PendingWrite, error: NodeError | None) -> None:
        if not write.answered:
            self._drop(write)
            write.answer(error)

    def _drop(self, write: PendingWrite) -> None:
        if write.group.pop(write, self) is None:
            self._open -= 1
