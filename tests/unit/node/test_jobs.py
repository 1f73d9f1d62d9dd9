from __future__ import annotations

import anyio
import anyio.lowlevel
import pytest

from kvnode.node.jobs import Jobs
from kvnode.testing.inprocess import WAIT_S
from kvnode.transport.tasks import background_tasks

pytestmark = pytest.mark.anyio


async def test_jobs_begin_in_order_and_a_bounded_number_at_once() -> None:
    begun: list[int] = []
    ended: list[int] = []
    go = anyio.Event()
    async with background_tasks() as tasks:
        jobs = Jobs(tasks, max_workers=3, max_waiting=100)

        async def job(number: int) -> None:
            begun.append(number)
            await go.wait()
            await anyio.lowlevel.checkpoint()
            ended.append(number)

        for number in range(10):
            jobs.add(lambda number=number: job(number))
        await anyio.wait_all_tasks_blocked()
        assert begun == [0, 1, 2]
        go.set()
        with anyio.fail_after(WAIT_S):
            while len(ended) < 10:
                await anyio.lowlevel.checkpoint()
        assert begun == list(range(10))
        for number in range(10, 13):  # by workers that were idle
            jobs.add(lambda number=number: job(number))
        with anyio.fail_after(WAIT_S):
            while len(ended) < 13:
                await anyio.lowlevel.checkpoint()
        assert begun == list(range(13))


async def test_room_is_waited_for() -> None:
    go = anyio.Event()
    async with background_tasks() as tasks:
        jobs = Jobs(tasks, max_workers=1, max_waiting=2)
        for _ in range(3):
            jobs.add(go.wait)
        assert jobs.full
        with anyio.move_on_after(0.02) as scope:
            await jobs.room()
        assert scope.cancelled_caught
        go.set()
        with anyio.fail_after(WAIT_S):
            await jobs.room()
        assert not jobs.full
