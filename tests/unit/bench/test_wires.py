"""Links under test: they pass bytes on and count them, know who dials, can be cut and healed."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any

from bench.wires import Wires

FIRST, LAST = 0, 1
LIMIT_S = 30.0


class Line:
    """A connection to something that says everything back."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def says(self, text: bytes) -> bytes:
        """What comes back; nothing if the line is broken."""
        try:
            self.writer.write(text)
            return await self.reader.read(1000)
        except ConnectionError:
            return b""


@asynccontextmanager
async def line(port: int) -> AsyncIterator[Line]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield Line(reader, writer)
    finally:
        writer.close()


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(1000):
        writer.write(data)
    writer.close()


@asynccontextmanager
async def wired(dialler: int) -> AsyncIterator[tuple[Wires, int]]:
    """Wires in front of two nodes, and the port of the first one. This process plays the node `dialler`."""
    wires, pids = Wires(), {dialler: os.getpid()}
    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    try:
        await wires.start(2, lambda: [pids.get(node, 0) for node in (FIRST, LAST)])
        yield wires, wires.ports([server.sockets[0].getsockname()[1]] * 2)[FIRST]
    finally:
        await wires.close()
        server.close()


def run(main: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(main, LIMIT_S))


def test_links_of_the_last_node_are_counted_and_cut() -> None:
    async def main() -> None:
        async with wired(LAST) as (wires, port), line(port) as old:
            assert await old.says(b"hello") == b"hello"
            assert wires.bytes == 2 * len(b"hello")
            wires.cut(LAST)
            assert await old.says(b"old") == b""
            async with line(port) as new:
                assert await new.says(b"new") == b""
            wires.heal()
            assert wires.bytes == 0
            async with line(port) as again:
                assert await again.says(b"again") == b"again"

    run(main())


def test_links_of_others_are_neither() -> None:
    async def main() -> None:
        async with wired(FIRST) as (wires, port), line(port) as old:
            wires.cut(LAST)
            assert await old.says(b"old") == b"old"
            assert wires.bytes == 0

    run(main())
