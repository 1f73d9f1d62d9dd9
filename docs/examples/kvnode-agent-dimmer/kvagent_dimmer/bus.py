"""The only I/O of this agent: lines to and from the box."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
from anyio.abc import ByteStream
from anyio.streams.buffered import BufferedByteReceiveStream

from kvagents.framework.errors import Failed

TIMEOUT_S = 3.0
MAX_LINE = 80


class Box:
    """A connection to the box. Methods raise :class:`Failed`."""

    def __init__(self, stream: ByteStream, where: str) -> None:
        self._stream = stream
        self._lines = BufferedByteReceiveStream(stream)
        self._where = where
        self._one_at_a_time = anyio.Lock()

    async def level(self, lamp: int) -> int:
        """How bright a lamp is, in percent."""
        return await self._ask(f"get {lamp}")

    async def set(self, lamp: int, level: object) -> int:
        """Make a lamp that bright; returns what the box says it is now."""
        return await self._ask(f"set {lamp} {level}")

    async def _ask(self, line: str) -> int:
        try:
            async with self._one_at_a_time:
                with anyio.fail_after(TIMEOUT_S):
                    await self._stream.send(f"{line}\n".encode())
                    answer = (await self._lines.receive_until(b"\n", MAX_LINE)).decode("ascii", "replace").strip()
        except TimeoutError:
            raise Failed("timeout", f"{self._where} does not answer in time") from None
        except (OSError, anyio.BrokenResourceError, anyio.IncompleteRead, anyio.DelimiterNotFound):
            raise Failed("closed", f"{self._where} went away") from None
        if not answer.isdigit():
            raise Failed("refused", f"{self._where} says to {line!r}: {answer}")
        return int(answer)


@asynccontextmanager
async def open_box(address: str) -> AsyncIterator[Box]:
    """Connect to the box. Raises :class:`Failed`."""
    host, _, port = address.rpartition(":")
    try:
        with anyio.fail_after(TIMEOUT_S):
            stream = await anyio.connect_tcp(host, int(port))
    except (OSError, TimeoutError) as error:
        raise Failed("unreachable", f"the box at {address} cannot be reached: {str(error) or 'no answer'}") from None
    async with stream:
        yield Box(stream, f"the box at {address}")
