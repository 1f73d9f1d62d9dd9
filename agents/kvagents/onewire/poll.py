"""When to search, convert and read, and what a reading means: the decisions of polling one owserver. Pure.

:class:`Poller` is asked what is due and told what came of it; ``agent.py`` does the I/O in between. One cycle:

1. search the buses, if a search is due (at the start, every ``rescan`` seconds, soon after a device failed)
2. start one conversion on each bus that has a due device, and wait for the slowest of them
3. read each due device; one that answers its power-on value is made to measure once more, by itself
4. write what the filters let through

A device that fails is tried again after the delays of the retry policy, and does not hold up the others. One that
was found by a search and is not found by a later one fails too, until it is back.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from kvagents.framework.filter import Written
from kvagents.framework.retry import DEFAULT_POLICY, UNTRIED, Health, RetryPolicy
from kvagents.onewire.config import DevicePlan, ServerPlan
from kvagents.onewire.model import (
    CONVERSION_S,
    FAMILIES,
    ReadingError,
    Rom,
    is_power_on_value,
    parse_temperature,
)
from kvnode.core.path import Path

SEARCH_AGAIN_S: Final = 2.0
"""After a device failed, the buses are searched this soon."""
MAX_DEVICES: Final = 1000
"""Devices found beyond this number are left alone."""


@dataclass
class Device:
    """What the poller knows of one device."""

    plan: DevicePlan
    due: float
    bus: str | None = None
    """Where the last search found it."""
    fresh: bool = True
    """Whether its precision has not been looked at since it was found."""
    health: Health = UNTRIED
    believed: float | None = None
    """The last reading that was no power-on value."""
    written: Written | None = None

    @property
    def conversion_s(self) -> float:
        """How long it takes to measure, as far as is known."""
        family = FAMILIES[self.plan.rom.family]
        precision = self.plan.settings.precision
        return CONVERSION_S[precision if family.has_precision and precision is not None else 12]

    @property
    def wanted_precision(self) -> int | None:
        """The resolution to set, None to leave it."""
        return self.plan.settings.precision if FAMILIES[self.plan.rom.family].has_precision else None


@dataclass(frozen=True, slots=True)
class Failure:
    """A device failed, for the error record at `path`."""

    path: Path
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Cycle:
    """What is due now."""

    devices: tuple[Rom, ...] = ()
    buses: tuple[str, ...] = ()
    """Those on which a conversion is to be started."""
    conversion_s: float = 0.0
    failures: tuple[Failure, ...] = ()
    """Devices that were due and are not there."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a reading means. At most one of the fields says something."""

    write: tuple[Path, float] | None = None
    failure: Failure | None = None
    measure_again: bool = False


@dataclass
class Poller:
    """The state of polling one server, configured at `path`. Times are seconds of a monotonic clock."""

    path: Path
    plan: ServerPlan
    now: float
    random: Callable[[], float]
    policy: RetryPolicy = DEFAULT_POLICY
    devices: dict[Rom, Device] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._search_due = self.now
        for device in self.plan.devices:
            self.devices[device.rom] = Device(device, due=self.now)

    @property
    def next_due(self) -> float:
        """When there is something to do again."""
        return min([self._search_due, *(d.due for d in self.devices.values())])

    # -- searching ----------------------------------------------------------------------------------------

    def search_is_due(self, now: float) -> bool:
        """Whether to search the buses in this cycle."""
        return now >= self._search_due

    def searched(self, found: Mapping[Rom, str], now: float) -> None:
        """Take in what a search found: each device with its bus."""
        self._search_due = now + self.plan.rescan_s
        for rom, bus in found.items():
            device = self.devices.get(rom) or self._automatic(rom, now)
            if device is None:
                continue
            if device.bus is None:
                device.due, device.fresh = now, True
            device.bus = bus
        for rom, device in self.devices.items():
            if rom not in found and device.bus is not None:
                device.bus = None
                device.due = now

    def _automatic(self, rom: Rom, now: float) -> Device | None:
        plan = self.plan.automatic(self.path, rom)
        if plan is None or len(self.devices) >= MAX_DEVICES:
            return None
        self.devices[rom] = device = Device(plan, due=now)
        return device

    # -- reading ------------------------------------------------------------------------------------------

    def cycle(self, now: float) -> Cycle:
        """What is due; devices that are due and not there count as failed."""
        due = [d for d in self.devices.values() if d.due <= now]
        failures = [self.failed(d.plan.rom, "not_found", "the device is not on the bus", now) for d in due if not d.bus]
        present = [d for d in due if d.bus]
        buses = tuple(dict.fromkeys(d.bus for d in present if d.bus))
        wait = max((d.conversion_s for d in present), default=0.0)
        return Cycle(tuple(d.plan.rom for d in present), buses, wait, tuple(failures))

    def took(self, rom: Rom, raw: bytes, now: float, *, measured: bool = False) -> Outcome:
        """Judge what a device answered; `measured` if it was made to measure by itself just before."""
        device = self.devices[rom]
        try:
            value = parse_temperature(raw)
        except ReadingError as error:
            return Outcome(failure=self.failed(rom, "bad_reading", str(error), now))
        if is_power_on_value(value, device.believed):
            if not measured:
                return Outcome(measure_again=True)
            message = "the sensor answers 85 degC, its power-on value: it cannot measure, perhaps for lack of power"
            return Outcome(failure=self.failed(rom, "power_on_value", message, now))
        device.believed = value
        device.health = device.health.up(now, self.policy)
        device.due = _next_due(device.due, device.plan.settings.interval_s, now)
        if device.plan.settings.filter.wants(value, now, device.written):
            return Outcome(write=(device.plan.dest, value))
        return Outcome()

    def wrote(self, rom: Rom, value: float, now: float) -> None:
        """The value is in the tree."""
        self.devices[rom].written = Written(value, now)

    def failed(self, rom: Rom, code: str, message: str, now: float) -> Failure:
        """The device failed; it is tried again later."""
        device = self.devices[rom]
        device.health = device.health.failed()
        device.due = now + self.policy.delay_s(device.health.failures, self.random)
        if device.bus is not None:
            self._search_due = min(self._search_due, now + SEARCH_AGAIN_S)
        return Failure(device.plan.path, code, f"{device.plan.rom}: {message}")

    def working(self, rom: Rom) -> Path | None:
        """The path of the device if it counts as working."""
        device = self.devices[rom]
        return device.plan.path if device.health.working else None


def _next_due(due: float, interval_s: float, now: float) -> float:
    """The next time on the device's own grid; times that were missed are skipped."""
    return due + interval_s if due + interval_s > now else now + interval_s
