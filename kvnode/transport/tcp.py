"""TCP (IPv4 and IPv6) and Unix sockets.

Names are resolved at each dial, and all addresses of a name are tried (RFC 8305). A Unix socket's file is made for
its owner only unless told otherwise; a file that a dead process left behind is replaced, a living one's is not.
"""

from __future__ import annotations

import errno
import os
import socket
import stat
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

import anyio
from anyio.abc import SocketAttribute, SocketListener, SocketStream

from .address import Address
from .asyncio_stream import connection_over
from .base import (
    ACCEPT_RETRY_S,
    MAX_CONNECTIONS,
    Connection,
    DialFailed,
    Handler,
    ListenFailed,
    handle,
    running,
)
from .unix_asyncio import over_transport

DIAL_TIMEOUT_S: Final = 10.0
SOCKET_MODE: Final = 0o600
_GONE: Final = (OSError, ValueError, AttributeError)
"""What the backends raise over a socket that was reset before we looked at it."""
_FULL: Final = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


class TcpTransport:
    """Dials and listens on TCP and on Unix sockets. `socket_mode` is the access mode of a socket's file."""

    def __init__(self, *, dial_timeout_s: float = DIAL_TIMEOUT_S, socket_mode: int = SOCKET_MODE) -> None:
        self._dial_timeout_s = dial_timeout_s
        self._socket_mode = socket_mode

    @asynccontextmanager
    async def dial(self, address: Address) -> AsyncIterator[Connection]:
        """A connection, see :class:`~kvnode.transport.base.Transport`."""
        stream = await self._connect(address)
        async with running(connection_over(stream, str(address))) as connection:
            yield connection

    async def _connect(self, address: Address) -> SocketStream:
        try:
            with anyio.fail_after(self._dial_timeout_s):
                if address.kind == "unix":
                    return await over_transport(await anyio.connect_unix(address.path))
                stream = await anyio.connect_tcp(address.host, address.port)
        except TimeoutError:
            raise DialFailed(f"{address}: no answer within {self._dial_timeout_s:g} s") from None
        except (OSError, anyio.ConnectionFailed) as err:
            raise DialFailed(f"{address}: {_plain(err)}") from err
        _no_delay(stream)
        return stream

    async def listen(self, address: Address) -> SocketListeners:
        """Listen; a port of 0 lets the system choose."""
        try:
            if address.kind == "unix":
                await self._clear_stale(address)
                listener = await anyio.create_unix_listener(address.path, mode=self._socket_mode)
                return SocketListeners([listener], address)
            multi = await anyio.create_tcp_listener(local_host=address.host, local_port=address.port, reuse_port=False)
        except OSError as err:
            raise ListenFailed(f"{address}: {_plain(err)}") from err
        listeners = [each for each in multi.listeners if isinstance(each, SocketListener)]
        port = listeners[0].extra(SocketAttribute.local_port)
        return SocketListeners(listeners, Address("tcp", address.host, int(port)))

    async def _clear_stale(self, address: Address) -> None:
        """Leave a living process' socket alone: the library below would unlink whatever socket is there."""
        try:
            mode = os.stat(address.path).st_mode
        except FileNotFoundError:
            return
        if not stat.S_ISSOCK(mode):
            raise ListenFailed(f"{address}: there is a file that is no socket")
        try:
            with anyio.fail_after(1.0):
                stream = await anyio.connect_unix(address.path)
        except ConnectionRefusedError:
            return
        except (OSError, TimeoutError) as err:
            raise ListenFailed(f"{address}: another process may listen there: {_plain(err)}") from err
        await stream.aclose()
        raise ListenFailed(f"{address}: another process listens there")


class SocketListeners:
    """The listening sockets of one address (a name may have an IPv4 and an IPv6 one)."""

    def __init__(self, listeners: Sequence[SocketListener], address: Address) -> None:
        self._listeners = listeners
        self._count = 0
        self.address: Final = address

    async def serve(self, handler: Handler, *, max_connections: int = MAX_CONNECTIONS) -> None:
        """Run `handler` for each connection, see :class:`~kvnode.transport.base.Listener`."""
        async with anyio.create_task_group() as tasks:

            async def one(stream: SocketStream) -> None:
                try:
                    if self.address.kind == "unix":
                        stream = await over_transport(stream)
                    await handle(connection_over(stream, _peer(stream)), handler)
                finally:
                    self._count -= 1

            async def accept_from(listener: SocketListener) -> None:
                while True:
                    stream = await _accept(listener)
                    if stream is None:
                        return
                    if self._count >= max_connections:
                        await stream.aclose()
                        continue
                    self._count += 1
                    tasks.start_soon(one, stream)

            for listener in self._listeners:
                tasks.start_soon(accept_from, listener)

    async def aclose(self) -> None:
        """Stop listening; a Unix socket's file goes away."""
        for listener in self._listeners:
            await listener.aclose()
        if self.address.kind == "unix":
            with suppress(OSError):
                os.unlink(self.address.path)


async def _accept(listener: SocketListener) -> SocketStream | None:
    """The next connection; None once the listener is closed."""
    while True:
        try:
            stream = await listener.accept()
        except anyio.ClosedResourceError:
            return None
        except OSError as err:
            if err.errno not in (*_FULL, errno.ECONNABORTED):
                raise
            await anyio.sleep(ACCEPT_RETRY_S)
        else:
            _no_delay(stream)
            _hold_reading(stream)
            return stream


def _hold_reading(stream: SocketStream) -> None:
    """Do not read ahead of the first receive().

    anyio on asyncio (4.16) leaves an accepted transport reading into its list of chunks without bound; a dialled one it
    pauses.
    """
    transport = getattr(stream, "_transport", None)
    if transport is not None and not transport.is_closing():
        transport.pause_reading()


def _no_delay(stream: SocketStream) -> None:
    """Nagle's algorithm would hold small frames back; some stacks leave it on for accepted sockets."""
    with suppress(*_GONE):
        raw: Any = stream.extra(SocketAttribute.raw_socket)
        if raw.family != getattr(socket, "AF_UNIX", None):
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _peer(stream: SocketStream) -> str:
    try:
        if stream.extra(SocketAttribute.family) == getattr(socket, "AF_UNIX", None):
            return "unix"
        remote = stream.extra(SocketAttribute.remote_address, None)
    except _GONE:
        return "gone"
    return str(Address("tcp", str(remote[0]), int(remote[1]))) if remote else "gone"


def _plain(err: BaseException) -> str:
    """The reason in words: the system's, not the library's list of attempts."""
    seen: BaseException | None = err
    while seen is not None:
        if isinstance(seen, socket.gaierror):
            return "no such host" if seen.errno == socket.EAI_NONAME else str(seen.strerror)
        if isinstance(seen, OSError) and seen.errno:
            return os.strerror(seen.errno).lower()
        if isinstance(seen, BaseExceptionGroup):
            return _plain(seen.exceptions[0])
        seen = seen.__cause__
    return str(err) or type(err).__name__
