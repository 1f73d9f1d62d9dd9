"""What is to be done soon: the same in all event loops."""

from __future__ import annotations

import anyio
import pytest
from anyio.lowlevel import checkpoint

from kvnode.transport.chores import chore

pytestmark = pytest.mark.anyio


async def test_what_is_asked_for_several_times_is_done_once() -> None:
    done: list[int] = []
    work = chore(lambda: done.append(len(done)))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(work.run)
        for count in (1, 2):
            work.ask()
            work.ask()
            assert len(done) == count - 1  # not at once
            with anyio.fail_after(5):
                while len(done) < count:
                    await checkpoint()
        for _ in range(10):
            await checkpoint()
        assert done == [0, 1]
        work.end()


async def test_it_may_ask_for_itself() -> None:
    done: list[int] = []

    def step() -> None:
        done.append(len(done))
        if len(done) < 5:
            work.ask()
        else:
            work.end()

    work = chore(step)
    work.ask()
    with anyio.fail_after(5):
        await work.run()
    assert done == [0, 1, 2, 3, 4]


async def test_nothing_is_done_before_it_runs_nor_after_its_end() -> None:
    done: list[None] = []
    work = chore(lambda: done.append(None))
    work.ask()
    for _ in range(5):
        await checkpoint()
    assert not done
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(work.run)
        with anyio.fail_after(5):
            while not done:
                await checkpoint()
        work.ask()
        work.end()
    for _ in range(5):
        await checkpoint()
    work.ask()
    await work.run()  # ends at once
    assert len(done) == 1


async def test_what_it_raises_comes_out_where_it_is_run() -> None:
    def fail() -> None:
        raise ValueError("broken")

    work = chore(fail)
    work.ask()
    with anyio.fail_after(5), pytest.raises(ValueError, match="broken"):
        await work.run()


async def test_a_cancelled_one_does_nothing_more() -> None:
    done: list[None] = []
    work = chore(lambda: done.append(None))
    with anyio.move_on_after(0.01):
        await work.run()
    work.ask()
    for _ in range(5):
        await checkpoint()
    assert not done
