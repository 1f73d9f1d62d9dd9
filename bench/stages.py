"""What a system goes through in a round: three stages, each on a fresh cluster.

* *clients*: what clients of it see, with a thousand keys
* *bulk*: many keys: loading, reading all, the memory they take, restart
* *cut*: the last node is cut off while the first is written to
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from bench.cluster import Cluster, until
from kvnode.testing.bench.measures import BULK, FAST, LOAD_BATCH, Bench, Measure, Sizes
from kvnode.testing.bench.store import KEYS, Store
from kvnode.testing.bench.timing import SETTLE_S, Sample, Stopwatch, in_flight

CUT_WRITES: Final = 10_000
"""With the sizes of a full run."""
CUT_S: Final = 6.0
"""A cut lasts at least so long: how soon a node tries again depends on it."""
REFUSED_S: Final = 3.0
"""A write that is not acknowledged after so long, on the side that is cut off, counts as refused."""
AGREE_S: Final = 15.0
"""Two sides that differ so long after the cut has healed will go on to."""
DISPUTED: Final = 1
"""The key that both sides write."""

Record = Callable[[str, Sample], None]


@dataclass(frozen=True, slots=True)
class Stage:
    """A stage; `wired` if it cuts links."""

    name: str
    run: Callable[[Cluster, Sizes, Record], Awaitable[None]]
    wired: bool = False


async def clients(cluster: Cluster, sizes: Sizes, record: Record) -> None:
    """All measures of few keys."""
    async with cluster.store(0) as near, cluster.store(-1) as far:
        await near.put_batch(range(KEYS))
        await asyncio.sleep(SETTLE_S)
        for measure in FAST:
            record(measure.name, await measure.run(_bench(cluster, near, far, sizes)))


async def bulk(cluster: Cluster, sizes: Sizes, record: Record) -> None:
    """Load, memory, scan, restart."""
    before = cluster.servers[0].resident_bytes
    async with cluster.store(0) as near:
        bench = _bench(cluster, near, near, sizes)
        load, scan = BULK
        record(load.name, await load.run(bench))
        await cluster.until_holds(-1, sizes.load)
        grown = cluster.servers[0].resident_bytes - before
        record("memory", Sample(grown / sizes.load, sizes.load))
        record(scan.name, await scan.run(bench))
        if export := cluster.export(near):
            with bench.watch.span():
                came = await export
            record("export", await bench.watch.sample(came / bench.watch.wall_s, came))
    last = cluster.servers[-1]
    await last.stop()
    last.spawn()
    record("restart", Sample(await cluster.until_holds(-1, sizes.load), sizes.load))


async def cut(cluster: Cluster, sizes: Sizes, record: Record) -> None:
    """Cut the last node off, write, heal: how long, how many bytes, and do both sides agree?"""
    assert cluster.wires is not None
    count = max(CUT_WRITES * sizes.load // Sizes().load, 10)
    async with cluster.store(0) as near:
        await near.put_batch(range(KEYS))
        await cluster.until_holds(-1, KEYS)
        cluster.wires.cut(len(cluster.servers) - 1)
        heal_at = time.monotonic() + CUT_S
        accepted = await _write_both(cluster, near)
        await in_flight(lambda n: near.put_batch(_part(KEYS, count, n)), -(-count // LOAD_BATCH), 1)
        await asyncio.sleep(heal_at - time.monotonic())
        cluster.wires.heal()
        record("heal", Sample(await cluster.until_holds(-1, KEYS + count), count))
        record("heal-bytes", Sample(cluster.wires.bytes / count, count))
        record("both", Sample(float(accepted and await _agree(cluster, near)), 1))


def _part(start: int, count: int, number: int) -> range:
    low = start + number * LOAD_BATCH
    return range(low, min(low + LOAD_BATCH, start + count))


async def _write_both(cluster: Cluster, near: Store) -> bool:
    """Write different values to one key on both sides; whether both took it."""

    async def near_takes_it() -> bool:
        async with asyncio.timeout(REFUSED_S):
            await near.put(DISPUTED, "near")
        return True

    await until(near_takes_it)  # a system with a leader may have to elect another one first
    try:
        async with asyncio.timeout(REFUSED_S), cluster.store(-1) as far:
            await far.put(DISPUTED, "far")
    except Exception:  # whatever the client of that system says: it was not acknowledged
        return False
    return True


async def _agree(cluster: Cluster, near: Store) -> bool:
    give_up = time.monotonic() + AGREE_S
    async with cluster.store(-1) as far:
        while (await near.get(DISPUTED)) != (await far.get(DISPUTED)):
            if time.monotonic() > give_up:
                return False
            await asyncio.sleep(0.1)
    return True


def _bench(cluster: Cluster, near: Store, far: Store, sizes: Sizes) -> Bench:
    return Bench(near, far, Stopwatch({server.name: server.pid for server in cluster.servers}), sizes)


@dataclass(frozen=True, slots=True)
class Row:
    """A row of the table; like a :class:`Measure`, which it is for those that a client alone can take."""

    name: str
    title: str
    unit: str
    more_is_better: bool


def _row(measure: Measure) -> Row:
    return Row(measure.name, measure.title, measure.unit, measure.more_is_better)


STAGES: Final = (Stage("clients", clients), Stage("bulk", bulk), Stage("cut", cut, wired=True))
ROWS: Final = (
    *map(_row, FAST),
    *map(_row, BULK),
    Row("export", "the whole tree as raw export, entries", "/s", True),
    Row("restart", "restart until complete", "s", False),
    Row("heal", "cut off, writes, link back: complete after", "s", False),
    Row("heal-bytes", "bytes per key caught up", "bytes", False),
    Row("memory", "memory per key", "bytes", False),
    Row("both", "both sides write during the cut, and agree", "yes", True),
)
