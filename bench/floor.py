"""What the machine itself can do, and so how far each figure could fall: ``python -m bench.floor``.

A message there and back on loopback, a sync of the disk, a value to bytes and back, a group of records made durable.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import msgpack
import msgspec

from bench.compare import load_average
from bench.echo import KINDS, round_trip
from bench.report import number, table
from kvnode.core.effects import Persist
from kvnode.store import LoggedStore, SqliteStore
from kvnode.store.base import Store

ROUND_TRIPS: Final = 3_000
SYNCS: Final = 200
RECORD: Final = os.urandom(160)
"""As long as a stored record of a value of 100 bytes."""
GROUPS: Final = (1, 64, 1_000)
SPAN_S: Final = 0.5
"""A row goes on for so long."""

Row = tuple[str, str, float]


class _Version(msgspec.Struct, array_like=True, frozen=True):
    inc: str
    tick: int
    stamp: int
    path: tuple[str, ...]
    value: bytes


def loopback() -> Iterator[Row]:
    """There and back, in a process each, and what both need of a processor for it."""
    for kind in KINDS:
        took, cpu_s = round_trip(kind, ROUND_TRIPS)
        yield f"loopback there and back, {kind}, p50", "us", statistics.median(took) * 1e6
        yield f"loopback there and back, {kind}, CPU of both sides", "us", cpu_s * 1e6


def syncs(folder: Path) -> Iterator[Row]:
    """A record appended to a file and synced."""
    took = []
    with (folder / "sync").open("wb", buffering=0) as file:
        for _ in range(SYNCS):
            began = time.perf_counter()
            file.write(RECORD)
            os.fdatasync(file.fileno())
            took.append(time.perf_counter() - began)
    yield "append and fdatasync, p50", "ms", statistics.median(took) * 1e3


def codec() -> Iterator[Row]:
    """A version with a value of 100 bytes, by msgspec as an array, and by msgpack as a map."""
    version = _Version(
        "attic~0123456789abcdef", 123_456, 1_700_000_000_000 << 16, ("home", "attic", "temp"), b"x" * 100
    )
    data = msgspec.msgpack.encode(version)
    encoder, decoder = msgspec.msgpack.Encoder(), msgspec.msgpack.Decoder(_Version)
    yield "msgspec, array: to bytes, CPU", "us", _cpu_us(lambda: encoder.encode(version))
    yield "msgspec, array: from bytes, CPU", "us", _cpu_us(lambda: decoder.decode(data))
    yield "msgspec, array: size", "bytes", len(data)
    as_map = {name: getattr(version, name) for name in version.__struct_fields__}
    packed = msgpack.packb(as_map)
    yield "msgpack, map: to bytes, CPU", "us", _cpu_us(lambda: msgpack.packb(as_map))
    yield "msgpack, map: from bytes, CPU", "us", _cpu_us(lambda: msgpack.unpackb(packed))
    yield "msgpack, map: size", "bytes", len(packed)


def _cpu_us(do: Callable[[], Any], count: int = 20_000) -> float:
    began = time.process_time()
    for _ in range(count):
        do()
    return (time.process_time() - began) / count * 1e6


def durable(folder: Path) -> Iterator[Row]:
    """Records made durable in groups: a plain log, and kvnode's stores."""
    stores: dict[str, Callable[[str], Store]] = {"SQLite": SqliteStore, "log in front of SQLite": LoggedStore}
    for group in GROUPS:
        yield f"plain log, groups of {group}", "records/s", _logged(folder / f"log{group}", group)
        for name, make in stores.items():
            store = make(str(folder / f"{name}{group}"))
            yield f"store, {name}, groups of {group}", "records/s", _stored(store, group)


def _logged(file: Path, group: int) -> float:
    with file.open("wb", buffering=0) as out:

        def write(_: int) -> None:
            out.write(RECORD * group)
            os.fdatasync(out.fileno())

        return _rate(write) * group


def _stored(store: Store, group: int) -> float:
    for _ in store.load().rows:
        pass

    def commit(number: int) -> None:
        start = number * group
        keys = (b"key%08d" % at for at in range(start, start + group))
        store.commit([Persist(number, dict.fromkeys(keys, RECORD), {})])

    try:
        return _rate(commit) * group
    finally:
        store.close()


def _rate(do: Callable[[int], None]) -> float:
    """How often a second."""
    began, count = time.perf_counter(), 0
    while (took := time.perf_counter() - began) < SPAN_S:
        do(count)
        count += 1
    return count / took


def measure() -> list[Row]:
    """All of it."""
    with tempfile.TemporaryDirectory(prefix="kvnode-bench-") as name:
        folder = Path(name)
        return [*loopback(), *syncs(folder), *codec(), *durable(folder)]


def main() -> None:
    """Print a table, or with --json the rows."""
    before = load_average()
    rows = measure()
    if "--json" in sys.argv[1:]:
        print(json.dumps({"load": [before, load_average()], "rows": rows}, indent=1))
        return
    print(f"load {before} at the start, {load_average()} at the end\n")
    print(table(("floor", "value"), ((title, f"{number(value)} {unit}") for title, unit, value in rows)))


if __name__ == "__main__":
    main()
