"""``kv import``: take over what another system saved."""

from __future__ import annotations

from pathlib import Path as FilePath
from typing import TYPE_CHECKING, Any, Final

import asyncclick as click

from kvnode.codec.values import pack
from kvnode.core.path import ROOT, Path, PathError
from kvnode.data.plural import counted

from .command import KvGroup, Lazy, command
from .errors import usage
from .progress import Progress
from .render import Output
from .rows import PathType, ack_option
from .session import session
from .settings import settings_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from kvnode.data.moat import MoatState

    from .lines import Item
    from .load import Counts

_SHOWN: Final = 20
"""So many entries that could not be taken over are listed for people; machine formats have all."""

group: Final = KvGroup(
    "import",
    lazy={"moat": Lazy("imports:moat", "Take over a saved state of moat-kv.")},
    help="Take over what another system saved.",
    examples=("kv import moat state.save --dry-run", "kv import moat state.save"),
)


@command(
    "moat",
    help="""Take over FILE, a state that moat-kv saved (moat kv server ... save, or its log of changes).

    Values are written where they differ from what is there; nothing is deleted, and doing it twice does no harm. What
    has no place here is reported with the reason. moat-kv's hidden tree (below null) comes to @.moat, where nothing
    acts upon it; its users' credentials stay behind.""",
    examples=(
        "kv import moat state.save --dry-run",
        "kv import moat state.save",
        "kv import moat state.save --below old",
    ),
)
@click.argument("file", type=click.Path(dir_okay=False, path_type=FilePath))
@click.option("--below", type=PathType(), default=ROOT, metavar="PATH", help="Put everything below this path.")
@click.option("--partial", is_flag=True, help="Take what is whole of a file that breaks off.")
@click.option("--dry-run", is_flag=True, help="Report what would come of it; write nothing, ask no node.")
@ack_option
@click.pass_context
async def moat(ctx: click.Context, file: FilePath, below: Path, partial: bool, dry_run: bool, ack: str) -> None:
    """See the help text above."""
    from .load import Counts, write_items

    out = Output(settings_of(ctx).format)
    state = _read(file, partial=partial)
    counts = Counts()
    items = _items(state, below, counts)
    if dry_run:
        async for _ in items:
            pass
    else:
        async with session(ctx) as link:
            with Progress(len(state.values)) as progress:

                def told() -> None:
                    progress.show(f"{counts.paths} values read, {counts.written} written", counts.paths)

                await write_items(link, items, counts, ack, told)
    out.one(_report(state, counts, dry_run), lambda: _for_people(state, counts, dry_run))


def _read(file: FilePath, *, partial: bool) -> MoatState:
    from kvnode.data.moat import MoatError, read_state

    try:
        with file.open("rb") as stream:
            state = read_state(stream)
    except OSError as exc:
        raise usage(f"{file}: {exc.strerror}") from None
    except MoatError as exc:
        raise usage(f"{file}: {exc}") from None
    if state.cut_at is not None and not partial:
        raise usage(f"{file}: it breaks off in a record at byte {state.cut_at}; --partial takes what is before")
    if not (state.values or state.deleted or state.states or state.skipped):
        raise usage(f"{file}: no record of moat-kv in it")
    return state


async def _items(state: MoatState, below: Path, counts: Counts) -> AsyncIterator[Item]:
    from kvnode.data.moat import Skipped

    from .lines import Item

    for path, value in state.values.items():
        try:
            where = below / path
        except PathError as exc:
            state.skipped.append(Skipped(str(path), str(exc)))
            continue
        counts.paths += 1
        yield Item(where, value, pack(value), None)


def _report(state: MoatState, counts: Counts, dry_run: bool) -> dict[str, Any]:
    return {
        "paths": counts.paths,
        "written": counts.written,
        "unchanged": counts.unchanged,
        "hidden": state.hidden(),
        "deleted": state.deleted,
        "skipped": [{"path": path, "why": why} for path, why in state.skipped],
        "dry_run": dry_run,
    }


def _for_people(state: MoatState, counts: Counts, dry_run: bool) -> str:
    written = f"{counts.written} written, {counts.unchanged} unchanged"
    done = "would be written where they differ" if dry_run else written
    lines = [f"{counted(counts.paths, 'value')}: {done}"]
    if hidden := state.hidden():
        some = counted(hidden, "of them is", "of them are")
        lines.append(f"{some} moat-kv's own, below @.moat: for reference, nothing acts upon them")
    if state.deleted:
        lines.append(f"{counted(state.deleted, 'deleted entry', 'deleted entries')} left out")
    if state.skipped:
        lines.append(f"{counted(len(state.skipped), 'entry has', 'entries have')} no place here:")
        lines += [f"  {path}: {why}" for path, why in state.skipped[:_SHOWN]]
    if len(state.skipped) > _SHOWN:
        lines.append(f"  and {len(state.skipped) - _SHOWN} more; --format jsonl lists all")
    return "\n".join(lines)
