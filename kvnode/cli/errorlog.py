"""``kv errors``: what does not work, as nodes and agents report it below ``@.errors``, and acknowledging it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import asyncclick as click

from kvnode.core.path import Path
from kvnode.data.errors import ACKNOWLEDGED, ERRORS, Acknowledgement, ErrorRecord, Severity, acknowledgement_of

from .command import KvGroup, Lazy, command
from .errors import CliError, Exit
from .render import Output, age, rfc3339
from .rows import PATH
from .session import AUTHOR, WRITE_GRACE_S, Session, session
from .settings import settings_of
from .table import Table

errors: Final = KvGroup(
    "errors",
    lazy={
        "list": Lazy("errorlog:list_", "List what is wrong now."),
        "show": Lazy("errorlog:show", "Show one record in full."),
        "ack": Lazy("errorlog:ack", "Say that you know of an error, and what is done about it."),
        "watch": Lazy("errorwatch:watch", "Print errors as they come and go."),
    },
    help="""What does not work, as nodes and agents report it.

    Each thing that fails has one record, which counts its failures and is resolved once the thing works again. An
    ERROR is named by what kv errors list shows: its place below @.errors.""",
    examples=("kv errors list", "kv errors ack onewire.house.attic 'new cable is ordered'"),
)


@dataclass(frozen=True, slots=True)
class Trouble:
    """A record with its acknowledgement, if there is one for what is wrong now."""

    place: Path
    record: ErrorRecord
    known: Acknowledgement | None

    @classmethod
    def of(cls, place: Path, value: Any, known: Any) -> Trouble | None:
        """From the values of two entries; None if the first is no record."""
        record = ErrorRecord.from_value(value)
        if record is None:
            return None
        ack = Acknowledgement.from_value(known)
        return cls(place, record, ack if ack is not None and ack.covers(record) else None)

    @property
    def name(self) -> Path:
        """What people call it."""
        return Path(self.place[len(ERRORS) :])

    @property
    def state(self) -> str:
        """In one word."""
        if not self.record.is_open:
            return "resolved"
        return "known" if self.known is not None else "open"

    def row(self) -> dict[str, Any]:
        """For scripts."""
        r = self.record
        known = self.known and {
            "author": self.known.author,
            "comment": self.known.comment,
            "at": rfc3339(self.known.at),
        }
        return {
            "error": str(self.name),
            "state": self.state,
            "severity": str(r.severity),
            "subsystem": r.subsystem,
            "path": str(r.path),
            "code": r.code,
            "message": r.message,
            "count": r.count,
            "first": rfc3339(r.first),
            "opened": rfc3339(r.opened),
            "last": rfc3339(r.last),
            "resolved": r.resolved and rfc3339(r.resolved),
            "acknowledged": known,
        }

    def line(self) -> str:
        """For people, as it comes."""
        time = self.record.resolved or self.record.last
        text = f"{rfc3339(time)}  {self.state:8}  {self.record.severity!s:8}  {self.name}  {self.record.message}"
        return text if self.known is None else f"{text} ({self.known.author}: {self.known.comment or 'known'})"


def place_of(name: Path) -> Path:
    """The place of a record, by its name or in full."""
    return name if name.is_below(ERRORS) else ERRORS / name


async def _known(link: Session) -> dict[Path, Any]:
    """The acknowledgements, by their records' places."""
    async with link.client.tree(ACKNOWLEDGED) as rows:
        return {ERRORS / row.path[len(ACKNOWLEDGED) :]: row.value async for row in rows}


async def _troubles(link: Session, top: Path) -> AsyncIterator[Trouble]:
    known = await _known(link)
    async with link.client.tree(top) as rows:
        async for row in rows:
            trouble = Trouble.of(row.path, row.value, known.get(row.path))
            if trouble is not None:
                yield trouble


_name_argument: Final = click.argument("error", type=PATH)
severity_option: Final = click.option(
    "--severity",
    type=click.Choice([str(s) for s in Severity]),
    default=str(Severity.INFO),
    help="Only what is at least as bad as this.",
)


