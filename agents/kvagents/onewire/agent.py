"""The 1-Wire agent: polls the sensors of owservers and writes what they measure into the KV tree."""

from __future__ import annotations

import logging
from functools import cached_property, partial
from typing import ClassVar

import anyio

from kvagents.framework.agent import AgentKind, Option
from kvagents.framework.check import Checker
from kvagents.framework.config import Config, Plan
from kvagents.framework.errors import Failed
from kvagents.framework.link import Link
from kvagents.onewire.bus import DeviceError, Session, open_session
from kvagents.onewire.config import ServerPlan, parse_server, plan
from kvagents.onewire.model import Rom
from kvagents.onewire.poll import Cycle, Poller
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
    summary: ClassVar[str] = "temperatures of 1-Wire sensors, through owserver"
    options: ClassVar[tuple[Option, ...]] = (
        Option("server", "HOST:PORT", "the owserver to read (default port 4304)", _read_server),
        Option("dest", "PATH", "write every sensor found below this path, under its id", _read_path),
        Option("interval", "SECONDS", "time from one measurement to the next", _read_seconds),
    )

    @cached_property
    def _checker(self) -> Checker:
        return Checker("agent-onewire")

    def plan(self, config: Config) -> Plan[ServerPlan]:
        """What the entries ask for."""
        return plan(config, self._checker)

    async def run(self, path: Path, spec: ServerPlan, link: Link) -> None:
        """Poll one owserver. Raises :class:`Failed` when it is gone."""
        link.begin(device.path for device in spec.devices)
        poller = Poller(path, spec, anyio.current_time(), link.random, link.policy)
        while True:
            # A session lasts for one cycle: an owserver that is asked to stop waits for open connections.
            async with open_session(spec.host, spec.port) as session:
                written = await _cycle(poller, session, link)
            link.up()
            await _write(poller, written, link)
            await anyio.sleep_until(poller.next_due)


async def _cycle(poller: Poller, session: Session, link: Link) -> dict[Rom, tuple[Path, float]]:
    """Search, convert and read what is due; the values to write."""
    if poller.search_is_due(anyio.current_time()):
        poller.searched(await session.scan(), anyio.current_time())
    cycle = poller.cycle(anyio.current_time())
    for failure in cycle.failures:
        link.failed(failure.path, failure.code, failure.message)
    await _set_precision(poller, cycle, session)
    for bus in cycle.buses:
        try:
            await session.convert(bus)
        except DeviceError as error:
            # Its devices will not answer either, and be reported one by one.
            log.debug("no conversion on %s: %s", bus, error)
    if cycle.devices:
        await anyio.sleep(cycle.conversion_s)
    values: dict[Rom, tuple[Path, float]] = {}
    for rom in cycle.devices:
        value = await _read(poller, rom, session, link)
        if value is not None:
            values[rom] = value
    return values


async def _set_precision(poller: Poller, cycle: Cycle, session: Session) -> None:
    """Set the resolution of sensors that were just found, where another one is wanted."""
    for rom in cycle.devices:
        device = poller.devices[rom]
        bits = device.wanted_precision
        if not device.fresh or bits is None or device.bus is None:
            continue
        try:
            if await session.precision(device.bus, rom) != bits:
                await session.set_precision(device.bus, rom, bits)
        except DeviceError as error:
            log.debug("precision of %s: %s", rom, error)  # reading it will tell what is wrong
            continue
        device.fresh = False


async def _read(poller: Poller, rom: Rom, session: Session, link: Link) -> tuple[Path, float] | None:
    """Read one device; the value to write, if any. Its failure concerns no other."""
    device = poller.devices[rom]
    bus = device.bus or ""
    try:
        outcome = poller.took(rom, await session.latest(bus, rom), anyio.current_time())
        if outcome.measure_again:
            raw = await session.measure(bus, rom, device.wanted_precision)
            outcome = poller.took(rom, raw, anyio.current_time(), measured=True)
    except DeviceError as error:
        failure = poller.failed(rom, "no_answer", str(error), anyio.current_time())
        link.failed(failure.path, failure.code, failure.message)
        return None
    if outcome.failure is not None:
        link.failed(outcome.failure.path, outcome.failure.code, outcome.failure.message)
    working = poller.working(rom)
    if working is not None:
        link.works(working)
    return outcome.write


async def _write(poller: Poller, values: dict[Rom, tuple[Path, float]], link: Link) -> None:
    """Write all values at once; one that could not be written is measured again before the next attempt."""
    async with anyio.create_task_group() as tasks:
        for rom, (dest, value) in values.items():
            tasks.start_soon(partial(_write_one, poller, rom, dest, value, link))


async def _write_one(poller: Poller, rom: Rom, dest: Path, value: float, link: Link) -> None:
    plan = poller.devices[rom].plan
    link.feeds(dest, plan.path, plan.settings.filter.heartbeat_s * 2.2)
    try:
        if await link.put(dest, value):
            poller.wrote(rom, value, anyio.current_time())
    except Failed as error:
        failure = poller.failed(rom, error.code, error.message, anyio.current_time())
        link.failed(failure.path, failure.code, failure.message)
