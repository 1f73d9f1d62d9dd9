"""An agent as a process: its command line, its signals, its connection to a node."""

from __future__ import annotations

import argparse
import importlib.util
import logging
import os
import signal
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Final

import anyio
from anyio.abc import TaskStatus

from kvagents.framework.agent import Agent, AgentKind
from kvnode.client import KvError, connect, parse_address
from kvnode.core.path import Path
from kvnode.data.logs import set_up_logging

log = logging.getLogger(__name__)

DEFAULT_NODE: Final = "127.0.0.1:27590"
NODE_VARIABLE: Final = "KV_NODE"
FAREWELL_S: Final = 2.0
"""How long the last write may take when the agent ends."""


async def serve(
    kind: AgentKind[Any],
    name: str,
    nodes: Sequence[str] = (),
    overrides: Mapping[str, Any] | None = None,
    *,
    task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED,
) -> None:
    """Run agent `name` of a kind until cancelled, at the first of `nodes` (addresses) that answers, and at another one
    when that goes away. By default at ``$KV_NODE``, else 127.0.0.1:27590.

    No node need be there yet. `overrides` are written into the agent's own entry first. Raises ValueError for an
    address or name that is none.
    """
    addresses = _checked(kind, name, nodes)
    log.info("started", extra={"nodes": ", ".join(addresses)})
    task_status.started()
    agent: Agent[Any] | None = None
    author = f"{kind.kind}/{name}"
    try:
        async with connect(addresses, author=author, patient=True) as kv:
            agent = Agent(kind, name, kv, overrides=overrides)
            await agent.run()
    finally:
        if agent is not None:
            await _say_goodbye(agent, addresses, author)


async def _say_goodbye(agent: Agent[Any], addresses: Sequence[str], author: str) -> None:
    """The last write; gives up after a moment, for the node may be gone too."""
    with anyio.move_on_after(FAREWELL_S, shield=True):
        try:
            async with connect(addresses, author=author, timeout=FAREWELL_S) as kv:
                await agent.farewell(kv)
        except KvError as error:
            log.debug("cannot say goodbye: %s", error)


def _checked(kind: AgentKind[Any], name: str, nodes: Sequence[str]) -> list[str]:
    """The addresses of nodes, if they and the agent's name are such. Raises ValueError."""
    if not name:
        raise ValueError("the name of an agent must not be empty")
    Path(("agent", kind.kind, name))
    addresses = list(nodes) or [os.environ.get(NODE_VARIABLE) or DEFAULT_NODE]
    for address in addresses:
        parse_address(address)
    return addresses


def main(kind: AgentKind[Any], argv: Sequence[str] | None = None) -> int:
    """The command line of one kind of agent; returns the exit status."""
    parser = _parser(kind)
    args = parser.parse_args(argv)
    set_up_logging(args.log_level, name=f"{kind.kind}/{args.name}", kind="agent")
    try:
        run = partial(run_until_signal, kind, args.name, args.node or (), options_of(kind, vars(args)))
        anyio.run(run, backend_options={"use_uvloop": _uvloop_is_there()})
    except ValueError as error:
        parser.error(str(error))
    return 0


def _parser(kind: AgentKind[Any]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=f"kv agent run {kind.kind}",
        description=f"{kind.summary}. The configuration is read at and below agent.{kind.kind}.NAME; "
        "what is given here is written there first.",
    )
    parser.add_argument("name", metavar="NAME", help="name of this agent")
    node_help = f"a node, HOST:PORT or unix:PATH; more of them to fall back on (default: ${NODE_VARIABLE})"
    parser.add_argument("--node", metavar="ADDRESS", action="append", help=node_help)
    parser.add_argument("--log-level", choices=("debug", "info", "warning", "error"), default="info")
    for option in kind.options:
        parser.add_argument(f"--{option.key}", metavar=option.metavar, help=option.help)
    return parser


def options_of(kind: AgentKind[Any], given: Mapping[str, str | None]) -> dict[str, Any]:
    """The attributes that command line options stand for. Raises ValueError."""
    found: dict[str, Any] = {}
    for option in kind.options:
        text = given.get(option.key)
        if text is not None:
            try:
                found[option.key] = option.read(text)
            except ValueError as error:
                raise ValueError(f"--{option.key}: {error}") from None
    return found


async def run_until_signal(
    kind: AgentKind[Any], name: str, nodes: Sequence[str] = (), overrides: Mapping[str, Any] | None = None
) -> None:
    """:func:`serve` until SIGINT or SIGTERM. Raises ValueError for an address or name that is none."""
    addresses = _checked(kind, name, nodes)
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with anyio.create_task_group() as tasks:
            await tasks.start(partial(serve, kind, name, addresses, overrides))
            async for number in signals:
                log.info("ending", extra={"signal": signal.Signals(number).name})
                tasks.cancel_scope.cancel()
                return


def _uvloop_is_there() -> bool:
    return importlib.util.find_spec("uvloop") is not None
