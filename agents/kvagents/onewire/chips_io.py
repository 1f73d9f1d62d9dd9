"""Emulated 1-Wire switches and counters, beside the thermometers of ``chips``, from their data sheets.

Each answers function commands, for the emulated bus master, and knows its attributes as owserver names them, for the
simulated owserver; both work on the same registers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, Protocol

from kvagents.onewire.chips import OnBus
from kvagents.onewire.model import Rom, crc16

READ_PIO_REGISTERS: Final = 0xF0
CHANNEL_READ: Final = 0xF5
CHANNEL_WRITE: Final = 0x5A
WRITE_CONDITIONS: Final = 0xCC
RESET_LATCHES: Final = 0xC3
READ_MEMORY_AND_COUNTER: Final = 0xA5
CONFIRMED: Final = 0xAA


class Chip(OnBus, Protocol):
    """What the simulated owserver sees of one, besides."""

    def names(self) -> tuple[str, ...]:
        """Its attributes besides those that all devices have."""
        ...

    def read(self, name: str) -> str:
        """An attribute."""
        ...

    def write(self, name: str, number: int) -> bool:
        """Write an attribute; False if that cannot be."""
        ...


def line_of(sent: bytes, answer: bytes) -> bytes:
    """What is heard: where the master sends ones, the chip may pull the line down."""
    return bytes(s & a for s, a in zip(sent, answer.ljust(len(sent), b"\xff"), strict=False))


def inverted_crc(data: bytes) -> bytes:
    """The checksum of 16 bits as it is sent."""
    return (crc16(data) ^ 0xFFFF).to_bytes(2, "little")


class Pins:
    """Open-drain pins: `outputs` has a one where the transistor blocks, `levels` what the world does to each pin."""

    def __init__(self, rom: Rom, channels: str) -> None:
        self.rom = rom
        self.channels: Final = channels
        self.all: Final = (1 << len(channels)) - 1
        self.levels = self.all
        self.power_on()

    def power_on(self) -> None:
        """See :class:`Chip`."""
        self.outputs = self.all
        self._seen = self.pins
        self._activity = 0

    @property
    def pins(self) -> int:
        """The level of each pin."""
        return self.outputs & self.levels

    def note_activity(self) -> int:
        """Latch the pins that changed by now; gives all that changed since the latches were reset."""
        self._activity |= self._seen ^ self.pins
        self._seen = self.pins
        return self._activity

    def poll(self) -> int:
        """See :class:`Chip`."""
        return 0xFF

    def set_outputs(self, outputs: int) -> None:
        """Set all transistors, ones block."""
        self.note_activity()
        self.outputs = outputs & self.all

    def names(self) -> tuple[str, ...]:
        """See :class:`Chip`."""
        bits = (f"{kind}.{channel}" for kind in ("PIO", "latch", "sensed") for channel in self.channels)
        return (*bits, "PIO.BYTE", "latch.BYTE", "sensed.BYTE")

    def read(self, name: str) -> str:
        """See :class:`Chip`."""
        kind, _, channel = name.partition(".")
        value = {"PIO": ~self.outputs & self.all, "sensed": self.pins, "latch": self.note_activity()}[kind]
        return str(value) if channel == "BYTE" else str(value >> self.channels.index(channel) & 1)

    def write(self, name: str, number: int) -> bool:
        """See :class:`Chip`."""
        kind, _, channel = name.partition(".")
        if kind == "latch":
            self.reset_latches()
        elif kind == "PIO":
            bit = self.all if channel == "BYTE" else 1 << self.channels.index(channel)
            on = number & bit if channel == "BYTE" else bit * (number != 0)
            self.set_outputs((self.outputs | bit) & ~on)
        return kind != "sensed"

    def reset_latches(self) -> None:
        """Forget which pins changed."""
        self._seen, self._activity = self.pins, 0


class Switch8(Pins):
    """A DS2408 (family 29): eight pins, with latches and an alarm."""

    def __init__(self, rom: Rom) -> None:
        super().__init__(rom, "01234567")

    def power_on(self) -> None:
        """See :class:`Chip`."""
        super().power_on()
        self._mask = 0
        self._polarity = 0
        self._control = 0x88

    @property
    def alarmed(self) -> bool:
        """See :class:`Chip`."""
        source = self.note_activity() if self._control & 1 else self.pins
        terms = [source >> n & 1 == self._polarity >> n & 1 for n in range(8) if self._mask >> n & 1]
        return bool(terms) and (all(terms) if self._control & 2 else any(terms))

    def command(self, data: bytes) -> bytes:
        """See :class:`Chip`."""
        code, rest = data[0], data[1:]
        answer = b""
        if code == READ_PIO_REGISTERS and len(rest) >= 2:
            registers = bytes(
                (self.pins, self.outputs, self.note_activity(), self._mask, self._polarity, self._control, 0xFF, 0xFF)
            )
            read = registers[max(rest[0] - 0x88, 0) :]
            answer = rest[:2] + read + inverted_crc(data[:3] + read)
        elif code == CHANNEL_WRITE and len(rest) >= 2 and rest[0] ^ rest[1] == 0xFF:
            self.set_outputs(rest[0])
            answer = rest[:2] + bytes((CONFIRMED, self.pins))
        elif code == RESET_LATCHES:
            self.reset_latches()
            answer = bytes([CONFIRMED])
        elif code == WRITE_CONDITIONS:
            self._write_conditions(rest)
            answer = rest
        return data[:1] + line_of(rest, answer)

    def _write_conditions(self, rest: bytes) -> None:
        for at, byte in enumerate(rest[2:], start=rest[0]):
            if at == 0x8B:
                self._mask = byte
            elif at == 0x8C:
                self._polarity = byte
            elif at == 0x8D:
                self._control = 0x80 | (self._control & 0x08 & byte) | byte & 0x07

    def names(self) -> tuple[str, ...]:
        """See :class:`Chip`."""
        return (*super().names(), "set_alarm")

    def read(self, name: str) -> str:
        """See :class:`Chip`."""
        return "0" if name == "set_alarm" else super().read(name)

    def write(self, name: str, number: int) -> bool:
        """See :class:`Chip`."""
        if name != "set_alarm":
            return super().write(name, number)
        digits = [number // 10**n % 10 for n in range(9)]
        self._mask = sum((digit >> 1 & 1) << n for n, digit in enumerate(digits[:8]))
        self._polarity = sum((digit & 1) << n for n, digit in enumerate(digits[:8]))
        self._control = self._control & 0xFC | digits[8] & 3
        return True


class Switch2(Pins):
    """A DS2413 (family 3A): two pins."""

    alarmed = False

    def __init__(self, rom: Rom) -> None:
        super().__init__(rom, "AB")

    def command(self, data: bytes) -> bytes:
        """See :class:`Chip`."""
        code, rest = data[0], data[1:]
        answer = b""
        if code == CHANNEL_READ:
            answer = bytes([self._status()]) * len(rest)
        elif code == CHANNEL_WRITE and len(rest) >= 2 and rest[0] ^ rest[1] == 0xFF:
            self.set_outputs(rest[0])
            answer = rest[:2] + bytes((CONFIRMED, self._status()))
        return data[:1] + line_of(rest, answer)

    def _status(self) -> int:
        bits = sum((self.pins >> n & 1) << 2 * n | (self.outputs >> n & 1) << 2 * n + 1 for n in range(2))
        return bits | (~bits & 0x0F) << 4


class Counter:
    """A DS2423 (family 1D): two counters of 32 bits, which `counts` gives."""

    alarmed = False
    page_of: Final = {"counters.A": 14, "counters.B": 15}

    def __init__(self, rom: Rom, counts: Mapping[str, Callable[[], int]]) -> None:
        self.rom = rom
        self.counts = counts
        self.corrupt_reads = 0

    def power_on(self) -> None:
        """Its battery keeps the counts."""

    def poll(self) -> int:
        """See :class:`Chip`."""
        return 0xFF

    def command(self, data: bytes) -> bytes:
        """See :class:`Chip`."""
        code, rest = data[0], data[1:]
        if code != READ_MEMORY_AND_COUNTER or len(rest) < 2:
            return data
        address = int.from_bytes(rest[:2], "little")
        page = address // 32
        name = next((n for n, p in self.page_of.items() if p == page), None)
        count = self.counts[name]() if name is not None else 0
        answer = bytes(32 - address % 32) + (count % 2**32).to_bytes(4, "little") + bytes(4)
        checked = rest[:2] + answer + inverted_crc(data[:3] + answer)
        if self.corrupt_reads:
            self.corrupt_reads -= 1
            checked = checked[:-1] + bytes([checked[-1] ^ 1])
        return data[:1] + line_of(rest, checked)

    def names(self) -> tuple[str, ...]:
        """See :class:`Chip`."""
        return tuple(self.page_of)

    def read(self, name: str) -> str:
        """See :class:`Chip`."""
        return f"{self.counts[name]():12d}"

    def write(self, name: str, number: int) -> bool:
        """See :class:`Chip`."""
        return False


class Gauge:
    """A chip of which only the simulated owserver knows: `values` by attribute, such as a DS2438's humidity."""

    alarmed = False

    def __init__(self, rom: Rom, values: Mapping[str, Callable[[], float]]) -> None:
        self.rom = rom
        self.values = values

    def power_on(self) -> None:
        """Nothing to forget."""

    def poll(self) -> int:
        """See :class:`Chip`."""
        return 0xFF

    def command(self, data: bytes) -> bytes:
        """See :class:`Chip`."""
        return data

    def names(self) -> tuple[str, ...]:
        """See :class:`Chip`."""
        return tuple(self.values)

    def read(self, name: str) -> str:
        """See :class:`Chip`."""
        return f"{self.values[name]():12g}"

    def write(self, name: str, number: int) -> bool:
        """See :class:`Chip`."""
        return False
