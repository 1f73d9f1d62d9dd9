"""``kv quarantine``: values that the node took out of its tree without a write, and getting them back."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import asyncclick as click

from .command import KvGroup, Lazy, command
from .errors import usage
from .render import Output, age, full_value, rfc3339, short_value
from .rows import ack_option, sibling_row
from .session import WRITE_GRACE_S, session
from .settings import settings_of
from .table import print_rows
from .text import printable

if TYPE_CHECKING:
    from kvnode.client.inspection import SetAside

quarantine: Final = KvGroup(
    "quarantine",
    lazy={
        "list": Lazy("quarantine:list_", "List what is set aside."),
        "show": Lazy("quarantine:show", "Show one of them in full."),
        "restore": Lazy("quarantine:restore", "Write one of them again."),
        "clear": Lazy("quarantine:clear", "Drop some, or all, for good."),
    },
    help="""Values that a node took out of its tree without a write, because its peers knew that they had been
    replaced or deleted long ago, or because of damage. Each node keeps its own; nothing is lost in silence.""",
    examples=("kv quarantine list", "kv quarantine restore 3"),
)


def _row(held: SetAside) -> dict[str, Any]:
    return {
        "number": held.number,
        "path": str(held.version.path),
        **sibling_row(held.version),
        "why": held.why,
        "when": rfc3339(held.when),
    }


@command(
    "list",
    help="""List what this node has set aside, oldest first.

    NUMBER is for the other commands of this group. WHEN is when it was set aside, not when it was written.""",
    examples=("kv quarantine list", "kv quarantine list --format jsonl"),
)
@click.pass_context
async def list_(ctx: click.Context) -> None:
    """See the help text above."""
    out = Output(settings_of(ctx).format)
    async with session(ctx) as link:
        with link.limit():
            found = await link.client.inspection.quarantine()
    now = datetime.now(UTC)
    rows = ((_cells(held, now), _row(held)) for held in found)
    print_rows(out, ("NUMBER", "PATH", "VALUE", "DOT", "WHEN", "WHY"), rows, empty="nothing is set aside")


def _cells(held: SetAside, now: datetime) -> tuple[str, ...]:
    version = held.version
    value = short_value(version.value)
    return str(held.number), str(version.path), value, str(version.dot), age(held.when, now), held.why


@command(
    "show",
    help="""Show the version NUMBER in full.""",
    examples=("kv quarantine show 3", "kv quarantine show 3 --format json"),
)
@click.argument("number", type=click.IntRange(min=1))
@click.pass_context
async def show(ctx: click.Context, number: int) -> None:
    """See the help text above."""
    out = Output(settings_of(ctx).format)
    async with session(ctx) as link:
        with link.limit():
            held = await link.client.inspection.set_aside(number)
    out.one(_row(held), lambda: _text(held))


def _text(held: SetAside) -> str:
    version = held.version
    return "\n".join(
        (
            f"path       {version.path}",
            f"set aside  {rfc3339(held.when)} ({age(held.when, datetime.now(UTC))})",
            f"because    {printable(held.why)}",
            f"written    {rfc3339(version.time)} by {printable(version.author) or '-'} at node {version.node}",
            f"dot        {version.dot}",
            full_value(version.value, terminal=True),
        )
    )


@command(
    "restore",
    help="""Write the value of the version NUMBER again, as a new change, and take it out of the quarantine.

    If the path has another value meanwhile, nothing is done and the exit code is 4; --force writes over it. If the
    path has this very value already, it is only taken out of the quarantine.""",
    examples=("kv quarantine restore 3", "kv quarantine restore 3 --force"),
)
@click.argument("number", type=click.IntRange(min=1))
@click.option("--force", is_flag=True, help="Also over another value, and though it has expired.")
@ack_option
@click.pass_context
async def restore(ctx: click.Context, number: int, force: bool, ack: str) -> None:
    """See the help text above."""
    out = Output(settings_of(ctx).format)
    async with session(ctx) as link:
        with link.limit(extra_s=WRITE_GRACE_S):
            inspection = link.client.inspection
            held = await inspection.set_aside(number)
            dot = await inspection.restore(number, force=force, ack=ack, timeout=link.timeout_s)
    path, value, written = held.version.path, short_value(held.version.value), dot is not None
    said = f"{path} = {value}  ({dot})" if written else f"{path} is {value} already; taken out of the quarantine"
    out.one({"number": number, "path": str(path), "dot": str(dot) if written else None}, lambda: said)


@command(
    "clear",
    help="""Drop the versions with these NUMBERs for good, or --all.""",
    examples=("kv quarantine clear 3 4", "kv quarantine clear --all"),
)
@click.argument("numbers", type=click.IntRange(min=1), nargs=-1)
@click.option("--all", "everything", is_flag=True, help="Everything that is set aside.")
@click.pass_context
async def clear(ctx: click.Context, numbers: tuple[int, ...], everything: bool) -> None:
    """See the help text above."""
    if bool(numbers) == everything:
        raise usage("give the numbers to drop, or --all")
    out = Output(settings_of(ctx).format)
    async with session(ctx) as link:
        with link.limit():
            count = await link.client.inspection.discard(None if everything else numbers)
    out.one({"dropped": count}, lambda: f"{count} dropped")
