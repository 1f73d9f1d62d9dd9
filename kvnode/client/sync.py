"""The client for programs without an event loop::

    with sync.connect("127.0.0.1:27590", author="me") as kv:
        kv.set("home.attic.temp", 21.5)
        for change in kv.watch("home"):
            print(change)

It runs the asynchronous client in a thread of its own. Calls may come from any thread; arguments, results and errors
are those of :mod:`kvnode.client`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Generator, Iterable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager
from functools import partial
from typing import Any, Final, TypeVar

from anyio.from_thread import BlockingPortal, start_blocking_portal

from kvnode.core.path import ROOT, Path, Pattern
from kvnode.core.ticks import Dot

from . import api
from .history import History
from .items import Del, EventItem, Put, Reading, Sibling, Written
from .mirror import Item

T = TypeVar("T")


@contextmanager
def connect(address: str | Sequence[str], **options: Any) -> Iterator[SyncClient]:
    """A blocking client; see :func:`kvnode.client.connect` for the options."""
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(api.connect(address, **options)) as client,
    ):
        yield SyncClient(portal, client)


class SyncClient:
    """Blocking calls on a node. The iterators hold a stream open until they are used up or closed."""

    def __init__(self, portal: BlockingPortal, client: api.Client) -> None:
        self._portal: Final = portal
        self._client: Final = client

    def get(self, path: Path | str) -> Reading:
        """See :meth:`Client.get`."""
        return self._portal.call(self._client.get, path)

    def set(self, path: Path | str, value: Any, **options: Any) -> Written:
        """See :meth:`Client.set`."""
        return self._portal.call(partial(self._client.set, path, value, **options))

    def delete(self, path: Path | str, **options: Any) -> Written:
        """See :meth:`Client.delete`."""
        return self._portal.call(partial(self._client.delete, path, **options))

    def batch(self, writes: Iterable[Put | Del], **options: Any) -> list[Written]:
        """See :meth:`Client.batch`."""
        return self._portal.call(partial(self._client.batch, list(writes), **options))

    def send(self, path: Path | str, value: Any, *, author: str | None = None) -> None:
        """See :meth:`Client.send`."""
        self._portal.call(partial(self._client.send, path, value, author=author))

    def status(self) -> dict[str, Any]:
        """See :meth:`Client.status`."""
        return self._portal.call(self._client.status)

    def conflicts(self, path: Path | str = ROOT) -> list[Reading]:
        """See :meth:`Client.conflicts`."""
        return self._portal.call(self._client.conflicts, path)

    def history(self, path: Path | str, **options: Any) -> History:
        """See :meth:`Client.history`."""
        return self._portal.call(partial(self._client.history, path, **options))

    def undo(self, path: Path | str, to: Dot | None = None, **options: Any) -> tuple[Sibling, Written]:
        """See :meth:`Client.undo`."""
        return self._portal.call(partial(self._client.undo, path, to, **options))

    def tree(
        self,
        path: Path | str = ROOT,
        pattern: Pattern | str | None = None,
        depth: int | None = None,
        *,
        keys: bool = False,
    ) -> Generator[Reading, None, None]:
        """See :meth:`Client.tree`."""
        return self._iterate(self._client.tree(path, pattern, depth, keys=keys))

    def watch(
        self,
        path: Path | str = ROOT,
        pattern: Pattern | str | None = None,
        depth: int | None = None,
        *,
        latest: bool = False,
        keys: bool = False,
    ) -> Generator[Item, None, None]:
        """See :meth:`Client.watch`."""
        return self._iterate(self._client.watch(path, pattern, depth, latest=latest, keys=keys))

    def events(
        self, path: Path | str = ROOT, pattern: Pattern | str | None = None, depth: int | None = None
    ) -> Generator[EventItem, None, None]:
        """See :meth:`Client.events`."""
        return self._iterate(self._client.events(path, pattern, depth))

    def _iterate(self, stream: AbstractAsyncContextManager[AsyncIterator[T]]) -> Generator[T, None, None]:
        with self._portal.wrap_async_context_manager(stream) as items:
            while True:
                try:
                    yield self._portal.call(items.__anext__)
                except StopAsyncIteration:
                    return
