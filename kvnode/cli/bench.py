"""``kv bench``: how fast a cluster is, seen from here."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

import asyncclick as click

from .address import node_address
from .command import AfterLoop, command
from .progress import Progress
from .render import Output
from .rows import ack_option
from .settings import Settings, settings_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from kvnode.client import Client
    from kvnode.testing.bench.kv import KvStore
    from kvnode.testing.bench.measures import Measure, Sizes
    from kvnode.testing.bench.timing import Sample

FULL: Final = 5
QUICK: Final = 100
"""The sizes of the project's own benchmarks are divided by these."""
NAME: Final = "kv-bench"
CLEAN_UP_S: Final = 60.0


@command(
    "bench",
    help="""Measure how fast the node, and another one named by --far, are for a client on this machine.

    Writes go to the node, into a subtree of their own, kv-bench and a number, which is deleted at the end. A watcher
    listens at --far (default: at the node itself). It takes some seconds; the nodes are busy meanwhile. The CPU time
    is that of this client for one operation, in microseconds: what else the machine does is not in it. See
    docs/reference/performance.md for figures to compare with.""",
    examples=(
        "kv bench",
        "kv bench --node 127.0.0.1:27590 --far 127.0.0.1:27591",
        "kv bench --quick --ack memory --format jsonl",
    ),
)
@click.option("--far", metavar="HOST:PORT|unix:PATH", help="Another node of the cluster, to watch at.")
@ack_option
@click.option("--quick", is_flag=True, help="Few operations, for a first impression.")
@click.pass_context
async def bench(ctx: click.Context, far: str | None, ack: str, quick: bool) -> AfterLoop:
    """See the help text above."""
    settings = settings_of(ctx)
    return AfterLoop(lambda: _run(settings, far, ack, QUICK if quick else FULL))


def _run(settings: Settings, far: str | None, ack: str, divisor: int) -> int:
    """Measure on the event loop that a node uses, too, where it is installed."""
    import importlib.util

    import anyio

    from kvnode.testing.bench.measures import Sizes

    uvloop = importlib.util.find_spec("uvloop") is not None
    anyio.run(_bench, settings, far, ack, Sizes().divided(divisor), backend_options={"use_uvloop": uvloop})
    return 0


async def _bench(settings: Settings, far: str | None, ack: str, sizes: Sizes) -> None:
    import secrets

    from kvnode.core.path import Path
    from kvnode.testing.bench.kv import KvStore

    from .session import open_client

    root = Path((f"{NAME}-{secrets.token_hex(4)}",))
    async with open_client(node_address(settings.node), settings.timeout_s) as client:
        near = KvStore(client, root, ack)
        async with _other(client, far, settings.timeout_s) as other, _cleared(near):
            out = Output(settings.format)
            if out.human:
                out.line(f"writes at {client.node}, acknowledged at level {ack}; watcher at {other.node}")
            _show(out, await _measured(near, KvStore(other, root, ack), sizes))


@asynccontextmanager
async def _other(client: Client, far: str | None, timeout_s: float) -> AsyncIterator[Client]:
    """The client of the node to watch at."""
    from .session import open_client

    if far is None:
        yield client
        return
    async with open_client(node_address(far), timeout_s) as other:
        yield other


@asynccontextmanager
async def _cleared(store: KvStore) -> AsyncIterator[None]:
    """Whatever happens, nothing is left of it afterwards."""
    import anyio

    try:
        yield
    finally:
        with anyio.move_on_after(CLEAN_UP_S, shield=True):
            await store.clear()


async def _measured(near: KvStore, far: KvStore, sizes: Sizes) -> list[tuple[Measure, Sample]]:
    from kvnode.testing.bench.measures import BULK, FAST, Bench
    from kvnode.testing.bench.timing import Stopwatch

    measures = (*FAST, *BULK)
    found = []
    with Progress(len(measures)) as progress:
        for done, measure in enumerate(measures):
            progress.show(measure.title, done)
            found.append((measure, await measure.run(Bench(near, far, Stopwatch({}), sizes))))
    return found


def _show(out: Output, found: list[tuple[Measure, Sample]]) -> None:
    if not out.human:
        with out.items() as write:
            for measure, sample in found:
                write(_row(measure, sample))
        return
    from .table import Table

    table = Table(out, ("MEASURE", "VALUE", "CPU"))
    for measure, sample in found:
        unit = "a second" if measure.unit == "/s" else measure.unit
        table.add(measure.title, f"{_digits(sample.value)} {unit}", f"{_digits(sample.cpu_total_us)} us")
    table.end()


def _digits(value: float) -> str:
    """Three of them, or all before the point."""
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def _row(measure: Measure, sample: Sample) -> dict[str, Any]:
    return {
        "measure": measure.name,
        "title": measure.title,
        "value": sample.value,
        "unit": measure.unit,
        "operations": sample.operations,
        "client_cpu_us": sample.cpu_total_us,
    }
