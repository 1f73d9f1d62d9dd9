"""A connection: what all kinds of them share, whatever carries their bytes.

A :class:`Connection` wraps a byte stream. All output passes one writer, which joins whatever was queued since it last
woke into one write; that is where most of the throughput comes from, and it keeps a cancelled sender from tearing a
frame. Queueing is synchronous and bounded in bytes: whoever produces faster than the other side reads
sees False, or waits in :meth:`Connection.drained`. A cancelled write closes the connection.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from typing import Any, Final

import anyio

MAX_QUEUED_BYTES: Final = 16 * 1024 * 1024
"""Output a connection holds for a slow reader; one frame is taken in any case when nothing else is queued."""
LOW_WATER_BYTES: Final = 256 * 1024
"""Below this a queue counts as drained."""
MAX_WRITE_BYTES: Final = 256 * 1024
"""Queued frames are joined up to this size."""
FLUSH_TIMEOUT_S: Final = 2.0
"""How long an orderly close waits for its last bytes to leave."""
BROKEN: Final = (anyio.BrokenResourceError, anyio.ClosedResourceError, OSError)
"""What streams raise over a connection that is no more."""


class TransportError(Exception):
    """The environment's errors: no route, refused, broken."""


class DialFailed(TransportError):
    """No connection came about. The text is one line, with the address."""


class ListenFailed(TransportError):
    """The address cannot be listened on. The text is one line, with the address."""


class ConnectionClosed(TransportError):
    """The connection is at its end: closed here, by the other side, or broken. The text says which."""


