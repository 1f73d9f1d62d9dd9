"""``kv node install`` and ``uninstall``: a node as a systemd service, of the system or of one user.

What is to be written and run is decided first (:class:`Plan`) and shown by ``--dry-run``; then it is done.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Any, Final

import asyncclick as click

from .command import command
from .errors import CliError, Exit, usage
from .render import Output
from .settings import settings_of
from .unit import HOMES, STATE, Unit

_SYSTEM_UNITS: Final = FilePath("/etc/systemd/system")
_SYSTEM_CONFIGS: Final = FilePath("/etc/kvnode")
_RUNNING: Final = FilePath("/run/systemd/system")
_ORDER: Final = ("name", "data", "listen", "peers", "http", "insecure")
SYSTEMCTL_TIMEOUT_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class Places:
    """Where units, configurations and stores go."""

    user: bool
    units: FilePath
    configs: FilePath
    state: FilePath

    @classmethod
    def of(cls, user: bool, env: Mapping[str, str]) -> Places:
        """The system's places, or (`user`) those of whoever runs this (XDG base directories)."""
        if not user:
            return cls(False, _SYSTEM_UNITS, _SYSTEM_CONFIGS, FilePath(STATE))
        home = FilePath(env.get("HOME") or FilePath.home())
        config = FilePath(env.get("XDG_CONFIG_HOME") or home / ".config")
        state = FilePath(env.get("XDG_STATE_HOME") or home / ".local/state")
        return cls(True, config / "systemd/user", config / "kvnode", state / "kvnode")

    def systemctl(self, *words: str) -> list[str]:
        """The command for the service manager of these places."""
        return ["systemctl", *(["--user"] if self.user else []), *words]


@dataclass(frozen=True, slots=True)
class Plan:
    """What an installation writes (path and text) and runs, in this order. `hints` is for people."""

    files: Sequence[tuple[FilePath, str]]
    commands: Sequence[Sequence[str]]
    hints: Sequence[str] = ()


def plan_install(
    places: Places, options: Mapping[str, Any], config: FilePath | None, name: str, *, start: bool, program: str
) -> Plan:
    """Raises CliError for what would not work."""
    files: list[tuple[FilePath, str]] = []
    if config is None:
        config = places.configs / f"{name}.yaml"
        given = {"name": name, "data": str(places.state / name)} | dict(options)
        files.append((config, _yaml(given)))
    below_home = any(FilePath(program).is_relative_to(home) for home in HOMES)
    unit = Unit(
        name, [program, "-m", "kvnode", "node", "run", "--config", str(config.absolute())], places.user, below_home
    )
    files.append((places.units / unit.file_name, unit.text()))
    commands = [places.systemctl("daemon-reload")]
    if start:
        commands.append(places.systemctl("enable", "--now", unit.file_name))
    hints = [f"kv status --node unix:/run/kvnode/{name}.sock"] if not places.user else []
    if places.user:
        hints = ["loginctl enable-linger: lets it run while you are not logged in", "kv status"]
    return Plan(files, commands, hints)


def _yaml(settings: Mapping[str, Any]) -> str:
    """A configuration file of these settings; each value quoted, so that it means what it says."""
    import json

    rows = [f"{key}: {json.dumps(settings[key])}" for key in _ORDER if key in settings]
    return "\n".join(["# Settings of the node, see `kv node run --show-config`.", *rows]) + "\n"


def check_data(places: Places, data: str) -> None:
    """The system's service runs as a user that owns nothing but its own folder."""
    if places.user or FilePath(data).is_relative_to(places.state):
        return
    raise usage(f"{data}: a service of the system keeps its store below {places.state}; mount or link the disk there")


_mode = click.option("--user/--system", "user", default=None, help="Whose service (default: the system's for root).")


@command(
    "install",
    local=True,
    help="""Let systemd run a node: now, at each start of the machine, and again if it fails.

    Writes a configuration file (not with --config, which names one) and a unit that may touch nothing but its own
    folder and the network, then starts it. A watchdog restarts a node that hangs. An existing file is kept.""",
    examples=(
        "kv node install --name cellar --peer attic.lan:27590",
        "kv node install --user --name desk --peer 127.0.0.1:27590",
        "kv node install --name cellar --dry-run",
    ),
)
@click.option("--name", metavar="NAME", help="Name of this node, unique in the cluster.")
@click.option("--data", metavar="DIR", help=f"Folder of its store (default {STATE}/NAME, or your state folder).")
@click.option("--listen", metavar="HOST:PORT", help="Address for peers and clients (default 127.0.0.1:27590).")
@click.option("--peer", "peers", multiple=True, metavar="HOST:PORT", help="Another node; once for each.")
@click.option("--http", metavar="HOST:PORT", help="Serve health and metrics here; loopback only (default: none).")
@click.option("--insecure", is_flag=True, help="Allow a --listen address that others can reach, unencrypted.")
@click.option(
    "--config", type=click.Path(dir_okay=False, path_type=FilePath), metavar="FILE", help="Run with this file."
)
@_mode
@click.option("--start/--no-start", default=True, help="Start and enable it (default), or only write the files.")
@click.option("--dry-run", is_flag=True, help="Print what would be written and run; do nothing.")
@click.pass_context
async def install(
    ctx: click.Context, /, config: FilePath | None, user: bool | None, start: bool, dry_run: bool, **options: Any
) -> None:
    """See the help text above."""
    places = Places.of(os.geteuid() != 0 if user is None else user, os.environ)
    given = {key: value for key, value in options.items() if value not in (None, (), False)}
    plan = plan_install(places, given, config, _checked(places, config, given), start=start, program=sys.executable)
    out = Output(settings_of(ctx).format)
    if not dry_run:
        _carry_out(plan, keep=places.configs)
    out.one(_as_data(plan, dry_run), lambda: _for_people(plan, dry_run))


