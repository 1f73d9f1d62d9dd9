"""``kv history``: what was at a path before."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import asyncclick as click

from kvnode.core.path import Path

from .command import command
from .durations import DURATION
from .render import Output, age, rfc3339, short_value, to_data
from .rows import path_argument
from .session import session
from .settings import settings_of
from .table import Table

if TYPE_CHECKING:
    from kvnode.client import History, Recorded

LIMIT: Final = 20


class SinceType(click.ParamType[datetime]):
    """A moment: so long ago, or a date and time."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """Read it; the error says how it is written."""
        if isinstance(value, datetime):
            return value
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            pass
        else:
            return moment.astimezone(UTC)
        try:
            return datetime.now(UTC) - timedelta(seconds=DURATION.convert(value, param, ctx))
        except (click.BadParameter, OverflowError):
            self.fail(
                f"{value!r} is no time; write how long ago (2h, 7d), or 2026-01-31 or 2026-01-31T12:30", param, ctx
            )


@command(
    "history",
    help="""Print what is at PATH now and what was there before, newest first.

    A node keeps of the past what an entry below @.history asks for, such as {"pattern": "home.#", "versions": 20};
    with "days" it is kept no longer than that. Each node has its own record: of changes made while it was cut off it
    knows the outcome only.""",
    examples=(
        "kv history home.heating.set",
        "kv history home.heating.set --since 7d --limit 100",
        "kv history home.heating.set --format jsonl",
    ),
)
@path_argument
@click.option(
    "--limit", type=click.IntRange(min=1), default=LIMIT, show_default=True, metavar="N", help="At most so many."
)
@click.option("--since", type=SinceType(), metavar="TIME", help="Only what was written since: 2h, 7d, 2026-01-31.")
@click.pass_context
async def history(ctx: click.Context, path: Path, limit: int, since: datetime | None) -> None:
    """See the help text above."""
    out = Output(settings_of(ctx).format)
    async with session(ctx) as link:
        with link.limit():
            found = await link.client.history(path, limit=limit, since=since)
    if not out.human:
        with out.items() as write:
            for recorded in (*found.current, *found.past):
                write(recorded_row(recorded))
        return
    _table(out, found)


def _table(out: Output, found: History) -> None:
    now = datetime.now(UTC)
    current = {recorded.version.dot for recorded in found.current}
    table = Table(out, ("WRITTEN", "", "VALUE", "NODE", "AUTHOR", "DOT"))
    for recorded in (*found.current, *found.past):
        version = recorded.version
        mark = "now" if version.dot in current else ""
        table.add(age(version.time, now), mark, shown(recorded), version.node, version.author or "-", str(version.dot))
    table.end()
    if found.more:
        out.line("there is more: --limit")
    if not found.past:
        out.line(no_past(found))


def no_past(found: History) -> str:
    """Why there is nothing of before."""
    if found.keeps is None:
        return f"no history is kept of {found.path}: an entry below @.history can ask for it, see kv history --help"
    return f"nothing of before is on record for {found.path}"


def shown(recorded: Recorded) -> str:
    """The value of a version, for people."""
    return "(deleted)" if recorded.version.deleted else short_value(recorded.version.value)


def recorded_row(recorded: Recorded) -> dict[str, Any]:
    """A version of now or of before, for scripts."""
    version = recorded.version
    row: dict[str, Any] = {"dot": str(version.dot)}
    if version.deleted:
        row["deleted"] = True
    else:
        row["value"] = to_data(version.value)
    by = None if recorded.replaced_by is None else str(recorded.replaced_by)
    return row | {
        "time": rfc3339(version.time),
        "node": version.node,
        "author": version.author,
        "after": dict(recorded.after),
        "replaced_by": by,
    }
