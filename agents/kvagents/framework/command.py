"""``kv agent``: a plug-in command of ``kv`` (entry point group ``kvnode.commands``)."""

from __future__ import annotations

from functools import partial
from typing import Any

import asyncclick as click

from kvagents.framework import registry
from kvagents.framework.run import options_of, run_until_signal
from kvnode.data.logs import set_up_logging


class _Run(click.Group):
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
        click.Option(["--log-level"], type=click.Choice(["debug", "info", "warning", "error"]), default="info"),
    ]
    params += [click.Option([f"--{o.key}", o.key], metavar=o.metavar, help=f"{o.help}.") for o in kind.options]
    text = (
        f"Run an agent: {kind.summary}.\n\nIts configuration is read at and below agent.{kind.kind}.NAME; what is "
        "given here is written there first. It runs until it is interrupted."
    )
    return click.Command(name, params=params, callback=click.pass_context(run), help=text)


async def _list() -> None:
    """Print the kinds of agents that are installed, with the package each comes from."""
    for name, entry in registry.known().items():
        click.echo(f"{name}  {entry.dist.name if entry.dist else entry.module}")


agent = click.Group(
    "agent",
    help="Agents connect field buses and services to the tree.",
    commands={
        "run": _Run("run", help="Run an agent in the foreground."),
        "list": click.Command("list", callback=partial(_list), help=_list.__doc__),
    },
)
"""The command group."""
