"""Entry point of ``kv``: parse, run on asyncio, turn every error into one line and an exit code."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any, Final

import asyncclick as click

from .command import AfterLoop, KvGroup, Lazy, adopted
from .console import Console
from .errors import CliError, Exit, complain, explain, unwrap
from .settings import Settings, settings_of
from .stdout import NAME, name_stdout, silence_stdout

COMPLETE_VAR: Final = "_KV_COMPLETE"

COMMANDS: Final = {
    "get": Lazy("data:get", "Print the value at a path."),
    "set": Lazy("data:set_", "Write a value."),
    "delete": Lazy("data:delete", "Delete a value."),
    "list": Lazy("listing:list_", "List the values below a path, in path order."),
    "tree": Lazy("listing:tree", "Show the values below a path as a tree."),
    "watch": Lazy("watch:watch", "Print the values below a path, then every change."),
    "history": Lazy("history:history", "Print what was at a path before."),
    "why": Lazy("why:why", "Tell who wrote a value, when, and what they had seen."),
    "undo": Lazy("undo:undo", "Go back to the value before."),
    "partitions": Lazy("partitions:partitions", "What happened while the cluster was in parts."),
    "conflicts": Lazy("conflicts:conflicts", "Paths where concurrent writes left several values."),
    "quarantine": Lazy("quarantine:quarantine", "Values that were taken out of the tree, and getting them back."),
    "verify": Lazy("verify:verify", "Check that the node and its peers hold the same."),
    "diff": Lazy("diff:diff", "Compare what two nodes hold."),
    "event": Lazy("event:event", "Messages that are delivered and not stored."),
    "dump": Lazy("dump:dump", "Print all values in canonical form."),
    "load": Lazy("load:load", "Write the values of a dump."),
    "import": Lazy("imports:group", "Take over what another system saved."),
    "status": Lazy("status:status", "Show the node, its peers and its counts."),
    "errors": Lazy("errorlog:errors", "What does not work, and acknowledging it."),
    "doctor": Lazy("doctor:doctor", "Find out what is wrong with a node, and the way out."),
    "bench": Lazy("bench:bench", "Measure how fast the cluster is for this machine."),
    "gc": Lazy("status:gc", "Explain why a deleted path is still remembered."),
    "store": Lazy("store:store", "The file that holds a node's values: check, back up, restore."),
    "node": Lazy("node:node", "Run a node, or manage the members of the cluster."),
    "util": Lazy("util:group", "Helpers for scripts; they need no node."),
    "demo": Lazy("demo:demo", "Three nodes, a 1-Wire bus, a cut link: watch it work."),
    "plugins": Lazy("plugins:plugins", "List what installed packages add to kv."),
    "completion": Lazy("completion:completion", "Print the completion script of a shell."),
    "help": Lazy("about:help_", "Show the help of a command."),
    "version": Lazy("about:version", "Print the version."),
}


class _Root(KvGroup):
    """The top: its own commands, and those that installed packages add (entry points ``kvnode.commands``)."""

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """An own command, or a plug-in's; completion never imports a plug-in."""
        found = super().get_command(ctx, cmd_name)
        if found is not None or cmd_name not in (plugins := _plugins()):
            return found
        if ctx.resilient_parsing:
            return click.Command(cmd_name, add_help_option=False)
        return plugins[cmd_name].load()

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Own commands, then plug-ins'."""
        own = super().list_commands(ctx)
        return [*own, *(name for name in _plugins() if name not in own)]

    def _short_help(self, ctx: click.Context, name: str) -> str:
        if name not in self.lazy and name not in self.commands:
            return f"(from {_plugins()[name].dist_name})"
        return super()._short_help(ctx, name)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[Any]:
        """With the names of plug-ins."""
        from asyncclick.shell_completion import CompletionItem

        own = super().shell_complete(ctx, incomplete)
        known = {item.value for item in own}
        more = [n for n in _plugins() if n.startswith(incomplete) and n not in known]
        return [*own, *map(CompletionItem, more)]


