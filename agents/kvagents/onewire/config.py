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

from kvagents.framework.binding import STALE_HEARTBEATS, Output, as_path, read_filter, read_rules
from kvagents.framework.check import Checker
from kvagents.framework.config import Config, Plan, Problem
from kvagents.framework.convert import IDENTITY, AttributeProblem, Converter, read_converter
from kvagents.framework.filter import Filter
from kvagents.onewire.model import FAMILIES, TEMPERATURE, Family, Quantity, Rom, RomError, family_of, is_readable
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
    """How a device is read and set up, and when its value is written.

    `low` and `high` are alarm limits in whole degrees, `set_alarm` is the condition of a switch's alarm.
    """

    interval_s: float = DEFAULT_INTERVAL_S
    precision: int | None = None
    filter: Filter = DEFAULT_FILTER
    stale_after_s: float | None = None
    low: int | None = None
    high: int | None = None
    set_alarm: str | None = None

    @property
    def good_s(self) -> float:
        """How old a value may become."""
        return self.filter.heartbeat_s * STALE_HEARTBEATS if self.stale_after_s is None else self.stale_after_s


DEFAULT_SETTINGS: Final = Settings()

Key = tuple[Rom, str]
"""What is read: a device, and the name of a quantity."""


@dataclass(frozen=True, slots=True)
class DevicePlan:
    """One quantity of one device: where it is configured, where its value goes, and where commands come from."""

    path: Path
    rom: Rom
    dest: Path | None
    settings: Settings
    quantity: Quantity = TEMPERATURE
    converter: Converter = IDENTITY
    output: Output | None = None

    @property
    def key(self) -> Key:
        """The device and the quantity."""
        return self.rom, self.quantity.name


@dataclass(frozen=True, slots=True)
class ServerPlan:
    """One owserver with the devices configured for it.

    With a `base`, devices that are found without being configured are written below it; not those in `left_out`. With
    `alarm_s`, devices in alarm are searched that often.
    """

    host: str
    port: int
    rescan_s: float = DEFAULT_RESCAN_S
    devices: tuple[DevicePlan, ...] = ()
    base: Path | None = None
    settings: Settings = DEFAULT_SETTINGS
    left_out: frozenset[Rom] = frozenset()
    alarm_s: float | None = None

    def automatic(self, path: Path, rom: Rom) -> list[DevicePlan]:
        """The plans for a device that was found and is not configured; none if it is not to be read."""
        family = family_of(rom)
        if self.base is None or rom in self.left_out or family is None:
            return []
        below = [(q, q.below if len(family.quantities) > 1 else ()) for q in family.quantities]
        here, dest = path / str(rom), self.base / str(rom)
        return [DevicePlan(here / more, rom, dest / more, self.settings, q) for q, more in below]


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
        self._seen: dict[tuple[Path, Key], Path] = {}
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
        self._problems.append(Problem(path, message, key or None))
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
            self._device(path, path, rom)
        elif "attr" in own:
            self._part(path)
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

    def _part(self, path: Path) -> None:
        """An entry below that of its device."""
        for above in reversed(self._config.chain(path)[:-1]):
            rom = self._rom(above, self._config.own(above))
            if rom is not None:
                return self._device(path, above, rom)
        self._complain(path, "there is no device to which this belongs, here or in an entry above", "attr")

    def _device(self, path: Path, entry: Path, rom: Rom) -> None:
        """A device whose own entry is `entry`, or with an ``attr`` that one quantity of it, configured at `path`."""
        server = self._config.above(path, "server") or self._config.root
        attributes = self._config.inherited(path)
        if not attributes.get("enabled", True):
            if path == entry:
                self._left_out.setdefault(server, set()).add(rom)
            return
        family = family_of(rom)
        if family is None or not is_readable(rom):
            known = ", ".join(f"{f.code:02X} ({f.name})" for f in FAMILIES.values() if f.quantities)
            return self._complain(path, f"devices of family {rom.family:02X} cannot be read; known are {known}")
        name = self._config.own(path).get("attr")
        is_group = name is None and self._config.has_below(path)
        for quantity in self._quantities(path, family, name):
            try:
                point = self._point(path, entry, rom, quantity, family)
            except AttributeProblem as error:
                if not (is_group and error.key == "dest"):
                    self._complain(self._config.above(path, error.key) or path, str(error), error.key)
                return
            self._devices.setdefault(server, []).append(point)

    def _quantities(self, path: Path, family: Family, name: str | None) -> Iterable[Quantity]:
        if name is None:
            named = {self._config.own(p).get("attr") for p in self._config if p.is_below(path)}
            return [q for q in family.quantities if q.name not in named]
        found = family.quantity(name)
        if found is None:
            known = ", ".join(q.name for q in (*family.quantities, *family.also))
            self._complain(path, f"a {family.name} has no {name!r}; it has {known}", "attr")
            return ()
        return (found,)

    def _point(self, path: Path, entry: Path, rom: Rom, quantity: Quantity, family: Family) -> DevicePlan:
        """What is to be done with one quantity. Raises :class:`AttributeProblem`."""
        attributes = self._config.inherited(path)
        has_name = "attr" in self._config.own(path)
        more = quantity.below if len(family.quantities) > 1 else Path()
        here = path if has_name else path / more

        def where(key: str) -> Path | None:
            giver = self._config.above(path, key)
            if giver is None:
                return None
            try:
                base = as_path(self._config.own(giver)[key])
            except PathError as error:
                raise AttributeProblem(key, str(error)) from None
            if giver == path and has_name:
                return base
            return base / more if giver in (path, entry) else base / str(rom) / more

        dest, src, state = where("dest"), where("src"), where("state")
        if src is not None and not quantity.writable and has_name:
            raise AttributeProblem("src", f"{quantity.name} of a {family.name} cannot be set")
        output = None
        if src is not None and quantity.writable:
            output = Output(
                here / "src", src, state, read_converter(attributes, both_ways=True), read_rules(attributes)
            )
        if dest is None and output is None and (has_name or src is None):
            raise AttributeProblem("dest", "there is no path to write to, here or in an entry above")
        converter = read_converter(attributes, both_ways=False)
        plan = DevicePlan(here, rom, dest, _settings(attributes), quantity, converter, output)
        self._check_twice(path, plan)
        return plan

    def _check_twice(self, path: Path, plan: DevicePlan) -> None:
        server = self._config.above(path, "server") or self._config.root
        other = self._seen.setdefault((server, plan.key), path)
        if other != path:
            raise AttributeProblem("", f"{plan.rom} {plan.quantity.name} is configured at {other} already")
        other = path if plan.dest is None else self._dests.setdefault(plan.dest, path)
        if other != path:
            raise AttributeProblem("dest", f"{plan.dest} is the dest of {other} already")

    def _servers(self) -> Iterator[tuple[Path, ServerPlan]]:
        """The servers that have something to do."""
        for path in self._server_paths():
            attributes = self._config.inherited(path)
            try:
                base = as_path(attributes["dest"]) if "dest" in attributes else None
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
                    alarm_s=attributes.get("alarm"),
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


def _settings(attributes: dict[str, Any]) -> Settings:
    return Settings(
        interval_s=attributes.get("interval", DEFAULT_INTERVAL_S),
        precision=attributes.get("precision"),
        filter=read_filter(attributes),
        stale_after_s=attributes.get("stale_after"),
        low=attributes.get("low"),
        high=attributes.get("high"),
        set_alarm=attributes.get("set_alarm"),
    )
