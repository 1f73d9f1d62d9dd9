"""The 1-Wire agent between real nodes and owservers: what is measured arrives, through all that can go wrong."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path as FilePath
from typing import Any

import anyio
import pytest

from kvagents.framework.agent import Agent
from kvagents.framework.retry import RetryPolicy
from kvagents.onewire.agent import OneWire
from kvagents.onewire.chips import Sensor
from kvagents.onewire.model import Rom
from kvagents.onewire.testing.ha7e import Ha7e
from kvagents.onewire.testing.owserver import RealOwserver
from kvagents.onewire.testing.serial import AdapterPty
from kvnode.client import Change, Client, NotFound, Uptodate, connect
from kvnode.core.path import Path
from kvnode.testing.processes import NodeProcess, free_port
from tests.integration.onewire_counterparts import COLD, COUNTERPARTS, SPEED, WARM, Counterpart, counterparts

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

HOME = Path.parse("home.sensors")
CONFIG = Path.parse("agent.onewire.attic")
ERRORS = Path.parse("@.errors.onewire.attic")
STATUS = Path.parse("@.status.agent.onewire.attic")
QUICK = RetryPolicy(first_s=0.1, factor=1.2, longest_s=0.5, working_after_s=1.0)
"""The shape of the real delays, without their length."""
PATIENCE_S = 60.0


ASYNCIO = ("asyncio", {"use_uvloop": True})
TRIO = ("trio", {})
PAIRS = [
    pytest.param((ASYNCIO, "real"), id="asyncio+uvloop-real", marks=pytest.mark.owserver),
    pytest.param((TRIO, "simulated"), id="trio-simulated"),
]
"""Each backend with another owserver; all combinations are run where they could matter, in the contract suite."""


@pytest.fixture(params=PAIRS)
def pair(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    """The backend of the pair where a test has one, else asyncio."""
    return request.getfixturevalue("pair")[0] if "pair" in request.fixturenames else ASYNCIO


@pytest.fixture
def node(tmp_path: FilePath) -> Iterator[NodeProcess]:
    with NodeProcess("a", tmp_path) as process:
        yield process


@pytest.fixture
def bus(pair: tuple[Any, str]) -> Iterator[Counterpart]:
    with COUNTERPARTS[pair[1]]() as counterpart:
        yield counterpart


def settings(bus: Counterpart | RealOwserver, **more: Any) -> dict[str, Any]:
    return {
        "server": f"127.0.0.1:{bus.port}",
        "dest": str(HOME),
        "interval": 0.2,
        "rescan": 0.5,
        "precision": 9,
        "heartbeat": 1,
        **more,
    }


class Probe:
    """A client that looks at what the agent writes."""

    def __init__(self, kv: Client) -> None:
        self.kv = kv

    async def value(self, path: Path) -> Any:
        try:
            return (await self.kv.get(path)).value
        except NotFound:
            return None

    async def until(self, path: Path, check: Callable[[Any], bool]) -> Any:
        """Wait until the value at a path (None if there is none) is as wanted."""
        value = await self.value(path)
        if check(value):
            return value
        async with self.kv.watch(path) as items:
            with anyio.fail_after(PATIENCE_S):
                async for item in items:
                    if isinstance(item, Change) and item.path == path:
                        value = None if item.deleted else item.value
                        if check(value):
                            return value
        raise AssertionError(f"the watch of {path} ended")

    async def reads(self, rom: Rom, celsius: float) -> None:
        await self.until(HOME / str(rom), lambda value: value == celsius)

    async def written_again(self, rom: Rom) -> None:
        """Wait for a write that comes after this call."""
        async with self.kv.watch(HOME / str(rom)) as items:
            with anyio.fail_after(PATIENCE_S):
                async for item in items:
                    if isinstance(item, Uptodate):
                        break
                async for _ in items:
                    return

    async def fails(self, *where: str, code: str) -> dict[str, Any]:
        """Wait for an open error record."""
        return await self.until(ERRORS / where, lambda r: bool(r) and r["code"] == code and r["resolved"] is None)

    async def resolved(self, *where: str) -> dict[str, Any]:
        return await self.until(ERRORS / where, lambda r: bool(r) and r["resolved"] is not None)


@asynccontextmanager
async def probe(node: NodeProcess) -> AsyncIterator[Probe]:
    async with connect(node.address, author="test", patient=True) as kv:
        yield Probe(kv)


@asynccontextmanager
async def agent(
    node: NodeProcess, overrides: dict[str, Any] | None = None, policy: RetryPolicy = QUICK
) -> AsyncIterator[None]:
    async with (
        connect(node.address, author="onewire/attic", patient=True) as kv,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(Agent(OneWire(), "attic", kv, overrides=overrides, policy=policy).run)
        yield
        tasks.cancel_scope.cancel()


@pytest.mark.parametrize("name", counterparts())
async def test_readings_arrive(node: NodeProcess, name: str):
    with COUNTERPARTS[name]() as bus:
        async with agent(node, {"server": bus.address, "dest": str(HOME)}), probe(node) as seen:
            for rom, celsius in bus.celsius.items():
                await seen.reads(rom, celsius)
                assert (await seen.kv.get(HOME / str(rom))).author == "onewire/attic"
            assert (await seen.value(STATUS))["state"] == "running"
            assert await seen.value(ERRORS) is None


async def test_a_watcher_sees_each_change(node: NodeProcess, bus: Counterpart):
    async with agent(node, settings(bus)), probe(node) as seen, seen.kv.watch(HOME / str(COLD)) as changes:
        wanted = [-3.5, 1.0625, 20.25, -3.5]
        got: list[float] = []
        with anyio.fail_after(PATIENCE_S):
            async for change in changes:
                if isinstance(value := getattr(change, "value", None), float) and value not in got[-1:]:
                    got.append(value)
                    bus.celsius[COLD] = (wanted * 2)[len(got)]
                if len(got) == len(wanted):
                    break
        assert got == wanted


async def test_devices_with_entries_of_their_own(node: NodeProcess, bus: Counterpart):
    async with probe(node) as seen:
        await seen.kv.set(CONFIG, {"server": bus.address, "interval": 0.2, "heartbeat": 1})
        await seen.kv.set(CONFIG / str(WARM), {"dest": "home.stairs", "precision": 10})
        async with agent(node):
            assert await seen.until(Path.parse("home.stairs"), lambda v: v is not None) == 21.25
            assert await seen.value(HOME / str(COLD)) is None
            await seen.kv.set(CONFIG / "cold", {"device": str(COLD), "dest": Path.parse("home.cold")})
            await seen.until(Path.parse("home.cold"), lambda v: v == -3.5)


async def test_bad_configuration_then_good_without_a_restart(node: NodeProcess, bus: Counterpart):
    async with probe(node) as seen, agent(node):
        record = await seen.fails(code="not_configured")
        assert record["path"] == CONFIG
        await seen.kv.set(CONFIG, settings(bus, interval="often"))
        record = await seen.fails(code="config")
        assert record["message"].startswith("agent.onewire.attic: interval: expected seconds")
        await seen.kv.set(CONFIG, settings(bus))
        await seen.reads(WARM, 21.0)
        await seen.resolved()


async def test_owserver_is_killed_and_comes_back(node: NodeProcess, bus: Counterpart):
    async with agent(node, settings(bus)), probe(node) as seen:
        await seen.reads(COLD, -3.5)
        bus.kill()
        record = await seen.fails(code="unreachable")
        assert bus.address in record["message"]
        bus.celsius[COLD] = 7.0
        bus.start()
        await seen.reads(COLD, 7.0)
        record = await seen.resolved()
        assert record["count"] >= 1
        await seen.written_again(COLD)


async def test_a_sensor_is_unplugged_and_replugged(node: NodeProcess, bus: Counterpart):
    assert bus.plug is not None
    assert bus.unplug is not None
    async with agent(node, settings(bus)), probe(node) as seen:
        await seen.reads(WARM, 21.0)
        sensor = bus.unplug(WARM)
        record = await seen.fails(str(WARM), code="not_found")
        assert record["path"] == CONFIG / str(WARM)
        await seen.written_again(COLD)
        bus.celsius[WARM] = 30.0
        bus.plug(sensor)
        await seen.reads(WARM, 30.0)
        await seen.resolved(str(WARM))
        assert await seen.value(ERRORS) is None, "the server itself never failed"


async def test_a_new_sensor_is_found(node: NodeProcess, bus: Counterpart):
    assert bus.plug is not None
    new = Rom.parse("28.67452301EF77")
    async with agent(node, settings(bus)), probe(node) as seen:
        await seen.reads(WARM, 21.0)
        bus.plug(Sensor(new, lambda: 12.5, time.monotonic, speed=SPEED))
        await seen.reads(new, 12.5)
        assert await seen.value(ERRORS / str(new)) is None


async def test_a_sensor_that_is_slower_than_it_should_be_is_made_to_measure(node: NodeProcess, bus: Counterpart):
    """Its last conversion has not ended when it is read, so it shows the power-on value, which must not be written."""
    assert bus.plug is not None
    slow = Rom.parse("28.67452301EF88")
    async with probe(node) as seen, seen.kv.watch(HOME / str(slow)) as changes:
        bus.plug(Sensor(slow, lambda: 12.5, time.monotonic, speed=0.8))
        async with agent(node, settings(bus, precision=12)):
            await seen.reads(slow, 12.5)
        with anyio.fail_after(PATIENCE_S):
            async for change in changes:
                if hasattr(change, "value"):
                    assert change.value == 12.5
                    break


async def test_the_agent_starts_before_the_node(tmp_path: FilePath, bus: Counterpart):
    node = NodeProcess("a", tmp_path)
    async with agent(node, settings(bus)):
        await anyio.sleep(0.5)
        with node:
            async with probe(node) as seen:
                await seen.reads(COLD, -3.5)


async def test_the_node_is_killed_and_comes_back(node: NodeProcess, bus: Counterpart):
    async with agent(node, settings(bus)), probe(node) as seen:
        await seen.reads(COLD, -3.5)
        for celsius in (4.0, 5.0):
            node.kill()
            bus.celsius[COLD] = celsius
            await anyio.sleep(0.3)
            node.start()
            await seen.reads(COLD, celsius)
        await seen.written_again(COLD)


async def test_all_of_it_goes_away_at_once(node: NodeProcess, bus: Counterpart):
    async with agent(node, settings(bus)), probe(node) as seen:
        await seen.reads(COLD, -3.5)
        bus.kill()
        node.kill()
        bus.celsius[COLD] = 9.0
        await anyio.sleep(0.5)
        bus.start()
        node.start()
        await seen.reads(COLD, 9.0)
        await seen.until(ERRORS, lambda r: r is None or r["resolved"] is not None)


@pytest.mark.owserver
async def test_two_buses_of_one_owserver(node: NodeProcess):
    """A failing bus does not keep the other from being read."""
    one = Ha7e([Sensor(WARM, lambda: 21.5, time.monotonic, speed=SPEED)])
    two = Ha7e([Sensor(COLD, lambda: -3.5, time.monotonic, speed=SPEED)])
    with (
        AdapterPty(one) as a,
        AdapterPty(two) as b,
        RealOwserver([f"--HA7E={a.path}", f"--HA7E={b.path}"], free_port()) as server,
    ):
        async with agent(node, settings(server)), probe(node) as seen:
            await seen.reads(WARM, 21.5)
            await seen.reads(COLD, -3.5)
            two.unplug(COLD)
            await seen.fails(str(COLD), code="not_found")
            await seen.written_again(WARM)


@pytest.mark.owserver
async def test_a_dead_adapter_is_an_error_and_recovers(node: NodeProcess):
    adapter = Ha7e([Sensor(WARM, lambda: 21.5, time.monotonic, speed=SPEED)])
    with AdapterPty(adapter) as pty, RealOwserver([f"--HA7E={pty.path}"], free_port()) as server:
        async with agent(node, settings(server)), probe(node) as seen:
            await seen.reads(WARM, 21.5)
            adapter.dead = True
            await seen.until(ERRORS, lambda r: bool(r) and r["resolved"] is None)
            adapter.dead = False
            await seen.resolved()
            await seen.written_again(WARM)


@pytest.mark.parametrize("name", counterparts("simulated"))
async def test_the_real_delays(node: NodeProcess, name: str):
    """Once with the retry policy that users have: an outage counts as resolved when all has worked for 5 s."""
    with COUNTERPARTS[name]() as bus:
        async with agent(node, settings(bus), RetryPolicy()), probe(node) as seen:
            await seen.reads(COLD, -3.5)
            bus.kill()
            await seen.fails(code="unreachable")
            bus.celsius[COLD] = 3.0
            bus.start()
            await seen.reads(COLD, 3.0)
            record = await seen.resolved()
            assert (record["resolved"] - record["last"]).total_seconds() > 4.5
