"""Commands of agents within ``kv``: what they need of its command line, which is handed to them with each call."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import Any, Protocol

import asyncclick as click

from kvnode.client import Client
from kvnode.core.path import Path, PathError


class Session(Protocol):
    """A connection to a node."""

    @property
    def client(self) -> Client:
        """The client."""
        ...

    def limit(self, extra_s: float = 0.0) -> AbstractContextManager[None]:
        """Everything inside ends within the time limit of the command line."""
        ...


class Console(Protocol):
    """The global options of ``kv``, and its ways to connect and to print."""

    node: str | None
    timeout_s: float

    def session(self) -> AbstractAsyncContextManager[Session]:
        """A connection to the node that the options name."""
        ...

    def entries(self, file: str) -> AsyncIterator[tuple[Path, Any]]:
        """Paths and values of a file that ``kv load`` would take."""
        ...

    def show(self, headings: Sequence[str], rows: Iterable[tuple[Sequence[str], Any]], *, empty: str = "") -> None:
        """Print rows, each with its cells for people and its value for machines; `empty` if people get none."""
        ...


def console_of(ctx: click.Context) -> Console:
    """What ``kv`` hands over. Raises UsageError when the command does not run within it."""
    found: Console | None = ctx.find_root().obj
    if found is None:
        raise click.UsageError("this command runs within kv")
    return found


class Unreachable(click.ClickException):
    """What the command needs cannot be reached, or gives no answer that makes sense: ``kv`` says so and ends with 3."""

    exit_code = 3


class PathParam(click.ParamType[Path]):
    """A path in its text form."""

    name = "path"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """Read it; the error says what is wrong."""
        try:
            return value if isinstance(value, Path) else Path.parse(value)
        except PathError as error:
            self.fail(str(error), param, ctx)


class AgentCommand(click.Command):
    """A command with examples at the end of its help."""

    def __init__(self, *args: Any, examples: Sequence[str], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.examples = tuple(examples)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The examples, one a line."""
        with formatter.section("Examples"):
            for example in self.examples:
                formatter.write(f"{'':>{formatter.current_indent}}{example}\n")


class AgentGroup(AgentCommand, click.Group):
    """A group of commands with examples at the end of its help."""


def command(
    name: str,
    callback: Callable[..., Awaitable[Any]],
    *,
    help: str,
    examples: Sequence[str],
    params: Sequence[click.Parameter] = (),
) -> click.Command:
    """A command whose `callback` gets the context and its parameters; what it returns is the exit code."""
    return AgentCommand(name, callback=click.pass_context(callback), params=[*params], help=help, examples=examples)