def _checked(places: Places, config: FilePath | None, options: Mapping[str, Any]) -> str:
    """The name of the node, if these settings will do; all that is wrong is said, as ``kv node run`` would."""
    from kvnode.node.settings import ConfigError, load

    if config is not None and options:
        raise usage("--config names a file with all settings; write the others into it")
    flags = {} if config else {"data": str(places.state / str(options.get("name")))} | dict(options)
    try:
        found = load(config, env={}, flags=flags).config
    except ConfigError as exc:
        raise CliError("the configuration is wrong", Exit.USAGE, lines=exc.lines) from None
    if found.data_dir is not None:
        check_data(places, found.data)
    return found.name


def _carry_out(plan: Plan, keep: FilePath) -> None:
    for path, text in plan.files:
        if path.parent == keep and path.exists():
            if path.read_text(encoding="utf-8") != text:
                raise CliError(f"{path} exists and says otherwise: edit it, or run with --config {path}", Exit.REFUSED)
            continue
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        except OSError as exc:
            hint = "; run this with sudo, or with --user" if isinstance(exc, PermissionError) else ""
            raise CliError(f"{path}: {exc.strerror}{hint}") from None
    _run(plan.commands)


def _run(commands: Sequence[Sequence[str]]) -> None:
    """Run systemctl. Where systemd does not run (a container), the files are there and that is said."""
    if not _RUNNING.is_dir():
        raise CliError("systemd does not run here; the files are in place, nothing was started")
    for words in commands:
        try:
            done = subprocess.run(
                words,
                capture_output=True,
                text=True,
                timeout=SYSTEMCTL_TIMEOUT_S,
                check=False,
                stdin=subprocess.DEVNULL,
            )
        except (OSError, subprocess.TimeoutExpired) as exc:
            raise CliError(f"{' '.join(words)}: {exc}") from None
        if done.returncode:
            said = done.stderr.strip().splitlines()
            raise CliError(f"{' '.join(words)}: {said[0] if said else f'ended with {done.returncode}'}")


def _as_data(plan: Plan, dry_run: bool) -> dict[str, Any]:
    files = {str(path): text for path, text in plan.files}
    return {"files": files, "commands": [" ".join(words) for words in plan.commands], "done": not dry_run}


def _for_people(plan: Plan, dry_run: bool) -> str:
    if dry_run:
        parts = [f"# {path}\n{text}" for path, text in plan.files]
        return "\n".join([*parts, *(f"# {' '.join(words)}" for words in plan.commands)])
    return "\n".join([*(f"wrote {path}" for path, _ in plan.files), *(f"next: {hint}" for hint in plan.hints)])


@command(
    "uninstall",
    local=True,
    help="""Stop the service of the node NAME and remove its unit.

    Its configuration and its store stay where they are, and are named. If the node will not come back, retire it
    from another node, so that the others do not wait for it.""",
    examples=("kv node uninstall cellar", "kv node uninstall --user desk"),
)
@click.argument("name")
@_mode
@click.pass_context
async def uninstall(ctx: click.Context, name: str, user: bool | None) -> None:
    """See the help text above."""
    from kvnode.core.ticks import check_name

    try:
        check_name(name)
    except ValueError as exc:
        raise usage(str(exc)) from None
    places = Places.of(os.geteuid() != 0 if user is None else user, os.environ)
    file = places.units / Unit(name, ()).file_name
    if not file.exists():
        raise CliError(f"no service of {name!r}: there is no {file}", Exit.NOT_FOUND)
    if _RUNNING.is_dir():
        _run([places.systemctl("disable", "--now", file.name)])
    try:
        file.unlink()
    except OSError as exc:
        raise CliError(f"{file}: {exc.strerror}") from None
    if _RUNNING.is_dir():
        _run([places.systemctl("daemon-reload")])
    kept = [str(p) for p in (places.configs / f"{name}.yaml", places.state / name) if p.exists()]
    out = Output(settings_of(ctx).format)
    out.one({"removed": str(file), "kept": kept}, lambda: "\n".join([f"removed {file}", *(f"kept {p}" for p in kept)]))
