"""From the configuration of this agent to what it does: servers, and the devices of each. Pure.

The form of the entries is described in ``schema/agent-onewire.schema.json`` and in the how-to. In short: an entry that
names a ``server`` (and the agent's own entry) is a server; an entry whose name is a device id, or that names a
``device``, is a device and belongs to the nearest server above; other entries are groups, whose attributes are
inherited by what is below them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from kvagents.framework.check import Checker
from kvagents.framework.config import Config, Plan, Problem
from kvagents.framework.filter import Filter
from kvagents.onewire.model import FAMILIES, Rom, RomError, is_thermometer
from kvnode.core.path import Path, PathError

DEFAULT_PORT: Final = 4304
DEFAULT_SERVER: Final = "127.0.0.1"
DEFAULT_INTERVAL_S: Final = 5.0
DEFAULT_RESCAN_S: Final = 30.0
DEFAULT_FILTER: Final = Filter()

_SERVER: Final = re.compile(r"(?:\[([^\]]+)\]|([^\[\]:]+))(?::([0-9]+))?")
_ALMOST_ID: Final = re.compile(r"[0-9A-Fa-f]{2}\.[0-9A-Fa-f.]*")


@dataclass(frozen=True, slots=True)
class Settings:
    """How a device is read and when its value is written."""

    interval_s: float = DEFAULT_INTERVAL_S
    precision: int | None = None
    filter: Filter = DEFAULT_FILTER


DEFAULT_SETTINGS: Final = Settings()


@dataclass(frozen=True, slots=True)
class DevicePlan:
    """One device: where it is configured, which it is, where its value goes."""

    path: Path
    rom: Rom
    dest: Path
    settings: Settings


@dataclass(frozen=True, slots=True)
class ServerPlan:
    """One owserver with the devices configured for it.

    With a `base`, devices that are found without being configured are written below it; not those in `left_out`.
    """

    host: str
    port: int
    rescan_s: float = DEFAULT_RESCAN_S
    devices: tuple[DevicePlan, ...] = ()
    base: Path | None = None
    settings: Settings = DEFAULT_SETTINGS
    left_out: frozenset[Rom] = frozenset()

    def automatic(self, path: Path, rom: Rom) -> DevicePlan | None:
        """The plan for a device that was found and is not configured; None if it is not to be read."""
        if self.base is None or rom in self.left_out or not is_thermometer(rom):
            return None
        return DevicePlan(path / str(rom), rom, self.base / str(rom), self.settings)


def parse_server(text: str) -> tuple[str, int]:
    """Host and port of ``HOST``, ``HOST:PORT`` or ``[IPV6]:PORT``. Raises ValueError."""
    found = _SERVER.fullmatch(text)
    port = int(found[3] or DEFAULT_PORT) if found else 0
    if found is None or not 0 < port < 65536:
        raise ValueError(f"expected HOST, HOST:PORT or [IPV6]:PORT, such as 127.0.0.1:4304, not {text!r}")
    return found[1] or found[2], port


def plan(config: Config, checker: Checker) -> Plan[ServerPlan]:
    """What the configuration asks for."""
    if not any(True for _ in config):
        hint = 'nothing is configured; for example: {"server": "127.0.0.1:4304", "dest": "home.sensors"}'
        return Plan({}, (Problem(config.root, hint, code="not_configured"),))
    return _Planner(config, checker).plan()


class _Planner:
    """Collects devices by server; what is wrong becomes a problem and is left out, the rest goes on."""

    def __init__(self, config: Config, checker: Checker) -> None:
        self._config = config
        self._problems = checker.problems(config)
        self._bad = {problem.path for problem in self._problems}
        self._devices: dict[Path, list[DevicePlan]] = {}
        self._left_out: dict[Path, set[Rom]] = {}
        self._seen: dict[tuple[Path, Rom], Path] = {}
        self._dests: dict[Path, Path] = {}

    def plan(self) -> Plan[ServerPlan]:
        for path in self._config:
            if self._usable(path):
                self._entry(path)
        servers = dict(self._servers())
        if not servers and not self._problems:
            self._complain(self._config.root, "there is nothing to read: give a dest, or entries for devices", "dest")
        return Plan(servers, tuple(self._problems))

    def _usable(self, path: Path) -> bool:
        """Whether nothing is wrong with the entry or with what it inherits."""
        return not any(above in self._bad for above in self._config.chain(path))

    def _complain(self, path: Path, message: str, key: str | None = None) -> None:
        self._problems.append(Problem(path, message, key))
        self._bad.add(path)

    def _entry(self, path: Path) -> None:
        own = self._config.own(path)
        if "server" in own:
            try:
                parse_server(own["server"])
            except ValueError as error:
                return self._complain(path, str(error), "server")
        try:
            rom = self._rom(path, own)
        except RomError as error:
            return self._complain(path, str(error), "device" if "device" in own else None)
        if rom is not None:
            self._device(path, rom)
        elif path != self._config.root and "server" not in own and not self._config.has_below(path):
            self._complain(path, "this entry is neither a device nor a server, and there is nothing below it")

    def _rom(self, path: Path, own: Mapping[str, Any]) -> Rom | None:
        if "device" in own:
            return Rom.parse(own["device"])
        name = path[-1]
        if path == self._config.root or not isinstance(name, str):
            return None
        try:
            return Rom.parse(name)
        except RomError:
            if _ALMOST_ID.fullmatch(name):
                raise
            return None

    def _device(self, path: Path, rom: Rom) -> None:
        server = self._config.above(path, "server") or self._config.root
        attributes = self._config.inherited(path)
        if not attributes.get("enabled", True):
            self._left_out.setdefault(server, set()).add(rom)
            return
        if not is_thermometer(rom):
            known = ", ".join(f"{f.code:02X} ({f.name})" for f in FAMILIES.values() if f.thermometer)
            return self._complain(path, f"devices of family {rom.family:02X} cannot be read yet; known are {known}")
        dest = self._dest(path, rom)
        if dest is None:
            return
        other = self._seen.setdefault((server, rom), path)
        if other != path:
            return self._complain(path, f"{rom} is configured at {other} already")
        other = self._dests.setdefault(dest, path)
        if other != path:
            return self._complain(path, f"{dest} is the dest of {other} already", "dest")
        self._devices.setdefault(server, []).append(DevicePlan(path, rom, dest, _settings(attributes)))

    def _dest(self, path: Path, rom: Rom) -> Path | None:
        giver = self._config.above(path, "dest")
        if giver is None:
            self._complain(path, "there is no path to write to, here or in an entry above", "dest")
            return None
        try:
            dest = _as_path(self._config.own(giver)["dest"])
        except PathError as error:
            if giver not in self._bad:
                self._complain(giver, str(error), "dest")
            return None
        return dest if giver == path else dest / str(rom)

    def _servers(self) -> Iterator[tuple[Path, ServerPlan]]:
        """The servers that have something to do."""
        for path in self._server_paths():
            attributes = self._config.inherited(path)
            try:
                base = _as_path(attributes["dest"]) if "dest" in attributes else None
            except PathError as error:
                giver = self._config.above(path, "dest") or path
                if giver not in self._bad:
                    self._complain(giver, str(error), "dest")
                continue
            is_device = any(d.path == path for d in self._devices.get(path, ()))
            if is_device or not attributes.get("enabled", True):
                base = None
            devices = tuple(self._devices.get(path, ()))
            if base is None and not devices:
                continue
            host, port = parse_server(attributes.get("server", DEFAULT_SERVER))
            yield (
                path,
                ServerPlan(
                    host,
                    port,
                    rescan_s=attributes.get("rescan", DEFAULT_RESCAN_S),
                    devices=devices,
                    base=base,
                    settings=_settings(attributes),
                    left_out=frozenset(self._left_out.get(path, ())),
                ),
            )

    def _server_paths(self) -> Iterable[Path]:
        """The agent's own entry, and the others that name a server; none that is wrong or is a device.

        The agent's own entry reads devices by itself only if it names a server, or no other entry does.
        """
        root = self._config.root
        named = [p for p in self._config if "server" in self._config.own(p) and self._usable(p)]
        if root not in named and self._usable(root) and (not named or root in self._devices):
            named.insert(0, root)
        return named


def _settings(attributes: Mapping[str, Any]) -> Settings:
    return Settings(
        interval_s=attributes.get("interval", DEFAULT_INTERVAL_S),
        precision=attributes.get("precision"),
        filter=Filter(
            attributes.get("delta", DEFAULT_FILTER.delta), attributes.get("heartbeat", DEFAULT_FILTER.heartbeat_s)
        ),
    )


def _as_path(value: Any) -> Path:
    return value if isinstance(value, Path) else Path.parse(value)
