"""Updates per second that a watcher on another node sees, with values: ``python -m bench.watch [COUNT] [KEYS]``.

Three nodes; batches of 100 go to the first one, eight at a time, and are watched on the last one.
"""

from __future__ import annotations

import asyncio
import sys

import uvloop

from bench.nodes import VALUE, Cost, folder, mesh, until_linked
from kvnode.client import Change, Client, Put, connect
from kvnode.testing.processes import NodeProcess

BATCH = 100
IN_FLIGHT = 8


async def write(kv: Client, count: int, keys: int, ack: str) -> None:
    """Write `count` values to `keys` paths."""
    numbers = iter(range(0, count, BATCH))

    async def writer() -> None:
        for start in numbers:
            await kv.batch([Put(f"bench.k{at % keys}", VALUE) for at in range(start, start + BATCH)], ack=ack)

    await asyncio.gather(*(writer() for _ in range(IN_FLIGHT)))


async def measure(nodes: list[NodeProcess], count: int, keys: int, ack: str) -> None:
    await until_linked(nodes)
    async with connect(nodes[0].address) as near, connect(nodes[-1].address) as far:
        await write(near, keys, keys, "all")
        async with far.watch("bench") as items:
            seen = 0
            async for item in items:
                if not isinstance(item, Change):
                    break
            cost = Cost(nodes)
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(write(near, count, keys, ack))
                async for item in items:
                    seen += isinstance(item, Change)
                    if seen >= count:
                        break
        print(cost.told(f"watched, written with {ack}", count, "updates"), flush=True)


def main() -> None:
    given = [int(word) for word in sys.argv[1:3]]
    count, keys = (*given, *(50_000, 1_000)[len(given) :])
    with folder() as where, mesh(3, where) as nodes:
        for ack in ("memory", "disk"):
            uvloop.run(measure(nodes, count, keys, ack))


if __name__ == "__main__":
    main()
