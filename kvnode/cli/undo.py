"""``kv undo``: back to what was there before."""

from __future__ import annotations

import asyncclick as click

from kvnode.core.path import Path
from kvnode.core.ticks import Dot

from .command import command
from .data import print_unacked
from .render import Output, short_value
from .rows import DOT, ack_option, path_argument, written_row
from .session import WRITE_GRACE_S, session
from .settings import settings_of


@command(
    "undo",
    help="""Write the value that PATH had before the last change, as a new change.

    It needs a history (see kv history), and takes nothing away from it: a second undo goes back to what the first one
    replaced. Where there was no value before, this deletes. With --to it goes back to the change DOT, as kv history
    prints it. If anything changes at PATH meanwhile, nothing is written and the exit code is 4.""",
    examples=("kv undo home.heating.set", "kv undo home.heating.set --to attic~0123456789abcdef:7"),
)
@path_argument
@click.option("--to", type=DOT, metavar="DOT", help="Go back to this change.")
@ack_option
@click.pass_context
async def undo(ctx: click.Context, path: Path, to: Dot | None, ack: str) -> None:
    """See the help text above."""
    out = Output(settings_of(ctx).format)
    async with session(ctx) as link:
        try:
            with link.limit(extra_s=WRITE_GRACE_S):
                former, written = await link.client.undo(path, to, ack=ack, timeout=link.timeout_s)
        except Exception as exc:
            print_unacked(out, path, exc)
            raise
    said = "deleted" if former.deleted else f"= {short_value(former.value)}"
    row = written_row(path, written) | {"undone_to": str(former.dot)}
    out.one(row, lambda: f"{path} {said}, as in {former.dot}  ({written.dot})")
