"""Whole nodes inside one test: driver, peers and store, on a network in memory.

Times are short, so that tests that have to wait for back-off or for a probe wait little; everything else is as in
a real node.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

import anyio

from kvnode.codec.values import pack, unpack
from kvnode.core.effects import Change, Now, Wrote
from kvnode.core.path import Path
from kvnode.core.policy import read
from kvnode.core.replica import Replica
from kvnode.node import acks
from kvnode.node.acks import AckLevel
from kvnode.node.dial import DialLimits
from kvnode.node.driver import Driver, system_clock
from kvnode.node.frames import Frames
from kvnode.node.liveness import LivenessLimits
from kvnode.node.peers import Peers
from kvnode.store.memory import MemoryDisk, MemoryStore
from kvnode.transport.address import Address, parse_address
from kvnode.transport.base import Connection, Transport
from kvnode.transport.memory import MemoryTransport

FAST_DIAL: Final = DialLimits(
    first_s=0.01, most_s=0.1, stable_s=0.0, unfit_s=0.5, yield_s=0.01, learn_first_s=0.05, learn_again_s=0.2, look_s=0.1
)
FAST_LIVENESS: Final = LivenessLimits(
    idle_ms=60, answer_ms=60, probe_ms=60, suspect_least_ms=60, suspect_most_ms=120, slow_ms=400, late_ms=200
)
WAIT_S: Final = 60.0
"""Nothing that a test waits for takes so long, even on a slow and busy machine."""
_sessions: Final = itertools.count(1)


async def eventually(check: Callable[[], bool], timeout_s: float = WAIT_S) -> None:
    """Wait until `check` holds, for what nobody announces. Raises TimeoutError."""
    with anyio.fail_after(timeout_s):
        for pause_s in itertools.chain((0.0, 0.001, 0.002, 0.005), itertools.repeat(0.01)):
            if check():
                return
            await anyio.sleep(pause_s)


class TestNode:
    """A node in this process. `disk` survives it: run another one on it to restart."""

    __test__ = False  # no test class, whatever pytest thinks of the name

    def __init__(self, name: str, *, disk: MemoryDisk | None = None, seed: int = 0, cluster: str = "kvnode") -> None:
        rng = random.Random(f"{name} {seed}")
        self.name: Final = name
        self.disk: Final = disk or MemoryDisk()
        self.store: Final = MemoryStore(self.disk)
        self.clock = system_clock
        self.rng: Final = rng
        now = Now(0, 0)
        self.replica: Final = Replica(
            name,
            session=next(_sessions),
            random_bits=rng.getrandbits,
            now=now,
            loaded=self.store.load(),
            cluster=cluster,
        )
        self.driver: Final = Driver(self.replica, self.store)
        self.peers: Peers | None = None
        self.address = Address("memory", path=name)

    async def set(self, path: str, value: Any, ack: AckLevel = acks.DISK, timeout_s: float = WAIT_S) -> Wrote:
        """Write a value; None deletes."""
        data = None if value is None else pack(value)
        (wrote,) = await self.driver.propose([Change(Path.parse(path), data)], ack, timeout_s)
        return wrote

    def get(self, path: str) -> Any:
        """The value at a path; None if there is none."""
        where = Path.parse(path)
        reading = read(self.replica.tree.at(where), self.replica.policy_of(where), self.clock().wall, unpack)
        return None if reading is None else reading.value

    async def until(self, path: str, value: Any) -> None:
        """Wait until a path reads so. Raises TimeoutError."""
        changed = anyio.Event()

        def look(change: object) -> None:
            if self.get(path) == value:
                changed.set()

        remove = self.driver.on_notify(look)
        try:
            look(None)
            with anyio.fail_after(WAIT_S):
                await changed.wait()
        finally:
            remove()

    def linked(self) -> frozenset[str]:
        """The names of the peers that are linked now."""
        rows = self.peers.rows() if self.peers else []
        return frozenset(row.name for row in rows if row.state == "linked")

    async def until_linked(self, *names: str) -> None:
        """Wait until these, and only these, peers are linked."""
        await eventually(lambda: self.linked() == frozenset(names))

    async def _accept(self, connection: Connection) -> None:
        frames = Frames(connection)
        first = await frames.first()
        assert self.peers is not None
        await self.peers.serve(connection, frames, first)


@asynccontextmanager
async def running_node(
    node: TestNode,
    network: Transport | None = None,
    *,
    seeds: Sequence[str] = (),
    discover: bool = False,
    advertise: bool = True,
    liveness: LivenessLimits = FAST_LIVENESS,
    dial: DialLimits = FAST_DIAL,
    listen: str | None = None,
) -> AsyncIterator[TestNode]:
    """Run a node that listens under its name (``memory:NAME``, or `listen`) and dials `seeds` (names, or addresses);
    stop it at the end.
    """
    network = network or MemoryTransport()
    node.peers = Peers(
        node.driver,
        network,
        seeds=[parse_address(seed if ":" in seed else f"memory:{seed}") for seed in seeds],
        clock=node.clock,
        random=node.rng.random,
        discover=discover,
        loopback=True,
        liveness=liveness,
        dial=dial,
    )
    listener = await network.listen(parse_address(listen or f"memory:{node.name}"))
    node.address = listener.address
    try:
        async with anyio.create_task_group() as tasks:
            await tasks.start(node.driver.run)
            tasks.start_soon(node.peers.run)
            tasks.start_soon(listener.serve, node._accept)
            if advertise:
                await node.driver.call(lambda replica, now: replica.set_addresses([], now))
            yield node
            node.driver.stop()
            tasks.cancel_scope.cancel()
    finally:
        await listener.aclose()
        node.store.close()