@command(
    "list",
    help="""List what is wrong now, of all nodes and agents or of those below SUBSYSTEM, the worst and latest first.

    With --all, also what works again and what was acknowledged. Without --all, the exit code is 0 all the same.""",
    examples=("kv errors list", "kv errors list onewire.house --all", "kv errors list --severity error --format jsonl"),
)
@click.argument("subsystem", type=PATH, default=":")
@click.option("--all", "everything", is_flag=True, help="With what is resolved or acknowledged.")
@severity_option
@click.pass_context
async def list_(ctx: click.Context, subsystem: Path, everything: bool, severity: str) -> None:
    """See the help text above."""
    out = Output(settings_of(ctx).format)
    least = Severity.parse(severity) or Severity.INFO
    async with session(ctx) as link:
        with link.limit():
            found = [t async for t in _troubles(link, place_of(subsystem)) if t.record.severity >= least]
    shown = [t for t in found if everything or t.state == "open"]
    shown.sort(key=lambda t: (t.record.is_open, t.record.severity, t.record.last), reverse=True)
    if not out.human:
        with out.items() as write:
            for trouble in shown:
                write(trouble.row())
        return
    _print(out, shown)
    hidden = sum(t.state == "known" for t in found) - sum(t.state == "known" for t in shown)
    if hidden:
        out.line(f"({hidden} acknowledged, see --all)")
    elif not shown:
        out.line("no errors")


def _print(out: Output, troubles: list[Trouble]) -> None:
    now = datetime.now(UTC)
    table = Table(out, ("SEVERITY", "STATE", "LAST", "COUNT", "ERROR", "MESSAGE"))
    for t in troubles:
        last = age(t.record.last, now)
        table.add(str(t.record.severity), t.state, last, str(t.record.count), str(t.name), t.record.message)
    table.end()


async def _find(link: Session, name: Path) -> Trouble:
    """The record of that name. Raises CliError."""
    from kvnode.client import NotFound

    place = place_of(name)
    known: Any = None
    with link.limit():
        with suppress(NotFound):
            known = (await link.client.get(acknowledgement_of(place))).value
        try:
            value = (await link.client.get(place)).value
        except NotFound:
            value = None
    trouble = Trouble.of(place, value, known)
    if trouble is None:
        raise CliError(f"no error record {name}; kv errors list --all shows those there are", Exit.NOT_FOUND)
    return trouble


@command(
    "show",
    help="""Show the record of ERROR in full.""",
    examples=("kv errors show onewire.house.attic", "kv errors show onewire.house.attic --format json"),
)
@_name_argument
@click.pass_context
async def show(ctx: click.Context, error: Path) -> None:
    """See the help text above."""
    out = Output(settings_of(ctx).format)
    async with session(ctx) as link:
        trouble = await _find(link, error)
    if not out.human:
        out.one(trouble.row(), str)
        return
    table = Table(out, ("FIELD", "VALUE"))
    for key, value in trouble.row().items():
        if key == "acknowledged" and value:
            value = f"{value['author']}, {value['at']}: {value['comment']}"
        table.add(key, "-" if value is None else str(value))
    table.end()


@command(
    "ack",
    help="""Say that you know of ERROR, with a COMMENT for others.

    It then is no longer listed. It is listed again when it was resolved in between and comes back.""",
    examples=(
        "kv errors ack onewire.house.attic 'new cable is ordered'",
        "kv errors ack node.attic.store --author ann",
    ),
)
@_name_argument
@click.argument("comment", default="")
@click.option("--author", default=AUTHOR, metavar="NAME", help="Who says so.")
@click.pass_context
async def ack(ctx: click.Context, error: Path, comment: str, author: str) -> None:
    """See the help text above."""
    out = Output(settings_of(ctx).format)
    async with session(ctx) as link:
        trouble = await _find(link, error)
        if not trouble.record.is_open:
            raise CliError(f"{trouble.name} is resolved: there is nothing to acknowledge", Exit.NOT_FOUND)
        known = Acknowledgement(trouble.record.opened, comment, author, datetime.now(UTC))
        with link.limit(extra_s=WRITE_GRACE_S):
            place = acknowledgement_of(trouble.place)
            await link.client.set(place, known.value(), timeout=link.timeout_s, idempotent=True)
    done = Trouble(trouble.place, trouble.record, known)
    out.one(done.row(), lambda: f"{done.name}: acknowledged")
