"""Connections over asyncio's own transports, without anyio's streams between.

On asyncio a stream of anyio takes two turns of the event loop and several events for each piece, and stops reading in
between. Here the transport hands over what came and takes what leaves directly, which halves the cost of a message.
Everything else is as with :class:`~.stream.StreamConnection`; the contract suite holds both to the same behaviour.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final, Protocol, cast

import anyio
from anyio.abc import SocketStream

from .connection import Connection, reason
from .signals import on_asyncio
from .stream import StreamConnection

MAX_UNREAD_BYTES: Final = 256 * 1024
"""So much that nobody has received yet may wait; then the transport stops reading."""


class _Taken(Protocol):
    """What an anyio stream on asyncio keeps of what came before it was taken over."""

    read_queue: Any
    is_at_eof: bool
    exception: Exception | None


class AsyncioConnection(Connection):
    """A connection over an asyncio transport that was taken from `stream`. To that it is an :class:`asyncio.Protocol`,
    but not by inheritance, so that it can be compiled.
    """

    __slots__ = (
        "_chunks",
        "_closed",
        "_ended_input",
        "_enough",
        "_held",
        "_lost",
        "_paused",
        "_stopped",
        "_stream",
        "_take",
        "_transport",
        "_unread",
        "_waiting",
    )

    def __init__(self, stream: SocketStream, transport: asyncio.Transport, before: _Taken, peer: str) -> None:
        super().__init__(peer)
        self._stream: Final = stream
        self._transport: Final = transport
        self._chunks: list[bytes] = list(before.read_queue)
        self._unread = sum(map(len, self._chunks))
        self._ended_input = before.is_at_eof or transport.is_closing()
        self._lost: Exception | None = before.exception
        self._waiting: asyncio.Future[None] | None = None
        self._take: Callable[[bytes], bool] | None = None
        """Takes what comes, without a task in between."""
        self._enough = False
        """Whether it wanted no more."""
        self._stopped = False
        self._paused = False
        self._held = 0
        self._closed: Final = anyio.Event()
        if not transport.is_closing():  # it may have been reset by now; then some event loops let nobody touch it
            transport.set_protocol(cast("asyncio.Protocol", self))
            transport.set_write_buffer_limits(0)
            transport.resume_reading()

    def attribute(self, key: Any) -> Any:
        """See :meth:`Connection.attribute`."""
        return self._stream.extra(key, None)

    async def run(self) -> None:
        """See :meth:`Connection.run`."""
        try:
            await self._closed.wait()
        finally:
            self._ended()
            self._transport.abort()

    def _shut(self) -> None:
        self._closed.set()
        self._transport.abort()
        self._wake_reader()

    # -- input -------------------------------------------------------------------------------------------------

    async def _input(self) -> bytes:
        while not self._chunks:
            if self.why:
                raise anyio.ClosedResourceError
            if self._lost is not None:
                raise anyio.BrokenResourceError from self._lost
            if self._ended_input:
                return b""
            self._waiting = asyncio.get_running_loop().create_future()
            await self._waiting
        chunks, self._chunks, self._unread = self._chunks, [], 0
        if self._stopped and not self._transport.is_closing():
            self._stopped = False
            self._transport.resume_reading()
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    async def deliver(self, take: Callable[[bytes], bool]) -> None:
        """See :meth:`Connection.deliver`: what is read goes there at once, without a task in between."""
        while True:
            while self._chunks or self._is_over:
                if not take(await self.receive()):
                    return
            self._take, self._enough, self._receiving = take, False, True
            self._waiting = asyncio.get_running_loop().create_future()
            try:
                await self._waiting
                if self._enough:
                    return
            finally:
                self._take, self._receiving = None, False

    @property
    def _is_over(self) -> bool:
        return bool(self.why or self._lost is not None or self._ended_input)

    def data_received(self, data: bytes) -> None:
        """The transport has read this."""
        if self._take is not None and not self.why:
            self._deliver(self._take, data)
            return
        self._chunks.append(data)
        self._unread += len(data)
        if self._unread > MAX_UNREAD_BYTES and not self._stopped:
            self._stopped = True
            self._transport.pause_reading()
        self._wake_reader()

    def _deliver(self, take: Callable[[bytes], bool], data: bytes) -> None:
        try:
            if take(data):
                return
        except BaseException as err:  # whoever waits for the end of it is to know, whatever it is
            if self._waiting is not None and not self._waiting.done():
                self._waiting.set_exception(err)
        self._take, self._enough = None, True
        self._wake_reader()

    def eof_received(self) -> bool:
        """Nothing follows; what is to be sent may still leave."""
        self._ended_input = True
        self._wake_reader()
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        """The transport is at its end."""
        self._ended_input = True
        self._lost = self._lost or exc
        if not self._receiving and not self.why and exc is not None:
            self.close(reason(exc))
        self._wake_reader()

    def _wake_reader(self) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    # -- output ------------------------------------------------------------------------------------------------

    def _output(self) -> None:
        asyncio.get_running_loop().call_soon(self._write)

    def push(self) -> None:
        """See :meth:`Connection.push`."""
        if not self._paused:
            self._write()

    def _write(self) -> None:
        """Hand over what was queued since the event loop turned, until the transport has to wait."""
        while self._queue and not (self._paused or self.why or self._transport.is_closing()):
            data = self._next_write()
            self._held = len(data)
            self._transport.write(data)
            if not self._paused:
                self._written(len(data))
        self._idle = not self._paused  # else resume_writing() goes on

    def pause_writing(self) -> None:
        """The transport has not got rid of what it was given."""
        self._paused = True

    def resume_writing(self) -> None:
        """It has."""
        self._paused = False
        if not self.why:
            self._written(self._held)
            self._write()

    async def _send_eof(self) -> None:
        if not self._transport.is_closing():
            self._transport.write_eof()


def connection_over(stream: SocketStream, peer: str) -> Connection:
    """A connection over a socket: over its asyncio transport if there is one to be had."""
    transport: Any = getattr(stream, "_transport", None)
    before: Any = getattr(stream, "_protocol", None)
    if on_asyncio() and hasattr(transport, "set_protocol") and hasattr(before, "read_queue"):
        return AsyncioConnection(stream, transport, before, peer)
    return StreamConnection(stream, peer)
