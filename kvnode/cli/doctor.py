"""``kv doctor``: everything that is wrong with a node, each with the way out; and the support bundle."""

from __future__ import annotations

from pathlib import Path as FilePath
from typing import TYPE_CHECKING, Any, Final

import asyncclick as click

from . import session as sessions
from .address import node_address
from .command import command
from .errors import CliError, Exit, unwrap
from .render import Output
from .settings import settings_of
from .text import printable

if TYPE_CHECKING:
    from kvnode.node.config import NodeConfig

_CONFIG_VARIABLES: Final = ("KVNODE_CONFIG", "KVNODE_NAME")
_GONE: Final = ("unavailable", "timeout", "stopping")


@command(
    "doctor",
    help="""Examine a node, its machine, and its links: configuration, clock, disk, ports, peers, versions, deletes,
    conflicts, quarantine, clones. Each finding says what is wrong, where, and the way out.

    If the node does not run, say where its configuration is (--config, or KVNODE_CONFIG): then its folder, its port
    and its peers are examined from here. The exit code is 0 if nothing was found, 1 if something was.

    --bundle writes a file for whoever is to help: findings, versions, settings, status, metrics and the last lines of
    the log, without secrets and without values of the tree. Only you can read it; look into it before you send it.""",
    examples=(
        "kv doctor",
        "kv doctor --config /etc/kvnode/cellar.yaml",
        "kv doctor --bundle cellar.tar.gz",
        "kv doctor --format jsonl",
    ),
)
@click.option("--config", type=click.Path(dir_okay=False, path_type=FilePath), metavar="FILE", help="The node's file.")
@click.option(
    "--bundle", type=click.Path(dir_okay=False, path_type=FilePath), metavar="FILE.tar.gz", help="Write this."
)
@click.pass_context
async def doctor(ctx: click.Context, config: FilePath | None, bundle: FilePath | None) -> int:
    """See the help text above."""
    if bundle is not None:
        _check_free(bundle)
    out = Output(settings_of(ctx).format)
    found, node_config = _configuration(config)
    answer = await _ask(ctx, node_config, bundle=bundle is not None)
    found += answer["findings"]
    if bundle is not None:
        from .bundle import write_bundle

        write_bundle(bundle, answer | {"findings": found})
    _show(out, found, bundle)
    return Exit.NOT_FOUND if found else Exit.OK


def _check_free(bundle: FilePath) -> None:
    """What is there is not written over: it may be a bundle that somebody still needs."""
    if bundle.exists():
        raise CliError(f"{bundle} is there already; give another name", Exit.USAGE)


def _configuration(file: FilePath | None) -> tuple[list[dict[str, Any]], NodeConfig | None]:
    """What is wrong with the configuration, and what it says; nothing without one."""
    import os

    if file is None and not any(os.environ.get(name) for name in _CONFIG_VARIABLES):
        return [], None
    from kvnode.node.settings import ConfigError, load

    try:
        settings = load(file)
    except ConfigError as err:
        way = "see docs/reference/config.md; kv node run --show-config prints each setting and where it comes from"
        return [_finding("error", "configuration", line, way) for line in err.lines], None
    except OSError as err:
        return [_finding("error", "configuration", f"{file}: {err.strerror}", "correct the name of the file")], None
    warnings = [_finding("warning", "configuration", line, "correct or remove it") for line in settings.warnings]
    return warnings, settings.config


def _finding(severity: str, area: str, what: str, way_out: str) -> dict[str, Any]:
    return {"severity": severity, "area": area, "what": what, "way_out": way_out}


async def _ask(ctx: click.Context, config: NodeConfig | None, *, bundle: bool) -> dict[str, Any]:
    """The node's own answer; if it does not run, what can be found from here."""
    settings = settings_of(ctx)
    address = settings.node or (_address_of(config) if config else node_address(None))
    try:
        async with sessions.open_client(address, settings.timeout_s) as client:
            return await client.inspection.diagnose(bundle=bundle)
    except Exception as exc:
        error = unwrap(exc)
        if getattr(error, "code", None) not in _GONE:
            raise
        return await _stopped(address, str(error), config, bundle=bundle)


def _address_of(config: NodeConfig) -> str:
    from kvnode.node.examining import reachable_form

    return str(reachable_form(config.listen_address))


async def _stopped(address: str, why: str, config: NodeConfig | None, *, bundle: bool) -> dict[str, Any]:
    from dataclasses import asdict

    from kvnode.node.doctor import about, config_of, examine_stopped

    way = "start it: kv node run, or systemctl start of its service"
    if config is None:
        way += "; with --config FILE its folder, port and peers are examined from here"
    found = [_finding("error", "node", f"no node answers at {address}: {why}", way)]
    answer: dict[str, Any] = {}
    if config is not None:
        found += [asdict(finding) for finding in await examine_stopped(config)]
        answer["config"] = config_of(config)
    if bundle:
        answer["about"] = about()
    return answer | {"findings": found}


def _show(out: Output, found: list[dict[str, Any]], bundle: FilePath | None) -> None:
    if not out.human:
        with out.items() as write:
            for finding in found:
                write(finding)
        return
    for finding in sorted(found, key=lambda finding: str(finding["severity"])):
        out.line(printable(f"{finding['severity']:<7}  {finding['area']}: {finding['what']}"))
        out.line(printable(f"         {finding['way_out']}"))
    if not found:
        out.line("nothing is wrong")
    if bundle is not None:
        out.line(f"written: {bundle}; look into it before you send it")
