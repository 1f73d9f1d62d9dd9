"""A guard against slow creep: how many function calls an operation takes, which no load of the machine changes.

Two linked nodes, their client and its watcher run in this process, on stores and a network in memory, and Python counts
each call of a function, its own and those in C. ``python -m bench.guard`` prints the counts beside those on record in
guard.json, with ``--write`` they go on record. A test (tests/unit/bench/test_guard.py) fails where a count is more than
a fifth above: then either the change is worth its price and the new counts go on record, or it is not.

What a call costs is not seen here, nor the disk and the kernel: for these there is ``python -m bench``.
"""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

import anyio

from kvnode.client import connect
from kvnode.core.path import Path as KvPath
from kvnode.node.dial import DialLimits
from kvnode.node.liveness import LivenessLimits
from kvnode.testing.bench.kv import KvStore
from kvnode.testing.bench.store import BATCH
from kvnode.testing.bench.timing import in_flight
from kvnode.testing.inprocess import running_node
from kvnode.testing.served import ServedNode
from kvnode.transport.memory import MemoryTransport

RECORD: Final = Path(__file__).with_name("guard.json")
SLACK: Final = 1.2
"""Versions of Python and of libraries differ by a few calls; so do the timers that happen to fire."""
COUNT: Final = 200
SETTLE_S: Final = 0.05
"""So long after the last operation what it left to do still counts."""


class Calls:
    """Counts function calls of this thread."""

    def __init__(self) -> None:
        self.count = 0

    @contextmanager
    def counted(self) -> Iterator[None]:
        """Those in this block. Coverage tools and debuggers that use the same hook get it back afterwards."""
        before = sys.getprofile()
        sys.setprofile(self._called)
        try:
            yield
        finally:
            sys.setprofile(before)

    def _called(self, frame: object, event: str, arg: object) -> None:
        if event in ("call", "c_call"):
            self.count += 1


@asynccontextmanager
async def _pair() -> AsyncIterator[tuple[KvStore, KvStore]]:
    """Stores on two linked nodes."""
    network = MemoryTransport()
    calm: dict[str, Any] = {"liveness": LivenessLimits(), "dial": DialLimits()}  # as in service: few timers fire
    root = KvPath.parse("bench")
    async with (
        running_node(ServedNode("a"), network, **calm) as a,
        running_node(ServedNode("b"), network, seeds=["a"], **calm) as b,
        connect(str(a.address), transport=network) as near,
        connect(str(b.address), transport=network) as far,
    ):
        await b.until_linked("a")
        await a.until_linked("b")
        yield KvStore(near, root), KvStore(far, root)


async def _puts(near: KvStore, far: KvStore, width: int) -> int:
    await in_flight(near.put, COUNT, width)
    return COUNT


async def _batches(near: KvStore, far: KvStore) -> int:
    await in_flight(lambda n: near.put_batch(range(n * BATCH, (n + 1) * BATCH)), COUNT // BATCH, 1)
    return COUNT


async def _gets(near: KvStore, far: KvStore) -> int:
    await in_flight(near.get, COUNT, 64)
    return COUNT


async def _watched(near: KvStore, far: KvStore) -> int:
    async with far.watch() as keys:
        await near.put_batch(range(COUNT))
        for _ in range(COUNT):
            await anext(keys)
    return COUNT


async def _scanned(near: KvStore, far: KvStore) -> int:
    return sum([await near.scan(COUNT) for _ in range(5)])


OPERATIONS: Final[dict[str, Callable[[KvStore, KvStore], Awaitable[int]]]] = {
    "put, one at a time": partial(_puts, width=1),
    "put, 64 in flight": partial(_puts, width=64),
    "put, in batches of 100": _batches,
    "get, 64 in flight": _gets,
    "update, written in a batch and watched at the other node": _watched,
    "entry of a tree": _scanned,
}


async def _counts() -> dict[str, float]:
    found = {}
    async with _pair() as (near, far):
        await near.put_batch(range(COUNT))
        for name, operation in OPERATIONS.items():
            await operation(near, far)  # caches fill, pools grow
            calls = Calls()
            with calls.counted():
                done = await operation(near, far)
                await anyio.sleep(SETTLE_S)
            found[name] = calls.count / done
    return found


def counts() -> dict[str, float]:
    """Calls for one operation, both nodes and both clients together."""
    return anyio.run(_counts)


def on_record() -> dict[str, float]:
    """Those that were written down last."""
    found: dict[str, float] = json.loads(RECORD.read_text())
    return found


def too_many(found: dict[str, float], record: dict[str, float]) -> dict[str, str]:
    """What takes more calls than it may, and how many. Raises KeyError for an operation that is not on record."""
    return {
        name: f"{count:.0f} calls, on record are {record[name]:.0f}"
        for name, count in found.items()
        if count > record[name] * SLACK
    }


def main() -> int:
    """Print the counts; write them down with --write."""
    found, record = counts(), on_record() if RECORD.exists() else {}
    for name, count in found.items():
        print(f"{name:58s} {count:8.1f} calls, on record {record.get(name, 0):8.1f}")
    if "--write" in sys.argv[1:]:
        RECORD.write_text(json.dumps({name: round(count, 1) for name, count in found.items()}, indent=1) + "\n")
        return 0
    return 1 if too_many(found, record) else 0


if __name__ == "__main__":
    sys.exit(main())
