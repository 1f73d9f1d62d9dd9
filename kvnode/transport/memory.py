"""Connections inside one process, for tests and the simulator's drivers: bytes, bounded, and cut on demand.

What is sent comes out in other pieces than it went in (at most `chunk_bytes` each), as on a real network, so that
nobody comes to rely on message borders.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

import anyio
import anyio.lowlevel
from anyio.abc import ByteStream

from .address import Address
from .base import MAX_CONNECTIONS, Connection, DialFailed, Handler, ListenFailed, StreamConnection, handle, running

PIPE_BYTES: Final = 64 * 1024
"""Bytes under way in one direction before the sender waits, like a socket's buffer."""


class _Pipe:
    """One direction."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._chunks: deque[bytes] = deque()
        self._bytes = 0
        self._changed = anyio.Event()
        self.ended = False
        self.broken = False

    def notify(self) -> None:
        """Wake whoever waits for a change."""
        self._changed.set()
        self._changed = anyio.Event()

    async def put(self, data: bytes) -> None:
        while self._bytes >= self._capacity and not self.broken:
            await self._changed.wait()
        if self.broken:
            raise anyio.BrokenResourceError
        self._chunks.append(data)
        self._bytes += len(data)
        self.notify()

    async def get(self, max_bytes: int) -> bytes:
        while not self._chunks and not self.ended and not self.broken:
            await self._changed.wait()
        if self.broken:
            raise anyio.BrokenResourceError
        if not self._chunks:
            raise anyio.EndOfStream
        data = self._chunks.popleft()
        if len(data) > max_bytes:
            self._chunks.appendleft(data[max_bytes:])
            data = data[:max_bytes]
        self._bytes -= len(data)
        self.notify()
        return data


class MemoryStream(ByteStream):
    """One end of a connection in memory."""

    def __init__(self, incoming: _Pipe, outgoing: _Pipe, chunk_bytes: int) -> None:
        self._in = incoming
        self._out = outgoing
        self._chunk_bytes = chunk_bytes
        self._closed = False

    async def send(self, item: bytes) -> None:
        """Write, waiting for room."""
        await anyio.lowlevel.checkpoint()
        if self._closed:
            raise anyio.ClosedResourceError
        await self._out.put(bytes(item))

    async def receive(self, max_bytes: int = 65536) -> bytes:
        """The next bytes."""
        await anyio.lowlevel.checkpoint()
        if self._closed:
            raise anyio.ClosedResourceError
        try:
            return await self._in.get(min(max_bytes, self._chunk_bytes))
        except anyio.BrokenResourceError:
            if self._closed:
                raise anyio.ClosedResourceError from None
            raise

    async def send_eof(self) -> None:
        """Nothing follows."""
        self._out.ended = True
        self._out.notify()

    async def aclose(self) -> None:
        """Close; the other side still reads what is under way."""
        self._closed = True
        self._in.broken = True
        self._in.notify()
        await self.send_eof()
        await anyio.lowlevel.checkpoint()

    def cut(self) -> None:
        """Break both directions, as a pulled cable that is noticed does; what is under way is lost."""
        for pipe in (self._in, self._out):
            pipe.broken = True
            pipe.notify()

    @property
    def extra_attributes(self) -> Mapping[Any, Any]:
        """None."""
        return {}


def memory_pair(chunk_bytes: int = PIPE_BYTES, capacity: int = PIPE_BYTES) -> tuple[MemoryStream, MemoryStream]:
    """The two ends of a connection."""
    there, back = _Pipe(capacity), _Pipe(capacity)
    return MemoryStream(back, there, chunk_bytes), MemoryStream(there, back, chunk_bytes)


class MemoryListener:
    """See :class:`~kvnode.transport.base.Listener`."""

    def __init__(self, network: MemoryTransport, address: Address) -> None:
        self._network = network
        self._waiting: deque[StreamConnection] = deque()
        self._arrived = anyio.Event()
        self.address: Final = address

    def arrive(self, connection: StreamConnection) -> None:
        """A dialled connection reaches this end."""
        self._waiting.append(connection)
        self._arrived.set()

    async def serve(self, handler: Handler, *, max_connections: int = MAX_CONNECTIONS) -> None:
        """Run `handler` for each connection, see the protocol."""
        count = 0

        async def one(connection: StreamConnection) -> None:
            nonlocal count
            try:
                await handle(connection, handler)
            finally:
                count -= 1

        async with anyio.create_task_group() as tasks:
            while True:
                while self._waiting:
                    connection = self._waiting.popleft()
                    if count >= max_connections:
                        await connection.stream.aclose()
                        continue
                    count += 1
                    tasks.start_soon(one, connection)
                self._arrived = anyio.Event()
                await self._arrived.wait()

    async def aclose(self) -> None:
        """Stop listening; connections that nobody took are closed."""
        self._network.forget(self)
        while self._waiting:
            await self._waiting.popleft().stream.aclose()


class MemoryTransport:
    """A network in memory: names that listen, and connections that can be cut.

    `chunk_bytes` is the most that one receive() gives.
    """

    def __init__(self, chunk_bytes: int = PIPE_BYTES) -> None:
        self._chunk_bytes = chunk_bytes
        self._listeners: dict[str, MemoryListener] = {}
        self._open: dict[MemoryStream, str] = {}
        self.refused: set[str] = set()
        """Names that cannot be dialled for now."""

    @asynccontextmanager
    async def dial(self, address: Address) -> AsyncIterator[Connection]:
        """A connection to a name that listens."""
        await anyio.lowlevel.checkpoint()
        listener = self._listeners.get(address.path)
        if listener is None or address.path in self.refused:
            raise DialFailed(f"{address}: connection refused")
        near, far = memory_pair(self._chunk_bytes)
        self._open[near] = address.path
        try:
            listener.arrive(StreamConnection(far, "memory:dialler"))
            async with running(StreamConnection(near, str(address))) as connection:
                yield connection
        finally:
            del self._open[near]

    async def listen(self, address: Address) -> MemoryListener:
        """Listen under a name."""
        if address.path in self._listeners:
            raise ListenFailed(f"{address}: somebody listens there already")
        listener = self._listeners[address.path] = MemoryListener(self, address)
        return listener

    def cut(self, name: str | None = None) -> int:
        """Break the connections to a name (None: all); gives how many."""
        hit = [stream for stream, to in self._open.items() if name in (None, to)]
        for stream in hit:
            stream.cut()
        return len(hit)

    def forget(self, listener: MemoryListener) -> None:
        """The listener is closed."""
        if self._listeners.get(listener.address.path) is listener:
            del self._listeners[listener.address.path]
