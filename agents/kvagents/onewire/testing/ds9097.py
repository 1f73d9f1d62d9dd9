"""The simplest bus master there is, without hardware: a DS9097, a serial line whose every byte is one bit on the bus.

A real owserver drives it bit by bit (``owserver --passive=PTY``), so all its commands can be tested, those for which
the HA7E has none, too: the branches of DS2409 hubs, and DS2405 switches, which are read by searching.

A reset is the byte F0, which comes back changed if somebody is there; a bit is FF or 00, which comes back as 00 if
somebody pulls the line down.
"""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterable, Sequence
from copy import deepcopy
from typing import Final

from kvagents.onewire.chips import CONVERT, OnBus
from kvagents.onewire.chips_more import CONVERT_VOLTAGE, Switch1
from kvagents.onewire.model import Rom

RESET: Final = 0xF0
PRESENCE: Final = 0xE0
SEARCH: Final = 0xF0
CONDITIONAL_SEARCH: Final = 0xEC
MATCH_ROM: Final = 0x55
SKIP_ROM: Final = 0xCC
ALL_LINES_OFF: Final = 0x66
SMART_ON: Final = {0xCC: "main", 0x33: "aux"}
_AT_ONCE: Final = (CONVERT, CONVERT_VOLTAGE)
"""Commands that begin to work when they are heard. The others do by the next reset."""

Talk = Generator[int, int, None]
"""One bit slot after the other: yields what the devices let through, gets what is on the line."""


class Hub:
    """A DS2409: the devices on its two branches, of which one at a time can be switched to the bus."""

    def __init__(self, rom: Rom, main: Iterable[OnBus | Hub] = (), aux: Iterable[OnBus | Hub] = ()) -> None:
        self.rom = rom
        self.branches = {"main": list(main), "aux": list(aux)}
        self.on: str | None = None


class Wire:
    """The bus: `devices`, and what is behind hubs. A slot is one bit."""

    def __init__(self, devices: Iterable[OnBus | Hub] = ()) -> None:
        self.devices = list(devices)
        self._heard: tuple[bytes, Sequence[OnBus]] = b"", ()
        self._talk: Talk | None = None
        self._pull = 1

    def reset(self) -> bool:
        """Begin anew; whether somebody is there."""
        self._do()
        devices = list(_reached(self.devices))
        self._talk = self._conversation(devices)
        self._pull = next(self._talk)
        return bool(devices)

    def slot(self, sent: int) -> int:
        """A bit from the master; what is on the line then."""
        if self._talk is None:
            return sent
        line = sent & self._pull
        self._pull = self._talk.send(line)
        return line

    def _do(self) -> None:
        """What was heard up to here takes effect."""
        heard, devices = self._heard
        self._heard = b"", ()
        if heard and heard[0] not in _AT_ONCE:
            for device in devices:
                device.command(heard)

    def _conversation(self, devices: list[OnBus | Hub]) -> Talk:
        while True:
            devices = yield from self._function((yield from _selected(devices)))

    def _function(self, selected: list[OnBus | Hub]) -> Generator[int, int, list[OnBus | Hub]]:
        """Function commands. Ends when a hub has switched a branch on, with the devices there."""
        chips = [d for d in selected if not isinstance(d, Hub)]
        hubs = [d for d in selected if isinstance(d, Hub)]
        heard = b""
        while True:
            pull = 0xFF
            for answer in (*(_of_chip(chip, heard) for chip in chips), *(_of_hub(hub, heard) for hub in hubs)):
                pull &= answer
            heard += bytes([(yield from _byte(pull))])
            self._heard = heard, chips
            if len(heard) == 1 and heard[0] in _AT_ONCE:
                for chip in chips:
                    chip.command(heard)
            for hub in hubs:
                if heard == bytes([ALL_LINES_OFF]):
                    hub.on = None
                elif len(heard) == 4 and heard[0] in SMART_ON:
                    hub.on = SMART_ON[heard[0]]
                    return list(_reached(hub.branches[hub.on]))


def _reached(devices: Iterable[OnBus | Hub]) -> Iterable[OnBus | Hub]:
    """Those on a line, and those on the branches that are switched to it."""
    for device in devices:
        yield device
        if isinstance(device, Hub) and device.on is not None:
            yield from _reached(device.branches[device.on])


def _selected(devices: list[OnBus | Hub]) -> Generator[int, int, list[OnBus | Hub]]:
    """A ROM command: who is meant by what follows."""
    command = yield from _byte(0xFF)
    if command in (SEARCH, CONDITIONAL_SEARCH):
        return (yield from _search([d for d in devices if command == SEARCH or getattr(d, "alarmed", False)]))
    if command == SKIP_ROM:
        return devices
    if command != MATCH_ROM:
        return []
    wanted = b""
    for _ in range(8):
        wanted += bytes([(yield from _byte(0xFF))])
    found = [d for d in devices if d.rom.wire == wanted]
    for device in found:
        if isinstance(device, Switch1):
            device.toggle()
    return found


def _search(racing: list[OnBus | Hub]) -> Generator[int, int, list[OnBus | Hub]]:
    """For each bit of an id, those in the race say it, say its complement, and leave if the master takes the other."""
    for at in range(64):
        bits = [int.from_bytes(d.rom.wire, "little") >> at & 1 for d in racing]
        yield int(all(bits))
        yield int(not any(bits))
        direction = yield 1
        racing = [d for d, bit in zip(racing, bits, strict=True) if bit == direction]
    return racing


def _byte(pull: int) -> Generator[int, int, int]:
    line = 0
    for at in range(8):
        line |= (yield pull >> at & 1) << at
    return line


def _of_chip(chip: OnBus, heard: bytes) -> int:
    """What a chip says next; nothing takes effect by asking."""
    if not heard:
        return chip.poll() if isinstance(chip, Switch1) else 0xFF
    if heard[0] in _AT_ONCE:
        return chip.poll()
    return deepcopy(chip).command(heard + b"\xff")[-1]


def _of_hub(hub: Hub, heard: bytes) -> int:
    """After Smart-On: the reset of the branch, whether somebody is there, and the command once more."""
    if heard == bytes([ALL_LINES_OFF]):
        return ALL_LINES_OFF
    if heard[:1] and heard[0] in SMART_ON:
        there = 0x00 if hub.branches[SMART_ON[heard[0]]] else 0xFF
        return {2: there, 3: heard[0]}.get(len(heard), 0xFF)
    return 0xFF


class Ds9097:
    """The adapter's side of the serial line, free of I/O: bytes in, bytes out."""

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        self.lock = threading.Lock()

    def receive(self, data: bytes) -> bytes:
        """The answer to what arrived from the serial line: as many bytes."""
        return bytes(self._answer(byte) for byte in data)

    def _answer(self, byte: int) -> int:
        if byte == RESET:
            return PRESENCE if self.wire.reset() else RESET
        return 0xFF if self.wire.slot(byte & 1) else 0x00
