"""Connections over any byte stream of anyio."""

from __future__ import annotations

from typing import Any, Final

import anyio
from anyio.abc import ByteStream

from .connection import BROKEN, MAX_QUEUED_BYTES, Connection, reason

RECEIVE_BYTES: Final = 256 * 1024
ABORT_TIMEOUT_S: Final = 1.0


class StreamConnection(Connection):
    """A connection over any byte stream of anyio, with a task that writes."""

    __slots__ = ("_scope", "_wake", "stream")

    def __init__(self, stream: ByteStream, peer: str, *, max_queued_bytes: int = MAX_QUEUED_BYTES) -> None:
        super().__init__(peer, max_queued_bytes=max_queued_bytes)
        self.stream: Final = stream
        self._idle = False
        self._wake = anyio.Event()
        self._scope = anyio.CancelScope()

    def attribute(self, key: Any) -> Any:
        """See :meth:`Connection.attribute`."""
        return self.stream.extra(key, None)

    async def run(self) -> None:
        """See :meth:`Connection.run`: the writer."""
        failure: BaseException | None = None
        try:
            with self._scope:
                await self._write_all()
        except BROKEN as broken:
            self.close(reason(broken))
        except BaseException as err:  # nothing waits in here, so that this can be compiled
            failure = err
        self._ended()
        with anyio.move_on_after(ABORT_TIMEOUT_S, shield=True):
            await self.stream.aclose()
        if failure is not None:
            raise failure

    async def _write_all(self) -> None:
        while not self.why:
            if not self._queue:
                self._wake = anyio.Event()
                self._idle = True
                await self._wake.wait()
                self._idle = False
                continue
            data = self._next_write()
            await self.stream.send(data)
            self._written(len(data))

    def _output(self) -> None:
        self._wake.set()

    async def _input(self) -> bytes:
        try:
            return await self.stream.receive(RECEIVE_BYTES)
        except anyio.EndOfStream:
            return b""

    async def _send_eof(self) -> None:
        await self.stream.send_eof()

    def _shut(self) -> None:
        self._scope.cancel()
