"""Larger values: what a put costs the client, the node and a peer, acknowledged when both have it on disk."""

from __future__ import annotations

import asyncio
import time
from typing import Final

from bench.nodes import folder, until
from kvnode.client import connect
from kvnode.testing.bench.timing import cpu_s
from kvnode.testing.processes import NodeProcess

from .processes import WAIT_S, us

SIZES: Final = (10, 100, 1_000, 10_000, 100_000, (1 << 20) - 16)
MOST_BYTES: Final = 40_000_000
IN_FLIGHT: Final = 8
KEYS: Final = 50


def measure(size: int) -> dict[str, object]:
    """One row: microseconds of CPU for a put."""
    count = max(min(1_000, MOST_BYTES // size), 30)
    with folder() as where, NodeProcess("a", where) as a, NodeProcess("b", where, peers=[a.address]) as b:
        return asyncio.run(_written(a, b, size, count))


async def _written(a: NodeProcess, b: NodeProcess, size: int, count: int) -> dict[str, object]:
    numbers, value = iter(range(count)), "x" * size
    async with connect(a.address) as kv:

        async def write() -> None:
            for number in numbers:
                await kv.set(f"bench.k{number % KEYS}", value, ack="all", timeout=60.0)

        async def linked() -> bool:
            return any(row["state"] == "linked" for row in (await kv.status())["peers"])

        await until(linked, pause_s=0.05, wait_s=WAIT_S)
        await kv.set("bench.first", value, ack="all", timeout=60.0)
        before, own, began = [cpu_s(p.pid) for p in (a, b)], time.process_time(), time.perf_counter()
        await asyncio.gather(*(write() for _ in range(IN_FLIGHT)))
        own, wall = time.process_time() - own, time.perf_counter() - began
        node, peer = (cpu_s(p.pid) - c for p, c in zip((a, b), before, strict=True))
    return {
        "value_bytes": size,
        "client_cpu_us_per_put": us(own, count),
        "node_cpu_us_per_put": us(node, count),
        "peer_cpu_us_per_put": us(peer, count),
        "wall_ms_per_put": round(wall / count * 1e3, 2),
    }
