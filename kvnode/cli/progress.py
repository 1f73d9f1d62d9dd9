"""How far long work has come, for people at a terminal: a line on standard error that rewrites itself and goes away.

Nothing is shown where nobody looks (a pipe, a log), where a terminal can only print lines (TERM=dumb), or as long as
the work may be done in a moment. Rich draws it: without colours with NO_COLOR, in ASCII where the locale has nothing
better.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self, TextIO

from .render import is_terminal

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID

SHOWN_AFTER_S: Final = 0.5
EVERY_S: Final = 0.1
"""Between two looks at the same work; drawing costs more than most steps of it."""


class Progress:
    """A context manager; what is to be shown is told to :meth:`show`, as often as one likes. With a `total` there is a
    bar.
    """

    def __init__(
        self, total: int | None = None, *, stream: TextIO | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._stream: Final = sys.stderr if stream is None else stream
        self._is_wanted: Final = self._stream is not None and is_terminal(self._stream)
        self._total: Final = total
        self._clock: Final = clock
        self._next = clock() + SHOWN_AFTER_S
        self._drawn: tuple[RichProgress, TaskID] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._drawn is not None:
            self._drawn[0].stop()

    def show(self, text: str, done: int = 0) -> None:
        """So far `done` of the total; `text` says it in words."""
        if not self._is_wanted or self._clock() < self._next:
            return
        self._next = self._clock() + EVERY_S
        if self._drawn is None:
            self._drawn = self._draw(text)
        drawn, task = self._drawn
        drawn.update(task, description=text, completed=done, refresh=True)

    def _draw(self, text: str) -> tuple[RichProgress, TaskID]:
        # It takes a tenth of a second to import.
        from rich.console import Console
        from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn
        from rich.progress import Progress as RichProgress

        bar = () if self._total is None else (BarColumn(), TaskProgressColumn())
        drawn = RichProgress(
            TextColumn("{task.description}", markup=False),
            *bar,
            TimeElapsedColumn(),
            console=Console(file=self._stream, highlight=False),
            transient=True,
            auto_refresh=False,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        drawn.start()
        return drawn, drawn.add_task(text, total=self._total)
