"""Files as moat-kv saves them, for tests of taking them over."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgpack

ABSENT = object()


class MoatPath(tuple[Any, ...]):
    """A path as a value, or (`marked`) one with a mark."""

    marked: str | None = None


def packed(value: Any) -> bytes:
    """As moat-kv's codec does it."""
    return bytes(msgpack.packb(value, default=_extension, strict_types=True, datetime=True))


def _extension(value: Any) -> Any:
    if isinstance(value, int):
        return msgpack.ExtType(2, value.to_bytes((value.bit_length() + 7) // 8, "big"))
    if isinstance(value, MoatPath):
        elements = b"".join(packed(e) for e in value)
        if value.marked is None:
            return msgpack.ExtType(3, elements)
        return msgpack.ExtType(6, packed(value.marked) + elements)
    if isinstance(value, tuple):
        return list(value)
    raise TypeError(type(value))


class MoatFile:
    """Collects entries, shortening paths as moat-kv does."""

    def __init__(self) -> None:
        self.data = b""
        self._last: Sequence[Any] = ()
        self._tick = 0

    def state(self) -> None:
        """A record of the replication's state, as each save begins with."""
        self.record({"nodes": {"srv": 12}, "known": {"srv": [[1, 13]]}, "deleted": {}, "node": "srv", "tock": 40})

    def record(self, record: Any) -> None:
        """Any record."""
        self.data += packed(record)

    def entry(self, *path: Any, value: Any = ABSENT, tock: int | None = None, whole: bool = False) -> None:
        """An entry; without a value a deleted one. `whole`: its path is not shortened."""
        self._tick += 1
        record: dict[str, Any] = {"chain": {"node": "srv", "tick": self._tick, "prev": None}}
        if whole:
            record["path"] = list(path)
        else:
            depth = 0
            while depth < min(len(path), len(self._last)) and path[depth] == self._last[depth]:
                depth += 1
            record |= {"path": list(path[depth:]), "depth": depth}
            self._last = path
        if value is not ABSENT:
            record["value"] = value
        self.record(record | {"tock": self._tick if tock is None else tock})
