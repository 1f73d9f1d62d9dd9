"""``kv get``, ``kv set``, ``kv delete``: one value."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import asyncclick as click

from kvnode.core.path import Path
from kvnode.core.ticks import Dot

from .command import command
from .durations import DURATION
from .errors import complain, usage
from .hints import DOTS, existing, has_slash
from .recursive import delete_below
from .render import Output, age, full_value, rfc3339, short_value, to_data
from .rows import (
    DOT,
    ack_option,
    details_row,
    lease_text,
    path_argument,
    string_option,
    value_of,
    written_row,
)
from .session import WRITE_GRACE_S, Session, session
from .settings import settings_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from kvnode.client import Expect, Reading, Written


@command(
    "get",
    help="""Print the value at PATH.

    Text is printed as it is, anything else as JSON. With --format json it is the bare value in JSON. If there is
    no value, one line says so and the exit code is 1. A value whose lease has run out (see kv set --ttl) is printed
    all the same, and a line on standard error says since when it is stale.""",
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
            reading = await existing(link, path)
    if reading.expired:
        complain(f"{path} is stale: {lease_text(reading, datetime.now(UTC))}")
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
    if reading.lease is not None:
        lines.append(f"lease     {lease_text(reading, now)}")
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
    are text. --string takes it as text in any case; - reads it from standard input.

    With --ttl the value is a lease: the node deletes it after that time, unless it is written again. Where that node
    is out of reach it is shown as stale instead. With --if-changed nothing is written where the value is the same
    already; the answer then names the write that made it so.""",
    examples=(
        "kv set home.attic.temp 21.5",
        'kv set home.hall.light \'{"on": true, "level": 40}\'',
        "kv set home.note --string 'back at 12:30'",
        "kv set home.attic.temp -5 --ack all --timeout 10",
        "kv set home.heating.boost true --ttl 30min",
        "kv set home.hall.mode night --if-changed",
    ),
)
@path_argument
@click.argument("value")
@string_option
@ack_option
@_expect_option
@_absent_option
@click.option("--if-changed", is_flag=True, help="Write only if the value differs from what is there.")
@click.option(
    "--ttl", type=DURATION, metavar="TIME", help="The node deletes the value after this time: 30s, 5min, 2h, 7d."
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
    if_changed: bool,
    ttl: float | None,
) -> None:
    """See the help text above."""
    wanted = _expected(expect, if_absent)
    parsed = await value_of(value, as_text)

    async def write(link: Session) -> Written:
        return await link.client.set(
            path, parsed, ack=ack, timeout=link.timeout_s, expect=wanted, ttl=ttl, if_changed=if_changed
        )

    await _write(ctx, path, write, f"{path} = {short_value(parsed)}")
    if has_slash(path) and settings_of(ctx).format == "human":
        complain(f"the slashes in {path} separate nothing: {DOTS}")


@command(
    "delete",
    help="""Delete the value at PATH.

    What another node writes at the same time is not lost: it stays, and is shown as a conflict. If there is no
    value, one line says so and the exit code is 1.

    With --recursive everything below PATH goes with it, in batches of at most 5000 values, each all or none; what is
    written below PATH meanwhile may stay. It asks first; --yes answers. From the root on, the system's own tree
    below @ stays.""",
    examples=(
        "kv delete home.attic.temp",
        "kv delete home.attic.temp --ack peer:1",
        "kv delete --recursive home.attic --yes",
    ),
)
@path_argument
@ack_option
@_expect_option
@click.option("--recursive", "-r", is_flag=True, help="Delete everything below PATH, too.")
@click.option("--yes", "sure", is_flag=True, help="Do not ask, with --recursive.")
@click.pass_context
async def delete(
    ctx: click.Context, path: Path, ack: str, expect: tuple[Dot, ...], recursive: bool, sure: bool
) -> None:
    """See the help text above."""
    if recursive:
        if expect:
            raise usage("--expect and --recursive exclude each other")
        async with session(ctx) as link:
            await delete_below(link, Output(settings_of(ctx).format), path, ack, sure=sure)
        return

    async def write(link: Session) -> Written:
        wanted = _expected(expect, absent=False)
        if wanted is None:
            await existing(link, path)
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
    how = "unchanged, " if written.unchanged else ""
    out.one(written_row(path, written), lambda: f"{said}  ({how}{written.dot})")


def print_unacked(out: Output, path: Path, exc: Exception) -> None:
    """For an ack time-out in a machine format, the dot of the write that stands; else nothing."""
    if getattr(exc, "code", None) == "ack_timeout" and not out.human:
        row: dict[str, Any] = {"path": str(path), "dot": str(getattr(exc, "dot", "")), "acked": False}
        out.one(row, str)
