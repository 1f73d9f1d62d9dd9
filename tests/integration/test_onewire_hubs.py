"""Hubs, and chips that the HA7E has no commands for: a real owserver that drives an emulated bus bit by bit."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Any

import anyio
import pytest

from kvagents.framework.agent import Agent
from kvagents.framework.testing.contract import QUICK, until
from kvagents.onewire.agent import OneWire
from kvagents.onewire.bus import open_session
from kvagents.onewire.chips import Sensor
from kvagents.onewire.chips_more import Monitor, Switch1, Switch2Latching
from kvagents.onewire.model import Rom
from kvagents.onewire.simtree import SimulatedBus
from kvagents.onewire.testing.ds9097 import Ds9097, Hub, Wire
from kvagents.onewire.testing.owserver import RealOwserver
from kvagents.onewire.testing.serial import AdapterPty
from kvnode.client import connect
from kvnode.core.path import Path
from kvnode.testing.processes import NodeProcess, free_port
from tests.integration.onewire_counterparts import SPEED, ThreadedSimulator, counterparts

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

TRUNK, NEAR, FAR = (Rom.parse(f"28.0000000000A{n}") for n in range(3))
OUTER, INNER = (Rom.parse(f"1F.0000000000B{n}") for n in range(2))
ONE, TWO, MONITOR = Rom.parse("05.0000000000C1"), Rom.parse("12.0000000000C2"), Rom.parse("26.0000000000C3")
BUSES = {
    TRUNK: "/bus.0",
    OUTER: "/bus.0",
    NEAR: f"/bus.0/{OUTER}/aux",
    INNER: f"/bus.0/{OUTER}/aux",
    FAR: f"/bus.0/{OUTER}/aux/{INNER}/main",
}


@pytest.fixture
def anyio_backend() -> Any:
    return "asyncio", {"use_uvloop": True}


@dataclass
class Bench:
    """Thermometers before and behind hubs; `celsius` is for tests to change."""

    celsius: dict[Rom, float] = field(default_factory=lambda: {TRUNK: 9.5, NEAR: 3.0, FAR: 7.5})
    port: int = 0

    def sensor(self, rom: Rom) -> Sensor:
        return Sensor(rom, lambda: self.celsius[rom], time.monotonic, speed=SPEED)


@contextmanager
def real() -> Iterator[Bench]:
    bench = Bench()
    outer = Hub(OUTER, aux=[bench.sensor(NEAR), Hub(INNER, main=[bench.sensor(FAR)])])
    adapter = Ds9097(Wire([bench.sensor(TRUNK), outer]))
    with AdapterPty(adapter) as pty, RealOwserver([f"--passive={pty.path}"], free_port()) as server:
        bench.port = server.port
        yield bench


@contextmanager
def simulated() -> Iterator[Bench]:
    bench = Bench()
    last = {"main": SimulatedBus([bench.sensor(FAR)]), "aux": SimulatedBus()}
    first = {"main": SimulatedBus(), "aux": SimulatedBus([bench.sensor(NEAR)], {INNER: last})}
    server = ThreadedSimulator(SimulatedBus([bench.sensor(TRUNK)], {OUTER: first}))
    server.start()
    bench.port = server.port
    try:
        yield bench
    finally:
        server.stop()


@pytest.fixture(params=counterparts("real", "simulated"))
def bench(request: pytest.FixtureRequest) -> Iterator[Bench]:
    kinds: dict[str, Callable[[], AbstractContextManager[Bench]]] = {"real": real, "simulated": simulated}
    with kinds[request.param]() as made:
        yield made


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeProcess]:
    """One for all tests here; each has an agent and paths of its own."""
    with NodeProcess("a", tmp_path_factory.mktemp("node")) as process:
        yield process


async def test_devices_behind_hubs_are_found_and_read(bench: Bench):
    async with open_session("127.0.0.1", bench.port) as session:
        assert await session.scan() == BUSES
        for _ in range(2):
            for rom, celsius in bench.celsius.items():
                assert float(await session.measure(BUSES[rom], rom, 9)) == celsius
            bench.celsius = {rom: celsius + 1 for rom, celsius in bench.celsius.items()}
        await session.write(BUSES[FAR], FAR, "temphigh", b"5")
        await session.measure(BUSES[FAR], FAR, 9)
        assert await session.alarms(BUSES[FAR]) == [FAR]


async def test_a_simultaneous_conversion_does_not_reach_behind_hubs(bench: Bench):
    """Why the agent makes each thermometer there measure by itself."""
    async with open_session("127.0.0.1", bench.port) as session:
        await session.scan()
        await session.convert("/bus.0")
        await session.convert(BUSES[NEAR])
        await anyio.sleep(1.2 / SPEED)
        assert float(await session.read("/bus.0", TRUNK, "latesttemp")) == 9.5
        assert float(await session.read(BUSES[NEAR], NEAR, "latesttemp")) == 85, "the power-on value"


async def test_the_agent_follows_temperatures_behind_hubs(node: NodeProcess, bench: Bench):
    async with connect(node.address, author="test") as kv, anyio.create_task_group() as tasks:
        name = f"at{bench.port}"
        given = {"server": f"127.0.0.1:{bench.port}", "dest": f"hubs.{name}", "interval": 0.1, "precision": 9}
        tasks.start_soon(Agent(OneWire(), name, kv, overrides=given, policy=QUICK).run)
        for step in (0.0, 1.0, 2.5):
            bench.celsius = {TRUNK: 9.5 + step, NEAR: 3.0 + step, FAR: 7.5 + step}
            for rom, celsius in bench.celsius.items():
                await until(kv, Path(("hubs", name, str(rom))), lambda value, want=celsius: value == want)  # type: ignore[misc]
        tasks.cancel_scope.cancel()


@pytest.mark.owserver
async def test_chips_that_are_read_by_searching_and_by_pages(node: NodeProcess):
    """A DS2405, a DS2406 and a DS2438, through a real owserver and the agent."""
    one, two = Switch1(ONE), Switch2Latching(TWO)
    volts = {"vad": 2.5}
    monitor = Monitor(MONITOR, lambda: 20.5, lambda: volts["vad"], lambda: 5.0)
    with (
        AdapterPty(Ds9097(Wire([one, two, monitor]))) as pty,
        RealOwserver([f"--passive={pty.path}"], free_port()) as server,
    ):
        async with connect(node.address, author="test") as kv, anyio.create_task_group() as tasks:

            async def reads(path: str, wanted: Any) -> None:
                await until(kv, Path.parse(path), lambda value: value == wanted and type(value) is type(wanted))

            root = Path.parse("agent.onewire.attic")
            await kv.set(root / "one", {"device": str(ONE), "dest": "home.one"})
            await kv.set(
                root / ("one", "lamp"), {"attr": "PIO", "dest": "home.lamp", "src": "set.lamp", "state": "is.lamp"}
            )
            await kv.set(root / "two", {"device": str(TWO), "dest": "home.two"})
            await kv.set(
                root / ("two", "pump"), {"attr": "PIO.B", "dest": "home.pump", "src": "set.pump", "fail_safe": False}
            )
            await kv.set(root / "air", {"device": str(MONITOR), "dest": "home.air"})
            await kv.set(root / ("air", "in"), {"attr": "VAD", "dest": "home.volts"})
            given = {"server": f"127.0.0.1:{server.port}", "interval": 0.2}
            agent = Agent(OneWire(), "attic", kv, overrides=given, policy=QUICK)
            tasks.start_soon(agent.run)

            await reads("home.air.temperature", 20.5)
            await reads("home.volts", 2.5)
            humidity = (2.5 - 0.8) / 5.0 / (0.0062 * (1.0546 - 0.00216 * 20.5))
            await until(kv, Path.parse("home.air.humidity"), lambda value: value and abs(value - humidity) < 0.01)
            volts["vad"] = 3.0
            await reads("home.volts", 3.0)

            await reads("home.one.sensed", True)
            for on in (True, False):
                await kv.set("set.lamp", on)
                await reads("is.lamp", on)
                await reads("home.lamp", on)
                await reads("home.one.sensed", not on)
                assert one.conducts is on

            await reads("home.two.sensed.A", True)
            two.levels = 0b10
            await reads("home.two.sensed.A", False)
            await kv.set("set.pump", True)
            await reads("home.pump", True)
            await reads("home.two.sensed.B", False)
            assert two.outputs == 0b01, "the other one stays"
            async with open_session("127.0.0.1", server.port) as session:
                assert [int(await session.read("/bus.0", TWO, f"latch.{pin}")) for pin in "AB"] == [1, 1]
                await session.write("/bus.0", TWO, "latch.BYTE", b"0")
                assert [int(await session.read("/bus.0", TWO, f"latch.{pin}")) for pin in "AB"] == [0, 0]
            tasks.cancel_scope.cancel()
