"""An agent as a process: its command line, its signals, its connection to a node."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Final

import anyio
from anyio.abc import TaskStatus

from kvagents.framework.agent import Agent, AgentKind
from kvagents.framework.logs import set_up_logging
from kvnode.client import KvError, connect, parse_address
from kvnode.core.path import Path, PathError

log = logging.getLogger(__name__)

DEFAULT_NODE: Final = "127.0.0.1:27590"
NODE_VARIABLE: Final = "KV_NODE"
FAREWELL_S: Final = 2.0
"""How long the last write may take when the agent ends."""


async def serve(
    kind: AgentKind[Any],
    name: str,
    node: str | None = None,
    overrides: Mapping[str, Any] | None = None,
    *,
    task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED,
) -> None:
    """Run agent `name` of a kind at `node` (default: ``$KV_NODE``, else 127.0.0.1:27590) until cancelled.

    The node need not be there yet. `overrides` are written into the agent's own entry first. Raises ValueError for an
    address or name that is none.
    """
    check_name(kind, name)
    address = node_address(node)
    parse_address(address)
    task_status.started()
    agent: Agent[Any] | None = None
    author = f"{kind.kind}/{name}"
    try:
        async with connect(address, author=author, patient=True) as kv:
            agent = Agent(kind, name, kv, overrides=overrides)
            await agent.run()
    finally:
        if agent is not None:
            await _say_goodbye(agent, address, author)


async def _say_goodbye(agent: Agent[Any], address: str, author: str) -> None:
    """The last write; gives up after a moment, for the node may be gone too."""
    with anyio.move_on_after(FAREWELL_S, shield=True):
        try:
            async with connect(address, author=author, timeout=FAREWELL_S) as kv:
                await agent.farewell(kv)
        except KvError as error:
            log.debug("cannot say goodbye: %s", error)


def node_address(given: str | None) -> str:
    """The address of the node: what was given, else ``$KV_NODE``, else the default port on loopback."""
    return given or os.environ.get(NODE_VARIABLE) or DEFAULT_NODE


def check_name(kind: AgentKind[Any], name: str) -> None:
    """Whether `name` can be one element of a path. Raises ValueError."""
    try:
        path = Path(("agent", kind.kind, name))
    except PathError as error:
        raise ValueError(str(error)) from None
    if not name or len(path) != 3:
        raise ValueError("the name of an agent must not be empty")


def main(kind: AgentKind[Any], argv: Sequence[str] | None = None) -> int:
    """The command line of one kind of agent; returns the exit status."""
    parser = _parser(kind)
    args = parser.parse_args(argv)
    try:
        check_name(kind, args.name)
        parse_address(node_address(args.node))
    except ValueError as error:
        parser.error(str(error))
    overrides = {o.key: getattr(args, o.key) for o in kind.options if getattr(args, o.key) is not None}
    set_up_logging(f"{kind.kind}/{args.name}", level=args.log_level)
    anyio.run(partial(_run, kind, args.name, args.node, overrides), backend_options={"use_uvloop": _uvloop_is_there()})
    return 0


def _parser(kind: AgentKind[Any]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=f"kv agent run {kind.kind}",
        description=f"{kind.summary}. The configuration is read at and below agent.{kind.kind}.NAME; "
        "what is given here is written there first.",
    )
    parser.add_argument("name", metavar="NAME", help="name of this agent")
    parser.add_argument("--node", metavar="ADDRESS", help=f"node: HOST:PORT or unix:PATH (${NODE_VARIABLE})")
    parser.add_argument("--log-level", choices=("debug", "info", "warning", "error"), default="info")
    for option in kind.options:
        parser.add_argument(f"--{option.key}", metavar=option.metavar, help=option.help, type=_reader(option.read))
    return parser


def _reader(read: Any) -> Any:
    """argparse hides the text of a ValueError, and shows that of its own error."""

    def checked(text: str) -> Any:
        try:
            return read(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return checked


async def _run(kind: AgentKind[Any], name: str, node: str | None, overrides: Mapping[str, Any]) -> None:
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with anyio.create_task_group() as tasks:
            await tasks.start(partial(serve, kind, name, node, overrides))
            async for number in signals:
                log.info("ending", extra={"signal": signal.Signals(number).name})
                tasks.cancel_scope.cancel()
                return


def _uvloop_is_there() -> bool:
    if sys.platform == "win32":
        return False
    try:
        import uvloop  # noqa: F401
    except ImportError:
        return False
    return True
