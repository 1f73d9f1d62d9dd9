"""Clients of a node: what their sessions share (see :mod:`.session`)."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, Final

import anyio

from kvnode.client import protocol as p
from kvnode.client.wire import choose_protocol, framed
from kvnode.core.effects import Notify
from kvnode.core.messages import Event
from kvnode.transport.base import Connection

from .client_limits import ClientLimits
from .driver import Driver
from .frames import Frames
from .inspecting import Inspector
from .rows import RowEncoder
from .session import ClientSession, Shared
from .streams import EventStream, event_row
from .watching import WatchIndex


class ClientServer:
    """Serves clients from `driver`. `wall_ms` gives the time, for expiry."""

    def __init__(
        self,
        driver: Driver,
        *,
        limits: ClientLimits | None = None,
        inspector: Inspector | None = None,
        wall_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self.driver: Final = driver
        self.limits: Final = limits or ClientLimits()
        self.encoder: Final = RowEncoder(driver.replica, wall_ms)
        self.key_encoder: Final = RowEncoder(driver.replica, wall_ms, values=False)
        self.watches: Final = WatchIndex()
        self.events: Final[dict[EventStream, None]] = {}
        self.inspector: Final = inspector or Inspector(driver)
        self._sessions: Final[dict[ClientSession, None]] = {}
        self._remove: Final = (driver.on_notify(self._notify), driver.on_deliver(self._deliver))

    async def serve(self, connection: Connection, frames: Frames, hello: p.ClientHello) -> None:
        """An accepted connection whose first frame is a client's hello; until its end."""
        version = choose_protocol(hello.protocol_min, hello.protocol_max)
        if version is None:
            await _refuse(connection, "protocol_error", _no_common_version(hello))
            return
        if len(self._sessions) >= self.limits.connections:
            await _refuse(connection, "limit", f"this node serves {self.limits.connections} clients already")
            return
        encoders = (self.encoder, self.key_encoder)
        shared = Shared(self.driver, self.limits, encoders, self.watches, self.events, self.status, self.inspector)
        async with anyio.create_task_group() as tasks:
            session = ClientSession(shared, connection, frames, hello, tasks)
            self._sessions[session] = None
            try:
                await session.run(version)
            finally:
                del self._sessions[session]
                session.close()
            tasks.cancel_scope.cancel()

    def close(self) -> None:
        """Listen to the driver no more."""
        for remove in self._remove:
            remove()

    def status(self) -> dict[str, Any]:
        """The node's status, with the clients' part."""
        sessions = list(self._sessions)
        clients = {
            "connections": len(sessions),
            "streams": sum(s.stream_count for s in sessions),
            "watches": len(self.watches),
        }
        return self.driver.status() | {"clients": clients}

    def stale(self, key: bytes) -> None:
        """The reading of an entry has become stale without a change."""
        self._notify((Notify(key, self.driver.replica.tree.get(key)),))

    def _notify(self, changes: Sequence[Notify]) -> None:
        watches = self.watches
        if not len(watches):
            return
        for change in changes:
            key, siblings = change.key, change.siblings
            for watch in watches.of(key, siblings):
                watch.notify(key, siblings)
                watch.wake()

    def _deliver(self, event: Event) -> None:
        if not self.events:
            return
        row = event_row(event)
        for stream in self.events:
            if stream.deliver(event, row):
                stream.wake()


def _no_common_version(hello: p.ClientHello) -> str:
    theirs = f"{hello.protocol_min} to {hello.protocol_max}"
    ours = f"{p.PROTOCOL_MIN} to {p.PROTOCOL_MAX}"
    older = "client" if hello.protocol_max < p.PROTOCOL_MIN else "node"
    return f"the client speaks protocol {theirs}, the node {ours}: upgrade the {older}"


async def _refuse(connection: Connection, code: str, message: str) -> None:
    connection.queue(framed(p.Fail(0, code, message)))
    await connection.finish(message)
