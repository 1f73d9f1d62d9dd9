"""Real sockets that break in the middle of frames, again and again: nothing is torn but the connection."""

from __future__ import annotations

import itertools
import random

import anyio
import pytest

from kvnode.core.entry import Siblings
from kvnode.testing.inprocess import TestNode, eventually, running_node
from kvnode.testing.proxy import proxy
from kvnode.transport.tcp import TcpTransport

pytestmark = pytest.mark.anyio

WAIT_S = 100.0
CONNECTIONS = 16
PATHS = 100


class Limits:
    """After how many bytes each direction of each connection breaks: the first in the first frames, then anywhere."""

    def __init__(self) -> None:
        self._rng = random.Random(1)
        self._first = iter([2, 100, 500, 3, 6, 30])
        self.asked = 0

    def __call__(self) -> int:
        self.asked += 1
        return next(self._first, 0) or self._rng.randrange(400, 20_000)

    @property
    def enough(self) -> bool:
        return self.asked >= 2 * CONNECTIONS


async def write(node: TestNode, limits: Limits) -> None:
    """Write until enough connections broke; the last write is to a path that nobody else writes to."""
    for number in itertools.count():
        await node.set(f"side.{node.name}.n{number % PATHS}", "x" * (number % 1_000))
        await node.set(f"both.n{number % 10}", f"{node.name} {number}")
        if limits.enough and number > PATHS:
            return


def held(node: TestNode) -> dict[bytes, Siblings]:
    return dict(node.replica.tree.scan())


async def test_links_that_break_in_the_middle_of_frames() -> None:
    limits = Limits()
    tcp = TcpTransport()
    async with (
        running_node(TestNode("a"), tcp, listen="127.0.0.1:0") as a,
        proxy(a.address.port) as link,
    ):
        link.limit = limits
        async with running_node(TestNode("b"), tcp, listen="127.0.0.1:0", seeds=[link.address]) as b:
            with anyio.fail_after(WAIT_S):
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(write, a, limits)
                    tasks.start_soon(write, b, limits)
            link.limit = None
            link.drop()
            await eventually(lambda: a.replica.known == b.replica.known and held(a) == held(b), WAIT_S)
            assert all(a.get(f"side.b.n{n}") is not None and b.get(f"side.a.n{n}") is not None for n in range(PATHS))
