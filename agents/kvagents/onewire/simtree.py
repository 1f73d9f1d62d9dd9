"""The tree that a simulated owserver serves: one bus of emulated sensors, as paths. Pure.

Names, padding, error numbers and what is listed where are those of owserver 3.2p4; the contract suite runs the same
expectations on both. Not simulated: the cache (every read is fresh), aliases, other device formats, and the contents
of ``/settings``, ``/statistics`` and ``/structure`` beyond what clients ask when they connect.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from kvagents.onewire.chips import COPY_SCRATCHPAD, WRITE_SCRATCHPAD, Sensor
from kvagents.onewire.chips_io import Chip
from kvagents.onewire.model import FAMILIES, Rom, RomError

UNKNOWN_PATH: Final = 1
BAD_VALUE: Final = 22
NOT_A_DIRECTORY: Final = 20
IS_A_DIRECTORY: Final = 21
READ_ONLY: Final = 95

_ROOT: Final = ("bus.0/", "uncached/", "settings/", "system/", "statistics/", "structure/", "simultaneous/", "alarm/")
_SIMULTANEOUS: Final = ("simultaneous/temperature",)
_FIXED: Final = {
    "settings/return_codes/text.ALL": b"Good result," + b",".join(b"Simulated error %d" % n for n in range(1, 211)),
    "system/configuration/version": b"3.2p4",
    "simultaneous/temperature": b"0",
}
_STANDARD: Final = ("address", "crc8", "family", "id", "type")
_OF_SENSORS: Final = ("latesttemp", "power", "temphigh", "templow", "temperature")
_WITH_PRECISION: Final = ("fasttemp", "temperature10", "temperature11", "temperature12", "temperature9", "tempres")
_MEASURE_BITS: Final = {f"temperature{bits}": bits for bits in (9, 10, 11, 12)} | {"fasttemp": 9}


class OwError(Exception):
    """owserver's answer to what cannot be done: a number."""

    def __init__(self, errno: int) -> None:
        super().__init__(errno)
        self.errno = errno


@dataclass(frozen=True, slots=True)
class _Place:
    """A path taken apart: the part that only says how to look (``/uncached/bus.0``), and what is looked at."""

    prefix: str
    rest: str
    alarm: bool
    rom: Rom | None
    attribute: str


