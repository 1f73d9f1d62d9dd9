"""``kv partitions``: what happened while the cluster was in parts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import asyncclick as click
import msgspec

from kvnode.core.path import Path

from .command import KvGroup, Lazy, command
from .errors import CliError, Exit
from .render import Output, age, rfc3339
from .session import Session, session
from .settings import settings_of
from .table import Table
from .why import REASONS

if TYPE_CHECKING:
    from kvnode.client import Reading

WHERE: Final = Path(("@", "status", "partition"))
_MINUTE_S: Final = 60
_HOUR_S: Final = 3_600

partitions: Final = KvGroup(
    "partitions",
    lazy={
        "list": Lazy("partitions:list_", "List the partitions that have healed."),
        "show": Lazy("partitions:show", "Show one: who was away, who wrote what, what is in conflict."),
    },
    help="""What happened while nodes could not reach one another.

    When a cut of a minute or more has healed, one node of each side writes down who was away, for how long, how much
    each side wrote meanwhile, and which paths are in conflict since. The last 20 reports of a node are kept.""",
    examples=("kv partitions list", "kv partitions show attic.:1767225600000"),
)


class Decided(msgspec.Struct, frozen=True):
    """A path in conflict: which version shows, by which policy."""

    path: str
    policy: str
    shows: str
    versions: list[dict[str, Any]]


class Partition(msgspec.Struct, frozen=True):
    """A report, as a node wrote it (see :mod:`kvnode.node.partitions`)."""

    since: int = msgspec.field(name="from")
    seconds: int
    here: list[str]
    there: list[str]
    wrote_here: dict[str, int]
    wrote_there: dict[str, int]
    complete: bool
    conflicts: int
    paths: list[Decided]

    @property
    def start(self) -> datetime:
        """When it began."""
        return datetime.fromtimestamp(self.since / 1000, UTC)


def _read(reading: Reading) -> Partition | None:
    """None for what is no report."""
    try:
        return msgspec.convert(reading.value, Partition)
    except msgspec.ValidationError:
        return None


async def _all(link: Session) -> list[tuple[str, Partition]]:
    found = []
    with link.limit():
        async with link.client.tree(WHERE) as rows:
            async for reading in rows:
                report = _read(reading)
                if report is not None:
                    found.append((str(Path(reading.path[len(WHERE) :])), report))
    return sorted(found, key=lambda item: item[1].since)


def partition_row(name: str, report: Partition) -> dict[str, Any]:
    """A report for scripts."""
    row: dict[str, Any] = msgspec.to_builtins(report)
    del row["from"]
    return {"id": name, "from": rfc3339(report.start)} | row


@command(
    "list",
    help="""List the partitions that have healed, oldest first. Each side has its own report.""",
    examples=("kv partitions list", "kv partitions list --format jsonl"),
)
@click.pass_context
async def list_(ctx: click.Context) -> None:
    """See the help text above."""
    out = Output(settings_of(ctx).format)
    async with session(ctx) as link:
        found = await _all(link)
    if not out.human:
        with out.items() as write:
            for name, report in found:
                write(partition_row(name, report))
        return
    now = datetime.now(UTC)
    table = Table(out, ("BEGAN", "LASTED", "HERE", "AWAY", "WROTE HERE", "WROTE THERE", "CONFLICTS", "ID"))
    for name, report in found:
        wrote = (str(sum(side.values())) for side in (report.wrote_here, report.wrote_there))
        sides = (", ".join(report.here), ", ".join(report.there))
        table.add(age(report.start, now), _lasted(report), *sides, *wrote, str(report.conflicts), name)
    table.end()
    if not found:
        out.line("no partitions")


@command(
    "show",
    help="""Show the report ID, as kv partitions list names it.""",
    examples=("kv partitions show attic.:1767225600000",),
)
@click.argument("id")
@click.pass_context
async def show(ctx: click.Context, id: str) -> None:
    """See the help text above."""
    out = Output(settings_of(ctx).format)
    async with session(ctx) as link:
        report = dict(await _all(link)).get(id)
    if report is None:
        raise CliError(f"no partition is called {id}; kv partitions list names them", Exit.NOT_FOUND)
    out.one(partition_row(id, report), lambda: "\n".join(_lines(report)))


def _lines(report: Partition) -> list[str]:
    lines = [
        f"began      {rfc3339(report.start)}, lasted {_lasted(report)}",
        f"here       {', '.join(report.here)}; wrote {_counts(report.wrote_here)}",
        f"away       {', '.join(report.there)}; wrote {_counts(report.wrote_there)}",
        f"conflicts  {report.conflicts}",
    ]
    for decided in report.paths:
        reason = REASONS.get(decided.policy.partition("=")[0], "")
        others = [v["dot"] for v in decided.versions if v["dot"] != decided.shows]
        lines.append(f"  {decided.path} shows {decided.shows} by policy {decided.policy} ({reason})")
        lines.append(f"    beside it {', '.join(others)}")
    if report.conflicts > len(report.paths):
        lines.append(f"  and {report.conflicts - len(report.paths)} more, see kv conflicts list")
    if not report.complete:
        lines.append("when this was written, not everything had been exchanged yet")
    return lines


def _counts(wrote: dict[str, int]) -> str:
    return ", ".join(f"{count} at {name}" for name, count in wrote.items()) or "nothing"


def _lasted(report: Partition) -> str:
    seconds = report.seconds
    if seconds >= _HOUR_S:
        return str(timedelta(seconds=seconds))
    return f"{seconds // _MINUTE_S} min {seconds % _MINUTE_S} s" if seconds >= _MINUTE_S else f"{seconds} s"
