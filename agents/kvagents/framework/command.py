"""``kv agent``: a plug-in command of ``kv`` (entry point group ``kvnode.commands``)."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from importlib.metadata import EntryPoint
from typing import Any, Final

import asyncclick as click

from kvagents.framework import registry
from kvagents.framework.agent import ROOT
from kvagents.framework.config import Config, Problem
from kvagents.framework.console import AgentGroup, Console, PathParam, command, console_of
from kvagents.framework.overview import read_status
from kvagents.framework.run import options_of, run_until_signal
from kvnode.core.path import Path
from kvnode.data.logs import set_up_logging
from kvnode.data.plural import counted


class _Run(AgentGroup):
    """``kv agent run KIND``: a subcommand for each installed kind, loaded when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The installed kinds; none is imported."""
        return list(registry.known())

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command that runs this kind of agent."""
        if cmd_name not in registry.known():
            return None
        try:
            return _command_of(cmd_name)
        except registry.RegistryError as error:
            raise click.ClickException(str(error)) from None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The kinds with the packages they come from."""
        rows = [(name, f"(from {entry.dist.name})" if entry.dist else "") for name, entry in registry.known().items()]
        if rows:
            with formatter.section("Kinds"):
                formatter.write_dl(rows)


def _command_of(name: str) -> click.Command:
    kind = registry.load(name)

    async def run(ctx: click.Context, agent_name: str, log_level: str, **given: Any) -> None:
        general = getattr(ctx.find_root().obj, "node", None)
        nodes = given.pop("node") or ([general] if general else [])
        try:
            overrides = options_of(kind, given)
            set_up_logging(log_level, name=f"{kind.kind}/{agent_name}", kind="agent")
            await run_until_signal(kind, agent_name, nodes, overrides)
        except ValueError as error:
            raise click.UsageError(str(error)) from None

    params: list[click.Parameter] = [
        click.Argument(["agent_name"], metavar="NAME"),
        click.Option(
            ["--node"],
            metavar="HOST:PORT|unix:PATH",
            multiple=True,
            help="The node to talk to; more of them to fall back on.",
        ),
        click.Option(
            ["--log-level"],
            type=click.Choice(["debug", "info", "warning", "error"]),
            default="info",
            help="What is logged, on standard error (default info).",
        ),
    ]
    params += [click.Option([f"--{o.key}", o.key], metavar=o.metavar, help=f"{o.help}.") for o in kind.options]
    text = (
        f"Run an agent: {kind.summary}.\n\nIts configuration is read at and below agent.{kind.kind}.NAME; what is "
        "given here is written there first. It runs until it is interrupted."
    )
    examples = (
        f"kv agent run {name} house",
        f"kv agent run {name} house --node attic.lan:27590 --node cellar.lan:27590",
    )
    return command(name, run, help=text, examples=examples, params=params)


async def _list(ctx: click.Context) -> None:
    console_of(ctx).show(
        ("KIND", "PACKAGE", "VERSION"),
        [_listed(name, entry) for name, entry in registry.known().items()],
        empty="no agents are installed",
    )


def _listed(name: str, entry: EntryPoint) -> tuple[tuple[str, ...], dict[str, str]]:
    package, version = (entry.dist.name, entry.dist.version) if entry.dist else (entry.module, "")
    return (name, package, version), {"kind": name, "package": package, "version": version}


async def _status(ctx: click.Context, agent: Path, values: bool) -> None:
    console = console_of(ctx)
    async with console.session() as session:
        with session.limit():
            found = await read_status(session.client, agent)
    now = datetime.now(UTC)
    if values:
        rows = [value.shown(now) for value in found.values]
        console.show(("VALUE", "AGE", "FRESH", "AGENT", "STATE"), rows, empty="no values")
    else:
        shown = [state.shown(now) for state in found.agents]
        console.show(("AGENT", "STATE", "SEEN", "SINCE", "BINDINGS", "ERRORS"), shown, empty="no agents have run")


async def _check(
    ctx: click.Context, kind: str, name: str, entry: tuple[tuple[Path, str], ...], file: str | None, alone: bool
) -> int:
    console = console_of(ctx)
    try:
        loaded = registry.load(kind)
    except registry.RegistryError as error:
        raise click.UsageError(str(error)) from None
    root = ROOT / (kind, name)
    entries: dict[Path, Any] = {} if alone else await _in_tree(console, root)
    if file is not None:
        entries |= await _in_file(console, file, root)
    for below, text in entry:
        try:
            entries[root / below] = json.loads(text)
        except ValueError as error:
            raise click.UsageError(f"--entry {below}: {text!r} is no JSON: {error}") from None
    plan = loaded.plan(Config(root, entries))
    console.show(
        ("PATH", "KEY", "PROBLEM"),
        [((str(p.path), p.key or "-", p.message), _problem(p)) for p in plan.problems],
        empty=f"{root}: no problems, {counted(len(plan.bindings), 'binding')}",
    )
    return 1 if plan.problems else 0


async def _in_tree(console: Console, root: Path) -> dict[Path, Any]:
    """The configuration as it is."""
    async with console.session() as session:
        with session.limit():
            async with session.client.tree(root) as rows:
                return {row.path: row.value async for row in rows}


async def _in_file(console: Console, file: str, root: Path) -> dict[Path, Any]:
    """What a file would add to it. Raises UsageError if that is nothing: the name is misspelt here or there."""
    found = {path: value async for path, value in console.entries(file) if path.is_below(root)}
    if not found:
        raise click.UsageError(f"--file: {file} has nothing at or below {root}")
    return found


def _problem(problem: Problem) -> dict[str, Any]:
    return {"path": str(problem.path), "key": problem.key, "code": problem.code, "message": problem.message}


_PATH: Final = PathParam()

agent: Final = AgentGroup(
    "agent",
    help="Agents connect field buses and services to the tree.",
    examples=("kv agent run onewire house", "kv agent status"),
    commands={
        "run": _Run("run", help="Run an agent in the foreground.", examples=("kv agent run onewire house",)),
        "list": command(
            "list",
            _list,
            help="List the kinds of agents that are installed, with the package each comes from.",
            examples=("kv agent list", "kv agent list --format jsonl"),
        ),
        "status": command(
            "status",
            _status,
            help="Show which agents run, all or those below AGENT, such as onewire.house.\n\nThe state is what the "
            "agent said last: running or stopped; or lost, if it has not been heard of for too long. With --values, "
            "the values they write, and which of these are stale.",
            examples=("kv agent status", "kv agent status onewire.house --values"),
            params=(
                click.Argument(["agent"], type=_PATH, default=":"),
                click.Option(["--values"], is_flag=True, help="The values that the agents write."),
            ),
        ),
        "check": command(
            "check",
            _check,
            help="Check the configuration of agent NAME without running it: a line for each problem, with path and "
            "key, and exit code 1 if there are any.",
            examples=(
                "kv agent check onewire house",
                "kv agent check onewire house --file bindings.jsonl",
                """kv agent check onewire house --entry 28:.67452301EF00 '{"dest": "home.attic.temp"}'""",
            ),
            params=(
                click.Argument(["kind"]),
                click.Argument(["name"]),
                click.Option(
                    ["--entry"],
                    type=(_PATH, str),
                    multiple=True,
                    metavar="PATH JSON",
                    help="As if this entry stood there, below the agent's own (: for that one itself).",
                ),
                click.Option(
                    ["--file"],
                    metavar="FILE",
                    help="As if kv load had loaded FILE; - is standard input.",
                ),
                click.Option(["--alone"], is_flag=True, help="Only what is given here; no node is asked."),
            ),
        ),
    },
)
"""The command group."""
