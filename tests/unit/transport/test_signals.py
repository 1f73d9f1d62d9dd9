"""What waits in the running event loop: the same on all of them."""

from __future__ import annotations

import anyio
import pytest
from anyio.lowlevel import checkpoint

from kvnode.transport.signals import endings

pytestmark = pytest.mark.anyio


async def test_an_ending_lets_its_task_go_on_whether_it_ends_before_or_after() -> None:
    log: list[str] = []
    ending = endings()
    early, late = ending(), ending()
    early.set_result(None)

    async def wait() -> None:
        await early
        log.append("early")
        await late
        log.append("late")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wait)
        while not log:
            await checkpoint()
        assert (log, early.done(), late.done()) == (["early"], True, False)
        late.set_result(None)
    assert log == ["early", "late"]


async def test_a_task_can_be_cancelled_while_it_awaits_one() -> None:
    forever = endings()()
    with anyio.move_on_after(0.01) as scope:
        await forever
    assert scope.cancelled_caught
