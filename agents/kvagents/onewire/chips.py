"""Emulated 1-Wire temperature sensors, down to the bytes a bus master exchanges with them.

A sensor here answers *function commands* (convert, read scratchpad, ...) exactly as the data sheets of DS18B20
and DS18S20 say, checksum included. Two things stand on them: the bus master of :mod:`kvagents.onewire.testing.ha7e`,
with a real owserver on top, and the simulated owserver of :mod:`kvagents.onewire.simulator`. Everything is driven
by the clock given to the constructor.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

from kvagents.onewire.model import Rom, crc8

CONVERT: Final = 0x44
WRITE_SCRATCHPAD: Final = 0x4E
COPY_SCRATCHPAD: Final = 0x48
RECALL: Final = 0xB8
READ_POWER: Final = 0xB4
READ_SCRATCHPAD: Final = 0xBE

CONVERSION_S: Final = {9: 0.094, 10: 0.188, 11: 0.375, 12: 0.75}
"""Seconds a DS18B20 takes for a conversion, by resolution in bits."""

POWER_ON_C: Final = 85.0
_DEFAULT_LIMITS: Final = (0x4B, 0x46)


class OnBus(Protocol):
    """What a bus master sees of a device of any kind."""

    rom: Rom

    @property
    def alarmed(self) -> bool:
        """Whether it answers a conditional search."""
        ...

    def power_on(self) -> None:
        """Forget what a loss of power forgets."""
        ...

    def command(self, data: bytes) -> bytes:
        """Exchange `data`, whose first byte is the function command; the answer has the same length."""
        ...

    def poll(self) -> int:
        """The byte read while something may be going on: zero until it has ended."""
        ...


class Sensor:
    """One DS18B20 (family 28) or DS18S20 (family 10).

    `temperature` gives degrees Celsius and is asked when a conversion ends; `speed` divides the conversion time,
    so that tests need not wait. A sensor starts with the power-on value, as does one that was replugged.
    """

    def __init__(
        self,
        rom: Rom,
        temperature: Callable[[], float],
        clock: Callable[[], float],
        *,
        powered: bool = True,
        speed: float = 1.0,
    ) -> None:
        self.rom = rom
        self.temperature = temperature
        self.powered = powered
        self.speed = speed
        self.conversions = 0
        self.corrupt_reads = 0
        self._clock = clock
        self._eeprom = bytes((*_DEFAULT_LIMITS, 0x7F))
        self.power_on()

    def power_on(self) -> None:
        """Forget what a loss of power forgets."""
        self._registers = bytearray(self._eeprom)
        self._celsius = POWER_ON_C
        self._busy_until: float | None = None

    @property
    def bits(self) -> int:
        """The configured resolution."""
        return 12 if self.rom.family == 0x10 else 9 + (self._registers[2] >> 5 & 3)

    @property
    def celsius(self) -> float:
        """The result of the last conversion, as exact as the resolution allows."""
        self._finish()
        step = 12 - self.bits
        return (round(self._celsius * 16) >> step << step) / 16

    @property
    def conversion_s(self) -> float:
        """How long a conversion takes now."""
        return CONVERSION_S[self.bits] / self.speed

    @property
    def limits(self) -> tuple[int, int]:
        """The alarm limits, high and low, in degrees."""
        high, low = (b - 256 if b > 127 else b for b in self._registers[:2])
        return high, low

    @property
    def alarmed(self) -> bool:
        """Whether the last conversion lies outside the limits, which the conditional search asks for."""
        self._finish()
        high, low = self.limits
        return not low < self._celsius // 1 < high

    def command(self, data: bytes) -> bytes:
        """Exchange `data`, whose first byte is the function command; the answer has the same length.

        Where the master sends 0xFF the sensor may pull the line down: that is how it talks.
        """
        code, rest = data[0], data[1:]
        if code == READ_SCRATCHPAD:
            answer = self._scratchpad()
        elif code == CONVERT:
            self._convert()
            answer = b""
        elif code == READ_POWER:
            answer = (b"\xff" if self.powered else b"\x00") * len(rest)
        else:
            self._store(code, rest)
            answer = b""
        heard = answer.ljust(len(rest), b"\xff")
        return bytes([code]) + bytes(sent & line for sent, line in zip(rest, heard, strict=False))

    def poll(self) -> int:
        """The byte read while a conversion may be running: zero until it has ended."""
        self._finish()
        return 0xFF if self._busy_until is None else 0x00

    def _convert(self) -> None:
        self._finish()
        self.conversions += 1
        self._busy_until = self._clock() + self.conversion_s

    def _finish(self) -> None:
        if self._busy_until is not None and self._clock() >= self._busy_until:
            self._busy_until = None
            self._celsius = self.temperature()

    def _store(self, code: int, rest: bytes) -> None:
        size = 2 if self.rom.family == 0x10 else 3
        if code == WRITE_SCRATCHPAD:
            self._registers[: min(size, len(rest))] = rest[:size]
        elif code == COPY_SCRATCHPAD:
            self._eeprom = bytes(self._registers)
        elif code == RECALL:
            self._registers = bytearray(self._eeprom)

    def _scratchpad(self) -> bytes:
        self._finish()
        pad = self._pad_10() if self.rom.family == 0x10 else self._pad_28()
        checked = pad + bytes([crc8(pad)])
        if self.corrupt_reads:
            self.corrupt_reads -= 1
            return bytes([checked[0] ^ 0x10]) + checked[1:]
        return checked

    def _pad_28(self) -> bytes:
        raw = round(self.celsius * 16)
        config = (self._registers[2] & 0x60) | 0x1F
        return raw.to_bytes(2, "little", signed=True) + bytes(self._registers[:2]) + bytes((config, 0xFF, 0x0C, 0x10))

    def _pad_10(self) -> bytes:
        """Half degrees, and the counter from which masters compute sixteenths (data sheet, "count remain")."""
        sixteenths = round(self._celsius * 16)
        whole = (sixteenths + 4) // 16
        remain = 16 - (sixteenths + 4) % 16
        raw = whole * 2
        return raw.to_bytes(2, "little", signed=True) + bytes(self._registers[:2]) + bytes((0xFF, 0xFF, remain, 0x10))
