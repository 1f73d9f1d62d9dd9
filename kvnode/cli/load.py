"""``kv load``: write what a dump holds.

Without ``--versions`` each path's winning value becomes a new write, made here and now, where it differs from what
is there: what was written since is superseded, and nothing is deleted. With ``--versions`` the dump's versions come
back under their own dots, as if a node had sent them: what superseded them stays on top.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

import anyio
import asyncclick as click
import msgspec

from kvnode.codec.values import ValueCodecError, from_json, pack
from kvnode.core.path import Path, PathError

from .command import command, settings_of
from .errors import usage
from .render import Output, is_terminal
from .rows import DOT, ack_option
from .session import WRITE_GRACE_S, Session, session
from .stdin import STDIN_FD, read_lines

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


@dataclass(frozen=True, slots=True)
class Item:
    """The winner of one line."""

    path: Path
    value: Any
    packed: bytes
    expiry: int | None
    ttl_ms: int | None = None


@command(
    "load",
    help="""Write the values of a dump: FILE, or - for standard input.

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
    with _opened(file) as (fd, name):
        async with session(ctx) as link:
            lines = _parsed(fd, name)
            if versions:
                await _load_versions(link, lines, counts)
            else:
                await write_items(link, _items(lines, counts), counts, ack)
    out.one(asdict(counts), lambda: _summary(counts, versions))


def _summary(counts: Counts, versions: bool) -> str:
    skipped = f", {counts.skipped} skipped (node records)" if counts.skipped else ""
    if versions:
        return f"{counts.paths} paths read, {counts.written} versions were new{skipped}"
    return f"{counts.paths} paths read, {counts.written} written, {counts.unchanged} unchanged{skipped}"


@contextmanager
def _opened(file: str) -> Iterator[tuple[int, str]]:
    if file == "-":
        yield STDIN_FD, "standard input"
        return
    try:
        fd = os.open(file, os.O_RDONLY)
    except OSError as exc:
        raise usage(f"{file}: {exc.strerror}") from None
    try:
        yield fd, file
    finally:
        os.close(fd)


# -- reading the dump ----------------------------------------------------------------------------------------


async def _parsed(fd: int, name: str) -> AsyncIterator[tuple[str, dict[str, Any]]]:
    """Place (for messages) and object of each line that is about a path."""
    async for number, line in read_lines(fd, name):
        where = f"{name}, line {number}"
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            raise usage(f"{where}: not a line of a dump (not JSON)") from None
        if not isinstance(row, dict) or not ("known" in row or "path" in row):
            raise usage(f"{where}: not a line of a dump (no path)")
        if "path" in row:
            yield where, row


class _Version(msgspec.Struct):
    """A version in a line of a dump, as far as it is needed here."""

    dot: str
    stamp: int
    value: Any
    expiry: int | None = None
    lease: tuple[str, int] | None = None


class _Line(msgspec.Struct):
    """A line of a dump."""

    path: str
    versions: list[_Version]


def item_of(where: str, row: dict[str, Any]) -> Item | None:
    """The winner of a line: greatest stamp, then dot. None if it has no value. Raises CliError."""
    try:
        line = msgspec.convert(row, _Line)
        path = Path.parse(line.path)
        if not line.versions:
            return None
        best = max(line.versions, key=lambda v: (v.stamp, DOT.convert(v.dot, None, None)))
        value = from_json(best.value)
        return Item(path, value, pack(value), best.expiry, None if best.lease is None else best.lease[1])
    except (msgspec.ValidationError, PathError, ValueCodecError) as exc:
        raise usage(f"{where}: not a line of a dump: {exc}") from None
    except click.UsageError as exc:
        raise usage(f"{where}: not a line of a dump: {exc.message}") from None


def record_of(where: str, row: dict[str, Any]) -> bytes:
    """The stored record of a line. Raises CliError."""
    text = row.get("record")
    if not isinstance(text, str):
        raise usage(f"{where}: no record; --versions needs a dump made with kv dump --records")
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as exc:
        raise usage(f"{where}: record is not base64: {exc}") from None


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


async def write_items(link: Session, items: AsyncIterator[Item], counts: Counts, ack: str) -> None:
    """Write what differs from what is there, in batches."""
    batch: list[Item] = []
    size = 0
    async for item in items:
        batch.append(item)
        size += len(item.packed)
        if len(batch) >= BATCH_PATHS or size >= BATCH_BYTES:
            await _write_batch(link, batch, counts, ack)
            batch, size = [], 0
    await _write_batch(link, batch, counts, ack)
    _progress(counts, end=True)


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
    _progress(counts)


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


async def _load_versions(link: Session, lines: AsyncIterator[tuple[str, dict[str, Any]]], counts: Counts) -> None:
    batch: list[bytes] = []
    size = 0

    async def hand_over() -> None:
        with link.limit():
            counts.written += await link.client.load(batch)
        _progress(counts)

    async for where, row in lines:
        counts.paths += 1
        batch.append(record_of(where, row))
        size += len(batch[-1])
        if len(batch) >= BATCH_PATHS or size >= BATCH_BYTES:
            await hand_over()
            batch, size = [], 0
    if batch:
        await hand_over()
    _progress(counts, end=True)


def _progress(counts: Counts, *, end: bool = False) -> None:
    """A line that rewrites itself, on a terminal only."""
    if not is_terminal(sys.stderr):
        return
    text = f"{counts.paths} paths read, {counts.written} written"
    sys.stderr.write(f"\r{' ' * len(text)}\r" if end else f"\r{text}")
    sys.stderr.flush()