class Connection(ABC):
    """A connection. Its output leaves while :func:`running` is entered; receive() and deliver() belong to one task.

    `peer` is the other side's address as text, for logs and status. This is what all kinds of connections share: the
    bounded queue, the orderly end, and the reasons.
    """

    __slots__ = ("_bytes", "_drained", "_finish", "_idle", "_max", "_queue", "_receiving", "peer", "why")

    def __init__(self, peer: str, *, max_queued_bytes: int = MAX_QUEUED_BYTES) -> None:
        self.peer: Final = peer
        self.why = ""
        """Why the connection is closed; empty while it is open."""
        self._max = max_queued_bytes
        self._queue: deque[bytes] = deque()
        self._bytes = 0
        self._idle = True
        """Whether the output has to be told (:meth:`_output`) of what is queued."""
        self._finish = False
        self._receiving = False
        self._drained: anyio.Event | None = None

    # -- what each kind does its own way -----------------------------------------------------------------------

    @abstractmethod
    def attribute(self, key: Any) -> Any:
        """A typed attribute of the stream below (an address, a certificate), None if it has none."""

    @abstractmethod
    async def run(self) -> None:
        """Be open until :meth:`close`; what is left to be done then is done at its end."""

    @abstractmethod
    def _output(self) -> None:
        """Something was queued while it was idle; it is to say when it is so again."""

    @abstractmethod
    async def _input(self) -> bytes:
        """The next bytes; none at the end. Raises what :data:`BROKEN` lists."""

    @abstractmethod
    async def _send_eof(self) -> None:
        """Say that nothing follows."""

    @abstractmethod
    def _shut(self) -> None:
        """End it now. May be called again."""

    # -- what all have -----------------------------------------------------------------------------------------

    @property
    def is_closed(self) -> bool:
        """Whether nothing more can be sent or received."""
        return bool(self.why)

    @property
    def queued_bytes(self) -> int:
        """Bytes queued that the stream has not taken yet."""
        return self._bytes

    @property
    def queued_frames(self) -> int:
        """How often something was queued that has yet to be handed to the stream."""
        return len(self._queue)

    def queue(self, data: bytes) -> bool:
        """Queue one or more whole frames; False, and nothing queued, if the bound is reached or the end came."""
        held = self._bytes
        size = held + len(data)
        if self.why or self._finish or (size > self._max and held):
            return False
        self._queue.append(data)
        self._bytes = size
        if self._idle:
            self._idle = False
            self._output()
        return True

    async def send(self, data: bytes) -> None:
        """Queue whole frames, waiting for room. Raises ConnectionClosed. Returns before the bytes have left."""
        while not self.queue(data):
            await self.drained(max(self._max - len(data), 0))

    async def drained(self, below: int = LOW_WATER_BYTES) -> None:
        """Wait until at most `below` bytes are queued. Raises ConnectionClosed."""
        while self._bytes > below and not self.why:
            await self._change()
        if self.why or self._finish:
            raise ConnectionClosed(self.why or "the connection is being closed")

    async def receive(self) -> bytes:
        """The next bytes, at least one. Raises ConnectionClosed at the end."""
        if self.why:
            raise ConnectionClosed(self.why)
        self._receiving = True
        try:
            data = await self._input()
            if data:
                return data
            self.close("closed by the other side")
        except BROKEN as err:
            self.close(reason(err))
        finally:
            self._receiving = False
        raise ConnectionClosed(self.why)

    async def deliver(self, take: Callable[[bytes], bool]) -> None:
        """Hand what comes to `take`, piece by piece, until it gives False: no more is wanted for now. What came by then
        is kept. `take` must not wait. Raises what it raises, and ConnectionClosed at the end.
        """
        while take(await self.receive()):
            pass

    def push(self) -> None:  # noqa: B027  # most kinds cannot, and need not
        """Let what is queued leave now, where that can be done without waiting; it leaves anyway, soon."""

    def close(self, why: str = "closed here") -> None:
        """Close at once; what is queued is dropped. Harmless when repeated: the first reason stays."""
        if not self.why:
            self.why = why
        self._shut()
        self._note_drained()

    async def finish(self, why: str = "closed here") -> None:
        """Close in order: what is queued leaves first, for at most :data:`FLUSH_TIMEOUT_S`."""
        self._finish = True
        with anyio.move_on_after(FLUSH_TIMEOUT_S, shield=True):
            while self._bytes and not self.why:
                await self._change()
            if not self.why:
                await self._end_output()
        self.close(why)

    async def _end_output(self) -> None:
        """Say that nothing follows, and let the other side read to the end: closing a socket with unread input
        would reset it and could destroy what is still under way.
        """
        try:
            await self._send_eof()
            with anyio.move_on_after(FLUSH_TIMEOUT_S / 4):
                while self._receiving:  # by another task, which then sees the end
                    await self._change()
                while not self.why and await self._input():
                    pass
        except BROKEN:
            return

    async def _change(self) -> None:
        """Wait until the queue has become short, or the connection is closed."""
        if self._drained is None:
            self._drained = anyio.Event()
        await self._drained.wait()

    def _next_write(self) -> bytes:
        """What is queued, joined up to :data:`MAX_WRITE_BYTES`."""
        queue = self._queue
        first = queue.popleft()
        if not queue:
            return first
        parts = [first]
        size = len(first)
        while queue and size < MAX_WRITE_BYTES:
            part = queue.popleft()
            parts.append(part)
            size += len(part)
        return b"".join(parts)

    def _written(self, size: int) -> None:
        """The stream has taken so many bytes."""
        self._bytes -= size
        if self._drained is not None:
            self._note_drained()

    def _note_drained(self) -> None:
        """Let everybody who waits for room look again."""
        if self._drained is not None:
            self._drained.set()
            self._drained = None

    def _ended(self) -> None:
        """Nothing leaves any more."""
        if not self.why:
            self.why = "closed here"
        self._queue.clear()
        self._bytes = 0
        self._note_drained()


def reason(err: BaseException) -> str:
    """Why a connection broke, in words."""
    cause = err.__cause__ if isinstance(err.__cause__, OSError) else err
    if isinstance(cause, OSError):
        return f"broken: {cause.strerror or cause}"
    return "closed here" if isinstance(err, anyio.ClosedResourceError) else "broken"
