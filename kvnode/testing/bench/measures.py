"""The measures. Each takes a store on one node, one on another node, and a stopwatch, and gives a sample."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final

import anyio

from .store import BATCH, KEYS, Store
from .timing import SETTLE_S, Sample, Stopwatch, in_flight, median_ms

IN_FLIGHT: Final = 64
BATCHES_IN_FLIGHT: Final = 8
LOAD_BATCH: Final = 1_000
MOST_AHEAD: Final = 5_000
"""So many writes may be under way to a watcher: no system lets ever more of them wait; what it does then differs."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """How many operations each measure makes."""

    one: int = 1_000
    far: int = 500
    many: int = 6_000
    batches: int = 100
    gets: int = 10_000
    watched: int = 20_000
    load: int = 100_000

    def divided(self, by: int) -> Sizes:
        """Smaller ones, for a first impression, but ten of each at least."""
        each = (self.one, self.far, self.many, self.batches, self.gets, self.watched, self.load)
        return Sizes(*(max(size // by, 10) for size in each))


@dataclass(frozen=True, slots=True)
class Bench:
    """What a measure works with: `near` and `far` are stores on two nodes, `watch` a stopwatch of its own."""

    near: Store
    far: Store
    watch: Stopwatch
    sizes: Sizes


@dataclass(frozen=True, slots=True)
class Measure:
    """A measure: what it is, in which unit, and whether more is better."""

    name: str
    title: str
    unit: str
    more_is_better: bool
    run: Callable[[Bench], Awaitable[Sample]]


async def put_one(bench: Bench) -> Sample:
    """One put at a time."""
    with bench.watch.span():
        took = await in_flight(lambda n: bench.near.put(n % KEYS), bench.sizes.one, 1)
    return await bench.watch.sample(median_ms(took), len(took))


async def put_many(bench: Bench) -> Sample:
    """Puts in flight."""
    with bench.watch.span():
        took = await in_flight(lambda n: bench.near.put(n % KEYS), bench.sizes.many, IN_FLIGHT)
    return await bench.watch.sample(len(took) / bench.watch.wall_s, len(took))


async def put_batches(bench: Bench) -> Sample:
    """Batches in flight; counted are the puts in them."""

    async def batch(number: int) -> None:
        start = number * BATCH
        await bench.near.put_batch([(start + at) % KEYS for at in range(BATCH)])

    with bench.watch.span():
        took = await in_flight(batch, bench.sizes.batches, BATCHES_IN_FLIGHT)
    puts = len(took) * BATCH
    return await bench.watch.sample(puts / bench.watch.wall_s, puts)


async def get_many(bench: Bench) -> Sample:
    """Gets in flight."""
    await _prepare(bench)
    with bench.watch.span():
        took = await in_flight(lambda n: bench.near.get(n % KEYS), bench.sizes.gets, IN_FLIGHT)
    return await bench.watch.sample(len(took) / bench.watch.wall_s, len(took))


async def get_one(bench: Bench) -> Sample:
    """One get at a time: there and back, and little else."""
    await _prepare(bench)
    with bench.watch.span():
        took = await in_flight(lambda n: bench.near.get(n % KEYS), bench.sizes.one, 1)
    return await bench.watch.sample(median_ms(took), len(took))


async def put_to_far_watch(bench: Bench) -> Sample:
    """From the call of a put at one node to its arrival at a watcher of the other, one at a time."""
    took: list[float] = []
    async with bench.far.watch() as changes:
        with bench.watch.span():
            for number in range(bench.sizes.far):
                key = KEYS + number
                began = time.perf_counter()
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(bench.near.put, key)
                    await _until(changes, key)
                    took.append(time.perf_counter() - began)
    return await bench.watch.sample(median_ms(took), len(took))


async def _until(changes: AsyncIterator[int], key: int) -> None:
    async for seen in changes:
        if seen == key:
            return


async def watched(bench: Bench) -> Sample:
    """Updates seen by a watcher at the other node, while batches are written as fast as they are taken, at most
    :data:`MOST_AHEAD` ahead of the watcher.
    """
    count = bench.sizes.watched
    seen = 0
    room = anyio.Event()

    async def batch(number: int) -> None:
        while number * BATCH - seen > MOST_AHEAD:
            await room.wait()
        start = 2 * KEYS + number * BATCH
        await bench.near.put_batch(range(start, min(start + BATCH, 2 * KEYS + count)))

    async def write() -> None:
        await in_flight(batch, -(-count // BATCH), BATCHES_IN_FLIGHT)

    async with bench.far.watch() as changes:
        with bench.watch.span():
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(write)
                async for _ in changes:
                    seen += 1
                    if seen % BATCH == 0:
                        room.set()
                        room = anyio.Event()
                    if seen == count:
                        break
    return await bench.watch.sample(count / bench.watch.wall_s, count)


async def load(bench: Bench) -> Sample:
    """Write many keys, in batches."""
    with bench.watch.span():
        await _fill(bench.near, bench.sizes.load)
    return await bench.watch.sample(bench.watch.wall_s, bench.sizes.load)


async def _prepare(bench: Bench) -> None:
    """Have all keys written, and what follows from it done."""
    await _fill(bench.near, KEYS)
    await anyio.sleep(SETTLE_S)


async def _fill(store: Store, count: int) -> None:
    async def batch(number: int) -> None:
        start = number * LOAD_BATCH
        await store.put_batch(range(start, min(start + LOAD_BATCH, count)))

    await in_flight(batch, -(-count // LOAD_BATCH), 2)


async def scan(bench: Bench) -> Sample:
    """Read the whole tree, which :func:`load` has written."""
    count = bench.sizes.load
    with bench.watch.span():
        came = await bench.near.scan(count)
    return await bench.watch.sample(came / bench.watch.wall_s, came)


FAST: Final[Sequence[Measure]] = (
    Measure("far", "from a put to a watcher at another node, p50", "ms", False, put_to_far_watch),
    Measure("get-1", "one get at a time, p50", "ms", False, get_one),
    Measure("put-1", "one put at a time, p50", "ms", False, put_one),
    Measure("put-64", "puts, 64 in flight", "/s", True, put_many),
    Measure("batch", "puts, in batches of 100", "/s", True, put_batches),
    Measure("get-64", "gets, 64 in flight", "/s", True, get_many),
    Measure("watched", "updates seen by a watcher at another node", "/s", True, watched),
)
"""Those of a second or so each; in this order."""
BULK: Final[Sequence[Measure]] = (
    Measure("load", "load of many keys", "s", False, load),
    Measure("scan", "the whole tree read, entries", "/s", True, scan),
)
"""Those over many keys; in this order, on an empty store."""
