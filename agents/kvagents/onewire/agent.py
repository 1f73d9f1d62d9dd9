"""The 1-Wire agent: reads the devices of owservers into the tree, and sets switches to what the tree says."""

from __future__ import annotations

import logging
from functools import cached_property, partial
from typing import Any, ClassVar

import anyio

from kvagents.framework.agent import AgentKind, Option
from kvagents.framework.buses import network_bus
from kvagents.framework.check import Checker
from kvagents.framework.claim import Terms
from kvagents.framework.config import Config, Plan
from kvagents.framework.drive import drive
from kvagents.framework.errors import Failed, shown
from kvagents.framework.link import Link
from kvagents.onewire.bus import DeviceError, Session, open_session
from kvagents.onewire.config import DevicePlan, Key, ServerPlan, parse_server, plan
from kvagents.onewire.model import ReadingError, Rom, family_of, parse_value
from kvagents.onewire.poll import Cycle, Outcome, Poller
from kvnode.core.path import Path

log = logging.getLogger(__name__)


def _read_server(text: str) -> str:
    parse_server(text)
    return text


def _read_path(text: str) -> str:
    return str(Path.parse(text))


def _read_seconds(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"expected seconds, not {text!r}") from None


class OneWire(AgentKind[ServerPlan]):
    """Agent kind ``onewire``; a binding is an owserver with its devices."""

    kind: ClassVar[str] = "onewire"
    summary: ClassVar[str] = "1-Wire sensors, counters and switches, through owserver"
    options: ClassVar[tuple[Option, ...]] = (
        Option("server", "HOST:PORT", "the owserver to read (default port 4304)", _read_server),
        Option("dest", "PATH", "write every sensor found below this path, under its id", _read_path),
        Option("interval", "SECONDS", "time from one measurement to the next", _read_seconds),
    )

    # Two would read the same, and set switches to the same.
    terms: ClassVar[Terms] = Terms(two_holders="safe")

    @cached_property
    def _checker(self) -> Checker:
        return Checker("agent-onewire")

    def plan(self, config: Config) -> Plan[ServerPlan]:
        """What the entries ask for."""
        return plan(config, self._checker)

    def bus(self, spec: ServerPlan) -> Path:
        """The owserver."""
        return network_bus(spec.host, spec.port)

    async def run(self, path: Path, spec: ServerPlan, link: Link) -> None:
        """Serve one owserver. Raises :class:`Failed` when it is gone."""
        link.begin(device.path for device in spec.devices)
        poller = Poller(path, spec, anyio.current_time(), link.random, link.policy)
        async with anyio.create_task_group() as tasks:
            for plan in spec.devices:
                if plan.output is not None:
                    tasks.start_soon(drive, link, plan.output, partial(_set, poller, plan))
            await _poll(poller, link)


async def _poll(poller: Poller, link: Link) -> None:
    plan = poller.plan
    while True:
        # A session lasts for one cycle: an owserver that is asked to stop waits for open connections.
        async with open_session(plan.host, plan.port) as session:
            written = await _cycle(poller, session, link)
        link.up()
        await _write(poller, written, link)
        await anyio.sleep_until(poller.next_due)


async def _set(poller: Poller, plan: DevicePlan, raw: Any) -> Any:
    """Set a switch; its read-back. Raises :class:`Failed`."""
    device = poller.devices[plan.key]
    if not isinstance(raw, (bool, int, float)) or raw not in (0, 1):
        raise Failed("bad_value", f"{plan.rom} {plan.quantity.name}: expected true or false, not {shown(raw)}")
    if device.bus is None:
        raise Failed("not_found", f"{plan.rom}: the device is not on the bus")
    name = plan.quantity.name
    try:
        async with open_session(poller.plan.host, poller.plan.port) as session:
            await session.write(device.bus, plan.rom, name, b"1" if raw else b"0")
            return parse_value(plan.quantity.what, await session.read(device.bus, plan.rom, name)) == 1
    except (DeviceError, ReadingError) as error:
        raise Failed("no_answer", f"{plan.rom} {name}: {error}") from None


