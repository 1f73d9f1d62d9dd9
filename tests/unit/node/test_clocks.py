from __future__ import annotations

import anyio
import pytest

from kvnode.core.effects import Now
from kvnode.core.messages import Pong
from kvnode.node.clocks import Clocks
from kvnode.node.links import Link
from kvnode.testing.inprocess import WAIT_S
from kvnode.transport.base import StreamConnection
from kvnode.transport.memory import memory_pair
from kvnode.transport.tasks import background_tasks

pytestmark = pytest.mark.anyio


def link(name: str) -> Link:
    link = Link(StreamConnection(memory_pair()[0], name), dialled=True)
    link.name = name
    return link


async def test_those_who_answer_and_those_who_are_gone_are_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kvnode.node.clocks.WAIT_S", 3_600.0)
    clocks = Clocks(lambda: Now(0, 1_000))
    ahead, gone, stranger = link("a"), link("b"), link("")
    ended = anyio.Event()

    async def compare() -> None:
        await clocks.compare([ahead, gone, stranger])
        ended.set()

    with anyio.fail_after(WAIT_S):
        async with background_tasks() as tasks:
            tasks.start_soon(compare)
            await anyio.wait_all_tasks_blocked()
            clocks.told(ahead, Pong(1, 1_500))
            await anyio.wait_all_tasks_blocked()
            assert not ended.is_set()
            gone.connection.close("cut")
            clocks.look()
            await ended.wait()
    assert (ahead.skew_ms, gone.skew_ms, stranger.skew_ms) == (500, None, None)


async def test_one_who_does_not_answer_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kvnode.node.clocks.WAIT_S", 0.01)
    silent = link("a")
    with anyio.fail_after(WAIT_S):
        await Clocks(lambda: Now(0, 0)).compare([silent])
    assert silent.skew_ms is None
