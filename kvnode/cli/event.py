"""``kv event``: messages that are delivered to whoever listens, and stored nowhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import asyncclick as click

from kvnode.core.path import Path, Pattern

from .command import KvGroup, Lazy, command
from .errors import CliError, Exit, complain
from .hints import how_written
from .render import Output, short_value, to_data
from .rows import below_argument, path_argument, pattern_option, string_option, value_of
from .session import session
from .settings import settings_of

if TYPE_CHECKING:
    from kvnode.client import EventItem

event: Final = KvGroup(
    "event",
    lazy={
        "send": Lazy("event:send", "Send an event."),
        "watch": Lazy("event:watch", "Print events as they come."),
    },
    help="Messages that are delivered and not stored.",
    examples=("kv event send home.bell pressed", "kv event watch home --format jsonl"),
)


@command(
    "send",
    help="""Send VALUE as an event on PATH.

    It reaches all nodes that are linked now, in order, and is stored nowhere. VALUE is read as by kv set.""",
    examples=("kv event send home.bell pressed", 'kv event send home.ir.:3 \'{"key": "mute"}\''),
)
@path_argument
@click.argument("value")
@string_option
@click.pass_context
async def send(ctx: click.Context, path: Path, value: str, as_text: bool) -> None:
    """See the help text above."""
    parsed = await value_of(value, as_text)
    async with session(ctx) as link:
        with link.limit():
            await link.client.send(path, parsed)


@command(
    "watch",
    help="""Print events at and below PATH (default: all) as they come, until Ctrl-C.

    With --format jsonl each line has path, value, node, seq and author.""",
    examples=("kv event watch home", "kv event watch --pattern home.+.bell --format jsonl"),
)
@below_argument
@pattern_option
@click.option("--count", type=click.IntRange(min=1), metavar="N", help="End after N events.")
@click.pass_context
async def watch(ctx: click.Context, path: Path, pattern: Pattern | None, count: int | None) -> None:
    """See the help text above."""
    settings = settings_of(ctx)
    settings.endless = True
    out = Output(settings.format)
    seen = 0
    async with session(ctx) as link, link.client.events(path, pattern) as events:
        if out.human and (hint := how_written(path, pattern)):
            complain(f"{path} is taken as it stands: {hint}")
        async for item in events:
            _print(out, item)
            seen += 1
            if seen == count:
                return
    raise CliError("the watch ended: the node closed it", Exit.UNREACHABLE)


def _print(out: Output, item: EventItem) -> None:
    out.record(_row(item), lambda: _human(item))


def _row(item: EventItem) -> dict[str, Any]:
    return {
        "path": str(item.path),
        "value": to_data(item.value),
        "node": item.node,
        "seq": item.seq,
        "author": item.author,
    }


def _human(item: EventItem) -> str:
    by = f"{item.node}, {item.author}" if item.author else item.node
    return f"{item.path} : {short_value(item.value)}  ({by})"
