"""Readings and changes as the JSON-like rows that scripts rely on, and the arguments that several commands share."""

from __future__ import annotations

import re
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

import asyncclick as click

from kvnode.codec.values import MAX_JSON_CHARS
from kvnode.core.path import Path, PathError, Pattern
from kvnode.core.ticks import Dot, is_incarnation

from .errors import usage
from .render import age, rfc3339, to_data
from .settings import settings_of
from .stdin import read_text
from .values import ValueTextError, parse_text, parse_value

if TYPE_CHECKING:
    from asyncclick.shell_completion import CompletionItem

    from kvnode.client import Reading, Sibling, Written

_ACK: Final = re.compile(r"memory|disk|all|peer:[1-9][0-9]{0,3}")


# -- arguments -----------------------------------------------------------------------------------------------


class PathType(click.ParamType[Path]):
    """A path in its text form."""

    name = "path"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """Read it; the error says what is wrong."""
        if isinstance(value, Path):
            return value
        try:
            return Path.parse(value)
        except PathError as exc:
            self.fail(str(exc), param, ctx)

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem[str]]:
        """What the node has there."""
        from asyncclick.shell_completion import CompletionItem

        from .pathcomplete import complete_path

        return [CompletionItem(text) for text in complete_path(incomplete, settings_of(ctx).node)]


class PatternType(click.ParamType[Pattern]):
    """A path with wildcards."""

    name = "pattern"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Pattern:
        """Read it; the error says what is wrong."""
        if isinstance(value, Pattern):
            return value
        try:
            return Pattern(value)
        except PathError as exc:
            self.fail(str(exc), param, ctx)


class DotType(click.ParamType[Dot]):
    """The name of one change, as ``kv`` prints it: ``NODE~0123456789abcdef:7``."""

    name = "dot"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Dot:
        """Read it."""
        if isinstance(value, Dot):
            return value
        inc, _, tick = str(value).rpartition(":")
        if not (is_incarnation(inc) and tick.isascii() and tick.isdigit()):
            self.fail(f"{value!r} is no dot; it looks like NODE~0123456789abcdef:7", param, ctx)
        return Dot(inc, int(tick))


class AckType(click.ParamType[str]):
    """How far a write must have come before the command ends."""

    name = "ack"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Check it."""
        if not _ACK.fullmatch(value):
            self.fail(f"{value!r} is none of memory, disk, peer:N, all", param, ctx)
        return str(value)


PATH: Final = PathType()
PATTERN: Final = PatternType()
DOT: Final = DotType()
ACK: Final = AckType()

path_argument: Final = click.argument("path", type=PATH)
below_argument: Final = click.argument("path", type=PATH, default=":")
pattern_option: Final = click.option(
    "--pattern", type=PATTERN, metavar="PATTERN", help="Only whole paths that match: + one level, # any number."
)
depth_option: Final = click.option(
    "--depth", type=click.IntRange(min=0), metavar="N", help="Only N levels below the path."
)
keys_option: Final = click.option("--keys", is_flag=True, help="Paths only: the node sends no values.")
string_option: Final = click.option("--string", "as_text", is_flag=True, help="Take the value as text, as it is.")
ack_option: Final = click.option(
    "--ack",
    type=ACK,
    default="disk",
    show_default=True,
    metavar="LEVEL",
    help="Wait until the write is safe: memory, disk, peer:N, all.",
)


async def value_of(text: str, as_text: bool) -> Any:
    """The value of a command line argument; ``-`` reads standard input (one last line break goes with --string)."""
    if text == "-":
        text = await read_text(MAX_JSON_CHARS)
        if as_text:
            text = text.removesuffix("\n").removesuffix("\r")
    try:
        return parse_text(text) if as_text else parse_value(text)
    except ValueTextError as exc:
        raise usage(str(exc)) from None


# -- rows ----------------------------------------------------------------------------------------------------


def reading_row(reading: Reading, *, conflict: bool = True) -> dict[str, Any]:
    """A value with its path and where it comes from; without the value if only keys were asked for."""
    from kvnode.client import OMITTED

    row: dict[str, Any] = {"path": str(reading.path)}
    if reading.value is not OMITTED:
        row["value"] = to_data(reading.value)
    row |= {
        "node": reading.node,
        "tick": reading.tick,
        "time": rfc3339(reading.time),
        "author": reading.author,
    }
    if conflict:
        row["conflict"] = reading.conflict
    return row | lease_row(reading)


def lease_row(reading: Reading) -> dict[str, Any]:
    """What scripts are told of a lease; nothing if there is none."""
    if reading.lease is None or reading.until is None:
        return {}
    return {"lease": reading.lease.holder, "until": rfc3339(reading.until), "expired": reading.expired}


def lease_text(reading: Reading, now: datetime) -> str:
    """The same for people."""
    if reading.lease is None or reading.until is None:
        return "none"
    return f"{'ended' if reading.expired else 'ends'} {age(reading.until, now)}, held by {reading.lease.holder}"


def siblings_rows(reading: Reading) -> list[dict[str, Any]]:
    """All versions, the one that reads first."""
    return [sibling_row(s, cut=reading.cut and at > 0) for at, s in enumerate(reading.siblings)]


def sibling_row(sibling: Sibling, *, cut: bool = False) -> dict[str, Any]:
    """A version: its value, ``"deleted": true``, or ``"cut": true`` where the node left out what is too large."""
    row: dict[str, Any] = {"dot": str(sibling.dot)}
    if cut:
        row["cut"] = True
    elif sibling.deleted:
        row["deleted"] = True
    else:
        row["value"] = to_data(sibling.value)
    return row | {"time": rfc3339(sibling.time), "author": sibling.author, "node": sibling.node}


def details_row(reading: Reading) -> dict[str, Any]:
    """Everything there is to know about a value."""
    return reading_row(reading) | {
        "dot": str(reading.dot),
        "dots": sorted(map(str, reading.dots)),
        "siblings": siblings_rows(reading),
    }


def written_row(path: Path, written: Written) -> dict[str, Any]:
    """A write that stands."""
    row: dict[str, Any] = {"path": str(path), "dot": str(written.dot)}
    return row | {"unchanged": True} if written.unchanged else row