class SimulatedBus:
    """The devices on the bus and the paths that lead to them. Methods raise :class:`OwError`.

    `hubs` are the DS2409 couplers, each with the buses that are its branches.
    """

    def __init__(
        self, sensors: Iterable[Sensor | Chip] = (), hubs: Mapping[Rom, Mapping[str, SimulatedBus]] | None = None
    ) -> None:
        self.sensors: dict[Rom, Sensor | Chip] = {s.rom: s for s in sensors}
        self.hubs = dict(hubs or {})

    def plug(self, sensor: Sensor | Chip) -> None:
        """Connect a device; a sensor comes up with its power-on value."""
        sensor.power_on()
        self.sensors[sensor.rom] = sensor

    def unplug(self, rom: Rom) -> Sensor | Chip:
        """Disconnect a device."""
        return self.sensors.pop(rom)

    def _behind_a_hub(self, path: str) -> tuple[SimulatedBus, str, str] | None:
        """The branch of a hub that `path` leads to, how it leads there, and how it goes on; None if it does not."""
        parts = [part for part in path.split("/") if part]
        for at, (name, branch) in enumerate(pairwise(parts)):
            for rom, branches in self.hubs.items():
                if name == str(rom) and branch in branches:
                    here = "/" + "/".join(parts[: at + 2])
                    return branches[branch], here, "/" + "/".join(parts[at + 2 :])
        return None

    def directory(self, path: str, *, all_entries: bool = False) -> list[str]:
        """What is below `path`, as full paths; directories end with a slash.

        `all_entries` adds the branches that are no devices, at the root.
        """
        if (hub := self._behind_a_hub(path)) is not None:
            return [f"{hub[1]}{entry}" for entry in hub[0].directory(hub[2])]
        place = self._place(path)
        if place.rom is not None:
            if place.attribute:
                raise OwError(NOT_A_DIRECTORY if place.attribute in self._attributes(place) else UNKNOWN_PATH)
            return [f"{place.prefix}/{place.rest}/{name}" for name in self._attributes(place)]
        devices = [f"{rom}/" for rom, s in sorted(self.sensors.items()) if s.alarmed or not place.alarm]
        devices += [f"{rom}/" for rom in sorted(self.hubs) if not place.alarm]
        if place.alarm:
            return [f"{place.prefix}/alarm/{d}" for d in devices]
        if place.rest:
            return [f"{place.prefix}/{name}" for name in self._branch(place.rest)]
        if place.prefix.endswith("bus.0"):
            names = ["interface/", *devices, "simultaneous/", "alarm/"]
        elif all_entries:
            names = [*devices, *(n for n in _ROOT if not (place.prefix and n == "uncached/"))]
        else:
            names = devices
        return [f"{place.prefix}/{name}" for name in names]

    def wait_s(self, path: str) -> float:
        """Begin what reading `path` needs and say how long that takes: reading a ``temperature`` measures first."""
        if (hub := self._behind_a_hub(path)) is not None:
            return hub[0].wait_s(hub[2])
        place = self._place(path)
        if place.rom is None or not place.attribute.startswith(("temperature", "fasttemp")):
            return 0.0
        sensor = self.sensors.get(place.rom)
        if not isinstance(sensor, Sensor):
            return 0.0
        bits = _MEASURE_BITS.get(place.attribute)
        if bits is not None and sensor.bits != bits:
            _set_precision(sensor, bits)
        sensor.command(b"\x44")
        return sensor.conversion_s

    def read(self, path: str) -> bytes:
        """The text of an attribute."""
        if (hub := self._behind_a_hub(path)) is not None:
            return hub[0].read(hub[2])
        place = self._place(path)
        if place.rom is None:
            fixed = _FIXED.get(place.rest)
            if fixed is None:
                raise OwError(IS_A_DIRECTORY)
            return fixed
        if place.attribute not in self._attributes(place):
            raise OwError(UNKNOWN_PATH if place.attribute else IS_A_DIRECTORY)
        if place.rom in self.hubs:
            return _read_standard(place.rom, place.attribute).encode()
        return _read_attribute(self.sensors[place.rom], place.attribute).encode()

    def write(self, path: str, data: bytes) -> None:
        """Write an attribute: start a conversion, set precision or limits, switch.

        As with a real owserver, a simultaneous conversion is one of the whole bus, without what is behind hubs, also
        when it is asked for there.
        """
        if (hub := self._behind_a_hub(path)) is not None:
            if hub[2].strip("/") not in _SIMULTANEOUS:
                return hub[0].write(hub[2], data)
            path = f"/{hub[2].strip('/')}"
        place = self._place(path)
        if place.rom is None:
            if place.rest not in _SIMULTANEOUS:
                raise OwError(READ_ONLY if place.rest in _FIXED else IS_A_DIRECTORY)
            if _number(data):
                for sensor in self.sensors.values():
                    if isinstance(sensor, Sensor):
                        sensor.command(b"\x44")
            return
        if place.attribute not in self._attributes(place):
            raise OwError(UNKNOWN_PATH if place.attribute else IS_A_DIRECTORY)
        if place.rom in self.hubs:
            raise OwError(READ_ONLY)
        _write_attribute(self.sensors[place.rom], place.attribute, data)

    def present(self, path: str) -> bytes:
        """The id of the device that `path` leads to, zeros for what is no device."""
        if (hub := self._behind_a_hub(path)) is not None:
            return hub[0].present(hub[2])
        place = self._place(path)
        if place.rom is None:
            return bytes(8)
        if place.attribute and place.attribute not in self._attributes(place):
            raise OwError(UNKNOWN_PATH)
        return place.rom.wire

    def _place(self, path: str) -> _Place:
        parts = [p for p in path.split("/") if p]
        prefix = ""
        for word in ("uncached", "bus.0"):
            if parts and parts[0] == word:
                prefix += "/" + parts.pop(0)
        alarm = bool(parts) and parts[0] == "alarm"
        if alarm:
            parts.pop(0)
        try:
            rom = Rom.parse(parts[0]) if parts else None
        except RomError:
            rom = None
        rest = "/".join(parts)
        if rom is not None and rom in self.hubs:
            return _Place(prefix, rest, alarm, rom, "/".join(parts[1:]))
        if rom is None and rest and not _is_known(rest):
            raise OwError(UNKNOWN_PATH)
        if rom is not None and rom not in self.sensors:
            # With the bus named owserver tries to talk to the device; without, it finds none.
            raise OwError(BAD_VALUE if prefix.endswith("bus.0") and len(parts) > 1 else UNKNOWN_PATH)
        return _Place(prefix, rest, alarm, rom, "/".join(parts[1:]))

    def _attributes(self, place: _Place) -> tuple[str, ...]:
        assert place.rom is not None
        device = self.sensors.get(place.rom)
        if device is None:
            return (*_STANDARD, *(f"{branch}/" for branch in self.hubs[place.rom]))
        if not isinstance(device, Sensor):
            return tuple(sorted((*_STANDARD, *device.names())))
        family = FAMILIES.get(place.rom.family)
        more = _WITH_PRECISION if family is not None and family.has_precision else ()
        return tuple(sorted((*_STANDARD, *_OF_SENSORS, *more)))

    @staticmethod
    def _branch(rest: str) -> list[str]:
        if rest in _FIXED:
            raise OwError(NOT_A_DIRECTORY)
        below = {f.removeprefix(rest + "/").split("/")[0] for f in _FIXED if f.startswith(rest + "/")}
        return [f"{rest}/{name}" for name in sorted(below)]


