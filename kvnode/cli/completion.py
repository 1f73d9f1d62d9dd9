"""``kv completion``: the script that makes a shell complete ``kv``."""

from __future__ import annotations

from typing import Any, Final, cast

import asyncclick as click
from asyncclick.shell_completion import get_completion_class

from .command import command

_BASH: Final = """\
%(complete_func)s() {
    # For readline a colon ends a word, in paths it does not.
    local line="${COMP_LINE:0:COMP_POINT}" words current before="" type value
    read -ra words <<< "$line"
    [[ "$line" == *[[:space:]] ]] && words+=("")
    current="${words[-1]}"
    [[ "$COMP_WORDBREAKS" == *:* && "$current" == *:* ]] && before="${current%%:*}:"
    COMPREPLY=()
    while IFS=',' read -r type value; do
        case "$type" in
            dir) compopt -o dirnames ;;
            file) compopt -o default ;;
            plain)
                [[ "$value" == *. ]] && compopt -o nospace
                COMPREPLY+=("${value#"$before"}")
                ;;
        esac
    done < <(env COMP_WORDS="$line" COMP_CWORD=$((${#words[@]} - 1)) %(complete_var)s=bash_complete "$1")
}

complete -o nosort -F %(complete_func)s %(prog_name)s
"""
_ZSH: Final = """\
#compdef %(prog_name)s

%(complete_func)s() {
    local -a response described whole open
    local type key descr
    local -x COMP_WORDS="${words[*]}" COMP_CWORD=$((CURRENT-1)) %(complete_var)s=zsh_complete
    (( ! $+commands[%(prog_name)s] )) && return 1
    response=("${(@f)$(%(prog_name)s)}")
    for type key descr in ${response}; do
        if [[ "$type" == "plain" ]]; then
            if [[ "$descr" != "_" ]]; then
                described+=("$key":"$descr")
            elif [[ "$key" == *. ]]; then
                open+=("$key")
            else
                whole+=("$key")
            fi
        elif [[ "$type" == "dir" ]]; then
            _path_files -/
        elif [[ "$type" == "file" ]]; then
            _path_files -f
        fi
    done
    (( $#described )) && _describe -V unsorted described -U
    (( $#whole )) && compadd -U -V unsorted -a whole
    (( $#open )) && compadd -U -S '' -V unsorted -a open
    return 0
}

if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
    %(complete_func)s "$@"
else
    compdef %(complete_func)s %(prog_name)s
fi
"""
SCRIPTS: Final = {"bash": _BASH, "zsh": _ZSH}
"""In place of those that come with the library: a path that ends with a dot leads on, so no blank comes after it."""


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
    template = SCRIPTS.get(shell, kind.source_template)
    click.echo(template % made.source_vars(), nl=False)
