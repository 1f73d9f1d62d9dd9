"""When to search, convert and read, and what a reading means: the decisions of polling one owserver. Pure.

:class:`Poller` is asked what is due and told what came of it; ``agent.py`` does the I/O in between. One cycle:

1. search the buses, if a search is due (at the start, every ``rescan`` seconds, soon after a device failed), and those
   in alarm if that is due: they are read at once
2. start one conversion on each bus that has a due thermometer, and wait for the slowest of them
3. read each quantity of a device that is due; a thermometer that answers its power-on value is made to measure once
   more, by itself, and one behind a hub is made to measure by itself in any case
4. write what the filters let through

A device that fails is tried again after the delays of the retry policy, and does not hold up the others. One that
was found by a search and is not found by a later one fails too, until it is back.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from kvagents.framework.convert import ConversionError
from kvagents.framework.filter import Written
from kvagents.framework.retry import DEFAULT_POLICY, UNTRIED, Health, RetryPolicy
from kvagents.onewire.config import DevicePlan, Key, ServerPlan
from kvagents.onewire.model import (
    CONVERSION_S,
    FAMILIES,
    ReadingError,
    Rom,
    is_power_on_value,
    parse_value,
)
from kvnode.core.path import Path

SEARCH_AGAIN_S: Final = 2.0
"""After a device failed, the buses are searched this soon."""
MAX_DEVICES: Final = 1000
"""Devices found beyond this number are left alone."""


@dataclass
class Device:
    """What the poller knows of one quantity of one device."""

    plan: DevicePlan
    due: float
    bus: str | None = None
    """Where the last search found it."""
    fresh: bool = True
    """Whether it has not been set up since it was found."""
    health: Health = UNTRIED
    believed: float | None = None
    """The last reading that was no power-on value."""
    written: Written | None = None

    @property
    def measures_alone(self) -> bool:
        """Whether it is behind a hub, where the simultaneous conversion of its bus does not reach."""
        return self.plan.quantity.converts and self.bus is not None and self.bus.count("/") > 1

    @property
    def conversion_s(self) -> float:
        """How long the simultaneous conversion takes it, as far as is known."""
        if not self.plan.quantity.converts or self.measures_alone:
            return 0.0
        family = FAMILIES[self.plan.rom.family]
        precision = self.plan.settings.precision
        return CONVERSION_S[precision if family.has_precision and precision is not None else 12]

    @property
    def wanted_precision(self) -> int | None:
        """The resolution to set, None to leave it."""
        return self.plan.settings.precision if FAMILIES[self.plan.rom.family].has_precision else None

    @property
    def attribute(self) -> str:
        """What to read: of a thermometer, the result of the conversion that was started for all."""
        return "latesttemp" if self.plan.quantity.converts else self.plan.quantity.name

    def wanted(self) -> list[tuple[str, str]]:
        """Attributes to set, each if it is not so already, when the device was found."""
        settings, family = self.plan.settings, FAMILIES[self.plan.rom.family]
        bits, limits = self.wanted_precision, ((settings.low, "templow"), (settings.high, "temphigh"))
        found = [("tempres", str(bits))] if bits is not None else []
        found += [(name, str(limit)) for limit, name in limits if limit is not None and family.limits]
        if settings.set_alarm is not None and family.latch is not None:
            found.append(("set_alarm", settings.set_alarm))
        return found


@dataclass(frozen=True, slots=True)
class Failure:
    """A device failed, for the error record at `path`."""

    path: Path
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Cycle:
    """What is due now."""

    devices: tuple[Key, ...] = ()
    buses: tuple[str, ...] = ()
    """Those on which a conversion is to be started."""
    conversion_s: float = 0.0
    failures: tuple[Failure, ...] = ()
    """Devices that were due and are not there."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a reading means. At most one of the fields says something."""

    write: tuple[Path, Any] | None = None
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
    devices: dict[Key, Device] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._search_due = self.now
        self._alarm_due = math.inf if self.plan.alarm_s is None else self.now
        for device in self.plan.devices:
            self.devices[device.key] = Device(device, due=self.now)

    @property
    def next_due(self) -> float:
        """When there is something to do again."""
        return min([self._search_due, self._alarm_due, *(d.due for d in self.devices.values())])

    # -- searching ----------------------------------------------------------------------------------------

    def search_is_due(self, now: float) -> bool:
        """Whether to search the buses in this cycle."""
        return now >= self._search_due

    def searched(self, found: Mapping[Rom, str], now: float) -> None:
        """Take in what a search found: each device with its bus."""
        self._search_due = now + self.plan.rescan_s
        for rom in found:
            self._add(self.plan.automatic(self.path, rom), now)
        for device in self.devices.values():
            bus = found.get(device.plan.rom)
            if (bus is None) != (device.bus is None):
                device.due, device.fresh = now, True
            device.bus = bus

    def _add(self, plans: Iterable[DevicePlan], now: float) -> None:
        for plan in plans:
            if plan.key not in self.devices and len(self.devices) < MAX_DEVICES:
                self.devices[plan.key] = Device(plan, due=now)

    def alarm_is_due(self, now: float) -> bool:
        """Whether to search the buses for devices in alarm."""
        return now >= self._alarm_due

    def buses(self) -> list[str]:
        """The buses on which there are devices."""
        return list(dict.fromkeys(d.bus for d in self.devices.values() if d.bus is not None))

    def alarmed(self, roms: Container[Rom], now: float) -> None:
        """These are in alarm: they are due."""
        self._alarm_due = now + (self.plan.alarm_s or 0.0)
        for device in self.devices.values():
            if device.plan.rom in roms:
                device.due = min(device.due, now)

    # -- reading ------------------------------------------------------------------------------------------

    def cycle(self, now: float) -> Cycle:
        """What is due; devices that are due and not there count as failed."""
        due = [d for d in self.devices.values() if d.due <= now]
        failures = [self.failed(d.plan.key, "not_found", "the device is not on the bus", now) for d in due if not d.bus]
        present = [d for d in due if d.bus]
        buses = tuple(dict.fromkeys(d.bus for d in present if d.bus and d.conversion_s))
        wait = max((d.conversion_s for d in present), default=0.0)
        return Cycle(tuple(d.plan.key for d in present), buses, wait, tuple(failures))

    def took(self, key: Key, raw: bytes, now: float, *, measured: bool = False) -> Outcome:
        """Judge what a device answered; `measured` if it was made to measure by itself just before."""
        device = self.devices[key]
        quantity = device.plan.quantity
        try:
            value = parse_value(quantity.what, raw)
            converted = device.plan.converter.to_tree(value)
        except ReadingError as error:
            return Outcome(failure=self.failed(key, "bad_reading", str(error), now))
        except ConversionError as error:
            return Outcome(failure=self.failed(key, error.code, error.message, now))
        if quantity.converts and is_power_on_value(value, device.believed):
            if not measured:
                return Outcome(measure_again=True)
            message = "the sensor answers 85 degC, its power-on value: it cannot measure, perhaps for lack of power"
            return Outcome(failure=self.failed(key, "power_on_value", message, now))
        device.believed = value
        device.health = device.health.up(now, self.policy)
        device.due = _next_due(device.due, device.plan.settings.interval_s, now)
        if device.plan.dest is not None and device.plan.settings.filter.wants(converted, now, device.written):
            return Outcome(write=(device.plan.dest, converted))
        return Outcome()

    def wrote(self, key: Key, value: Any, now: float) -> None:
        """The value is in the tree."""
        self.devices[key].written = Written(value, now)

    def failed(self, key: Key, code: str, message: str, now: float) -> Failure:
        """The device failed; it is tried again later."""
        device = self.devices[key]
        device.health = device.health.failed()
        device.due = now + self.policy.delay_s(device.health.failures, self.random)
        if device.bus is not None:
            self._search_due = min(self._search_due, now + SEARCH_AGAIN_S)
        return Failure(device.plan.path, code, f"{device.plan.rom}: {message}")

    def working(self, key: Key) -> Path | None:
        """The path of the device if it counts as working."""
        device = self.devices[key]
        return device.plan.path if device.health.working else None


def _next_due(due: float, interval_s: float, now: float) -> float:
    """The next time on the device's own grid; times that were missed are skipped."""
    return due + interval_s if due + interval_s > now else now + interval_s
