"""The shape all commands share: global options before and after the subcommand, examples in the help, lazy loading.

A command group's module is imported when one of its commands is asked for; what a command needs to do its work
is imported inside it. So ``kv get`` starts without reading the code of ``kv demo``, and completion reads only
option definitions.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import asyncclick as click
from asyncclick.parser import _OptionParser, _ParsingState

from .settings import DEFAULT_TIMEOUT_S, FORMATS, Settings, settings_of

if TYPE_CHECKING:
    from asyncclick.shell_completion import CompletionItem

COMMON: Final = ("node", "format", "timeout")


class AfterLoop(NamedTuple):
    """Returned by a command that must run outside the command line's own event loop; gives the exit code."""

    run: Callable[[], int]


# -- global options ------------------------------------------------------------------------------------------


def adopted(found: click.Command) -> click.Command:
    """A command of another package, given the global options, as are those below it."""
    if not any(param.name in COMMON for param in found.params):
        found.params = [*found.params, *common_options(hidden=False)]
    found.no_args_is_help = False  # as ours: one line says that a command is missing
    for below in found.commands.values() if isinstance(found, click.Group) else ():
        adopted(below)
    return found


def _store(field: str) -> Callable[[click.Context, click.Parameter, Any], None]:
    def store(ctx: click.Context, param: click.Parameter, value: Any) -> None:
        if value is not None and isinstance(ctx.find_root().obj, Settings):
            setattr(settings_of(ctx), field, value)

    return store


def common_options(hidden: bool) -> list[click.Parameter]:
    """Fresh global options for one command."""
    return [
        click.Option(
            ["--node", COMMON[0]],
            metavar="HOST:PORT|unix:PATH",
            help="The node to talk to. Default: KV_NODE, else the one local socket, else 127.0.0.1:27590.",
            expose_value=False,
            callback=_store("node"),
            hidden=hidden,
        ),
        click.Option(
            ["--format", COMMON[1]],
            type=click.Choice(FORMATS),
            help="How to print (default human).",
            expose_value=False,
            callback=_store("format"),
            hidden=hidden,
        ),
        click.Option(
            ["--timeout", COMMON[2]],
            type=click.FloatRange(min=0, min_open=True),
            metavar="SECONDS",
            help=f"How long to wait for the node (default {DEFAULT_TIMEOUT_S:g}).",
            expose_value=False,
            callback=_store("timeout_s"),
            hidden=hidden,
        ),
    ]


# -- commands ------------------------------------------------------------------------------------------------

_NUMBER: Final = re.compile(r"-[0-9.]")


class _Parser(_OptionParser):
    """Takes ``-5`` and ``-.inf`` for values: no option starts with a digit or a dot."""

    async def _process_opts(self, arg: str, state: _ParsingState) -> None:
        if _NUMBER.match(arg):
            state.largs.append(arg)
            return
        try:
            await super()._process_opts(arg, state)
        except click.UsageError as exc:
            exc.ctx = exc.ctx or self.ctx  # else the help that is pointed to would be that of kv itself
            raise


class KvCommand(click.Command):
    """A command with the global options and with examples in its help."""

    def __init__(self, *args: Any, examples: Sequence[str] = (), local: bool = False, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.examples = tuple(examples)
        self.params = [*self.params, *common_options(hidden=local)]

    def make_parser(self, ctx: click.Context) -> _OptionParser:
        """The parser that knows negative numbers."""
        parser = _Parser(ctx)
        for param in self.get_params(ctx):
            param.add_to_parser(parser, ctx)
        return parser

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Own options first, global ones below."""
        _write_options(self, ctx, formatter)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The examples, one a line."""
        _write_examples(self.examples, formatter)
        super().format_epilog(ctx, formatter)


class Lazy(NamedTuple):
    """Where a command is defined: ``module:attribute`` in this package, and its one-line help."""

    where: str
    help: str

    def load(self) -> click.Command:
        """Import it."""
        module, _, attribute = self.where.partition(":")
        found: click.Command = getattr(import_module(f"kvnode.cli.{module}"), attribute)
        return found


class KvGroup(click.Group):
    """A group whose commands are imported when they are asked for."""

    def __init__(
        self, *args: Any, lazy: Mapping[str, Lazy] | None = None, examples: Sequence[str] = (), **kwargs: Any
    ) -> None:
        kwargs.setdefault("no_args_is_help", False)
        super().__init__(*args, **kwargs)
        self.lazy = dict(lazy or {})
        self.examples = tuple(examples)
        self.params = [*self.params, *common_options(hidden=False)]

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order of the table, which goes from the everyday to the rare."""
        return [*self.lazy, *(name for name in self.commands if name not in self.lazy)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command, imported now if need be."""
        if cmd_name in self.lazy and cmd_name not in self.commands:
            self.commands[cmd_name] = self.lazy[cmd_name].load()
        return super().get_command(ctx, cmd_name)

    async def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As the base class, but a misspelt name is compared with all commands, imported or not."""
        try:
            return await super().resolve_command(ctx, args)
        except click.NoSuchCommand as exc:
            raise click.NoSuchCommand(exc.command_name, possibilities=self.list_commands(ctx), ctx=ctx) from None

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem[str]]:
        """Names from the table: completing a command's name imports no command."""
        from asyncclick.shell_completion import CompletionItem

        own = [
            CompletionItem(name, help=entry.help) for name, entry in self.lazy.items() if name.startswith(incomplete)
        ]
        eager = [
            CompletionItem(name, help=command.get_short_help_str())
            for name, command in self.commands.items()
            if name not in self.lazy and name.startswith(incomplete)
        ]
        return [*own, *eager, *click.Command.shell_complete(self, ctx, incomplete)]

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Commands first, options below."""
        rows = [(name, self._short_help(ctx, name)) for name in self.list_commands(ctx)]
        if rows:
            with formatter.section("Commands"):
                formatter.write_dl(rows)
        _write_options(self, ctx, formatter)

    def _short_help(self, ctx: click.Context, name: str) -> str:
        if name in self.lazy:
            return self.lazy[name].help
        command = self.get_command(ctx, name)
        return command.get_short_help_str(limit=100) if command else ""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The examples, one a line."""
        _write_examples(self.examples, formatter)
        super().format_epilog(ctx, formatter)


def _write_options(command: click.Command, ctx: click.Context, formatter: click.HelpFormatter) -> None:
    own: list[tuple[str, str]] = []
    common: list[tuple[str, str]] = []
    for param in command.get_params(ctx):
        record = param.get_help_record(ctx)
        if record is not None:
            (common if param.name in COMMON and not param.expose_value else own).append(record)
    for title, rows in (("Options", own), ("Global options", common)):
        if rows:
            with formatter.section(title):
                formatter.write_dl(rows)


def _write_examples(examples: Sequence[str], formatter: click.HelpFormatter) -> None:
    if not examples:
        return
    with formatter.section("Examples"):
        for example in examples:
            formatter.write(f"{'':>{formatter.current_indent}}{example}\n")


def command(
    name: str, *, help: str, examples: Sequence[str], local: bool = False, short_help: str | None = None
) -> Callable[[Callable[..., Any]], KvCommand]:
    """Make a :class:`KvCommand` of a coroutine function. `local` hides the options that speak of a node."""

    def decorate(callback: Callable[..., Any]) -> KvCommand:
        params = list(reversed(getattr(callback, "__click_params__", [])))
        return KvCommand(
            name, params=params, callback=callback, help=help, short_help=short_help, examples=examples, local=local
        )

    return decorate
