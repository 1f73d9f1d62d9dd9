"""What is known about 1-Wire devices without asking one: ids, families, readings.

Pure: no I/O, no clock. Temperatures are degrees Celsius.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

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


@dataclass(frozen=True, slots=True)
class Family:
    """What this agent knows about a family code."""

    code: int
    name: str
    thermometer: bool
    has_precision: bool = False
    """Whether the resolution can be chosen (attribute ``tempres``)."""


FAMILIES: Final = {
    f.code: f
    for f in (
        Family(0x10, "DS18S20", thermometer=True),
        Family(0x22, "DS1822", thermometer=True, has_precision=True),
        Family(0x28, "DS18B20", thermometer=True, has_precision=True),
        Family(0x3B, "DS1825", thermometer=True, has_precision=True),
        Family(0x42, "DS28EA00", thermometer=True, has_precision=True),
    )
}


def is_thermometer(rom: Rom) -> bool:
    """Whether the device measures a temperature this agent can read."""
    family = FAMILIES.get(rom.family)
    return family is not None and family.thermometer


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


def is_power_on_value(value: float, previous: float | None) -> bool:
    """Whether `value` is what a sensor answers before its first conversion rather than a measurement.

    Exactly 85 degC is believed only when the last believed reading of this sensor was close to it: no
    temperature gets there in one step, while a sensor that lost its supply always does.
    """
    return value == POWER_ON_C and (previous is None or abs(previous - POWER_ON_C) > _NEAR_POWER_ON)
