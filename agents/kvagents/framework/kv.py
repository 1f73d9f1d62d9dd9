"""What agents need of a client of the KV tree. :class:`kvnode.client.Client` provides it; tests use one in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

from kvnode.client import Change, Gap, Reading, Uptodate
from kvnode.core.path import Path

WatchItem = Change | Uptodate | Gap


class Kv(Protocol):
    """The calls agents make; errors are those of :mod:`kvnode.client.errors`."""

    @property
    def is_connected(self) -> bool:
        """Whether there is a node now."""
        ...

    # ASYNC109: the time limit is part of the request, the node works with it too.

    async def get(self, path: Path | str, /) -> Reading:
        """The entry at `path`. Raises NotFound."""
        ...

    async def set(
        self,
        path: Path | str,
        value: Any,
        /,
        *,
        timeout: float,  # noqa: ASYNC109  # the node needs to know it
        expect: Any = None,
        idempotent: bool = False,
        ack: str = "disk",
    ) -> object:
        """Write `value`."""
        ...

    async def delete(
        self,
        path: Path | str,
        /,
        *,
        timeout: float,  # noqa: ASYNC109  # the node needs to know it
        idempotent: bool = False,
    ) -> object:
        """Delete the value at `path`."""
        ...

    def tree(self, path: Path | str, /) -> AbstractAsyncContextManager[AsyncIterator[Reading]]:
        """The entries at and below `path`."""
        ...

    def watch(self, path: Path | str, /) -> AbstractAsyncContextManager[AsyncIterator[WatchItem]]:
        """The entries at and below `path`, a marker, then every change."""
        ...
