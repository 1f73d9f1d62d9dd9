"""What is known about 1-Wire devices without asking one: ids, families, readings.

Pure: no I/O, no clock. Temperatures are degrees Celsius.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from typing import Final

from kvnode.core.path import Path

_F_I: Final = re.compile(r"([0-9A-F]{2})\.([0-9A-F]{12})(?:\.([0-9A-F]{2}))?\Z")
_FIC: Final = re.compile(r"([0-9A-F]{2})([0-9A-F]{12})([0-9A-F]{2})\Z")


class RomError(ValueError):
    """A text that is no device id; the message says why."""


def crc8(data: bytes) -> int:
    """The 1-Wire checksum (x^8 + x^5 + x^4 + 1, least significant bit first) of `data`."""
    crc = 0
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x8C if crc & 1 else 0)
    return crc


def crc16(data: bytes) -> int:
    """The other checksum of 1-Wire devices (x^16 + x^15 + x^2 + 1, least significant bit first) of `data`."""
    crc = 0
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0xA001 if crc & 1 else 0)
    return crc


@dataclass(frozen=True, slots=True, order=True)
class Rom:
    """The id burnt into a device: family code and serial number; the checksum follows from both.

    The text form is owserver's: two hex digits, a dot, twelve hex digits, such as ``28.67452301EF00``, bytes in
    the order in which they travel on the bus.
    """

    family: int
    serial: bytes

    @classmethod
    def parse(cls, text: str) -> Rom:
        """Read ``28.67452301EF00``, with or without checksum and dots, in either case. Raises :class:`RomError`."""
        found = _F_I.match(text.upper()) or _FIC.match(text.upper())
        if found is None:
            raise RomError(f"{text!r} is no 1-Wire device id; one looks like 28.67452301EF00")
        rom = cls(int(found[1], 16), bytes.fromhex(found[2]))
        if found[3] is not None and int(found[3], 16) != rom.crc:
            raise RomError(f"{text!r} ends with a wrong checksum; it should be {rom.crc:02X}")
        return rom

    @property
    def crc(self) -> int:
        """The last byte on the bus."""
        return crc8(bytes([self.family]) + self.serial)

    @property
    def wire(self) -> bytes:
        """The eight bytes in bus order: family, serial number, checksum."""
        return bytes([self.family]) + self.serial + bytes([self.crc])

    def __str__(self) -> str:
        return f"{self.family:02X}.{self.serial.hex().upper()}"


class What(Enum):
    """What a quantity of a device is, which tells how to read it and what can be true."""

    TEMPERATURE = "temperature"
    HUMIDITY = "humidity"
    VOLTAGE = "voltage"
    COUNT = "count"
    SWITCH = "switch"


@dataclass(frozen=True, slots=True)
class Quantity:
    """Something that a device measures, counts, or switches; `name` is owserver's attribute."""

    name: str
    what: What
    writable: bool = False
    converts: bool = False
    """Whether a simultaneous conversion is needed before it is read, as ``latesttemp``."""

    @property
    def below(self) -> Path:
        """Where its value stands below the path of a device that has several."""
        return Path(self.name.replace("/", ".").split("."))


@dataclass(frozen=True, slots=True)
class Family:
    """What this agent knows about a family code.

    Of a device of which nothing more is configured all `quantities` are read, those `also` there only when they are
    asked for. `limits` says whether it has alarm limits (``temphigh``, ``templow``), `latch` names the attribute that
    holds its latched alarms, if any. A hub has its devices below these `branches`.
    """

    code: int
    name: str
    quantities: tuple[Quantity, ...] = ()
    also: tuple[Quantity, ...] = ()
    has_precision: bool = False
    """Whether the resolution can be chosen (attribute ``tempres``)."""
    limits: bool = False
    latch: str | None = None
    branches: tuple[str, ...] = ()

    def quantity(self, name: str) -> Quantity | None:
        """The quantity of that name."""
        return next((q for q in (*self.quantities, *self.also) if q.name == name), None)


TEMPERATURE: Final = Quantity("temperature", What.TEMPERATURE, converts=True)


def _thermometer(code: int, name: str, *, has_precision: bool = True) -> Family:
    return Family(code, name, (TEMPERATURE,), has_precision=has_precision, limits=True)


def _bits(prefix: str, channels: str, *, writable: bool = False) -> tuple[Quantity, ...]:
    return tuple(Quantity(f"{prefix}.{channel}", What.SWITCH, writable) for channel in channels)


