"""``kv store``: look at the file that holds a node's values, back it up, put a backup back, give room back.

What opens the file itself (``--data``) needs the node to be stopped, and says so if it is not: a store has one user.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

import asyncclick as click

from kvnode.data.plural import counted

from .command import KvGroup, Lazy, command
from .errors import CliError, Exit, usage
from .progress import Progress
from .render import Output
from .session import session
from .settings import settings_of
from .table import Table
from .text import printable

if TYPE_CHECKING:
    from collections.abc import Callable

    from kvnode.store.base import StoreError
    from kvnode.store.check import Report

store: Final = KvGroup(
    "store",
    lazy={
        "check": Lazy("store:check", "Check a store or a backup, and change nothing."),
        "backup": Lazy("store:backup", "Write a backup of a node's store."),
        "restore": Lazy("store:restore", "Put a backup in the place of a store."),
        "compact": Lazy("store:compact", "Give room that a store no longer needs back."),
    },
    help="The file that holds a node's values: check it, back it up, put a backup back.",
    examples=("kv store check --data /var/lib/kvnode/attic", "kv store backup attic.backup"),
)

_UNITS: Final = ("bytes", "kB", "MB", "GB")
_MENDING: Final = "start its node: it saves what is sound, keeps the damaged file, and gets the rest from its peers"
_REJOIN: Final = (
    "start the node: it goes on under a new incarnation, and its peers give it what happened since the backup was made"
)


def _data_option(text: str, *, variable: bool = False) -> Callable[[Any], Any]:
    """``--data``; `variable`: KVNODE_DATA may stand for it."""
    kind = click.Path(file_okay=False)
    return click.option("--data", type=kind, metavar="DIR", envvar="KVNODE_DATA" if variable else None, help=text)


_force_option: Final = click.option("--force", is_flag=True, help="Replace what is there already.")


@contextmanager
def _told() -> Iterator[None]:
    """Errors of stores as one line and an exit code."""
    from kvnode.store.base import StoreError

    try:
        yield
    except StoreError as err:
        raise CliError(str(err), _exit_of(err)) from None


def _exit_of(err: StoreError) -> Exit:
    if err.code in ("store_exists", "bad_backup", "no_store"):
        return Exit.USAGE
    return Exit.REFUSED if err.code == "store_locked" else Exit.FAILED


def _file_in(data: str) -> str:
    from kvnode.store.sqlite import FILE_NAME

    return os.path.join(os.path.abspath(data), FILE_NAME)


def size_text(count: int) -> str:
    """A number of bytes for people."""
    size, unit = float(count), 0
    while size >= 1000 and unit < len(_UNITS) - 1:
        size, unit = size / 1000, unit + 1
    return f"{size:.1f} {_UNITS[unit]}" if unit else counted(count, "byte")


# -- check ---------------------------------------------------------------------------------------------------


@command(
    "check",
    local=True,
    help="""Check the store in a node's directory, or the backup FILE, and change nothing.

    Looked at are the file as a database, the checksum of every record and whether it can be read, the number of
    records, and whether every value is among the changes that the node knows. The node must be stopped; of one that
    runs, check a backup. The exit code is 0 if nothing is lost, 1 if something is.""",
    examples=(
        "kv store check --data /var/lib/kvnode/attic",
        "kv store check attic.backup",
        "kv store check --data ./a --format json",
    ),
)
@click.argument("file", required=False, type=click.Path())
@_data_option("The directory of the node (default: KVNODE_DATA).", variable=True)
@click.pass_context
async def check(ctx: click.Context, file: str | None, data: str | None) -> Exit:
    """See the help text above."""
    from kvnode.store.backup import locked
    from kvnode.store.check import check as check_file

    out = Output(settings_of(ctx).format)
    with _told():
        if file is not None:
            report = check_file(file)
        elif data is None:
            raise usage("say what to check: --data DIR, or the FILE of a backup")
        else:
            with locked(_file_in(data)):
                report = check_file(_file_in(data))
    if out.human:
        _show(out, report, backup=file is not None)
    else:
        out.one({"sound": report.is_sound, **asdict(report)}, str)
    return Exit.OK if report.is_sound else Exit.NOT_FOUND


def _show(out: Output, report: Report, *, backup: bool) -> None:
    schema = "?" if report.schema is None else report.schema
    size = size_text(report.bytes + report.log_bytes)
    out.line(
        printable(
            f"{report.file}: schema {schema}, {counted(report.entries, 'entry', 'entries')}, "
            f"{counted(report.versions, 'version')}, {counted(report.incarnations, 'incarnation')}, {size}"
        )
    )
    if report.findings:
        table = Table(out, ("LEVEL", "ABOUT", "PATH", "FINDING"))
        for finding in report.findings:
            table.add(finding.level, finding.kind, finding.path or "-", finding.text)
        table.end()
    if report.more:
        out.line(f"and {report.more} more like these")
    if report.is_sound:
        out.line("nothing is lost")
    else:
        out.line(f"{counted(report.errors, 'error')}: {'take another backup' if backup else _MENDING}")


# -- backup and restore --------------------------------------------------------------------------------------


@command(
    "backup",
    help="""Write a backup of the node's store to the new file TARGET.

    All that was acknowledged as on disk when the command began is in it. The node goes on meanwhile; writes that
    wait for its disk wait a little longer. TARGET gets its name when it is complete, on disk, and checked; only you
    can read it. --data takes the backup from the directory of a node that is stopped.""",
    examples=(
        "kv store backup attic.backup",
        "kv store backup attic.backup --force --node unix:/run/kvnode/attic.sock",
        "kv store backup attic.backup --data /var/lib/kvnode/attic",
    ),
)
@click.argument("target", type=click.Path(dir_okay=False))
@_data_option("The directory of a node that is stopped.")
@_force_option
@click.pass_context
async def backup(ctx: click.Context, target: str, data: str | None, force: bool) -> None:
    """See the help text above."""
    from kvnode.store.backup import copy_of_store

    out = Output(settings_of(ctx).format)
    if data is None:
        of = await _fetch(ctx, target, force=force)
    else:
        of = _file_in(data)
        with _told():
            copy_of_store(of, target, overwrite=force)
    found = _written(target, of)
    out.one(found, lambda: printable(f"{target}: backup of {of}, {size_text(found['bytes'])}"))


def _written(target: str, of: str) -> dict[str, Any]:
    return {"backup": os.path.abspath(target), "of": of, "bytes": os.path.getsize(target)}


async def _fetch(ctx: click.Context, target: str, *, force: bool) -> str:
    """Have a running node send its backup; gives the node's name."""
    from kvnode.store.backup import receive

    async with session(ctx) as link:
        with _told(), receive(target, overwrite=force) as file:
            async with link.client.backup() as chunks:
                with Progress() as progress:
                    async for chunk in chunks:
                        file.write(chunk)
                        progress.show(f"{size_text(file.tell())} received")
        return link.client.node


