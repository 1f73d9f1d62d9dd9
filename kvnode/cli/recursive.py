"""``kv delete --recursive``: a path and everything below it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final

import asyncclick as click

from kvnode.core.path import Path
from kvnode.data.plural import counted

from .errors import CliError, Exit, usage
from .progress import Progress
from .render import Output
from .session import WRITE_GRACE_S, Session

if TYPE_CHECKING:
    from kvnode.client import Del

BATCH_PATHS: Final = 5_000
"""So many paths go in one batch, all or none."""
_SYSTEM: Final = "@"


async def delete_below(link: Session, out: Output, path: Path, ack: str, *, sure: bool) -> None:
    """Delete `path` and all below it, after a question unless `sure`. Raises CliError if there is nothing, or the
    answer is no.
    """
    paths = await _paths(link, path)
    if not paths:
        raise CliError(f"no value at or below {path}", Exit.NOT_FOUND)
    if not sure:
        _ask(path, len(paths))
    batches = range(0, len(paths), BATCH_PATHS)
    with Progress(len(paths)) as progress:
        for at in batches:
            progress.show(f"{at} of {len(paths)} values deleted", at)
            with link.limit(extra_s=WRITE_GRACE_S):
                await link.client.batch(_deletes(paths[at : at + BATCH_PATHS]), ack=ack, timeout=link.timeout_s)
    row = {"path": str(path), "deleted": len(paths), "batches": len(batches)}
    out.one(row, lambda: f"{counted(len(paths), 'value')} at and below {path} deleted")


def _deletes(paths: list[Path]) -> list[Del]:
    from kvnode.client import Del

    return [Del(path) for path in paths]


async def _paths(link: Session, path: Path) -> list[Path]:
    """The paths that have a value; from the root on without the system's own tree."""
    found: list[Path] = []
    async with link.client.tree(path, keys=True) as rows:
        source = aiter(rows)
        while True:
            with link.limit():
                reading = await anext(source, None)
            if reading is None:
                return found
            if path or reading.path[0] != _SYSTEM:
                found.append(reading.path)


def _ask(path: Path, count: int) -> None:
    """Raises CliError if the answer is no, or nobody is there to answer."""
    values = counted(count, "value")
    if not (sys.stdin is not None and sys.stdin.isatty() and sys.stderr.isatty()):
        raise usage(f"that would delete {values} at and below {path}: --yes does it")
    if not click.confirm(f"Delete {values} at and below {path}?", err=True):
        raise CliError("nothing was deleted", Exit.NOT_FOUND)
