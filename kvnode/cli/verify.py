"""``kv verify``: whether the node and its peers hold the same."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import asyncclick as click

from kvnode.core.path import Path

from .command import command
from .errors import Exit
from .render import Output
from .rows import below_argument
from .session import session
from .settings import settings_of
from .table import Table

if TYPE_CHECKING:
    from kvnode.client.inspect_protocol import Verified

WAIT_S: Final = 10.0

MEANING: Final = {
    "equal": "holds the same",
    "behind": "differs: changes are on their way",
    "diverged": "DIVERGED: both know the same, and yet these paths differ",
    "unlinked": "not linked, so not compared",
    "silent": "did not answer; a node of an older version does not",
}
_CODES: Final = {
    "equal": Exit.OK,
    "behind": Exit.NOT_FOUND,
    "unlinked": Exit.UNREACHABLE,
    "silent": Exit.UNREACHABLE,
    "diverged": Exit.DIVERGED,
}


@command(
    "verify",
    help="""Compare what the node holds at and below PATH (default: everything) with each of its peers.

    Only fingerprints travel where they are equal. If something differs, the nodes get --wait seconds for what is on
    its way. The exit code is 0 if all hold the same, 1 if changes are still on their way, 3 if a peer could not be
    asked, and 6 if two nodes know the same and yet differ: kv diff shows what each holds; please report that.""",
    examples=("kv verify", "kv verify home.heating --with cellar", "kv verify --format jsonl"),
)
@below_argument
@click.option("--with", "peer", metavar="NODE", help="Only this peer, by its name.")
@click.option(
    "--wait",
    "wait_s",
    type=click.FloatRange(min=0, max=60),
    default=WAIT_S,
    show_default=True,
    metavar="SECONDS",
    help="Time for what is on its way.",
)
@click.pass_context
async def verify(ctx: click.Context, path: Path, peer: str | None, wait_s: float) -> int:
    """See the help text above."""
    out = Output(settings_of(ctx).format)
    async with session(ctx) as link:
        found = await link.client.inspection.verify(path, peer, wait_s)
        name = link.client.node
    if out.human:
        _show(out, name, found)
    else:
        with out.items() as write:
            for row in found:
                write(_row(row))
    return max((_CODES.get(row.result, Exit.FAILED) for row in found), default=Exit.OK)


def _row(row: Verified) -> dict[str, Any]:
    return {
        "peer": row.peer,
        "result": row.result,
        "paths": [str(Path(path)) for path in row.paths],
        "count": row.count,
        "we_lack": row.we_lack,
        "they_lack": row.they_lack,
    }


def _show(out: Output, name: str, found: list[Verified]) -> None:
    if not found:
        out.line(f"{name} has no peers")
        return
    table = Table(out, ("PEER", "RESULT", "CHANGES ON THEIR WAY"))
    for row in found:
        way = f"{row.we_lack} to {name}, {row.they_lack} to {row.peer}" if row.we_lack or row.they_lack else ""
        table.add(row.peer, MEANING.get(row.result, row.result), way)
    table.end()
    for row in found:
        _paths(out, row)


def _paths(out: Output, row: Verified) -> None:
    if not row.paths:
        return
    out.line("")
    out.line(f"differing from {row.peer}:")
    for path in row.paths:
        out.line(f"  {Path(path)}")
    if row.count > len(row.paths):
        out.line("  and more")
