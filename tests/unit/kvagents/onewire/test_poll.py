"""What is due when, and what readings mean: polling in virtual time."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvagents.framework.filter import Filter
from kvagents.onewire.config import DevicePlan, ServerPlan, Settings
from kvagents.onewire.model import Rom
from kvagents.onewire.poll import MAX_DEVICES, Poller
from kvnode.core.path import Path

ROOT = Path.parse("agent.onewire.attic")
A = Rom.parse("28.67452301EF00")
B = Rom.parse("10.67452301EF01")
SWITCH = Rom.parse("29.67452301EF02")
BASE = Path.parse("home")


def poller(*, base: Path | None = BASE, devices: tuple[DevicePlan, ...] = (), rescan_s: float = 30) -> Poller:
    plan = ServerPlan("127.0.0.1", 4304, rescan_s, devices, base, Settings(interval_s=5))
    return Poller(ROOT, plan, 0.0, lambda: 0.0)


def configured(rom: Rom, *, interval_s: float = 5, precision: int | None = None) -> DevicePlan:
    return DevicePlan(ROOT / str(rom), rom, BASE / "x", Settings(interval_s, precision, Filter()))


def read(p: Poller, rom: Rom, raw: bytes, now: float):
    return p.took(rom, raw, now)


def test_a_search_comes_first_and_finds_thermometers_only():
    p = poller()
    assert p.next_due == 0.0
    assert p.search_is_due(0.0)
    p.searched({A: "/bus.0", B: "/bus.1", SWITCH: "/bus.0"}, 0.0)
    assert not p.search_is_due(0.0)
    cycle = p.cycle(0.0)
    assert cycle.devices == (A, B)
    assert cycle.buses == ("/bus.0", "/bus.1")
    assert cycle.failures == ()


def test_without_a_base_only_what_is_configured_is_read():
    p = poller(base=None, devices=(configured(B),))
    p.searched({A: "/bus.0", B: "/bus.0"}, 0.0)
    assert p.cycle(0.0).devices == (B,)


def test_readings_keep_to_their_grid():
    p = poller(devices=(configured(A),), base=None, rescan_s=1000)
    p.searched({A: "/bus.0"}, 0.0)
    times = []
    now = 0.0
    for _ in range(5):
        assert p.cycle(now).devices == (A,)
        times.append(now)
        assert read(p, A, b"20", now + 0.9).failure is None
        now = p.next_due
        assert p.cycle(now - 0.1).devices == ()
    assert times == [0.0, 5.0, 10.0, 15.0, 20.0]


def test_missed_readings_are_skipped_not_caught_up():
    p = poller(devices=(configured(A),), base=None, rescan_s=1000)
    p.searched({A: "/bus.0"}, 0.0)
    read(p, A, b"20", 33.0)
    assert p.next_due == 38.0


def test_devices_with_their_own_intervals():
    p = poller(base=None, devices=(configured(A, interval_s=2), configured(B, interval_s=7)), rescan_s=1000)
    p.searched({A: "/bus.0", B: "/bus.0"}, 0.0)
    seen: dict[Rom, list[float]] = {A: [], B: []}
    while (now := p.next_due) < 15:
        for rom in p.cycle(now).devices:
            seen[rom].append(now)
            read(p, rom, b"20", now)
    assert seen == {A: [0, 2, 4, 6, 8, 10, 12, 14], B: [0, 7, 14]}


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
    assert read(p, A, b"85", 0.0).measure_again
    outcome = p.took(A, b"85", 1.0, measured=True)
    assert outcome.failure is not None
    assert outcome.failure.code == "power_on_value"
    assert outcome.failure.path == ROOT / str(A)
    assert outcome.write is None


def test_the_power_on_value_that_goes_away_is_no_error():
    p = poller()
    p.searched({A: "/bus.0"}, 0.0)
    assert read(p, A, b"85", 0.0).measure_again
    assert p.took(A, b"21.5", 1.0, measured=True).write == (BASE / str(A), 21.5)
    assert read(p, A, b"85", 5.0).measure_again


def test_a_boiler_may_be_at_85():
    p = poller()
    p.searched({A: "/bus.0"}, 0.0)
    read(p, A, b"84.9375", 0.0)
    assert read(p, A, b"85", 5.0).write == (BASE / str(A), 85.0)


def test_what_was_not_written_is_written_next_time():
    p = poller()
    p.searched({A: "/bus.0"}, 0.0)
    assert read(p, A, b"20", 0.0).write is not None
    assert read(p, A, b"20", 5.0).write is not None
    p.wrote(A, 20.0, 5.0)
    assert read(p, A, b"20", 10.0).write is None
    assert read(p, A, b"20.0625", 15.0).write == (BASE / str(A), 20.0625)


def test_a_failing_device_is_retried_with_growing_delays_and_leaves_the_other_alone():
    p = poller(rescan_s=1e9)
    p.searched({A: "/bus.0", B: "/bus.0"}, 0.0)
    attempts, others = [], []
    while (now := p.next_due) < 12:
        if p.search_is_due(now):
            p.searched({A: "/bus.0", B: "/bus.0"}, now)
        for rom in p.cycle(now).devices:
            if rom == A:
                attempts.append(round(now, 3))
                assert p.failed(A, "no_answer", "m", now).code == "no_answer"
            else:
                others.append(now)
                read(p, B, b"20", now)
    assert attempts[:5] == [0.0, 0.5, 1.2, 2.18, 3.552]
    assert others == [0.0, 5.0, 10.0]


def test_a_failure_makes_the_next_search_come_soon():
    p = poller()
    p.searched({A: "/bus.0"}, 0.0)
    p.failed(A, "no_answer", "m", 1.0)
    assert not p.search_is_due(2.9)
    assert p.search_is_due(3.0)


def test_unplugging_and_replugging():
    p = poller()
    p.searched({A: "/bus.0"}, 0.0)
    read(p, A, b"20", 0.0)
    p.searched({}, 3.0)
    cycle = p.cycle(3.0)
    assert cycle.devices == ()
    assert [(f.code, f.path) for f in cycle.failures] == [("not_found", ROOT / str(A))]
    assert str(A) in cycle.failures[0].message
    assert p.cycle(3.1).failures == (), "told again only after the retry delay"
    p.searched({A: "/bus.1"}, 20.0)
    cycle = p.cycle(20.0)
    assert (cycle.devices, cycle.buses) == ((A,), ("/bus.1",))
    assert p.devices[A].fresh


def test_a_configured_device_that_was_never_there():
    p = poller(base=None, devices=(configured(A),))
    p.searched({}, 0.0)
    assert [f.code for f in p.cycle(0.0).failures] == ["not_found"]


def test_a_device_counts_as_working_after_five_seconds():
    p = poller()
    p.searched({A: "/bus.0"}, 0.0)
    p.failed(A, "no_answer", "m", 0.0)
    for now, working in [(1.0, False), (5.9, False), (6.0, True), (11.0, True)]:
        read(p, A, b"20", now)
        assert (p.working(A) is not None) == working
    p.failed(A, "no_answer", "m", 12.0)
    assert p.working(A) is None


def test_the_number_of_devices_is_bounded():
    p = poller()
    p.searched({Rom(0x28, n.to_bytes(6, "big")): "/bus.0" for n in range(MAX_DEVICES + 10)}, 0.0)
    assert len(p.devices) == MAX_DEVICES


@given(st.lists(st.tuples(st.sampled_from(["ok", "fail", "gone", "85"]), st.floats(0, 10)), max_size=60))
def test_time_always_goes_on(steps: list[tuple[str, float]]):
    """Whatever happens, after a cycle nothing is due before now, and a device that is there is due in bounded time."""
    p = poller()
    now = 0.0
    for what, pause in steps:
        now = max(now + pause, p.next_due)
        if p.search_is_due(now):
            p.searched({} if what == "gone" else {A: "/bus.0"}, now)
        for rom in p.cycle(now).devices:
            if what == "ok":
                p.took(rom, b"20", now)
            elif what == "85":
                p.took(rom, b"85", now, measured=True)
            else:
                p.failed(rom, "no_answer", "m", now)
        assert p.next_due > now
        assert p.next_due <= now + 300
