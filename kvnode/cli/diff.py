"""``kv diff``: what two nodes hold, compared."""

from __future__ import annotations

from contextlib import AsyncExitStack
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import anyio
import asyncclick as click

from kvnode.core.path import Path

from . import session as sessions
from .command import command
from .errors import CliError, Exit, explain, unwrap
from .render import Output, age, short_value
from .rows import below_argument, sibling_row
from .settings import settings_of
from .table import Table

if TYPE_CHECKING:
    from kvnode.client import Client, Sibling
    from kvnode.client.comparing import Comparison, Difference

LIMIT: Final = 1_000
"""Paths that are shown unless --limit says otherwise."""
PATIENCE: Final = 10
"""A comparison is many questions: together they may take so many times the time limit of one."""


@command(
    "diff",
    help="""Compare what two nodes hold at and below PATH (default: everything).

    As for diff(1), the exit code is 0 if they are equal, 1 if they differ, 2 if that could not be found out.

    Only fingerprints travel where they are equal, so comparing large trees costs little. For each path that differs
    the versions on both nodes are shown. "has not heard of it yet" means mere delay; "diverged" that both nodes know
    the same and yet hold different values: please report that.""",
    examples=(
        "kv diff 127.0.0.1:27590 127.0.0.1:27591",
        "kv diff attic.lan:27590 cellar.lan:27590 home.heating",
        "kv diff unix:/run/kvnode/a.sock unix:/run/kvnode/b.sock --format jsonl",
    ),
)
@click.argument("one")
@click.argument("other")
@below_argument
@click.option("--limit", type=click.IntRange(min=1), default=LIMIT, show_default=True, metavar="N", help="Most paths.")
@click.pass_context
async def diff(ctx: click.Context, one: str, other: str, path: Path, limit: int) -> int:
    """See the help text above."""
    try:
        return await _diff(ctx, (one, other), path, limit)
    except Exception as exc:
        _, text = explain(unwrap(exc))
        raise CliError(text, Exit.USAGE) from exc


async def _diff(ctx: click.Context, addresses: tuple[str, str], path: Path, limit: int) -> int:
    from kvnode.client import comparing

    settings = settings_of(ctx)
    out = Output(settings.format)
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(sessions.open_client(a, settings.timeout_s)) for a in addresses]
        sides = _Sides(clients, addresses)
        one, other = (client.inspection for client in clients)
        with anyio.fail_after(PATIENCE * settings.timeout_s):
            found = await comparing.compare(one, other, path, limit)
            rows = [row async for row in comparing.differences(one, other, path, found)]
    if out.human:
        _show(out, sides, rows, found, path)
    else:
        with out.items() as write:
            for row in rows:
                write(sides.row(row))
    return Exit.NOT_FOUND if rows else Exit.OK


class _Sides:
    """The two nodes, by name; if both have the same (a clone, or twice the same node), by address."""

    def __init__(self, clients: list[Client], addresses: tuple[str, str]) -> None:
        nodes = [client.node for client in clients]
        self.names = nodes if nodes[0] != nodes[1] else list(addresses)

    def row(self, found: Difference) -> dict[str, Any]:
        """For machines."""
        nodes = [
            {"node": name, "unheard": unheard, "versions": [sibling_row(v) for v in versions]}
            for name, versions, unheard in zip(self.names, found.versions, found.unheard, strict=True)
        ]
        return {"path": str(found.path), "diverged": found.diverged, "nodes": nodes}


def _show(out: Output, sides: _Sides, rows: list[Difference], found: Comparison, path: Path) -> None:
    table = Table(out, ("PATH", "NODE", "VALUE", "DOT", "AGE", "AUTHOR", ""))
    now = datetime.now(UTC)
    for row in rows:
        shown = str(row.path)
        for name, versions, unheard in zip(sides.names, row.versions, row.unheard, strict=True):
            note = "has not heard of the other's yet" if unheard else "diverged" if row.diverged else ""
            for version in versions:
                table.add(shown, name, *_cells(version, now), note)
                shown = note = ""
            if not versions:
                table.add(shown, name, "(nothing)", "", "", "", note)
                shown = ""
    table.end()
    where = f" at and below {path}" if path else ""
    if not rows:
        out.line(f"{sides.names[0]} and {sides.names[1]} hold the same{where}")
    elif found.more:
        out.line(f"there are more than these {len(rows)}: --limit shows more")


def _cells(version: Sibling, now: datetime) -> tuple[str, str, str, str]:
    value = "(deleted)" if version.deleted else short_value(version.value)
    return value, str(version.dot), age(version.time, now), version.author or "-"
