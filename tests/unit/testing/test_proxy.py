"""The proxy between two nodes: one direction by itself, and connections that break after so many bytes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import pytest
from anyio.abc import SocketAttribute, SocketStream

from kvnode.testing.inprocess import WAIT_S, eventually
from kvnode.testing.proxy import Proxy, proxy

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def linked(limit: int | None = None) -> AsyncIterator[tuple[Proxy, SocketStream, SocketStream]]:
    """A proxy with a connection through it: the end that dialled, and the one that was dialled."""
    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as multi:
        listener = multi.listeners[0]
        async with proxy(listener.extra(SocketAttribute.local_port)) as link:
            link.limit = (lambda: limit) if limit else None
            async with await anyio.connect_tcp("127.0.0.1", link.port) as near, await listener.accept() as far:
                yield link, near, far


async def read_to_the_end(stream: SocketStream) -> bytes:
    found = b""
    try:
        while True:
            found += await stream.receive()
    except (anyio.BrokenResourceError, anyio.EndOfStream):
        return found


async def test_a_connection_breaks_after_its_limit() -> None:
    with anyio.fail_after(WAIT_S):
        async with linked(limit=5) as (link, near, far):
            await near.send(b"abcdefgh")
            assert await read_to_the_end(far) == b"abcde"
            assert link.passed_bytes == 5


async def test_one_direction_is_frozen_by_itself() -> None:
    with anyio.fail_after(WAIT_S):
        async with linked() as (link, near, far):
            link.freeze(back=False)
            link.freeze(back=False)  # twice is as good as once
            await near.send(b"ab")
            await far.send(b"cd")
            assert await near.receive() == b"cd"
            await eventually(lambda: link.passed_bytes == 2)
            link.heal()
            assert await far.receive() == b"ab"
