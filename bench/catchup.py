"""Loading, reading everything, joining and catching up: ``python -m bench.catchup [KEYS]``.

Three nodes are loaded in batches of 1 000; the whole tree is read, typed and raw; a fourth node joins with nothing;
one of the three is cut off, 10 000 values are written, and the link comes back. Bytes are counted on the links.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections import Counter
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path

import uvloop

from bench.nodes import VALUE, Cost, Tap, folder, mesh, tap, until, until_entries, until_linked
from kvnode.client import Client, Put, connect
from kvnode.testing.processes import NodeProcess

BATCH = 1_000
IN_FLIGHT = 4
WRITTEN = 10_000
"""Values written during the cut."""
CUT_S = 3.0
"""How long the cut lasts at least."""


async def write(kv: Client, where: str, count: int) -> None:
    """Write new values in batches."""
    starts = iter(range(0, count, BATCH))

    async def writer() -> None:
        for start in starts:
            puts = [Put(f"{where}.k{at}", VALUE) for at in range(start, min(start + BATCH, count))]
            await kv.batch(puts, timeout=60)

    await asyncio.gather(*(writer() for _ in range(IN_FLIGHT)))


async def load(nodes: list[NodeProcess], keys: int) -> None:
    """Load, and wait until all nodes have all of it on disk."""
    await until_linked(nodes)
    cost = Cost(nodes)
    async with connect(nodes[0].address) as kv:
        await write(kv, "load", keys)
    print(cost.told("load, durable on one node", keys, "keys"), flush=True)
    for node in nodes[1:]:
        async with connect(node.address) as kv:
            await until_entries(kv, keys)
    print(cost.told("load, durable on all nodes", keys, "keys"), flush=True)


async def read(node: NodeProcess) -> None:
    """Read the whole tree, typed and raw."""
    async with connect(node.address) as kv:
        cost, count = Cost([node]), 0
        async with kv.tree() as rows:
            async for _ in rows:
                count += 1
        print(cost.told("whole tree, typed", count, "entries"), flush=True)
        cost, count = Cost([node]), 0
        async with kv.dump() as records:
            async for _ in records:
                count += 1
        print(cost.told("whole tree, records undecoded", count, "entries"), flush=True)


async def join(nodes: list[NodeProcess], where: Path, keys: int) -> None:
    """A node without anything joins by two taps, so that all peers could send it the same."""
    async with AsyncExitStack() as stack:
        taps = [await stack.enter_async_context(tap(node)) for node in nodes]
        with ExitStack() as processes:
            cost = Cost(nodes)
            begun = time.perf_counter()
            new = NodeProcess("new", where, peers=[t.address for t in taps])
            await asyncio.to_thread(processes.enter_context, new)
            print(f"{'  (start of its process)':34s} {time.perf_counter() - begun:7.2f} s")
            async with connect(new.address) as kv:
                await until_entries(kv, keys)
            print(cost.told("cold join, with its start", keys, "keys"), flush=True)
            _tell_bytes(taps, keys)


async def heal(where: Path) -> None:
    """Cut one of three nodes off, write, and let it come back; both of its links go through taps."""
    async with AsyncExitStack() as stack:
        processes = stack.enter_context(ExitStack())
        first, second = processes.enter_context(mesh(2, where))
        taps = [await stack.enter_async_context(tap(node)) for node in (first, second)]
        away = NodeProcess("away", where, peers=[t.address for t in taps], args=["--no-discover"])
        await asyncio.to_thread(processes.enter_context, away)
        await until_linked([first, second, away])
        near = await stack.enter_async_context(connect(first.address))
        far = await stack.enter_async_context(connect(away.address))
        await write(near, "heal", WRITTEN)
        await until_entries(far, WRITTEN)
        for each in taps:
            each.cut()
        begun = time.perf_counter()
        await write(near, "missed", WRITTEN)
        await asyncio.sleep(max(begun + CUT_S - time.perf_counter(), 0))
        for each in taps:
            each.clear()
            each.heal()
        cost = Cost([first, second, away])

        async def linked() -> bool:
            return any(row["state"] == "linked" for row in (await far.status())["peers"])

        begun = time.perf_counter()
        await until(linked)
        print(f"{'  (linked again)':34s} {time.perf_counter() - begun:7.2f} s")
        await until_entries(far, 2 * WRITTEN)
        print(cost.told(f"cut off {CUT_S:.0f} s, then complete", WRITTEN, "keys"), flush=True)
        await asyncio.sleep(1)
        _tell_bytes(taps, WRITTEN)


def _tell_bytes(taps: list[Tap], keys: int) -> None:
    there, back = Counter[str](), Counter[str]()
    for each in taps:
        there += each.there
        back += each.back
    total = sum(each.bytes for each in taps)
    per_tap = " ".join(str(each.bytes) for each in taps)
    print(f"{'  (bytes on its links)':34s} {total / keys:7.1f} a key; per link {per_tap}")
    print(f"    received {dict(back.most_common(6))}; sent {dict(there.most_common(6))}", flush=True)


def main() -> None:
    keys = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    with folder() as where, mesh(3, where) as nodes:
        uvloop.run(load(nodes, keys))
        uvloop.run(read(nodes[-1]))
        uvloop.run(join(nodes, where, keys))
    with folder() as where:
        uvloop.run(heal(where))


if __name__ == "__main__":
    main()
