"""The simulated owserver's tree, apart from what the contract suites compare with the real one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvagents.onewire.chips import Sensor
from kvagents.onewire.model import HIGHEST_C, LOWEST_C, Rom, is_readable
from kvagents.onewire.simtree import OwError, SimulatedBus, drift, example_roms

ROM = Rom.parse("28.67452301EF00")


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_weather_is_repeatable_and_differs_by_sensor_and_seed():
    clock = Clock()
    one, same = drift(1, ROM, clock), drift(1, ROM, clock)
    other_seed, other_rom = drift(2, ROM, clock), drift(1, Rom.parse("28.67452301EF01"), clock)
    differs = [False, False]
    for hour in range(24):
        clock.now = hour * 3600.0
        assert one() == same()
        differs = [d or abs(one() - o()) > 0.1 for d, o in zip(differs, (other_seed, other_rom), strict=True)]
    assert all(differs)


@given(st.integers(0, 1000), st.floats(0, 4e9), st.floats(0.1, 5))
def test_weather_moves_slowly_and_within_reason(seed: int, start: float, step: float):
    clock = Clock()
    weather = drift(seed, ROM, clock)
    clock.now = start
    before = weather()
    clock.now = start + step
    assert abs(weather() - before) < 0.1 * step + 0.01
    assert LOWEST_C < before < HIGHEST_C
    assert 10 < before < 30


def test_weather_changes_enough_to_be_seen():
    """Within half a minute a DS18B20 shows at least one new value, so that a demonstration moves."""
    clock = Clock()
    weather = drift(1, ROM, clock)
    seen = set()
    for clock.now in range(30):
        seen.add(round(weather() * 16))
    assert len(seen) > 1


def test_example_sensors():
    roms = example_roms(200)
    assert len(set(roms)) == 200
    assert all(map(is_readable, roms))
    assert {r.family for r in roms} == {0x10, 0x28}


paths = st.lists(
    st.sampled_from(
        ["", "uncached", "bus.0", "bus.1", "alarm", "simultaneous", "temperature", "type", "tempres", str(ROM), "foo"]
    ),
    max_size=5,
).map("/".join)


@given(paths, st.binary(max_size=4))
def test_any_path_gives_an_answer_or_a_number(path: str, data: bytes):
    bus = SimulatedBus([Sensor(ROM, lambda: 20.0, Clock())])
    for call in (bus.directory, bus.read, bus.present, bus.wait_s, lambda p: bus.write(p, data)):
        try:
            call(path)
        except OwError as error:
            assert 0 < error.errno < 200


@given(paths)
def test_what_is_listed_is_there(path: str):
    bus = SimulatedBus([Sensor(ROM, lambda: 20.0, Clock())])
    try:
        entries = bus.directory(path, all_entries=True)
    except OwError:
        return
    for entry in entries:
        assert entry.startswith("/")
        if entry.endswith("/"):
            bus.directory(entry)
        else:
            bus.read(entry)


def test_an_unplugged_sensor_is_gone_and_comes_back_with_its_power_on_value():
    clock = Clock()
    bus = SimulatedBus([Sensor(ROM, lambda: 20.0, clock)])
    bus.write("/simultaneous/temperature", b"1")
    clock.now = 1.0
    assert bus.read(f"/bus.0/{ROM}/latesttemp").strip() == b"20"
    sensor = bus.unplug(ROM)
    with pytest.raises(OwError):
        bus.read(f"/bus.0/{ROM}/latesttemp")
    bus.plug(sensor)
    assert bus.read(f"/bus.0/{ROM}/latesttemp").strip() == b"85"
