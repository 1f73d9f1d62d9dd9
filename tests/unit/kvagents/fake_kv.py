"""A KV tree in memory with the calls that agents make, which can go away and come back."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import anyio
import msgspec

from kvnode.client import ABSENT, CasFailed, Change, NotFound, Reading, Refused, Unavailable, Uptodate
from kvnode.core.entry import Lease
from kvnode.core.path import Path
from kvnode.core.stamp import stamp_of
from kvnode.core.ticks import Dot

T0 = datetime(2026, 3, 1, 12, tzinfo=UTC)


class FakeKv:
    """`away` makes all calls fail and ends all watches; `refuses` are paths that must not be written.

    `wall` gives the time of writes.
    """

    def __init__(self, entries: dict[str, Any] | None = None, wall: Callable[[], datetime] = lambda: T0) -> None:
        self.wall = wall
        self._times: dict[Path, datetime] = {}
        self.entries: dict[Path, Any] = {}
        self.writes: list[tuple[Path, Any]] = []
        self.refuses: set[Path] = set()
        self.expired: set[Path] = set()
        self._leases: dict[Path, Lease | None] = {}
        self.watches = 0
        self._dots: dict[Path, Dot] = {}
        self._away = False
        self._news = anyio.Event()
        self._log: list[tuple[Path, Any]] = []
        for text, value in (entries or {}).items():
            self.put(text, value)

    # -- what tests do -----------------------------------------------------------------------------------

    def put(self, path: Path | str, value: Any, lease: Lease | None = None) -> None:
        """Write, from outside; ABSENT deletes."""
        path = _path(path)
        self.expired.discard(path)
        self._leases[path] = lease
        if value is ABSENT:
            self.entries.pop(path, None)
        else:
            self.entries[path] = value
        self._log.append((path, value))
        self._dots[path] = Dot("fake~0", len(self._log))
        self._times[path] = self.wall()
        self._stir()

    def expire(self, path: Path | str) -> None:
        """The lease at a path has ended, and its holder cannot delete it."""
        self.expired.add(_path(path))
        self._log.append((_path(path), self.entries[_path(path)]))
        self._stir()

    def at(self, path: Path | str) -> Any:
        """The value at a path, None if there is none."""
        return self.entries.get(_path(path))

    @property
    def away(self) -> bool:
        return self._away

    @away.setter
    def away(self, away: bool) -> None:
        self._away = away
        self._stir()

    @property
    def is_connected(self) -> bool:
        return not self._away

    def _stir(self) -> None:
        self._news.set()
        self._news = anyio.Event()

    # -- what agents call ----------------------------------------------------------------------------------

    async def get(self, path: Path | str) -> Reading:
        await self._round_trip()
        if _path(path) not in self.entries:
            raise NotFound("not_found", f"no value at {path}")
        return self._row(Reading, _path(path), self.entries[_path(path)])

    async def set(
        self,
        path: Path | str,
        value: Any,
        *,
        timeout: float,  # noqa: ASYNC109
        expect: Any = None,
        idempotent: bool = False,
        ack: str = "disk",
    ) -> None:
        await self._round_trip()
        path = _path(path)
        if path in self.refuses:
            raise Refused("reserved", "not there")
        held = frozenset({self._dots[path]}) if path in self.entries else frozenset()
        if expect is not None and (frozenset() if expect is ABSENT else expect) != held:
            raise CasFailed("cas_failed", "changed")
        self.writes.append((path, value))
        self.put(path, value)

    async def delete(self, path: Path | str, *, timeout: float, idempotent: bool = False) -> None:  # noqa: ASYNC109
        await self._round_trip()
        self.put(path, ABSENT)

    @asynccontextmanager
    async def tree(self, path: Path | str) -> AsyncIterator[AsyncIterator[Reading]]:
        await self._round_trip()

        async def rows() -> AsyncIterator[Reading]:
            for found in sorted(p for p in self.entries if p.is_below(_path(path))):
                yield self._row(Reading, found, self.entries[found])

        iterator = rows()
        try:
            yield iterator
        finally:
            await iterator.aclose()

    @asynccontextmanager
    async def watch(self, path: Path | str) -> AsyncIterator[AsyncIterator[Any]]:
        iterator = self._items(_path(path))
        self.watches += 1
        try:
            yield iterator
        finally:
            await iterator.aclose()

    async def _items(self, root: Path) -> AsyncIterator[Any]:
        await self._round_trip()
        seen = len(self._log)
        for path in sorted(p for p in self.entries if p.is_below(root)):
            yield self._row(Change, path, self.entries[path])
        yield Uptodate()
        while True:
            for path, value in self._log[seen:]:
                if path.is_below(root):
                    yield self._row(Change, path, value)
            seen = len(self._log)
            await self._news.wait()
            if self.away:
                raise Unavailable("unavailable", "the fake node is away")

    async def _round_trip(self) -> None:
        await anyio.lowlevel.checkpoint()
        if self.away:
            raise Unavailable("unavailable", "the fake node is away")

    def _row(self, kind: type[Any], path: Path, value: Any) -> Any:
        stamp = stamp_of(int(self._times[path].timestamp() * 1000))
        row = kind(path, value, self._dots[path], stamp, "fake", None, None, self._leases.get(path))
        return msgspec.structs.replace(row, expired=path in self.expired)


def _path(path: Path | str) -> Path:
    return path if isinstance(path, Path) else Path.parse(path)