class _Plugin:
    """A command of another package, by its entry point.

    Its object is an asyncclick command, or a function that takes the arguments behind the command's name and returns
    the exit code; that one runs outside this program's event loop.
    """

    def __init__(self, entry: Any) -> None:
        self._entry = entry
        self.dist_name: str = entry.dist.name if entry.dist else entry.module

    def load(self) -> click.Command:
        """Import it. Raises CliError if that fails, whatever it is that somebody else's package raises."""
        try:
            found = self._entry.load()
        except Exception as exc:
            raise CliError(f"the command {self._entry.name!r} of {self.dist_name} does not load: {exc}") from exc
        if isinstance(found, click.Command):
            return adopted(found)
        if not callable(found):
            raise CliError(f"the command {self._entry.name!r} of {self.dist_name} is none: {self._entry.value}")
        return _program(self._entry.name, found)


def _program(name: str, program: Callable[[list[str]], int]) -> click.Command:
    """A command that hands over to a function; the node that was named before it goes along in the environment."""

    async def callback(arguments: tuple[str, ...]) -> AfterLoop:
        settings = settings_of(click.get_current_context())
        settings.endless = True
        if settings.node:
            os.environ["KV_NODE"] = settings.node
        return AfterLoop(lambda: program(list(arguments)))

    return click.Command(
        name,
        callback=callback,
        params=[click.Argument(["arguments"], nargs=-1, type=click.UNPROCESSED)],
        add_help_option=False,
        context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
    )


def _plugins() -> dict[str, _Plugin]:
    from importlib.metadata import entry_points

    return {entry.name: _Plugin(entry) for entry in sorted(entry_points(group="kvnode.commands"))}


def _print_version(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if not value or ctx.resilient_parsing:
        return
    from kvnode.data.versions import software

    click.echo(f"kvnode {software()}")
    raise click.exceptions.Exit(0)


def root() -> KvGroup:
    """A fresh command tree."""
    return _Root(
        "kv",
        lazy=COMMANDS,
        help="Read, write and watch a tree of values that several nodes hold together.",
        params=[
            click.Option(
                ["--version"],
                is_flag=True,
                is_eager=True,
                expose_value=False,
                callback=_print_version,
                help="Print the version, and whether it is compiled, and exit.",
            )
        ],
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
        examples=(
            "kv set home.attic.temp 21.5",
            "kv get home.attic.temp",
            "kv watch home --format jsonl",
            "kv status --node 127.0.0.1:27590",
        ),
    )


# -- running -------------------------------------------------------------------------------------------------


def main(args: Sequence[str] | None = None) -> int:
    """Run ``kv`` with these arguments (default: the process's own) and return its exit code."""
    settings = Console()
    try:
        if sys.stdout is None:
            raise CliError(f"{NAME} is closed: send it to a file, a pipe or {os.devnull}")
        name_stdout()
        result = asyncio.run(_run(list(sys.argv[1:] if args is None else args), settings))
        code = result.run() if isinstance(result, AfterLoop) else result
        sys.stdout.flush()
    except BaseException as exc:  # the last boundary: nobody is shown a traceback
        code = _report(unwrap(exc), settings)
    return code


async def _run(args: list[str], settings: Settings) -> int | AfterLoop:
    cli = root()
    if instruction := os.environ.get(COMPLETE_VAR):
        from asyncclick.shell_completion import shell_complete

        return await shell_complete(cli, {"obj": settings}, "kv", COMPLETE_VAR, instruction)
    if not args:
        args = ["--help"]
    try:
        async with await cli.make_context("kv", args, obj=settings) as ctx:
            result = await cli.invoke(ctx)
    except click.exceptions.Exit as exc:
        return exc.exit_code
    return result if isinstance(result, (int, AfterLoop)) else Exit.OK


def _report(exc: BaseException, settings: Settings) -> int:
    """Say what happened, in one line, and choose the exit code."""
    if isinstance(exc, SystemExit):
        return exc.code if isinstance(exc.code, int) else Exit.FAILED
    if os.environ.get("KV_DEBUG") == "1":
        import traceback

        traceback.print_exception(exc)
    if isinstance(exc, BrokenPipeError):
        silence_stdout()
        return Exit.OK
    if isinstance(exc, (KeyboardInterrupt, asyncio.CancelledError, click.Abort)):
        return Exit.OK if settings.endless else Exit.INTERRUPTED
    code, text = explain(exc)
    if isinstance(exc, OSError) and exc.filename == NAME:
        text += "; the output is not complete: make room where it goes, or send it elsewhere"
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError:
        silence_stdout()
    complain(text)
    return code


def run() -> None:
    """The console script."""
    sys.exit(main())
