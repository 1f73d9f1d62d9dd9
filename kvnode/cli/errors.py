"""What went wrong, as one line and an exit code. docs/reference/cli.md lists the codes."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Sequence
from enum import IntEnum
from typing import Final

import asyncclick as click

from .text import printable


class Exit(IntEnum):
    """Exit codes. Scripts rely on them."""

    OK = 0
    NOT_FOUND = 1
    USAGE = 2
    UNREACHABLE = 3
    REFUSED = 4
    ACK_TIMEOUT = 5
    DIVERGED = 6
    FAILED = 70
    INTERRUPTED = 130


EXIT_MEANING: Final = {
    Exit.OK: "done",
    Exit.NOT_FOUND: "there is no such value, or the condition that was asked for is false",
    Exit.USAGE: "the command line, a value or an input file is wrong; nothing was sent",
    Exit.UNREACHABLE: "no node could be reached, or none answered in time; with kv onewire scan, no owserver",
    Exit.REFUSED: "the node refused: a compare-and-set found other values, a limit, a conflict",
    Exit.ACK_TIMEOUT: "the write stands, but was not confirmed at the level asked for; its dot is printed",
    Exit.DIVERGED: "kv verify found nodes that know the same and hold different values",
    Exit.FAILED: "anything else: an error in kv itself, or a disk that is full",
    Exit.INTERRUPTED: "interrupted by Ctrl-C (not for watch: there it is the regular end, code 0)",
}

_CODES: Final = {
    "not_found": Exit.NOT_FOUND,
    "no_history": Exit.NOT_FOUND,
    "unavailable": Exit.UNREACHABLE,
    "timeout": Exit.UNREACHABLE,
    "stopping": Exit.UNREACHABLE,
    "overloaded": Exit.UNREACHABLE,
    "closed": Exit.UNREACHABLE,
    "protocol_error": Exit.UNREACHABLE,
    "ack_timeout": Exit.ACK_TIMEOUT,
    "store_unavailable": Exit.ACK_TIMEOUT,
    "bad_value": Exit.USAGE,
    "bad_path": Exit.USAGE,
    "bad_address": Exit.USAGE,
}


class CliError(Exception):
    """An error found by ``kv`` itself, ready to print. `lines` are several errors at once, a line each."""

    def __init__(self, message: str, code: Exit = Exit.FAILED, *, lines: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.exit = code
        self.lines = tuple(lines)


def usage(message: str) -> CliError:
    """A wrong command line, value or file."""
    return CliError(message, Exit.USAGE)


def unwrap(exc: BaseException) -> BaseException:
    """The error that people should see: the first leaf of a group, errors before mere cancellation."""
    while isinstance(exc, BaseExceptionGroup):
        leaves = exc.exceptions
        exc = next((e for e in leaves if isinstance(e, (Exception, BaseExceptionGroup))), leaves[0])
    return exc


def complain(text: str) -> None:
    """Say it on standard error, behind ``kv:`` on each line; an error there has nowhere to be told."""
    with contextlib.suppress(OSError, AttributeError):
        sys.stderr.write("".join(f"kv: {printable(line)}\n" for line in text.splitlines()))
        sys.stderr.flush()


def explain(exc: BaseException) -> tuple[Exit, str]:
    """Exit code and text for an error, without a leading ``kv:``.

    The text is one line; only a wrong configuration has a line for each thing that is wrong.
    """
    code, text = _explain(exc)
    if isinstance(exc, CliError) and exc.lines:
        return code, "\n".join(exc.lines)
    return code, " ".join(text.split()) or type(exc).__name__


def _explain(exc: BaseException) -> tuple[Exit, str]:
    if isinstance(exc, CliError):
        return exc.exit, str(exc)
    if isinstance(exc, click.UsageError):
        return Exit.USAGE, _usage_text(exc)
    if isinstance(exc, click.ClickException):
        return _chosen(exc), exc.format_message()
    code = getattr(exc, "code", None)
    if isinstance(code, str) and hasattr(exc, "message"):
        return _CODES.get(code, Exit.REFUSED), _code_text(code, exc)
    if isinstance(exc, TimeoutError):
        return Exit.UNREACHABLE, "the node did not answer in time"
    if isinstance(exc, OSError):
        name = f"{exc.filename}: " if exc.filename else ""
        return Exit.FAILED, f"{name}{exc.strerror or exc}"
    if isinstance(exc, MemoryError):
        return Exit.FAILED, "out of memory"
    return Exit.FAILED, f"internal error: {type(exc).__name__}: {exc} (KV_DEBUG=1 shows where)"


def _chosen(exc: click.ClickException) -> Exit:
    """The exit code that a command of another package has chosen by its kind of error; click's own 1 is no choice."""
    if exc.exit_code == click.ClickException.exit_code:
        return Exit.USAGE
    return next((code for code in Exit if code == exc.exit_code), Exit.FAILED)


def _code_text(code: str, exc: BaseException) -> str:
    """The node's words, and the dots that the error is about."""
    message = str(getattr(exc, "message", "")) or code
    dots = ", ".join(text for text in map(str, getattr(exc, "dots", ())) if text not in message)
    if code == "cas_failed":
        return f"{message}; there is now {dots or 'no value'}"
    return f"{message}; dot {dots}" if dots else message


def _usage_text(exc: click.UsageError) -> str:
    text = exc.format_message().strip().rstrip(".")
    path = exc.ctx.command_path if exc.ctx else "kv"
    return f"{text[:1].lower()}{text[1:]} (see {path} --help)"
