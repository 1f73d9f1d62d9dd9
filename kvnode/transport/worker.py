"""A thread for what may block, one thing after the other.

On asyncio, handing something to :mod:`anyio`'s threads and back costs some 90 microseconds of CPU time; to a thread of
its own and back by a future, a quarter of that. On other event loops these are anyio's threads.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from typing import Any, Final, TypeVar

import anyio
import anyio.to_thread

from .signals import on_asyncio

T = TypeVar("T")

_Order = tuple[Callable[[], Any], asyncio.AbstractEventLoop, "asyncio.Future[Any]"]


class Worker:
    """See the module's text. The thread starts when it is needed first, and ends by :meth:`close`."""

    def __init__(self, name: str) -> None:
        self._name: Final = name
        self._limiter: anyio.CapacityLimiter | None = None
        self._orders: SimpleQueue[_Order | None] | None = None

    async def run(self, do: Callable[[], T]) -> T:
        """Have it done; gives or raises what it does. It is waited for even by a task that is cancelled."""
        if not on_asyncio():
            if self._limiter is None:
                self._limiter = anyio.CapacityLimiter(1)
            return await anyio.to_thread.run_sync(do, limiter=self._limiter)
        if self._orders is None:
            self._orders = SimpleQueue()
            threading.Thread(target=_work, args=(self._orders,), name=self._name).start()
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        self._orders.put((do, loop, future))
        with anyio.CancelScope(shield=True):
            await future
        return future.result()

    def close(self) -> None:
        """End the thread, behind what it has to do."""
        if self._orders is not None:
            self._orders.put(None)
            self._orders = None


def _work(orders: SimpleQueue[_Order | None]) -> None:
    while (order := orders.get()) is not None:
        do, loop, future = order
        result: Any = None
        error: BaseException | None = None
        try:
            result = do()
        except BaseException as err:  # whatever it is, it belongs to who asked
            error = err
        with suppress(RuntimeError):  # nobody is there any more: the event loop was ended
            loop.call_soon_threadsafe(_answer, future, result, error)
        del order, do, future, result, error  # while it waits, it keeps nothing alive


def _answer(future: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)
