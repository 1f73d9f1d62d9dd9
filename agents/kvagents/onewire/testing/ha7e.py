"""A bus master without hardware: an HA7E adapter with sensors on it, behind a pseudo-terminal.

A real owserver takes it for the adapter (``owserver --HA7E=PTY``), so everything above the wire is tested for
real: search, alarm search, presence, conversion time, checksums, devices that come and go, a dead adapter.

The adapter's commands are single letters: ``R`` reset, ``S``/``s`` first/next device found, ``C``/``c`` the same
among alarmed devices, ``A`` and 16 hex digits address a device, ``M`` the same device again, ``W`` writes and
reads a block, ``P`` powers down. Addresses are written last byte first.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from typing import Final

from kvagents.onewire.chips import OnBus
from kvagents.onewire.model import Rom

SKIP_ROM: Final = 0xCC
SEARCH: Final = 0xF0
CONDITIONAL_SEARCH: Final = 0xEC
_CR: Final = b"\r"


class Ha7e:
    """The adapter's side of the conversation, free of I/O: bytes in, bytes out.

    `sensors` maps ids to what is plugged in; change it (under :attr:`lock` while it is on a line) to plug and unplug.
    `dead` makes it swallow everything.
    """

    def __init__(self, sensors: Iterable[OnBus] = ()) -> None:
        self.sensors: dict[Rom, OnBus] = {s.rom: s for s in sensors}
        self.dead = False
        self.lock = threading.Lock()
        self._input = b""
        self._selected: list[OnBus] | None = None
        self._addressed = b""
        self._found: Iterator[Rom] = iter(())

    def plug(self, sensor: OnBus) -> None:
        """Connect a sensor; it comes up with its power-on value."""
        with self.lock:
            sensor.power_on()
            self.sensors[sensor.rom] = sensor

    def unplug(self, rom: Rom) -> OnBus:
        """Disconnect a sensor."""
        with self.lock:
            return self.sensors.pop(rom)

    def receive(self, data: bytes) -> bytes:
        """The answer to what arrived from the serial line."""
        if self.dead:
            return b""
        self._input += data
        answer = b""
        while (size := self._command_size()) and len(self._input) >= size:
            command, self._input = self._input[:size], self._input[size:]
            answer += self._execute(command)
        return answer

    def _command_size(self) -> int:
        """The length of the command at the head of the input; 0 when it cannot be told yet."""
        if not self._input:
            return 0
        letter = self._input[:1]
        if letter == b"A":
            return 18
        if letter == b"W":
            return 4 + 2 * int(self._input[1:3], 16) if len(self._input) >= 3 else 0
        return 1

    def _execute(self, command: bytes) -> bytes:
        match command[:1]:
            case b"R":
                self._selected = None
                return _CR
            case b"S" | b"C" as letter:
                alarmed = letter == b"C"
                self._found = iter(sorted(r for r, s in self.sensors.items() if s.alarmed or not alarmed))
                return self._next()
            case b"s" | b"c":
                return self._next()
            case b"A":
                return self._address(command[1:17])
            case b"M":
                return self._address(self._addressed)
            case b"W":
                return self._block(bytes.fromhex(command[3:-1].decode())).hex().upper().encode() + _CR
            case _:
                return b""

    def _next(self) -> bytes:
        rom = next(self._found, None)
        if rom is None:
            return _CR
        self._addressed = rom.wire[::-1].hex().upper().encode()
        self._selected = [self.sensors[rom]] if rom in self.sensors else []
        return self._addressed + _CR

    def _address(self, address: bytes) -> bytes:
        self._addressed = address
        wire = bytes.fromhex(address.decode())[::-1]
        self._selected = [s for s in self.sensors.values() if s.rom.wire == wire]
        return address + _CR

    def _block(self, data: bytes) -> bytes:
        """Exchange a block with the selected devices; on an open line the master reads what it sends."""
        if self._selected is None:
            return self._after_reset(data)
        if data[0] == 0xFF and len(data) == 1:
            return bytes([min((s.poll() for s in self._selected), default=0xFF)])
        line = data
        for sensor in self._selected:
            answer = sensor.command(data)
            line = bytes(a & b for a, b in zip(line, answer, strict=True))
        return line

    def _after_reset(self, data: bytes) -> bytes:
        """After a reset the first byte is a ROM command."""
        if data[0] in (SEARCH, CONDITIONAL_SEARCH) and len(data) == 25:
            alarmed = data[0] == CONDITIONAL_SEARCH
            there = [s.rom for s in self.sensors.values() if s.alarmed or not alarmed]
            return data[:1] + _search(data[1:], there)
        if data[0] == SKIP_ROM:
            self._selected = list(self.sensors.values())
            return data[:1] + (self._block(data[1:]) if len(data) > 1 else b"")
        if data == b"\xff":
            return bytes([min((s.poll() for s in self.sensors.values()), default=0xFF)])
        return data


def _search(data: bytes, roms: list[Rom]) -> bytes:
    """One pass of the bit-level search: per bit of an id two slots are read and the direction is written.

    The first read slot is the wired AND of the bits of all devices still in the race, the second that of the
    complements; devices whose bit differs from the direction leave.
    """
    sent = int.from_bytes(data, "little")
    heard = 0
    racing = [int.from_bytes(r.wire, "little") for r in roms]
    for bit in range(64):
        bits = [r >> bit & 1 for r in racing]
        direction = sent >> (3 * bit + 2) & 1
        slots = int(all(bits)) | int(not any(bits)) << 1 | direction << 2
        heard |= slots << 3 * bit
        racing = [r for r, b in zip(racing, bits, strict=True) if b == direction]
    return heard.to_bytes(24, "little")
