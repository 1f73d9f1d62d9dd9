"""More watchers: what one update costs a real node, if all watch the written path, and if each watches another one."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import Final

from bench.nodes import folder
from kvnode.client import Change, Client, connect
from kvnode.testing.bench.timing import cpu_s
from kvnode.testing.processes import NodeProcess

from .processes import memory_bytes, us

COUNTS: Final = (1, 10, 100, 1_000)
STREAMS: Final = 200
"""Watches on one connection; a node allows 256."""
DELIVERIES: Final = 20_000


def measure(count: int) -> dict[str, object]:
    """One row: microseconds of CPU of the node for an update, bytes of its memory for a watcher."""
    row: dict[str, object] = {"watchers": count}
    for name, apart in (("same", False), ("apart", True)):
        updates = 300 if apart else max(min(DELIVERIES // count, 300), 20)
        with folder() as where, NodeProcess("a", where) as node:
            cpu_us, memory = asyncio.run(_watched(node, count, updates, apart=apart))
        row |= {f"{name}_cpu_us_per_update": cpu_us, f"{name}_memory_bytes_per_watcher": memory}
    return row


async def _watched(node: NodeProcess, count: int, updates: int, *, apart: bool) -> tuple[float, int]:
    """With `apart` each watcher has a subtree of its own, and the first one's is written to; else all have that."""
    ready, seen = asyncio.Semaphore(0), asyncio.Semaphore(0)

    async def watch(kv: Client, number: int) -> None:
        async with kv.watch(f"bench.w{number if apart else 0}") as items:
            async for item in items:
                (seen if isinstance(item, Change) else ready).release()

    async with AsyncExitStack() as stack:
        writer = await stack.enter_async_context(connect(node.address))
        clients = [await stack.enter_async_context(connect(node.address)) for _ in range(-(-count // STREAMS))]
        bare = memory_bytes(node.pid)
        watching = [asyncio.create_task(watch(clients[number // STREAMS], number)) for number in range(count)]
        await _all(ready, count)
        memory, cpu = memory_bytes(node.pid) - bare, cpu_s(node.pid)
        for number in range(updates):
            await writer.set("bench.w0.key", f"{number:0100}", ack="memory")
        await _all(seen, updates if apart else updates * count)
        cpu = cpu_s(node.pid) - cpu
        for task in watching:
            task.cancel()
        await asyncio.gather(*watching, return_exceptions=True)
    return us(cpu, updates), round(memory / count)


async def _all(semaphore: asyncio.Semaphore, count: int) -> None:
    for _ in range(count):
        await semaphore.acquire()
