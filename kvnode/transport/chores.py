"""What is to be done soon, in the event loop, each time somebody asks for it.

On asyncio a task that waits for a signal, does its work and waits again costs a future, a turn of the task and the
walk through all coroutines that it waits in, each time. There the event loop calls the work directly. On other event
loops it is such a task. Either way what was asked for several times before it could be done is done once, exceptions
come out of :meth:`Chore.run`, and nothing is done before that runs or after it has ended.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, Protocol

import anyio

from .signals import on_asyncio


class Chore(Protocol):
    """See the module's text."""

    def ask(self) -> None:
        """Have it done, behind what the event loop has been asked for already."""

    async def run(self) -> None:
        """Do it whenever somebody asks, until :meth:`end`. Raises what the work raises."""

    def end(self) -> None:
        """Nothing is done any more: run() ends."""


class _CalledBack:
    """The event loop of asyncio calls it."""

    __slots__ = ("_asked", "_do", "_end", "_loop", "_runs")

    def __init__(self, do: Callable[[], object]) -> None:
        self._do: Final = do
        self._loop: Final = asyncio.get_running_loop()
        self._end: Final[asyncio.Future[None]] = self._loop.create_future()
        self._asked = False
        self._runs = False

    def ask(self) -> None:
        if not self._asked:
            self._asked = True
            if self._runs:
                self._loop.call_soon(self._call)

    def _call(self) -> None:
        if not self._runs:
            return
        self._asked = False
        try:
            self._do()
        except BaseException as err:  # whoever runs it is to know, whatever it is
            self._runs = False
            if not self._end.done():
                self._end.set_exception(err)

    async def run(self) -> None:
        self._runs = not self._end.done()
        if self._asked:
            self._loop.call_soon(self._call)
        try:
            await self._end
        finally:
            self._runs = False

    def end(self) -> None:
        self._runs = False
        if not self._end.done():
            self._end.set_result(None)


class _TaskOfItsOwn:
    """A task does it."""

    __slots__ = ("_asked", "_do", "_ended")

    def __init__(self, do: Callable[[], object]) -> None:
        self._do: Final = do
        self._asked = anyio.Event()
        self._ended = False

    def ask(self) -> None:
        self._asked.set()

    async def run(self) -> None:
        while not self._ended:
            await self._asked.wait()
            if not self._ended:
                self._asked = anyio.Event()
                self._do()

    def end(self) -> None:
        self._ended = True
        self._asked.set()


def chore(do: Callable[[], object]) -> Chore:
    """This work as a chore of the running event loop."""
    return _CalledBack(do) if on_asyncio() else _TaskOfItsOwn(do)
