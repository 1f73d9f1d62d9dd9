"""``kv completion``: the script that makes a shell complete ``kv``."""

from __future__ import annotations

from typing import Any, cast

import asyncclick as click
from asyncclick.shell_completion import get_completion_class

from .command import command


@command(
    "completion",
    local=True,
    help="""Print the completion script of SHELL: bash, zsh or fish.

    Commands and options complete, and paths, for which the node is asked that the command would talk to. Nothing is
    loaded that other packages brought.""",
    examples=(
        "kv completion bash > ~/.local/share/bash-completion/completions/kv",
        "kv completion zsh > ~/.zfunc/_kv",
        "kv completion fish > ~/.config/fish/completions/kv.fish",
    ),
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
async def completion(ctx: click.Context, shell: str) -> None:
    """See the help text above."""
    from .main import COMPLETE_VAR

    kind = get_completion_class(shell)
    if kind is None:
        raise click.UsageError(f"no completion for {shell}", ctx)
    made = kind(ctx.find_root().command, cast("dict[str, Any]", {}), "kv", COMPLETE_VAR)
    template = kind.source_template
    click.echo(template % made.source_vars(), nl=False)
