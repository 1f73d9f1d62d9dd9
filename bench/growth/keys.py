"""More keys: memory, start, scan of the whole tree, and the copy to an empty node. Real processes, 100-byte values."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Final

import msgspec

from bench.nodes import folder, until
from kvnode.client import connect
from kvnode.core import path as paths
from kvnode.core.effects import Persist
from kvnode.core.entry import NO_VECTOR, Version, body_of, encode_record
from kvnode.core.stamp import stamp_of
from kvnode.core.ticks import Dot, Ticks, incarnation
from kvnode.store import SqliteStore
from kvnode.testing.bench.timing import cpu_s
from kvnode.testing.processes import NodeProcess

from .processes import WAIT_S, memory_bytes, us

COUNTS: Final = (1_000, 10_000, 100_000, 1_000_000)
_AT_ONCE: Final = 20_000


def fill(where: Path, count: int) -> None:
    """A store with so many values of 100 bytes, as a node would have left it."""
    inc, value = incarnation("filled", 1), msgspec.msgpack.encode("x" * 100)
    store = SqliteStore(where)
    store.load()
    for start in range(1, count + 1, _AT_ONCE):
        stop = min(start + _AT_ONCE, count + 1)
        rows: dict[bytes, bytes | None] = {}
        for tick in range(start, stop):
            where_ = paths.Path(("bench", f"k{tick}"))
            body = body_of(where_, stamp_of(1_700_000_000_000, tick), value, "", None, None, None)
            version = Version.make(Dot(inc, tick), NO_VECTOR, body)
            rows[version.key] = encode_record((version,))
        store.commit([Persist(stop, rows, {inc: Ticks.upto(stop - 1)})])
    store.close()


def measure(count: int) -> dict[str, object]:
    """One row: bytes and microseconds of CPU for each key, and seconds of wall time."""
    with folder() as where:
        with NodeProcess("empty", where) as empty:
            bare, begun = memory_bytes(empty.pid), cpu_s(empty.pid)
        fill(where / "a", count)
        began = time.perf_counter()
        with NodeProcess("a", where, start_timeout_s=WAIT_S) as node:
            start = {
                "start_wall_s": round(time.perf_counter() - began, 2),
                "start_cpu_s": round(cpu_s(node.pid), 2),
                "start_cpu_us_per_key": max(us(cpu_s(node.pid) - begun, count), 0.0),
                "memory_mb": round(memory_bytes(node.pid) / 1e6, 1),
                "memory_bytes_per_key": round((memory_bytes(node.pid) - bare) / count),
            }
            scan = asyncio.run(_scan(node))
            with NodeProcess("b", where, peers=[node.address]) as other:
                copy = asyncio.run(_copy(node, other, count, begun))
        disk = sum(file.stat().st_size for file in (where / "a").rglob("*") if file.is_file())
    return {"keys": count, "disk_bytes_per_key": round(disk / count)} | start | scan | copy


async def _scan(node: NodeProcess) -> dict[str, object]:
    """Read the whole tree as values of Python."""
    async with connect(node.address, patient=True) as kv:
        cpu, own, seen = cpu_s(node.pid), time.process_time(), 0
        async with kv.tree("bench") as readings:
            async for _ in readings:
                seen += 1
        cpu, own = cpu_s(node.pid) - cpu, time.process_time() - own
    return {"scan_node_cpu_us_per_key": us(cpu, seen), "scan_client_cpu_us_per_key": us(own, seen)}


async def _copy(node: NodeProcess, other: NodeProcess, count: int, begun: float) -> dict[str, object]:
    """Wait until the other node, which came empty, has all of it on disk."""
    cpu, began = cpu_s(node.pid), time.perf_counter()
    async with connect(other.address, patient=True) as kv:

        async def has_all() -> bool:
            status = await kv.status()
            return bool(status["entries"] >= count and not status["store"]["pending"])

        await until(has_all, pause_s=0.05, wait_s=WAIT_S)
    return {
        "copy_wall_s": round(time.perf_counter() - began, 2),
        "copy_giver_cpu_us_per_key": us(cpu_s(node.pid) - cpu, count),
        "copy_taker_cpu_us_per_key": max(us(cpu_s(other.pid) - begun, count), 0.0),
    }
