"""``kv why``: where a value comes from."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import asyncclick as click

from kvnode.core.path import Path

from .command import command
from .errors import CliError, Exit
from .history import no_past, recorded_row, shown
from .render import Output, age, rfc3339, to_data
from .rows import lease_row, lease_text, path_argument
from .session import session
from .settings import settings_of

if TYPE_CHECKING:
    from kvnode.client import History, Recorded

LIMIT: Final = 100
"""So many versions of the past are looked through for what was replaced."""

REASONS: Final = {
    "newest": "the one with the latest stamp",
    "max": "the greatest value",
    "min": "the smallest value",
    "union": "all elements of all of them",
    "merge": "the maps joined, the newest counts where two have a key",
    "owner": "the one of that node, if it is among them, else the newest",
    "ask": "the newest, until somebody decides",
}


@command(
    "why",
    help="""Tell why PATH reads as it does: who wrote it, on which node, when, and what the writer had seen.

    "knowing" names the changes to this path that the writer had seen, by node and number. What was replaced is told
    as far as the node kept it (see kv history). Where several versions stand side by side, the policy says which of
    them reads. A delete has its reasons, too, as long as it is remembered.""",
    examples=("kv why home.heating.set", "kv why home.heating.set --format json"),
)
@path_argument
@click.pass_context
async def why(ctx: click.Context, path: Path) -> None:
    """See the help text above."""
    out = Output(settings_of(ctx).format)
    async with session(ctx) as link:
        with link.limit():
            found = await link.client.history(path, limit=LIMIT)
    if not found.current:
        raise CliError(f"nothing is known of {path} here: no value, and no delete that is remembered", Exit.NOT_FOUND)
    out.one(why_row(found), lambda: "\n".join(_lines(found)))


def why_row(found: History) -> dict[str, Any]:
    """The answer for scripts: the versions there now, the one that reads first, each with what it replaced."""
    reading = found.reading
    row: dict[str, Any] = {"path": str(found.path)}
    if reading is not None and not reading.deleted:
        row["value"] = to_data(reading.value)
    row |= {"policy": found.policy, "conflict": len(found.current) > 1}
    if reading is not None:
        row |= lease_row(reading)
    versions = [recorded_row(r) | {"replaces": [recorded_row(o) for o in replaced(found, r)]} for r in found.current]
    return row | {"versions": versions}


def replaced(found: History, recorded: Recorded) -> list[Recorded]:
    """What a current version took the place of, as far as it is on record: directly, so without what that replaced."""
    return [other for other in found.past if other.replaced_by == recorded.version.dot]


def _lines(found: History) -> list[str]:
    now = datetime.now(UTC)
    lines = [f"{found.path} {_value(found.current[0])}"]
    for recorded in found.current:
        lines += _version_lines(found, recorded, now)
    if found.reading is not None and found.reading.lease is not None:
        lines.append(f"  lease     {lease_text(found.reading, now)}")
    if len(found.current) > 1:
        reason = REASONS.get(found.policy.partition("=")[0], "")
        lines.append(f"  shown     by policy {found.policy}: {reason}")
    return lines


def _value(recorded: Recorded) -> str:
    return "deleted" if recorded.version.deleted else f"= {shown(recorded)}"


def _version_lines(found: History, recorded: Recorded, now: datetime) -> list[str]:
    version = recorded.version
    lines = (
        [] if recorded is found.current[0] else [f"beside it, written by one who had not seen it: {shown(recorded)}"]
    )
    lines += [
        f"  written   {rfc3339(version.time)} ({age(version.time, now)})",
        f"  by        {version.author or 'nobody in particular'}, at node {version.node}",
        f"  change    {version.dot}",
        f"  knowing   {recorded.knowing or 'nothing before it, or only what every member has by now'}",
    ]
    for other in replaced(found, recorded):
        who = f"{other.version.author or '-'} at {other.version.node}"
        lines.append(f"  replaced  {shown(other)}  ({age(other.version.time, now)}, {who}, {other.version.dot})")
    if not found.past:
        lines.append(f"  replaced  {no_past(found)}")
    return lines
