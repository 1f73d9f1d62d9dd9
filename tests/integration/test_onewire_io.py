"""Switches, counters, alarms, hubs: the bus layer and the agent, on a real owserver and on the simulated one."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path as FilePath
from typing import Any

import anyio
import pytest

from kvagents.framework.agent import Agent
from kvagents.framework.testing.contract import QUICK, until
from kvagents.onewire.agent import OneWire
from kvagents.onewire.bus import DeviceError, open_session
from kvagents.onewire.chips import Sensor
from kvagents.onewire.chips_io import Counter, Gauge, Switch2, Switch8
from kvagents.onewire.model import Rom
from kvagents.onewire.simtree import SimulatedBus
from kvagents.onewire.testing.ha7e import Ha7e
from kvagents.onewire.testing.owserver import RealOwserver
from kvagents.onewire.testing.serial import AdapterPty
from kvnode.client import connect
from kvnode.core.path import Path
from kvnode.testing.processes import NodeProcess, free_port
from tests.integration.onewire_counterparts import SPEED, ThreadedSimulator, counterparts

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

EIGHT = Rom.parse("29.67452301EF10")
TWO = Rom.parse("3A.67452301EF11")
COUNT = Rom.parse("1D.67452301EF12")
WARM = Rom.parse("28.67452301EF00")


@pytest.fixture
def anyio_backend() -> Any:
    return "asyncio", {"use_uvloop": True}


@dataclass
class Bench:
    """Devices that tests play with, and the owserver before them."""

    counts: dict[str, int] = field(default_factory=lambda: {"counters.A": 41, "counters.B": 2**32 - 1})
    celsius: float = 21.5
    port: int = 0

    def __post_init__(self) -> None:
        self.eight, self.two = Switch8(EIGHT), Switch2(TWO)
        self.counter = Counter(COUNT, {name: lambda name=name: self.counts[name] for name in self.counts})  # type: ignore[misc]
        self.warm = Sensor(WARM, lambda: self.celsius, time.monotonic, speed=SPEED)
        self.all = [self.eight, self.two, self.counter, self.warm]


@contextmanager
def real() -> Iterator[Bench]:
    bench = Bench()
    with AdapterPty(Ha7e(bench.all)) as pty, RealOwserver([f"--HA7E={pty.path}"], free_port()) as server:
        bench.port = server.port
        yield bench


@contextmanager
def simulated() -> Iterator[Bench]:
    bench = Bench()
    server = ThreadedSimulator(SimulatedBus(bench.all))
    server.start()
    bench.port = server.port
    try:
        yield bench
    finally:
        server.stop()


@pytest.fixture(params=counterparts("real", "simulated"))
def bench(request: pytest.FixtureRequest) -> Iterator[Bench]:
    with {"real": real, "simulated": simulated}[request.param]() as made:
        yield made


async def test_a_switch_of_eight_pins(bench: Bench):
    async with open_session("127.0.0.1", bench.port) as session:
        assert (await session.scan())[EIGHT] == "/bus.0"

        async def read(name: str) -> int:
            return int(await session.read("/bus.0", EIGHT, name))

        bench.eight.levels = 0b1111_0111
        assert [await read(f"sensed.{n}") for n in (2, 3)] == [1, 0]
        assert await read("PIO.5") == 0
        await session.write("/bus.0", EIGHT, "PIO.5", b"1")
        assert bench.eight.outputs == 0b1101_1111
        assert [await read("PIO.5"), await read("sensed.5"), await read("PIO.4")] == [1, 0, 0]
        await session.write("/bus.0", EIGHT, "PIO.4", b"1")
        assert bench.eight.outputs == 0b1100_1111, "the other pins stay"
        await session.write("/bus.0", EIGHT, "PIO.5", b"0")
        assert bench.eight.outputs == 0b1110_1111
        assert await read("latch.5") == 1
        await session.write("/bus.0", EIGHT, "latch.BYTE", b"0")
        assert await read("latch.5") == 0


async def test_a_switch_of_two_pins(bench: Bench):
    async with open_session("127.0.0.1", bench.port) as session:
        await session.write("/bus.0", TWO, "PIO.B", b"1")
        assert bench.two.outputs == 0b01
        assert [int(await session.read("/bus.0", TWO, f"sensed.{pin}")) for pin in "AB"] == [1, 0]


async def test_counters(bench: Bench):
    async with open_session("127.0.0.1", bench.port) as session:
        assert [int(await session.read("/bus.0", COUNT, name)) for name in bench.counts] == [41, 2**32 - 1]


async def test_an_alarm_search_finds_only_what_is_in_alarm(bench: Bench):
    async with open_session("127.0.0.1", bench.port) as session:
        await session.scan()
        await session.write("/bus.0", WARM, "temphigh", b"25")
        await session.write("/bus.0", WARM, "templow", b"5")
        await session.convert("/bus.0")
        await anyio.sleep(1.2 / SPEED)
        assert await session.alarms("/bus.0") == []
        bench.celsius = 30.0
        await session.convert("/bus.0")
        await anyio.sleep(1.2 / SPEED)
        assert await session.alarms("/bus.0") == [WARM]
        # Any of pins 0 to 7 that changed: source "activity latch", logic "or", each pin selected with polarity 1.
        await session.write("/bus.0", EIGHT, "set_alarm", b"133333333")
        await session.write("/bus.0", EIGHT, "latch.BYTE", b"0")
        assert await session.alarms("/bus.0") == [WARM]
        bench.eight.levels ^= 1
        assert sorted(await session.alarms("/bus.0")) == sorted([WARM, EIGHT])
        await session.write("/bus.0", EIGHT, "latch.BYTE", b"0")
        assert await session.alarms("/bus.0") == [WARM]


# -- the agent ----------------------------------------------------------------------------------------------------


@pytest.fixture
def node(tmp_path: FilePath) -> Iterator[NodeProcess]:
    with NodeProcess("a", tmp_path) as process:
        yield process


CONFIG = Path.parse("agent.onewire.attic")
ENTRIES = {
    "io": {"device": str(EIGHT), "dest": "home.io", "set_alarm": "133333333"},
    "io.pump": {
        "attr": "PIO.3",
        "src": "home.pump.set",
        "state": "home.pump.is",
        "table": {"true": "on", "false": "off"},
        "fail_safe": "off",
    },
    "water": {"device": str(COUNT), "dest": "home.water", "delta": 1},
    "attic": {"device": str(WARM), "dest": "home.attic", "low": 5, "high": 25, "expr": "round(value * 1.8 + 32, 1)"},
}


async def test_the_agent_reads_and_switches(node: NodeProcess, bench: Bench):
    async with connect(node.address, author="test") as kv:
        await kv.set(CONFIG, {"server": f"127.0.0.1:{bench.port}", "interval": 0.2, "precision": 9})
        for name, value in ENTRIES.items():
            await kv.set(Path.parse(f"{CONFIG}.{name}"), value)

        async def reads(path: str, wanted: Any) -> None:
            await until(kv, Path.parse(path), lambda value: value == wanted and type(value) is type(wanted))

        agent = Agent(OneWire(), "attic", kv, policy=QUICK)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(agent.run)
            await reads("home.water.counters.A", 41)
            await reads("home.io.sensed.3", True)
            await reads("home.attic", 70.7)
            assert bench.warm.limits == (25, 5)
            await kv.set("home.pump.set", "on")
            await reads("home.pump.is", "on")
            assert bench.eight.outputs == 0b1111_0111
            await reads("home.io.sensed.3", False)
            await kv.set("home.pump.set", "half")
            record = await until(kv, Path.parse("@.errors.onewire.attic.io.pump.src"), bool)
            assert "no entry for half" in record["message"]
            bench.counts["counters.A"] += 1
            bench.counts["counters.B"] = 7
            await reads("home.water.counters.B", 7)
            assert (await kv.get("home.water.counters.A")).value == 41, "within the delta"
            tasks.cancel_scope.cancel()
        assert bench.eight.outputs == 0b1111_1111, "the fail-safe value"


async def test_an_alarm_is_read_long_before_its_turn(node: NodeProcess, bench: Bench):
    async with connect(node.address, author="test") as kv:
        await kv.set(CONFIG, {"server": f"127.0.0.1:{bench.port}", "interval": 600, "rescan": 600, "alarm": 0.1})
        await kv.set(CONFIG / "io", ENTRIES["io"])
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(Agent(OneWire(), "attic", kv, policy=QUICK).run)
            for level in (False, True):
                await until(kv, Path.parse("home.io.sensed.6"), lambda value, level=level: value is (not level))  # type: ignore[misc]
                bench.eight.levels ^= 1 << 6
            await until(kv, Path.parse("home.io.sensed.6"), lambda value: value is True)
            tasks.cancel_scope.cancel()


async def test_several_servers_are_served_each_on_its_own(node: NodeProcess):
    benches = {name: Bench() for name in ("roof", "cellar")}
    servers = {name: ThreadedSimulator(SimulatedBus([bench.warm])) for name, bench in benches.items()}
    for server in servers.values():
        server.start()
    try:
        async with connect(node.address, author="test") as kv, anyio.create_task_group() as tasks:
            await kv.set(CONFIG, {"interval": 0.2, "precision": 9})
            for name, server in servers.items():
                entry = {"server": f"127.0.0.1:{server.port}", "dest": f"home.{name}"}
                await kv.set(CONFIG / name, entry)
            tasks.start_soon(Agent(OneWire(), "attic", kv, policy=QUICK).run)
            for name in servers:
                await until(kv, Path(("home", name, str(WARM))), lambda value: value == 21.5)
            servers["roof"].stop()
            await until(kv, Path.parse("@.errors.onewire.attic.roof"), bool)
            for celsius in (3.5, 4.5):
                benches["cellar"].celsius = celsius
                await until(kv, Path(("home", "cellar", str(WARM))), lambda value, want=celsius: value == want)  # type: ignore[misc]
            tasks.cancel_scope.cancel()
    finally:
        for server in servers.values():
            server.stop()


@pytest.mark.owserver
@pytest.mark.parametrize(("rom", "name"), [(COUNT, "counters.A"), (WARM, "latesttemp")], ids=["crc16", "crc8"])
async def test_what_comes_with_a_wrong_checksum_is_never_believed(rom: Rom, name: str):
    """owserver reads again, and gives an error when that does not help."""
    with real() as bench:
        chip = bench.counter if rom == COUNT else bench.warm
        async with open_session("127.0.0.1", bench.port) as session:
            chip.corrupt_reads = 1000
            with pytest.raises(DeviceError):
                await session.read("/bus.0", rom, name)
            assert chip.corrupt_reads < 1000
            chip.corrupt_reads = 0
            assert float(await session.read("/bus.0", rom, name)) in (41, 85)


async def test_humidity(node: NodeProcess):
    """On the simulated owserver, which knows a DS2438 by its attributes."""
    rom = Rom.parse("26.67452301EF13")
    gauge = Gauge(rom, {"temperature": lambda: 20.5, "humidity": lambda: 55.25, "VAD": lambda: 2.5, "VDD": lambda: 5.0})
    server = ThreadedSimulator(SimulatedBus([gauge]))
    server.start()
    try:
        async with connect(node.address, author="test") as kv, anyio.create_task_group() as tasks:
            given = {"server": f"127.0.0.1:{server.port}", "dest": "home"}
            tasks.start_soon(Agent(OneWire(), "attic", kv, overrides=given, policy=QUICK).run)
            assert await until(kv, Path(("home", str(rom), "humidity")), bool) == 55.25
            assert await until(kv, Path(("home", str(rom), "temperature")), bool) == 20.5
            tasks.cancel_scope.cancel()
    finally:
        server.stop()
