"""How much of the past is on record."""

from __future__ import annotations

import math
from collections.abc import Iterable

import anyio

from kvnode.core.history import Past


class PastUse:
    """Versions on record and their size in bytes, keys included: what the last sweep found, and all that came since,
    even if it has gone again. `dropped` is how many had to go for lack of room.
    """

    def __init__(self) -> None:
        self.versions = 0
        self.size = 0
        self.dropped = 0
        self._limit = math.inf
        self._over = anyio.Event()

    def add(self, past: Iterable[Past]) -> None:
        """More is put on record."""
        for item in past:
            self.versions += 1
            self.size += len(item.key) + len(item.record)
        if self.size > self._limit:
            self._over.set()

    def found(self, versions: int, size: int) -> None:
        """A sweep has counted."""
        self.versions, self.size = versions, size

    async def until_over(self, limit: int) -> None:
        """Wait until there is more than so many bytes."""
        self._limit, self._over = limit, anyio.Event()
        if self.size <= limit:
            await self._over.wait()

    def row(self) -> dict[str, int]:
        """For the status."""
        return {"versions": self.versions, "bytes": self.size, "dropped": self.dropped}