def _switch(code: int, name: str, channels: str, *, latch: str | None = None) -> Family:
    pins = (*_bits("sensed", channels), *_bits("PIO", channels, writable=True))
    return Family(code, name, pins, _bits("latch", channels), latch=latch)


FAMILIES: Final = {
    f.code: f
    for f in (
        Family(0x05, "DS2405", (Quantity("sensed", What.SWITCH), Quantity("PIO", What.SWITCH, writable=True))),
        _thermometer(0x10, "DS18S20", has_precision=False),
        _switch(0x12, "DS2406", "AB", latch="latch.BYTE"),
        Family(0x1D, "DS2423", (Quantity("counters.A", What.COUNT), Quantity("counters.B", What.COUNT))),
        Family(0x1F, "DS2409", branches=("main", "aux")),
        _thermometer(0x22, "DS1822"),
        Family(
            0x26,
            "DS2438",
            (Quantity("temperature", What.TEMPERATURE), Quantity("humidity", What.HUMIDITY)),
            (Quantity("VAD", What.VOLTAGE), Quantity("VDD", What.VOLTAGE)),
        ),
        _thermometer(0x28, "DS18B20"),
        _switch(0x29, "DS2408", "01234567", latch="latch.BYTE"),
        _switch(0x3A, "DS2413", "AB"),
        _thermometer(0x3B, "DS1825"),
        _thermometer(0x42, "DS28EA00"),
        Family(
            0xEF,
            "hub of Hobby Boards",
            _bits("hub/branch", "0123", writable=True),
            _bits("hub/short", "0123"),
        ),
    )
}


def family_of(rom: Rom) -> Family | None:
    """What is known about the family of a device; None if nothing is."""
    return FAMILIES.get(rom.family)


def is_readable(rom: Rom) -> bool:
    """Whether the device has something that this agent can read."""
    family = family_of(rom)
    return family is not None and bool(family.quantities)


CONVERSION_S: Final = {9: 0.1, 10: 0.19, 11: 0.38, 12: 0.76}
"""Seconds a conversion takes at most, by resolution in bits: the data sheet's figures, rounded up.

owserver returns from starting a conversion at once, so the waiting is ours."""


class ReadingError(ValueError):
    """An answer that is no reading."""


LOWEST_C: Final = -55.0
HIGHEST_C: Final = 125.0
POWER_ON_C: Final = 85.0
_NEAR_POWER_ON: Final = 5.0


def parse_temperature(raw: bytes) -> float:
    """Degrees Celsius from owserver's text, padded with spaces. Raises :class:`ReadingError`.

    Values no sensor of these families can measure are errors too: they come from a broken line.
    """
    text = raw.decode("ascii", "replace").strip()
    try:
        value = float(text)
    except ValueError:
        raise ReadingError(f"{text!r} is no temperature") from None
    if not LOWEST_C <= value <= HIGHEST_C:
        raise ReadingError(f"{value:g} degC is outside the range of the sensor ({LOWEST_C:g} to {HIGHEST_C:g})")
    return round(value, 4) + 0.0


LIMITS: Final = {
    What.TEMPERATURE: (LOWEST_C, HIGHEST_C),
    What.HUMIDITY: (-10.0, 115.0),
    What.VOLTAGE: (-1.0, 12.0),
}
"""What can be true; humidity sensors are a few percent off, and so may leave 0 to 100."""


def parse_value(what: What, raw: bytes) -> float | bool:
    """A reading of any kind of quantity. Raises :class:`ReadingError`."""
    text = raw.decode("ascii", "replace").strip()
    if what is What.SWITCH:
        if text not in ("0", "1"):
            raise ReadingError(f"{text!r} is neither 0 nor 1")
        return text == "1"
    if what is What.COUNT:
        if not text.isdigit():
            raise ReadingError(f"{text!r} is no count")
        return int(text)
    if what is What.TEMPERATURE:
        return parse_temperature(raw)
    low, high = LIMITS[what]
    try:
        value = float(text)
    except ValueError:
        raise ReadingError(f"{text!r} is no number") from None
    if not low <= value <= high:
        raise ReadingError(f"{value:g} cannot be true of a {what.value} ({low:g} to {high:g})")
    return round(value, 4) + 0.0


def is_power_on_value(value: float, previous: float | None) -> bool:
    """Whether `value` is what a sensor answers before its first conversion rather than a measurement.

    Exactly 85 degC is believed only when the last believed reading of this sensor was close to it: no
    temperature gets there in one step, while a sensor that lost its supply always does.
    """
    return value == POWER_ON_C and (previous is None or abs(previous - POWER_ON_C) > _NEAR_POWER_ON)
