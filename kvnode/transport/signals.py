"""What waits and what tells the time in the running event loop, as cheaply as that loop can.

On asyncio, making, awaiting and setting an :class:`anyio.Event` costs some six microseconds, with a plain future one.
So the few places that wait once for each message take their signals here. On other event loops they are anyio's own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Generator
from typing import Any, Protocol

import anyio


class Signal(Protocol):
    """Set once; at most one task waits for it, once."""

    def set(self) -> None:
        """Let the waiting task go on. Harmless when repeated."""

    def wait(self) -> Awaitable[object]:
        """To be awaited, at once."""


class _FutureSignal:
    __slots__ = ("_future",)

    def __init__(self) -> None:
        self._future: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def set(self) -> None:
        if not self._future.done():
            self._future.set_result(None)

    def wait(self) -> asyncio.Future[None]:
        return self._future


class Ending(Protocol):
    """Ends once; at most one task awaits it, once. A future of asyncio is one; do not end what is :meth:`done`."""

    def done(self) -> bool:
        """Whether it has ended, or the task that awaited it was cancelled."""

    def set_result(self, result: None, /) -> None:
        """End it."""

    def __await__(self) -> Generator[Any, Any, None]: ...


class _EventEnding:
    __slots__ = ("_event",)

    def __init__(self) -> None:
        self._event = anyio.Event()

    def done(self) -> bool:
        return self._event.is_set()

    def set_result(self, result: None, /) -> None:
        self._event.set()

    def __await__(self) -> Generator[Any, Any, None]:
        return self._event.wait().__await__()


def on_asyncio() -> bool:
    """Whether the running event loop is asyncio's, or one that speaks for it, such as uvloop."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def signals() -> Callable[[], Signal]:
    """What makes signals for the running event loop."""
    return _FutureSignal if on_asyncio() else anyio.Event


def endings() -> Callable[[], Ending]:
    """What makes endings for the running event loop."""
    return asyncio.get_running_loop().create_future if on_asyncio() else _EventEnding


def clock() -> Callable[[], float]:
    """The clock of the running event loop, as :func:`anyio.current_time`, in seconds."""
    return asyncio.get_running_loop().time if on_asyncio() else anyio.current_time
