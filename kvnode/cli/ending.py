"""Ending in order: for a command that would leave something behind if a signal ended it at once."""

from __future__ import annotations

import signal
from collections.abc import Awaitable, Callable
from typing import Final

import anyio
import asyncclick as click

from kvnode.transport.tasks import background_tasks

_NAMES: Final = ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT")
"""What asks a process to end and lets it do so its own way: Ctrl-C, kill, a terminal that is closed, Ctrl-\\."""


async def in_order(work: Callable[[], Awaitable[None]]) -> None:
    """Do the work. A signal that asks to end cancels it, and takes its usual effect once the work has put away its own.

    Signals that come in the meantime change nothing: putting away has to be bounded in time. Raises click.Abort for
    Ctrl-C; any other such signal ends the process.
    """
    number = await until_signal(work)
    if number is signal.SIGINT:
        raise click.Abort
    if number is not None:
        signal.raise_signal(number)


async def until_signal(work: Callable[[], Awaitable[None]]) -> signal.Signals | None:
    """The first part of :func:`in_order`; gives the signal that came first, if any came."""
    first: signal.Signals | None = None
    scope = anyio.CancelScope()

    async def listen() -> None:
        nonlocal first
        async for number in signals:
            first = first or number
            scope.cancel()

    with anyio.open_signal_receiver(*_heeded()) as signals:
        async with background_tasks() as tasks:
            tasks.start_soon(listen)
            with scope:
                await work()
    return first


def _heeded() -> list[signal.Signals]:
    """Those that nobody said to ignore, as nohup does, and a shell for what runs in its background."""
    known = [signal.Signals[name] for name in _NAMES if name in signal.Signals.__members__]
    return [number for number in known if signal.getsignal(number) is not signal.SIG_IGN]
