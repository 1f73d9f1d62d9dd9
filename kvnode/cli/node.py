"""``kv node``: run a node in the foreground, look at it, retire a member."""

from __future__ import annotations

from pathlib import Path as FilePath
from typing import TYPE_CHECKING, Any, Final

import asyncclick as click

from .command import AfterLoop, KvGroup, Lazy, command
from .errors import CliError, Exit
from .render import Output
from .session import session
from .settings import settings_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from kvnode.node.settings import Settings

node: Final = KvGroup(
    "node",
    lazy={
        "run": Lazy("node:run", "Run a node in the foreground."),
        "status": Lazy("status:status", "Show the node, its peers and its counts."),
        "find": Lazy("find:find", "List the nodes that announce themselves on the local network."),
        "install": Lazy("install:install", "Let systemd run a node."),
        "uninstall": Lazy("install:uninstall", "Stop a node's service and remove it."),
        "retire": Lazy("node:retire", "Take a node that will not come back out of the cluster."),
    },
    help="Run a node, or manage the members of the cluster.",
    examples=("kv node run --name attic --data /var/lib/kvnode", "kv node retire attic"),
)

_LIMITS: Final = {
    "limits.max_value_bytes": "Largest value of one write (default 1048576).",
    "limits.max_batch_changes": "Most changes in one batch (default 10000).",
    "limits.max_skew_ms": "Stamps further ahead do not move the clock (default 60000).",
    "limits.max_connections": "Most connections at a time (default 1024).",
    "limits.max_history_bytes": "Most bytes of the past on record (default 1073741824).",
}

SETTINGS: Final = {
    "name": "name",
    "data": "data",
    "store": "store",
    "compress": "compress",
    "listen": "listen",
    "peers": "peer",
    "advertise": "advertise",
    "discover": "discover",
    "mdns": "mdns",
    "insecure": "insecure",
    "socket": "socket",
    "http": "http",
    "cluster": "cluster",
    "backend": "backend",
    "log.level": "log_level",
    "log.format": "log_format",
    **{key: key.replace(".", "_") for key in _LIMITS},
}
"""The option of each setting, by the setting's dotted key."""


def _limit_options(callback: Callable[..., Any]) -> Callable[..., Any]:
    for key, text in reversed(_LIMITS.items()):
        flag = "--" + key.replace(".", "-").replace("_", "-")
        callback = click.option(flag, SETTINGS[key], type=int, metavar="N", help=text)(callback)
    return callback


@command(
    "run",
    local=True,
    help="""Run a node in the foreground, until SIGTERM or Ctrl-C.

    When it serves, one line says so on standard output: kvnode NAME ready on HOST:PORT. Logs go to standard error.
    Each setting can also stand in the file that --config names, or in the environment as KVNODE_NAME and so on;
    options win over the environment, which wins over the file.""",
    examples=(
        "kv node run --name a --data /var/lib/kvnode/a",
        "kv node run --name b --data ./b --listen 127.0.0.1:27591 --peer 127.0.0.1:27590",
        "kv node run --config /etc/kvnode.yaml --http 127.0.0.1:27599",
    ),
)
@click.option("--name", metavar="NAME", help="Name of this node, unique in the cluster.")
@click.option("--data", metavar="DIR", help="Folder that holds its store; made if missing.")
@click.option("--listen", metavar="HOST:PORT", help="Address for peers and clients (default 127.0.0.1:27590).")
@click.option("--peer", multiple=True, metavar="HOST:PORT", help="Another node; once for each. One is enough.")
@click.option("--advertise", multiple=True, metavar="HOST:PORT", help="Announce this address (default: found out).")
@click.option("--discover/--no-discover", default=None, help="Dial nodes that others announce, too (default).")
@click.option("--mdns", is_flag=True, default=None, help="Announce it by mDNS; only where links are encrypted.")
@click.option("--config", type=click.Path(dir_okay=False, path_type=FilePath), metavar="FILE", help="A YAML file.")
@click.option("--insecure", is_flag=True, help="Allow a --listen address that others can reach, unencrypted.")
@click.option("--http", metavar="HOST:PORT", help="Serve health and metrics here; loopback only (default: none).")
@click.option("--socket", metavar="PATH|auto|none", help="Unix socket for local clients (default auto).")
@click.option("--store", type=click.Choice(["sqlite", "memory"]), help="Where values are kept (default sqlite).")
@click.option(
    "--compress",
    type=click.Choice(["auto", "always", "never"]),
    help="Compress small values on disk (default auto: on a slow one).",
)
@click.option("--cluster", metavar="NAME", help="Nodes link only within their cluster (default kvnode).")
@click.option("--backend", type=click.Choice(["asyncio", "trio"]), help="Event loop (default asyncio).")
@click.option("--log-level", type=click.Choice(["debug", "info", "warning", "error"]), help="Default info.")
@click.option("--log-format", type=click.Choice(["auto", "text", "json"]), help="Default auto: json off a terminal.")
@_limit_options
@click.option("--show-config", is_flag=True, help="Print each setting and where it comes from, and exit.")
@click.pass_context
async def run(
    ctx: click.Context, /, config: FilePath | None, show_config: bool, insecure: bool, **options: Any
) -> AfterLoop | None:
    """See the help text above."""
    settings = _load(config, options | {"insecure": insecure or None})
    if show_config:
        _show(Output(settings_of(ctx).format), settings)
        return None
    settings_of(ctx).endless = True
    return AfterLoop(lambda: _serve(settings))


def _load(file: FilePath | None, options: dict[str, Any]) -> Settings:
    from kvnode.node.settings import ConfigError, load

    flags = {key: options[option] for key, option in SETTINGS.items()}
    try:
        return load(file, flags=flags)
    except ConfigError as exc:
        raise CliError("the configuration is wrong", Exit.USAGE, lines=exc.lines) from None


def _show(out: Output, settings: Settings) -> None:
    from .render import short_value
    from .table import print_rows

    rows = []
    for key, value, origin in settings.rows():
        plain = list(value) if isinstance(value, tuple) else value
        rows.append(((key, short_value(plain), origin), {"key": key, "value": plain, "origin": origin}))
    print_rows(out, ("KEY", "VALUE", "FROM"), rows)


def _serve(settings: Settings) -> int:
    """Run the node on its own event loop; the command line's is closed by now."""
    from kvnode.node.service import main

    return main(settings)


@command(
    "retire",
    help="""Take the node NAME, which will not come back, out of the cluster.

    The others no longer wait for it before they forget deleted values. Should it come back after all, what it
    wrote meanwhile is not dropped: it shows up as conflicts or reports.""",
    examples=("kv node retire attic", "kv node retire attic --node 127.0.0.1:27590"),
)
@click.argument("name")
@click.pass_context
async def retire(ctx: click.Context, name: str) -> None:
    """See the help text above."""
    from kvnode.core.ticks import check_name

    try:
        check_name(name)
    except ValueError as exc:
        raise CliError(str(exc), Exit.USAGE) from None
    out = Output(settings_of(ctx).format)
    async with session(ctx) as link:
        with link.limit():
            await link.client.retire(name)
    out.one({"retired": name}, lambda: f"{name} is retired")
