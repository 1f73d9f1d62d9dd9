"""Emulated DS2405, DS2406 and DS2438, beside the chips of ``chips_io``, from their data sheets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from kvagents.onewire.chips import CONVERT, COPY_SCRATCHPAD, READ_SCRATCHPAD, RECALL, WRITE_SCRATCHPAD
from kvagents.onewire.chips_io import Pins, inverted_crc, line_of
from kvagents.onewire.model import Rom, crc8

READ_STATUS: Final = 0xAA
WRITE_STATUS: Final = 0x55
CHANNEL_ACCESS: Final = 0xF5
CONVERT_VOLTAGE: Final = 0xB4
_RESET_LATCHES: Final = 0x80
_STATUS_ADDRESS: Final = b"\x07\x00"


class Switch1:
    """A DS2405 (family 05): one pin, toggled whenever the switch is addressed. `level` is what the world does to it."""

    def __init__(self, rom: Rom) -> None:
        self.rom = rom
        self.level = 1
        self.power_on()

    def power_on(self) -> None:
        """See :class:`~kvagents.onewire.chips.OnBus`."""
        self.conducts = False

    def toggle(self) -> None:
        """It was addressed."""
        self.conducts = not self.conducts

    @property
    def alarmed(self) -> bool:
        """It takes part in a conditional search while its transistor conducts."""
        return self.conducts

    def poll(self) -> int:
        """The level of its pin, in all bits: what is read after it was found by a search."""
        return 0xFF if self.level and not self.conducts else 0x00

    def command(self, data: bytes) -> bytes:
        """It knows no function commands."""
        return data


class Switch2Latching(Pins):
    """A DS2406 (family 12): two pins, with latches and an alarm."""

    def __init__(self, rom: Rom) -> None:
        super().__init__(rom, "AB")

    def power_on(self) -> None:
        """See :class:`~kvagents.onewire.chips.OnBus`."""
        super().power_on()
        self._condition = 0x1F

    @property
    def alarmed(self) -> bool:
        """Whether one of the selected channels is as the condition says."""
        source = {1: self.note_activity(), 2: self.outputs, 3: self.pins}.get(self._condition >> 1 & 3, 0)
        return any(source >> n & 1 == self._condition & 1 for n in range(2) if self._condition >> 3 >> n & 1)

    def command(self, data: bytes) -> bytes:
        """See :class:`~kvagents.onewire.chips.OnBus`."""
        code, rest = data[0], data[1:]
        answer = b""
        if code == READ_STATUS and rest[:2] == _STATUS_ADDRESS:
            read = bytes([self._status()])
            answer = rest[:2] + read + inverted_crc(data[:3] + read)
        elif code == WRITE_STATUS and rest[:2] == _STATUS_ADDRESS and len(rest) > 2:
            self.set_outputs(rest[2] >> 5 & 3)
            self._condition = rest[2] & 0x1F
            answer = rest[:3] + inverted_crc(data[:4])
        elif code == CHANNEL_ACCESS and len(rest) > 1:
            read = bytes((self._info(), 0xFF))
            answer = rest[:2] + read + inverted_crc(data[:3] + read)
            if rest[0] & _RESET_LATCHES:
                self.reset_latches()
        return data[:1] + line_of(rest, answer)

    def _status(self) -> int:
        return 0x80 | self.outputs << 5 | self._condition

    def _info(self) -> int:
        return 0xC0 | self.note_activity() << 4 | self.pins << 2 | self.outputs


class Monitor:
    """A DS2438 (family 26): a thermometer with two voltages, `vad` of its input and `vdd` of its supply. Sensors of
    humidity are read by it.
    """

    alarmed = False

    def __init__(
        self, rom: Rom, celsius: Callable[[], float], vad: Callable[[], float], vdd: Callable[[], float]
    ) -> None:
        self.rom = rom
        self.celsius, self.vad, self.vdd = celsius, vad, vdd
        self._pages = [bytearray(8) for _ in range(8)]
        self._pages[0][0] = 0x08
        self._scratch = [bytearray(page) for page in self._pages]

    def power_on(self) -> None:
        """See :class:`~kvagents.onewire.chips.OnBus`."""

    def poll(self) -> int:
        """See :class:`~kvagents.onewire.chips.OnBus`; its conversions take no time."""
        return 0xFF

    def command(self, data: bytes) -> bytes:
        """See :class:`~kvagents.onewire.chips.OnBus`."""
        code, rest = data[0], data[1:]
        if code == CONVERT:
            self._pages[0][1:3] = (round(self.celsius() * 32) << 3).to_bytes(2, "little", signed=True)
        elif code == CONVERT_VOLTAGE:
            # owserver chooses the input in the scratchpad alone, which it does not copy.
            volts = self.vdd() if self._scratch[0][0] & 0x08 else self.vad()
            self._pages[0][3:5] = round(volts * 100).to_bytes(2, "little")
        elif rest and rest[0] < 8:
            return data[:2] + self._memory(code, rest[0], rest[1:])
        return data

    def _memory(self, code: int, page: int, rest: bytes) -> bytes:
        if code == RECALL:
            self._scratch[page][:] = self._pages[page]
        elif code == COPY_SCRATCHPAD:
            self._pages[page][:] = self._scratch[page]
        elif code == WRITE_SCRATCHPAD:
            self._scratch[page][: len(rest[:8])] = rest[:8]
        elif code == READ_SCRATCHPAD:
            held = bytes(self._scratch[page])
            return line_of(rest, held + bytes([crc8(held)]))
        return rest
