"""Unix sockets over asyncio's own transports.

anyio's stream over a Unix socket (4.16) waits by a future that the event loop sets once the socket is ready. It does so
too if the waiting task was cancelled earlier in the same turn, and then logs an InvalidStateError ("Exception in
callback Future.set_result"); up to 4.14, closing a stream at that moment raised it. A transport knows no such moment;
and what it carries takes the short way of :class:`~.asyncio_stream.AsyncioConnection`, as on TCP.
"""

from __future__ import annotations

import asyncio
from typing import Any, cast

from anyio.abc import SocketAttribute, SocketStream

from .signals import on_asyncio


class _Held(asyncio.Protocol):
    """Keeps what comes until a connection takes the transport over; what it asks of anyio's own protocol."""

    def __init__(self) -> None:
        self.read_queue: list[bytes] = []
        self.is_at_eof = False
        self.exception: Exception | None = None

    def data_received(self, data: bytes) -> None:
        self.read_queue.append(data)

    def eof_received(self) -> bool:
        self.is_at_eof = True
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_at_eof = True
        self.exception = exc


class _OverTransport:
    """As much of a stream as :func:`~.asyncio_stream.connection_over` looks at."""

    def __init__(self, stream: SocketStream, transport: asyncio.Transport, protocol: _Held) -> None:
        self.extra = stream.extra
        self._transport = transport
        self._protocol = protocol


async def over_transport(stream: SocketStream) -> SocketStream:
    """Give the socket of a stream that was not used so far to an asyncio transport; nothing on other event loops.

    If this is cancelled, the socket is closed.
    """
    if not on_asyncio():
        return stream
    raw: Any = stream.extra(SocketAttribute.raw_socket)
    held = _Held()
    transport, _ = await asyncio.get_running_loop().create_unix_connection(lambda: held, sock=raw)
    if not transport.is_closing():
        transport.pause_reading()
    return cast(SocketStream, _OverTransport(stream, transport, held))
