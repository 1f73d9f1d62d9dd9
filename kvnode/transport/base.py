"""What every transport offers: connections of whole frames (see :mod:`.connection`), dialling, and listening."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Final, Protocol

from .address import Address
from .connection import MAX_QUEUED_BYTES, Connection, ConnectionClosed, DialFailed, ListenFailed, TransportError
from .stream import StreamConnection
from .tasks import background_tasks

__all__ = [
    "MAX_QUEUED_BYTES",
    "Connection",
    "ConnectionClosed",
    "DialFailed",
    "Handler",
    "ListenFailed",
    "Listener",
    "StreamConnection",
    "Transport",
    "TransportError",
    "handle",
    "running",
]

MAX_CONNECTIONS: Final = 1024
"""Connections a listener serves at once; more are closed when they arrive."""
ACCEPT_RETRY_S: Final = 0.2
"""Pause after the system refused to accept (out of file descriptors)."""

_log: Final = logging.getLogger("kvnode.transport")


@asynccontextmanager
async def running(connection: Connection) -> AsyncIterator[Connection]:
    """Let a connection run; at the end the connection is closed at once (see finish()).

    What the body raises comes out as it is, not as a group.
    """
    async with background_tasks() as tasks:
        tasks.start_soon(connection.run, name=f"connection to {connection.peer}")
        try:
            yield connection
        finally:
            connection.close()


Handler = Callable[[Connection], Awaitable[None]]


class Listener(Protocol):
    """Waits for connections. `address` is where, with the port that the system chose."""

    @property
    def address(self) -> Address:
        """Where it listens."""

    async def serve(self, handler: Handler, *, max_connections: int = MAX_CONNECTIONS) -> None:
        """Run `handler` in a task for each connection until cancelled; the connection ends with its handler.

        An exception of a handler is logged and ends its connection only.
        """

    async def aclose(self) -> None:
        """Stop listening."""


class Transport(Protocol):
    """Dials and listens."""

    def dial(self, address: Address) -> AbstractAsyncContextManager[Connection]:
        """A connection, closed at the end of the block. Raises DialFailed. Bound it in time from outside."""

    async def listen(self, address: Address) -> Listener:
        """Listen. Raises ListenFailed."""


async def handle(connection: Connection, handler: Handler) -> None:
    """Run a listener's handler on a new connection; what it raises is logged, never passed on."""
    try:
        async with running(connection):
            await handler(connection)
    except ConnectionClosed:
        return
    except Exception:
        _log.exception("the handler of the connection from %s failed", connection.peer)
