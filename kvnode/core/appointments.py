"""Wall-clock times at which entries are to be looked at again: when they expire, and when they may be forgotten."""

from __future__ import annotations

import heapq
from typing import Final

_SLACK: Final = 64


class Appointments:
    """A heap with one appointment a key, the earliest. What was replaced stays in the heap until it comes up, or until
    it outnumbers what counts.
    """

    def __init__(self) -> None:
        self._heap: list[tuple[int, bytes]] = []
        self._due: dict[bytes, int] = {}

    def __len__(self) -> int:
        return len(self._heap)

    def expect(self, when: int, key: bytes) -> None:
        """Look at `key` at this wall-clock time (milliseconds), unless that happens earlier anyway."""
        due = self._due.get(key)
        if due is not None and due <= when:
            return
        self._due[key] = when
        heapq.heappush(self._heap, (when, key))
        if len(self._heap) > 2 * len(self._due) + _SLACK:
            self._heap = [(due, key) for key, due in self._due.items()]
            heapq.heapify(self._heap)

    def next(self) -> int | None:
        """The earliest appointment (or one that was replaced since: a wake-up too many does no harm)."""
        return self._heap[0][0] if self._heap else None

    def pop(self, wall: int) -> tuple[int, bytes] | None:
        """Take the earliest appointment that is due by `wall`; None when there is no more."""
        while self._heap and self._heap[0][0] <= wall:
            when, key = heapq.heappop(self._heap)
            if self._due.get(key) == when:
                del self._due[key]
                return when, key
        return None
