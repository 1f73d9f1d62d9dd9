"""``kv load``: write what a dump holds.

Without ``--versions`` each path's winning value becomes a new write, made here and now, where it differs from what
is there: what was written since is superseded, and nothing is deleted. With ``--versions`` the dump's versions come
back under their own dots, as if a node had sent them: what superseded them stays on top.
"""

from __future__ import annotations

import os
import stat
from collections.abc import AsyncIterator, Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

import anyio
import asyncclick as click

from kvnode.codec.values import ValueCodecError, pack
from kvnode.data.plural import counted

from .command import command
from .lines import Item, item_of, opened, record_of, rows_of
from .progress import Progress
from .render import Output
from .rows import ack_option
from .session import WRITE_GRACE_S, Session, session
from .settings import settings_of

if TYPE_CHECKING:
    from kvnode.client import Put

BATCH_PATHS: Final = 256
BATCH_BYTES: Final = 1 << 20
_SKIPPED: Final = (("@", "nodes"), ("@", "partial"))
"""What the nodes write themselves."""


@dataclass(slots=True)
class Counts:
    """What was done."""

    paths: int = 0
    written: int = 0
    unchanged: int = 0
    skipped: int = 0


@command(
    "load",
    help="""Write the values of FILE, or - for standard input: a dump, or lines as kv list --format jsonl prints them,
    of which a path and a value suffice.

    Each path's winner is written anew where it differs from what is there; nothing is deleted. With --versions the
    versions come back under their own dots; that needs a dump made with --records.""",
    examples=(
        "kv load backup.jsonl",
        "kv dump --node a:27590 | kv load - --node b:27590",
        "kv load store.jsonl --versions",
    ),
)
@click.argument("file", metavar="FILE")
@click.option("--versions", is_flag=True, help="Take in the versions themselves, under their own dots.")
@ack_option
@click.pass_context
async def load(ctx: click.Context, file: str, versions: bool, ack: str) -> None:
    """See the help text above."""
    out = Output(settings_of(ctx).format)
    counts = Counts()
    with opened(file) as (fd, name):
        size = os.fstat(fd).st_size if stat.S_ISREG(os.fstat(fd).st_mode) else None
        async with session(ctx) as link:
            with Progress(size) as progress:
                lines = rows_of(fd, name)

                def told() -> None:
                    at = 0 if size is None else os.lseek(fd, 0, os.SEEK_CUR)
                    progress.show(f"{counts.paths} paths read, {counts.written} written", at)

                if versions:
                    await _load_versions(link, lines, counts, told)
                else:
                    await write_items(link, _items(lines, counts), counts, ack, told)
    out.one(asdict(counts), lambda: _summary(counts, versions))


def _summary(counts: Counts, versions: bool) -> str:
    skipped = f", {counts.skipped} skipped (node records)" if counts.skipped else ""
    read = f"{counted(counts.paths, 'path')} read"
    if versions:
        return f"{read}, {counted(counts.written, 'version was', 'versions were')} new{skipped}"
    return f"{read}, {counts.written} written, {counts.unchanged} unchanged{skipped}"


# -- writing -------------------------------------------------------------------------------------------------


async def _items(lines: AsyncIterator[tuple[str, dict[str, Any]]], counts: Counts) -> AsyncIterator[Item]:
    async for where, row in lines:
        counts.paths += 1
        item = item_of(where, row)
        if item is None:
            continue
        if item.path[:2] in _SKIPPED:
            counts.skipped += 1
            continue
        yield item


async def write_items(
    link: Session, items: AsyncIterator[Item], counts: Counts, ack: str, told: Callable[[], None]
) -> None:
    """Write what differs from what is there, in batches; `told` is called after each, when `counts` has grown."""
    batch: list[Item] = []
    size = 0
    async for item in items:
        batch.append(item)
        size += len(item.packed)
        if len(batch) >= BATCH_PATHS or size >= BATCH_BYTES:
            await _write_batch(link, batch, counts, ack)
            told()
            batch, size = [], 0
    await _write_batch(link, batch, counts, ack)


async def _write_batch(link: Session, batch: list[Item], counts: Counts, ack: str) -> None:
    puts: list[Put] = []

    async def compare(item: Item) -> None:
        if await _differs(link, item):
            puts.append(_put(item))

    with link.limit():
        async with anyio.create_task_group() as tasks:
            for item in batch:
                tasks.start_soon(compare, item)
    if puts:
        with link.limit(extra_s=WRITE_GRACE_S):
            await link.client.batch(puts, ack=ack, timeout=link.timeout_s)
    counts.written += len(puts)
    counts.unchanged += len(batch) - len(puts)


def _put(item: Item) -> Put:
    from kvnode.client import Put

    return Put(item.path, item.value, expiry=item.expiry, ttl_ms=item.ttl_ms)


async def _differs(link: Session, item: Item) -> bool:
    from kvnode.client import NotFound

    try:
        reading = await link.client.get(item.path)
        there = pack(reading.value, canonical=True)
    except (NotFound, ValueCodecError):
        return True
    leased = None if reading.lease is None else reading.lease.ttl_ms
    return (reading.expiry, leased) != (item.expiry, item.ttl_ms) or there != pack(item.value, canonical=True)


async def _load_versions(
    link: Session, lines: AsyncIterator[tuple[str, dict[str, Any]]], counts: Counts, told: Callable[[], None]
) -> None:
    batch: list[bytes] = []
    size = 0

    async def hand_over() -> None:
        with link.limit():
            counts.written += await link.client.load(batch)
        told()

    async for where, row in lines:
        counts.paths += 1
        batch.append(record_of(where, row))
        size += len(batch[-1])
        if len(batch) >= BATCH_PATHS or size >= BATCH_BYTES:
            await hand_over()
            batch, size = [], 0
    if batch:
        await hand_over()
