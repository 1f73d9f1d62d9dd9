"""Writes docs/reference/cli.md from the commands themselves. ``--check`` only tells whether it is current.

python docs/generate_cli.py [--check]
"""

from __future__ import annotations

import asyncio
import inspect
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import asyncclick as click

from kvagents.framework.command import agent
from kvagents.onewire.command import onewire
from kvnode.cli.command import COMMON, adopted
from kvnode.cli.errors import EXIT_MEANING
from kvnode.cli.main import COMMANDS, root
from kvnode.cli.settings import Settings

TARGET: Final = Path(__file__).parent / "reference" / "cli.md"

HEAD: Final = """\
# The kv command

<!-- Written by docs/generate_cli.py from the commands themselves: change those. -->

`kv` talks to one node, on this machine or another. `python -m kvnode` is the same.

"""

RULES: Final = """\
## Rules for scripts

* Results go to standard output, errors to standard error, each on one line that starts with `kv:`. There is never a
  traceback; with `KV_DEBUG=1` in the environment there is one before the line.
* `--format json` prints one JSON value, and lists as one array; `jsonl` prints each item on a line of its own; `yaml`
  prints YAML that YAML 1.1 and 1.2 readers understand alike. `kv watch` and `kv event watch` print each item on a line
  of its own in both JSON formats, as soon as it comes.
* Machine formats are UTF-8 with plain line feeds on every platform. Values that JSON cannot carry appear as told in
  [Values on the command line](values.md). Times are RFC 3339 in UTC.
* The human format may change from version to version. It uses colour on a terminal only, never for meaning, and not
  with `NO_COLOR` or `TERM=dumb`.
* A pipe that is closed ends `kv` silently with code 0. Output that cannot be written (a full disk) is an error that
  names standard output, with code 70; what the command has done by then, such as a write, stands.

### Exit codes

| code | meaning |
|---|---|
{codes}

### Which node

`--node` names it, as `HOST:PORT`, `[IPV6]:PORT` or `unix:PATH`; else the variable `KV_NODE`; else it is the one Unix
socket in `$XDG_RUNTIME_DIR/kvnode` or `/run/kvnode` behind which a node runs (several are an error that names them);
else `127.0.0.1:27590`.

### Global options

They can stand before or after the command; the last one counts.

{common}

"""


def text() -> str:
    """The whole page."""
    return asyncio.run(_page())


async def _page() -> str:
    parts = [HEAD]
    cli = root()
    async with await cli.make_context("kv", ["--"], obj=Settings(), resilient_parsing=True) as ctx:
        helps = {name: COMMANDS[name].help for name in cli.list_commands(ctx) if name in COMMANDS}
        for command in (agent, onewire):
            # Completion, as which this counts, never imports a plug-in; so they are put in by hand.
            cli.add_command(adopted(command))
            helps[command.name or ""] = command.get_short_help_str(200)
        own = list(helps)
        parts.append("\n".join(f"* [`kv {name}`](#kv-{name}): {helps[name]}" for name in own) + "\n\n")
        codes = "\n".join(f"| {code.value} | {text} |" for code, text in EXIT_MEANING.items())
        parts.append(RULES.format(codes=codes, common=_options(ctx, common=True)))
        for name in own:
            async for section in _sections(ctx, name):
                parts.append(section)
    return "".join(parts).rstrip("\n") + "\n"


async def _sections(parent: click.Context, name: str) -> AsyncIterator[str]:
    """The section of a command, then those of its subcommands."""
    group = parent.command
    assert isinstance(group, click.Group)
    command = group.get_command(parent, name)
    assert command is not None
    async with await command.make_context(name, ["--"], parent=parent, resilient_parsing=True) as ctx:
        yield _section(ctx)
        if isinstance(command, click.Group):
            for inner in command.list_commands(ctx):
                async for section in _sections(ctx, inner):
                    yield section


def _section(ctx: click.Context) -> str:
    command = ctx.command
    level = "##" if ctx.parent and ctx.parent.parent is None else "###"
    usage = " ".join([ctx.command_path, *command.collect_usage_pieces(ctx)])
    lines = [f"{level} {ctx.command_path}", "", f"    {usage}", "", inspect.cleandoc(command.help or ""), ""]
    if options := _options(ctx, common=False):
        lines += [options, ""]
    examples = getattr(command, "examples", ())
    if examples:
        lines += ["```sh", *examples, "```", ""]
    return "\n".join(lines) + "\n"


def _options(ctx: click.Context, *, common: bool) -> str:
    rows = []
    for param in ctx.command.get_params(ctx):
        is_common = param.name in COMMON and not param.expose_value
        if isinstance(param, click.Option) and is_common == common and "--help" not in param.opts:
            record = param.get_help_record(ctx)
            if record is not None:
                rows.append("| `{}` | {} |".format(*(cell.replace("|", "\\|").replace("  [", " [") for cell in record)))
    return "\n".join(["| option | meaning |", "|---|---|", *rows]) if rows else ""


def main() -> int:
    """Write or check the page; the exit code."""
    made = text()
    if "--check" not in sys.argv[1:]:
        TARGET.write_text(made, encoding="utf-8")
        return 0
    if TARGET.read_text(encoding="utf-8") == made:
        return 0
    print(f"{TARGET.name} is not current: run python docs/generate_cli.py", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
