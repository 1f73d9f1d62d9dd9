"""Feeding the tree from a device, and driving a device from the tree: the I/O that is the same for all agents."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any, Final

import anyio

from kvagents.framework.binding import Input, Output
from kvagents.framework.commands import Apply, Command, Commands, Refuse
from kvagents.framework.errors import Failed, shown
from kvagents.framework.filter import Written
from kvagents.framework.link import Link
from kvnode.client import Change, Gap, KvError, NotFound
from kvnode.data.errors import Severity

log = logging.getLogger(__name__)

LOOK_S: Final = 1.0
"""The connection to the tree is looked at this often."""
LAST_ACT_S: Final = 3.0
"""How long setting the fail-safe value may take when the agent ends."""
AGAIN_S: Final = 1.0
"""A watch that fails is begun anew after this time."""


class Feed:
    """Values of a device on their way to the tree: converted, filtered, written, with the time they stay good."""

    def __init__(self, link: Link, input: Input) -> None:
        self._link = link
        self._input = input
        self._written: Written | None = None

    async def take(self, raw: Any) -> None:
        """The device says `raw`. What cannot be converted or written is an error of this input alone."""
        now = anyio.current_time()
        try:
            value = self._input.converter.to_tree(raw)
            if self._input.filter.wants(value, now, self._written):
                self._link.feeds(self._input.dest, self._input.path, self._input.stale_after_s)
                if await self._link.put(self._input.dest, value):
                    self._written = Written(value, now)
        except Failed as error:
            self._link.failed(self._input.path, error.code, error.message, error.severity)
        else:
            self._link.works(self._input.path)


async def drive(link: Link, output: Output, apply: Callable[[Any], Awaitable[Any]]) -> None:
    """Set a device to what the tree says, until cancelled.

    `apply` sets it and returns its read-back, as raw as what it was given; None if it has none. What it raises as
    :class:`Failed` is an error of this output; the next command is tried all the same. If the agent ends meanwhile,
    the device is set to the fail-safe value.
    """
    await _Driver(link, output, apply).run()


class _Driver:
    """One output."""

    def __init__(self, link: Link, output: Output, apply: Callable[[Any], Awaitable[Any]]) -> None:
        self._link = link
        self._output = output
        self._apply = apply
        self._commands = Commands(output.rules)
        self._heard: Change | None = None
        self._next: Command | None = None
        self._news = anyio.Event()

    async def run(self) -> None:
        self._commands = Commands(self._output.rules, await self._executed())
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._follow)
                while True:
                    await self._turn()
        except anyio.get_cancelled_exc_class():
            await self._last_act()
            raise

    async def _executed(self) -> datetime | None:
        """When the last command was carried out: the time of the read-back. A node is waited for."""
        while self._output.state is not None:
            try:
                return (await self._link.kv.get(self._output.state)).time
            except NotFound:
                break
            except KvError:
                await anyio.sleep(AGAIN_S)
        return None

    async def _follow(self) -> None:
        """Keep the latest command; one that is overtaken before it was carried out is not carried out at all."""
        while True:
            try:
                async with self._link.kv.watch(self._output.src) as items:
                    async for item in items:
                        if isinstance(item, Gap):
                            log.debug("commands at %s were overtaken", self._output.src)
                        elif isinstance(item, Change) and item.path == self._output.src:
                            self._hear(item)
            except KvError as error:
                log.debug("cannot follow %s: %s", self._output.src, error)
            await anyio.sleep(AGAIN_S)

    def _hear(self, item: Change) -> None:
        """A command, one whose lease has ended, or the end of one. Deleting one without a lease changes nothing."""
        if not item.deleted:
            self._heard = item
        if self._heard is None or (item.deleted and self._heard.lease is None):
            return
        self._next = Command(self._heard.value, self._heard.time, over=item.deleted or item.expired)
        self._news.set()

    async def _turn(self) -> None:
        """Wait for a command, or for a look at the connection, and do what follows from it."""
        with anyio.move_on_after(LOOK_S):
            await self._news.wait()
        self._news = anyio.Event()
        command, self._next = self._next, None
        if command is not None:
            await self._act(self._commands.command(command, self._link.wall()))
        await self._act(self._commands.link(self._link.kv.is_connected, anyio.current_time()))

    async def _act(self, what: Apply | Refuse | None) -> None:
        path = self._output.path
        if isinstance(what, Refuse):
            self._link.failed(path, "stale_command", f"{self._output.src}: {what.message}", Severity.WARNING)
        elif what is not None:
            try:
                await self._set(what)
            except Failed as error:
                self._link.failed(path, error.code, error.message, error.severity)

    async def _set(self, what: Apply) -> None:
        raw = self._output.converter.to_device(what.value)
        answer = await self._apply(raw)
        if what.is_fail_safe:
            log.warning("set to its fail-safe value", extra={"path": str(self._output.path)})
        # Converting there and back may not give the very same float.
        value = what.value if answer in (None, raw) else self._output.converter.to_tree(answer)
        if self._output.state is not None:
            await self._link.put(self._output.state, value)
        if value != what.value:
            raise Failed("read_back", f"{self._output.src}: was set to {shown(what.value)} and says {shown(value)}")
        if not what.is_fail_safe:
            self._link.works(self._output.path)

    async def _last_act(self) -> None:
        """The agent ends: nobody will look after the output any more."""
        what = self._commands.lost() if self._link.is_needed else None
        if what is None:
            return
        with anyio.move_on_after(LAST_ACT_S, shield=True):
            try:
                await self._apply(self._output.converter.to_device(what.value))
                if self._output.state is not None:
                    self._link.leave(self._output.state, what.value)
            except Failed as error:
                log.warning("not set to its fail-safe value: %s", error, extra={"path": str(self._output.path)})
