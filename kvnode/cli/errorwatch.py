"""``kv errors watch``: errors as they come, are acknowledged, and go."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial
from typing import Any, Final

import anyio
import asyncclick as click

from kvnode.core.path import Path
from kvnode.data.errors import ACKNOWLEDGED, ERRORS, Severity

from .command import command
from .errorlog import Trouble, place_of, severity_option
from .errors import CliError, Exit
from .render import Output
from .rows import PATH
from .session import Session, session
from .settings import settings_of


class Board:
    """Records and acknowledgements as they arrive, in any order. What is at least as bad as `least` is told."""

    def __init__(self, least: Severity) -> None:
        self._least: Final = least
        self._records: dict[Path, Any] = {}
        self._known: dict[Path, Any] = {}

    def record(self, place: Path, value: Any) -> Trouble | None:
        """A record, None for one that is gone; gives what to tell of it."""
        _keep(self._records, place, value)
        return self._trouble(place)

    def acknowledgement(self, place: Path, value: Any) -> Trouble | None:
        """An acknowledgement of the record at `place`, None for one that is gone; gives the record if its state is
        another one now.
        """
        before = self._trouble(place)
        _keep(self._known, place, value)
        now = self._trouble(place)
        return now if now is not None and now.state != (before and before.state) else None

    def _trouble(self, place: Path) -> Trouble | None:
        found = Trouble.of(place, self._records.get(place), self._known.get(place))
        return found if found is not None and found.record.severity >= self._least else None


def _keep(values: dict[Path, Any], place: Path, value: Any) -> None:
    if value is None:
        values.pop(place, None)
    else:
        values[place] = value


@command(
    "watch",
    help="""Print what is wrong now, then every error as it comes, fails again, is acknowledged, or is resolved, until
    Ctrl-C.

    With --format jsonl each line is a record as of kv errors list.""",
    examples=("kv errors watch", "kv errors watch onewire.house --severity error --format jsonl"),
)
@click.argument("subsystem", type=PATH, default=":")
@severity_option
@click.pass_context
async def watch(ctx: click.Context, subsystem: Path, severity: str) -> None:
    """See the help text above."""
    settings = settings_of(ctx)
    settings.endless = True
    out = Output(settings.format)
    board = Board(Severity.parse(severity) or Severity.INFO)
    top = place_of(subsystem)
    async with session(ctx) as link, anyio.create_task_group() as tasks:
        # First what is known already: an error that was acknowledged long ago is no news.
        read = anyio.Event()
        tasks.start_soon(_follow_acknowledgements, link, ACKNOWLEDGED / top[len(ERRORS) :], board, out, read)
        with link.limit():
            await read.wait()
        is_news = False
        async for place, value in _changes(link, top):
            if place is None:
                is_news = True
                continue
            trouble = board.record(place, value)
            if is_news or (trouble is not None and trouble.state == "open"):
                _tell(out, trouble)
        raise CliError("the watch ended: the node closed it", Exit.UNREACHABLE)


async def _follow_acknowledgements(link: Session, top: Path, board: Board, out: Output, read: anyio.Event) -> None:
    """Take in acknowledgements; sets `read` when those that are there have been."""
    async for place, value in _changes(link, top):
        if place is None:
            read.set()
        else:
            _tell(out, board.acknowledgement(ERRORS / place[len(ACKNOWLEDGED) :], value))
    read.set()  # the watch of the records ends as well, and says so


async def _changes(link: Session, top: Path) -> AsyncIterator[tuple[Path | None, Any]]:
    """Paths and values as they are, then as they change (None for what is gone); a path of None between the two."""
    from kvnode.client import Change, Uptodate

    async with link.client.watch(top) as items:
        async for item in items:
            if isinstance(item, Uptodate):
                yield None, None
            elif isinstance(item, Change):
                yield item.path, None if item.deleted else item.value


def _tell(out: Output, trouble: Trouble | None) -> None:
    if trouble is not None:
        out.record(trouble.row(), partial(trouble.line))
