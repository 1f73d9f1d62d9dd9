"""The interface of the measures, on a client of kvnode."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final

from kvnode.client import Change, Client, Del, Gap, Item, Put, Uptodate
from kvnode.core.path import Path

from .store import value_of

WRITE_TIMEOUT_S: Final = 60.0
CLEARED_AT_ONCE: Final = 5_000


class LostChanges(Exception):
    """A watcher was told of a gap."""


class KvStore:
    """A client and the subtree to work in; writes wait for `ack`."""

    def __init__(self, client: Client, root: Path, ack: str = "disk") -> None:
        self._client: Final = client
        self._root: Final = root
        self._text: Final = str(root)
        self._ack: Final = ack

    def _path(self, key: int) -> str:
        return f"{self._text}.k{key}"

    async def put(self, key: int, value: str | None = None) -> None:
        """See :class:`.store.Store`."""
        await self._client.set(self._path(key), value or value_of(key), ack=self._ack, timeout=WRITE_TIMEOUT_S)

    async def put_batch(self, keys: Sequence[int]) -> None:
        """See :class:`.store.Store`."""
        puts = [Put(self._path(key), value_of(key)) for key in keys]
        await self._client.batch(puts, ack=self._ack, timeout=WRITE_TIMEOUT_S)

    async def get(self, key: int) -> str:
        """See :class:`.store.Store`. Raises NotFound."""
        return str((await self._client.get(self._path(key))).value)

    async def scan(self, count: int) -> int:
        """See :class:`.store.Store`: typed values."""
        came = 0
        async with self._client.tree(self._root) as rows:
            async for _ in rows:
                came += 1
        return came

    async def export(self) -> int:
        """All entries as stored, undecoded; gives how many came."""
        came = 0
        async with self._client.dump(self._root) as rows:
            async for _ in rows:
                came += 1
        return came

    async def clear(self) -> None:
        """Delete all entries."""
        async with self._client.tree(self._root, keys=True) as rows:
            paths = [reading.path async for reading in rows]
        for start in range(0, len(paths), CLEARED_AT_ONCE):
            deletes = [Del(path) for path in paths[start : start + CLEARED_AT_ONCE]]
            await self._client.batch(deletes, ack="memory", timeout=WRITE_TIMEOUT_S)

    @asynccontextmanager
    async def watch(self) -> AsyncIterator[AsyncIterator[int]]:
        """See :class:`.store.Store`. Raises LostChanges."""
        async with self._client.watch(self._root) as items:
            async for item in items:
                if isinstance(item, Uptodate):
                    break
            yield _keys(items)


async def _keys(items: AsyncIterator[Item]) -> AsyncIterator[int]:
    async for item in items:
        if isinstance(item, Change):
            yield int(str(item.path[-1])[1:])
        elif isinstance(item, Gap):
            raise LostChanges(item.reason)
