"""Standard output that says so when it cannot be written: else "No space left on device" could be any device."""

from __future__ import annotations

import io
import os
import sys
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from typing_extensions import Buffer

NAME: Final = "standard output"


class _Named(io.FileIO):
    """The descriptor, whose errors carry its name as those of a file do."""

    def write(self, data: Buffer) -> int:
        """As of a file."""
        try:
            return super().write(data)
        except OSError as exc:
            exc.filename = NAME
            raise


def name_stdout() -> None:
    """Let errors of ``sys.stdout`` have :data:`NAME` for a filename. One that somebody has replaced stays as it is.

    It is buffered in any case: an unbuffered one (PYTHONUNBUFFERED) loses what a short write leaves over.
    """
    old = sys.stdout
    if type(old) is not io.TextIOWrapper or type(getattr(old.buffer, "raw", old.buffer)) is not io.FileIO:
        return
    old.flush()
    sys.stdout = io.TextIOWrapper(
        io.BufferedWriter(_Named(old.fileno(), "w", closefd=False)),
        encoding=old.encoding,
        errors=old.errors,
        line_buffering=old.line_buffering,
    )


def silence_stdout() -> None:
    """What is still buffered has nowhere to go: whoever read it has gone, or there is no room for it."""
    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, sys.stdout.fileno())
    os.close(devnull)
