"""``kv watch``: a snapshot, a marker, then every change."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

import asyncclick as click

from kvnode.core.path import Path, Pattern

from .command import command
from .errors import CliError, Exit, complain
from .hints import nothing_below
from .render import Output, rfc3339, short_value, to_data
from .rows import below_argument, depth_option, keys_option, lease_row, lease_text, pattern_option
from .session import session
from .settings import settings_of

if TYPE_CHECKING:
    from kvnode.client import Change, Gap, Uptodate


@command(
    "watch",
    help="""Print the values at and below PATH (default: all), a marker, then every change as it comes.

    With --format jsonl each line has path, value (absent for a delete), node, tick, time and author; the line
    {"uptodate": true} ends the snapshot. If changes may have been missed, a line {"gap": REASON} says so. It goes
    on until Ctrl-C, also when the node goes away and comes back. With --keys no values are sent, and a delete says
    "deleted": true.""",
    examples=(
        "kv watch home",
        "kv watch home --pattern home.+.temp --format jsonl",
        "kv watch home.attic.temp --latest",
        "kv watch home --keys",
        "kv watch home --snapshot",
    ),
)
@below_argument
@pattern_option
@depth_option
@keys_option
@click.option("--latest", is_flag=True, help="Skip intermediate values when this command cannot keep up.")
@click.option("--snapshot", is_flag=True, help="End after the snapshot.")
@click.option("--count", type=click.IntRange(min=1), metavar="N", help="End after N changes behind the snapshot.")
@click.pass_context
async def watch(
    ctx: click.Context,
    path: Path,
    pattern: Pattern | None,
    depth: int | None,
    keys: bool,
    latest: bool,
    snapshot: bool,
    count: int | None,
) -> None:
    """See the help text above."""
    settings = settings_of(ctx)
    settings.endless = True
    out = Output(settings.format)
    end = _End(snapshot, count)
    hint = nothing_below(path, pattern) if out.human else ""  # told if the first item is the marker
    async with (
        session(ctx) as link,
        link.client.watch(path, pattern=pattern, depth=depth, latest=latest, keys=keys) as changes,
    ):
        async for change in changes:
            if hint and end.is_marker(change):
                complain(hint)
            hint = ""
            out.record(change_row(change, keys=keys), partial(_human, change))
            if end.is_reached(change):
                return
    raise CliError("the watch ended: the node closed it", Exit.UNREACHABLE)


class _End:
    """Says when the watch has shown what was asked for."""

    def __init__(self, snapshot: bool, count: int | None) -> None:
        self._snapshot = snapshot
        self._left = count
        self._current = False

    @staticmethod
    def is_marker(change: Change | Uptodate | Gap) -> bool:
        """Whether this ends the snapshot."""
        from kvnode.client import Uptodate

        return isinstance(change, Uptodate)

    def is_reached(self, change: Change | Uptodate | Gap) -> bool:
        """Whether this was the last item."""
        from kvnode.client import Change

        if self.is_marker(change):
            self._current = True
            return self._snapshot
        if self._left is None or not self._current or not isinstance(change, Change):
            return False
        self._left -= 1
        return self._left == 0


def change_row(change: Change | Uptodate | Gap, *, keys: bool = False) -> dict[str, Any]:
    """The line that scripts read. Of an entry that vanished while the watch was cut off, nobody is named."""
    from kvnode.client import MISSING, Gap, Uptodate

    if isinstance(change, Uptodate):
        return {"uptodate": True}
    if isinstance(change, Gap):
        return {"gap": change.reason}
    row: dict[str, Any] = {"path": str(change.path)}
    if keys and change.value is MISSING:
        row["deleted"] = True
    elif change.value is not MISSING and not keys:
        row["value"] = to_data(change.value)
    if not change.node:
        return row | dict.fromkeys(("node", "tick", "time", "author"))
    return row | {
        "node": change.node,
        "tick": change.tick,
        "time": rfc3339(change.time),
        "author": change.author,
        **lease_row(change),
    }


def _human(change: Change | Uptodate | Gap) -> str:
    from kvnode.client import MISSING, OMITTED, Gap, Uptodate

    if isinstance(change, Uptodate):
        return "-- up to date --"
    if isinstance(change, Gap):
        return f"-- gap: {change.reason} --"
    if not change.node:
        return f"--:--:--  {change.path} gone"
    clock = change.time.astimezone().strftime("%H:%M:%S")
    if change.value is OMITTED:
        what = "written"
    else:
        what = "deleted" if change.value is MISSING else f"= {short_value(change.value)}"
    if change.expired:
        what += f" (stale: {lease_text(change, datetime.now(UTC))})"
    by = f"{change.node}, {change.author}" if change.author else change.node
    return f"{clock}  {change.path} {what}  ({by})"
