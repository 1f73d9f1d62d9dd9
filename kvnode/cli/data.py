"""``kv get``, ``kv set``, ``kv delete``: one value."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import asyncclick as click

from kvnode.core.path import Path
from kvnode.core.ticks import Dot

from .command import command, settings_of
from .errors import usage
from .render import Output, age, full_value, rfc3339, short_value, to_data
from .rows import (
    DOT,
    ack_option,
    details_row,
    path_argument,
    string_option,
    value_of,
    written_row,
)
from .session import WRITE_GRACE_S, Session, session

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from kvnode.client import Expect, Reading, Written


@command(
    "get",
    help="""Print the value at PATH.

    Text is printed as it is, anything else as JSON. With --format json it is the bare value in JSON. If there is
    no value, one line says so and the exit code is 1.""",
    examples=(
        "kv get home.attic.temp",
        "kv get home.attic.temp --format json",
        "kv get home.attic.temp --details",
    ),
)
@path_argument
@click.option("--details", is_flag=True, help="Print also dot, time, author, and all concurrent versions.")
@click.pass_context
async def get(ctx: click.Context, path: Path, details: bool) -> None:
    """See the help text above."""
    out = Output(settings_of(ctx).format)
    async with session(ctx) as link:
        with link.limit():
            reading = await link.client.get(path)
    if details:
        out.one(details_row(reading), lambda: _details(reading))
    elif out.human:
        out.line(full_value(reading.value, terminal=out.terminal))
    else:
        out.one(to_data(reading.value), str)


def _details(reading: Reading) -> str:
    now = datetime.now(UTC)
    lines = [
        f"path      {reading.path}",
        f"value     {short_value(reading.value)}",
        f"written   {rfc3339(reading.time)} ({age(reading.time, now)})",
        f"by        {reading.author or '-'} at node {reading.node}",
        f"dot       {reading.dot}",
        f"conflict  {'yes' if reading.conflict else 'no'}",
    ]
    if reading.conflict:
        lines += [
            f"  version {s.dot}  {'deleted' if s.deleted else short_value(s.value)}  {age(s.time, now)}"
            for s in reading.siblings
        ]
    return "\n".join(lines)


# -- writing -------------------------------------------------------------------------------------------------

_expect_option = click.option(
    "--expect",
    type=DOT,
    multiple=True,
    metavar="DOT",
    help="Write only if these are exactly the versions there (compare-and-set; once for each).",
)
_absent_option = click.option("--if-absent", is_flag=True, help="Write only if there is no value.")


def _expected(dots: tuple[Dot, ...], absent: bool) -> Expect:
    from kvnode.client import ABSENT

    if dots and absent:
        raise usage("--expect and --if-absent exclude each other")
    if absent:
        return ABSENT
    return frozenset(dots) if dots else None


@command(
    "set",
    help="""Write VALUE at PATH.

    VALUE is read as JSON, else as a plain scalar of YAML 1.2: 21.5 is a number, true a truth value, on and 12:30
    are text. --string takes it as text in any case; - reads it from standard input.""",
    examples=(
        "kv set home.attic.temp 21.5",
        'kv set home.hall.light \'{"on": true, "level": 40}\'',
        "kv set home.note --string 'back at 12:30'",
        "kv set home.attic.temp -5 --ack all --timeout 10",
    ),
)
@path_argument
@click.argument("value")
@string_option
@ack_option
@_expect_option
@_absent_option
@click.option(
    "--ttl", type=click.FloatRange(min=0, min_open=True), metavar="SECONDS", help="The value expires after this time."
)
@click.pass_context
async def set_(
    ctx: click.Context,
    path: Path,
    value: str,
    as_text: bool,
    ack: str,
    expect: tuple[Dot, ...],
    if_absent: bool,
    ttl: float | None,
) -> None:
    """See the help text above."""
    wanted = _expected(expect, if_absent)
    parsed = await value_of(value, as_text)
    expiry = None if ttl is None else datetime.fromtimestamp(datetime.now(UTC).timestamp() + ttl, UTC)

    async def write(link: Session) -> Written:
        return await link.client.set(path, parsed, ack=ack, timeout=link.timeout_s, expect=wanted, expiry=expiry)

    await _write(ctx, path, write, f"{path} = {short_value(parsed)}")


@command(
    "delete",
    help="""Delete the value at PATH.

    What another node writes at the same time is not lost: it stays, and is shown as a conflict. If there is no
    value, one line says so and the exit code is 1.""",
    examples=("kv delete home.attic.temp", "kv delete home.attic.temp --ack peer:1"),
)
@path_argument
@ack_option
@_expect_option
@click.pass_context
async def delete(ctx: click.Context, path: Path, ack: str, expect: tuple[Dot, ...]) -> None:
    """See the help text above."""

    async def write(link: Session) -> Written:
        wanted = _expected(expect, absent=False)
        if wanted is None:
            await link.client.get(path)
        return await link.client.delete(path, ack=ack, timeout=link.timeout_s, expect=wanted)

    await _write(ctx, path, write, f"{path} deleted")


async def _write(ctx: click.Context, path: Path, write: Callable[[Session], Awaitable[Written]], said: str) -> None:
    """Write, and print the dot - also when the write stands but nobody confirmed it in time."""
    out = Output(settings_of(ctx).format)
    async with session(ctx) as link:
        try:
            with link.limit(extra_s=WRITE_GRACE_S):
                written = await write(link)
        except Exception as exc:
            print_unacked(out, path, exc)
            raise
    out.one(written_row(path, written), lambda: f"{said}  ({written.dot})")


def print_unacked(out: Output, path: Path, exc: Exception) -> None:
    """For an ack time-out in a machine format, the dot of the write that stands; else nothing."""
    if getattr(exc, "code", None) == "ack_timeout" and not out.human:
        row: dict[str, Any] = {"path": str(path), "dot": str(getattr(exc, "dot", "")), "acked": False}
        out.one(row, str)