@command(
    "restore",
    local=True,
    help="""Put the backup file BACKUP in the place of the store in a node's directory.

    The node must be stopped, and the backup is checked first. A store that is there already is replaced only with
    --force, and is kept beside it. The node then rejoins under a new incarnation, so none of its changes is mixed up
    with those it made after the backup; its peers give it what it lacks, also of its own writes.""",
    examples=(
        "kv store restore attic.backup --data /var/lib/kvnode/attic",
        "kv store restore attic.backup --data /var/lib/kvnode/attic --force",
    ),
)
@click.argument("source", metavar="BACKUP", type=click.Path(dir_okay=False))
@_data_option("The directory of the node (default: KVNODE_DATA).", variable=True)
@_force_option
@click.pass_context
async def restore(ctx: click.Context, source: str, data: str | None, force: bool) -> None:
    """See the help text above."""
    from kvnode.store.backup import restore as put_back

    if data is None:
        raise usage("say where to: --data DIR")
    out = Output(settings_of(ctx).format)
    with _told():
        kept = put_back(source, data, force=force)
    where = _file_in(data)
    if not out.human:
        out.one({"restored": where, "from": source, "kept": kept}, str)
        return
    out.line(printable(f"{where}: restored from {source}"))
    if kept is not None:
        out.line(printable(f"the store that was there is kept as {kept}"))
    out.line(_REJOIN)


# -- compact -------------------------------------------------------------------------------------------------


@command(
    "compact",
    help="""Give room that the node's store no longer needs back to the file system.

    The store is rewritten, which needs as much room again while it lasts. The node goes on meanwhile; writes that wait
    for its disk wait until it is done. --data does it in the directory of a node that is stopped.""",
    examples=("kv store compact", "kv store compact --data /var/lib/kvnode/attic --format json"),
)
@_data_option("The directory of a node that is stopped.")
@click.pass_context
async def compact(ctx: click.Context, data: str | None) -> None:
    """See the help text above."""
    from kvnode.store.check import present
    from kvnode.store.logged import LoggedStore

    out = Output(settings_of(ctx).format)
    if data is None:
        async with session(ctx) as link:
            before, after = await link.client.compact()
    else:
        offline = LoggedStore(data)
        with _told():
            present(offline.path)
            try:
                offline.load()
                before, after = offline.compact()
            finally:
                offline.close()
    found = {"before": before, "after": after}
    out.one(found, lambda: f"{size_text(before)} before, {size_text(after)} after")
