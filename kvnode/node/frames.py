"""Reading whole frames from a connection; shared by whoever takes over the connection after its first frame."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from kvnode.codec.framing import MAX_PAYLOAD_BYTES, FrameDecoder
from kvnode.transport.base import Connection

FIRST_PAYLOAD_BYTES: Final = 1024 * 1024
"""The first frame of a connection may be this large; it says who is calling."""


class Frames:
    """The frames that come on a connection. `on_bytes` is called for every piece that arrives."""

    def __init__(self, connection: Connection) -> None:
        self.connection: Final = connection
        self.on_bytes: Callable[[], None] | None = None
        self._decoder = FrameDecoder(FIRST_PAYLOAD_BYTES)
        self._ready: list[bytes] = []

    async def batch(self) -> list[bytes]:
        """The next payloads, at least one. Raises ConnectionClosed at the end, and FrameError if it is no sequence of
        frames.
        """
        while not self._ready:
            data = await self.connection.receive()
            if self.on_bytes is not None:
                self.on_bytes()
            self._ready = self._decoder.feed(data)
        batch, self._ready = self._ready, []
        return batch

    async def deliver(self, take: Callable[[list[bytes]], bool]) -> None:
        """Hand the payloads that come to `take`, until it gives False: no more are wanted for now. It must not wait.
        Raises what it raises, and what :meth:`batch` does.
        """

        def cut(data: bytes) -> bool:
            if self.on_bytes is not None:
                self.on_bytes()
            payloads = self._decoder.feed(data)
            return not payloads or take(payloads)

        ready, self._ready = self._ready, []
        if not ready or take(ready):
            await self.connection.deliver(cut)

    async def first(self) -> bytes:
        """The first payload; those behind it stay for :meth:`batch`."""
        payload, *self._ready = await self.batch()
        self._decoder.max_payload = MAX_PAYLOAD_BYTES
        return payload
