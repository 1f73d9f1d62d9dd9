"""What is due when, and what readings mean: polling in virtual time."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvagents.framework.convert import read_converter
from kvagents.framework.filter import Filter
from kvagents.onewire.config import DevicePlan, Key, ServerPlan, Settings
from kvagents.onewire.model import FAMILIES, Rom
from kvagents.onewire.poll import MAX_DEVICES, Poller
from kvnode.core.path import Path

ROOT = Path.parse("agent.onewire.attic")
A = Rom.parse("28.67452301EF00")
B = Rom.parse("10.67452301EF01")
SWITCH = Rom.parse("29.67452301EF02")
SENSED = FAMILIES[0x29].quantities[0]
UNKNOWN = Rom.parse("01.67452301EF03")
BASE = Path.parse("home")
TA, TB = (A, "temperature"), (B, "temperature")


def poller(*, base: Path | None = BASE, devices: tuple[DevicePlan, ...] = (), rescan_s: float = 30) -> Poller:
    plan = ServerPlan("127.0.0.1", 4304, rescan_s, devices, base, Settings(interval_s=5))
    return Poller(ROOT, plan, 0.0, lambda: 0.0)


def configured(rom: Rom, *, interval_s: float = 5, precision: int | None = None) -> DevicePlan:
    return DevicePlan(ROOT / str(rom), rom, BASE / "x", Settings(interval_s, precision, Filter()))


def read(p: Poller, key: Key, raw: bytes, now: float):
    return p.took(key, raw, now)


def test_a_search_comes_first_and_finds_what_can_be_read():
    p = poller()
    assert p.next_due == 0.0
    assert p.search_is_due(0.0)
    p.searched({A: "/bus.0", B: "/bus.1", UNKNOWN: "/bus.0"}, 0.0)
    assert not p.search_is_due(0.0)
    cycle = p.cycle(0.0)
    assert cycle.devices == (TA, TB)
    assert cycle.buses == ("/bus.0", "/bus.1")
    assert cycle.failures == ()


def test_without_a_base_only_what_is_configured_is_read():
    p = poller(base=None, devices=(configured(B),))
    p.searched({A: "/bus.0", B: "/bus.0"}, 0.0)
    assert p.cycle(0.0).devices == (TB,)


def test_readings_keep_to_their_grid():
    p = poller(devices=(configured(A),), base=None, rescan_s=1000)
    p.searched({A: "/bus.0"}, 0.0)
    times = []
    now = 0.0
    for _ in range(5):
        assert p.cycle(now).devices == (TA,)
        times.append(now)
        assert read(p, TA, b"20", now + 0.9).failure is None
        now = p.next_due
        assert p.cycle(now - 0.1).devices == ()
    assert times == [0.0, 5.0, 10.0, 15.0, 20.0]


def test_missed_readings_are_skipped_not_caught_up():
    p = poller(devices=(configured(A),), base=None, rescan_s=1000)
    p.searched({A: "/bus.0"}, 0.0)
    read(p, TA, b"20", 33.0)
    assert p.next_due == 38.0


def test_devices_with_their_own_intervals():
    p = poller(base=None, devices=(configured(A, interval_s=2), configured(B, interval_s=7)), rescan_s=1000)
    p.searched({A: "/bus.0", B: "/bus.0"}, 0.0)
    seen: dict[Key, list[float]] = {TA: [], TB: []}
    while (now := p.next_due) < 15:
        for key in p.cycle(now).devices:
            seen[key].append(now)
            read(p, key, b"20", now)
    assert seen == {TA: [0, 2, 4, 6, 8, 10, 12, 14], TB: [0, 7, 14]}


def test_the_wait_is_that_of_the_slowest():
    p = poller(base=None, devices=(configured(A, precision=9),))
    p.searched({A: "/bus.0"}, 0.0)
    assert p.cycle(0.0).conversion_s == pytest.approx(0.1)
    p = poller(base=None, devices=(configured(A, precision=9), configured(B, precision=9)))
    p.searched({A: "/bus.0", B: "/bus.0"}, 0.0)
    assert p.cycle(0.0).conversion_s >= 0.75, "a DS18S20 has one precision, and it is slow"
    assert poller().cycle(0.0).conversion_s == 0.0


def test_the_power_on_value_is_measured_again_and_then_an_error():
    p = poller()
    p.searched({A: "/bus.0"}, 0.0)
    assert read(p, TA, b"85", 0.0).measure_again
    outcome = p.took(TA, b"85", 1.0, measured=True)
    assert outcome.failure is not None
    assert outcome.failure.code == "power_on_value"
    assert outcome.failure.path == ROOT / str(A)
    assert outcome.write is None


def test_the_power_on_value_that_goes_away_is_no_error():
    p = poller()
    p.searched({A: "/bus.0"}, 0.0)
    assert read(p, TA, b"85", 0.0).measure_again
    assert p.took(TA, b"21.5", 1.0, measured=True).write == (BASE / str(A), 21.5)
    assert read(p, TA, b"85", 5.0).measure_again


def test_a_boiler_may_be_at_85():
    p = poller()
    p.searched({A: "/bus.0"}, 0.0)
    read(p, TA, b"84.9375", 0.0)
    assert read(p, TA, b"85", 5.0).write == (BASE / str(A), 85.0)


def test_what_was_not_written_is_written_next_time():
    p = poller()
    p.searched({A: "/bus.0"}, 0.0)
    assert read(p, TA, b"20", 0.0).write is not None
    assert read(p, TA, b"20", 5.0).write is not None
    p.wrote(TA, 20.0, 5.0)
    assert read(p, TA, b"20", 10.0).write is None
    assert read(p, TA, b"20.0625", 15.0).write == (BASE / str(A), 20.0625)


def test_a_failing_device_is_retried_with_growing_delays_and_leaves_the_other_alone():
    p = poller(rescan_s=1e9)
    p.searched({A: "/bus.0", B: "/bus.0"}, 0.0)
    attempts, others = [], []
    while (now := p.next_due) < 12:
        if p.search_is_due(now):
            p.searched({A: "/bus.0", B: "/bus.0"}, now)
        for key in p.cycle(now).devices:
            if key == TA:
                attempts.append(round(now, 3))
                assert p.failed(TA, "no_answer", "m", now).code == "no_answer"
            else:
                others.append(now)
                read(p, TB, b"20", now)
    assert attempts[:5] == [0.0, 0.5, 1.2, 2.18, 3.552]
    assert others == [0.0, 5.0, 10.0]


def test_a_failure_makes_the_next_search_come_soon():
    p = poller()
    p.searched({A: "/bus.0"}, 0.0)
    p.failed(TA, "no_answer", "m", 1.0)
    assert not p.search_is_due(2.9)
    assert p.search_is_due(3.0)


def test_unplugging_and_replugging():
    p = poller()
    p.searched({A: "/bus.0"}, 0.0)
    read(p, TA, b"20", 0.0)
    p.searched({}, 3.0)
    cycle = p.cycle(3.0)
    assert cycle.devices == ()
    assert [(f.code, f.path) for f in cycle.failures] == [("not_found", ROOT / str(A))]
    assert str(A) in cycle.failures[0].message
    assert p.cycle(3.1).failures == (), "told again only after the retry delay"
    p.searched({A: "/bus.1"}, 20.0)
    cycle = p.cycle(20.0)
    assert (cycle.devices, cycle.buses) == ((TA,), ("/bus.1",))
    assert p.devices[TA].fresh


def test_a_configured_device_that_was_never_there():
    p = poller(base=None, devices=(configured(A),))
    p.searched({}, 0.0)
    assert [f.code for f in p.cycle(0.0).failures] == ["not_found"]


def test_a_device_counts_as_working_after_five_seconds():
    p = poller()
    p.searched({A: "/bus.0"}, 0.0)
    p.failed(TA, "no_answer", "m", 0.0)
    for now, working in [(1.0, False), (5.9, False), (6.0, True), (11.0, True)]:
        read(p, TA, b"20", now)
        assert (p.working(TA) is not None) == working
    p.failed(TA, "no_answer", "m", 12.0)
    assert p.working(TA) is None


def test_the_number_of_devices_is_bounded():
    p = poller()
    p.searched({Rom(0x28, n.to_bytes(6, "big")): "/bus.0" for n in range(MAX_DEVICES + 10)}, 0.0)
    assert len(p.devices) == MAX_DEVICES


def test_a_switch_has_a_reading_for_each_pin_and_needs_no_conversion():
    p = poller()
    p.searched({SWITCH: "/bus.0", A: "/bus.1"}, 0.0)
    cycle = p.cycle(0.0)
    assert cycle.buses == ("/bus.1",)
    assert len(cycle.devices) == 17
    key = (SWITCH, "sensed.3")
    assert p.devices[key].attribute == "sensed.3"
    assert read(p, key, b"1", 0.0).write == (BASE / (str(SWITCH), "sensed", "3"), True)
    failure = read(p, key, b"7", 1.0).failure
    assert failure is not None
    assert (failure.code, failure.path) == ("bad_reading", ROOT / (str(SWITCH), "sensed", "3"))
    assert read(p, (SWITCH, "sensed.4"), b"0", 1.0).write == (BASE / (str(SWITCH), "sensed", "4"), False)


def test_what_is_in_alarm_is_due_at_once():
    plan = ServerPlan("127.0.0.1", 4304, 30, base=BASE, settings=Settings(interval_s=60), alarm_s=0.5)
    p = Poller(ROOT, plan, 0.0, lambda: 0.0)
    p.searched({A: "/bus.0", B: "/bus.0"}, 0.0)
    assert p.buses() == ["/bus.0"]
    for key in p.cycle(0.0).devices:
        read(p, key, b"20", 0.0)
    assert p.alarm_is_due(0.0)
    p.alarmed((), 0.0)
    assert not p.alarm_is_due(0.4)
    assert p.next_due == 0.5
    p.alarmed([A], 0.5)
    assert p.cycle(0.5).devices == (TA,)
    assert not poller().alarm_is_due(1e9)


def test_what_is_set_when_a_device_is_found():
    settings = Settings(precision=10, low=5, high=30, set_alarm="111")
    device = DevicePlan(ROOT, A, BASE, settings)
    p = poller(devices=(device, DevicePlan(ROOT, SWITCH, BASE / "y", settings, SENSED)))
    assert p.devices[TA].wanted() == [("tempres", "10"), ("templow", "5"), ("temphigh", "30")]
    assert p.devices[SWITCH, "sensed.0"].wanted() == [("set_alarm", "111")]


def test_readings_are_converted_before_they_are_filtered():
    converter = read_converter({"scale": 1.8, "offset": 32, "digits": 0}, both_ways=False)
    p = poller(devices=(DevicePlan(ROOT, A, BASE, Settings(), converter=converter),), base=None)
    p.searched({A: "/bus.0"}, 0.0)
    assert read(p, TA, b"20", 0.0).write == (BASE, 68)
    p.wrote(TA, 68, 0.0)
    assert read(p, TA, b"20.0625", 5.0).write is None
    bad = read_converter({"expr": "1 / (value - 20)"}, both_ways=False)
    p = poller(devices=(DevicePlan(ROOT, A, BASE, Settings(), converter=bad),), base=None)
    failure = read(p, TA, b"20", 0.0).failure
    assert failure is not None
    assert failure.code == "conversion"


@given(st.lists(st.tuples(st.sampled_from(["ok", "fail", "gone", "85"]), st.floats(0, 10)), max_size=60))
def test_time_always_goes_on(steps: list[tuple[str, float]]):
    """Whatever happens, after a cycle nothing is due before now, and a device that is there is due in bounded time."""
    p = poller()
    now = 0.0
    for what, pause in steps:
        now = max(now + pause, p.next_due)
        if p.search_is_due(now):
            p.searched({} if what == "gone" else {A: "/bus.0"}, now)
        for key in p.cycle(now).devices:
            if what == "ok":
                p.took(key, b"20", now)
            elif what == "85":
                p.took(key, b"85", now, measured=True)
            else:
                p.failed(key, "no_answer", "m", now)
        assert p.next_due > now
        assert p.next_due <= now + 300
