"""One contract for every owserver: what the bus layer of the 1-Wire agent relies on.

Runs against the real owserver on an emulated bus master, the real one with its built-in devices, and the simulated
one. What only some of them can do (unplugging, faults) is asked of those.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import anyio
import pytest

from kvagents.onewire.bus import DeviceError, ServerError, Session, open_session
from kvagents.onewire.chips import Sensor
from kvagents.onewire.model import Rom, parse_temperature
from kvagents.onewire.simtree import SimulatedBus
from kvagents.onewire.simulator import Fault
from kvagents.onewire.testing.ha7e import Ha7e
from kvagents.onewire.testing.owserver import RealOwserver
from kvagents.onewire.testing.serial import AdapterPty
from kvnode.testing.processes import free_port
from tests.integration.onewire_counterparts import (
    COLD,
    COUNTERPARTS,
    SPEED,
    WARM,
    Counterpart,
    ThreadedSimulator,
    counterparts,
)

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

CONVERSION_S = 0.8 / SPEED
PATIENCE_S = 60.0


@pytest.fixture(params=counterparts())
def server(request: pytest.FixtureRequest) -> Iterator[Counterpart]:
    with COUNTERPARTS[request.param]() as counterpart:
        yield counterpart


@pytest.fixture(params=counterparts("real", "simulated"))
def pluggable(request: pytest.FixtureRequest) -> Iterator[Counterpart]:
    with COUNTERPARTS[request.param]() as counterpart:
        yield counterpart


@asynccontextmanager
async def session_with(server: Counterpart) -> AsyncIterator[Session]:
    async with open_session("127.0.0.1", server.port, timeout_s=PATIENCE_S) as session:
        yield session


async def read_all(session: Session) -> dict[Rom, float]:
    """One poll as the agent does it."""
    found = await session.scan()
    for bus in set(found.values()):
        await session.convert(bus)
    await anyio.sleep(CONVERSION_S * 1.5)
    return {rom: parse_temperature(await session.read(bus, rom, "latesttemp")) for rom, bus in found.items()}


async def test_a_scan_finds_the_sensors_and_a_poll_their_temperatures(server: Counterpart):
    async with session_with(server) as session:
        found = await session.scan()
        assert found.keys() == server.roms
        assert all(bus.startswith("/bus.") for bus in found.values())
        assert await read_all(session) == server.celsius


async def test_a_single_measurement(server: Counterpart):
    async with session_with(server) as session:
        for rom, bus in (await session.scan()).items():
            assert parse_temperature(await session.measure(bus, rom, None)) == server.celsius[rom]


async def test_a_device_that_is_not_there(pluggable: Counterpart):
    async with session_with(pluggable) as session:
        with pytest.raises(DeviceError):
            await session.read("/bus.0", Rom.parse("28.0000000000FF"), "latesttemp")
        assert (await session.scan()).keys() == pluggable.roms


async def test_a_bus_that_is_not_there(server: Counterpart):
    async with session_with(server) as session:
        with pytest.raises(DeviceError):
            await session.convert("/bus.7")


async def test_a_restart_in_the_middle_of_a_session_goes_unnoticed(server: Counterpart):
    async with session_with(server) as session:
        await session.scan()
        server.kill()
        server.start()
        assert await read_all(session) == server.celsius


async def test_a_server_that_is_gone(server: Counterpart):
    async with session_with(server) as session:
        await session.scan()
        server.kill()
        with pytest.raises(ServerError) as caught:
            await session.scan()
        assert caught.value.code == "unreachable"
    async with session_with(server) as session:
        with pytest.raises(ServerError, match=server.address):
            await session.scan()
    server.start()
    async with session_with(server) as session:
        assert await read_all(session) == server.celsius


async def test_a_server_can_stop_between_sessions(server: Counterpart):
    async with session_with(server) as session:
        await session.scan()
    assert server.stop() is not False, "an open persistent connection kept owserver from ending"


async def test_temperatures_are_fresh(pluggable: Counterpart):
    async with session_with(pluggable) as session:
        assert await read_all(session) == {WARM: 21.4375, COLD: -3.5}
        pluggable.celsius[WARM] = 30.0625
        assert await read_all(session) == {WARM: 30.0625, COLD: -3.5}


async def test_unplugging_and_replugging(pluggable: Counterpart):
    assert pluggable.plug is not None
    assert pluggable.unplug is not None
    async with session_with(pluggable) as session:
        bus = (await session.scan())[WARM]
        sensor = pluggable.unplug(WARM)
        with pytest.raises(DeviceError):
            await session.read(bus, WARM, "latesttemp")
        assert (await session.scan()).keys() == {COLD}
        pluggable.plug(sensor)
        assert (await session.scan()).keys() == {WARM, COLD}
        assert parse_temperature(await session.read(bus, WARM, "latesttemp")) == 85.0
        assert (await read_all(session))[WARM] == 21.4375


async def test_an_empty_bus(pluggable: Counterpart):
    assert pluggable.unplug is not None
    for rom in (WARM, COLD):
        pluggable.unplug(rom)
    async with session_with(pluggable) as session:
        assert await session.scan() == {}
        await session.convert("/bus.0")


async def test_precision_is_set_and_shows(pluggable: Counterpart):
    async with session_with(pluggable) as session:
        bus = (await session.scan())[WARM]
        assert int(await session.read(bus, WARM, "tempres")) == 12
        await session.write(bus, WARM, "tempres", b"9")
        assert int(await session.read(bus, WARM, "tempres")) == 9
        assert (await read_all(session))[WARM] == 21.0
        with pytest.raises(DeviceError):
            await session.read(bus, COLD, "tempres")


@pytest.mark.owserver
async def test_a_client_that_is_not_ours(pluggable: Counterpart):
    """Debian's own ow-shell reads both servers alike."""

    def run(*command: str) -> str:
        return subprocess.run(
            [command[0], "-s", pluggable.address, *command[1:]], check=True, capture_output=True, text=True, timeout=20
        ).stdout

    listed = await anyio.to_thread.run_sync(run, "owdir", "/")
    assert {"/28.67452301EF00", "/10.67452301EF01", "/bus.0", "/alarm"} <= set(listed.split())
    assert (await anyio.to_thread.run_sync(run, "owread", f"/{WARM}/temperature")).strip() == "21.4375"
    assert (await anyio.to_thread.run_sync(run, "owget", f"/{WARM}/type")) == "DS18B20"
    assert (await anyio.to_thread.run_sync(run, "owpresent", f"/{WARM}")).strip() == "1"


