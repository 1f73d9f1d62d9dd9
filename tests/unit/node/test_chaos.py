"""Whole nodes under random cuts, restarts, disk failures and writes: afterwards all have the same, and all that was
acknowledged. (The core's own faults are the simulator's; here it is about what stands around it.)
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable

import anyio
import pytest

from kvnode.core.ticks import Dot
from kvnode.node import acks
from kvnode.node.acks import AckLevel
from kvnode.node.errors import AckTimeout, NodeError
from kvnode.store.base import StoreIOError
from kvnode.store.memory import MemoryDisk
from kvnode.testing.inprocess import TestNode, eventually, running_node
from kvnode.transport.memory import MemoryTransport

pytestmark = pytest.mark.anyio

NAMES = ("a", "b", "c", "d")
STEPS = 60
PATHS = 12
SEEDS = range(int(os.environ.get("CHAOS_FROM", "0")), int(os.environ.get("CHAOS_TO", "2")))
"""More of them: CHAOS_TO=100 pytest tests/unit/node/test_chaos.py"""


class Chaos:
    """Nodes on one network, and what was acknowledged by them."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.network = MemoryTransport(chunk_bytes=self.rng.choice([3, 100, 65536]))
        self.disks = {name: MemoryDisk(name=name) for name in NAMES}
        self.nodes: dict[str, TestNode] = {}
        self.stops: dict[str, anyio.Event] = {}
        self.gone: dict[str, anyio.Event] = {}
        self.starts = 0
        self.acknowledged: list[Dot] = []
        self.lost: list[str] = []

    async def keep(self, name: str, *, task_status: anyio.abc.TaskStatus[None]) -> None:
        """Run a node until it is stopped."""
        self.starts += 1
        node = TestNode(name, disk=self.disks[name], seed=self.starts)
        seeds = [other for other in NAMES if other < name or self.rng.random() < 0.5]
        async with running_node(node, self.network, seeds=[s for s in seeds if s != name]):
            self.nodes[name], self.stops[name] = node, anyio.Event()
            self.gone[name] = gone = anyio.Event()
            task_status.started()
            await self.stops[name].wait()
            del self.nodes[name]
        gone.set()

    async def write(self, node: TestNode) -> None:
        """One write at some level; cut short by whatever happens to the node."""
        level = self.rng.choice([acks.DISK, acks.DISK, acks.ALL, AckLevel("peer", 1)])
        value = None if self.rng.random() < 0.2 else self.rng.random()
        path = f"p{self.rng.randrange(PATHS)}"
        try:
            wrote = await node.set(path, value, level, timeout_s=0.3)
        except AckTimeout:
            return
        except NodeError:
            return
        self.acknowledged.append(wrote.dot)

    async def step(self, tasks: anyio.abc.TaskGroup) -> None:
        """Something happens."""
        name = self.rng.choice(NAMES)
        actions: list[Callable[[], object]] = [
            lambda: self.network.cut(name),
            lambda: self.network.refused.add(name),
            self.network.refused.clear,
            lambda: setattr(self.disks[name], "failure", StoreIOError(name, "test")),
            self.mend,
        ]
        what = self.rng.randrange(20)
        if what < len(actions):
            actions[what]()
        elif what == len(actions) and name in self.nodes and len(self.nodes) == len(NAMES):
            self.stops[name].set()
            await self.gone[name].wait()
            await tasks.start(self.keep_named(name))
        else:
            for node in list(self.nodes.values()):
                tasks.start_soon(self.write, node)
        await anyio.sleep(self.rng.random() * 0.02)

    def keep_named(self, name: str) -> Callable[..., object]:
        async def keep(*, task_status: anyio.abc.TaskStatus[None]) -> None:
            await self.keep(name, task_status=task_status)

        return keep

    def mend(self) -> None:
        for disk in self.disks.values():
            disk.failure = None

    def is_quiet(self) -> bool:
        """Whether all know the same, and hold it durably."""
        nodes = list(self.nodes.values())
        stored = all(node.driver.store.failure is None and not node.driver.store.pending for node in nodes)
        return stored and all(node.replica.known == nodes[0].replica.known for node in nodes)

    def dumps(self) -> set[str]:
        """What the nodes hold, each as text; equal texts for equal values."""
        return {str(_values(node)) for node in self.nodes.values()}


def _values(node: TestNode) -> list[tuple[Dot, bytes]]:
    return [(v.dot, v.body) for _, siblings in node.replica.tree.scan() for v in siblings if not v.is_tombstone]


@pytest.mark.parametrize("seed", SEEDS)
async def test_after_any_trouble_all_have_the_same_and_nothing_acknowledged_is_lost(seed: int) -> None:
    chaos = Chaos(seed)
    async with anyio.create_task_group() as tasks:
        for name in NAMES:
            await tasks.start(chaos.keep_named(name))
        for _ in range(STEPS):
            await chaos.step(tasks)
        chaos.mend()
        chaos.network.refused.clear()
        await eventually(chaos.is_quiet, 30)
        await eventually(lambda: len(chaos.dumps()) == 1)
        for node in chaos.nodes.values():
            assert not [dot for dot in chaos.acknowledged if dot not in node.replica.known]
        assert chaos.acknowledged
        for stop in chaos.stops.values():
            stop.set()
