"""``kv conflicts``: paths where concurrent writes left several versions, and ending that."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import asyncclick as click

from kvnode.core.path import Path

from .command import KvGroup, Lazy, command
from .data import print_unacked
from .errors import CliError, Exit, usage
from .render import Output, age, short_value
from .rows import ack_option, path_argument, siblings_rows, string_option, value_of, written_row
from .session import WRITE_GRACE_S, Session, session
from .settings import settings_of
from .table import Table

if TYPE_CHECKING:
    from kvnode.client import Reading, Sibling, Written

conflicts: Final = KvGroup(
    "conflicts",
    lazy={
        "list": Lazy("conflicts:list_", "List all conflicts."),
        "show": Lazy("conflicts:show", "Show the versions at one path."),
        "resolve": Lazy("conflicts:resolve", "Decide which value stays."),
    },
    help="""Paths where concurrent writes left several values.

    A conflict loses nothing and blocks nothing: the path reads as one of its versions, chosen by its policy, and the
    next write to it ends the conflict. This command is for deciding yourself.""",
    examples=("kv conflicts list", "kv conflicts show home.heating.set"),
)


def conflict_row(reading: Reading) -> dict[str, Any]:
    """A path with all its versions, the one that reads first."""
    return {"path": str(reading.path), "siblings": siblings_rows(reading)}


def _add(table: Table, path: str, reading: Reading, now: datetime) -> None:
    for at, sibling in enumerate(reading.siblings):
        value = "(deleted)" if sibling.deleted else short_value(sibling.value)
        if reading.cut and at:
            value = "(too large to show)"
        reads = "reads" if at == 0 else ""
        table.add(path, reads, value, str(sibling.dot), age(sibling.time, now), sibling.author or "-")
        path = ""


_HEADINGS: Final = ("PATH", "", "VALUE", "DOT", "AGE", "AUTHOR")


@command(
    "list",
    help="""List all conflicts. With --format jsonl each line has path and siblings.""",
    examples=("kv conflicts list", "kv conflicts list --format jsonl"),
)
@click.pass_context
async def list_(ctx: click.Context) -> None:
    """See the help text above."""
    out = Output(settings_of(ctx).format)
    async with session(ctx) as link:
        with link.limit():
            found = await link.client.conflicts()
    if not out.human:
        with out.items() as write:
            for reading in found:
                write(conflict_row(reading))
        return
    table = Table(out, _HEADINGS)
    now = datetime.now(UTC)
    for reading in found:
        _add(table, str(reading.path), reading, now)
    table.end()
    if not found:
        out.line("no conflicts")


async def _find(link: Session, path: Path) -> Reading:
    """The versions at `path`. A delete that raced a write counts: the path has a value then."""
    with link.limit():
        return await link.client.get(path)


@command(
    "show",
    help="""Show the versions at PATH. If there is only one, there is no conflict, and the exit code is 1.""",
    examples=("kv conflicts show home.heating.set", "kv conflicts show home.heating.set --format json"),
)
@path_argument
@click.pass_context
async def show(ctx: click.Context, path: Path) -> None:
    """See the help text above."""
    out = Output(settings_of(ctx).format)
    async with session(ctx) as link:
        reading = await _find(link, path)
    if not reading.conflict:
        raise CliError(f"no conflict at {path}", Exit.NOT_FOUND)
    if not out.human:
        out.one(conflict_row(reading), str)
        return
    table = Table(out, _HEADINGS)
    _add(table, str(path), reading, datetime.now(UTC))
    table.end()


@command(
    "resolve",
    help="""End the conflict at PATH: with one of its versions, with another value, or with a delete.

    DOT names a version as kv conflicts show prints it; its beginning, or the node's name, will do where only one
    version fits. It is a compare-and-set: if the versions change meanwhile, nothing is written and the exit code
    is 4. If there is no conflict, the exit code is 1.""",
    examples=(
        "kv conflicts resolve home.heating.set --take attic~0123456789abcdef:7",
        "kv conflicts resolve home.heating.set --value 20.5",
        "kv conflicts resolve home.heating.set --delete",
    ),
)
@path_argument
@click.option("--take", metavar="DOT", help="Keep this version.")
@click.option("--value", metavar="VALUE", help="Write this value; read as by kv set.")
@click.option("--delete", "remove", is_flag=True, help="Delete all versions.")
@string_option
@ack_option
@click.pass_context
async def resolve(
    ctx: click.Context, path: Path, take: str | None, value: str | None, remove: bool, as_text: bool, ack: str
) -> None:
    """See the help text above."""
    if (take is not None) + (value is not None) + remove != 1:
        raise usage("give exactly one of --take, --value and --delete")
    wanted = None if value is None else await value_of(value, as_text)
    out = Output(settings_of(ctx).format)
    async with session(ctx) as link:
        reading = await _find(link, path)
        if not reading.conflict:
            raise CliError(f"no conflict at {path}", Exit.NOT_FOUND)
        if take is not None:
            taken = _taken(reading, take)
            remove, wanted = taken.deleted, taken.value
        try:
            with link.limit(extra_s=WRITE_GRACE_S):
                written = await _end(link, reading, None if remove else (wanted,), ack)
        except Exception as exc:
            print_unacked(out, path, exc)
            raise
    said = "deleted" if remove else f"= {short_value(wanted)}"
    out.one(written_row(path, written), lambda: f"{path} {said}  ({written.dot})")


async def _end(link: Session, reading: Reading, value: tuple[Any] | None, ack: str) -> Written:
    client, dots = link.client, reading.dots
    if value is None:
        return await client.delete(reading.path, ack=ack, timeout=link.timeout_s, expect=dots)
    return await client.set(reading.path, value[0], ack=ack, timeout=link.timeout_s, expect=dots)


def _taken(reading: Reading, text: str) -> Sibling:
    """The version that `text` names: a whole dot, or the beginning of just one."""
    whole = [s for s in reading.siblings if str(s.dot) == text]
    found = whole or [s for s in reading.siblings if str(s.dot).startswith(text)]
    if len(found) == 1:
        if reading.cut and found[0] != reading.siblings[0]:
            raise CliError(f"the versions at {reading.path} are too large to be taken over this way; give --value")
        return found[0]
    dots = ", ".join(str(s.dot) for s in reading.siblings)
    many = "fits several" if found else "is none"
    raise usage(f"{text!r} {many} of the versions at {reading.path}: {dots}")
