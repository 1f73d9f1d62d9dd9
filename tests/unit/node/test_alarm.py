from __future__ import annotations

import anyio
import pytest

from kvnode.core.effects import Now
from kvnode.node.alarm import NEVER, Alarm
from kvnode.node.driver import system_clock
from kvnode.testing.inprocess import WAIT_S
from kvnode.transport.tasks import background_tasks

pytestmark = pytest.mark.anyio


class Bench:
    """Something that is due at `at`; ringing makes it due no more."""

    def __init__(self) -> None:
        self.at = NEVER
        self.looks = 0
        self.rung = anyio.Event()
        self.alarm = Alarm(self._due, self._clock, self._ring)

    def _due(self) -> int:
        return self.at

    def _clock(self) -> Now:
        self.looks += 1
        return system_clock()

    def _ring(self) -> None:
        assert self.at <= system_clock().mono, "not before its time"
        self.at = NEVER
        self.rung.set()

    async def until_rung(self) -> None:
        with anyio.fail_after(WAIT_S):
            await self.rung.wait()
        self.rung = anyio.Event()


async def test_it_rings_when_something_is_due_and_again_when_told_of_more() -> None:
    bench = Bench()
    async with background_tasks() as tasks:
        tasks.start_soon(bench.alarm.run)
        await anyio.wait_all_tasks_blocked()
        for _ in range(3):
            bench.at = system_clock().mono + 5
            bench.alarm.changed()
            await bench.until_rung()


async def test_what_comes_earlier_rings_earlier() -> None:
    bench = Bench()
    bench.at = system_clock().mono + 3_600_000
    async with background_tasks() as tasks:
        tasks.start_soon(bench.alarm.run)
        await anyio.wait_all_tasks_blocked()
        bench.at = system_clock().mono
        bench.alarm.changed()
        await bench.until_rung()


async def test_what_moves_back_does_not_touch_the_timer_and_rings_in_its_time() -> None:
    bench = Bench()
    bench.at = system_clock().mono + 50
    async with background_tasks() as tasks:
        tasks.start_soon(bench.alarm.run)
        await anyio.wait_all_tasks_blocked()
        before = bench.looks
        for _ in range(10):
            bench.at += 1
            bench.alarm.changed()
        await anyio.wait_all_tasks_blocked()
        assert bench.looks == before
        await bench.until_rung()