def _is_known(rest: str) -> bool:
    branches = {n.rstrip("/") for n in _ROOT} | {"interface"}
    return rest in branches or any(f == rest or f.startswith(rest + "/") for f in _FIXED)


def _read_attribute(sensor: Sensor | Chip, name: str) -> str:
    if name in _STANDARD:
        return _read_standard(sensor.rom, name)
    return _read_of_sensor(sensor, name) if isinstance(sensor, Sensor) else sensor.read(name)


def _read_standard(rom: Rom, name: str) -> str:
    match name:
        case "address":
            return rom.wire.hex().upper()
        case "crc8":
            return f"{rom.crc:02X}"
        case "family":
            return f"{rom.family:02X}"
        case "id":
            return rom.serial.hex().upper()
        case _:
            return FAMILIES[rom.family].name if rom.family in FAMILIES else "DS2401"


def _read_of_sensor(sensor: Sensor, name: str) -> str:
    match name:
        case "power":
            return "1" if sensor.powered else "0"
        case "tempres":
            return f"{sensor.bits:12d}"
        case "temphigh" | "templow":
            return f"{sensor.limits[name == 'templow']:12d}"
        case _:
            return f"{sensor.celsius:12g}"


def _write_attribute(sensor: Sensor | Chip, name: str, data: bytes) -> None:
    if not isinstance(sensor, Sensor):
        if name in _STANDARD or not sensor.write(name, _number(data)):
            raise OwError(READ_ONLY)
        return
    if name not in ("tempres", "temphigh", "templow"):
        raise OwError(READ_ONLY)
    number = _number(data)
    if name == "tempres":
        if 9 <= number <= 12:
            _set_precision(sensor, number)
        return
    high, low = (number, sensor.limits[1]) if name == "temphigh" else (sensor.limits[0], number)
    _store(sensor, high, low, sensor.bits)


def _set_precision(sensor: Sensor, bits: int) -> None:
    _store(sensor, *sensor.limits, bits)


def _store(sensor: Sensor, high: int, low: int, bits: int) -> None:
    sensor.command(bytes((WRITE_SCRATCHPAD, high & 0xFF, low & 0xFF, (bits - 9) << 5 | 0x1F)))
    sensor.command(bytes([COPY_SCRATCHPAD]))


def _number(data: bytes) -> int:
    try:
        return int(float(data.decode("ascii").strip("\0 \n")))
    except (ValueError, OverflowError):
        raise OwError(BAD_VALUE) from None


# -- weather -------------------------------------------------------------------------------------------------


def drift(seed: int, rom: Rom, clock: Callable[[], float], *, mean: float = 20.0) -> Callable[[], float]:
    """A temperature that wanders slowly and repeatably: a mean of its own and three waves of minutes to hours.

    The same `seed` and `rom` give the same function of `clock` (seconds).
    """
    rng = random.Random(f"{seed}:{rom}")
    offset = rng.uniform(-4.0, 4.0)
    waves = [(rng.uniform(*size), rng.uniform(*period), rng.uniform(0, math.tau)) for size, period in _WAVES]

    def celsius() -> float:
        now = clock()
        return mean + offset + sum(a * math.sin(math.tau * now / period + phase) for a, period, phase in waves)

    return celsius


_WAVES: Final = (((0.2, 0.4), (40.0, 90.0)), ((0.5, 1.0), (600.0, 1200.0)), ((1.0, 3.0), (20_000.0, 86_400.0)))


def example_roms(count: int) -> list[Rom]:
    """`count` ids of temperature sensors, always the same ones; every fourth is a DS18S20."""
    return [Rom(0x10 if n % 4 == 3 else 0x28, bytes((0x67, 0x45, 0x23, 0x01, 0xEF, n))) for n in range(count)]
