"""The elements right below a path, without reading what lies deeper: one question for each of them."""

from __future__ import annotations

from typing import NamedTuple

from kvnode.core.path import Path, key_range_end, path_key

from .session import Session
from .streams import Scope, TreeStream


class Child(NamedTuple):
    """A path that is one element longer. `is_entry`: it has a value; `has_more`: something lies below it."""

    path: Path
    is_entry: bool
    has_more: bool


async def children(session: Session, path: Path, limit: int) -> list[Child]:
    """See :meth:`kvnode.client.api.Client.children`."""
    out: list[Child] = []
    after = path_key(path)
    found = await _next(session, path, after)
    while found is not None and len(out) < limit:
        child = Path(found[: len(path) + 1])
        is_entry = found == child
        if is_entry:
            found = await _next(session, path, path_key(child))
        has_more = found is not None and found.is_below(child)
        out.append(Child(child, is_entry, has_more))
        if has_more:
            found = await _next(session, path, key_range_end(path_key(child)))
    return out


async def _next(session: Session, path: Path, after: bytes) -> Path | None:
    """The first path behind a key."""
    async with TreeStream(session, Scope(path), keys=True, after=after, window=1) as rows:
        async for reading in rows:
            return reading.path
    return None
