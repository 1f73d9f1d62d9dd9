"""``kv help`` and ``kv version``: in words what ``--help`` and ``--version`` do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import asyncclick as click

from kvnode.data.versions import installed_version, is_compiled, software

from .command import command
from .render import Output
from .settings import settings_of

if TYPE_CHECKING:
    from asyncclick.shell_completion import CompletionItem


class _CommandWord(click.ParamType[str]):
    """The name of a command, below those that were named before it."""

    name = "command"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem[str]]:
        """As without the word help; nothing is loaded that other packages brought."""
        at = ctx.find_root()
        for word in ctx.params.get(param.name or "") or ():
            found = at.command.get_command(at, word) if isinstance(at.command, click.Group) else None
            if found is None:
                return []
            at = click.Context(found, info_name=word, parent=at, resilient_parsing=True)
        return at.command.shell_complete(at, incomplete) if isinstance(at.command, click.Group) else []


@command(
    "help",
    local=True,
    help="""Show the help of COMMAND, or of all: kv help node run is kv node run --help.""",
    examples=("kv help", "kv help get", "kv help node run"),
)
@click.argument("words", metavar="[COMMAND]...", nargs=-1, type=_CommandWord())
@click.pass_context
async def help_(ctx: click.Context, words: tuple[str, ...]) -> Any:
    """See the help text above. A command that is a program of another package is run with ``--help``."""
    at = ctx.find_root()
    if not words:
        click.echo(at.get_help())
        return None
    for word in words[:-1]:
        at = click.Context(await _below(at, word), info_name=word, parent=at)
    last = await _below(at, words[-1])
    async with await last.make_context(words[-1], ["--help"], parent=at) as inner:
        return await last.invoke(inner)


async def _below(at: click.Context, word: str) -> click.Command:
    """The command of a group. Raises UsageError if there is none of that name, or it is no group."""
    if not isinstance(at.command, click.Group):
        raise click.UsageError(f"{at.command_path} has no commands, so no {word!r}", at)
    _, found, _ = await at.command.resolve_command(at, [word])
    if found is None:
        raise click.NoSuchCommand(word, ctx=at)
    return found


@command(
    "version",
    local=True,
    help="""Print the version, and whether it is compiled, as kv --version does.""",
    examples=("kv version", "kv version --format json"),
)
@click.pass_context
async def version(ctx: click.Context) -> None:
    """See the help text above."""
    row = {"version": installed_version(), "compiled": is_compiled()}
    Output(settings_of(ctx).format).one(row, lambda: f"kvnode {software()}")
