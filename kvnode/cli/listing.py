"""``kv list`` and ``kv tree``: the values below a path."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import asyncclick as click

from kvnode.core.path import Path, Pattern

from .command import command
from .hints import nothing_below
from .render import Output, age, short_value, to_data
from .rows import below_argument, depth_option, keys_option, pattern_option, reading_row
from .session import session
from .settings import settings_of
from .table import Outline, Table

if TYPE_CHECKING:
    from kvnode.client import Reading

CONFLICT_MARK = "(!)"
"""Stands behind a value that has concurrent versions beside it."""
STALE_MARK = "(stale)"
"""Stands behind a value whose lease has run out."""


@asynccontextmanager
async def _readings(
    ctx: click.Context, path: Path, pattern: Pattern | None, depth: int | None, *, keys: bool = False
) -> AsyncIterator[AsyncIterator[Reading]]:
    """The readings, in path order; each must come within the time limit."""
    async with session(ctx) as link:
        with link.limit():
            rows = link.client.tree(path, pattern=pattern, depth=depth, keys=keys)
            opened = await rows.__aenter__()

        async def timed() -> AsyncIterator[Reading]:
            source = aiter(opened)
            while True:
                reading: Reading | None = None
                with link.limit():
                    reading = await anext(source, None)
                if reading is None:
                    return
                yield reading

        try:
            yield timed()
        finally:
            await rows.__aexit__(None, None, None)


@command(
    "list",
    help="""List the values at and below PATH (default: all), in path order.

    A value with concurrent versions beside it is marked (!); see kv conflicts. One that nobody renewed in time is
    marked (stale). With --keys the values stay where they
    are: that is quick, however large they may be.""",
    examples=(
        "kv list home",
        "kv list home --pattern home.+.temp",
        "kv list --keys",
        "kv list --depth 2 --format jsonl",
    ),
)
@below_argument
@pattern_option
@depth_option
@keys_option
@click.pass_context
async def list_(ctx: click.Context, path: Path, pattern: Pattern | None, depth: int | None, keys: bool) -> None:
    """See the help text above."""
    out = Output(settings_of(ctx).format)
    async with _readings(ctx, path, pattern, depth, keys=keys) as rows:
        if out.human:
            if not await _table(out, rows, keys):
                _advise(out, path, pattern)
            return
        with out.items() as write:
            async for reading in rows:
                write(reading_row(reading))


async def _table(out: Output, rows: AsyncIterator[Reading], keys: bool) -> int:
    """Print the rows, and say how many there were."""
    count = 0
    now = datetime.now(UTC)
    table = Table(out, ("PATH", *(() if keys else ("VALUE",)), "AGE", "NODE", "AUTHOR"))
    async for r in rows:
        value = () if keys else (marked(r),)
        table.add(str(r.path), *value, age(r.time, now), r.node, r.author or "-")
        count += 1
    table.end()
    return count


def _advise(out: Output, path: Path, pattern: Pattern | None) -> None:
    """Where nothing was found: what may have misled people who know wildcards or slashes from elsewhere."""
    if line := nothing_below(path, pattern):
        out.line(line)


def marked(reading: Reading) -> str:
    """The value, with the marks of a conflict and of a lease that has run out."""
    marks = (CONFLICT_MARK if reading.conflict else "", STALE_MARK if reading.expired else "")
    return " ".join((short_value(reading.value), *filter(None, marks)))


@command(
    "tree",
    help="""Show the values at and below PATH (default: all) as a tree.

    In machine formats each level is an object with "element", "value" (absent if there is none) and "below".""",
    examples=("kv tree home", "kv tree --depth 2", "kv tree home --format json"),
)
@below_argument
@pattern_option
@depth_option
@click.pass_context
async def tree(ctx: click.Context, path: Path, pattern: Pattern | None, depth: int | None) -> None:
    """See the help text above."""
    out = Output(settings_of(ctx).format)
    async with _readings(ctx, path, pattern, depth) as rows:
        if out.human:
            if not await _outline(out, path, rows):
                _advise(out, path, pattern)
            return
        top: dict[str, Any] = {"path": str(path)}
        async for reading in rows:
            _put(top, reading.path[len(path) :], reading)
    out.one(top, str)


async def _outline(out: Output, path: Path, rows: AsyncIterator[Reading]) -> int:
    """Print the tree, and say how many values it has."""
    count = 0
    now = datetime.now(UTC)
    outline = Outline(out)
    async for r in rows:
        elements = [str(Path((element,))) for element in r.path[len(path) :]]
        outline.add(elements, f" = {marked(r)}  ({age(r.time, now)})")
        count += 1
    outline.end(str(path))
    return count


def _put(top: dict[str, Any], elements: tuple[str | int, ...], reading: Reading) -> None:
    """Insert a reading; rows come in path order, so each level's last item is the one to look at."""
    at = top
    for element in elements:
        below: list[dict[str, Any]] = at.setdefault("below", [])
        name = str(Path((element,)))
        if not below or below[-1]["element"] != name:
            below.append({"element": name})
        at = below[-1]
    at["value"] = to_data(reading.value)
    if reading.conflict:
        at["conflict"] = True
