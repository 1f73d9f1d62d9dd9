"""What ``kv`` hands to the commands of other packages, which know no module of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any

from .settings import Settings

if TYPE_CHECKING:
    from kvnode.core.path import Path

    from .session import Session


class Console(Settings):
    """The global options, and ways to connect, to read files and to print. It is the ``obj`` of the root context."""

    __slots__ = ()

    def session(self) -> AbstractAsyncContextManager[Session]:
        """A connection to the node that the options name: ``client`` of it, and ``limit()`` for the time limit."""
        from .session import open_session

        return open_session(self)

    async def entries(self, file: str) -> AsyncIterator[tuple[Path, Any]]:
        """Paths and values of a file that ``kv load`` would take (``-``: standard input). Raises CliError."""
        from .lines import item_of, opened, rows_of

        with opened(file) as (fd, name):
            async for where, row in rows_of(fd, name):
                item = item_of(where, row)
                if item is not None:
                    yield item.path, item.value

    def show(self, headings: Sequence[str], rows: Iterable[tuple[Sequence[str], Any]], *, empty: str = "") -> None:
        """Print rows, each with its cells for people and its value for machines; `empty` if people get none."""
        from .render import Output, to_data
        from .table import print_rows

        data = ((cells, to_data(value)) for cells, value in rows)
        print_rows(Output(self.format), headings, data, empty=empty)