async def _cycle(poller: Poller, session: Session, link: Link) -> dict[Key, tuple[Path, Any]]:
    """Search, convert and read what is due; the values to write."""
    if poller.search_is_due(anyio.current_time()):
        poller.searched(await session.scan(), anyio.current_time())
    alarmed = await _search_alarms(poller, session)
    cycle = poller.cycle(anyio.current_time())
    for failure in cycle.failures:
        link.failed(failure.path, failure.code, failure.message)
    await _set_up(poller, cycle, session)
    for bus in cycle.buses:
        try:
            await session.convert(bus)
        except DeviceError as error:
            # Its devices will not answer either, and be reported one by one.
            log.debug("no conversion on %s: %s", bus, error)
    if cycle.conversion_s:
        await anyio.sleep(cycle.conversion_s)
    values: dict[Key, tuple[Path, Any]] = {}
    for key in cycle.devices:
        value = await _read(poller, key, session, link)
        if value is not None:
            values[key] = value
    for rom, bus in alarmed.items():
        await _end_alarm(rom, bus, session)
    return values


async def _search_alarms(poller: Poller, session: Session) -> dict[Rom, str]:
    """The devices in alarm, with their buses, if it is time to look."""
    found: dict[Rom, str] = {}
    if poller.alarm_is_due(anyio.current_time()):
        for bus in poller.buses():
            try:
                found.update((rom, bus) for rom in await session.alarms(bus))
            except DeviceError as error:
                log.debug("no alarm search on %s: %s", bus, error)
        poller.alarmed(found, anyio.current_time())
    return found


async def _end_alarm(rom: Rom, bus: str, session: Session) -> None:
    """Its values were read: a switch that latched what happened may forget it."""
    family = family_of(rom)
    if family is None or family.latch is None:
        return
    try:
        await session.write(bus, rom, family.latch, b"0")
    except DeviceError as error:
        log.debug("latches of %s: %s", rom, error)


async def _set_up(poller: Poller, cycle: Cycle, session: Session) -> None:
    """Set precision and alarms of devices that were just found, where they are not as wanted."""
    for key in cycle.devices:
        device = poller.devices[key]
        if not device.fresh or device.bus is None:
            continue
        rom = device.plan.rom
        try:
            for name, wanted in device.wanted():
                # What is set is kept in an EEPROM, which wears out.
                if (await session.read(device.bus, rom, name)).strip().decode("ascii", "replace") != wanted:
                    await session.write(device.bus, rom, name, wanted.encode())
        except DeviceError as error:
            log.debug("setting up %s: %s", rom, error)  # reading it will tell what is wrong
            continue
        device.fresh = False


async def _read(poller: Poller, key: Key, session: Session, link: Link) -> tuple[Path, Any] | None:
    """Read one quantity; the value to write, if any. Its failure concerns no other."""
    device = poller.devices[key]
    rom, bus = device.plan.rom, device.bus or ""
    try:
        outcome = Outcome(measure_again=device.measures_alone)
        if not outcome.measure_again:
            outcome = poller.took(key, await session.read(bus, rom, device.attribute), anyio.current_time())
        if outcome.measure_again:
            raw = await session.measure(bus, rom, device.wanted_precision)
            outcome = poller.took(key, raw, anyio.current_time(), measured=True)
    except DeviceError as error:
        failure = poller.failed(key, "no_answer", str(error), anyio.current_time())
        link.failed(failure.path, failure.code, failure.message)
        return None
    if outcome.failure is not None:
        link.failed(outcome.failure.path, outcome.failure.code, outcome.failure.message)
    working = poller.working(key)
    if working is not None:
        link.works(working)
    return outcome.write


async def _write(poller: Poller, values: dict[Key, tuple[Path, Any]], link: Link) -> None:
    """Write all values at once; one that could not be written is measured again before the next attempt."""
    async with anyio.create_task_group() as tasks:
        for key, (dest, value) in values.items():
            tasks.start_soon(partial(_write_one, poller, key, dest, value, link))


async def _write_one(poller: Poller, key: Key, dest: Path, value: Any, link: Link) -> None:
    plan = poller.devices[key].plan
    link.feeds(dest, plan.path, plan.settings.good_s)
    try:
        if await link.put(dest, value):
            poller.wrote(key, value, anyio.current_time())
    except Failed as error:
        failure = poller.failed(key, error.code, error.message, anyio.current_time())
        link.failed(failure.path, failure.code, failure.message)