# -- faults that only a simulation has ----------------------------------------------------------------------


@pytest.fixture
def simulator() -> Iterator[ThreadedSimulator]:
    sensor = Sensor(WARM, lambda: 21.4375, time.monotonic, speed=SPEED)
    runner = ThreadedSimulator(SimulatedBus([sensor]))
    runner.start()
    yield runner
    runner.stop()


@pytest.mark.parametrize(
    ("fault", "code", "timeout_s"),
    [
        (Fault.SILENT, "timeout", 1),
        (Fault.BUSY, "timeout", 1),
        (Fault.GARBAGE, "protocol", PATIENCE_S),
        (Fault.CUT, "closed", PATIENCE_S),
    ],
)
async def test_a_server_that_misbehaves(simulator: ThreadedSimulator, fault: Fault, code: str, timeout_s: float):
    async with open_session("127.0.0.1", simulator.port, timeout_s=timeout_s) as session:
        assert (await session.scan()).keys() == {WARM}
        simulator.set_fault(fault)
        with pytest.raises(ServerError) as caught:
            await session.scan()
        assert caught.value.code == code
        assert "\n" not in str(caught.value)
        simulator.set_fault(Fault.NONE)
        assert (await session.scan()).keys() == {WARM}


async def test_cancelling_a_call_does_not_wait_for_the_server(simulator: ThreadedSimulator):
    async with open_session("127.0.0.1", simulator.port, timeout_s=60) as session:
        await session.scan()
        simulator.set_fault(Fault.BUSY)
        with anyio.move_on_after(0.2):
            await session.scan()
            raise AssertionError("it should still be under way")
        simulator.set_fault(Fault.NONE)
        assert (await session.scan()).keys() == {WARM}


async def test_a_slow_call_is_waited_for(simulator: ThreadedSimulator):
    sensor = simulator.server.bus.sensors[WARM]
    sensor.speed = 1.0  # 0.75 s at 12 bit, with a keep-alive every 0.1 s
    async with open_session("127.0.0.1", simulator.port, timeout_s=PATIENCE_S) as session:
        assert parse_temperature(await session.measure("/bus.0", WARM, 12)) == 21.4375


async def test_more_clients_than_get_a_persistent_connection(simulator: ThreadedSimulator):
    async with anyio.create_task_group() as tasks:
        done: list[int] = []

        async def one() -> None:
            async with open_session("127.0.0.1", simulator.port) as session:
                for _ in range(3):
                    assert (await session.scan()).keys() == {WARM}
                done.append(1)

        for _ in range(25):
            tasks.start_soon(one)
    assert len(done) == 25


@pytest.mark.owserver
@pytest.mark.parametrize("anyio_backend", ["trio"])  # it waits long, for owserver's own time limit
async def test_a_dead_adapter():
    """owserver answers, but its bus does not: it says "still working" until our patience ends."""
    adapter = Ha7e([Sensor(WARM, lambda: 21.4375, time.monotonic, speed=SPEED)])
    with AdapterPty(adapter) as pty, RealOwserver([f"--HA7E={pty.path}"], free_port()) as server:
        async with open_session("127.0.0.1", server.port, timeout_s=PATIENCE_S) as session:
            assert (await session.scan()).keys() == {WARM}
            adapter.dead = True
        async with open_session("127.0.0.1", server.port, timeout_s=1) as session:
            with pytest.raises(ServerError) as caught:
                await session.scan()
            assert caught.value.code == "timeout"
        adapter.dead = False
        # owserver first waits out its own time limit on the search that got no answer.
        async with open_session("127.0.0.1", server.port, timeout_s=PATIENCE_S) as session:
            assert (await session.scan()).keys() == {WARM}


async def test_nobody_listens():
    async with open_session("127.0.0.1", free_port()) as session:
        with pytest.raises(ServerError, match="refused") as caught:
            await session.scan()
    assert caught.value.code == "unreachable"


async def test_a_name_that_does_not_resolve():
    with pytest.raises(ServerError, match="cannot be resolved") as caught:
        async with open_session("no.such.host.invalid", 4304):
            pass
    assert caught.value.code == "unreachable"


async def test_localhost_tries_each_address(simulator: ThreadedSimulator):
    async with open_session("localhost", simulator.port) as session:
        assert (await session.scan()).keys() == {WARM}


@pytest.mark.owserver
async def test_a_busy_port_is_not_mistaken_for_our_owserver():
    with (
        RealOwserver(["--tester=DS18B20"], free_port()) as first,
        pytest.raises(RuntimeError, match="ended with status"),
    ):
        RealOwserver(["--tester=DS18B20"], first.port).start()
