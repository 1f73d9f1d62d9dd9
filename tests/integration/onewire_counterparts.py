"""The three owservers that the 1-Wire tests run against, behind one interface.

* ``real``: the Debian package's owserver on the emulated HA7E bus master
* ``tester``: the same owserver with its own built-in fake devices (they can neither be unplugged nor change)
* ``simulated``: the project's own server
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pytest

from kvagents.onewire.chips import Sensor
from kvagents.onewire.model import Rom
from kvagents.onewire.simtree import SimulatedBus
from kvagents.onewire.simulator import Fault, SimulatedOwserver
from kvagents.onewire.testing.ha7e import Ha7e
from kvagents.onewire.testing.owserver import RealOwserver
from kvagents.onewire.testing.serial import AdapterPty
from kvnode.testing.processes import free_port
from tests.support.threaded import ThreadedServer

WARM = Rom.parse("28.67452301EF00")
COLD = Rom.parse("10.67452301EF01")
SPEED = 20.0
"""Conversions take a twentieth of their real time."""


@dataclass
class Counterpart:
    """One owserver; `plug` and `unplug` are None where its devices are fixed."""

    port: int
    start: Callable[[], None]
    stop: Callable[[], object]
    kill: Callable[[], None]
    roms: frozenset[Rom]
    plug: Callable[[Sensor], None] | None = None
    unplug: Callable[[Rom], Sensor] | None = None
    celsius: dict[Rom, float] = field(default_factory=dict)
    """The temperatures, for tests to change."""

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"


def _sensors(celsius: dict[Rom, float]) -> list[Sensor]:
    return [Sensor(rom, partial(celsius.__getitem__, rom), time.monotonic, speed=SPEED) for rom in celsius]


@contextlib.contextmanager
def real() -> Iterator[Counterpart]:
    celsius = {WARM: 21.4375, COLD: -3.5}
    adapter = Ha7e(_sensors(celsius))
    with AdapterPty(adapter) as pty:
        server = RealOwserver([f"--HA7E={pty.path}"], free_port())
        roms = frozenset(celsius)
        with server:
            yield Counterpart(
                server.port, server.start, server.stop, server.kill, roms, adapter.plug, adapter.unplug, celsius
            )


@contextlib.contextmanager
def tester() -> Iterator[Counterpart]:
    with RealOwserver(["--tester=DS18B20,DS18S20"], free_port()) as server:
        roms = frozenset({Rom.parse("28.000028D70000"), Rom.parse("10.000010EF0100")})
        celsius = dict(zip(sorted(roms, reverse=True), (4.0, 1.7), strict=True))
        yield Counterpart(server.port, server.start, server.stop, server.kill, roms, celsius=celsius)


class ThreadedSimulator(ThreadedServer):
    """The simulated owserver on a thread of its own."""

    def __init__(self, bus: SimulatedBus) -> None:
        self.server = SimulatedOwserver(bus, keep_alive_s=0.1)
        super().__init__(self.server.serve_on)

    def set_fault(self, fault: Fault) -> None:
        self.server.fault = fault


@contextlib.contextmanager
def simulated() -> Iterator[Counterpart]:
    celsius = {WARM: 21.4375, COLD: -3.5}
    bus = SimulatedBus(_sensors(celsius))
    runner = ThreadedSimulator(bus)
    runner.start()
    try:
        yield Counterpart(
            runner.port, runner.start, runner.stop, runner.stop, frozenset(celsius), bus.plug, bus.unplug, celsius
        )
    finally:
        runner.stop()


COUNTERPARTS = {"real": real, "tester": tester, "simulated": simulated}


def counterparts(*names: str) -> list[Any]:
    """Parameters for a fixture: these counterparts (default: all), those that need owserver marked so."""
    return [
        pytest.param(name, marks=[] if name == "simulated" else [pytest.mark.owserver])
        for name in names or COUNTERPARTS
    ]
