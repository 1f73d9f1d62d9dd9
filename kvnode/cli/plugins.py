"""``kv plugins``: what other packages, and kvnode's own agents, add by entry points."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import asyncclick as click

from .command import command
from .errors import Exit
from .render import Output
from .settings import settings_of

KINDS: Final = {"kvnode.commands": "command", "kvnode.agents": "agent"}
"""The groups of entry points, and what an entry of each is."""


class Plugin(NamedTuple):
    """One entry point: what it is, its name, the package that brought it, and what it names."""

    kind: str
    name: str
    package: str
    version: str
    where: str
    problem: str = ""
    """Why it does not load; empty if it does, or if nobody tried."""


def installed(*, check: bool) -> list[Plugin]:
    """All entry points, sorted. Only with `check` they are imported."""
    from importlib.metadata import entry_points

    found = []
    for group, kind in KINDS.items():
        for entry in entry_points(group=group):
            package, version = (entry.dist.name, entry.dist.version) if entry.dist else (entry.module, "")
            problem = _problem(entry) if check else ""
            found.append(Plugin(kind, entry.name, package, version, entry.value, problem))
    return sorted(found)


def _problem(entry: Any) -> str:
    try:
        entry.load()
    except Exception as exc:  # whatever somebody else's package raises
        return " ".join(f"{type(exc).__name__}: {exc}".split())
    return ""


@command(
    "plugins",
    local=True,
    help="""List the commands and agents that installed packages add, kvnode's own agents among them.

    Nothing of theirs is imported, unless --check is given: then each is loaded, and what fails is named (exit 1).""",
    examples=("kv plugins", "kv plugins --check", "kv plugins --format jsonl"),
)
@click.option("--check", is_flag=True, help="Load each, and say what does not load.")
@click.pass_context
async def plugins(ctx: click.Context, check: bool) -> int:
    """See the help text above."""
    from .table import print_rows

    found = installed(check=check)
    headings = ("KIND", "NAME", "PACKAGE", "WHERE", *(["STATE"] if check else []))
    rows = ((_cells(plugin, check), plugin._asdict() | {"checked": check}) for plugin in found)
    print_rows(Output(settings_of(ctx).format), headings, rows)
    return Exit.NOT_FOUND if any(plugin.problem for plugin in found) else Exit.OK


def _cells(plugin: Plugin, check: bool) -> list[str]:
    state = [plugin.problem or "ok"] if check else []
    return [plugin.kind, plugin.name, f"{plugin.package} {plugin.version}".rstrip(), plugin.where, *state]
