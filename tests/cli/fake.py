"""A client without a node, for the commands: entries in a dict, answers and errors as the tests set them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import msgspec

from kvnode.client import Child, History, errors
from kvnode.client.items import ABSENT, OMITTED, Change, Del, EventItem, Gap, Put, Reading, Sibling, Uptodate, Written
from kvnode.core.path import Path, Pattern, path_key
from kvnode.core.stamp import stamp_of
from kvnode.core.ticks import Dot

INC = "a~0123456789abcdef"
OTHER = "b~fedcba9876543210"
WALL_MS = 1_767_225_600_123
"""2026-01-01T00:00:00.123Z"""


def reading(path: str, value: Any, tick: int = 1, inc: str = INC, **more: Any) -> Reading:
    """An entry."""
    return Reading(Path.parse(path), value, Dot(inc, tick), stamp_of(WALL_MS), "kv", None, None, **more)


def sibling(path: str, value: Any, tick: int = 1, inc: str = OTHER) -> Sibling:
    """A version beside it."""
    return Sibling(Path.parse(path), value, Dot(inc, tick), stamp_of(WALL_MS) - 1, "kv", None, None)


def change(path: str, value: Any, tick: int = 1) -> Change:
    """An item of a watch."""
    return Change(Path.parse(path), value, Dot(INC, tick), stamp_of(WALL_MS), "kv", None, None)


@dataclass
class FakeClient:
    """Stands for kvnode.client.Client in the commands."""

    entries: dict[Path, Reading] = field(default_factory=dict)
    items: Sequence[Change | Uptodate | Gap] = ()
    event_items: Sequence[EventItem] = ()
    answer: dict[str, Any] = field(default_factory=dict)
    fails: Exception | None = None
    recalled: History | None = None
    unchanged: bool = False
    calls: list[tuple[Any, ...]] = field(default_factory=list)
    tick: int = 100
    address: str = ""
    timeout_s: float = 0.0
    node: str = "a"
    chunks: Sequence[bytes] = ()
    """What a backup consists of."""
    inspection: Any = None
    """In the place of kvnode.client.inspection.Inspection."""

    def put(self, *readings: Reading) -> FakeClient:
        """Enter these."""
        self.entries |= {r.path: r for r in readings}
        return self

    def _called(self, *call: Any) -> None:
        self.calls.append(call)
        if self.fails is not None:
            raise self.fails

    async def get(self, path: Path) -> Reading:
        self._called("get", path)
        if path not in self.entries:
            raise errors.error("not_found", f"no value at {path}")
        return self.entries[path]

    async def children(self, path: Path, *, limit: int = 1_000) -> list[Child]:
        self._called("children", path, limit)
        below = sorted({p[: len(path) + 1] for p in self.entries if p.is_below(path) and p != path}, key=path_key)
        more = {c for c in below for p in self.entries if p != c and p.is_below(c)}
        return [Child(Path(c), c in self.entries, c in more) for c in below[:limit]]

    async def set(self, path: Path, value: Any, **options: Any) -> Written:
        self._called("set", path, value, options)
        return self._write(path, value, options.get("expect"))

    async def delete(self, path: Path, **options: Any) -> Written:
        self._called("delete", path, options)
        return self._write(path, ABSENT, options.get("expect"))

    def _write(self, path: Path, value: Any, expect: Any) -> Written:
        have = self.entries[path].dots if path in self.entries else frozenset()
        if expect is not None and have != (expect or frozenset()):
            raise errors.error("cas_failed", f"{path} is no longer as it was read", {"dots": sorted(have)})
        self.tick += 1
        written = Written(Dot(INC, self.tick), stamp_of(WALL_MS), self.unchanged)
        self.entries.pop(path, None)
        if value is not ABSENT:
            self.entries[path] = Reading(path, value, written.dot, written.stamp, "kv", None, None)
        return written

    async def batch(self, ops: Sequence[Put | Del], **options: Any) -> list[Written]:
        self._called("batch", list(ops), options)
        return [self._write(Path.parse(str(op.path)), getattr(op, "value", ABSENT), op.expect) for op in ops]

    @asynccontextmanager
    async def tree(
        self, path: Path, pattern: Pattern | None = None, depth: int | None = None, *, keys: bool = False
    ) -> AsyncIterator[Any]:
        self._called("tree", path, pattern, depth)

        async def rows() -> AsyncIterator[Reading]:
            for reading in self._below(path, pattern, depth):
                yield msgspec.structs.replace(reading, value=OMITTED) if keys else reading

        yield rows()

    def _below(self, path: Path, pattern: Pattern | None, depth: int | None) -> Iterator[Reading]:
        for at in sorted(self.entries, key=lambda p: p.key):
            rest = at[len(path) :]
            fits = pattern is None or pattern.matches(at)
            if at.is_below(path) and fits and (depth is None or len(rest) <= depth):
                yield self.entries[at]

    @asynccontextmanager
    async def watch(self, path: Path, **options: Any) -> AsyncIterator[Any]:
        self._called("watch", path, options)

        async def rows() -> AsyncIterator[Any]:
            for item in self.items:
                if not isinstance(item, Change) or item.path.is_below(path):
                    yield item

        yield rows()

    @asynccontextmanager
    async def backup(self) -> AsyncIterator[Any]:
        self._called("backup")

        async def chunks() -> AsyncIterator[bytes]:
            for chunk in self.chunks:
                yield chunk

        yield chunks()

    async def compact(self) -> tuple[int, int]:
        self._called("compact")
        return 3_500_000, 1200

    async def send(self, path: Path, value: Any) -> None:
        self._called("send", path, value)

    @asynccontextmanager
    async def events(self, path: Path, pattern: Any = None) -> AsyncIterator[Any]:
        self._called("events", path, pattern)

        async def rows() -> AsyncIterator[EventItem]:
            for item in self.event_items:
                yield item

        yield rows()

    async def history(self, path: Path, **options: Any) -> History:
        self._called("history", path, options)
        assert self.recalled is not None
        return self.recalled

    async def undo(self, path: Path, to: Dot | None, **options: Any) -> tuple[Sibling, Written]:
        self._called("undo", path, to, options)
        assert self.recalled is not None
        former = self.recalled.former(to)
        return former, self._write(path, former.value, None)

    async def status(self) -> dict[str, Any]:
        self._called("status")
        return self.answer

    async def conflicts(self) -> list[Reading]:
        self._called("conflicts")
        return [r for r in self.entries.values() if r.conflict]

    async def gc_explain(self, path: Path) -> Any:
        self._called("gc_explain", path)
        return self.answer["gc"]

    async def retire(self, name: str) -> None:
        self._called("retire", name)
