"""A TCP proxy that can be cut, frozen and healed: the network between two nodes, in a test's hands.

* *cut*: existing connections break, new ones are accepted and closed at once. Both ends notice.
* *frozen*: connections stay, but nothing passes and no new one gets through: a pulled cable, a router that forgot.
  Nobody is told; the ends have to find out. One direction can be frozen by itself.
* *healed*: everything passes, what was held back in a frozen connection included.

Besides, a connection can be broken after so many bytes, that is: in the middle of a message.
"""

from __future__ import annotations

import socket
import struct
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Final

import anyio
from anyio.abc import SocketAttribute, SocketStream
from anyio.from_thread import BlockingPortal, start_blocking_portal

CHUNK_BYTES: Final = 65536
_BROKEN: Final = (anyio.BrokenResourceError, anyio.ClosedResourceError, OSError)


class _Gate:
    """Lets what comes pass, or holds it back."""

    def __init__(self) -> None:
        self._open = anyio.Event()
        self._open.set()

    def set(self, *, is_open: bool) -> None:
        if is_open:
            self._open.set()
        elif self._open.is_set():
            self._open = anyio.Event()

    async def passed(self) -> None:
        """Wait until it is open."""
        while not self._open.is_set():
            await self._open.wait()


class Proxy:
    """Passes what comes at `port` (loopback) on to `target_port`. Made by :func:`proxy` and :func:`proxy_thread`.

    `passed_bytes` counts what went through, in both directions. `limit`, if set, is asked at the start of each
    connection, for each of its directions, after how many bytes the connection breaks.
    """

    def __init__(self, target_port: int, port: int = 0) -> None:
        self.target_port = target_port
        self.port = port
        self.passed_bytes = 0
        self.limit: Callable[[], int] | None = None
        self._is_cut = False
        self._there = _Gate()
        self._back = _Gate()
        self._scopes: set[anyio.CancelScope] = set()

    @property
    def address(self) -> str:
        """Where to dial."""
        return f"127.0.0.1:{self.port}"

    @property
    def connections(self) -> int:
        """Connections that are open now."""
        return len(self._scopes)

    def cut(self) -> None:
        """Break what is there, let nothing new through."""
        self.heal()
        self._is_cut = True
        self.drop()

    def drop(self) -> None:
        """Break what is there; new connections pass."""
        for scope in self._scopes:
            scope.cancel()

    def freeze(self, *, there: bool = True, back: bool = True) -> None:
        """Let nothing pass, and tell nobody. `there` is the direction to the target, `back` the other one; one that is
        not frozen passes.
        """
        self._is_cut = False
        self._there.set(is_open=not there)
        self._back.set(is_open=not back)

    def heal(self) -> None:
        """Let everything pass."""
        self.freeze(there=False, back=False)

    # -- working ---------------------------------------------------------------------------------------------

    async def _serve(self, near: SocketStream) -> None:
        async with near:
            await self._there.passed()
            await self._back.passed()
            if self._is_cut:
                _break_at_close(near)
                return
            try:
                far = await anyio.connect_tcp("127.0.0.1", self.target_port)
            except OSError:
                _break_at_close(near)
                return
            async with far:
                await self._join(near, far)

    async def _join(self, near: SocketStream, far: SocketStream) -> None:
        for stream in (near, far):
            stream.extra(SocketAttribute.raw_socket).setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        ended = 0
        scope = anyio.CancelScope()

        async def one_way(source: SocketStream, sink: SocketStream, gate: _Gate) -> None:
            nonlocal ended
            try:
                await self._pump(source, sink, gate)
                ended += 1
            except _BROKEN:
                scope.cancel()

        self._scopes.add(scope)
        try:
            with scope:
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(one_way, near, far, self._there)
                    tasks.start_soon(one_way, far, near, self._back)
        finally:
            self._scopes.discard(scope)
        if ended < 2:
            _break_at_close(near)
            _break_at_close(far)

    async def _pump(self, source: SocketStream, sink: SocketStream, gate: _Gate) -> None:
        """One direction, until its end, which is passed on, or its limit."""
        left = self.limit() if self.limit else sys.maxsize
        try:
            while left > 0:
                data = await source.receive(min(left, CHUNK_BYTES))
                await gate.passed()
                await sink.send(data)
                self.passed_bytes += len(data)
                left -= len(data)
        except anyio.EndOfStream:
            await gate.passed()
            await sink.send_eof()
        else:
            raise anyio.BrokenResourceError


def _break_at_close(stream: SocketStream) -> None:
    """The other end shall see a reset, as after a cut, not an orderly end."""
    raw = stream.extra(SocketAttribute.raw_socket)
    with suppress(OSError, ValueError):  # gone already; uvloop has its own word for that
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


@asynccontextmanager
async def proxy(target_port: int, port: int = 0) -> AsyncIterator[Proxy]:
    """Run a proxy on this event loop; a `port` of 0 lets the system choose."""
    made = Proxy(target_port)
    async with await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=port) as listener:
        made.port = listener.extra(SocketAttribute.local_port)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(listener.serve, made._serve)
            yield made
            tasks.cancel_scope.cancel()


class ProxyThread:
    """A :class:`Proxy` on a thread of its own, for tests without an event loop; see there."""

    def __init__(self, portal: BlockingPortal, inner: Proxy) -> None:
        self._portal: Final = portal
        self._inner: Final = inner
        self.address: Final = inner.address
        self.port: Final = inner.port

    @property
    def connections(self) -> int:
        """Connections that are open now."""
        return self._portal.call(lambda: self._inner.connections)

    def limit(self, limit: Callable[[], int] | None) -> None:
        """Let each direction of new connections break after so many bytes; None: never."""
        self._portal.call(setattr, self._inner, "limit", limit)

    def cut(self) -> None:
        """Break what is there, let nothing new through."""
        self._portal.call(self._inner.cut)

    def drop(self) -> None:
        """Break what is there; new connections pass."""
        self._portal.call(self._inner.drop)

    def freeze(self) -> None:
        """Let nothing pass, and tell nobody."""
        self._portal.call(self._inner.freeze)

    def heal(self) -> None:
        """Let everything pass."""
        self._portal.call(self._inner.heal)


@contextmanager
def proxy_thread(target_port: int, port: int = 0) -> Iterator[ProxyThread]:
    """Run a proxy on a thread of its own."""
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(proxy(target_port, port)) as inner:
        yield ProxyThread(portal, inner)
